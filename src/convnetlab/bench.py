"""`convnetlab bench`: times, memory and accuracy, side by side in one sitting.

Every training runs in a process of its own: `python -m convnetlab.bench RECIPE SEED ARCHITECTURE`.
`convnetlab bench --only convolution` measures the lab's `conv2d` against Keras's alone, in under a
minute; `--only networks` trains every architecture, and makes the table that the notebooks show.
"""

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from convnetlab import convolution
from convnetlab.handoff import read_json, write_atomically, write_json
from convnetlab.paths import STAGES, runs_folder

Say = Callable[[str], object]
BATCH = 32


class Shape(NamedTuple):
    """A convolutional layer: maps of size × size pixels and so many channels, and its filters."""

    size: int
    channels: int
    filters: int
    kernel: int
    strides: int
    padding: str


# Layers as in small versions of the classical networks, for pictures of 28 or 32 pixels.
LAYERS = {
    "LeNet-5, first": Shape(28, 1, 8, 5, 1, "same"),
    "LeNet-5, second": Shape(14, 8, 16, 5, 1, "valid"),
    "AlexNet, first": Shape(32, 3, 32, 5, 2, "same"),
    "AlexNet, second": Shape(16, 32, 64, 5, 1, "same"),
    "VGG, early": Shape(32, 16, 16, 3, 1, "same"),
    "VGG, late": Shape(8, 64, 128, 3, 1, "same"),
    "GoogLeNet, 1 × 1": Shape(16, 64, 32, 1, 1, "same"),
    "ResNet, early": Shape(28, 16, 16, 3, 1, "same"),
    "ResNet, halving": Shape(32, 16, 32, 3, 2, "same"),
    "MobileNet, 1 × 1": Shape(8, 128, 128, 1, 1, "same"),
}
# What `networks` tells of a network as published.
PUBLISHED = (
    "year",
    "idea",
    "depth",
    "parameters",
    "published parameters",
    "multiply-adds",
    "published multiply-adds",
    "counted in",
)
START_UPS = {"import convnetlab": ["-c", "import convnetlab"], "--help": ["-m", "convnetlab", "-h"]}


def measure(quick: bool, repeats: int = 3, say: Say = print) -> str:
    """Run everything, write `runs/bench/bench.json` and `.csv`, and return the tables as text.

    The listing's fit and the whole lab's run take turns, as do the recipe's seeds, so that a
    machine that slows down slows both.

    Args:
        quick: smoke pictures and one seed; written to `quick.json`, and no source of figures.
        repeats: how often everything is run otherwise, with the seeds 1, 2, …
        say: gets a line of progress now and then.
    """
    seeds = range(1, 2 if quick else repeats + 1)
    environment = {**os.environ, "CONVNETLAB_SMOKE": "1" if quick else "0"}
    trainings, labs = [], []
    for seed in seeds:
        for recipe in ("listing", "one-cycle"):
            say(f"recipe {recipe}, seed {seed}")
            trainings.append(train_apart(recipe, seed, environment))
            say(f"  {trainings[-1]['train_seconds']:.1f} s")
        say(f"the whole lab, seed {seed}")
        labs.append(run_apart(seed, quick, environment))
        say(f"  {labs[-1]['seconds']:.1f} s")
    say("the lab's conv2d against Keras's")
    layers = convolutions(1 if quick else 15)
    recipes = summarise(pd.DataFrame(trainings))
    listing_seconds = recipes.loc["listing", "train_seconds"]
    lab_seconds = statistics.median(lab["seconds"] for lab in labs)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "quick": quick,
        "recipes": recipes.reset_index().to_dict("records"),
        "lab_seconds": lab_seconds,
        "lab_against_listing_fit": lab_seconds / listing_seconds,
        "stages": median_stages(labs),
        "start_up_seconds": {name: start_up(command) for name, command in START_UPS.items()},
        "convolutions": layers.reset_index().to_dict("records"),
    }
    folder = runs_folder() / "bench"
    write_json(folder / ("quick.json" if quick else "bench.json"), result)
    if not quick:
        write_atomically(folder / "bench.csv", lambda path: recipes.to_csv(path))
    return f"{as_text(result, recipes)}\n\n{convolutions_as_text(layers)}"


def train_apart(
    recipe: str, seed: int, environment: dict[str, str], architecture: str = "reference"
) -> dict[str, Any]:
    """Train in a fresh process; return what `train_here` measures."""
    command = [sys.executable, "-m", "convnetlab.bench", recipe, str(seed), architecture]
    finished = subprocess.run(
        command,
        env={**environment, "CONVNETLAB_HEADLESS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def train_here(recipe_name: str, seed: int, architecture: str) -> dict[str, Any]:
    """Train a network on MNIST as the notebooks do, and test it once."""
    import psutil

    from convnetlab import architectures, datasets, evaluation, preprocess, recipes, training
    from convnetlab.notebooks import peak_memory

    data = datasets.load("mnist")
    split = preprocess.split(data, 0.1, seed)
    training.set_seed(seed)
    model = architectures.build(architecture, data.image_shape, len(data.classes))
    trained = training.train(model, data, split, recipes.choose(recipe_name), seed)
    peak = peak_memory(psutil.Process())
    indices, truth = preprocess.part_of(split, "test")
    predicted = evaluation.predict(model, data, indices).argmax(axis=1)
    right = int((predicted == truth).sum())
    return {
        "recipe": recipe_name,
        "seed": seed,
        "epochs": len(trained.history),
        "train_seconds": trained.seconds,
        "accuracy": right / len(truth),
        "interval": evaluation.accuracy_interval(right, len(truth)),
        "peak_memory_mb": peak / 2**20,
        "parameters": model.count_params(),
    }


def run_apart(seed: int, quick: bool, environment: dict[str, str]) -> dict[str, Any]:
    """Run the whole lab as a user would, `convnetlab run`; return its wall time and its stages."""
    command = [sys.executable, "-m", "convnetlab", "run", "--run", "bench-lab", "-p", "seed"]
    command += [str(seed), *(["--smoke"] if quick else [])]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "stages": read_json(runs_folder() / "bench-lab" / "run.json")["stages"],
    }


def start_up(arguments: list[str]) -> float:
    """Return the median wall time, in seconds, of five starts of Python with these arguments."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def convolutions(repeats: int = 15) -> pd.DataFrame:
    """Measure `conv2d` of 32 pictures against Keras and against plain loops, on the CPU.

    Keras is `keras.ops.conv` on tensors, eager or within a `tf.function` (graph), whichever is
    faster. The loops are `convolve2d` with one filter on one picture, scaled up by count.

    Returns:
        A row a layer of `LAYERS`: medians in milliseconds (ours, eager, graph, loops), ours over
        the faster Keras (ours / Keras), and loops / ours.
    """
    rows = {name: race(shape, repeats) for name, shape in LAYERS.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")
    table["ours / Keras"] = table["ours"] / table[["eager", "graph"]].min(axis=1)
    table["loops / ours"] = table["loops"] / table["ours"]
    return table


def race(shape: Shape, repeats: int) -> dict[str, str | float]:
    """Return one layer's shape as text, and the median milliseconds of each way to compute it."""
    from convnetlab.backend import keras, tf

    size, channels, filters, kernel, strides, padding = shape
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (BATCH, size, size, channels)).astype(np.float32)
    weights = random.uniform(-1, 1, (kernel, kernel, channels, filters)).astype(np.float32)
    tensors = tf.constant(images), tf.constant(weights)
    eager = functools.partial(keras.ops.conv, strides=strides, padding=padding)
    graph = tf.function(lambda images, weights: eager(images, weights))
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: convolution.conv2d(images, weights, None, strides, padding),
        "eager": lambda: eager(*tensors).numpy(),
        "graph": lambda: graph(*tensors).numpy(),
    }
    loops = medians({"loops": lambda: one_map_by_loops(images[0], weights[..., 0], padding)}, 1)
    # The loops go to every place; with strides, only one in strides² of them is wanted.
    scale = BATCH * filters / strides**2
    named = f"{size}×{size}×{channels}, {filters} of {kernel}×{kernel} / {strides}, {padding}"
    return {"shape": named, **medians(ways, repeats), "loops": loops["loops"] * scale}


def one_map_by_loops(
    image: convolution.Floats, weights: convolution.Floats, padding: str
) -> convolution.Floats:
    """Convolve one picture (H, W, C) with one filter (h, w, C), h = w odd, by plain loops."""
    margin = len(weights) // 2 if padding == "same" else 0
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    channels = range(image.shape[2])
    maps = [convolution.convolve2d(padded[..., c], weights[..., c]) for c in channels]
    return np.asarray(np.sum(maps, axis=0), np.float32)


def medians(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return each way's median milliseconds; they take turns, after two turns to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 2):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(taken[2:]) for name, taken in times.items()}


def summarise(trainings: pd.DataFrame) -> pd.DataFrame:
    """Return a row a recipe: median time and memory, mean and spread of the accuracy, speed-up."""
    groups = trainings.groupby("recipe", sort=False)
    table = groups[["train_seconds", "peak_memory_mb", "parameters"]].median()
    table["runs"] = groups.size()
    table["accuracy_mean"] = groups["accuracy"].mean()
    table["accuracy_std"] = groups["accuracy"].std(ddof=0)
    seconds = table["train_seconds"].to_dict()
    table["speedup"] = [seconds["listing"] / took for took in seconds.values()]
    return table


def median_stages(labs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a stage: median time and cell time, in seconds, and the largest memory, MiB."""
    return [
        {
            "notebook": stage,
            "seconds": statistics.median(lab["stages"][stage]["seconds"] for lab in labs),
            "cell_seconds": statistics.median(lab["stages"][stage]["cell_seconds"] for lab in labs),
            "peak_mb": max(lab["stages"][stage]["peak_mb"] for lab in labs),
        }
        for stage in STAGES
    ]


def as_text(result: dict[str, Any], recipes: pd.DataFrame) -> str:
    """Return the tables to print."""
    starts = ", ".join(f"{name} {took:.2f} s" for name, took in result["start_up_seconds"].items())
    return "\n\n".join(
        [
            f"{result['machine']}" + (" (quick: says nothing)" if result["quick"] else ""),
            recipes.round(4).to_string(),
            pd.DataFrame(result["stages"]).round(1).to_string(index=False),
            f"the whole lab: {result['lab_seconds']:.1f} s, "
            f"{result['lab_against_listing_fit']:.2f} times the listing's fit alone",
            f"start-up: {starts}",
        ]
    )


def convolutions_as_text(layers: pd.DataFrame) -> str:
    """Return the table of `convolutions` to print, and the medians over its layers."""
    against_keras, against_loops = layers[["ours / Keras", "loops / ours"]].median()
    return (
        f"conv2d of {BATCH} pictures, milliseconds; loops: measured with one picture and one "
        f"filter, scaled up by count\n{layers.round(2).to_string()}\n"
        f"median: {against_keras:.2f} times the time of the faster Keras, eager or graph; "
        f"{against_loops:.0f} times faster than loops"
    )


def networks(quick: bool, say: Say = print) -> str:
    """Train every architecture on MNIST, write `runs/bench/networks.csv`, return it as text.

    One training each, with the recipe one-cycle and seed 1, at scale "lab"; beside it what the
    network costs as published, by our count and in print. `quick` trains on the smoke pictures and
    writes `networks-quick.csv`.
    """
    from convnetlab.architectures import ARCHITECTURES

    environment = {**os.environ, "CONVNETLAB_SMOKE": "1" if quick else "0"}
    rows = {}
    for name in ARCHITECTURES:
        say(f"architecture {name}")
        measured = train_apart("one-cycle", 1, environment, name)
        rows[name] = {
            **costs(name),
            "epochs": measured["epochs"],
            "seconds an epoch": round(measured["train_seconds"] / measured["epochs"], 1),
            "accuracy": measured["accuracy"],
            "low": round(measured["interval"][0], 4),
            "high": round(measured["interval"][1], 4),
        }
        say(f"  {rows[name]['seconds an epoch']} s an epoch, accuracy {rows[name]['accuracy']:.4f}")
    # Whole numbers, though some rows have none.
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("network").convert_dtypes()
    path = runs_folder() / "bench" / ("networks-quick.csv" if quick else "networks.csv")
    write_atomically(path, lambda file: table.to_csv(file))
    return table.to_string()


def costs(name: str) -> dict[str, Any]:
    """Return a network's facts and costs: as published, by our count and in print, and here."""
    from convnetlab import architectures, inspection

    network = architectures.ARCHITECTURES[name]
    small = architectures.outline(name, (28, 28, 1), 10)
    row: dict[str, Any] = dict.fromkeys(PUBLISHED)
    if network.paper_input:
        whole = architectures.published(name)
        row |= {
            "year": network.year,
            "idea": network.idea,
            "depth": network.depth,
            "parameters": inspection.trainable_parameters(whole),
            "published parameters": network.parameters,
            "multiply-adds": int(inspection.multiply_adds(whole).sum()),
            "published multiply-adds": network.multiply_adds,
            "counted in": network.counted_in,
        }
    row["lab parameters"] = inspection.trainable_parameters(small)
    row["lab multiply-adds"] = int(inspection.multiply_adds(small).sum())
    return row


if __name__ == "__main__":
    print(json.dumps(train_here(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
