"""What happens besides the steps while Keras's `fit` trains: order, record, refusal, progress."""

import math
import time
from typing import Any

import numpy as np

from convnetlab.backend import keras
from convnetlab.checkpoints import Checkpoints, Progress
from convnetlab.errors import LabError


class EpochOrder(keras.callbacks.Callback):  # type: ignore[misc]
    """The order of the pictures in the present epoch, which (seed, epoch) alone decides."""

    def __init__(self, seed: int, count: int) -> None:
        """Take the seed and the number of pictures."""
        super().__init__()
        self.seed = seed
        self.count = count
        self.epoch = 0
        self.order = np.arange(count)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Shuffle anew."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(self.count)


class Record(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep each epoch's measures, the time, the best weights, and a checkpoint if wanted.

    The time is that of `fit`, which is to be called right after this has been made, with tracing
    and input, without validation and without writing checkpoints.
    """

    def __init__(self, progress: Progress, checkpoints: Checkpoints | None) -> None:
        """Take what is done already, and where checkpoints go."""
        super().__init__()
        self.progress = progress
        self.checkpoints = checkpoints
        self.start = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        """Stop the clock for the validation."""
        self.progress.seconds += time.perf_counter() - self.start

    def on_test_end(self, logs: Any = None) -> None:
        """Go on."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write down the epoch."""
        progress = self.progress
        progress.seconds += time.perf_counter() - self.start
        measures = {name: float(value) for name, value in (logs or {}).items()}
        weights = self.model.get_weights()
        progress.history.append({"epoch": epoch + 1, **measures})
        if progress.best_epoch == progress.epoch:
            progress.best = weights
        if self.checkpoints:
            progress.variables = [variable.numpy() for variable in state_of(self.model)]
            self.checkpoints.write(progress)
        self.start = time.perf_counter()


def state_of(model: keras.Model) -> list[Any]:
    """Return all variables of a compiled model and its optimiser, dropout's seeds among them."""
    return [*model.variables, *model.optimizer.variables]


class StopAtNonsense(keras.callbacks.Callback):  # type: ignore[misc]
    """End a training whose loss or weights are no finite numbers: nothing can come of it any more.

    It must come before `Record`, so that no checkpoint of such weights is written.
    """

    def __init__(self) -> None:
        """Count epochs from 1."""
        super().__init__()
        self.epoch = 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember the epoch."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss.

        Raises:
            LabError: it is infinite, or not a number.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self.refuse(f"The loss became {loss} in epoch {self.epoch}, by step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at what the last step has made of the weights.

        Raises:
            LabError: one is infinite, or not a number.
        """
        if not all(np.isfinite(array).all() for array in self.model.get_weights()):
            self.refuse(f"Weights became infinite, or not a number, in epoch {epoch + 1}")

    def refuse(self, what: str) -> None:
        """Raise the error, with what to do."""
        raise LabError(
            f"{what}: the training has flown off. Lower the learning rate, and look for pictures "
            "or labels that are not what they should be."
        )


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]
    """Print one line an epoch, where a progress bar would fill a log."""

    def __init__(self, epochs: int) -> None:
        """Take the number of the last epoch."""
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's measures."""
        measures = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"epoch {epoch + 1} of {self.epochs}: {measures}", flush=True)
