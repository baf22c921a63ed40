"""Reading folders of pictures, measured: speed beside Keras's own reader, and memory.

`convnetlab bench --only images` takes some minutes, most of them for making the pictures.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
from PIL import Image

from convnetlab.image_arrays import Say, processors
from convnetlab.notebooks import environment

SIZE, BATCH = 128, 32
MANY = 50_000  # pictures whose reading is watched for memory


class Kind(NamedTuple):
    """A folder to be made: so many pictures of width × height pixels, and their format."""

    pictures: int
    width: int
    height: int
    ending: str


KINDS = {
    "a phone's photographs": Kind(60, 4000, 3000, "jpg"),
    "photographs made smaller": Kind(300, 1600, 1200, "jpg"),
    "small photographs": Kind(1500, 500, 375, "jpg"),
    "small drawings": Kind(4000, 64, 64, "png"),
}


def make_folder(folder: Path, kind: Kind, classes: int = 4) -> None:
    """Fill a folder with pictures like photographs: sections of two real ones, with grain.

    The two come with scikit-learn (`load_sample_images`). They are enlarged, so that a large
    picture is as smooth as a phone's; the grain (uniform, ±6) keeps a JPEG file as large as one.
    """
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(classes):
        (folder / f"class {number}").mkdir(parents=True)

    def make(number: int) -> None:
        random = np.random.default_rng(number)
        original = originals[number % 2]
        side = random.uniform(0.5, 1)
        width, height = int(original.width * side), int(original.height * side)
        left = int(random.integers(0, original.width - width + 1))
        top = int(random.integers(0, original.height - height + 1))
        section = original.resize(
            (kind.width, kind.height), box=(left, top, left + width, top + height)
        )
        grain = random.integers(-6, 7, (kind.height, kind.width, 1), np.int16)
        pixels = np.clip(np.asarray(section, np.int16) + grain, 0, 255).astype(np.uint8)
        path = folder / f"class {number % classes}" / f"{number}.{kind.ending}"
        Image.fromarray(pixels).save(path, quality=90)

    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(make, range(kind.pictures)))


def speeds(repeats: int, say: Say) -> pd.DataFrame:
    """Measure reading a folder here and by `keras.utils.image_dataset_from_directory`.

    Both give batches of 32 pictures of 128 × 128, RGB, stretched, as TensorFlow's tensors, and take
    turns. The first pass includes finding the files, and here the making of the cache; a later
    pass is one over all pictures again. All files are in the system's memory beforehand.

    Returns:
        A row a kind of pictures: medians of pictures a second, and ours over Keras's.
    """
    rows = {}
    for name, kind in KINDS.items():
        say(f"{name}: making {kind.pictures} of {kind.width} × {kind.height}")
        with tempfile.TemporaryDirectory() as place:
            make_folder(Path(place), kind)
            rows[name] = compare(Path(place), kind, repeats)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pictures")


def compare(folder: Path, kind: Kind, repeats: int) -> dict[str, object]:
    """Return the row of one folder; see `speeds`."""
    found = []
    for round_ in range(repeats + 1):
        times: dict[str, float] = {}
        for name, way in {"keras": by_keras, "ours": by_ours}.items():
            passes = way(folder)
            times |= {f"{name}, first": next(passes), f"{name}, later": next(passes)}
        if round_:  # one to warm up
            found.append(times)
    rates = {
        name: kind.pictures / statistics.median(times[name] for times in found) for name in found[0]
    }
    ratios = {
        f"ours / keras, {which}": rates[f"ours, {which}"] / rates[f"keras, {which}"]
        for which in ("first", "later")
    }
    shape = f"{kind.pictures} of {kind.width} × {kind.height}, {kind.ending}"
    return {"folder": shape, **rates, **ratios}


def by_keras(folder: Path) -> Iterator[float]:
    """Yield the seconds of a first and of later passes over a folder, read by Keras."""
    from convnetlab.backend import keras

    start = time.perf_counter()
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=False, verbose=False
    )
    while True:
        for _ in data:
            pass
        yield time.perf_counter() - start
        start = time.perf_counter()


def by_ours(folder: Path) -> Iterator[float]:
    """Yield the seconds of a first and of later passes over a folder, read through a new cache."""
    from convnetlab import datasets, streams

    with tempfile.TemporaryDirectory() as runs, environment(CONVNETLAB_RUNS=runs):
        start = time.perf_counter()
        source = f"folder:{folder}?size={SIZE}&fit=stretch&memory=0"
        data = datasets.load(source, say=lambda line: None)
        while True:
            for fetch, labels in (
                (data.train_batch, data.train_labels),
                (data.test_batch, data.test_labels),
            ):
                for _ in streams.batches(fetch, np.arange(len(labels)), labels, BATCH):
                    pass
            yield time.perf_counter() - start
            start = time.perf_counter()


def memory(say: Say, count: int = MANY) -> dict[str, float]:
    """Measure the memory that reading many pictures takes, in a process of its own.

    It loads the folder, asks for every picture once, in a random order, and takes the content
    hash. Linux only: it watches the anonymous memory of the process and of its children.

    Returns:
        `pictures`; `seconds`; `peak_mb`: the largest anonymous memory at once, in MB.
    """
    say(f"making {count:,} pictures")
    with tempfile.TemporaryDirectory() as place:
        make_folder(Path(place) / "pictures", Kind(count, 200, 150, "jpg"))
        say(f"reading {count:,} pictures")
        start, peak = time.perf_counter(), 0
        with environment(CONVNETLAB_RUNS=f"{place}/runs"), subprocess.Popen(reader(place)) as child:
            while child.poll() is None:
                peak = max(peak, anonymous(child.pid))
                time.sleep(0.02)
        if child.returncode:
            raise RuntimeError(f"the reading process ended with {child.returncode}")
        return {"pictures": count, "seconds": time.perf_counter() - start, "peak_mb": peak / 1e6}


def reader(place: str) -> list[str]:
    """Return the command that reads the folder `pictures` in a place."""
    program = (
        "import sys, numpy as np\n"
        "from convnetlab import datasets\n"
        "data = datasets.load(f'folder:{sys.argv[1]}/pictures', say=lambda line: None)\n"
        "order = np.random.default_rng(0).permutation(len(data.train_labels))\n"
        "for start in range(0, len(order), 32):\n"
        "    data.train_batch(order[start : start + 32])\n"
        "data.content_hash()\n"
    )
    return [sys.executable, "-c", program, place]


def anonymous(process: int) -> int:
    """Return the anonymous resident memory of a process and of its children, in bytes."""
    total = 0
    try:
        here = psutil.Process(process)
        for each in [here, *here.children(recursive=True)]:
            for line in Path(f"/proc/{each.pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
    except (psutil.Error, OSError):  # it has just ended
        return 0
    return total
