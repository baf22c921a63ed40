"""Kernels made by hand, as they were designed before networks learnt their own."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def make(name: str, size: int = 3) -> Floats:
    """Return the kernel `name`, float32 (size, size).

    Args:
        name: one of `NAMES`.
        size: rows and columns, at least 2; of an even size the centre is the upper left one.

    Raises:
        ValueError: the name is unknown, or the size is less than 2.

    >>> make("vertical edges").tolist()
    [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """
    if name not in NAMES:
        raise ValueError(f"kernel is {name!r}; it must be one of: {', '.join(NAMES)}")
    if size < 2:
        raise ValueError(f"size is {size}; a kernel made by hand has at least 2 rows")
    return np.asarray(MAKERS[name](size), np.float32)


def centre(size: int) -> Floats:
    """Return 1 in the middle and 0 elsewhere: the kernel that changes nothing."""
    kernel = np.zeros((size, size), np.float32)
    kernel[(size - 1) // 2, (size - 1) // 2] = 1
    return kernel


def blur(size: int) -> Floats:
    """Return the mean of all pixels under the window; the numbers sum to 1."""
    return np.full((size, size), 1 / size**2, np.float32)


def sharpen(size: int) -> Floats:
    """Return twice the picture less its blur: what differs from its surroundings grows."""
    return 2 * centre(size) - blur(size)


def vertical_edges(size: int) -> Floats:
    """Return right minus left; the numbers sum to 0, so flat ground gives 0."""
    return np.asarray(np.tile(np.sign(np.linspace(-1, 1, size)), (size, 1)), np.float32)


def horizontal_edges(size: int) -> Floats:
    """Return lower minus upper."""
    return vertical_edges(size).T


def outline(size: int) -> Floats:
    """Return the centre against all its neighbours (a Laplacian): edges of every direction."""
    return size**2 * centre(size) - 1


def emboss(size: int) -> Floats:
    """Return the picture as if lit from the upper left: lower right minus upper left, plus it."""
    diagonal = np.add.outer(np.arange(size), np.arange(size)) - (size - 1)
    return np.asarray(np.sign(diagonal) + centre(size), np.float32)


MAKERS: dict[str, Callable[[int], Floats]] = {
    "blur": blur,
    "sharpen": sharpen,
    "vertical edges": vertical_edges,
    "horizontal edges": horizontal_edges,
    "outline": outline,
    "emboss": emboss,
}
NAMES = tuple(MAKERS)
