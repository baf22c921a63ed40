"""Pictures that are the same, or nearly so: by their bytes, by their pixels, by what they show.

A perceptual hash (imagehash's phash: the signs of 64 low cosine frequencies) finds candidates among
all pairs; each is then held against the pixels, since small and plain pictures, such as digits or
drawn shapes, have like hashes and are different pictures all the same. At last the details must
agree, or all skies and all things on white would be one picture.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from convnetlab.image_files import flatten, opened, turn_upright

Box = tuple[float, float, float, float]

THUMBNAIL = 32  # pixels a side, at which all pictures are kept to be compared
# With fewer pixels on the shorter side a picture says too little to be compared but as a whole.
SMALL = 48
# Bits of 64 in which the hashes of two pictures may differ: a photograph cut by 5 % differs in 10
# from itself (median), by 10 % in 16; two different ones in 32.
FAR, FAR_SMALL = 16, 6
LIKE, LIKE_SMALL = 0.97, 0.99  # correlations of pixels from which pictures are nearly the same
LIKELY = 0.7  # ... from which a crop is looked for
PLAIN = 2.0  # grey levels: pictures that vary less have nothing to be compared
BLOCK = 1024  # pictures whose hashes are held against all others at a time
PAIRS = 4_096  # pairs whose pixels are compared at a time
VIEW = 48  # pixels a side, at which crops are compared
MOST_CUT = 0.15  # of a side
# What is finer than `COARSE` of `FINE` pixels is detail; flat parts of a photograph have none that
# outlives a JPEG, so half an agreement is enough.
FINE, COARSE, DETAILED = 96, 3.0, 0.5
# Grey levels: up to which there is no colour, and from which a pixel is too bright; a cosine.
PALE, CLIPPED, SAME_HUES = 6.0, 250.0, 0.7
STEPS = (0.04, 0.02, 0.01, 0.005)  # of a side, by which the edges of a crop are moved

SAME_FILE, SAME_PIXELS, NEARLY = "the same file", "the same pixels", "nearly the same"


class Groups:
    """Which pictures belong together: the union-find of Galler and Fischer (1964)."""

    def __init__(self, count: int) -> None:
        """Begin with every picture by itself."""
        self.above = list(range(count))

    def first(self, one: int) -> int:
        """Return the number that stands for a picture's group: its smallest."""
        while self.above[one] != one:
            self.above[one] = self.above[self.above[one]]
            one = self.above[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Put the groups of two pictures together."""
        low, high = sorted((self.first(one), self.first(other)))
        self.above[high] = low


def groups(pictures: pd.DataFrame, thumbnails: NDArray[np.uint8], folder: Path) -> pd.DataFrame:
    """Find pictures that are there more than once.

    Args:
        pictures: a row a picture: `file`, `file_hash`, `pixel_hash`, `hash` (uint64), `width`,
            `height`, `spread`, as `audit.measure` makes them.
        thumbnails: uint8 (N, THUMBNAIL, THUMBNAIL, 3), in the same order.
        folder: what the files are relative to.

    Returns:
        A row a picture that has a twin, groups together: `group` (0, 1, …), `file`, and `how` it is
        like others of its group: the closest of `SAME_FILE`, `SAME_PIXELS`, `NEARLY`.
    """
    count = len(pictures)
    found = Groups(count)
    how = np.full(count, "", object)
    for kind, column in ((SAME_FILE, "file_hash"), (SAME_PIXELS, "pixel_hash")):
        for members in pictures.groupby(column, sort=False).indices.values():
            for one in members[1:] if len(members) > 1 else ():
                found.join(int(members[0]), int(one))
            if len(members) > 1:
                how[members] = np.where(how[members] == "", kind, how[members])
    for one, other in near_pairs(pictures, thumbnails, folder, found):
        found.join(one, other)
        for place in (one, other):
            how[place] = how[place] or NEARLY
    firsts = np.array([found.first(place) for place in range(count)], np.int64)
    table = pd.DataFrame({"group": firsts, "file": pictures["file"].to_numpy(), "how": how})
    table = table[table["how"] != ""].sort_values(["group", "file"], kind="stable")
    table["group"] = pd.factorize(table["group"])[0]
    return table.reset_index(drop=True)


def near_pairs(
    pictures: pd.DataFrame, thumbnails: NDArray[np.uint8], folder: Path, known: Groups
) -> Iterator[tuple[int, int]]:
    """Yield pairs of places that are nearly the same and not yet in one group of `known`.

    The caller joins a pair before it asks for the next one, so that of a hundred frames of one
    film not every pair need be looked at.
    """
    small = pictures[["width", "height"]].min(axis=1).to_numpy() < SMALL
    usable = np.flatnonzero(pictures["spread"].to_numpy() > PLAIN)
    usable = usable[[known.first(int(place)) == place for place in usable]]
    hashes = pictures["hash"].to_numpy(np.uint64)
    likely: list[tuple[float, int, int]] = []
    for rows, columns in candidates(hashes[usable], small[usable]):
        one, other = usable[rows], usable[columns]
        alike = agreement(thumbnails[one], thumbnails[other])
        all_there_is = small[one] | small[other]
        sure = all_there_is & (alike >= LIKE_SMALL)
        yield from zip(one[sure].tolist(), other[sure].tolist(), strict=True)
        maybe = ~all_there_is & (alike >= LIKELY)
        likely += zip(
            alike[maybe].tolist(), one[maybe].tolist(), other[maybe].tolist(), strict=True
        )
    view = functools.lru_cache(maxsize=512)(functools.partial(load_view, folder))
    files = pictures["file"].tolist()
    for _, first, second in sorted(likely, reverse=True):
        apart = known.first(first) != known.first(second)
        if apart and is_nearly(view(files[first]), view(files[second])):
            yield first, second


def candidates(
    hashes: NDArray[np.uint64], small: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the places of pairs whose hashes differ in few bits: two arrays (P,), first < second.

    Args:
        hashes: (N,).
        small: (N,), whether a picture is too small to be compared but as a whole.
    """
    for start in range(0, len(hashes), BLOCK):
        rows = slice(start, start + BLOCK)
        bits = np.bitwise_count(hashes[rows, None] ^ hashes[None, start:])
        most = np.where(small[rows, None] | small[None, start:], FAR_SMALL, FAR)
        first, second = np.nonzero(np.triu(bits <= most, k=1))
        for part in range(0, len(first), PAIRS):
            chosen = slice(part, part + PAIRS)
            yield first[chosen] + start, second[chosen] + start


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the correlation of pictures, pair by pair: in grey or in colour, whichever is less.

    Brightness and contrast play no part in it. In colour all channels have one mean, so that hues
    count; in grey a common hue does not hide that the pictures differ.

    Args:
        one: uint8 (P, H, W, 3).
        other: as many of the same size.

    Returns:
        (P,), -1..1.
    """
    grey = [np.asarray(images.mean(axis=3, dtype=np.float32)) for images in (one, other)]
    in_grey, in_colour = (
        np.einsum("ij,ij->i", unit(first), unit(second)) for first, second in (grey, (one, other))
    )
    return np.asarray(np.minimum(in_grey, in_colour), np.float32)


def unit(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures (N, …) as vectors (N, D) of mean 0 and length 1."""
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    return vectors


def load_view(folder: Path, file: str) -> Image.Image:
    """Return a picture, upright, RGB, small enough to be compared quickly."""
    with opened(folder / file) as image:
        image.draft(None, (4 * VIEW, 4 * VIEW))
        image.load()
        turn_upright(image)
        picture = flatten(image, "rgb")
    picture.thumbnail((4 * VIEW, 4 * VIEW), Image.Resampling.BOX)
    return picture


def is_nearly(first: Image.Image, second: Image.Image) -> bool:
    """Tell whether one of two pictures is nearly the other, or a crop of it, details and all."""
    if agree(first, second, None):
        return True
    whole, part, box = best_fit(first, second)
    return agree(whole, part, box)


def agree(whole: Image.Image, part: Image.Image, box: Box | None) -> bool:
    """Tell whether a box of a picture agrees with another: in grey, in colour, in its details."""
    in_grey = seen(whole.convert("L"), box) @ seen(part.convert("L"))
    in_colour = seen(whole, box) @ seen(part)
    in_detail = details(whole, box) @ details(part)
    has_like_pixels = min(in_grey, in_colour) >= LIKE and in_detail >= DETAILED
    return bool(has_like_pixels and have_like_hues(small_pixels(whole, box), small_pixels(part)))


def small_pixels(image: Image.Image, box: Box | None = None) -> NDArray[np.float32]:
    """Return a box of a picture at `THUMBNAIL` × `THUMBNAIL`, a row a pixel, (P, 3)."""
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, box)
    return np.asarray(small, np.float32).reshape(-1, 3)


def have_like_hues(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Tell whether two pictures have the same colours, strong or weak, or both have none.

    Pixels that are too bright in either (a channel is at its end) have lost their hue; they do not
    count.

    Args:
        one: grey levels, (P, 3).
        other: as many of the same places.
    """
    kept = np.maximum(one, other).max(axis=1) < CLIPPED
    first, second = (
        (levels - levels.mean(axis=1, keepdims=True))[kept].ravel() for levels in (one, other)
    )
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if max(lengths) <= PALE * np.sqrt(max(len(first), 1)):
        return True
    return bool(first @ second >= SAME_HUES * lengths[0] * lengths[1])


def details(image: Image.Image, box: Box | None = None) -> NDArray[np.float32]:
    """Return what is fine in a box of a picture, as a vector of mean 0 and length 1."""
    grey = image.convert("L").resize((FINE, FINE), Image.Resampling.BILINEAR, box)
    levels = np.asarray(grey, np.float32)
    return unit((levels - gaussian_filter(levels, COARSE))[None]).ravel()


def best_fit(first: Image.Image, second: Image.Image) -> tuple[Image.Image, Image.Image, Box]:
    """Return which of two pictures is best taken as the whole, which as a part, and what part.

    A part may lack up to `MOST_CUT` at each edge.
    """
    grey = first.convert("L"), second.convert("L")
    forth, back = best_crop(grey[0], grey[1]), best_crop(grey[1], grey[0])
    if forth[0] >= back[0]:
        return first, second, forth[1]
    return second, first, back[1]


def best_crop(whole: Image.Image, part: Image.Image) -> tuple[float, Box]:
    """Return the correlation of `part` with that crop of `whole` that fits it best, and the crop.

    Coordinate ascent: each edge is moved as long as that helps, in steps that become smaller.
    """
    target = seen(part)
    cut = np.zeros(4)
    best = float(seen(whole) @ target)
    for step in STEPS:
        is_better = True
        while is_better:
            is_better = False
            for edge, move in ((edge, move) for edge in range(4) for move in (step, -step)):
                tried = cut.copy()
                tried[edge] = np.clip(tried[edge] + move, 0, MOST_CUT)
                alike = float(seen(whole, crop_box(whole, tried)) @ target)
                if alike > best + 1e-4:
                    best, cut, is_better = alike, tried, True
    return best, crop_box(whole, cut)


def crop_box(image: Image.Image, cut: NDArray[np.float64]) -> Box:
    """Return the box left of a picture when shares `cut` are taken off left, top, right, bottom."""
    left, top, right, bottom = (float(share) for share in cut)
    width, height = image.size
    return left * width, top * height, (1 - right) * width, (1 - bottom) * height


def seen(image: Image.Image, box: Box | None = None) -> NDArray[np.float32]:
    """Return a box of a picture at `VIEW` × `VIEW`, as a vector of mean 0 and length 1."""
    values = np.asarray(image.resize((VIEW, VIEW), Image.Resampling.BILINEAR, box))
    return unit(values.reshape(1, -1)).ravel()
