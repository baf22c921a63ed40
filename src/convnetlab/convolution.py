"""Convolution and pooling in NumPy, written to be read, and the arithmetic of layers."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def convolve2d(image: Floats, kernel: Floats) -> Floats:
    """Slide a kernel over one grey picture: at each place, multiply and sum.

    As in every deep-learning library this is cross-correlation: the kernel is not flipped.

    Args:
        image: (H, W).
        kernel: (h, w), no larger than the picture.

    Returns:
        float32 (H-h+1, W-w+1): one number for each place where the kernel fits ("valid").

    Raises:
        ValueError: the kernel is larger than the picture.

    >>> convolve2d(np.arange(9.0).reshape(3, 3), np.ones((2, 2))).tolist()
    [[8.0, 12.0], [20.0, 24.0]]
    """
    height, width = kernel.shape
    rows = output_size(image.shape[0], height)
    columns = output_size(image.shape[1], width)
    output = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            window = image[row : row + height, column : column + width]
            output[row, column] = (window * kernel).sum()
    return output


def max_pool2d(image: Floats, size: int = 2) -> Floats:
    """Keep the largest value of each `size` × `size` block of one picture (H, W).

    Returns:
        float32 (H // size, W // size); rows and columns that fill no block are left out.

    >>> max_pool2d(np.arange(16.0).reshape(4, 4)).tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    rows, columns = image.shape[0] // size, image.shape[1] // size
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return np.asarray(blocks.max(axis=(1, 3)), np.float32)


def relu(values: Floats) -> Floats:
    """Replace what is negative by 0, in an array of any shape."""
    return np.asarray(np.maximum(values, 0), np.float32)


def softmax(scores: Floats) -> Floats:
    """Turn scores (…, classes) into probabilities that sum to 1 over the last axis."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Return a window's places along one side: (size + 2·padding − kernel) // stride + 1.

    Args:
        size: pixels along the side.
        kernel: pixels of the window along it.
        stride: pixels from one place to the next.
        padding: pixels added at either end.

    Raises:
        ValueError: an argument is out of range, or the kernel is larger than the padded picture.

    >>> output_size(28, 3), output_size(26, 2, stride=2)
    (26, 13)
    """
    if min(size, kernel, stride) < 1 or padding < 0:
        raise ValueError(
            f"size {size}, kernel {kernel}, stride {stride}, padding {padding}: the first three "
            "must be at least 1, padding at least 0"
        )
    padded = size + 2 * padding
    if kernel > padded:
        raise ValueError(f"the kernel ({kernel}) is larger than the padded picture ({padded})")
    return (padded - kernel) // stride + 1


def convolution_parameters(height: int, width: int, channels: int, filters: int) -> int:
    """Return a convolutional layer's parameters: (height·width·channels + 1 bias)·filters.

    >>> convolution_parameters(3, 3, 1, 32)
    320
    """
    return (height * width * channels + 1) * filters


def dense_parameters(inputs: int, units: int) -> int:
    """Return a dense layer's parameters: (inputs + 1 bias)·units.

    >>> dense_parameters(5408, 100)
    540900
    """
    return (inputs + 1) * units
