"""Stage 2: networks, and the arithmetic of their parameters.

Every network takes raw pixels, 0..255, and begins with a `Rescaling` layer, so that whoever loads
a saved model need not know how its pictures were normalised. Adding a network is one function
and one line in `ARCHITECTURES`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from convnetlab.backend import keras
from convnetlab.convolution import convolution_parameters, dense_parameters
from convnetlab.errors import LabError

layers = keras.layers
Shape = tuple[int, int, int]


def build(name: str, input_shape: Shape, classes: int) -> keras.Model:
    """Build an untrained network.

    Args:
        name: one of `ARCHITECTURES`.
        input_shape: (H, W, C) of the pictures.
        classes: how many classes there are.

    Raises:
        LabError: the name is unknown, or the pictures are too small.
    """
    if name not in ARCHITECTURES:
        raise LabError(f"architecture is {name!r}; it must be one of: {', '.join(ARCHITECTURES)}.")
    if min(input_shape[:2]) < SMALLEST:
        raise LabError(
            f"architecture {name!r}: the pictures are {input_shape[0]} × {input_shape[1]}, and "
            f"both sides must be at least {SMALLEST}."
        )
    return ARCHITECTURES[name](input_shape, classes)


def reference(input_shape: Shape, classes: int) -> keras.Model:
    """The network of the lab sheet: one convolution, one pooling, two dense layers.

    For 28×28 grey pictures of ten classes it has 320 + 540,900 + 1,010 = 542,230 parameters.
    """
    return keras.Sequential(
        [
            keras.Input(input_shape, name="image"),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(32, 3, activation="relu", name="convolution"),
            layers.MaxPooling2D(2, name="pooling"),
            layers.Flatten(name="flatten"),
            layers.Dense(100, activation="relu", name="hidden"),
            layers.Dense(classes, activation="softmax", name="probabilities"),
        ],
        name="reference",
    )


SMALLEST = 4  # a 3×3 window and a 2×2 pooling leave at least one number
ARCHITECTURES: dict[str, Callable[[Shape, int], keras.Model]] = {"reference": reference}


def layer_table(model: keras.Model) -> pd.DataFrame:
    """Return a row a layer: `layer`, `output shape`, `parameters`, `arithmetic`.

    The parameters are Keras's count. For convolutional and dense layers the arithmetic shows where
    they come from, worked out from the layer's shapes alone.

    Raises:
        AssertionError: the arithmetic does not give Keras's count.
    """
    rows = []
    for layer in model.layers:
        arithmetic, expected = explain_parameters(layer)
        count = layer.count_params()
        assert expected in (None, count), f"{layer.name}: {arithmetic} is not Keras's {count}"
        rows.append((layer.name, tuple(layer.output.shape[1:]), count, arithmetic))
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters", "arithmetic"])


def explain_parameters(layer: keras.Layer) -> tuple[str, int | None]:
    """Return a layer's parameters as arithmetic and as a number, None where we have no formula."""
    inputs = layer.input.shape
    if type(layer) is layers.Conv2D and layer.groups == 1 and layer.use_bias:
        height, width = layer.kernel_size
        text = f"({height}·{width}·{inputs[-1]} + 1) · {layer.filters}"
        return text, convolution_parameters(height, width, inputs[-1], layer.filters)
    if type(layer) is layers.Dense and layer.use_bias:
        return f"({inputs[-1]} + 1) · {layer.units}", dense_parameters(inputs[-1], layer.units)
    if isinstance(layer, layers.Flatten):
        return f"none: {'·'.join(map(str, inputs[1:]))} = {np.prod(inputs[1:])} numbers", 0
    return ("none", 0) if not layer.weights else ("not worked out here", None)


def sheet_table() -> pd.DataFrame:
    """Return the layer table that the lab sheet prints, errors and all, for comparison."""
    return pd.DataFrame(
        [
            ("convolution", (26, 26, 32), 320),
            ("pooling", (13, 13, 32), 0),
            ("flatten", (169,), 0),
            ("hidden", (100,), 16_900),
            ("probabilities", (10,), 1_010),
            ("total", (), 17_220),
        ],
        columns=["layer", "output shape", "parameters"],
    )


def layer_outputs(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return every layer's output for pictures (N, H, W, C), float32 (N, …), by layer name."""
    probe = keras.Model(model.inputs[0], [layer.output for layer in model.layers])
    outputs = probe(images, training=False)
    return {
        layer.name: np.asarray(output) for layer, output in zip(model.layers, outputs, strict=True)
    }
