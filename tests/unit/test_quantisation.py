"""Arithmetic with eight bits, against LiteRT's converter and its interpreter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import edge, quantisation
from convnetlab.errors import LabError

numbers = st.floats(-1e4, 1e4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


@given(numbers, numbers, st.floats(0, 1))
def test_what_lies_in_the_range_comes_back_to_half_a_step(one, other, share):
    low, high = min(one, other), max(one, other)
    scale, zero = quantisation.scale_and_zero_point(low, high)
    assert -128 <= zero <= 127 and quantisation.dequantise(np.int8([zero]), scale, zero)[0] == 0
    value = np.array([low + share * (high - low)])
    number = quantisation.quantise(value, scale, zero)
    assert number.dtype == np.int8
    # The ends may be off by the rounding of the zero point.
    assert abs(quantisation.dequantise(number, scale, zero)[0] - value[0]) <= scale * 1.01
    inside = np.clip(value, scale * (-128 - zero), scale * (127 - zero))
    again = quantisation.dequantise(number, scale, zero)[0]
    assert abs(again - inside[0]) <= scale * 0.5001 + 1e-6 * abs(value[0])


def test_what_lies_outside_goes_to_the_ends_and_does_not_wrap_around():
    assert quantisation.quantise(np.array([1e6, -1e6]), 0.1, 5).tolist() == [127, -128]
    assert quantisation.scale_and_zero_point(0, 0) == (1.0, -128)


@pytest.fixture(scope="module")
def quantised():
    """A small network with random weights, its int8 file, and the pictures it was calibrated on."""
    from convnetlab.backend import keras

    keras.utils.set_random_seed(4)
    layers = [
        keras.Input((6, 6, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(5, name="last", bias_initializer="normal"),
    ]
    model = keras.Sequential(layers)
    images = np.random.default_rng(4).integers(0, 256, (60, 6, 6, 1)).astype(np.uint8)
    return model, edge.export(model, "int8", images), images


def test_a_dense_layer_of_whole_numbers_is_litert_s(quantised):
    _, file, images = quantised
    for image in np.concatenate([images, 255 - images // 3]):
        layer = quantisation.last_dense(file, image)
        found = quantisation.dense(
            layer.inputs,
            layer.input_zero,
            layer.weights,
            layer.bias,
            layer.multiplier,
            layer.output_zero,
        )
        assert found.tolist() == layer.outputs.tolist()
        said = edge.predict(file, image[None])[0]
        meant = quantisation.dequantise(layer.outputs, layer.output_scale, layer.output_zero)
        assert np.allclose(said, meant, atol=layer.output_scale)


def test_weights_and_ranges_are_chosen_as_litert_s_converter_does(quantised):
    model, file, images = quantised
    layer = quantisation.last_dense(file, images[0])
    kernel, bias = model.get_layer("last").get_weights()
    scales = np.abs(kernel).max(axis=0) / 127
    assert np.allclose(layer.weight_scales, scales, rtol=1e-6)
    weights = quantisation.quantise(kernel.T, layer.weight_scales[:, None], 0)
    assert np.array_equal(weights, layer.weights)
    assert np.allclose(layer.bias * layer.weight_scales * layer.input_scale, bias, atol=1e-4)
    said = model.predict_on_batch(edge.with_both_ends(images))
    scale, zero = quantisation.scale_and_zero_point(float(said.min()), float(said.max()))
    assert (scale, zero) == (pytest.approx(layer.output_scale, rel=1e-5), layer.output_zero)


def test_a_network_without_a_dense_layer_is_refused():
    from convnetlab.backend import keras

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 4)])
    file = edge.export(model, "float32")
    with pytest.raises(LabError, match="no dense layer"):
        quantisation.last_dense(file, np.zeros((4, 4, 1), np.uint8))
