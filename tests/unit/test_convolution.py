import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import correlate2d

from convnetlab import convolution

SIDES = st.integers(1, 9)
NUMBERS = st.floats(-10, 10, width=32)


def planes(low=1, high=9):
    side = st.integers(low, high)
    return arrays(np.float32, st.tuples(side, side), elements=NUMBERS)


@given(planes(3), planes(1, 3))
def test_convolve2d_is_scipys_cross_correlation(image, kernel):
    expected = correlate2d(image, kernel, mode="valid")
    assert np.allclose(convolution.convolve2d(image, kernel), expected, atol=1e-3)


def test_convolve2d_refuses_a_kernel_that_does_not_fit():
    with pytest.raises(ValueError, match=r"kernel \(4\) is larger than the padded picture \(3\)"):
        convolution.convolve2d(np.zeros((3, 3)), np.zeros((4, 1)))


@given(planes(2))
def test_max_pool2d_is_the_largest_of_each_block(image):
    pooled = convolution.max_pool2d(image)
    for row, column in np.ndindex(pooled.shape):
        block = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert pooled[row, column] == block.max()


@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 3))
def test_output_size_counts_the_places(size, kernel, stride, padding):
    places = len(range(0, size + 2 * padding - kernel + 1, stride))
    if kernel > size + 2 * padding:
        with pytest.raises(ValueError, match="larger than the padded picture"):
            convolution.output_size(size, kernel, stride, padding)
    else:
        assert convolution.output_size(size, kernel, stride, padding) == places


@pytest.mark.parametrize("arguments", [(0, 1), (5, 0), (5, 3, 0), (5, 3, 1, -1)])
def test_output_size_refuses_nonsense(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        convolution.output_size(*arguments)


@given(arrays(np.float32, (4, 5), elements=st.floats(-80, 80, width=32)))
def test_softmax_gives_probabilities_in_the_same_order(scores):
    probabilities = convolution.softmax(scores)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (np.take_along_axis(probabilities, scores.argmax(1)[:, None], 1)[:, 0]
            == probabilities.max(axis=1)).all()  # fmt: skip


def test_relu_keeps_the_positive():
    assert convolution.relu(np.array([-1.5, 0, 2])).tolist() == [0, 0, 2]
