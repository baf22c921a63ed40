"""Figures of a network on the edge: its variants beside Keras, what they changed, the page.

As in `figures`, each function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import SubplotSpec
from numpy.typing import NDArray

from convnetlab.figures import BLUE, LabFigure, show_picture
from convnetlab.lettering import short_names

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

BARS = 5  # classes whose probabilities are drawn


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
