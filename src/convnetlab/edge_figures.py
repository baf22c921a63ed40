"""Figures of a network on the edge: its variants beside Keras, what they changed, the page.

As in `figures`, each function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from convnetlab.figures import BLUE, GREY, ORANGE, LabFigure, show_picture
from convnetlab.lettering import short_names

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

BARS = 5  # classes whose probabilities are drawn
KERAS = "Keras"  # with this the names of Keras's rows begin
COLUMNS, FEWEST, ACROSS = 5, 3, 4  # pictures a row, at most and at least; panels a row
SIDE, LINE = 2.3, 0.2  # inches: a picture with its gap, a line of text
# Panels of the table's figure: a column, its axis's label, how values are written, whether
# the axis has equal room for each power of ten.
PANELS = (
    ("bytes", "size, bytes", "{:,.0f}", True),
    ("accuracy", "accuracy, test set (95 % interval)", "{:.4f}", False),
    ("agreement", "answers as Keras's, %", "{:.2f}", False),
    ("ms an image", "one picture, ms (median)", "{:,.3g}", True),
    ("images a second", "pictures a second", "{:,.0f}", True),
    ("cold start, s", "cold start, s", "{:.2f}", True),
    ("peak MiB", "memory, cold start, MiB", "{:,.0f}", True),
)


def page(
    steps: Mapping[str, Pixels],
    maps: Mapping[str, Floats],
    probabilities: Floats,
    classes: Sequence[str],
) -> LabFigure:
    """Draw what the page shows: a picture on its way into the network, maps, the answer.

    Args:
        steps: the picture (H, W, C) at each step, by what it is.
        maps: by layer, (maps, h, w).
        probabilities: the answer, (classes,).
        classes: the classes' names.
    """
    order = np.argsort(-probabilities, kind="stable")[:BARS]
    told = ", ".join(f"{classes[place]} {probabilities[place]:.1%}" for place in order[:2])
    layers = f"; maps of {', '.join(maps)}" if maps else ""
    alt = f"The page with one test picture: {', '.join(steps)}{layers}; the answer: {told}."
    columns = [*(1.0 for _ in steps), *(1.0 for _ in maps), 1.1]
    figure = LabFigure(alt, 1.9 * len(columns) + 0.4, 2.9)
    figure.suptitle("What the page shows of one test picture")
    grid = figure.add_gridspec(1, len(columns), width_ratios=columns)
    cells = [grid[0, column] for column in range(len(columns))]
    for cell, (name, image) in zip(cells, steps.items(), strict=False):
        show_picture(
            figure.add_subplot(cell), image, f"{name}\n{image.shape[0]} × {image.shape[1]}"
        )
    for cell, (name, values) in zip(cells[len(steps) :], maps.items(), strict=False):
        draw_maps(figure, cell, name, values)
    draw_answer(figure.add_subplot(cells[-1]), probabilities, order, classes)
    return figure


def draw_maps(figure: LabFigure, cell: SubplotSpec, name: str, maps: Floats) -> None:
    """Draw up to four maps, (maps, h, w), as a square, with the layer's name above."""
    frame = figure.add_subplot(cell)
    frame.set_title(f"{name}\n{maps.shape[1]} × {maps.shape[2]}", fontsize=10)
    frame.set(xticks=[], yticks=[], aspect="equal", xlim=(0, 1), ylim=(0, 1))
    frame.spines[:].set_visible(False)
    for place, values in enumerate(maps[:4]):
        row, column = divmod(place, 2)
        small = frame.inset_axes((0.51 * column, 0.51 * (1 - row), 0.49, 0.49))
        small.imshow(values, cmap="gray")
        small.set(xticks=[], yticks=[])


def draw_answer(
    axes: Axes, probabilities: Floats, order: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Draw the most probable classes as bars."""
    names = short_names(classes, 12)
    bars = axes.barh(range(len(order)), 100 * probabilities[order], color=BLUE)
    axes.bar_label(bars, [f"{100 * probabilities[place]:.1f}" for place in order], padding=3)
    axes.set_yticks(range(len(order)), [names[place] for place in order])
    axes.invert_yaxis()
    axes.set(xlim=(0, 135), xticks=(0, 50, 100), xlabel="probability, %")
    axes.set_title("the answer", fontsize=10)


def variants(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw a table of networks on the edge as points, a panel a column.

    Keras has orange squares, LiteRT blue circles.

    Args:
        table: as `edge_study.measure` makes it, with those of the columns of `PANELS` that it has.
        title: the figure's title.
    """
    panels = [panel for panel in PANELS if panel[0] in table]
    told = [
        f"{name}: {row['bytes']:,.0f} bytes, accuracy {row.get('accuracy', np.nan):.4f}"
        + (f", {row['ms an image']:.3g} ms an image" if "ms an image" in table else "")
        for name, row in table.iterrows()
    ]
    rows = -(-len(panels) // ACROSS)
    height = rows * (0.3 * len(table) + 0.9) + 0.5
    figure = LabFigure(f"{title}. {'; '.join(told)}.", 13, height)
    figure.suptitle(title)
    grid = list(figure.subplots(rows, ACROSS, squeeze=False, sharey=True).flat)
    for axes, panel in zip(grid, panels, strict=False):
        draw_panel(axes, table, *panel)
    for unused in grid[len(panels) :]:
        unused.set_axis_off()
    return figure


def draw_panel(
    axes: Axes, table: pd.DataFrame, name: str, label: str, style: str, is_log: bool
) -> None:
    """Draw one column of a table as points, with the values at the right; "–" is missing."""
    values = table[name].astype(float) * (100 if name == "agreement" else 1)
    for kind, colour, marker in ((True, ORANGE, "s"), (False, BLUE, "o")):
        places = [row for row, what in enumerate(table.index) if is_keras(what) == kind]
        axes.plot(values.iloc[places], places, marker, color=colour, markersize=8)
    if name == "accuracy":
        apart = [values - table["low"], table["high"] - values]
        axes.errorbar(values, range(len(table)), xerr=apart, fmt="none", ecolor=GREY, capsize=3)
    for row, value in enumerate(values):
        text = "–" if np.isnan(value) else style.format(value)
        place = axes.get_yaxis_transform()
        axes.text(1.02, row, text, transform=place, va="center", fontsize=9)
    if is_log:
        axes.set(xscale="log", xlim=(values.min() / 1.8, values.max() * 1.8))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.7g}"))
    axes.set(xlabel=label, ylim=(len(table) - 0.5, -0.5))
    axes.set_yticks(range(len(table)), table.index)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.3)


def is_keras(name: object) -> bool:
    """Whether a row of a table is about Keras."""
    return str(name).startswith(KERAS)


def changed(
    images: Pixels, answers: Sequence[pd.DataFrame], classes: Sequence[str], title: str
) -> LabFigure:
    """Draw pictures, five a row, with what they are and what Keras and the variants say.

    Args:
        images: uint8 (N, H, W, C).
        answers: of each picture, rows of `edge_answers.changes`.
        classes: the classes' names.
        title: the figure's title.
    """
    names = dict(zip(classes, short_names(classes, 14), strict=True))
    captions = [in_lines(rows, names) for rows in answers]
    lines = max(caption.count("\n") + 1 for caption in captions)
    columns = min(COLUMNS, max(FEWEST, len(images)))
    count = -(-len(images) // columns)
    height = count * (SIDE + LINE * lines) + 0.55
    told = "; ".join(caption.replace("\n", ", ") for caption in captions)
    figure = LabFigure(f"{title}: {told}.", SIDE * columns, height)
    figure.suptitle(title)
    grid = list(figure.subplots(count, columns, squeeze=False).flat)
    for axes, image, caption in zip(grid, images, captions, strict=False):
        show_picture(axes, image, caption)
        axes.title.set_fontsize(9)
    for unused in grid[len(images) :]:
        unused.set_axis_off()
    return figure


def in_lines(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Say in a line each what a picture is, what Keras says, and what each variant says."""
    first = rows.iloc[0]
    said = [(KERAS, first["keras"], first["keras confidence"])]
    said += zip(rows["variant"], rows["says"], rows["confidence"], strict=True)
    lines = [f"{who}: {names[what]}, {sure:.0%}" for who, what, sure in said]
    return "\n".join([f"is {names[first['truth']]}", *lines])
