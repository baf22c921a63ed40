"""After stage 4: a trained network as a small file for a telephone, by LiteRT (TensorFlow Lite).

Four variants of one network. `float32` has the numbers that were trained. `float16` keeps each
weight in half the bytes. `dynamic` keeps weights as whole numbers of eight bits, with a scale for
each filter or unit, but kernels of fewer than 1,024 weights as they are; LiteRT turns the inputs of
a layer of whole numbers into bytes, anew for each picture, sums whole numbers, and gives numbers
with a point. `int8` stays whole throughout: the ranges of the numbers between its layers are fixed,
by some pictures that it sees before (calibration).
Source of the arithmetic: B. Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.errors import LabError
from convnetlab.quiet import quiet_error_stream, quiet_warnings

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

VARIANTS = ("float32", "float16", "dynamic", "int8")
CALIBRATION = 200  # training pictures that int8 is calibrated on
MISSING = (
    "LiteRT's interpreter is not installed. Install it: pip install -c constraints.txt -e '.[edge]'"
)


def export(model: Any, variant: str, calibration: Pixels | None = None) -> bytes:
    """Return a trained network as a LiteRT file's bytes (a flatbuffer, `.tflite`).

    It takes one picture at a time, (1, H, W, C), and gives (1, classes) probabilities. `int8` takes
    the pixels as they are, uint8, and gives uint8: 256 times the probability.

    Args:
        model: takes raw pixels 0..255, (N, H, W, C); of several outputs the first is taken.
        variant: one of `VARIANTS`.
        calibration: uint8 (N, H, W, C), training pictures; `int8` needs them.

    Raises:
        LabError: LiteRT has no counterpart for one of the network's operations.
    """
    from convnetlab.backend import keras, tf

    if len(model.outputs) > 1:
        model = keras.Model(model.inputs, model.outputs[0])
    shape = (1, *model.inputs[0].shape[1:])
    # A batch of one, fixed: a free one would add operations that compute shapes.
    signature = tf.TensorSpec(shape, tf.float32, name="image")
    with quiet_error_stream(), quiet_warnings("absl"):
        try:
            # Not `model.export`, which saves the network and loads it again before it converts it:
            # several times slower, for the same answers.
            answer = tf.function(lambda image: model(image, training=False))
            traced = answer.get_concrete_function(signature)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
            configure(converter, variant, calibration)
            file: bytes = converter.convert()
        except Exception as error:  # the converter has no narrower one
            raise LabError(
                f"LiteRT cannot take the network {model.name!r} as {variant}: {reason(error)}"
            ) from None
    return file


def reason(error: Exception) -> str:
    """Return why TensorFlow's converter failed, in a clause without the paths that it tells."""
    if missing := re.search(r"TF Select ops: (.*)", str(error)):
        return f"it has no counterpart for TensorFlow's {missing[1]}."
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\S*/\S*\.py(:\d+)*:?\s*", "", first)


def configure(converter: Any, variant: str, calibration: Pixels | None) -> None:
    """Tell TensorFlow's converter which variant it is to make; arguments as for `export`."""
    from convnetlab.backend import tf

    target = converter.target_spec
    # What LiteRT lacks may stay TensorFlow's own: the file is made, and `unrunnable` names it.
    target.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        target.supported_types = [tf.float16]
    if variant == "int8":
        assert calibration is not None
        pictures = with_both_ends(calibration)
        converter.representative_dataset = lambda: ([image[None]] for image in pictures)
        target.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8


def with_both_ends(images: Pixels) -> Floats:
    """Return pictures as float32, the first with a black and a white pixel.

    So the calibrated range of the pixels is 0..255 whatever the pictures, and a pixel's eight bits
    are its value.
    """
    pictures = images.astype(np.float32)
    pictures[0, 0, 0], pictures[0, -1, -1] = 0, 255
    return pictures


def has_interpreter() -> bool:
    """Whether LiteRT's interpreter is installed: files can be written without it, not asked."""
    return find_spec("ai_edge_litert") is not None


def interpreter(file: bytes, threads: int = 1) -> Any:
    """Return LiteRT's interpreter of a file's bytes, ready to be asked.

    Raises:
        LabError: it is not installed, or lacks an operator of the file.
    """
    if not has_interpreter():
        raise LabError(MISSING)
    from ai_edge_litert.interpreter import Interpreter

    with quiet_error_stream():  # "Created TensorFlow Lite XNNPACK delegate for CPU"
        made = Interpreter(model_content=file, num_threads=threads)
        try:
            made.allocate_tensors()
        except RuntimeError as error:
            raise LabError(
                f"LiteRT's interpreter cannot run the file: {str(error).strip().splitlines()[0]}"
            ) from None
    return made


def asker(file: bytes, threads: int = 1) -> Callable[[Pixels], Floats]:
    """Return a function that answers one picture, uint8 (H, W, C): float32 (classes,).

    Probabilities; those of `int8` are multiples of 1/256.

    Args:
        file: the bytes of a variant.
        threads: how many of the processor's cores it may use.
    """
    network = interpreter(file, threads)
    entry, end = network.get_input_details()[0], network.get_output_details()[0]
    scale, zero = end["quantization"]  # 0, 0 where nothing is quantised
    step, shift = np.float32(scale or 1), np.float32(zero)

    def ask(image: Pixels) -> Floats:
        network.set_tensor(entry["index"], image[None].astype(entry["dtype"]))
        network.invoke()
        said: Floats = (network.get_tensor(end["index"])[0].astype(np.float32) - shift) * step
        return said

    return ask


def predict(file: bytes, images: Pixels) -> Floats:
    """Return what a LiteRT file says of pictures, one at a time, on one thread.

    Args:
        file: the bytes of a variant.
        images: uint8 (N, H, W, C).

    Returns:
        Probabilities, float32 (N, classes); those of `int8` are multiples of 1/256.
    """
    return np.stack([*map(asker(file), images)])


# What the page's forward pass can run (page/operators.js), in the schema's names.
RUNNABLE = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "MEAN",
    "MUL",
    "PAD",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RESHAPE",
    "SOFTMAX",
)
OF_MAPS = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "PAD")
ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}


def unrunnable(file: bytes) -> list[str]:
    """Return what the page cannot run of a LiteRT file, in words, each once: mostly nothing.

    Args:
        file: the bytes of a variant.

    Returns:
        Such as `HARD_SWISH`, `TANH of CONV_2D`, `CONV_2D with FLOAT32 and INT8`.
    """
    from convnetlab.backend import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(file))
    found = (obstacles(model, operator) for operator in model.subgraphs[0].operators)
    return list(dict.fromkeys(itertools.chain.from_iterable(found)))


def obstacles(model: Any, operator: Any) -> Iterator[str]:
    """Yield what the page cannot run of one operator of a file; `page/network.js` refuses it."""
    from convnetlab.backend import flatbuffer_utils

    custom = model.operatorCodes[operator.opcodeIndex].customCode
    kind = (
        custom.decode() if custom else flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
    )
    if kind not in RUNNABLE:
        yield kind
        return
    activation = ACTIVATIONS[getattr(operator.builtinOptions, "fusedActivationFunction", 0)]
    if activation not in ("NONE", "RELU", "RELU6"):
        yield f"{activation} of {kind}"
    tensors = model.subgraphs[0].tensors
    operands = [tensors[index] for index in operator.inputs if index >= 0]
    type_of = flatbuffer_utils.type_to_name
    inputs = [tensor for tensor in operands if type_of(tensor.type) != "INT32"]
    types = {type_of(tensor.type) for tensor in [tensors[operator.outputs[0]], *inputs]}
    whole = {"INT8", "UINT8"} if kind == "QUANTIZE" else {"INT8"}
    if not (types == {"FLOAT32"} or types <= whole):
        yield f"{kind} with {' and '.join(sorted(types))}"
    shapes = [tensor.shape.tolist() for tensor in inputs]
    if not fits(kind, shapes, model.buffers[operands[-1].buffer].data):
        yield f"{kind} of {' and '.join(' × '.join(map(str, shape)) for shape in shapes)}"


def fits(kind: str, shapes: list[list[int]], constant: Any) -> bool:
    """Tell whether the page's operator is written for inputs of these shapes.

    Args:
        kind: one of `RUNNABLE`.
        shapes: of the inputs that are no biases, axes or margins (those are INT32).
        constant: the bytes of the last input: axes of `MEAN`, margins of `PAD`.
    """
    if kind in OF_MAPS and (len(shapes[0]) != 4 or shapes[0][0] != 1):
        return False
    if kind == "MEAN":
        return [*np.frombuffer(bytes(constant), np.int32)] == [1, 2]
    if kind == "PAD":
        return not np.frombuffer(bytes(constant), np.int32)[[0, 1, 6, 7]].any()
    if kind in ("ADD", "MUL"):
        small, large = sorted(shapes, key=math.prod)
        repeated = list(itertools.dropwhile(lambda length: length == 1, small))
        return large[len(large) - len(repeated) :] == repeated
    return True
