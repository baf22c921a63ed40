"""What `further/edge` tries out: where bytes go, what calibration changes, what int8 bears.

Each function returns a table or what a cell shows; the files are LiteRT's, as `deployment` writes
them.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import drawings, edge, quantisation, robustness
from convnetlab.datasets import Dataset
from convnetlab.deployment import calibration_pictures
from convnetlab.edge_answers import KERAS
from convnetlab.edge_figures import changed
from convnetlab.figures import LabFigure
from convnetlab.preprocess import part_of
from convnetlab.robustness import CORRUPTIONS

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BYTES = {"float32": (4, 4), "float16": (2, 2), "dynamic": (1, 4), "int8": (1, 4)}
CALIBRATIONS = ("one picture", "blank pages", "one class", "noise", "pale pictures")


def parameter_bytes(model: Any, files: Mapping[str, bytes]) -> pd.DataFrame:
    """Return how many bytes of each file are parameters, and how many something else.

    Of batch normalisation, which the converter computes into the weights before it, only biases
    remain, and a bias is counted for each output of a kernel.
    """
    kernels = [weight.shape for weight in model.weights if len(weight.shape) > 1]
    weights = int(sum(np.prod(shape) for shape in kernels))
    biases = int(sum(shape[-1] for shape in kernels))
    rows = {}
    for name, file in files.items():
        taken = weights * BYTES[name][0] + biases * BYTES[name][1]
        rows[name] = {"parameters": taken, "file": len(file), "the rest": len(file) - taken}
    return pd.DataFrame.from_dict(rows, orient="index")


def trained_weights(model: Any, layer: quantisation.Dense) -> Floats:
    """Return the weights that a dense layer of a file was made from, float32 (m, n)."""
    meant = quantisation.dequantise(layer.weights, layer.weight_scales.reshape(-1, 1), 0)
    shape = layer.weights.shape[::-1]
    fitting = [np.asarray(w).T for w in model.weights if tuple(w.shape) == shape]
    nearest: Floats = min(fitting, key=lambda weights: float(np.abs(weights - meant).max()))
    return nearest


def calibrate(
    model: Any,
    data: Dataset,
    split: pd.DataFrame,
    images: Pixels,
    labels: Integers,
    kinds: Sequence[str] = CALIBRATIONS,
) -> pd.DataFrame:
    """Return what int8 is worth by what it was calibrated on: `accuracy` on pictures, a row a kind.

    `largest` is the largest number that the inputs of the last dense layer can be.

    Args:
        model: takes raw pixels, gives probabilities.
        data: the run's data set.
        split: the run's split.
        images: to judge by, (N, H, W, C).
        labels: their classes, (N,).
        kinds: of `CALIBRATIONS`; training pictures as they come are always among the rows.
    """
    pictures = calibration_pictures(data, split)
    indices, classes = part_of(split, "train")
    noise = np.random.default_rng(0).integers(0, 256, pictures.shape).astype(np.uint8)
    one_class = data.train_batch(indices[classes == classes[0]][: len(pictures)])
    wrong = [pictures[:1], np.zeros_like(pictures), one_class, noise, pictures // 8]
    ways = dict(zip(CALIBRATIONS, wrong, strict=True))
    chosen = {f"{len(pictures)} pictures": pictures} | {kind: ways[kind] for kind in kinds}
    rows = {}
    for name, calibration in chosen.items():
        file = edge.export(model, "int8", calibration)
        layer = quantisation.last_dense(file, images[0])
        right = edge.predict(file, images).argmax(axis=1) == labels
        largest = layer.input_scale * (quantisation.HIGHEST - layer.input_zero)
        rows[name] = {"accuracy": right.mean(), "largest": largest}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("calibrated on")


def under_corruption(
    files: Mapping[str, bytes], images: Pixels, labels: Integers, seed: int
) -> pd.DataFrame:
    """Return accuracies of two files on corrupted pictures, and how often they say the same.

    Args:
        files: two, by name.
        images: (N, H, W, C).
        labels: their classes, (N,).
        seed: of the noise.
    """
    middle = {
        name: robustness.corrupt(name, images, robustness.MIDDLE, seed) for name in CORRUPTIONS
    }
    rows = {}
    for name, pictures in {"unchanged": images, **middle}.items():
        said = {which: edge.predict(file, pictures).argmax(axis=1) for which, file in files.items()}
        first, second = said.values()
        rows[name] = {which: (answer == labels).mean() for which, answer in said.items()}
        rows[name]["the same answer"] = (first == second).mean()
    return pd.DataFrame.from_dict(rows, orient="index")


def on_the_fence(
    said: Mapping[str, Floats], data: Dataset, indices: Integers, count: int = 10
) -> LabFigure:
    """Draw the test pictures of which Keras's two best guesses lie nearest, and what int8 says.

    Args:
        said: probabilities (N, classes), of `KERAS` and "int8" at least.
        data: where the pictures are.
        indices: which, (N,).
        count: how many at most.
    """
    best = np.sort(said[KERAS], axis=1)
    nearest = np.argsort(best[:, -1] - best[:, -2], kind="stable")[:count]
    rows = []
    for place in nearest:
        keras, int8 = said[KERAS][place], said["int8"][place]
        numbers = data.test_labels[indices[place]], keras.argmax(), int8.argmax()
        row: dict[str, object] = dict(
            zip(("truth", "keras", "says"), (data.classes[n] for n in numbers), strict=True)
        )
        row |= {"variant": "int8", "keras confidence": keras.max(), "confidence": int8.max()}
        rows.append(pd.DataFrame([row]))
    title = "Test pictures on the fence: what they are, and what is said of them"
    return changed(data.test_batch(indices[nearest]), rows, data.classes, title)


def ways_onto_the_page(images: Pixels, drawn: drawings.Drawings, seed: int) -> dict[str, Pixels]:
    """Return drawings as painted on a canvas and made small in two ways, (N, h, w, 1) by name."""
    height, width = images.shape[1:3]
    canvases = [*drawings.painted(images, seed, is_dark=drawn.is_dark)]
    small = [drawings.both_ways(canvas, height, width, drawn) for canvas in canvases]
    naive, cut = zip(*small, strict=True)
    whole = [drawings.on_ground(canvas, drawn.is_dark)[..., None] for canvas in canvases]
    rows = {"as drawn": whole, "merely resized": naive, "as MNIST did": cut}
    return {name: np.stack(pictures) for name, pictures in rows.items()}


def refused_anew(said: Mapping[str, Floats], shares: Sequence[float]) -> pd.DataFrame:
    """Return which share of pictures int8 answers at the threshold at which Keras answers a share.

    Args:
        said: probabilities (N, classes), of `KERAS` and "int8" at least.
        shares: of the pictures, those of which Keras is surest, 0..1.
    """
    keras, int8 = (said[name].max(axis=1) for name in (KERAS, "int8"))
    limits = np.quantile(keras, 1 - np.asarray(shares), method="higher")
    rows = {
        "threshold": limits,
        "Keras answers": [(keras >= limit).mean() for limit in limits],
        "int8 answers": [(int8 >= limit).mean() for limit in limits],
    }
    return pd.DataFrame(rows)


def policy_of(page: Path) -> list[str]:
    """Return what a page's content security policy says, a rule a line."""
    found = re.search(r'Content-Security-Policy" content="(.*?)"', page.read_text("utf-8"))
    return unescape(found.group(1)).split("; ") if found else []


def loaded_by(page: Path) -> list[str]:
    """Return what a page's tags load beside what stands in it."""
    sources = re.findall(r"<[^<>]*?\s(?:src|href)=[\"'](.*?)[\"']", page.read_text("utf-8"))
    return [source for source in sources if not source.startswith(("data:", "#"))]


def installed_bytes(package: str) -> int:
    """Return how much room an installed package takes on the disk."""
    found = find_spec(package)
    if found is None or found.origin is None:
        return 0
    files = Path(found.origin).parent.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


ALONE = """
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
import numpy as np
from convnetlab import edge
said = edge.asker(open(sys.argv[1], "rb").read())(np.load(sys.argv[2]))
print(said.argmax(), "tensorflow" in sys.modules, len(asked))
"""


@dataclass(frozen=True)
class Alone:
    """What a process of its own did to answer one picture.

    Attributes:
        answer: the class.
        loaded_tensorflow: whether TensorFlow was in it.
        connections: how often Python asked the system for anything of a network.
    """

    answer: int
    loaded_tensorflow: bool
    connections: int


def ask_alone(file: Path, image: Pixels) -> Alone:
    """Let a new process answer one picture, (H, W, C), by a LiteRT file, and watch it."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.npy"
        np.save(picture, image)
        command = [sys.executable, "-c", ALONE, str(file), str(picture)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return Alone(int(said[0]), said[1] == "True", int(said[2]))
