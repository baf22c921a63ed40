"""TensorFlow and Keras, loaded in one place, and quietly.

TensorFlow writes notes about missing GPUs and CPU features to the process's error stream before its
own log level counts; in a notebook they would be the first thing that a student sees, in red.
"""

import contextlib
import os
from collections.abc import Iterator


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

__all__ = ["keras", "tf"]
