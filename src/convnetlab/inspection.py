"""What can be read off a Keras model: parameters, multiply-adds, receptive fields, outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from convnetlab import convolution
from convnetlab.backend import keras

layers = keras.layers

Explanation = tuple[str, int | None]  # arithmetic, and its result


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """Return a model's layers without its input."""
    return [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]


def layer_table(model: keras.Model) -> pd.DataFrame:
    """Return a row a layer: `layer`, `output shape`, `parameters`, `arithmetic`.

    The parameters are Keras's count. The arithmetic shows where they come from, worked out from
    the layer's shapes alone.

    Raises:
        AssertionError: the arithmetic does not give Keras's count.
    """
    rows = []
    for layer in layers_of(model):
        arithmetic, expected = explain_parameters(layer)
        count = layer.count_params()
        assert expected in (None, count), f"{layer.name}: {arithmetic} is not Keras's {count}"
        rows.append((layer.name, tuple(layer.output.shape[1:]), count, arithmetic))
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters", "arithmetic"])


def explain_parameters(layer: keras.Layer) -> Explanation:
    """Return a layer's parameters as arithmetic and as a number, None where we have no formula."""
    if type(layer) in EXPLANATIONS:
        return EXPLANATIONS[type(layer)](layer)
    return ("none", 0) if not layer.weights else ("not worked out here", None)


def explain_convolution(layer: keras.Layer) -> Explanation:
    """Explain (height·width·channels + 1 bias)·filters; a group sees its share of the channels."""
    (height, width), channels = layer.kernel_size, layer.input.shape[-1]
    group = f"{channels}/{layer.groups}" if layer.groups > 1 else f"{channels}"
    count = convolution.parameters(
        height, width, channels, layer.filters, layer.groups, layer.use_bias
    )
    return product(f"{height}·{width}·{group}", layer.filters, layer.use_bias), count


def explain_depthwise(layer: keras.Layer) -> Explanation:
    """Explain (height·width + 1 bias)·channels: one filter for each channel."""
    (height, width), channels = layer.kernel_size, layer.input.shape[-1]
    filters = channels * layer.depth_multiplier
    count = convolution.parameters(height, width, channels, filters, channels, layer.use_bias)
    return product(f"{height}·{width}", filters, layer.use_bias), count


def explain_dense(layer: keras.Layer) -> Explanation:
    """Explain (inputs + 1 bias)·units."""
    inputs = layer.input.shape[-1]
    count = convolution.dense_parameters(inputs, layer.units) - (
        0 if layer.use_bias else layer.units
    )
    return product(f"{inputs}", layer.units, layer.use_bias), count


def product(inputs: str, outputs: int, bias: bool) -> str:
    """Return `(inputs + 1) · outputs`, or without biases `inputs · outputs`."""
    return f"({inputs} + 1) · {outputs}" if bias else f"{inputs} · {outputs}"


def explain_normalisation(layer: keras.Layer) -> Explanation:
    """Explain batch normalisation's figures for each channel."""
    channels = layer.input.shape[layer.axis]
    trained = [word for word, used in (("scale", layer.scale), ("shift", layer.center)) if used]
    text = ", ".join([*trained, "and two running figures (not trained)"])
    count = len(trained) + 2
    return f"{count} · {channels}: {text if trained else text.removeprefix('and ')}", (
        count * channels
    )


def explain_flatten(layer: keras.Layer) -> Explanation:
    """Explain how many numbers there are in a row."""
    sizes = layer.input.shape[1:]
    return f"none: {'·'.join(map(str, sizes))} = {np.prod(sizes)} numbers", 0


EXPLANATIONS: dict[type, Callable[[Any], Explanation]] = {
    layers.Conv2D: explain_convolution,
    layers.DepthwiseConv2D: explain_depthwise,
    layers.Dense: explain_dense,
    layers.BatchNormalization: explain_normalisation,
    layers.Flatten: explain_flatten,
}


def trainable_parameters(model: keras.Model) -> int:
    """Return how many numbers training changes; batch normalisation's running figures are none."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def stages(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a network goes through: (H, W, C), (units,) by layer name.

    Of layers one after the other whose maps have the same sides the last one is named; of the
    layers without maps, the dense ones. Padding by itself is no stage.
    """
    found: dict[str, tuple[int, ...]] = {"input": tuple(model.inputs[0].shape[1:])}
    for layer in layers_of(model):
        shape, (last, before) = tuple(layer.output.shape[1:]), list(found.items())[-1]
        if isinstance(layer, layers.ZeroPadding2D):
            continue
        if len(shape) == 3:
            if shape[:2] == before[:2] and last != "input":
                del found[last]
            if shape != found["input"]:
                found[layer.name] = shape
        elif isinstance(layer, layers.Dense):
            found[layer.name] = shape
    return found


def multiply_adds(model: keras.Model) -> pd.Series:
    """Return by layer how many multiplications with an addition one picture takes.

    Convolutional, depthwise and dense layers are counted, as papers do; every other layer has 0,
    and biases, activations, normalisation and pooling are left out. The sum is the network's.
    """
    counts = {layer.name: layer_multiply_adds(layer) for layer in layers_of(model)}
    return pd.Series(counts, name="multiply-adds", dtype="int64").rename_axis("layer")


def layer_multiply_adds(layer: keras.Layer) -> int:
    """Return one layer's multiply-adds for one picture."""
    if type(layer) is layers.Dense:
        return int(np.prod(layer.output.shape[1:])) * int(layer.input.shape[-1])
    if type(layer) not in (layers.Conv2D, layers.DepthwiseConv2D):
        return 0
    channels = layer.input.shape[-1]
    groups = channels if type(layer) is layers.DepthwiseConv2D else layer.groups
    _, rows, columns, filters = layer.output.shape
    height, width = layer.kernel_size
    return convolution.multiply_adds(rows, columns, height, width, channels, filters, groups)


@dataclass(frozen=True)
class Span:
    """What a layer's units see of the picture along one side.

    Unit i sees the pixels from `start` + i·`stride` on, `size` of them; those before 0 or beyond
    the picture are padding.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @property
    def end(self) -> int:
        """The last pixel that unit 0 sees."""
        return self.start + self.size - 1

    def through(self, kernel: int, stride: int, before: int) -> "Span":
        """Return the span after a window, with `before` units of padding in front."""
        size = self.size + (kernel - 1) * self.stride
        return Span(size, self.stride * stride, self.start - before * self.stride)

    def all_of(self, units: int, pixels: int) -> "Span":
        """Return what `units` units see together of the picture's `pixels`; there is no stride."""
        start, end = max(0, self.start), min(pixels - 1, self.end + (units - 1) * self.stride)
        return Span(end - start + 1, 0, start)


Field = tuple[Span, Span]  # rows, columns


def receptive_fields(model: keras.Model) -> pd.DataFrame:
    """Return what each layer's units can see of the picture, a row a layer.

    All but `layer` are pairs (rows, columns): `size` is how many pixels a unit sees, `stride` how
    many pixels further the next unit's begin, `start` and `end` the first and the last pixel that
    unit 0 sees; where they are outside the picture, the unit sees padding. Where branches meet, it
    is the smallest rectangle that holds them all. From a flatten, a global pooling on, units see
    all that is left of the picture together, and the stride is 0.

    Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks",
    Distill (2019).

    Raises:
        ValueError: branches with different strides meet, or a layer's window is not known.
    """
    picture = model.inputs[0].shape[1:3]
    fields: dict[int, Field] = {id(model.inputs[0]): (Span(), Span())}
    rows = []
    for layer in layers_of(model):
        inputs = [fields[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        field = layer_field(layer, union(inputs, layer.name), picture)
        fields[id(layer.output)] = field
        figures = [
            tuple(getattr(span, name) for span in field)
            for name in ("size", "stride", "start", "end")
        ]
        rows.append((layer.name, *figures))
    return pd.DataFrame(rows, columns=["layer", "size", "stride", "start", "end"])


def union(fields: list[Field], name: str) -> Field:
    """Return the smallest field that holds several, which must move with the same stride."""
    if len({tuple(span.stride for span in field) for field in fields}) > 1:
        raise ValueError(f"layer {name!r}: branches with different strides have no common field")
    spans = []
    for side in zip(*fields, strict=True):
        start, end = min(span.start for span in side), max(span.end for span in side)
        spans.append(Span(end - start + 1, side[0].stride, start))
    return spans[0], spans[1]


# These look at one place at a time.
POINTWISE = (
    layers.Activation,
    layers.BatchNormalization,
    layers.Dropout,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
)
MERGING = (layers.Add, layers.Average, layers.Maximum, layers.Multiply, layers.Subtract)
GLOBAL = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
WINDOWS = (layers.Conv2D, layers.DepthwiseConv2D)
POOLINGS = (layers.AveragePooling2D, layers.MaxPooling2D)


def layer_field(layer: keras.Layer, field: Field, picture: tuple[int, int]) -> Field:
    """Return a layer's field from that of its inputs."""
    if isinstance(layer, GLOBAL) and len(layer.input.shape) == 4:
        units = layer.input.shape[1:3]
        rows, columns = (
            span.all_of(*pair) for span, *pair in zip(field, units, picture, strict=True)
        )
        return rows, columns
    if isinstance(layer, layers.ZeroPadding2D):
        before = (layer.padding[0][0], layer.padding[1][0])
        return through(field, (1, 1), (1, 1), before)
    if isinstance(layer, WINDOWS):
        kernel = tuple(
            dilation * (size - 1) + 1
            for size, dilation in zip(layer.kernel_size, layer.dilation_rate, strict=True)
        )
        return through(field, kernel, layer.strides, padding_before(layer, kernel))
    if isinstance(layer, POOLINGS):
        kernel = tuple(layer.pool_size)
        return through(field, kernel, layer.strides, padding_before(layer, kernel))
    channels = isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3)
    pointwise = isinstance(layer, (*POINTWISE, *MERGING, layers.Dense, layers.Flatten))
    if channels or pointwise or getattr(layer, "pointwise", False):
        return field
    raise ValueError(f"layer {layer.name!r}: what a {type(layer).__name__} sees is not known here")


def through(
    field: Field, kernel: tuple[int, ...], strides: tuple[int, ...], before: tuple[int, ...]
) -> Field:
    """Return the field after a window: kernel, strides and padding in front for either side."""
    rows, columns = (
        span.through(*window) for span, *window in zip(field, kernel, strides, before, strict=True)
    )
    return rows, columns


def padding_before(layer: keras.Layer, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Return the zeros in front of rows and columns; TensorFlow puts an odd one at the end."""
    if layer.padding == "valid":
        return 0, 0
    sizes = zip(layer.input.shape[1:3], layer.output.shape[1:3], kernel, layer.strides, strict=True)
    return tuple(
        max(0, (after - 1) * stride + window - before) // 2
        for before, after, window, stride in sizes
    )


def layer_outputs(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return every layer's output for pictures (N, H, W, C), float32 (N, …), by layer name."""
    inspected = layers_of(model)
    probe = keras.Model(model.inputs[0], [layer.output for layer in inspected])
    outputs = probe(images, training=False)
    return {
        layer.name: np.asarray(output) for layer, output in zip(inspected, outputs, strict=True)
    }
