"""Figures of what a network looks at: heat maps over pictures, rows of pictures, a map of features.

As in `figures`, each function returns a Matplotlib figure with a title and an alternative text.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from convnetlab.figures import BLUE, ORANGE, LabFigure, show_picture
from convnetlab.lettering import file_name, short_names

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]

# Inches: a row's name, a picture, a line of the captions above it, the figure's title.
NAME, SIDE, LINE, TITLE = 1.55, 1.15, 0.17, 0.45
STRONGEST = 0.8  # share of the heat's colour in the hottest pixel
DARKEST, CONTRAST = 70, 0.5  # of a picture below heat, which is hard to see on black
NO_HEAT = np.nan  # where a picture is shown as it is
# Okabe and Ito's colours, and shapes for those who cannot tell them apart: 7 and 10, so that the
# pairs repeat after 70 classes only.
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = "os^Dv*Pp<>"
BARS = 5  # classes whose probabilities are drawn
LEGEND = 16  # classes that a legend has room for; beyond, their names in the map must do


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Attributes:
        images: (N, H, W, C), grey or RGB.
        captions: above each, at most two lines.
        heat: (N, H, W), drawn over the picture: above 0 orange, below 0 blue; NaN for none.
        framed: how many of the first pictures have a thick frame.
    """

    images: Pixels
    captions: Sequence[str]
    heat: Floats | None = None
    framed: int = 0


def picture_rows(rows: Mapping[str, Row], title: str, alt: str) -> LabFigure:
    """Draw rows of pictures, each row with its name at the left."""
    count = max(len(row.images) for row in rows.values())
    captions = {name: noted(row) for name, row in rows.items()}
    lines = [max(text.count("\n") + bool(text) for text in texts) for texts in captions.values()]
    width = max(NAME + SIDE * count + 0.2, 1.2 + 0.09 * len(title))
    height = TITLE + SIDE * len(rows) + LINE * sum(lines) + 0.1
    figure = LabFigure(alt, width, height, layout="none")
    figure.suptitle(title, y=1 - 0.15 / height)
    bottom = height - TITLE
    for (name, row), above in zip(rows.items(), lines, strict=True):
        bottom -= SIDE + LINE * above
        place = ((NAME - 0.15) / width, (bottom + SIDE / 2) / height)
        figure.text(*place, textwrap.fill(name, 18), ha="right", va="center", fontsize=9)
        for column, image in enumerate(row.images):
            box = (NAME + SIDE * column + 0.05, bottom + 0.05, SIDE - 0.1, SIDE - 0.1)
            axes = figure.add_axes(tuple(np.divide(box, (width, height, width, height))))
            heat = None if row.heat is None else row.heat[column]
            draw_heat(axes, image, heat, captions[name][column])
            for spine in axes.spines.values():
                spine.set(linewidth=3 if column < row.framed else 0.5)
    return figure


def noted(row: Row) -> list[str]:
    """Return a row's captions, which say so where there is nothing to see."""
    heats = [None] * len(row.images) if row.heat is None else row.heat
    return [
        text
        if heat is None or np.isnan(heat).any() or np.ptp(heat) > 0
        else f"{text}\n{flat(heat)}"
        for text, heat in zip(row.captions, heats, strict=True)
    ]


def flat(heat: Floats) -> str:
    """Say what heat is that is the same number everywhere."""
    return "all the same" if heat.any() else "all 0"


def draw_heat(axes: Axes, image: Pixels, heat: Floats | None, caption: str) -> None:
    """Draw a picture (H, W, C) with heat (H, W) over it, and a ring around the hottest pixel."""
    if heat is None or np.isnan(heat).any():
        show_picture(axes, image, caption)
    else:
        show_picture(axes, warmed(image, heat), caption)
        if np.ptp(heat) > 0:
            row, column = hottest(heat)
            axes.autoscale(False)
            for colour, thickness in (("black", 3.0), ("white", 1.2)):
                ring = Line2D([column], [row], marker="o", ms=9, mfc="none", clip_on=False)
                ring.set(markeredgecolor=colour, markeredgewidth=thickness)
                axes.add_line(ring)
    axes.title.set_fontsize(8)


def warmed(image: Pixels, heat: Floats) -> Pixels:
    """Return a picture (H, W, C) in grey or colour as RGB, tinted where there is heat (H, W)."""
    colours = np.where((heat >= 0)[..., None], to_rgb(ORANGE), to_rgb(BLUE)) * 255
    strength = STRONGEST * np.abs(heat) / max(float(np.abs(heat).max()), 1e-30)
    below = DARKEST + CONTRAST * image
    mixed = (1 - strength[..., None]) * below + strength[..., None] * colours
    return np.asarray(mixed.round(), np.uint8)


def hottest(heat: Floats) -> tuple[int, int]:
    """Return the row and the column of the hottest pixel of (H, W)."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(row), int(column)


def in_words(name: str, heat: Floats) -> str:
    """Say where heat (H, W) is largest."""
    if np.ptp(heat) == 0:
        return f"{name} is {flat(heat)}"
    return f"{name} is hottest in row {hottest(heat)[0]}, column {hottest(heat)[1]}"


def answers(truth: Integers, predicted: Integers, classes: Sequence[str]) -> list[str]:
    """Return a caption a picture: what it is, and what the network says, both (N,)."""
    names = short_names(classes, 10)
    pairs = zip(truth, predicted, strict=True)
    return [f"is {names[is_it]}\nsays {names[said]}" for is_it, said in pairs]


def heat_maps(
    images: Pixels, captions: Sequence[str], heats: Mapping[str, Floats], title: str
) -> LabFigure:
    """Draw pictures, and under each what several methods find in it; a single one: side by side.

    Every heat map has a scale of its own: orange where it is positive, the stronger the hotter,
    blue where it is negative, a ring around its hottest pixel.

    Args:
        images: (N, H, W, C).
        captions: of the pictures, at most two short lines.
        heats: (N, H, W) by method.
        title: the figure's title.
    """
    told = [in_words(name, heat[0]) for name, heat in heats.items()]
    which = "Of one picture" if len(images) == 1 else f"The first of {len(images)} pictures"
    alt = f"{title}. {which}: {', '.join(told)}."
    if len(images) > 1:
        empty = [""] * len(images)
        rows = {name: Row(images, empty, heat) for name, heat in heats.items()}
        return picture_rows({"picture": Row(images, captions)} | rows, title, alt)
    blank = np.full(images.shape[:3], NO_HEAT, np.float32)
    row = Row(
        np.repeat(images, len(heats) + 1, axis=0),
        [captions[0], *heats],
        np.concatenate([blank, *heats.values()]),
    )
    return picture_rows({"one picture": row}, title, alt)


def answer(
    image: Pixels,
    heat: Floats,
    probabilities: Floats,
    classes: Sequence[str],
    name: str,
) -> LabFigure:
    """Draw what a model says of one picture: as it got it, where Grad-CAM is warm, how sure it is.

    Args:
        image: what the model was given, (H, W, C).
        heat: Grad-CAM for the answer, (H, W).
        probabilities: of the classes, (classes,).
        classes: the classes' names.
        name: the picture's, of which the title tells.
    """
    order = np.argsort(-probabilities, kind="stable")[:BARS]
    told = ", ".join(f"{classes[place]} {probabilities[place]:.1%}" for place in order)
    figure = LabFigure(f"{name}: {told}. {in_words('Grad-CAM', heat)}.", 10.5, 3.9)
    title = f"{file_name(name)}: {short_names(classes, 40)[order[0]]}"
    figure.suptitle(title)
    given, warm, sure = figure.subplots(1, 3, width_ratios=[1, 1, 0.8])
    show_picture(given, image, "as the model got it")
    draw_heat(warm, image, heat, "Grad-CAM: what speaks for it")
    warm.title.set_fontsize(10)
    names = short_names(classes, 20)
    bars = sure.barh(range(len(order)), 100 * probabilities[order], color=BLUE)
    sure.bar_label(bars, [f"{100 * probabilities[place]:.1f}" for place in order], padding=3)
    sure.set_yticks(range(len(order)), [names[place] for place in order])
    sure.invert_yaxis()
    sure.set(xlim=(0, 118), xticks=range(0, 101, 25), xlabel="probability, %", title="how sure")
    return figure


def exciting(rows: Mapping[str, tuple[Pixels, Floats, Floats]], title: str) -> LabFigure:
    """Draw the pictures that excite feature maps most, the map over each; a row a map.

    Args:
        rows: by the map's name: pictures (N, H, W, C), the map over them (N, H, W), and its largest
            numbers, (N,).
        title: the figure's title.
    """
    told = [f"{name} reaches {peaks[0]:.2f}" for name, (_, _, peaks) in rows.items()]
    drawn = {
        name: Row(images, [f"{peak:.2f}" for peak in peaks], heat)
        for name, (images, heat, peaks) in rows.items()
    }
    return picture_rows(drawn, title, f"{title}. In its most exciting picture {', '.join(told)}.")


def neighbours(
    queries: Pixels,
    asked: Sequence[str],
    found: Pixels,
    labels: Integers,
    distances: Floats,
    classes: Sequence[str],
    title: str,
) -> LabFigure:
    """Draw each query, framed, and the pictures nearest to it, with their classes and distances.

    Args:
        queries: (Q, H, W, C).
        asked: what to write over each query.
        found: its neighbours, (Q, K, H, W, C).
        labels: their classes, (Q, K).
        distances: (Q, K).
        classes: the classes' names.
        title: the figure's title.
    """
    rows, told, known = {}, [], short_names(classes)
    for number, query in enumerate(queries):
        names = [known[label] for label in labels[number]]
        pairs = zip(names, distances[number], strict=True)
        captions = [asked[number], *(f"{name}\n{distance:.3f}" for name, distance in pairs)]
        images = np.concatenate([query[None], found[number]])
        rows[f"query {number + 1}"] = Row(images, captions, framed=1)
        told.append(f"{asked[number]}: {', '.join(names)}".replace("\n", " "))
    return picture_rows(rows, title, f"{title}. The classes of the nearest: {'; '.join(told)}.")


def feature_map(
    points: Mapping[str, Floats],
    labels: Integers,
    predicted: Integers,
    classes: Sequence[str],
    title: str,
) -> LabFigure:
    """Draw points of two dimensions by class, with rings around mistakes; a panel a method.

    Args:
        points: (N, 2) by method; far away means little, and the axes have no unit.
        labels: the true classes, (N,); they decide colour and shape.
        predicted: what the network said, (N,).
        classes: the classes' names.
        title: the figure's title.
    """
    wrong = labels != predicted
    present = np.unique(labels)
    alt = f"{title}: {len(labels)} pictures of {len(present)} classes, {wrong.sum()} mistaken."
    figure = LabFigure(alt, 5.4 * len(points), 6.2)
    figure.suptitle(title)
    panels, names = figure.subplots(1, len(points), squeeze=False)[0], short_names(classes)
    for axes, (name, places) in zip(panels, points.items(), strict=True):
        for label in present:
            across, up = places[labels == label].T
            colour, shape = COLOURS[label % 7], SHAPES[label % 10]
            axes.scatter(across, up, s=14, color=colour, marker=shape, alpha=0.7, linewidths=0)
        axes.scatter(*places[wrong].T, s=90, facecolors="none", edgecolors="black", linewidths=1.3)
        for label in present:
            across, up = np.median(places[labels == label], axis=0)
            box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.75}
            axes.text(
                across,
                up,
                names[label],
                ha="center",
                va="center",
                weight="bold",
                bbox=box,
            )
        axes.set(title=name, xticks=[], yticks=[])
        axes.set(xlabel=f"{name}, first number", ylabel=f"{name}, second number")
    draw_legend(figure, present, names)
    return figure


def draw_legend(figure: LabFigure, present: Integers, names: Sequence[str]) -> None:
    """Explain below the panels what rings are, and, where there is room, colours and shapes."""
    marks = [Line2D([], [], ls="", marker="o", mfc="none", mec="black", ms=9, label="a mistake")]
    for label in present if len(present) <= LEGEND else ():
        colour, shape = COLOURS[label % 7], SHAPES[label % 10]
        marks.append(Line2D([], [], ls="", color=colour, marker=shape, label=names[label]))
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 6))
