"""TensorFlow and Keras, loaded in one place, and quietly.

TensorFlow writes notes about missing GPUs and CPU features to the process's error stream before its
own log level counts; in a notebook they would be the first thing that a student sees, in red.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet_error_stream() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere, meanwhile."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with quiet_error_stream():
    import keras
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

__all__ = ["ReverseChannels", "flatbuffer_utils", "keras", "tf"]


# It is defined here, so that whoever loads TensorFlow can load any saved model.
@keras.saving.register_keras_serializable("convnetlab")
class ReverseChannels(keras.Layer):  # type: ignore[misc]
    """Turn RGB into BGR: some networks learnt from pictures that OpenCV or Caffe had read."""

    pointwise = True  # one place at a time: `inspection.receptive_fields` asks

    def call(self, inputs: Any) -> Any:
        """Reverse the last axis of (N, H, W, C)."""
        return keras.ops.flip(inputs, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        return input_shape
