"""Pictures changed a little, so that a network never sees the same one twice."""

import numpy as np
from numpy.typing import NDArray

from convnetlab.backend import tf

Pixels = NDArray[np.uint8]

TURN = 0.17  # radians, about 10 degrees, either way
ZOOM = 0.1  # a tenth larger or smaller
SHIFT = 2 / 28  # of the side, either way


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
    matrices = backward_matrices(numbers, images.shape[1:3], turn, zoom, shift)
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=images.shape[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return np.asarray(changed)


def backward_matrices(
    numbers: NDArray[np.float32], sides: tuple[int, int], turn: float, zoom: float, shift: float
) -> NDArray[np.float32]:
    """Return, for each picture, how a place in the result is found in the original.

    Args:
        numbers: (5, N), in -1..1: turn, zoom of y and x, shift of y and x.
        sides: height and width in pixels.
        turn: see `affine`, as `zoom` and `shift`.

    Returns:
        (N, 8): a row (a, b, c, d, e, f, 0, 0) takes (x, y) to (ax + by + c, dx + ey + f).
    """
    angle = numbers[0] * turn
    scale_y, scale_x = 1 / (1 + numbers[1:3] * zoom)
    middle_y, middle_x = ((side - 1) / 2 for side in sides)
    shift_y, shift_x = numbers[3] * shift * sides[0], numbers[4] * shift * sides[1]
    a, b = scale_x * np.cos(angle), -scale_x * np.sin(angle)
    d, e = scale_y * np.sin(angle), scale_y * np.cos(angle)
    c = middle_x - a * (middle_x + shift_x) - b * (middle_y + shift_y)
    f = middle_y - d * (middle_x + shift_x) - e * (middle_y + shift_y)
    nothing = np.zeros_like(a)
    return np.stack([a, b, c, d, e, f, nothing, nothing], axis=1).astype(np.float32)
