"""Convolution and pooling in NumPy, written to be read, and the arithmetic of layers.

`convolve2d` says with plain loops what a convolution is; everything else works on whole batches
(N, H, W, C) with Keras's arguments, and gives what Keras gives to within rounding.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Numbers = NDArray[Any]
Floats = NDArray[np.float32]
Pair = int | tuple[int, int]

# `conv2d` copies the windows of so many bytes at a time: they stay in the processor's cache.
SLICE = 2**20
# NumPy's BLAS deals larger products (in multiply-adds) out to threads that wait for each other; on
# a machine with something else to do, this takes longer than the product itself.
PRODUCT = 2**19


def convolve2d(image: Floats, kernel: Floats) -> Floats:
    """Slide a kernel over one grey picture: at each place, multiply and sum.

    As in every deep-learning library this is cross-correlation: the kernel is not flipped.

    Args:
        image: (H, W).
        kernel: (h, w), no larger than the picture.

    Returns:
        float32 (H-h+1, W-w+1): one number for each place where the kernel fits ("valid").

    Raises:
        ValueError: the kernel is larger than the picture.

    >>> convolve2d(np.arange(9.0).reshape(3, 3), np.ones((2, 2))).tolist()
    [[8.0, 12.0], [20.0, 24.0]]
    """
    image, kernel = floats(image, "image", "HW"), floats(kernel, "kernel", "hw")
    height, width = kernel.shape
    rows = output_size(image.shape[0], height)
    columns = output_size(image.shape[1], width)
    output = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            window = image[row : row + height, column : column + width]
            output[row, column] = (window * kernel).sum()
    return output


def true_convolve2d(image: Floats, kernel: Floats) -> Floats:
    """Convolve as mathematicians do: the same as `convolve2d`, with the kernel turned by 180°.

    Deep-learning libraries leave out the turn and compute cross-correlation: a network learns its
    kernels, and would learn the turned ones just as well.

    Args:
        image: (H, W).
        kernel: (h, w), no larger than the picture.

    Returns:
        float32 (H-h+1, W-w+1).

    Raises:
        ValueError: the kernel is larger than the picture.

    >>> true_convolve2d(np.array([[0.0, 1.0, 0.0]]), np.array([[5.0, 7.0]])).tolist()
    [[5.0, 7.0]]
    """
    return convolve2d(image, kernel[::-1, ::-1])


def conv2d(
    images: Numbers,
    filters: Numbers,
    bias: Numbers | None = None,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
    groups: int = 1,
) -> Floats:
    """Convolve a batch with a layer's filters: one matrix product instead of loops.

    output[n, y, x, f] = bias[f] + Σ images[n, y·s + i·d, x·s + j·d, c] · filters[i, j, c, f], the
    sum being over i, j and c; s is the stride, d the dilation rate. Every window becomes a row of
    a matrix, every filter a column ("im2col": Chellapilla, Puri, Simard, "High performance
    convolutional neural networks for document processing", 2006).

    Args:
        images: (N, H, W, C), any kind of number.
        filters: (h, w, C / groups, F), as in Keras.
        bias: (F,).
        strides: pixels from one place to the next, as one number or as (row, column).
        padding: "valid", or "same": zeros around the picture until there are ⌈H / stride⌉ places,
            and where their number is odd, one more below and to the right.
        dilation_rate: pixels from one of the kernel's numbers to the next, likewise.
        groups: how many parts the channels are dealt into; the first F / groups filters see only
            the first part, and so on.

    Returns:
        float32 (N, H', W', F); `output_size` gives H' and W'.

    Raises:
        ValueError: shapes, groups, padding or strides that do not go together, a kernel larger
            than the picture, or strides and dilation at once, which Keras's Conv2D refuses too.

    >>> conv2d(np.ones((1, 3, 3, 2)), np.ones((3, 3, 2, 5)), padding="same")[0, :, :, 0].tolist()
    [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    images, filters = floats(images, "images", "NHWC"), floats(filters, "filters", "hwCF")
    check_groups(images.shape[3], filters.shape[3], groups)
    check_channels(filters, "filters", images.shape[3] // groups)
    if max(pair(strides, "strides")) > 1 and max(pair(dilation_rate, "dilation_rate")) > 1:
        raise ValueError(
            f"strides is {strides} and dilation_rate is {dilation_rate}: one of them must be 1, "
            "as in Keras"
        )
    places = windows(images, filters.shape[:2], strides, padding, dilation_rate)
    output = np.empty((*places.shape[:3], filters.shape[3]), np.float32)
    parts = (np.split(array, groups, axis=-1) for array in (places, filters, output))
    for group in zip(*parts, strict=True):
        multiply(*group)
    return add_bias(output, bias)


def multiply(places: Floats, filters: Floats, output: Floats) -> None:
    """Multiply windows (N, H', W', h, w, C) with filters (h, w, C, F) into output (N, H', W', F).

    A few pictures at a time, so that the copy of their windows stays small. Windows of 1 × 1 pixel
    need no copy: they are the picture.
    """
    matrix = filters.reshape(-1, filters.shape[3])
    step = max(1, SLICE // max(1, places[:1].nbytes))
    for start in range(0, len(places), step):
        rows = places[start : start + step].reshape(-1, len(matrix))
        part = output[start : start + step]
        part[:] = product(rows, matrix).reshape(part.shape)


def product(rows: Floats, matrix: Floats) -> Floats:
    """Return rows @ matrix, computed a few rows at a time; all at once if the matrix is large."""
    few = PRODUCT // matrix.size
    if few < 4:
        few = len(rows)
    return np.concatenate([rows[n : n + few] @ matrix for n in range(0, len(rows), few)])


def depthwise_conv2d(
    images: Numbers,
    kernels: Numbers,
    bias: Numbers | None = None,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
) -> Floats:
    """Convolve every channel by itself, with M kernels of its own; nothing is added over channels.

    Args:
        images: (N, H, W, C), any kind of number.
        kernels: (h, w, C, M), as in Keras.
        bias: (C·M,).
        strides: as in `conv2d`.
        padding: as in `conv2d`.
        dilation_rate: as in `conv2d`; here strides may go with it, as in Keras.

    Returns:
        float32 (N, H', W', C·M): the M maps of the first channel, then those of the second, ….

    Raises:
        ValueError: arguments that do not go together, or a kernel larger than the picture.

    >>> depthwise_conv2d(np.array([[[[1, 10]]]]), np.array([[[[2, 3], [4, 5]]]])).tolist()
    [[[[2.0, 3.0, 40.0, 50.0]]]]
    """
    images, kernels = floats(images, "images", "NHWC"), floats(kernels, "kernels", "hwCM")
    check_channels(kernels, "kernels", images.shape[3])
    places = windows(images, kernels.shape[:2], strides, padding, dilation_rate)
    maps = sum(
        places[:, :, :, row, column, :, None] * kernels[row, column]
        for row, column in np.ndindex(kernels.shape[:2])
    )
    return add_bias(np.reshape(maps, (*places.shape[:3], -1)), bias)


def separable_conv2d(
    images: Numbers,
    depthwise: Numbers,
    pointwise: Numbers,
    bias: Numbers | None = None,
    strides: Pair = 1,
    padding: str = "valid",
    dilation_rate: Pair = 1,
) -> Floats:
    """Convolve every channel by itself, then mix the maps at every place: depthwise separable.

    Args:
        images: (N, H, W, C), any kind of number.
        depthwise: (h, w, C, M), as in `depthwise_conv2d`, to which strides, padding and dilation
            belong.
        pointwise: (1, 1, C·M, F).
        bias: (F,), added at the end.
        strides: as in `depthwise_conv2d`.
        padding: as in `depthwise_conv2d`.
        dilation_rate: as in `depthwise_conv2d`.

    Returns:
        float32 (N, H', W', F).

    Raises:
        ValueError: arguments that do not go together, or a kernel larger than the picture.
    """
    if np.shape(pointwise)[:2] != (1, 1):
        raise ValueError(
            f"pointwise has the shape {np.shape(pointwise)}: expected (1, 1, C·M, F), that is "
            "kernels of 1 × 1 pixel"
        )
    maps = depthwise_conv2d(images, depthwise, None, strides, padding, dilation_rate)
    return conv2d(maps, pointwise, bias)


def spatially_separable_conv2d(
    images: Numbers, column: Numbers, row: Numbers, padding: str = "valid"
) -> Floats:
    """Convolve every channel with a column, then with a row: h + w products instead of h·w.

    This is the convolution with the kernel column·row, their outer product.

    Args:
        images: (N, H, W, C), any kind of number.
        column: (h,).
        row: (w,).
        padding: "valid" or "same".

    Returns:
        float32 (N, H', W', C).

    Raises:
        ValueError: column or row is no plain list of numbers, or does not fit into the picture.

    >>> spatially_separable_conv2d(np.ones((1, 3, 3, 1)), [1, 2, 1], [1, 0, -1]).tolist()
    [[[[0.0]]]]
    """
    images = floats(images, "images", "NHWC")
    column, row = floats(column, "column", "h"), floats(row, "row", "w")
    channels = images.shape[3]
    upright = np.repeat(column[:, None, None, None], channels, axis=2)
    flat = np.repeat(row[None, :, None, None], channels, axis=2)
    maps = depthwise_conv2d(images, upright, padding=padding)
    return depthwise_conv2d(maps, flat, padding=padding)


def separate(kernel: Numbers) -> tuple[Floats, Floats]:
    """Return the column (h,) and the row (w,), float32, whose outer product is the kernel (h, w).

    They are the first pair of the singular value decomposition, each times the root of the
    singular value, and with the column's largest number positive.

    Raises:
        ValueError: the kernel's rank is not 1, so that there are no such two.

    >>> column, row = separate(np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))
    >>> (column / column[0]).round(3).tolist()
    [1.0, 2.0, 1.0]
    """
    kernel = floats(kernel, "kernel", "hw")
    columns, values, rows = np.linalg.svd(kernel.astype(np.float64))
    if not is_separable(kernel):
        first, second = np.append(values, 0)[:2]
        raise ValueError(
            f"the kernel's rank is not 1: its largest singular values are {first:.3g} and "
            f"{second:.3g}, and only the first may, and must, differ from 0. Only the outer "
            "product of a column and a row can be separated"
        )
    column, row = columns[:, 0], rows[0]
    scale = math.sqrt(values[0]) * np.sign(column[np.abs(column).argmax()])
    return (scale * column).astype(np.float32), (scale * row).astype(np.float32)


def is_separable(kernel: Numbers, tolerance: float = 1e-5) -> bool:
    """Tell whether a kernel (h, w) is a column times a row, that is, whether its rank is 1.

    Args:
        kernel: (h, w).
        tolerance: up to which share of the first singular value the second counts as 0.

    Raises:
        ValueError: the kernel is not two-dimensional.

    >>> is_separable(np.ones((3, 3))), is_separable(np.eye(3))
    (True, False)
    """
    values = np.linalg.svd(floats(kernel, "kernel", "hw").astype(np.float64), compute_uv=False)
    return bool(values[0] > 0 and (values[1:] <= tolerance * values[0]).all())


def max_pool2d(
    images: Numbers, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Floats:
    """Keep the largest number of every window, in each channel by itself.

    Args:
        images: (N, H, W, C), any kind of number.
        pool_size: pixels of a window, as one number or as (rows, columns).
        strides: pixels from one window to the next; None is the window's own size.
        padding: "valid", or "same" as in `conv2d`; places outside the picture do not count.

    Returns:
        float32 (N, H', W', C).

    Raises:
        ValueError: the window is larger than the picture, or an argument is out of range.

    >>> max_pool2d(np.arange(16).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    size = pair(pool_size, "pool_size")
    steps = size if strides is None else strides
    places = windows(floats(images, "images", "NHWC"), size, steps, padding, outside=-np.inf)
    return np.asarray(places.max(axis=(3, 4)), np.float32)


def average_pool2d(
    images: Numbers, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid"
) -> Floats:
    """Take the mean of every window, in each channel by itself.

    Args:
        images: (N, H, W, C), any kind of number.
        pool_size: as in `max_pool2d`.
        strides: as in `max_pool2d`.
        padding: as in `max_pool2d`: the mean is that of the pixels inside the picture.

    Returns:
        float32 (N, H', W', C).

    Raises:
        ValueError: the window is larger than the picture, or an argument is out of range.

    >>> average_pool2d(np.arange(16).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    images, size = floats(images, "images", "NHWC"), pair(pool_size, "pool_size")
    steps = size if strides is None else strides
    ones = np.ones((1, *images.shape[1:3], 1), np.float32)
    sums, counts = (
        windows(array, size, steps, padding).sum(axis=(3, 4)) for array in (images, ones)
    )
    return np.asarray(sums / counts, np.float32)


def global_average_pool2d(images: Numbers) -> Floats:
    """Return the mean of every map: from (N, H, W, C) float32 (N, C).

    Raises:
        ValueError: the images are not four-dimensional.

    >>> global_average_pool2d(np.arange(8).reshape(1, 2, 2, 2)).tolist()
    [[3.0, 4.0]]
    """
    return np.asarray(floats(images, "images", "NHWC").mean(axis=(1, 2)), np.float32)


def relu(values: Numbers) -> Floats:
    """Replace what is negative by 0, in an array of any shape."""
    return np.asarray(np.maximum(values, 0), np.float32)


def dense(inputs: Numbers, weights: Numbers, bias: Numbers | None = None) -> Floats:
    """Return inputs (N, I) · weights (I, U) + bias (U,): float32 (N, U).

    Raises:
        ValueError: shapes that do not go together.

    >>> dense(np.array([[1, 2]]), np.array([[3], [4]]), np.array([5])).tolist()
    [[16.0]]
    """
    inputs, weights = floats(inputs, "inputs", "NI"), floats(weights, "weights", "IU")
    if inputs.shape[1] != len(weights):
        raise ValueError(
            f"the inputs have {inputs.shape[1]} numbers each, the weights are for {len(weights)}: "
            f"expected weights of the shape ({inputs.shape[1]}, units)"
        )
    return add_bias(inputs @ weights, bias)


def softmax(scores: Numbers) -> Floats:
    """Turn scores (…, classes) into probabilities that sum to 1 over the last axis."""
    scores = np.asarray(scores, np.float32)  # small whole numbers would wrap
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


def reach(kernel: int, dilation_rate: int = 1) -> int:
    """Return the pixels from a kernel's first to its last: dilation_rate·(kernel − 1) + 1.

    >>> reach(3), reach(3, dilation_rate=2)
    (3, 5)
    """
    return dilation_rate * (kernel - 1) + 1


def output_size(
    size: int, kernel: int, stride: int = 1, padding: int | str = 0, dilation_rate: int = 1
) -> int:
    """Return a window's places along one side: (size + 2·padding − reach) // stride + 1.

    Reach is dilation_rate·(kernel − 1) + 1. With "same" there are ⌈size / stride⌉ places. Source:
    Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Args:
        size: pixels along the side.
        kernel: pixels of the window along it.
        stride: pixels from one place to the next.
        padding: pixels added at either end, or "valid" (none), or "same".
        dilation_rate: pixels from one of the kernel's numbers to the next.

    Raises:
        ValueError: an argument is out of range, or the kernel is larger than the padded picture.

    >>> output_size(28, 3), output_size(26, 2, stride=2), output_size(28, 3, 2, "same")
    (26, 13, 14)
    """
    check_positive(size=size, kernel=kernel, stride=stride, dilation_rate=dilation_rate)
    added = check_padding(padding)
    if padding == "same":
        return math.ceil(size / stride)
    padded, covered = size + 2 * added, reach(kernel, dilation_rate)
    if covered > padded:
        dilated = "" if dilation_rate == 1 else f", dilated by {dilation_rate}: {covered}"
        raise ValueError(
            f"the kernel ({kernel}{dilated}) is larger than the padded picture ({padded}): "
            "take a smaller one, or pad more"
        )
    return (padded - covered) // stride + 1


def receptive_field(stack: Sequence[tuple[int, int] | tuple[int, int, int]]) -> int:
    """Return how many pixels of the input, along one side, a number of the last layer depends on.

    1 + Σ dilation_rate·(kernel − 1)·jump, where a layer's jump is the product of the strides
    before it. Source: Araujo, Norris, Sim, "Computing receptive fields of convolutional neural
    networks", Distill, 2019, https://distill.pub/2019/computing-receptive-fields.

    Args:
        stack: (kernel, stride) or (kernel, stride, dilation_rate) of each layer, convolutional or
            pooling, the first one first.

    Raises:
        ValueError: a number below 1.

    >>> receptive_field([(3, 1), (3, 1)]), receptive_field([(3, 1, 2)]), receptive_field([])
    (5, 5, 1)
    """
    pixels, jump = 1, 1
    for kernel, stride, *rates in stack:
        (dilation_rate,) = rates or [1]
        check_positive(kernel=kernel, stride=stride, dilation_rate=dilation_rate)
        pixels += (reach(kernel, dilation_rate) - 1) * jump
        jump *= stride
    return pixels


def parameters(
    height: int, width: int, channels: int, filters: int, groups: int = 1, bias: bool = True
) -> int:
    """Return a convolutional layer's parameters: (height·width·channels / groups + 1)·filters.

    The 1 is each filter's bias. A depthwise layer with one kernel a channel has as many groups and
    filters as channels.

    Raises:
        ValueError: a number below 1, or groups that do not divide the channels and the filters.

    >>> parameters(3, 3, 1, 32), parameters(3, 3, 32, 32, groups=32, bias=False)
    (320, 288)
    """
    check_positive(height=height, width=width, channels=channels, filters=filters)
    check_groups(channels, filters, groups)
    return (height * width * channels // groups + bias) * filters


def dense_parameters(inputs: int, units: int) -> int:
    """Return a dense layer's parameters: (inputs + 1 bias)·units.

    Raises:
        ValueError: a number below 1.

    >>> dense_parameters(5408, 100)
    540900
    """
    check_positive(inputs=inputs, units=units)
    return (inputs + 1) * units


def multiply_adds(
    output_height: int,
    output_width: int,
    height: int,
    width: int,
    channels: int,
    filters: int,
    groups: int = 1,
) -> int:
    """Return a layer's multiplications for one picture, each followed by an addition.

    output_height·output_width·height·width·(channels / groups)·filters: at every place, every
    filter multiplies what lies under it. Biases are not counted.

    Raises:
        ValueError: a number below 1, or groups that do not divide the channels and the filters.

    >>> multiply_adds(26, 26, 3, 3, 1, 32)
    194688
    """
    check_positive(output_height=output_height, output_width=output_width)
    places = output_height * output_width
    return places * parameters(height, width, channels, filters, groups, bias=False)


class Layer(NamedTuple):
    """A convolutional layer's shape, for `kinds`."""

    height: int
    width: int
    channels: int
    filters: int
    groups: int = 1
    bias: bool = True
    dilation_rate: int = 1


def kinds(size: int, channels: int, filters: int, kernel: int = 3) -> pd.DataFrame:
    """Compare five kinds of convolution that all turn `channels` maps into `filters` maps.

    "spatially separable" is the learnt one: a layer of kernels kernel × 1, as many maps as come in,
    then one of 1 × kernel, as Inception-v3 factorises (Szegedy et al., "Rethinking the Inception
    architecture for computer vision", 2016). `spatially_separable_conv2d`, which factorises one
    given kernel, needs no maps in between. "grouped" takes 4 groups, or 2, or 1, as divides both.

    Args:
        size: pixels of a map along either side; padding is "same", the stride 1.
        channels: maps that come in.
        filters: maps that go out.
        kernel: pixels along a side of the kernel.

    Returns:
        A row a kind (index "kind"): parameters; formula, their arithmetic as text; multiply-adds
        for one picture; receptive field, rows × columns as text; use.

    Raises:
        ValueError: a number below 1.

    >>> kinds(28, 32, 64)["formula"]["depthwise separable"]
    '3·3·1·32 + 1·1·32·64 + 64'
    """
    groups = math.gcd(channels, filters, 4)
    whole = Layer(kernel, kernel, channels, filters)
    rows = {
        "standard": ([whole], "the usual one: mixes all channels"),
        "dilated": ([whole._replace(dilation_rate=2)], "sees further at the same cost"),
        "grouped": ([whole._replace(groups=groups)], f"groups: {groups}, side by side; ResNeXt"),
        "depthwise separable": (
            [
                Layer(kernel, kernel, channels, channels, channels, bias=False),
                Layer(1, 1, channels, filters),
            ],
            "small networks; MobileNet",
        ),
        "spatially separable": (
            [Layer(kernel, 1, channels, channels), Layer(1, kernel, channels, filters)],
            "large kernels; Inception-v3",
        ),
    }
    table = {kind: describe(size, layers) | {"use": use} for kind, (layers, use) in rows.items()}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("kind")


def describe(size: int, layers: Sequence[Layer]) -> dict[str, str | int]:
    """Return a row of `kinds` for layers one after the other, with maps of size × size."""
    places = output_size(size, 1, padding="same")
    seen = [
        receptive_field([(layer[axis], 1, layer.dilation_rate) for layer in layers])
        for axis in (0, 1)
    ]
    return {
        "parameters": sum(parameters(*layer[:6]) for layer in layers),
        "formula": " + ".join(formula(layer) for layer in layers),
        "multiply-adds": sum(multiply_adds(places, places, *layer[:5]) for layer in layers),
        "receptive field": f"{seen[0]} × {seen[1]}",
    }


def formula(layer: Layer) -> str:
    """Return the arithmetic of a layer's parameters, with its numbers, as text.

    >>> formula(Layer(3, 3, 32, 64, groups=4))
    '3·3·8·64 + 64'
    """
    weights = f"{layer.height}·{layer.width}·{layer.channels // layer.groups}·{layer.filters}"
    return f"{weights} + {layer.filters}" if layer.bias else weights


def windows(
    images: Floats,
    kernel: tuple[int, ...],
    strides: Pair,
    padding: str,
    dilation_rate: Pair = 1,
    outside: float = 0.0,
) -> Floats:
    """Return the pixels under the kernel at each of its places, without copying them.

    Args:
        images: (N, H, W, C).
        kernel: (h, w).
        strides: as in `conv2d`.
        padding: as in `conv2d`.
        dilation_rate: as in `conv2d`.
        outside: what stands in the padded places.

    Returns:
        float32 (N, H', W', h, w, C), a view: [n, y, x] is the window at row y, column x.

    Raises:
        ValueError: the kernel is larger than the picture, or an argument is out of range.
    """
    steps, rates = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    sides = zip(images.shape[1:3], kernel, steps, rates, strict=True)
    added = [missing(*side, padding) for side in sides]
    if np.any(added):
        images = np.pad(images, ((0, 0), *added, (0, 0)), constant_values=outside)
    covered = [reach(*side) for side in zip(kernel, rates, strict=True)]
    everywhere = sliding_window_view(images, covered, axis=(1, 2))
    chosen = everywhere[:, :: steps[0], :: steps[1], :, :: rates[0], :: rates[1]]
    return chosen.transpose(0, 1, 2, 4, 5, 3)


def missing(
    size: int, kernel: int, stride: int, dilation_rate: int, padding: str
) -> tuple[int, int]:
    """Return the pixels to add before and after a side so that all places fit; the odd one after.

    >>> missing(5, 3, 1, 1, "same"), missing(5, 2, 1, 1, "same"), missing(5, 3, 1, 1, "valid")
    ((1, 1), (0, 1), (0, 0))
    """
    if padding not in ("valid", "same"):
        raise ValueError(f'padding is {padding!r}: expected "valid" or "same"')
    places = output_size(size, kernel, stride, padding, dilation_rate)
    total = max((places - 1) * stride + reach(kernel, dilation_rate) - size, 0)
    return total // 2, total - total // 2


def pair(value: Pair, name: str) -> tuple[int, int]:
    """Return one number twice, and two as they are: what belongs to the rows and to the columns.

    >>> pair(2, "strides"), pair((1, 2), "strides")
    ((2, 2), (1, 2))
    """
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    is_whole = all(isinstance(number, int | np.integer) for number in numbers)
    if len(numbers) != 2 or not is_whole or min(numbers) < 1:
        raise ValueError(
            f"{name} is {value}: expected a whole number of at least 1, or two, (row, column)"
        )
    return numbers


def floats(values: Numbers, name: str, axes: str) -> Floats:
    """Return an array as float32; raise ValueError unless it has these axes, a letter each.

    Only a batch, N, may be empty.
    """
    array = np.asarray(values, np.float32)
    expected = ", ".join(axes)
    if array.ndim != len(axes):
        raise ValueError(f"{name} has the shape {array.shape}: expected ({expected})")
    if any(size == 0 for size, axis in zip(array.shape, axes, strict=True) if axis != "N"):
        raise ValueError(f"{name} has the shape {array.shape}: ({expected}) must not be empty")
    return array


def check_positive(**numbers: int) -> None:
    """Raise ValueError if one of the numbers is below 1."""
    if min(numbers.values()) < 1:
        named = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise ValueError(f"{named}: all must be at least 1")


def check_padding(padding: int | str) -> int:
    """Return the pixels at either end, 0 for a word; raise ValueError for an unknown one."""
    if padding in ("valid", "same"):
        return 0
    if not isinstance(padding, int | np.integer) or padding < 0:
        raise ValueError(f'padding is {padding!r}: expected at least 0, "valid" or "same"')
    return int(padding)


def check_groups(channels: int, filters: int, groups: int) -> None:
    """Raise ValueError unless so many groups divide the channels and the filters."""
    if groups < 1 or channels % groups or filters % groups:
        raise ValueError(
            f"{groups} groups do not divide {channels} channels and {filters} filters: take a "
            "number that divides both"
        )


def check_channels(kernels: Floats, name: str, channels: int) -> None:
    """Raise ValueError unless kernels (h, w, channels, …) are for so many channels."""
    if kernels.shape[2] != channels:
        raise ValueError(
            f"{name} has the shape {kernels.shape}: for these pictures and groups its third axis "
            f"must be {channels}, the channels of a group"
        )


def add_bias(maps: Floats, bias: Numbers | None) -> Floats:
    """Add a number to every map (…, F); raise ValueError unless bias is None or (F,)."""
    if bias is None:
        return maps
    if np.shape(bias) != maps.shape[-1:]:
        raise ValueError(f"bias has the shape {np.shape(bias)}: expected {maps.shape[-1:]}")
    return np.asarray(maps + bias, np.float32)
