"""How `int8` computes: numbers with a point as whole numbers of eight bits, and back.

A number is written as `scale × (whole number − zero point)`. A tensor has one scale; the weights of
a layer have one for each of its outputs, and their zero point is 0.
Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, sections 2.1 and 2.2.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab import edge
from convnetlab.errors import LabError
from convnetlab.quiet import quiet_error_stream

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]

LOWEST, HIGHEST = -128, 127
STEPS = HIGHEST - LOWEST


def scale_and_zero_point(low: float, high: float) -> tuple[float, int]:
    """Return with what scale and zero point eight bits cover low..high.

    The range is widened to 0 first: 0 must be a whole number exactly, for padding is made of it.

    >>> scale_and_zero_point(0, 255), scale_and_zero_point(100, 510)
    ((1.0, -128), (2.0, -128))
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS or 1.0
    return scale, round(LOWEST - low / scale)


def quantise(values: Floats, scale: float | Floats, zero_point: int) -> Bytes:
    """Return the nearest whole numbers of eight bits; what lies outside goes to the ends.

    >>> quantise(np.array([-1, 0, 0.26, 300], np.float32), 0.5, -100)
    array([-102, -100,  -99,  127], dtype=int8)
    """
    return to_eight_bits(np.rint(values / scale) + zero_point)


def to_eight_bits(numbers: NDArray[np.floating]) -> Bytes:
    """Return whole numbers as int8; what is too small or too large becomes -128 or 127."""
    return np.asarray(np.clip(numbers, LOWEST, HIGHEST), np.int8)


def dequantise(numbers: Bytes, scale: float | Floats, zero_point: int) -> Floats:
    """Return the numbers that are meant."""
    return ((numbers.astype(np.int32) - zero_point) * scale).astype(np.float32)


@dataclass(frozen=True)
class Dense:
    """A dense layer of an `int8` file, and what went in and came out for one picture.

    Attributes:
        inputs: int8 (n,).
        weights: int8 (m, n); LiteRT's rows are the outputs, Keras's columns.
        bias: int32 (m,), in units of input scale × weights' scale, so that it can be added.
        outputs: int8 (m,), as LiteRT computed them.
        input_scale: what a step of the inputs is worth.
        input_zero: their zero point.
        weight_scales: float32 (m,), one for each output.
        output_scale: what a step of the outputs is worth.
        output_zero: their zero point.
    """

    inputs: Bytes
    weights: Bytes
    bias: NDArray[np.int32]
    outputs: Bytes
    input_scale: float
    input_zero: int
    weight_scales: Floats
    output_scale: float
    output_zero: int

    @property
    def multiplier(self) -> Floats:
        """How many steps of the outputs one step of the sums is, float32 (m,)."""
        scale = np.float32(self.input_scale) * self.weight_scales / np.float32(self.output_scale)
        return np.asarray(scale, np.float32)


def dense(
    inputs: Bytes,
    input_zero: int,
    weights: Bytes,
    bias: NDArray[np.int32],
    multiplier: Floats,
    output_zero: int,
) -> Bytes:
    """Return a dense layer's outputs, int8 (m,), without an activation, from whole numbers alone.

    Args:
        inputs: int8 (n,).
        input_zero: their zero point.
        weights: int8 (m, n).
        bias: int32 (m,).
        multiplier: float32 (m,), of which each sum is multiplied by one (requantisation).
        output_zero: the outputs' zero point.
    """
    sums = weights.astype(np.int32) @ (inputs.astype(np.int32) - input_zero) + bias
    steps = np.rint(sums.astype(np.float32) * multiplier) + output_zero
    return to_eight_bits(steps)


def last_dense(file: bytes, image: NDArray[np.uint8]) -> Dense:
    """Return the last dense layer of an `int8` file, as it computed for one picture (H, W, C).

    Raises:
        LabError: there is none, or LiteRT's interpreter is not installed.
    """
    places = places_of_last_dense(file)
    network = open_to_all_sides(file)
    network.set_tensor(network.get_input_details()[0]["index"], image[None])
    network.invoke()
    inputs, weights, bias, outputs = (network.get_tensor(place) for place in places)
    details = {each["index"]: each for each in network.get_tensor_details()}
    scales = [details[place]["quantization_parameters"]["scales"] for place in places]
    zeros = [details[place]["quantization_parameters"]["zero_points"] for place in places]
    return Dense(
        inputs.ravel(),
        weights,
        bias,
        outputs.ravel(),
        float(scales[0][0]),
        int(zeros[0][0]),
        scales[1],
        float(scales[3][0]),
        int(zeros[3][0]),
    )


def open_to_all_sides(file: bytes) -> Any:
    """Return LiteRT's interpreter of a file, all of whose tensors can be read afterwards.

    Raises:
        LabError: it is not installed.
    """
    if not edge.has_interpreter():
        raise LabError(edge.MISSING)
    from ai_edge_litert.interpreter import Interpreter

    with quiet_error_stream(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that this takes memory
        network = Interpreter(model_content=file, experimental_preserve_all_tensors=True)
        network.allocate_tensors()
    return network


def places_of_last_dense(file: bytes) -> list[int]:
    """Return which tensors are a file's last dense layer's inputs, weights, bias and outputs.

    Raises:
        LabError: there is none.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(file))
    for operator in reversed(model.subgraphs[0].operators):
        kind = model.operatorCodes[operator.opcodeIndex].builtinCode
        if kind == schema.BuiltinOperator.FULLY_CONNECTED:
            return [*map(int, operator.inputs), int(operator.outputs[0])]
    raise LabError("The network has no dense layer, so there is none to look into.")
