"""Figures of how a model fares when pictures change.

As in `figures`, each function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from convnetlab.figures import BLUE, GREY, ORANGE, STYLES, LabFigure, show_picture

Pixels = NDArray[np.uint8]
COLUMNS = 3  # panels a row


def panels(figure: LabFigure, names: Sequence[str]) -> dict[str, Axes]:
    """Return axes for every name, three a row."""
    rows = -(-len(names) // COLUMNS)
    grid = list(figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flat)
    for unused in grid[len(names) :]:
        unused.set_axis_off()
    return dict(zip(names, grid, strict=False))


def prepare(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    """Label the axes of one corruption, whose rows `robustness.accuracies` made."""
    places = range(len(rows))
    axes.set_xticks(places, list(rows["amount"]))
    axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(-0.03, 1.03), xlabel=rows["unit"].iloc[0])
    axes.set_title(title, fontweight="bold", fontsize=11)
    axes.tick_params(labelleft=True)
    axes.grid(alpha=0.3)


def strip(axes: Axes, images: Pixels) -> None:
    """Draw small pictures (N, H, W, C) above the axes, each over its place 0..N-1."""
    for place, image in enumerate(images):
        box = (place - 0.44, 1.03, 0.88, 0.24)
        small = axes.inset_axes(box, transform=axes.get_xaxis_transform())
        show_picture(small, image)
        small.set_anchor("S")
    # The title makes room for the pictures.
    axes.set_title(axes.get_title(), fontweight="bold", fontsize=11, y=1.28)


def curves(
    tables: Mapping[str, pd.DataFrame], examples: Mapping[str, Pixels], title: str
) -> LabFigure:
    """Draw accuracy by strength, a panel a corruption, a line a model, below example pictures.

    Args:
        tables: by the model's name, as `robustness.accuracies` makes them; five at most.
        examples: by corruption, uint8 (strengths, H, W, C), as `robustness.examples` makes them.
        title: the figure's title.
    """
    figure = LabFigure(f"{title}. {falls_in_words(tables)}", 11, 8)
    figure.set_layout_engine("constrained", h_pad=0.12)
    figure.suptitle(title)
    grid = panels(figure, list(examples))
    for name, axes in grid.items():
        for number, (label, table) in enumerate(tables.items()):
            rows = table[table["corruption"] == name]
            prepare(axes, rows, name)
            aside = 0.12 * (number - (len(tables) - 1) / 2)  # so that no bar hides another one
            draw_accuracy(axes, rows, label, number, aside)
        strip(axes, examples[name])
    for axes in list(grid.values())[::COLUMNS]:
        axes.set_ylabel("accuracy (share, 95 % interval)")
    handles = next(iter(grid.values())).get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(tables))
    return figure


def draw_accuracy(
    axes: Axes, rows: pd.DataFrame, label: str, number: int, aside: float = 0.0
) -> None:
    """Draw one model's accuracy with its interval, in the style of that number."""
    colour, marker, line = STYLES[number]
    accuracy = rows["accuracy"]
    bars = [accuracy - rows["low"], rows["high"] - accuracy]
    places = np.arange(len(rows)) + aside
    axes.errorbar(
        places, accuracy, bars, color=colour, marker=marker, ls=line, ms=5, capsize=2, label=label
    )


def falls_in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say for each model how good it is on clean pictures, and under which corruption worst."""
    sentences = []
    for label, table in tables.items():
        worst = table.iloc[int(table["accuracy"].to_numpy().argmin())]
        sentences.append(
            f"{label}: {table['accuracy'].iloc[0]:.3f} on clean pictures, at worst "
            f"{worst['accuracy']:.3f}, with {worst['corruption']} {worst['amount']}."
        )
    return " ".join(sentences)


def confidence(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw mean confidence beside accuracy by strength, a panel a corruption.

    Args:
        table: as `robustness.accuracies` makes it.
        title: the figure's title.
    """
    gap = table["confidence"] - table["accuracy"]
    worst = table.iloc[int(gap.to_numpy().argmax())]
    alt = (
        f"{title}. Confidence is farthest above accuracy with {worst['corruption']} "
        f"{worst['amount']}: {worst['confidence']:.3f} against {worst['accuracy']:.3f}."
    )
    figure = LabFigure(alt, 11, 6.2)
    figure.suptitle(title)
    grid = panels(figure, list(table["corruption"].unique()))
    for name, axes in grid.items():
        rows = table[table["corruption"] == name]
        prepare(axes, rows, name)
        places, sure, right = np.arange(len(rows)), rows["confidence"], rows["accuracy"]
        draw_accuracy(axes, rows, "accuracy: what is found", 0)
        axes.plot(places, sure, "s--", color=ORANGE, ms=5, label="mean confidence: what it says")
        axes.fill_between(
            places,
            right,
            sure,
            where=list(sure > right),
            interpolate=True,
            facecolor="none",
            edgecolor=GREY,
            alpha=0.5,
            hatch="///",
            linewidth=0,
            label="too sure",
        )
    for axes in list(grid.values())[::COLUMNS]:
        axes.set_ylabel("share, 0 to 1")
    handles = next(iter(grid.values())).get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def gains(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw by how much a second model is better, with intervals, a line a corruption.

    Args:
        table: as `robustness.gains` makes it.
        title: the figure's title.
    """
    told = [f"{name} {100 * row['gain']:+.1f} ({row['verdict']})" for name, row in table.iterrows()]
    figure = LabFigure(
        f"{title}. Gains in percentage points: {', '.join(told)}.", 8.5, 1.4 + 0.42 * len(table)
    )
    axes = figure.subplots()
    for place, (_, row) in enumerate(table.iterrows()):
        gain, low, high = (100 * row[name] for name in ("gain", "low", "high"))
        open_still = row["verdict"] == "open"
        axes.errorbar(
            [gain],
            [place],
            xerr=[[gain - low], [high - gain]],
            fmt="o",
            ms=8,
            capsize=4,
            color=GREY if open_still else BLUE,
            markerfacecolor="white" if open_still else BLUE,
        )
        axes.annotate(
            row["verdict"], (1.01, place), xycoords=("axes fraction", "data"), va="center"
        )
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(table)), list(table.index))
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set(title=title, xlabel="gain in accuracy, percentage points, with its 95 % interval")
    axes.grid(axis="x", alpha=0.4)
    return figure
