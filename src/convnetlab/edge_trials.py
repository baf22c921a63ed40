"""A cold start: what one answer takes from nothing, in a process that does nothing else.

`python -m convnetlab.edge_trials FILE PICTURE` answers one picture (a `.npy` file) by a `.tflite`
or a `.keras` file, prints the class, and waits, so that its memory can be looked at. A process
that answers by LiteRT must not load TensorFlow, and the other way round.
"""

import importlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convnetlab import edge

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ColdStart:
    """What a first answer took.

    Attributes:
        seconds: from the start of Python to the answer, imports and reading the file among them.
        peak_mib: the process's largest resident memory, MiB; off Linux that after the answer.
        answer: the class.
    """

    seconds: float
    peak_mib: float
    answer: int


def measure(file: Path, image: Pixels) -> ColdStart:
    """Answer one picture, (H, W, C), in a fresh process.

    Args:
        file: a `.tflite` or `.keras` file.
        image: uint8 (H, W, C).

    Raises:
        RuntimeError: the process failed.
    """
    import psutil

    from convnetlab.memory import peak_memory

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.npy"
        np.save(picture, image)
        command = [sys.executable, "-m", "convnetlab.edge_trials", str(file), str(picture)]
        pipe, start = subprocess.PIPE, time.perf_counter()
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdin and process.stdout and process.stderr
            line = process.stdout.readline()
            seconds = time.perf_counter() - start
            if not line:
                raise RuntimeError(f"no answer by {file}: {process.stderr.read()}")
            peak = peak_memory(psutil.Process(process.pid)) / 2**20
            process.stdin.close()  # now it may go
    return ColdStart(seconds, peak, int(line))


def answer(file: Path, image: Pixels) -> int:
    """Return the class that the network in a file gives a picture, (H, W, C)."""
    if file.suffix == ".tflite":
        said, foreign = edge.asker(file.read_bytes())(image), "tensorflow"
    else:
        importlib.import_module("convnetlab.architectures")  # registers its layers with Keras
        from convnetlab.backend import keras

        network = keras.models.load_model(file, compile=False)
        said = np.asarray(keras.tree.flatten(network(image[None]))[0])[0]
        foreign = "ai_edge_litert"
    assert foreign not in sys.modules, f"{foreign} was loaded"
    return int(said.argmax())


if __name__ == "__main__":
    print(answer(Path(sys.argv[1]), np.load(sys.argv[2])), flush=True)
    sys.stdin.read()
