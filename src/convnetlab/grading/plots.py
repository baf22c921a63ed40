"""Figures of how a class did."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from convnetlab.figures import BLUE, GREY, ORANGE, LabFigure
from convnetlab.lettering import escaped

SHOWN = 15  # exercises in a figure


class Share(NamedTuple):
    """How a class did in one exercise: shares of all its points, 0 to 1.

    Attributes:
        name: as it is written at its bar.
        reached: of the points.
        unanswered: of the points, lost where nothing was answered.
    """

    name: str
    reached: float
    unanswered: float


def distribution(totals: Sequence[float], most: float, title: str) -> LabFigure:
    """Draw how many students reached how many points, and the median.

    Args:
        totals: points of each student, one or more.
        most: what could be reached; extra credit may exceed it.
        title: the figure's title.
    """
    high = max(most, *totals, 1.0)
    width = high / 10
    counts, edges = np.histogram(totals, bins=10, range=(0, high))
    median = float(np.median(totals))
    best = int(np.argmax(counts))
    people = "1 student" if len(totals) == 1 else f"{len(totals)} students"
    figure = LabFigure(
        f"{title}: {people}, from {min(totals):g} to {max(totals):g} points of {most:g}; the "
        f"median is {median:g}. The fullest bar holds {counts[best]}, from {edges[best]:g} to "
        f"{edges[best + 1]:g} points.",
        8,
        3.6,
    )
    axes = figure.subplots()
    axes.bar(edges[:-1], counts, width=width, align="edge", color=BLUE, edgecolor="white")
    axes.axvline(median, color=ORANGE, linestyle="--", linewidth=2, label=f"median: {median:g}")
    axes.set(title=title, xlabel=f"points (of {most:g})", ylabel="students", xlim=(0, high))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left")
    axes.grid(axis="y", alpha=0.3)
    return figure


def difficulty(shares: Sequence[Share], title: str) -> LabFigure:
    """Draw which share of its points a class reached in each exercise, the hardest at the top."""
    shown = list(shares[:SHOWN])
    told = "; ".join(f"{it.name} {it.reached:.0%}" for it in shown)
    figure = LabFigure(f"{title}, the hardest first: {told}.", 8, 1.4 + 0.34 * len(shown))
    axes = figure.subplots()
    rows = np.arange(len(shown))
    got = np.array([it.reached for it in shown])
    empty = np.array([it.unanswered for it in shown])
    lost = np.clip(1 - got - empty, 0, 1)
    axes.barh(rows, got, color=BLUE, label="reached")
    axes.barh(rows, lost, left=got, color=ORANGE, hatch="//", edgecolor="white", label="lost")
    axes.barh(rows, empty, left=got + lost, color="#cccccc", edgecolor=GREY, label="unanswered")
    axes.set_yticks(rows, [escaped(it.name) for it in shown])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(title=title, xlabel="share of the points of all students", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3)
    return figure
