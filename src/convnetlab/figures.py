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

from convnetlab.lettering import short_names

CELL = 2.1  # inches: the height of a grid's row, with three lines of text
NOTHING = 0.5  # seconds: who trains for less only keeps the pictures
# Of a confusion matrix: up to so many classes, inches a cell, points a letter, whether shares fit.
ROOMS = ((3, 1.5, 12, True), (12, 0.68, 8, True), (40, 0.36, 7, False), (1_000, 0.2, 5, False))
NUMBERS = 1_000  # written into a confusion matrix, the largest ones: more takes many seconds
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
    count, names = len(images), short_names(classes)
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
        caption = names[labels[number]]
        if predicted is not None:
            said = names[predicted[number]]
            caption = f"✗ says {said},\nis {caption}" if wrong[number] else f"✓ says {said}"
            if confidence is not None:
                caption += f"\n{confidence[number]:.1%} sure"
        colour = ORANGE if wrong[number] else "black"
        show_picture(axes, image, caption, color=colour)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=3 if wrong[number] else 0.5)
    return figure


def image_rows(rows: Mapping[str, NDArray[np.uint8]], title: str) -> LabFigure:
    """Draw rows of pictures, uint8 (N, H, W, C), each row with its name at the left."""
    count = max(len(images) for images in rows.values())
    alt = f"{title}: {count} pictures a row; the rows are {', '.join(rows)}."
    figure = LabFigure(alt, 1.2 * count + 1.2, 1.25 * len(rows) + 0.5)
    figure.suptitle(title)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, image in zip(line, images, strict=False):
            show_picture(axes, image)
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
        if len(history) == 1:
            axes.set_xticks(history["epoch"])
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str) -> LabFigure:
    """Draw a confusion matrix (truth by row, prediction by column), counts and shares by row.

    Beyond a dozen classes there is room for the counts only, and none where nothing was found.
    """
    mistakes = int(matrix.sum() - np.trace(matrix))
    count, names = len(classes), short_names(classes, 24)
    cell, letters, is_roomy = next(room for most, *room in ROOMS if count <= most)
    side = max(6.0, cell * count)
    figure = LabFigure(f"{title}: {mistakes} of {matrix.sum()} are off the diagonal.", side, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root shows small cells too
    for place in np.argsort(-matrix, axis=None, kind="stable")[:NUMBERS]:
        row, column = divmod(int(place), count)
        colour = "white" if shares[row, column] > 0.4 else "black"
        found = matrix[row, column]
        text = f"{found}\n{shares[row, column]:.1%}" if found else "0"
        if is_roomy or found:
            text = text if is_roomy else str(found)
            number = axes.text(column, row, text, color=colour, size=letters)
            # Inside the cells anyway, and slow to ask one by one how much room each takes.
            number.set(ha="center", va="center", in_layout=False)
    axes.set_xticks(range(count), names)
    if max(map(len, names)) > 2:
        axes.tick_params("x", rotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.tick_params(labelsize=10 if is_roomy else letters + 1)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    return figure


def filters(kernels: NDArray[np.float32], title: str) -> LabFigure:
    """Draw filters (h, w, channels, filters).

    Those for colour pictures (three channels) as colours: grey is 0, and each filter is stretched
    to its own largest weight. Of others, the first channel: positive blue, negative red.
    """
    height, width, channels, count = kernels.shape
    columns = min(count, 8)
    rows = -(-count // columns)
    limit = float(np.abs(kernels).max())
    if channels == 3:
        largest = np.abs(kernels).max(axis=(0, 1, 2), initial=1e-6)
        shown, ground, depth = 0.5 + kernels / largest / 2, 1.0, 3
    else:
        shown, ground, depth = kernels[:, :, :1], np.nan, 1
    sides = rows * (height + 1) - 1, columns * (width + 1) - 1
    sheet = np.full((*sides, depth), ground, np.float32)
    for number in range(count):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        sheet[top : top + height, left : left + width] = shown[..., number]
    figure = LabFigure(f"{title}: {count} filters.", 7, 7 * rows / columns + 0.8)
    axes = figure.subplots()
    drawn = axes.imshow(
        sheet if depth == 3 else sheet[..., 0], cmap="RdBu", vmin=-limit, vmax=limit
    )
    axes.set(title=title, xticks=[], yticks=[])
    axes.set_frame_on(False)
    if channels != 3:
        figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight")
    return figure


# Told apart without colour, too: colour, marker, line.
STYLES = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    (GREY, "v", (0, (5, 1))),
)


def range_test(table: pd.DataFrame, suggested: float, title: str) -> LabFigure:
    """Draw the loss of a learning-rate range test, and the rate that is read off it.

    Args:
        table: as `experiments.learning_rate_range` makes it.
        suggested: the rate.
        title: the figure's title.
    """
    rates, smoothed = table["learning_rate"], table["smoothed"]
    lowest = float(rates.iloc[int(smoothed.argmin())])
    figure = LabFigure(
        f"{title}: the smoothed loss begins at {smoothed.iloc[0]:.2f}, is lowest, "
        f"{smoothed.min():.2f}, at the rate {lowest:.2g}, and ends at {smoothed.iloc[-1]:.2f}; "
        f"suggested is {suggested:.2g}.",
        8,
        3.8,
    )
    axes = figure.subplots()
    axes.plot(rates, table["loss"], ".", color=GREY, alpha=0.5, label="loss of a batch")
    axes.plot(rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    axes.plot([lowest], [smoothed.min()], "v", color=BLUE, ms=9, label=f"lowest, at {lowest:.2g}")
    label = f"suggested: {suggested:.2g}"
    axes.axvline(suggested, color=ORANGE, linestyle="--", linewidth=2, label=label)
    axes.set_ylim(0, 1.5 * smoothed.iloc[0])  # what lies above has flown off
    axes.set(title=title, xscale="log", xlabel="learning rate (logarithmic)", ylabel="loss (nats)")
    axes.legend(loc="lower left")
    axes.grid(alpha=0.3)
    return figure


def schedules(rates: pd.DataFrame, losses: pd.DataFrame, title: str) -> LabFigure:
    """Draw learning rates by step, and validation losses by epoch; a line a schedule.

    Args:
        rates: a row a step, a column a schedule.
        losses: a row an epoch, the same columns.
        title: the figure's title.
    """
    ends = ", ".join(f"{name} at {value:.3f}" for name, value in losses.iloc[-1].items())
    figure = LabFigure(f"{title}: the validation losses end with {ends}.", 10, 4.2)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for (colour, marker, line), name in zip(STYLES, map(str, rates), strict=False):
        left.plot(range(1, len(rates) + 1), rates[name], color=colour, ls=line, label=name)
        right.plot(losses[name], color=colour, ls=line, marker=marker, label=name)
    left.set(title="learning rate", xlabel="training step", ylabel="learning rate")
    right.set(title="validation loss", xlabel="epoch", ylabel="loss (nats)")
    right.xaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(STYLES))
    return figure


def remedies(curves: pd.DataFrame, title: str) -> LabFigure:
    """Draw training and validation loss by epoch, a line a remedy against over-fitting.

    Args:
        curves: as `experiments.compare_remedies` makes it; means over the seeds are drawn.
        title: the figure's title.
    """
    means = curves.groupby(["remedy", "epoch"], sort=False)[["loss", "val_loss"]].mean()
    names = curves["remedy"].unique()
    ends = [f"{name} at {means.loc[name]['val_loss'].iloc[-1]:.3f}" for name in names]
    figure = LabFigure(f"{title}: the validation losses end with {', '.join(ends)}.", 10, 4.2)
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    named = {"loss": "training loss", "val_loss": "validation loss"}
    for axes, (measure, panel) in zip(panels, named.items(), strict=True):
        for (colour, marker, line), name in zip(STYLES, names, strict=False):
            values = means.loc[name][measure]
            axes.plot(values, color=colour, ls=line, marker=marker, markevery=4, ms=5, label=name)
        axes.set(title=panel, xlabel="epoch", ylabel="loss (nats)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    plain = means.loc["none"]["val_loss"]
    lowest = f"lowest without a remedy: epoch {plain.idxmin()}"
    panels[1].plot([plain.idxmin()], [plain.min()], "*", color="black", ms=12, label=lowest)
    panels[1].yaxis.set_tick_params(labelleft=True)
    panels[1].legend()
    return figure


def unlabelled_curves(curves: pd.DataFrame, title: str) -> LabFigure:
    """Draw loss above accuracy, training beside validation, a column a curve.

    Args:
        curves: as `experiments.learning_curves` makes it; its causes are not shown.
        title: the figure's title.
    """
    groups = {str(letter): group for letter, group in curves.groupby("curve")}
    ends = [
        f"{letter}: training loss {last['loss']:.2f}, validation loss {last['val_loss']:.2f}, "
        f"accuracies {last['accuracy']:.2f} and {last['val_accuracy']:.2f}"
        for letter, last in ((letter, group.iloc[-1]) for letter, group in groups.items())
    ]
    figure = LabFigure(f"{title}. At the end, {'; '.join(ends)}.", 2.4 * len(groups), 5.2)
    figure.suptitle(title)
    grid = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for column, (letter, group) in zip(grid.T, groups.items(), strict=True):
        for axes, measure in zip(column, ("loss", "accuracy"), strict=True):
            axes.plot(group["epoch"], group[measure], color=BLUE, label="training")
            validation = group[f"val_{measure}"]
            axes.plot(group["epoch"], validation, "--", color=ORANGE, label="validation")
            axes.grid(alpha=0.3)
        column[0].set_title(f"curve {letter}")
        column[1].set_xlabel("epoch")
    grid[0, 0].set_ylabel("loss (nats)")
    grid[1, 0].set_ylabel("accuracy (share)")
    grid[1, 0].set_ylim(0, 1.05)
    grid[0, 0].legend(loc="lower left", fontsize=8)
    return figure


# Colour, marker and line of each way to use a trained base, and of what they are held against.
WAYS = {
    "from scratch": ("#000000", "s", "--"),
    "untrained features": (GREY, "x", ":"),
    "trained features": (BLUE, "o", "-"),
    "new head": ("#009E73", "^", "-"),
    "fine-tuned": (ORANGE, "D", "-"),
}


def transfer(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw the accuracy of every way to use a trained base, by the number of examples.

    A point is the mean over the seeds, a bar one standard deviation up and one down; with a single
    seed there are no bars.

    Args:
        table: as `transfer.compare` makes it: `method`, `examples`, `seed`, `accuracy`.
        title: the figure's title.
    """
    groups = table.groupby(["method", "examples"])["accuracy"]
    means, spreads = groups.mean(), groups.std(ddof=1)
    seeds, sizes = table["seed"].nunique(), sorted(table["examples"].unique())
    figure = LabFigure(f"{title}. {transfer_in_words(means, sizes)}", 8, 4.6)
    axes = figure.subplots()
    ways = [name for name in WAYS if name in means.index]
    for number, name in enumerate(ways):
        colour, marker, line = WAYS[name]
        # A little beside each other, so that no bar hides another one.
        places = [size * 1.035 ** (number - len(ways) / 2 + 0.5) for size in sizes]
        axes.errorbar(
            places,
            means[name],
            spreads[name] if seeds > 1 else None,
            label=name,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=5,
            capsize=3,
        )
    bars = f"mean ± standard deviation, {seeds} seeds" if seeds > 1 else "one seed"
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set(title=title, xlabel="examples a class", ylabel=f"accuracy ({bars})")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def transfer_in_words(means: pd.Series, sizes: Sequence[int]) -> str:
    """Say how good scratch and the best of the other ways are with the fewest and most examples."""
    sentences = []
    for size in (sizes[0], sizes[-1])[: len(sizes)]:
        here = means.xs(size, level="examples").sort_values(ascending=False)
        scratch = here.pop("from scratch")
        sentences.append(
            f"With {size:,} examples a class training from scratch reaches {scratch:.3f}, "
            f"and the best of the others, {here.index[0]}, {here.iloc[0]:.3f}."
        )
    return " ".join(sentences)


def recipes(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw what each recipe takes, and what it reaches.

    Args:
        table: a row a recipe, by name: `train_seconds`, `accuracy_mean`, `accuracy_low`,
            `accuracy_high` (0..1) and `speedup`.
        title: the figure's title.
    """
    rows = [row for _, row in table.iterrows()]
    told = [f"{row.name}: {row['train_seconds']:.1f} s, {row['accuracy_mean']:.2%}" for row in rows]
    figure = LabFigure(f"{title}. {'; '.join(told)}.", 9, 1.6 + 0.45 * len(rows))
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    places = np.arange(len(rows))
    bars = left.barh(places, table["train_seconds"], color=BLUE)
    times = [f"{row['train_seconds']:.1f} s, {row['speedup']:.1f}×" for row in rows]
    labels = np.where(table["train_seconds"] < NOTHING, "nothing to train", times)
    left.bar_label(bars, list(labels), padding=3)
    left.set_xlim(0, 1.35 * table["train_seconds"].max())
    left.set_yticks(places, list(table.index))
    left.invert_yaxis()
    left.set_xlabel("training, seconds (and how many times faster than the listing)")
    mean = 100 * table["accuracy_mean"]
    spread = [mean - 100 * table["accuracy_low"], 100 * table["accuracy_high"] - mean]
    right.errorbar(mean, places, xerr=spread, fmt="o", color=ORANGE, capsize=4)
    right.set_xlabel("test accuracy, %, with its 95 % interval")
    right.grid(axis="x", alpha=0.4)
    return figure
