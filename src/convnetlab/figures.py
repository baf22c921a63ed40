"""Every figure that shows pictures or measurements; `diagrams` draws how things work. Each function
returns a Matplotlib figure with a title, labelled axes and an alternative text; nothing is drawn on
the screen here.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; a mistake is marked by
a word and a frame as well, never by colour alone.
"""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

CELL = 2.1  # inches: the height of a grid's row, with three lines of text
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


Layout = Literal["constrained", "none"]


class LabFigure(Figure):
    """A Matplotlib figure with an alternative text for readers who cannot see it."""

    def __init__(
        self, alt: str, width: float, height: float, layout: Layout = "constrained"
    ) -> None:
        """Make an empty figure of width × height inches, described by `alt`."""
        super().__init__(figsize=(width, height), layout=None if layout == "none" else layout)
        self.alt = alt

    @functools.cached_property
    def png(self) -> bytes:
        """The finished figure as a PNG file's bytes; drawn once."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100, metadata={"Description": self.alt})
        return buffer.getvalue()

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, object]]:
        """Tell Jupyter how to show the figure: as a PNG, with its alternative text."""
        picture = base64.b64encode(self.png).decode()
        return {"image/png": picture, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def show_picture(axes: Axes, image: NDArray[np.uint8], title: str = "", **text: object) -> None:
    """Draw one picture (H, W, C), grey or RGB, without axes."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=10, **text)  # type: ignore[arg-type]
    axes.set_xticks([])
    axes.set_yticks([])


def image_grid(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    title: str,
    predicted: NDArray[np.int64] | None = None,
    confidence: NDArray[np.float32] | None = None,
    columns: int = 5,
) -> LabFigure:
    """Draw pictures in a grid, five a row, each with its label.

    Args:
        images: uint8 (N, H, W, C).
        labels: the true classes, (N,).
        classes: the classes' names.
        title: the figure's title.
        predicted: what a model said, (N,). Mistakes get a frame and the words "is" and "not".
        confidence: the model's probability for what it said, 0..1, (N,).
        columns: pictures a row.
    """
    count = len(images)
    rows = -(-count // columns)
    wrong = np.zeros(count, bool) if predicted is None else predicted != labels
    alt = f"{count} pictures with their classes: {', '.join(classes[i] for i in labels)}."
    if predicted is not None:
        alt = f"{count} test pictures, {int(wrong.sum())} of them mistaken. {title}."
    height = CELL * rows + 0.5
    figure = LabFigure(alt, 1.7 * columns, height, layout="none")
    figure.suptitle(title, y=1 - 0.2 / height)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        bottom = (height - 0.5 - CELL * (row + 1) + 0.08) / height
        axes = figure.add_axes(((column + 0.11) / columns, bottom, 0.78 / columns, 1.35 / height))
        caption = shortened(classes[labels[number]])
        if predicted is not None:
            said = shortened(classes[predicted[number]])
            caption = f"✗ says {said},\nis {caption}" if wrong[number] else f"✓ says {said}"
            if confidence is not None:
                caption += f"\n{confidence[number]:.1%} sure"
        colour = ORANGE if wrong[number] else "black"
        show_picture(axes, image, caption, color=colour)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3 if wrong[number] else 0.5)
    return figure


def prediction_grid(
    images: NDArray[np.uint8], predictions: pd.DataFrame, classes: Sequence[str], title: str
) -> LabFigure:
    """Draw pictures (N, H, W, C), five a row, with what a model said of each.

    Args:
        images: uint8 (N, H, W, C).
        predictions: a row a picture, as `evaluation.predictions_table` makes it.
        classes: the classes' names.
        title: the figure's title.
    """
    truth, predicted, confidence = (
        predictions[name].to_numpy() for name in ("truth", "predicted", "confidence")
    )
    return image_grid(images, truth, classes, title, predicted, confidence)


def shortened(name: str) -> str:
    """Return a class name that fits over a picture."""
    return name if len(name) <= 14 else name[:13] + "…"


def picture_numbers(image: NDArray[np.uint8], title: str) -> LabFigure:
    """Draw one grey picture (H, W, 1) with the number of every pixel written in it."""
    height, width = image.shape[:2]
    figure = LabFigure(f"A picture of {height} × {width} numbers, 0 black to 255 white.", 8.5, 8.5)
    axes = figure.subplots()
    axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
    for row in range(height):
        for column in range(width):
            value = int(image[row, column, 0])
            colour = "black" if value > 127 else "white"
            axes.text(column, row, str(value), ha="center", va="center", color=colour, fontsize=6.5)
    axes.set(title=title, xlabel="column", ylabel="row")
    return figure


def side_by_side(
    pictures: Mapping[str, NDArray[np.uint8]], title: str, columns: int = 6
) -> LabFigure:
    """Draw pictures (H, W, C) of any sizes in a grid, `columns` a row, with names and sizes."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = LabFigure(f"{title}: {', '.join(pictures)}.", 2.5 * columns, 3.0 * rows + 0.6)
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, image) in zip(grid, pictures.items(), strict=False):
        show_picture(axes, image, f"{name}\n{image.shape[0]} × {image.shape[1]}")
    for unused in grid[len(pictures) :]:
        unused.set_axis_off()
    return figure


def feature_maps(
    maps: Mapping[str, NDArray[np.float32]], title: str, columns: int = 6
) -> LabFigure:
    """Draw arrays (H, W) of any range in a grid: 0 white, positive blue, negative red.

    Args:
        maps: the arrays by name; each has a colour scale of its own.
        title: the figure's title.
        columns: arrays a row.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    figure = LabFigure(f"{title}: {', '.join(maps)}.", max(2.2 * columns, 3.6), 3.0 * rows + 0.6)
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, values) in zip(grid, maps.items(), strict=False):
        limit = max(float(np.abs(values).max()), 1e-6)
        drawn = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit)
        axes.set_title(f"{name}\n{values.shape[0]} × {values.shape[1]}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.9).ax.tick_params(
            labelsize=7
        )
    for unused in grid[len(maps) :]:
        unused.set_axis_off()
    return figure


def curves(history: pd.DataFrame, title: str) -> LabFigure:
    """Draw loss and accuracy by epoch, training beside validation where there is one.

    Args:
        history: as `training.train` makes it: `epoch`, `loss`, `accuracy` and, after
            validation, `val_loss`, `val_accuracy`.
        title: the figure's title.
    """
    last = history.iloc[-1]
    alt = f"{title}: after epoch {last['epoch']:.0f} the training loss is {last['loss']:.3f}"
    alt += f" and the training accuracy {last['accuracy']:.4f}."
    figure = LabFigure(alt, 9, 3.6)
    figure.suptitle(title)
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history["epoch"], history[measure], "o-", color=BLUE, label="training")
        if f"val_{measure}" in history:
            validation = history[f"val_{measure}"]
            axes.plot(history["epoch"], validation, "s--", color=ORANGE, label="validation")
        unit = " (natural logarithm)" if measure == "loss" else " (share of pictures)"
        axes.set(xlabel="epoch", ylabel=measure + unit, title=measure)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def learning_rates(rates: Sequence[float], title: str) -> LabFigure:
    """Draw the learning rate of every training step."""
    alt = f"{title}: {len(rates)} steps, from {rates[0]:.3g} up to {max(rates):.3g} and down to "
    figure = LabFigure(alt + f"{rates[-1]:.3g}.", 6, 3)
    axes = figure.subplots()
    axes.plot(range(1, len(rates) + 1), rates, color=BLUE)
    axes.set(title=title, xlabel="training step", ylabel="learning rate")
    axes.grid(alpha=0.3)
    return figure


def descent(paths: Mapping[str, NDArray[np.float64]], title: str) -> LabFigure:
    """Draw walks down the parabola loss = weight²: one panel a learning rate.

    Args:
        paths: the weights after 0, 1, 2, … steps, (steps+1,), by name.
        title: the figure's title.
    """
    alt = f"{title}: {', '.join(f'{name} ends at {path[-1]:.2f}' for name, path in paths.items())}."
    figure = LabFigure(alt, 3.1 * len(paths), 3.4)
    figure.suptitle(title)
    panels = figure.subplots(1, len(paths), sharey=True, squeeze=False).flat
    for axes, (name, path) in zip(panels, paths.items(), strict=True):
        reach = max(1.5, float(np.abs(path).max()) * 1.1)
        weights = np.linspace(-reach, reach, 200)
        axes.plot(weights, weights**2, color=GREY)
        axes.plot(path, path**2, "o-", color=ORANGE)
        axes.set(title=name, xlabel="weight")
    figure.axes[0].set_ylabel("loss")
    return figure


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str) -> LabFigure:
    """Draw a confusion matrix (truth by row, prediction by column), a number in every cell."""
    mistakes = int(matrix.sum() - np.trace(matrix))
    count = len(classes)
    side = max(6.0, 0.58 * count)
    figure = LabFigure(f"{title}: {mistakes} of {matrix.sum()} are off the diagonal.", side, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root shows small cells too
    for row, column in np.ndindex(matrix.shape):
        colour = "white" if shares[row, column] > 0.4 else "black"
        axes.text(
            column, row, str(matrix[row, column]), ha="center", va="center", color=colour, size=9
        )
    axes.set_xticks(range(count), classes, rotation=45 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(range(count), classes)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    return figure


def filters(kernels: NDArray[np.float32], title: str) -> LabFigure:
    """Draw the first channel of filters (h, w, channels, filters): positive blue, negative red."""
    height, width, _, count = kernels.shape
    columns = min(count, 8)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for number in range(count):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        sheet[top : top + height, left : left + width] = kernels[:, :, 0, number]
    figure = LabFigure(f"{title}: {count} filters.", 7, 7 * rows / columns + 0.8)
    axes = figure.subplots()
    limit = float(np.abs(kernels).max())
    drawn = axes.imshow(sheet, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    axes.set_frame_on(False)
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight")
    return figure
