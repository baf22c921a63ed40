"""What the page cannot run of a LiteRT file is named when the file is made."""

import numpy as np
import pytest
from small_networks import REFUSED, SHAPE, layers, small

from convnetlab import edge
from convnetlab.backend import keras, tf
from convnetlab.errors import LabError

PICTURES = np.random.default_rng(1).integers(0, 256, (8, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def files():
    """Every variant of a network of a convolution and a dense layer."""
    network = small(lambda x: layers.Dense(40)(layers.Flatten()(x)))
    return {variant: edge.export(network, variant, PICTURES) for variant in edge.VARIANTS}


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_numbers_of_one_kind_can_be_run(files, variant):
    assert edge.unrunnable(files[variant]) == []


def test_numbers_of_two_kinds_cannot_be_run(files):
    assert edge.unrunnable(files["float16"]) == ["DEQUANTIZE"]
    assert edge.unrunnable(files["dynamic"]) == ["FULLY_CONNECTED with FLOAT32 and INT8"]


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_is_named(name):
    assert edge.unrunnable(edge.export(small(REFUSED[name]), "float32")) == [name]


def test_an_operator_is_named_once_and_in_order():
    def twice(x):
        for activation in ("tanh", "sigmoid", "tanh"):
            x = layers.Conv2D(4, 3, activation=activation)(x)
        return x

    assert edge.unrunnable(edge.export(small(twice), "float32")) == ["TANH", "LOGISTIC"]


def test_an_operator_that_litert_has_not_is_named():
    class Inverse(keras.Layer):
        """The inverse of a matrix for each channel."""

        def call(self, maps):
            return tf.linalg.inv(tf.transpose(maps, [0, 3, 1, 2])[:, :, :9])

    network = small(Inverse())
    file = edge.export(network, "float32")
    assert edge.unrunnable(file) == ["TRANSPOSE", "STRIDED_SLICE", "FlexMatrixInverse"]
    with pytest.raises(LabError, match=r"as int8: .*MatrixInverse") as told:
        edge.export(network, "int8", PICTURES)
    assert ".py" not in str(told.value), "no place in TensorFlow's code"
