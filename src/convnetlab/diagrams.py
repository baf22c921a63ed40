"""Drawings that explain: a convolution step by step, receptive fields, networks as boxes.

`figures` draws what was measured; this module draws how things work. As there, each function
returns a Matplotlib figure with a title and an alternative text, in Okabe and Ito's colours.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from numpy.typing import NDArray

from convnetlab import convolution, optimisers
from convnetlab.figures import BLUE, GREY, ORANGE, LabFigure

GREEN, PURPLE, SKY = "#009E73", "#CC79A7", "#56B4E9"
PALE = "#E8E8E8"
Floats = NDArray[np.float32]
Stack = Sequence[tuple[int, int, int]]  # kernel, stride, dilation rate of each layer
Box = tuple[float, float, str]  # centre, in boxes across and up, and text


def sentence(title: str, text: str) -> LabFigure:
    """Return a figure that says why there is nothing to draw."""
    figure = LabFigure(f"{title}: {text}", 9, 2.2, layout="none")
    figure.suptitle(title, y=0.9)
    figure.text(0.5, 0.45, text, ha="center", va="center", fontsize=12, color=ORANGE)
    return figure


def convolution_step(
    image: Floats,
    kernel: Floats,
    place: int,
    stride: int = 1,
    padding: int = 0,
    dilation_rate: int = 1,
    bias: float = 0.0,
    name: str = "kernel",
) -> LabFigure:
    """Draw one step of a convolution: window, products, sum, and the output so far.

    Args:
        image: (H, W), 0..1.
        kernel: (h, w).
        place: which output number, row by row from 0.
        stride: pixels from one place to the next.
        padding: zeros added at every side, in pixels.
        dilation_rate: pixels between neighbours of the kernel.
        bias: is added to every sum.
        name: what the kernel is called.

    Raises:
        ValueError: the kernel does not fit, or the output has no such place.
    """
    padded = np.pad(image, padding).astype(np.float32)
    output = convolution.conv2d(
        padded[None, :, :, None],
        kernel[:, :, None, None],
        np.full(1, bias, np.float32),
        strides=stride,
        dilation_rate=dilation_rate,
    )[0, :, :, 0]
    if not 0 <= place < output.size:
        raise ValueError(f"place is {place}; the output has the places 0 to {output.size - 1}")
    row, column = divmod(place, output.shape[1])
    rows = row * stride + dilation_rate * np.arange(kernel.shape[0])
    columns = column * stride + dilation_rate * np.arange(kernel.shape[1])
    window = padded[np.ix_(rows, columns)]
    total = float(output[row, column])
    figure = LabFigure(
        f"{name}, place {row}, {column}: window times kernel, summed, is {total:.2f}; the output "
        f"has {output.shape[0]} × {output.shape[1]} places, {place + 1} of them filled.",
        9.5,
        7.2,
        layout="none",
    )
    figure.suptitle(f"{name}: one window, one number", y=0.98)
    draw_input(figure.add_axes((0.05, 0.43, 0.42, 0.44)), padded, padding, rows, columns)
    draw_output(figure.add_axes((0.55, 0.43, 0.42, 0.44)), output, row, column)
    products = window * kernel
    for left, title, values in (
        (0.03, "window", window),
        (0.35, "× kernel", kernel),
        (0.67, "= products", products),
    ):
        draw_numbers(figure.add_axes((left, 0.09, 0.29, 0.24)), title, values)
    added = f" {'+' if bias > 0 else '−'} {abs(bias):.2f} (bias)" if bias else ""
    before = f" {two_decimals(float(products.sum()))}{added} =" if bias else ""
    place_text = f"(output, row {row}, column {column})"
    figure.text(
        0.5,
        0.02,
        f"sum of the products:{before} {two_decimals(total)}   {place_text}",
        ha="center",
        fontsize=12,
        color=ORANGE,
    )
    sizes = size_formula(image.shape[0], kernel.shape[0], stride, padding, dilation_rate)
    cost = output.size * kernel.size
    figure.text(0.5, 0.925, f"{sizes};  {cost:,} multiply-adds", ha="center", fontsize=10)
    return figure


def size_formula(size: int, kernel: int, stride: int, padding: int, dilation_rate: int) -> str:
    """Return the output's size along one side, with its arithmetic, as text."""
    places = convolution.output_size(size, kernel, stride, padding, dilation_rate)
    covered = f"{kernel}" if dilation_rate == 1 else f"({dilation_rate}·({kernel} − 1) + 1)"
    return f"rows: ({size} + 2·{padding} − {covered}) // {stride} + 1 = {places}"


def draw_input(
    axes: Axes,
    padded: Floats,
    padding: int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> None:
    """Draw a padded picture, the frame between picture and padding, and the window's pixels."""
    height, width = padded.shape
    axes.imshow(padded, cmap="gray", vmin=0, vmax=max(1.0, float(padded.max())))
    if padding:
        inner = (width - 2 * padding, height - 2 * padding)
        corner = (padding - 0.5, padding - 0.5)
        axes.add_patch(Rectangle(corner, *inner, fill=False, ec=SKY, lw=1.5, ls="--"))
    for row, column in itertools.product(rows, columns):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=1.5))
    inside = f"input {height - 2 * padding} × {width - 2 * padding}"
    title = f"{inside}, padded to {height} × {width}" if padding else inside
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="column", ylabel="row")


def draw_output(axes: Axes, output: Floats, row: int, column: int) -> None:
    """Draw an output as far as it has been filled, up to and with (row, column)."""
    filled = output.astype(np.float64)
    filled.ravel()[row * output.shape[1] + column + 1 :] = np.nan
    limit = max(float(np.abs(output).max()), 1e-6)
    axes.set_facecolor(PALE)
    drawn = axes.imshow(filled, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2))
    axes.set_title(f"output {output.shape[0]} × {output.shape[1]}, so far", fontsize=10)
    axes.set(xlabel="column", ylabel="row")
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)


def draw_numbers(axes: Axes, title: str, values: Floats) -> None:
    """Draw a small array with its numbers."""
    limit = max(float(np.abs(values).max()), 1e-6)
    axes.imshow(values, cmap="RdBu", vmin=-2 * limit, vmax=2 * limit)
    size = 10 if max(values.shape) <= 4 else 7 if max(values.shape) <= 5 else 5.5
    for (row, column), value in np.ndenumerate(values):
        text = two_decimals(float(value)).removesuffix(".00")
        axes.text(column, row, text, ha="center", va="center", fontsize=size)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def two_decimals(value: float) -> str:
    """Return a number with two decimals, and a minus sign as long as a plus.

    >>> two_decimals(-0.5)
    '−0.50'
    """
    return f"{round(value, 2) + 0:.2f}".replace("-", "−")  # + 0: there is no minus zero


def receptive_field(image: Floats, stack: Stack, title: str) -> LabFigure:
    """Draw what one unit sees of a picture after each layer of a stack.

    Left, a square a layer on the picture; right, the same in one dimension: every unit that the
    topmost one depends on.

    Args:
        image: (H, W), 0..1.
        stack: kernel, stride and dilation rate of each layer, the first one first.
        title: the figure's title.
    """
    sizes = [convolution.receptive_field(stack[: depth + 1]) for depth in range(len(stack))]
    listed = ", ".join(f"{size} × {size}" for size in sizes)
    figure = LabFigure(f"{title}: one unit sees {listed} pixels.", 10.5, 4.6)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    left.imshow(image, cmap="gray", vmin=0, vmax=1)
    middle_row, middle_column = ((side - 1) / 2 for side in image.shape)
    for depth, size in enumerate(sizes):
        corner = (middle_column - size / 2, middle_row - size / 2)
        colour = (SKY, ORANGE, GREEN, PURPLE, BLUE)[depth % 5]
        left.add_patch(
            Rectangle(corner, size, size, fill=False, ec=colour, lw=2.5, label=f"{depth + 1}")
        )
    left.set_xlim(-0.5, image.shape[1] - 0.5)
    left.set_ylim(image.shape[0] - 0.5, -0.5)
    left.set(title=f"seen after layer 1 to {len(stack)}: {listed}", xlabel="column", ylabel="row")
    left.title.set_fontsize(9)
    draw_dependence(right, stack)
    return figure


def draw_dependence(axes: Axes, stack: Stack) -> None:
    """Draw, in one dimension, the units that a unit of the last layer depends on."""
    jumps = np.cumprod([1, *(stride for _, stride, _ in stack)])
    starts = [0.0, *(start_offset(stack[: level + 1]) for level in range(len(stack)))]
    seen, lines = {0}, []
    for depth in range(len(stack), 0, -1):
        kernel, stride, rate = stack[depth - 1]
        places = {unit: starts[depth] + unit * jumps[depth] for unit in seen}
        axes.plot(list(places.values()), [depth] * len(seen), "o", color=BLUE, ms=6, zorder=2)
        seen = {unit * stride + tap * rate for unit in places for tap in range(kernel)}
        for unit, tap in itertools.product(places, range(kernel)):
            source = starts[depth - 1] + (unit * stride + tap * rate) * jumps[depth - 1]
            lines.append([(source, depth - 1), (places[unit], depth)])
    axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.5, zorder=1))
    axes.plot(sorted(seen), [0] * len(seen), "s", color=ORANGE, ms=5, zorder=2)
    axes.set_yticks(
        range(len(stack) + 1), ["input", *(f"layer {n + 1}" for n in range(len(stack)))]
    )
    axes.set(title="one unit at the top, and all that it depends on", xlabel="pixels of the input")
    axes.title.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)


def start_offset(stack: Stack) -> float:
    """Return the centre, in pixels of the input, of what unit 0 of the last layer sees."""
    return (convolution.receptive_field(stack) - 1) / 2


def filter_over_channels(image: Floats, weights: Floats, bias: float) -> LabFigure:
    """Draw one filter at work on a colour picture: a kernel a channel, all added into one map.

    Args:
        image: (H, W, 3), 0..1.
        weights: (h, w, 3).
        bias: is added once.
    """
    parts = [
        convolution.convolve2d(image[:, :, channel], weights[:, :, channel]) for channel in range(3)
    ]
    total = np.sum(parts, axis=0) + bias
    height, width, _ = weights.shape
    figure = LabFigure(
        f"A picture's red, green and blue channel, each with its own {height} × {width} kernel; "
        f"the three maps and the bias are added into one map of {total.shape[0]} × "
        f"{total.shape[1]}.",
        10,
        7,
    )
    figure.suptitle(f"One filter of {height}×{width}×3: three kernels, one feature map")
    axes = figure.subplots(3, 5, width_ratios=(1.2, 1, 0.7, 1, 1.3))
    for unused in axes[:, [0, 4]].flat:
        unused.set_axis_off()
    axes[1, 0].imshow(image)
    axes[1, 0].set_title(f"picture {image.shape[0]}×{image.shape[1]}×3", fontsize=10)
    limit, weight = float(np.abs(parts).max()), float(np.abs(weights).max())
    for channel, name in enumerate(("red", "green", "blue")):
        plain, small, part = axes[channel, 1:4]
        plain.imshow(image[:, :, channel], cmap="gray", vmin=0, vmax=1)
        plain.set_title(f"{name} channel", fontsize=10)
        small.imshow(weights[:, :, channel], cmap="RdBu", vmin=-weight, vmax=weight)
        small.set_title(f"its kernel, {height}×{width}", fontsize=10)
        part.imshow(parts[channel], cmap="RdBu", vmin=-limit, vmax=limit)
        part.set_title("its part", fontsize=10)
    limit = float(np.abs(total).max())
    axes[1, 4].imshow(total, cmap="RdBu", vmin=-limit, vmax=limit)
    axes[1, 4].set_title(f"sum + bias:\none map, {total.shape[0]}×{total.shape[1]}", fontsize=10)
    for each in axes.flat:
        each.set_xticks([])
        each.set_yticks([])
    return figure


def dilations(rates: Sequence[int] = (1, 2, 3), kernel: int = 3) -> LabFigure:
    """Draw which pixels a kernel × kernel window touches, a panel a dilation rate."""
    sizes = [convolution.reach(kernel, rate) for rate in rates]
    reach = max(sizes)
    title = f"{kernel * kernel} weights each: dilation spreads them"
    figure = LabFigure(
        f"{title}: {', '.join(f'{size} × {size}' for size in sizes)} pixels.", 9, 3.6
    )
    figure.suptitle(title)
    for axes, rate, size in zip(figure.subplots(1, len(rates)), rates, sizes, strict=True):
        first = (reach - size) // 2
        taps = [first + rate * tap for tap in range(kernel)]
        draw_footprint(axes, reach, taps, taps)
        axes.set_title(f"rate {rate}: spans {size} × {size}", fontsize=10)
    return figure


def draw_footprint(axes: Axes, side: int, rows: Sequence[int], columns: Sequence[int]) -> None:
    """Draw a grid of pixels; those in the given rows and columns are weighted, and framed."""
    for row, column in itertools.product(range(side), repeat=2):
        colour = BLUE if row in rows and column in columns else "white"
        axes.add_patch(Rectangle((column, row), 1, 1, fc=colour, ec=GREY, lw=0.6))
    width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
    corner = (min(columns), min(rows))
    axes.add_patch(Rectangle(corner, width, height, fill=False, ec=ORANGE, lw=2.5))
    axes.set_xlim(-0.2, side + 0.2)
    axes.set_ylim(side + 0.2, -0.2)
    axes.set_aspect("equal")
    axes.set_axis_off()


Links = list[tuple[int, int]]
ALL: Links = [(one, other) for one in range(4) for other in range(4)]
EACH: Links = [(channel, channel) for channel in range(4)]
PAIRS: Links = [(one, other) for one, other in ALL if one // 2 == other // 2]

# Each kind: the weighted rows and columns of each of its steps, and its channels' links.
KINDS: dict[str, list[tuple[list[int], list[int], Links]]] = {
    "standard": [([1, 2, 3], [1, 2, 3], ALL)],
    "dilated": [([0, 2, 4], [0, 2, 4], ALL)],
    "grouped": [([1, 2, 3], [1, 2, 3], PAIRS)],
    "depthwise separable": [([1, 2, 3], [1, 2, 3], EACH), ([2], [2], ALL)],
    "spatially separable": [([1, 2, 3], [2], ALL), ([2], [1, 2, 3], ALL)],
}


def kinds() -> LabFigure:
    """Draw the five kinds of convolution: the pixels that are weighted, the channels that meet."""
    title = "Five kinds of convolution"
    figure = LabFigure(
        f"{title}: {', '.join(KINDS)}. Above, the weighted pixels of each step; below, which of "
        "four input channels reach which of four output maps.",
        13,
        5.2,
        layout="none",
    )
    figure.suptitle(title, y=0.975)
    for number, (kind, steps) in enumerate(KINDS.items()):
        left = 0.012 + number * 0.199
        figure.text(left + 0.09, 0.875, kind, ha="center", fontsize=11, weight="bold")
        share = 0.175 / len(steps)
        for step, (rows, columns, _) in enumerate(steps):
            axes = figure.add_axes((left + step * share, 0.53, share, 0.3))
            draw_footprint(axes, 5, rows, columns)
            if len(steps) > 1:
                axes.set_title("first" if step == 0 else "then", fontsize=9)
        draw_links(figure.add_axes((left, 0.06, 0.175, 0.38)), [links for _, _, links in steps])
    figure.text(0.5, 0.475, "weighted pixels (blue) and their span", ha="center", fontsize=9)
    figure.text(0.5, 0.02, "which channels reach which maps", ha="center", fontsize=9)
    return figure


def draw_links(axes: Axes, steps: list[Links]) -> None:
    """Draw four channels, and which of them each step's four maps are made from."""
    for step, links in enumerate(steps):
        for one, other in links:
            axes.plot([step, step + 1], [one, other], color=GREY, lw=0.9, zorder=1)
    for level in range(len(steps) + 1):
        colour = ORANGE if level == 0 else BLUE
        axes.plot([level] * 4, range(4), "s", color=colour, ms=9, zorder=2)
    axes.set_xlim(-0.3, len(steps) + 0.3)
    axes.set_ylim(3.5, -0.5)
    axes.set_axis_off()


CHANNEL = 0.05  # how thick a channel is drawn, in pixels


def to_scale(shapes: Mapping[str, tuple[int, ...]], title: str) -> LabFigure:
    """Draw a network's feature maps as boxes: sides in pixels, thickness by channels.

    Args:
        shapes: each stage's output, (H, W, C), or (units,) of a dense layer, by name; a name is
            written as far as its first underscore.
        title: the figure's title.
    """
    boxes = {name: (1, 1, *shape) if len(shape) == 1 else shape for name, shape in shapes.items()}
    tallest = max(height for height, _, _ in boxes.values())
    listed = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
    figure = LabFigure(f"{title}: {listed}.", 11, 4.6)
    axes = figure.subplots()
    drawings = []
    for name, (height, width, channels) in boxes.items():
        is_dense = len(shapes[name]) == 1
        thick = channels * CHANNEL
        sides = (0.012 * tallest, thick) if is_dense else (thick, float(height))
        drawings.append((name, is_dense, sides, 0.0 if is_dense else 0.35 * width))
    # As much room between the boxes as fills the figure's width.
    taken = sum(sides[0] + shift for _, _, sides, shift in drawings)
    gap = max((4.6 * tallest - taken) / len(drawings), 0.15 * tallest)
    left = 0.0
    for number, (name, is_dense, drawn, shift) in enumerate(drawings):
        draw_box(axes, left, drawn, shift, GREEN if is_dense else SKY)
        text = f"{name.split('_')[0]}\n{'×'.join(map(str, shapes[name]))}"
        depth = -0.12 - 0.24 * (number % 2)
        axes.text(
            left + (drawn[0] + shift) / 2, depth * tallest, text, ha="center", va="top", size=8
        )
        left += drawn[0] + shift + gap
    axes.set_xlim(-0.1 * tallest, left)
    axes.set_ylim(-0.66 * tallest, 1.42 * tallest)
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_axis_off()
    return figure


def draw_box(axes: Axes, left: float, size: tuple[float, float], shift: float, colour: str) -> None:
    """Draw a box seen from the side: a front of `size`, and edges that lead back by `shift`."""
    width, height = size
    front = [(left, 0), (left + width, 0), (left + width, height), (left, height)]
    back = [(x + shift, y + shift) for x, y in front]
    top = [front[3], front[2], back[2], back[3]]
    side = [front[1], back[1], back[2], front[2]]
    for corners, shade in ((front, 0.95), (top, 0.6), (side, 0.35)):
        axes.add_patch(Polygon(corners, closed=True, fc=colour, ec="black", lw=0.7, alpha=shade))


INCEPTION: tuple[dict[str, Box], list[tuple[str, str]]] = (
    {
        "in": (1.5, 0, "input"),
        "one": (0, 1.5, "1×1"),
        "before three": (1, 1, "1×1\n(fewer channels)"),
        "three": (1, 2, "3×3"),
        "before five": (2, 1, "1×1\n(fewer channels)"),
        "five": (2, 2, "5×5"),
        "pool": (3, 1, "3×3 max pooling\nstride 1"),
        "after pool": (3, 2, "1×1"),
        "out": (1.5, 3, "concatenate channels"),
    },
    [
        ("in", "one"),
        ("in", "before three"),
        ("in", "before five"),
        ("in", "pool"),
        ("before three", "three"),
        ("before five", "five"),
        ("pool", "after pool"),
        ("one", "out"),
        ("three", "out"),
        ("five", "out"),
        ("after pool", "out"),
    ],
)
RESIDUAL: tuple[dict[str, Box], list[tuple[str, str]]] = (
    {
        "in": (0, 0, "input x"),
        "first": (0, 1, "3×3 convolution,\nnormalise, ReLU"),
        "second": (0, 2, "3×3 convolution,\nnormalise"),
        "short": (1.1, 1.5, "shortcut: x itself\n(or a 1×1 convolution)"),
        "add": (0, 3, "add"),
        "out": (0, 4, "ReLU"),
    },
    [
        ("in", "first"),
        ("first", "second"),
        ("second", "add"),
        ("in", "short"),
        ("short", "add"),
        ("add", "out"),
    ],
)
SEPARABLE: tuple[dict[str, Box], list[tuple[str, str]]] = (
    {
        "in": (0, 0, "input"),
        "depthwise": (0, 1, "3×3 depthwise:\neach channel alone"),
        "norm": (0, 2, "normalise, ReLU"),
        "pointwise": (0, 3, "1×1 pointwise:\nmixes the channels"),
        "out": (0, 4, "normalise, ReLU"),
    },
    [("in", "depthwise"), ("depthwise", "norm"), ("norm", "pointwise"), ("pointwise", "out")],
)
BLOCKS = {
    "Inception module (GoogLeNet)": INCEPTION,
    "Residual block (ResNet)": RESIDUAL,
    "Separable block (MobileNet)": SEPARABLE,
}


def blocks() -> LabFigure:
    """Draw the building blocks of GoogLeNet, ResNet and MobileNet, input below, output above."""
    figure = LabFigure(
        "An inception module has four branches side by side, joined by concatenation; a residual "
        "block adds its input to its output; a separable block has a depthwise, then a pointwise "
        "convolution.",
        13,
        5.4,
    )
    figure.suptitle("Three blocks that made history (each read from below)")
    for axes, (title, (boxes, arrows)) in zip(
        figure.subplots(1, 3, width_ratios=(2.3, 1.35, 0.8)), BLOCKS.items(), strict=True
    ):
        draw_blocks(axes, boxes, arrows)
        axes.set_title(title, fontsize=11)
    return figure


def draw_blocks(axes: Axes, boxes: dict[str, Box], arrows: list[tuple[str, str]]) -> None:
    """Draw named boxes, one unit apart, and arrows between them."""
    for start, end in arrows:
        one, other = boxes[start], boxes[end]
        axes.add_patch(
            FancyArrowPatch(
                (one[0], one[1] + 0.22),
                (other[0], other[1] - 0.22),
                arrowstyle="-|>",
                mutation_scale=11,
                color=GREY,
                zorder=1,
            )
        )
    for x, y, text in boxes.values():
        style = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": BLUE}
        axes.text(x, y, text, ha="center", va="center", fontsize=8.5, bbox=style, zorder=2)
    across = [x for x, _, _ in boxes.values()]
    axes.set_xlim(min(across) - 0.6, max(across) + 0.6)
    axes.set_ylim(-0.4, max(y for _, y, _ in boxes.values()) + 0.4)
    axes.set_axis_off()


def timeline(networks: pd.DataFrame, title: str) -> LabFigure:
    """Draw a row a network: year, name and idea; parameters and multiply-adds as bars.

    Args:
        networks: a row a network, its name as index, in the order of their years; columns `year`,
            `idea`, `depth` (layers with weights), `parameters`, `multiply-adds`.
        title: the figure's title.
    """
    figure = LabFigure(
        f"{title}: {', '.join(map(str, networks.index))}.", 11, 0.5 * len(networks) + 1.4
    )
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(networks))
    names = [
        f"{row.year:.0f}  {row.Index} ({row.depth:.0f} layers)\n{row.idea}"
        for row in networks.itertuples()
    ]
    for axes, column, colour in zip(
        panels, ("parameters", "multiply-adds"), (BLUE, ORANGE), strict=True
    ):
        values = networks[column].to_numpy(float)
        axes.barh(places, values, color=colour, height=0.55)
        for place, value in zip(places, values, strict=True):
            axes.text(value, place, f"  {short(value)}", va="center", fontsize=9)
        axes.set_xscale("log")
        axes.set(xlabel=f"{column} (log scale)", xlim=(values.min() / 3, values.max() * 40))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(places, names, fontsize=8.5)
    panels[0].invert_yaxis()
    return figure


def short(value: float) -> str:
    """Return a count with three digits and a unit.

    >>> short(61_706), short(60_965_224), short(15_470_264_320)
    ('61.7 thousand', '61 million', '15.5 billion')
    """
    for size, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def beyond_classification(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> LabFigure:
    """Draw what detection, segmentation and captioning answer about one picture.

    Args:
        image: uint8 (H, W, 3).
        mask: which pixels belong to the object, (H, W).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    figure = LabFigure(
        "One picture of a flower, four tasks: a class; a box around the flower; a class for every "
        "pixel; a sentence.",
        13,
        3.6,
    )
    figure.suptitle("One backbone, four kinds of answer")
    answers = {
        "classification": "one class:\nflower",
        "detection": "a class and a box an object:\nflower, here",
        "segmentation": "a class a pixel:\nflower or ground",
        "captioning": "words, one after another:\n“an orange flower in front of leaves”",
    }
    for axes, (task, answer) in zip(figure.subplots(1, 4), answers.items(), strict=True):
        axes.imshow(image)
        axes.set_title(task, fontsize=11)
        axes.set_xlabel(answer, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        if task == "detection":
            corner = (columns[0], rows[0])
            sides = (columns[-1] - columns[0], rows[-1] - rows[0])
            axes.add_patch(Rectangle(corner, *sides, fill=False, ec=SKY, lw=3))
        if task == "segmentation":
            shade = np.zeros((*mask.shape, 4))
            shade[mask] = (0.34, 0.71, 0.91, 0.75)
            axes.imshow(shade)
    return figure


def descent(weights: NDArray[np.float64], title: str) -> LabFigure:
    """Draw a walk down the parabola loss = weight², and its loss step by step.

    Args:
        weights: the weight after 0, 1, 2, … steps, (steps + 1,).
        title: the figure's title.
    """
    losses = weights**2
    told = (
        f"{title}: {len(weights) - 1} steps take the loss from {losses[0]:.3g} to {losses[-1]:.3g}."
    )
    figure = LabFigure(told, 9, 3.8)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    reach = 1.1 * max(1.5, float(np.abs(weights).max()))
    valley = np.linspace(-reach, reach, 200)
    left.plot(valley, valley**2, color=GREY)
    left.plot(weights, losses, "o-", color=ORANGE)
    left.plot(weights[0], losses[0], "s", color=BLUE, ms=9, label="start")
    left.set(xlabel="weight", ylabel="loss")
    left.legend(loc="upper center")
    right.plot(losses, "o-", color=ORANGE)
    right.set(xlabel="step", ylabel="loss", ylim=(0, None))
    right.set_title(f"loss after {len(weights) - 1} steps: {losses[-1]:.3g}", fontsize=10)
    return figure


def optimiser_path(path: NDArray[np.float64], title: str) -> LabFigure:
    """Draw a walk down the valley of `optimisers`: on its map, and its loss step by step.

    Args:
        path: the two weights after 0, 1, 2, … steps, (steps + 1, 2).
        title: the figure's title.
    """
    losses = optimisers.valley(path)
    steps = len(path) - 1
    first = f"{title}: {steps} steps take the loss from {losses[0]:.3g} to {losses[-1]:.3g}"
    figure = LabFigure(f"{first}; its lowest was {losses.min():.3g}.", 10, 4)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    along, across = np.meshgrid(np.linspace(-5, 5, 201), np.linspace(-2, 2, 101))
    heights = optimisers.valley(np.stack([along, across], axis=-1))
    left.contour(along, across, heights, np.geomspace(0.1, 50, 9), colors=GREY, linewidths=0.7)
    left.plot(path[:, 0], path[:, 1], "o-", color=ORANGE, ms=4, lw=1.2)
    left.plot(*path[0], "s", color=BLUE, ms=9, label="start")
    left.plot(0, 0, "*", color=GREEN, ms=14, label="lowest point")
    left.set(xlim=(-5, 5), ylim=(-2, 2), xlabel="first weight", ylabel="second weight")
    left.set_title("the valley from above, lines of equal loss", fontsize=10)
    left.legend(loc="upper right")
    right.plot(losses, "o-", color=ORANGE, ms=4, lw=1.2)
    right.axhline(losses[0], color=GREY, ls="--", lw=1)
    right.set(yscale="log", xlabel="step", ylabel="loss (logarithmic)")
    right.set_ylim(max(1e-6, losses.min() / 2), min(1e4, losses.max() * 2))
    right.set_title(f"after {steps} steps: {losses[-1]:.2g}", fontsize=10)
    right.grid(alpha=0.3)
    return figure
