"""The figure of a folder of pictures: how many a class, what sizes, and what is worth a look.

As in `figures`, the function returns a Matplotlib figure with a title, labelled axes and an
alternative text.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from convnetlab.figures import STYLES, LabFigure, show_picture
from convnetlab.lettering import file_name, short_names

BARS = 24  # classes that have room; of more, those with the fewest pictures are drawn
EXAMPLES = 12  # pictures that are worth a look
COLUMNS = 6
LONGEST = 20  # letters of a class's name
CAPTION = 26  # letters a line over a picture


def overview(
    pictures: pd.DataFrame,
    classes: Sequence[str],
    shown: Mapping[str, NDArray[np.uint8]],
    title: str,
) -> LabFigure:
    """Draw pictures a class and part, widths against heights, and pictures worth a look.

    Args:
        pictures: a row a readable picture: `class`, `part`, `width`, `height`.
        classes: all classes, those without pictures too.
        shown: pictures (H, W, 3) by what they are captioned with; the first `EXAMPLES` are drawn.
        title: the figure's title.
    """
    parts = list(dict.fromkeys(pictures["part"]))
    counts = pictures.groupby(["class", "part"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=list(classes), columns=parts, fill_value=0)
    order = counts.sum(axis=1).sort_values(kind="stable").index[:BARS]
    drawn = counts.loc[[name for name in classes if name in set(order)]]
    rows = -(-min(len(shown), EXAMPLES) // COLUMNS)
    heights = [max(3.2, 0.26 * len(drawn) + 1.4), *([2.2 * rows] if rows else [])]
    alt = f"{title}; {least_and_most(counts.sum(axis=1))}."
    if shown:
        alt += f" Worth a look: {'; '.join(name.replace(chr(10), ', ') for name in shown)}."
    figure = LabFigure(alt, 11, sum(heights) + 0.4)
    figure.suptitle(title)
    halves = figure.subfigures(2 if rows else 1, 1, height_ratios=heights, squeeze=False)[:, 0]
    bars, sizes = halves[0].subplots(1, 2)
    names = dict(zip(classes, short_names(classes, LONGEST), strict=True))
    draw_counts(bars, drawn.rename(index=names), len(classes))
    draw_sizes(sizes, pictures)
    if rows:
        grid = list(halves[1].subplots(rows, COLUMNS, squeeze=False).flat)
        for axes, (name, image) in zip(grid, shown.items(), strict=False):
            what, _, file = name.partition("\n")
            caption = textwrap.fill(what, CAPTION) + "\n" + file_name(ending(file))
            show_picture(axes, image, caption)
            axes.title.set_fontsize(8)
        for unused in grid[min(len(shown), EXAMPLES) :]:
            unused.set_axis_off()
    return figure


def draw_counts(axes: Axes, counts: pd.DataFrame, classes: int) -> None:
    """Draw a bar a class, its parts one after the other, with the number of pictures at its end."""
    left = np.zeros(len(counts))
    for (colour, _, _), (part, hatch) in zip(
        STYLES, zip(counts, ("", "//", ".."), strict=False), strict=False
    ):
        label = str(part) or "pictures"
        values = counts[part].to_numpy()
        axes.barh(
            range(len(counts)),
            values,
            left=left,
            color=colour,
            hatch=hatch,
            ec="white",
            label=label,
        )
        left += values
    for place, total in enumerate(left):
        axes.annotate(f" {total:.0f}", (total, place), va="center", fontsize=8)
    axes.set_yticks(range(len(counts)), counts.index.astype(str), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(1, left.max(initial=0)))  # with room for the legend
    few = f" (the {len(counts)} smallest of {classes})" if len(counts) < classes else ""
    axes.set(title=f"pictures a class{few}", xlabel="number of pictures", ylabel="class")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if counts.shape[1] > 1:
        axes.legend(fontsize=8, loc="upper right")


def draw_sizes(axes: Axes, pictures: pd.DataFrame) -> None:
    """Draw a spot for every size that occurs, larger where it is that of more pictures."""
    table = pictures.groupby(["width", "height"]).size().reset_index(name="count")
    area = 20 + 380 * table["count"] / max(table["count"].max(), 1)
    area = area if table["count"].max() > 1 else 20
    axes.scatter(table["width"], table["height"], area, color=STYLES[0][0], alpha=0.5, ec="white")
    longest = 1.15 * max(1, table[["width", "height"]].to_numpy().max(initial=1))
    axes.plot([0, longest], [0, longest], "--", color=STYLES[4][0], label="square")
    sizes = f"{len(table)} sizes" if len(table) != 1 else "one size"
    axes.set(xlim=(0, longest), ylim=(0, longest), title=sizes)
    axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(alpha=0.3)


def least_and_most(counts: "pd.Series[int]") -> str:
    """Return in words which class has the fewest pictures, and which the most."""
    if counts.empty:
        return "no classes"
    low, high = int(counts.argmin()), int(counts.argmax())
    least, most = counts.iloc[low], counts.iloc[high]
    if least == most:
        return f"{least} pictures in each of {len(counts)} classes"
    return (
        f"of {len(counts)} classes {counts.index[low]} has the fewest pictures, {least}, and "
        f"{counts.index[high]} the most, {most}"
    )


def ending(file: str) -> str:
    """Return the end of a file's name that fits over a picture."""
    return file if len(file) <= CAPTION else "…" + file[1 - CAPTION :]
