"""Stage 3: fitting a network's weights to the training pictures."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.backend import keras, tf
from convnetlab.datasets import Dataset
from convnetlab.errors import LabError
from convnetlab.paths import is_headless
from convnetlab.preprocess import normalise, part_of
from convnetlab.recipes import Recipe

Integers = NDArray[np.int64]
Part = tuple[Integers, Integers]  # indices and labels

STEPS_PER_EXECUTION = 32  # steps that TensorFlow takes before it comes back to Python
WARM_UP = 0.3  # the share of the steps in which the one-cycle rate rises


@dataclass(frozen=True)
class Trained:
    """A trained network, and how it came about.

    Attributes:
        model: takes raw pixels 0..255, (N, H, W, C); gives probabilities, (N, classes).
        history: a row an epoch: `epoch`, `loss`, `accuracy`, and `val_…` of both if validated.
        seconds: wall time of the epochs, tracing and input included.
    """

    model: keras.Model
    history: pd.DataFrame
    seconds: float


def set_seed(seed: int) -> None:
    """Make what follows repeatable on this machine: Python, NumPy, TensorFlow, operators too."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def train(
    model: keras.Model, dataset: Dataset, split: pd.DataFrame, recipe: Recipe, seed: int
) -> Trained:
    """Train `model` in place.

    Args:
        model: as `architectures.build` makes it: raw pixels in, `Rescaling` first.
        dataset: where the pictures are.
        split: as `preprocess.split` makes it.
        recipe: what to do.
        seed: decides the order of the pictures in every epoch.

    Raises:
        LabError: a batch is larger than the training set.
    """
    set_seed(seed)
    learn: Part = part_of(split, "train")
    held_out: Part | None = part_of(split, "validation")
    if not recipe.validate:
        rows = split[split["part"] != "test"]
        learn = rows["index"].to_numpy(np.int64), rows["label"].to_numpy(np.int64)
        held_out = None
    if recipe.batch_size > len(learn[0]):
        raise LabError(
            f"The recipe's batches have {recipe.batch_size} pictures, and there are only "
            f"{len(learn[0])} to train on. Use a larger data set or a smaller validation_share."
        )
    clock = Clock()
    fit = fit_like_the_listing if recipe.listing_input else fit_by_index
    history = fit(
        model,
        dataset,
        learn,
        held_out,
        recipe,
        seed,
        epochs=recipe.epochs,
        verbose=0 if is_headless() else 1,
        callbacks=[clock, EpochLines()] if is_headless() else [clock],
    )
    table = pd.DataFrame(history.history)
    table.insert(0, "epoch", range(1, len(table) + 1))
    return Trained(model, table, clock.seconds)


def fit_by_index(
    model: keras.Model,
    dataset: Dataset,
    learn: Part,
    held_out: Part | None,
    recipe: Recipe,
    seed: int,
    **arguments: Any,
) -> Any:
    """Fit on batches that are gathered by index, in an order that (seed, epoch) decides."""

    order = EpochOrder(seed, len(learn[0]))
    compile_model(
        model, recipe, steps_per_epoch(len(learn[0]), recipe.batch_size), STEPS_PER_EXECUTION
    )
    if held_out:
        arguments["validation_data"] = batches(dataset.train_batch, *held_out)
    arguments["callbacks"] = [order, *arguments["callbacks"]]
    stream = batches(dataset.train_batch, *learn, recipe.batch_size, lambda: order.order)
    return model.fit(stream, shuffle=False, **arguments)


def fit_like_the_listing(
    model: keras.Model,
    dataset: Dataset,
    learn: Part,
    held_out: Part | None,
    recipe: Recipe,
    seed: int,
    **arguments: Any,
) -> Any:
    """Fit on arrays divided beforehand, in Keras's own order.

    A copy of the network whose `Rescaling` changes nothing is trained; its weights are taken over.
    """

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        settings = layer.get_config()
        if isinstance(layer, keras.layers.Rescaling):
            settings["scale"] = 1.0
        return type(layer).from_config(settings)

    core = keras.models.clone_model(model, clone_function=copy_layer)
    core.set_weights(model.get_weights())
    compile_model(core, recipe, steps_per_epoch(len(learn[0]), recipe.batch_size), 1)
    if held_out:
        arguments["validation_data"] = (normalise(dataset.train_batch(held_out[0])), held_out[1])
    images = normalise(dataset.train_batch(learn[0]))
    history = core.fit(images, learn[1], batch_size=recipe.batch_size, **arguments)
    model.set_weights(core.get_weights())
    return history


def compile_model(model: keras.Model, recipe: Recipe, steps: int, per_execution: int) -> None:
    """Choose loss, optimiser and metric; `steps` is the number of steps an epoch."""
    rate: Any = recipe.learning_rate
    if recipe.schedule == "one-cycle":
        rate = OneCycle(recipe.learning_rate, steps * recipe.epochs)
    model.compile(
        optimizer=keras.optimizers.SGD(rate, recipe.momentum, recipe.nesterov),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=per_execution,
        jit_compile=False,  # XLA is slower than oneDNN on a CPU
    )


def batches(
    fetch: Callable[[Integers], NDArray[np.uint8]],
    indices: Integers,
    labels: Integers,
    batch_size: int = 1_000,
    order: Callable[[], Integers] | None = None,
) -> tf.data.Dataset:
    """Return batches of uint8 pictures (N, H, W, C) and labels (N,), fetched as they are needed.

    Args:
        fetch: gives the pictures of some indices: `Dataset.train_batch` or `.test_batch`.
        indices: which pictures, (N,).
        labels: their classes, (N,).
        batch_size: pictures a batch; the last one may be smaller.
        order: asked at the beginning of each pass for an order of 0..N-1; else as they stand.
    """

    def generate() -> Iterator[tuple[NDArray[np.uint8], Integers]]:
        places = order() if order else np.arange(len(indices))
        for start in range(0, len(places), batch_size):
            chosen = places[start : start + batch_size]
            yield fetch(indices[chosen]), labels[chosen]

    shape = fetch(indices[:1]).shape[1:]
    stream = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, *shape), tf.uint8),
            tf.TensorSpec((None,), tf.int64),
        ),
    )
    count = steps_per_epoch(len(indices), batch_size)
    stream = stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(4)
    # There is nothing to tune here, and when a fit ends TensorFlow would wait for its tuning
    # thread's current sleep, which doubles each time: up to as long as the whole fit took.
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return how many batches an epoch has; the last one may be smaller.

    >>> steps_per_epoch(54_000, 128)
    422
    """
    return math.ceil(images / batch_size)


@keras.saving.register_keras_serializable("convnetlab")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that rises in a line from a tenth of `highest`, then falls to 0.

    After L. N. Smith, "A disciplined approach to neural network hyper-parameters: part 1"
    (2018), with a half cosine for the fall.
    """

    def __init__(self, highest: float, steps: int) -> None:
        """Take the highest rate, and the number of steps of the whole training."""
        self.highest = highest
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        top = max(self.steps * WARM_UP, 1.0)
        rising = 0.1 + 0.9 * step / top
        falling = 0.5 * (1 + keras.ops.cos(math.pi * (step - top) / max(self.steps - top, 1.0)))
        return self.highest * keras.ops.where(step < top, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {"highest": self.highest, "steps": self.steps}


class EpochOrder(keras.callbacks.Callback):  # type: ignore[misc]
    """The order of the pictures in the present epoch, which (seed, epoch) alone decides."""

    def __init__(self, seed: int, count: int) -> None:
        """Take the seed and the number of pictures."""
        super().__init__()
        self.seed = seed
        self.count = count
        self.order = np.arange(count)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Shuffle anew."""
        self.order = np.random.default_rng([self.seed, epoch]).permutation(self.count)


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Wall seconds from the first batch's tracing to the end of the last epoch."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Start."""
        self.start = time.perf_counter()

    def on_train_end(self, logs: Any = None) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.start


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]
    """Print one line an epoch, where a progress bar would fill a log."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's measures."""
        measures = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"epoch {epoch + 1} of {self.params['epochs']}: {measures}", flush=True)
