"""Ways to compute the same, side by side: convolution, and a model's answers to many pictures.

`convnetlab bench --only convolution` and `--only prediction` take about a minute each.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from convnetlab import convolution

BATCH = 32
ALONE = 100  # pictures that are predicted one by one


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


def medians(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return each way's median milliseconds; they take turns, after two turns to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 2):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(taken[2:]) for name, taken in times.items()}


def as_text(layers: pd.DataFrame) -> str:
    """Return the table of `convolutions` to print, and the medians over its layers."""
    against_keras, against_loops = layers[["ours / Keras", "loops / ours"]].median()
    return (
        f"conv2d of {BATCH} pictures, milliseconds; loops: measured with one picture and one "
        f"filter, scaled up by count\n{layers.round(2).to_string()}\n"
        f"median: {against_keras:.2f} times the time of the faster Keras, eager or graph; "
        f"{against_loops:.0f} times faster than loops"
    )


def predictions(repeats: int = 5) -> pd.DataFrame:
    """Measure how long the reference network takes to answer test pictures, on this machine.

    In one pass, as stage 4 does; with a call of `predict` for every picture in a loop, as the lab
    sheet does; and with a direct call of the model in the loop. The weights are random, for they
    do not change the time; the three ways must agree.

    Returns:
        A row a way: the pictures answered, the median milliseconds a picture, and that over the
        milliseconds of the one pass.
    """
    from convnetlab import architectures, datasets, evaluation

    data = datasets.load("mnist")
    everything = np.arange(len(data.test_labels))
    model = architectures.build("reference", data.image_shape, len(data.classes))
    pictures = data.test_batch(everything[:ALONE])

    def one_by_one(call: Callable[[convolution.Floats], object]) -> convolution.Floats:
        return np.concatenate([np.asarray(call(picture[np.newaxis])) for picture in pictures])

    ways: dict[str, Callable[[], convolution.Floats]] = {
        "one pass": lambda: evaluation.predict(model, data, everything)[:ALONE],
        "predict, in a loop": lambda: one_by_one(functools.partial(model.predict, verbose=0)),
        "call, in a loop": lambda: one_by_one(model),
    }
    for way in ways.values():
        np.testing.assert_allclose(way(), ways["one pass"](), atol=1e-5)
    counts = dict.fromkeys(ways, ALONE) | {"one pass": len(everything)}
    times = {name: taken / counts[name] for name, taken in medians(ways, repeats).items()}
    ratios = {name: taken / times["one pass"] for name, taken in times.items()}
    columns = {"pictures": counts, "ms a picture": times, "times the one pass": ratios}
    return pd.DataFrame(columns).rename_axis("way")
