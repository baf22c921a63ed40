"""Figures of how far a model can be trusted, and of models beside each other.

As in `figures`, each function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from convnetlab.figures import BLUE, GREY, ORANGE, LabFigure


def stretch_to_one(axis: str, axes: Axes, floor: float) -> None:
    """Give 0, 0.9, 0.99, … equal room on an axis whose values are drawn as 1 − value."""
    getattr(axes, f"set_{axis}scale")("log")
    getattr(axes, f"set_{axis}lim")(1, floor)
    scale = axes.xaxis if axis == "x" else axes.yaxis
    nines = np.arange(0, np.ceil(-np.log10(floor)))
    scale.set_major_locator(FixedLocator(list(10.0**-nines)))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - value:.7g}"))


def reliability(tables: Mapping[str, pd.DataFrame], title: str) -> LabFigure:
    """Draw accuracy against confidence, a panel a table; on the diagonal a model is calibrated.

    Most confidences lie close to 1, so 0.9, 0.99, 0.999, … get equal room; what lies beyond the
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
    floor = float(np.clip(least / 2, 1e-4, 1e-2))
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
