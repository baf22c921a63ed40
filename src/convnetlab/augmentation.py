"""Pictures changed a little, so that a network never sees the same one twice."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from convnetlab.backend import tf

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Augment = Callable[[Pixels, tuple[int, int]], Pixels]

TURN = 0.17  # radians, about 10 degrees, either way
ZOOM = 0.1  # a tenth larger or smaller
SHIFT = 2 / 28  # of the side, either way
LEAST_SEEN = 0.75  # the share of a photograph's sides that a crop keeps, at least
NARROW = 0.1  # the share by which a crop may be narrower than high, or lower than wide
LIGHT = 0.2  # a fifth brighter or darker; a fifth more contrast, or less


def affine(
    images: Pixels,
    seed: tuple[int, int],
    turn: float = TURN,
    zoom: float = ZOOM,
    shift: float = SHIFT,
) -> Pixels:
    """Turn, zoom and shift each picture at random, within bounds; what comes in from outside is 0.

    Args:
        images: uint8 (N, H, W, C).
        seed: two whole numbers; the same seed changes the pictures in the same way.
        turn: at most so many radians, either way.
        zoom: height and width change by at most this share, each by itself.
        shift: at most this share of the side, in each direction.

    Returns:
        uint8 (N, H, W, C), interpolated bilinearly.
    """
    numbers = tf.random.stateless_uniform((5, len(images)), seed, -1.0, 1.0).numpy()
    scales = 1 / (1 + numbers[1:3] * zoom)
    shifts = numbers[3] * shift * images.shape[1], numbers[4] * shift * images.shape[2]
    matrices = backward_matrices(numbers[0] * turn, scales, shifts, images.shape[1:3])
    return moved(images, matrices, "CONSTANT")


def photo(images: Pixels, seed: tuple[int, int]) -> Pixels:
    """Mirror, crop, turn and light each photograph at random, within bounds.

    One in two is mirrored, left for right. A crop keeps `LEAST_SEEN` to all of the sides, of one
    of them up to `NARROW` less than of the other; it is stretched to the whole size and turned by
    `TURN` at most. What comes in from outside is the picture, reflected at its edge: black corners
    would be something to learn. Brightness and contrast change by `LIGHT` at most.

    Args:
        images: uint8 (N, H, W, C).
        seed: two whole numbers; the same seed changes the pictures in the same way.

    Returns:
        uint8 (N, H, W, C), interpolated bilinearly.
    """
    numbers = tf.random.stateless_uniform((8, len(images)), seed, -1.0, 1.0).numpy()
    turn, crop, narrow, mirror, place_y, place_x, brightness, contrast = numbers
    seen = 1 - (1 - LEAST_SEEN) * (1 + crop) / 2
    scale_y = seen * (1 - NARROW * np.maximum(0, narrow))
    scale_x = seen * (1 - NARROW * np.maximum(0, -narrow))
    # Where a crop's middle may lie: as far from the picture's as leaves the crop inside.
    down, right = (
        place * (1 - scale) * side / 2
        for place, scale, side in zip(
            (place_y, place_x), (scale_y, scale_x), images.shape[1:3], strict=True
        )
    )
    scales = scale_y, np.where(mirror < 0, -scale_x, scale_x)
    nowhere = np.zeros_like(turn), np.zeros_like(turn)
    matrices = backward_matrices(turn * TURN, scales, nowhere, images.shape[1:3])
    matrices[:, 2] += right
    matrices[:, 5] += down
    return lit(moved(images, matrices, "REFLECT"), brightness * LIGHT, contrast * LIGHT)


AUGMENTATIONS: dict[str, Augment] = {"affine": affine, "photo": photo}


def lit(images: Pixels, brightness: Floats, contrast: Floats) -> Pixels:
    """Return pictures brighter by a share of 255, and with a share more contrast about the middle.

    Args:
        images: uint8 (N, H, W, C).
        brightness: of each picture, (N,); below 0 it becomes darker.
        contrast: of each picture, (N,); below 0 it has less.

    >>> lit(np.array([[[[0, 100, 250]]]], np.uint8), np.array([0.1]), np.array([0.0])).tolist()
    [[[[26, 126, 255]]]]
    """
    values = np.arange(256)
    changed = np.empty_like(images)
    for number, (more, sharper) in enumerate(zip(brightness, contrast, strict=True)):
        table = 127.5 + (values - 127.5) * (1 + sharper) + 255 * more
        changed[number] = np.rint(np.clip(table, 0, 255)).astype(np.uint8)[images[number]]
    return changed


def moved(images: Pixels, matrices: Floats, outside: str) -> Pixels:
    """Return pictures, each through its backward matrix, bilinearly.

    Args:
        images: uint8 (N, H, W, C).
        matrices: (N, 8), as `backward_matrices` returns them.
        outside: `CONSTANT`: what comes in from outside is 0; `REFLECT`: the picture, reflected.
    """
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=images.shape[1:3],
        interpolation="BILINEAR",
        fill_mode=outside,
        fill_value=0.0,
    )
    return np.asarray(changed)


def backward_matrices(
    angle: Floats,
    scales: tuple[Floats, Floats] | Floats,
    shifts: tuple[Floats, Floats],
    sides: tuple[int, int],
) -> Floats:
    """Return, for each picture, how a place in the result is found in the original.

    Args:
        angle: the turns, (N,), in radians.
        scales: of y and of x, (N,) each: pixels of the original a pixel of the result.
        shifts: of y and of x, (N,) each, in pixels of the result.
        sides: height and width in pixels.

    Returns:
        (N, 8): a row (a, b, c, d, e, f, 0, 0) takes (x, y) to (ax + by + c, dx + ey + f).
    """
    scale_y, scale_x = scales
    middle_y, middle_x = ((side - 1) / 2 for side in sides)
    shift_y, shift_x = shifts
    a, b = scale_x * np.cos(angle), -scale_x * np.sin(angle)
    d, e = scale_y * np.sin(angle), scale_y * np.cos(angle)
    c = middle_x - a * (middle_x + shift_x) - b * (middle_y + shift_y)
    f = middle_y - d * (middle_x + shift_x) - e * (middle_y + shift_y)
    nothing = np.zeros_like(a)
    return np.stack([a, b, c, d, e, f, nothing, nothing], axis=1).astype(np.float32)
