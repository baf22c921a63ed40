"""Stage 3: fitting a network's weights to the training pictures."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import features, pretrained
from convnetlab.augmentation import AUGMENTATIONS, Augment
from convnetlab.backend import keras, tf
from convnetlab.callbacks import EpochLines, EpochOrder, Record, StopAtNonsense, state_of
from convnetlab.checkpoints import BEST, Checkpoints, Progress
from convnetlab.datasets import Dataset
from convnetlab.errors import LabError
from convnetlab.handoff import write_atomically
from convnetlab.paths import is_headless
from convnetlab.preprocess import normalise, part_of
from convnetlab.recipes import Recipe
from convnetlab.streams import batches, steps_per_epoch

Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Part = tuple[Integers, Integers]  # indices and labels

STEPS_PER_EXECUTION = 32  # steps that TensorFlow takes before it comes back to Python


@dataclass(frozen=True)
class Trained:
    """A trained network, and how it came about.

    Attributes:
        model: takes raw pixels 0..255, (N, H, W, C); gives probabilities, (N, classes).
        history: a row a finished epoch: `epoch`, `loss`, `accuracy`, and `val_…` of both if
            validated.
        seconds: wall time of the epochs, tracing and input included, validation not.
        finished: whether all epochs are done; else somebody stopped it.
        checkpoints: where it can go on from, if anywhere.
    """

    model: keras.Model
    history: pd.DataFrame
    seconds: float
    finished: bool = True
    checkpoints: Checkpoints | None = None

    def tidy(self) -> None:
        """Remove the checkpoints once the model has been handed on, unless it was stopped."""
        if self.checkpoints and self.finished:
            self.checkpoints.remove()


def set_seed(seed: int, deterministic: bool = True) -> None:
    """Make what follows repeatable on this machine: Python, NumPy, TensorFlow, operators too.

    Args:
        seed: of all random numbers.
        deterministic: leave out operators whose result depends on the order of threads, for the
            rest of this process. What that costs, `convnetlab bench --only determinism` measures.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def device() -> str:
    """Return what TensorFlow trains on: the graphics card's name, or `CPU`."""
    cards = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(card).get("device_name") for card in cards]
    return ", ".join(name or "GPU" for name in names) or "CPU"


def train(
    model: keras.Model,
    dataset: Dataset,
    split: pd.DataFrame,
    recipe: Recipe,
    seed: int,
    checkpoints: Path | None = None,
    deterministic: bool = True,
) -> Trained:
    """Train `model` in place.

    With `checkpoints`, a training that was stopped or killed goes on after its last finished
    epoch, and ends with the weights that it would have had. Interrupted (Ctrl-C, or the stop
    button of Jupyter), it ends after the running steps, with the weights of its best epoch.

    Args:
        model: as `architectures.build` makes it: raw pixels in, `Rescaling` first.
        dataset: where the pictures are.
        split: as `preprocess.split` makes it.
        recipe: what to do.
        seed: decides, with the epoch's number, the order of the pictures and their augmentation.
        checkpoints: a folder for a file an epoch; it is made if missing.
        deterministic: see `set_seed`.

    Raises:
        LabError: a batch is larger than the training set, a label is outside the model's classes,
            the loss is no finite number, or a checkpoint cannot be written.
        KeyboardInterrupt: it was interrupted before its first epoch was done.
    """
    set_seed(seed, deterministic)
    learn, held_out = parts(split, recipe)
    recipe = check(model, learn, held_out, recipe)
    if recipe.weights == "imagenet":
        pretrained.load(model)
    kept = None
    if checkpoints:
        kept = Checkpoints(checkpoints, fingerprint(model, dataset, split, recipe, seed))
    core = listing_core(model) if recipe.listing_input else model
    if recipe.weights == "imagenet":
        features.freeze(core, recipe.frozen)
    compile_model(core, recipe, len(learn[0]))
    progress = resume(core, recipe, kept)
    finished = True
    try:
        if recipe.weights == "imagenet" and not progress.epoch:
            begin(core, dataset, learn, held_out, recipe, seed, progress, kept)
        fit(core, dataset, learn, held_out, recipe, seed, progress, kept)
    except KeyboardInterrupt:
        if not progress.best:
            raise
        core.set_weights(progress.best)
        finished = False
    model.set_weights(core.get_weights())
    if not finished:
        tell_stopped(model, recipe, progress, checkpoints)
    return Trained(model, pd.DataFrame(progress.history), progress.seconds, finished, kept)


def parts(split: pd.DataFrame, recipe: Recipe) -> tuple[Part, Part | None]:
    """Return what a recipe learns from, and what it is validated on after each epoch, if at all."""
    if recipe.validate:
        return part_of(split, "train"), part_of(split, "validation")
    rows = split[split["part"] != "test"]
    return (rows["index"].to_numpy(np.int64), rows["label"].to_numpy(np.int64)), None


def check(model: keras.Model, learn: Part, held_out: Part | None, recipe: Recipe) -> Recipe:
    """Refuse what cannot be trained; arguments as for `train`.

    Returns:
        The recipe. One that begins with weights from elsewhere is for few pictures: its batches
        shrink to what there is.

    Raises:
        LabError: a batch is larger than the training set, or a label is outside the classes.
    """
    count, classes = len(learn[0]), model.output_shape[-1]
    if recipe.weights != "none":
        recipe = replace(recipe, batch_size=min(recipe.batch_size, count))
    if recipe.batch_size > count:
        raise LabError(
            f"The recipe's batches have {recipe.batch_size} pictures, and there are only {count} "
            "to train on: too few to learn from scratch. For photographs take the recipe features "
            "or fine-tune; else a larger data set, or a smaller validation_share."
        )
    labels = np.concatenate([learn[1], held_out[1]]) if held_out else learn[1]
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise LabError(
            f"The labels run from {low} to {high}, and the network has {classes} classes: "
            f"labels must run from 0 to {classes - 1}. Build the network for this data set "
            "(stage 2)."
        )
    return recipe


def fingerprint(
    model: keras.Model, dataset: Dataset, split: pd.DataFrame, recipe: Recipe, seed: int
) -> str:
    """Return a text that tells one training from all others; arguments as for `train`."""
    digest = hashlib.sha256()
    about = [asdict(recipe), seed, dataset.content_hash(), model.to_json()]
    digest.update(json.dumps(about, sort_keys=True).encode())
    digest.update(split.to_csv(index=False).encode())
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights).data)
    return digest.hexdigest()


def resume(core: keras.Model, recipe: Recipe, kept: Checkpoints | None) -> Progress:
    """Return how far this training had come, and put `core`, compiled, into that state."""
    progress = kept.latest() if kept else None
    if not progress:
        return Progress()
    core.optimizer.build(core.trainable_variables)
    for variable, value in zip(state_of(core), progress.variables, strict=True):
        variable.assign(value)
    print(f"Going on after epoch {progress.epoch} of {recipe.epochs}, from a checkpoint.")
    return progress


def begin(
    core: keras.Model,
    dataset: Dataset,
    learn: Part,
    held_out: Part | None,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    kept: Checkpoints | None,
) -> None:
    """Give a network with weights from elsewhere its last layer, by logistic regression.

    For a frozen network this is the whole training, and is recorded as its one epoch.
    """
    record = Record(progress, kept)
    record.set_model(core)
    cache = kept.folder / features.CACHE if kept else None
    measures = features.fit_head(core, dataset, learn, held_out, recipe.class_weights, seed, cache)
    if recipe.frozen:
        core.optimizer.build(core.trainable_variables)
        record.on_epoch_end(0, measures)
    else:
        progress.seconds += time.perf_counter() - record.start
    told = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
    print(f"The last layer, by logistic regression on features: {told}")


def tell_stopped(
    model: keras.Model, recipe: Recipe, progress: Progress, checkpoints: Path | None
) -> None:
    """Say where an interrupted training stands, and keep its best model beside its checkpoints."""
    kind = "the best so far" if recipe.validate else "the last finished one"
    print(
        f"Stopped after epoch {progress.epoch} of {recipe.epochs}. The network has the weights of "
        f"epoch {progress.best_epoch}, {kind}."
    )
    if checkpoints:
        path = write_atomically(checkpoints / BEST, lambda file: model.save(file))
        print(f"They are in {path}, too. Train again, in the same way, to go on.")


def fit(
    core: keras.Model,
    dataset: Dataset,
    learn: Part,
    held_out: Part | None,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    kept: Checkpoints | None,
) -> None:
    """Let Keras train the compiled `core` to the recipe's last epoch, and record its progress."""
    if progress.epoch == recipe.epochs:
        return
    order = EpochOrder(seed, len(learn[0]))
    inputs = None
    if not recipe.listing_input:
        inputs = streams(dataset, learn, held_out, recipe, order)
    elif not kept:
        inputs = arrays(dataset, learn, held_out, recipe)
    shown = [EpochLines(recipe.epochs)] if is_headless() else []
    more: dict[str, Any] = {
        "callbacks": [order, StopAtNonsense(), Record(progress, kept), *shown],
        "verbose": 0 if is_headless() else 1,
    }
    if recipe.class_weights == "balanced":
        more["class_weight"] = features.balanced(learn[1])
    if inputs:
        core.fit(**inputs, initial_epoch=progress.epoch, epochs=recipe.epochs, **more)
        return
    # Keras shuffles arrays itself, and cannot take that up again in the middle of a training.
    for epoch in range(progress.epoch, recipe.epochs):
        inputs = None  # its memory is wanted for the next
        order.on_epoch_begin(epoch)
        shuffled = learn[0][order.order], learn[1][order.order]
        inputs = arrays(dataset, shuffled, held_out, recipe)
        core.fit(**inputs, shuffle=False, initial_epoch=epoch, epochs=epoch + 1, **more)


def streams(
    dataset: Dataset, learn: Part, held_out: Part | None, recipe: Recipe, order: EpochOrder
) -> dict[str, Any]:
    """Return arguments of `fit`: batches gathered by index, in each epoch's own order."""
    augment = None
    if recipe.augmentation != "none":
        augment = augmented(AUGMENTATIONS[recipe.augmentation], order, len(learn[0]))
    stream = batches(dataset.train_batch, *learn, recipe.batch_size, lambda: order.order, augment)
    validation = batches(dataset.train_batch, *held_out) if held_out else None
    return {"x": stream, "validation_data": validation, "shuffle": False}


def augmented(change: Augment, order: EpochOrder, count: int) -> Callable[[Pixels, int], Pixels]:
    """Return what changes pictures, the first of which has a place 0..count-1 in the epoch."""
    return lambda images, start: change(images, (order.seed, order.epoch * count + start))


def arrays(dataset: Dataset, learn: Part, held_out: Part | None, recipe: Recipe) -> dict[str, Any]:
    """Return arguments of `fit` as the listing has them: arrays divided beforehand."""
    images = normalise(dataset.train_batch(learn[0]))
    validation = None
    if held_out:
        validation = (normalise(dataset.train_batch(held_out[0])), held_out[1])
    return {
        "x": images,
        "y": learn[1],
        "batch_size": recipe.batch_size,
        "validation_data": validation,
    }


def listing_core(model: keras.Model) -> keras.Model:
    """Return a copy of a network, weights and all, whose first `Rescaling` changes nothing."""
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        settings = layer.get_config()
        if layer.name == first.name:
            settings["scale"] = 1.0
        return type(layer).from_config(settings)

    core = keras.models.clone_model(model, clone_function=copy_layer)
    core.set_weights(model.get_weights())
    return core


def compile_model(model: keras.Model, recipe: Recipe, images: int) -> None:
    """Choose loss, optimiser and metric for a training on so many images."""
    rate: Any = recipe.learning_rate
    if recipe.schedule == "one-cycle":
        steps = steps_per_epoch(images, recipe.batch_size) * recipe.epochs
        rate = OneCycle(recipe.learning_rate, steps, recipe.warm_up)
    if recipe.optimiser == "adam":
        optimiser = keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay or None)
    else:
        optimiser = keras.optimizers.SGD(
            rate, recipe.momentum, recipe.nesterov, weight_decay=recipe.weight_decay or None
        )
    slow = recipe.weights != "none"  # steps on photographs take so long that nothing is saved
    model.compile(
        optimizer=optimiser,
        loss=SmoothedCrossEntropy(recipe.label_smoothing)
        if recipe.label_smoothing
        else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=1 if slow or recipe.listing_input else STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA is slower than oneDNN on a CPU
    )


@keras.saving.register_keras_serializable("convnetlab")
class SmoothedCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of sparse labels whose targets are not quite 1 and 0.

    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2015),
    section 7. The target of the true class is 1 - smoothing + smoothing / classes.
    """

    def __init__(self, smoothing: float, name: str = "cross_entropy", **more: Any) -> None:
        """Take the probability that is spread over all classes, 0..1."""
        super().__init__(name=name, **more)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each picture: labels (N,) or (N, 1), probabilities (N, classes)."""
        labels = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        of_truth = keras.losses.sparse_categorical_crossentropy(labels, y_pred)
        logarithms = keras.ops.log(keras.ops.clip(y_pred, keras.config.epsilon(), 1.0))
        of_all = -keras.ops.mean(logarithms, axis=-1)
        return (1 - self.smoothing) * of_truth + self.smoothing * of_all

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable("convnetlab")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that rises in a line from a tenth of `highest`, then falls to 0.

    After L. N. Smith, "A disciplined approach to neural network hyper-parameters: part 1"
    (2018), with a half cosine for the fall.
    """

    def __init__(self, highest: float, steps: int, warm_up: float = 0.3) -> None:
        """Take the highest rate, the steps of the whole training, and the share that rises."""
        self.highest = highest
        self.steps = steps
        self.warm_up = warm_up

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        top = max(self.steps * self.warm_up, 1.0)
        rising = 0.1 + 0.9 * step / top
        falling = 0.5 * (1 + keras.ops.cos(math.pi * (step - top) / max(self.steps - top, 1.0)))
        return self.highest * keras.ops.where(step < top, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {"highest": self.highest, "steps": self.steps, "warm_up": self.warm_up}
