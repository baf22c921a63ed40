"""Figures of how far a model can be trusted, and of models beside each other.

As in `figures`, each function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from convnetlab.figures import BLUE, GREY, ORANGE, STYLES, LabFigure, show_picture

SURE = 0.05  # from 1: from there on confidences are drawn by their nines


def stretch_to_one(axis: str, axes: Axes, floor: float) -> None:
    """Give 0, 0.9, 0.99, … equal room on an axis whose values are drawn as 1 − value.

    Without a floor, 0, 0.2, 0.4, … have equal room, as usual.
    """
    scale = axes.xaxis if axis == "x" else axes.yaxis
    if floor:
        getattr(axes, f"set_{axis}scale")("log")
        nines = np.arange(0, np.ceil(-np.log10(floor)))
        scale.set_major_locator(FixedLocator(list(10.0**-nines)))
        scale.set_minor_locator(NullLocator())
    getattr(axes, f"set_{axis}lim")(1, floor)
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - value:.7g}"))


def reliability(tables: Mapping[str, pd.DataFrame], title: str) -> LabFigure:
    """Draw accuracy against confidence, a panel a table; on the diagonal a model is calibrated.

    Where some confidences lie close to 1, 0.9, 0.99, 0.999, … get equal room; what lies beyond the
    last of them is drawn at the edge.

    Args:
        tables: by name, as `calibration.reliability` makes them.
        title: the figure's title.
    """
    told = [
        f"{name}: in the least sure bin it says {table['confidence'].iloc[0]:.3f} on average, and "
        f"{table['accuracy'].iloc[0]:.3f} are right"
        for name, table in tables.items()
    ]
    figure = LabFigure(f"{title}. {'; '.join(told)}.", 4.8 * len(tables), 5.0)
    figure.suptitle(title)
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    least = min(float((1 - table["confidence"]).min()) for table in tables.values())
    floor = float(np.clip(least / 2, 1e-4, 1e-2)) if least < SURE else 0.0
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        wrong = (1 - table["accuracy"]).clip(lower=floor)
        below, above = wrong - (1 - table["high"]).clip(lower=floor), 1 - table["low"] - wrong
        said = (1 - table["confidence"]).clip(lower=floor)
        bars = [below.clip(lower=0), above.clip(lower=0)]
        axes.plot([floor, 1], [floor, 1], "--", color=GREY, label="calibrated")
        label = "a bin, with the 95 % interval"
        axes.errorbar(said, wrong, bars, fmt="o", color=BLUE, capsize=3, label=label, clip_on=False)
        for axis in "xy":
            stretch_to_one(axis, axes, floor)
        axes.set(title=name, xlabel="confidence: what it says")
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy: what is found")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def refusal(table: pd.DataFrame, threshold: float, title: str) -> LabFigure:
    """Draw the accuracy of the answers given by the share that is given.

    Args:
        table: as `calibration.coverage` makes it.
        threshold: marked, where any answer is at least so sure.
        title: the figure's title.
    """
    last = table.iloc[-1]
    alt = f"{title}: {last['accuracy']:.4f} if every answer is given."
    figure = LabFigure(alt, 7, 4)
    axes = figure.subplots()
    axes.plot(100 * table["coverage"], 100 * table["accuracy"], color=BLUE, label="by threshold")
    given = table[table["threshold"] >= threshold]
    if len(given):
        chosen = given.iloc[-1]
        figure.alt += (
            f" At the threshold {threshold:.4f}, {chosen['coverage']:.1%} are given, and "
            f"{chosen['accuracy']:.4f} of these are right."
        )
        label = f"threshold {threshold:.4f}"
        place = [100 * chosen["coverage"]], [100 * chosen["accuracy"]]
        axes.plot(*place, "D", color=ORANGE, ms=9, label=label)
    axes.set(title=title, xlabel="coverage: answers given, %", ylabel="right among those given, %")
    axes.legend(loc="lower left")
    axes.grid(alpha=0.3)
    return figure


def robustness(
    tables: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, NDArray[np.uint8]],
    title: str,
) -> LabFigure:
    """Draw accuracy by strength, a panel a corruption, a line a model, below example pictures.

    Args:
        tables: by the model's name, as `robustness.accuracies` makes them; five at most.
        pictures: by corruption, of which there are six, uint8 (strengths, H, W, C), as
            `robustness.examples` makes them.
        title: the figure's title.
    """
    figure = LabFigure(f"{title}. {falls_in_words(tables)}", 11, 8)
    figure.set_layout_engine("constrained", h_pad=0.12)
    figure.suptitle(title)
    grid = figure.subplots(2, 3, sharey=True)
    for axes, (name, images) in zip(grid.flat, pictures.items(), strict=True):
        for number, (label, table) in enumerate(tables.items()):
            rows = table[table["corruption"] == name]
            aside = 0.12 * (number - (len(tables) - 1) / 2)  # so that no bar hides another one
            draw_accuracy(axes, rows, label, number, aside)
        axes.set_xticks(rows["step"], [f"{strength:g}" for strength in rows["strength"]])
        axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(-0.03, 1.03), xlabel=rows["unit"].iloc[0])
        axes.set_title(name, fontweight="bold", fontsize=11, y=1.28)  # above the pictures
        axes.tick_params(labelleft=True)
        axes.grid(alpha=0.3)
        for place, image in enumerate(images):
            box = (place - 0.44, 1.03, 0.88, 0.24)
            small = axes.inset_axes(box, transform=axes.get_xaxis_transform())
            show_picture(small, image)
            small.set_anchor("S")
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy (share, 95 % interval)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_accuracy(axes: Axes, rows: pd.DataFrame, label: str, number: int, aside: float) -> None:
    """Draw one model's accuracy by step with its interval, in the style of that number."""
    colour, marker, line = STYLES[number]
    accuracy = rows["accuracy"]
    axes.errorbar(
        rows["step"] + aside,
        accuracy,
        [accuracy - rows["low"], rows["high"] - accuracy],
        color=colour,
        marker=marker,
        linestyle=line,
        markersize=5,
        capsize=2,
        label=label,
    )


def falls_in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say for each model how good it is on clean pictures, and under which corruption worst."""
    sentences = []
    for label, table in tables.items():
        worst = table.iloc[int(table["accuracy"].to_numpy().argmin())]
        sentences.append(
            f"{label}: {table['accuracy'].iloc[0]:.3f} on clean pictures, at worst "
            f"{worst['accuracy']:.3f}, with {worst['corruption']} {worst['strength']:g} "
            f"{worst['unit']}."
        )
    return " ".join(sentences)


def speed_and_accuracy(table: pd.DataFrame, title: str) -> LabFigure:
    """Draw accuracy against training time, a point a configuration, and the Pareto front.

    Bars are one standard deviation up and one down. The names stand in a column at the right, in
    the order of the points' heights, so that none hides another one.

    Args:
        table: as `compare.configurations` makes it, with a time in every row.
        title: the figure's title.
    """
    best = table[table["front"]].sort_values("train_seconds")
    told = [
        f"{row.name}: {row['train_seconds']:.1f} s, {row['accuracy']:.2%}"
        for _, row in best.iterrows()
    ]
    alt = f"{title}: {len(table)} configurations. On the Pareto front: {'; '.join(told)}."
    figure = LabFigure(alt, 9, max(4.4, 1.6 + 0.27 * len(table)))
    axes = figure.subplots()
    kinds = {
        "on the Pareto front": (best, BLUE, "D-"),
        "another one is as fast and as accurate, or better": (table[~table["front"]], ORANGE, "o"),
    }
    for name, (part, colour, style) in kinds.items():
        if len(part):
            across, up = part["train_seconds_sd"].fillna(0), 100 * part["accuracy_sd"].fillna(0)
            places = part["train_seconds"], 100 * part["accuracy"]
            axes.errorbar(*places, up, across, fmt=style, color=colour, capsize=3, label=name)
    axes.set(title=title, xlabel="training, seconds (mean)", ylabel="test accuracy, % (mean)")
    axes.margins(0.08)
    axes.grid(alpha=0.3)
    name_points(axes, table["train_seconds"], 100 * table["accuracy"])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def name_points(axes: Axes, x: "pd.Series[float]", y: "pd.Series[float]") -> None:
    """Write the names of points, the series' index, in a column at the right, with thin lines."""
    order = y.sort_values(kind="stable").index
    heights = (np.arange(len(order)) + 0.5) / len(order)
    for name, height in zip(order, heights, strict=True):
        axes.annotate(
            str(name),
            (x[name], y[name]),
            (1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "lw": 0.6,
                "shrinkB": 5,
                "relpos": (0, 0.5),
            },
        )
