"""Drawings on an even ground, such as MNIST's digits: what was done to them, done to new ones.

Somebody has cut the ink out of each form, fitted it into a box of 20 × 20 pixels and put it into
28 × 28 by its centre of mass (Y. LeCun et al., "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86, 1998, section III A). A network that has seen nothing
else fails on a drawing that was merely made smaller, so a new one takes the same steps here:
`normalised` for a canvas that was drawn on, `as_drawing` for a picture in a file, whose ground must
be found first. All rounding is half up, so that a page's JavaScript can do exactly the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import ThreadpoolController

from convnetlab.datasets import Dataset

Pixels = NDArray[np.uint8]
Ink = NDArray[np.uint8] | NDArray[np.float32]

SAMPLE = 1_000  # pictures of a data set of drawings that tell how it draws
FAINT = 16  # grey levels: what differs less from the ground is no ink
SMALLEST, LARGEST = 0.25, 0.85  # of a canvas's side, the ink that `painted` puts on it


@dataclass(frozen=True)
class Drawings:
    """How a data set of drawings shows them: the ground, and how much of a side the ink takes."""

    is_dark: bool
    share: float


def drawings_of(data: Dataset) -> Drawings:
    """Look at a data set of drawings (H, W, 1): what its ground is, and how large its ink."""
    images = data.train_batch(np.arange(min(SAMPLE, len(data.train_labels))))[..., 0]
    grounds = np.array([ground_of(image) for image in images])
    is_dark = bool(np.median(grounds) < 128)
    shares = [
        max(bottom - top, right - left) / max(image.shape)
        for image in images
        if (box := ink_box(ink_of(image))) is not None
        for top, bottom, left, right in [box]
    ]
    return Drawings(is_dark, float(np.median(shares)) if shares else 1.0)


def ground_of(image: Pixels) -> int:
    """Return the grey level of the ground of (H, W): the median of its outermost pixels."""
    return int(np.median(image[rim(image.shape)]))


def rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels of (H, W) are the outermost ones."""
    outermost = np.ones(shape, bool)
    outermost[1:-1, 1:-1] = False
    return outermost


def ink_of(image: Pixels) -> NDArray[np.float32]:
    """Return how far each pixel of (H, W) is from the ground, 0..255, faint ones set to 0.

    Paper is seldom lit evenly, so the ground is a plane through the outermost pixels (fitted by
    least squares). What lies on the other side of it than most ink is 0.
    """
    rows, columns = np.indices(image.shape, np.float32)
    plane = np.stack([rows, columns, np.ones_like(rows)], axis=-1)
    outermost = rim(image.shape)
    slopes = np.linalg.lstsq(plane[outermost], image[outermost].astype(np.float32), rcond=None)[0]
    apart = image - plane @ slopes
    if apart.sum() < 0:
        apart = -apart
    return np.where(apart < max(FAINT, threshold(apart)), 0, apart).astype(np.float32)


def threshold(values: NDArray[np.float32]) -> float:
    """Return the value, 0..255, that divides others best into two groups.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on
    Systems, Man, and Cybernetics 9 (1979): the groups' means are as far apart as can be.

    >>> threshold(np.array([0, 1, 2, 200, 210], np.float32))
    3.0
    """
    counts = np.bincount(values.clip(0, 255).astype(np.int64).ravel(), minlength=256)
    below, levels = counts.cumsum(), np.arange(256)
    sums = (counts * levels).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nan_to_num(apart).argmax() + 1)


def ink_box(ink: Ink) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right of what is not 0, ends exclusive; None if all is."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def as_drawing(grey: Pixels, height: int, width: int, drawn: Drawings) -> tuple[Pixels, str]:
    """Make of a grey picture (H, W) what a data set of drawings would have.

    The ground is made dark or bright as in the data set. A picture that has the data set's size
    stays as it is otherwise; of any other the ink is cut out, fitted and put in the middle.

    Returns:
        uint8 (height, width, 1), and in words what was done.
    """
    notes = []
    if (ground_of(grey) < 128) != drawn.is_dark:
        grey = np.asarray(255 - grey)
        notes.append("inverted")
    if grey.shape != (height, width):
        ink = ink_of(grey)
        box = ink_box(ink)
        if box is None:
            notes.append("no ink found")
            picture = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR)
            grey = np.asarray(picture)
        else:
            page = centred(cut(ink, box), height, width, drawn.share, stretch=True)
            grey = on_ground(page, drawn.is_dark)
            notes.append("ink cut out and centred")
    return np.asarray(grey, np.uint8)[..., None], ", ".join(notes)


def normalised(canvas: Pixels, height: int, width: int, drawn: Drawings) -> Pixels | None:
    """Make of a canvas what a data set of drawings would have: cut out, fitted, centred.

    Args:
        canvas: (H, W), 0 where nothing was drawn.
        height: of the data set's pictures.
        width: likewise.
        drawn: how the data set shows its drawings.

    Returns:
        uint8 (height, width, 1); None if nothing was drawn.
    """
    box = ink_box(canvas)
    if box is None:
        return None
    page = centred(cut(canvas, box), height, width, drawn.share)
    return on_ground(page, drawn.is_dark)[..., None]


def naive(canvas: Pixels, height: int, width: int, is_dark: bool = True) -> Pixels:
    """Return a whole canvas (H, W) made smaller, (height, width, 1), and nothing else done to it.

    What most first attempts at a page for drawing do; `normalised` shows what they miss.
    """
    return on_ground(whole_numbers(area_average(canvas, height, width)), is_dark)[..., None]


def both_ways(canvas: Pixels, height: int, width: int, drawn: Drawings) -> tuple[Pixels, Pixels]:
    """Return a canvas made small by `naive` and by `normalised`, (height, width, 1) each.

    An empty one has nothing to normalise: both are the same.
    """
    small = naive(canvas, height, width, drawn.is_dark)
    centred = normalised(canvas, height, width, drawn)
    return small, small if centred is None else centred


def painted(
    images: Pixels, seed: int, side: int = 280, is_dark: bool = True
) -> Iterator[NDArray[np.uint8]]:
    """Paint drawings of a data set at random size and place on a large canvas, as people draw.

    The longer side of the ink takes a quarter to 85 % of the canvas; pixels become blocks, not
    smoothed, since faint fringes would widen the ink.

    Args:
        images: uint8 (N, H, W) or (N, H, W, 1).
        seed: gives sizes and places.
        side: of the canvas, in pixels.
        is_dark: whether their ground is dark.

    Yields:
        Canvases, uint8 (side, side), 0 where nothing was drawn.
    """
    chance = np.random.default_rng(seed)
    for image in images.reshape(images.shape[:3]):
        share, place = chance.uniform(SMALLEST, LARGEST), chance.uniform(size=2)
        canvas, drawing = np.zeros((side, side), np.uint8), on_ground(image, is_dark)
        box = ink_box(drawing)
        if box is not None:
            ink = in_blocks(cut(drawing, box), share * side)
            top, left = (place * (side - np.array(ink.shape))).astype(int)
            canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        yield canvas


def in_blocks(ink: Ink, longer: float) -> Ink:
    """Return (h, w) enlarged so that the longer side has `longer` pixels, rounded down."""
    scale = longer / max(ink.shape)
    rows, columns = (
        np.arange(max(1, int(length * scale))) * length // max(1, int(length * scale))
        for length in ink.shape
    )
    return ink[np.ix_(rows, columns)]


def on_ground(page: Pixels, is_dark: bool) -> Pixels:
    """Return bright ink on black as it is, or as dark ink on white; and the other way round."""
    return page if is_dark else np.asarray(255 - page)


def cut(ink: Ink, box: tuple[int, int, int, int]) -> Ink:
    """Return the part of (H, W) in a box of `ink_box`."""
    top, bottom, left, right = box
    return ink[top:bottom, left:right]


def centred(ink: Ink, height: int, width: int, share: float, stretch: bool = False) -> Pixels:
    """Return ink fitted into `share` of (height, width), on black, by its centre of mass.

    Args:
        ink: (h, w), 0..255, nothing but its box.
        height: of the picture to make.
        width: likewise.
        share: how much of the picture the ink may take.
        stretch: whether the strongest ink becomes 255, as a photograph needs it.

    Returns:
        uint8 (height, width).
    """
    scale = share * min(height / ink.shape[0], width / ink.shape[1])
    rows, columns = (max(1, half_up(side * scale)) for side in ink.shape)
    small = area_average(ink, rows, columns)
    middle = centre_of_mass(small)
    top, left = (
        min(max(half_up(side / 2 - at), 0), side - extent)  # MNIST's middle is row 14 of 0..27
        for side, at, extent in zip((height, width), middle, (rows, columns), strict=True)
    )
    if stretch:
        small *= 255 / small.max()
    page = np.zeros((height, width), np.uint8)
    page[top : top + rows, left : left + columns] = whole_numbers(small)
    return page


def centre_of_mass(ink: NDArray[np.float64]) -> tuple[float, float]:
    """Return the row and the column, from 0, where (h, w) would balance.

    >>> centre_of_mass(np.array([[0.0, 0, 1], [0, 0, 3]]))
    (0.75, 2.0)
    """
    total = ink.sum()
    row, column = (
        float(ink.sum(axis=1 - axis) @ np.arange(ink.shape[axis]) / total) for axis in (0, 1)
    )
    return row, column


def area_average(image: Ink, height: int, width: int) -> NDArray[np.float64]:
    """Return a picture (h, w) as (height, width), each pixel the mean of the area that it covers.

    >>> area_average(np.array([[0, 30, 60], [0, 30, 60]]), 1, 2)
    array([[10., 50.]])
    """
    rows, columns = (area_weights(*each) for each in zip(image.shape, (height, width), strict=True))
    with threads().limit(limits=1, user_api="blas"):  # a second one waits more than it works
        average: NDArray[np.float64] = rows @ image.astype(np.float64) @ columns.T
    return average


@cache
def threads() -> ThreadpoolController:
    """Return what says on how many threads matrices are multiplied."""
    return ThreadpoolController()


def area_weights(length: int, wanted: int) -> NDArray[np.float64]:
    """Return how much each of `length` pixels in a row counts in each of `wanted` larger ones.

    Returns:
        Overlaps as shares of the larger pixel, (wanted, length); each row sums to 1.
    """
    ends = np.arange(wanted + 1)[:, None] * length / wanted
    pixels = np.arange(length)
    overlaps = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    return np.asarray(overlaps.clip(0) / (length / wanted))


def half_up(value: float) -> int:
    """Return the nearest whole number, of two equally near the larger one, as JavaScript does.

    >>> half_up(2.5), half_up(-0.5)
    (3, 0)
    """
    return math.floor(value + 0.5)


def whole_numbers(levels: NDArray[np.float64]) -> Pixels:
    """Return grey levels 0..255 as uint8, rounded half up."""
    return np.floor(levels + 0.5).astype(np.uint8)
