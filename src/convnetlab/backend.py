"""TensorFlow and Keras, loaded in one place, and quietly.

TensorFlow writes notes about missing GPUs and CPU features to the process's error stream before its
own log level counts; in a notebook they would be the first thing that a student sees, in red.
"""

from typing import Any

from convnetlab.quiet import quiet_error_stream

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
