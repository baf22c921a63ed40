"""Small experiments about training: a network and pictures few enough to train it many times.

The network is `small_network` throughout, not the run's own, so that what is compared takes
seconds. All trainings of one seed see the same pictures in the same order.
"""

import contextlib
import cProfile
import functools
import io
import math
import pstats
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import datasets, preprocess, streams, training
from convnetlab.augmentation import affine
from convnetlab.backend import keras
from convnetlab.datasets import Dataset
from convnetlab.recipes import Recipe

Build = Callable[[], keras.Model]
Floats = NDArray[np.float64]
Say = Callable[[str], object]

SMOOTHING = 0.9  # of the range test's loss: the share that the past keeps
DIVERGED = 2.0  # the range test ends where the loss is so many times its lowest
VALIDATION = 1_000  # pictures, at most: enough to see a curve
BATCH_SIZE = 50
HISTORY = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
MEASURES = ("training loss", "training accuracy", "validation loss", "validation accuracy")
RATE = 0.02  # of the trainings that are compared, with momentum 0.9


def small_network(
    image_shape: tuple[int, int, int], classes: int, dropout: float = 0.0
) -> keras.Model:
    """Return eight filters, pooling and two dense layers, with dropout between those if wanted.

    Args:
        image_shape: (H, W, C) of the pictures, which may be raw, 0..255.
        classes: how many probabilities come out.
        dropout: the share of the 64 hidden units that a training step leaves out, 0..1.
    """
    layers = [
        keras.Input(image_shape),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        *([keras.layers.Dropout(dropout)] if dropout else []),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    return keras.Sequential(layers, name="small")


def builder(dataset: Dataset, dropout: float = 0.0) -> Build:
    """Return what builds the small network, with fresh weights, for a data set."""
    return functools.partial(small_network, dataset.image_shape, len(dataset.classes), dropout)


def momentum_sgd(rate: Any, weight_decay: float = 0.0) -> keras.optimizers.Optimizer:
    """Return stochastic gradient descent with Nesterov's momentum 0.9, as the recipe one-cycle."""
    return keras.optimizers.SGD(rate, 0.9, nesterov=True, weight_decay=weight_decay or None)


def few(split: pd.DataFrame, pictures: int) -> pd.DataFrame:
    """Return a split's first training pictures, so many, and at most 1,000 for validation."""
    chosen = [split[split["part"] == "train"][:pictures]]
    return pd.concat([*chosen, split[split["part"] == "validation"][:VALIDATION]])


def fit(
    build: Build,
    optimiser: keras.optimizers.Optimizer,
    dataset: Dataset,
    split: pd.DataFrame,
    epochs: int,
    seed: int,
    augment: bool = False,
) -> pd.DataFrame:
    """Train a fresh network in batches of 50, validate it every epoch, and say nothing.

    Args:
        build: builds the network; it is called after the seed is set.
        optimiser: a fresh one.
        dataset: where the pictures are.
        split: which of them train and which validate; see `few`.
        epochs: passes over the training pictures.
        seed: of the weights, the order and the augmentation.
        augment: turn, zoom and shift every picture a little, anew in each epoch.

    Returns:
        A row an epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`. The first two are
        averages over the epoch, with dropout and augmentation on.
    """
    training.set_seed(seed)
    model = build()
    compile_small(model, optimiser)
    indices, labels = preprocess.part_of(split, "train")
    held_out, held_out_labels = preprocess.part_of(split, "validation")
    validation = dataset.train_batch(held_out)
    rows = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(indices))
        learnt = []
        for first in range(0, len(order), BATCH_SIZE):
            chosen = order[first : first + BATCH_SIZE]
            images = dataset.train_batch(indices[chosen])
            if augment:
                images = affine(images, (seed, epoch * len(order) + first))
            model.reset_metrics()
            learnt.append(model.train_on_batch(images, labels[chosen]))
        model.reset_metrics()
        found = model.test_on_batch(validation, held_out_labels)
        rows.append([epoch + 1, *np.mean(learnt, axis=0), *map(float, found)])
    return pd.DataFrame(rows, columns=HISTORY)


def compile_small(
    model: keras.Model, optimiser: keras.optimizers.Optimizer, steps_per_execution: int = 1
) -> None:
    """Give a model its optimiser, the cross-entropy of sparse labels, and accuracy."""
    model.compile(
        optimiser,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
        jit_compile=False,  # as in `training`
    )


def learning_rate_range(
    build: Build,
    dataset: Dataset,
    split: pd.DataFrame,
    low: float = 1e-4,
    high: float = 2.0,
    steps: int = 120,
    seed: int = 1,
) -> pd.DataFrame:
    """Raise the learning rate from step to step, and record the loss, until it diverges.

    Source: L. N. Smith, "Cyclical learning rates for training neural networks" (2015), section
    3.3; with a rate that grows by the same factor each step, and a smoothed loss.

    Args:
        build: builds the network; it is trained with `momentum_sgd`.
        dataset: where the pictures are.
        split: its training pictures are taken, 50 drawn at random for each step.
        low: the first step's rate.
        high: the last step's, if the loss does not diverge before.
        steps: from `low` to `high`.
        seed: of the weights and of the batches.

    Returns:
        A row a step: `learning_rate`; `loss`, of the step's batch, before the step; `smoothed`,
        its running mean. It ends where that is twice its lowest, or no finite number.
    """
    training.set_seed(seed)
    model = build()
    compile_small(model, momentum_sgd(low))
    indices, labels = preprocess.part_of(split, "train")
    random = np.random.default_rng(seed)
    rows: list[tuple[float, float, float]] = []
    running, lowest = 0.0, math.inf
    for step, rate in enumerate(np.geomspace(low, high, steps)):
        chosen = random.choice(len(indices), min(BATCH_SIZE, len(indices)), replace=False)
        model.optimizer.learning_rate = rate
        images = dataset.train_batch(indices[chosen])
        model.reset_metrics()
        loss = float(model.train_on_batch(images, labels[chosen])[0])
        running = SMOOTHING * running + (1 - SMOOTHING) * loss
        smoothed = running / (1 - SMOOTHING ** (step + 1))
        lowest = min(lowest, smoothed)
        if not math.isfinite(smoothed) or smoothed > DIVERGED * lowest:
            break
        rows.append((float(rate), loss, smoothed))
    return pd.DataFrame(rows, columns=["learning_rate", "loss", "smoothed"])


def suggest_rate(rates: Floats, losses: Floats) -> float:
    """Return a tenth of the rate at which the loss of a range test is lowest.

    At the lowest loss the steps are about to become too long; a tenth is well before that.

    Args:
        rates: of each step, (steps,), rising.
        losses: the smoothed loss at each, (steps,).

    >>> suggest_rate(np.array([0.001, 0.1, 10.0]), np.array([2.3, 0.5, 3.0]))
    0.01
    """
    return float(rates[np.argmin(losses)]) / 10


def schedules(highest: float, steps: int) -> dict[str, Any]:
    """Return four learning rates for a training of so many steps, by name.

    Args:
        highest: the constant rate, and the highest of the others.
        steps: of the whole training.
    """
    kinds = keras.optimizers.schedules
    thirds = [steps // 3, 2 * steps // 3]
    return {
        "constant": kinds.PiecewiseConstantDecay([steps], [highest, highest]),
        "in steps": kinds.PiecewiseConstantDecay(thirds, [highest, highest / 10, highest / 100]),
        "cosine": kinds.CosineDecay(highest, steps),
        "one-cycle": training.OneCycle(highest, steps),
    }


def compare_schedules(
    dataset: Dataset, split: pd.DataFrame, highest: float, epochs: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train the small network once with each schedule.

    Args:
        dataset: where the pictures are.
        split: which of them train and which validate.
        highest: see `schedules`.
        epochs: of each training.
        seed: of each training.

    Returns:
        The learning rates, a row a step, and the validation losses, a row an epoch from 1; in
        both a column a schedule.
    """
    count = int((split["part"] == "train").sum())
    steps = streams.steps_per_epoch(count, BATCH_SIZE) * epochs
    rates, losses = {}, {}
    for name, schedule in schedules(highest, steps).items():
        rates[name] = [float(schedule(step)) for step in range(steps)]
        optimiser = momentum_sgd(schedule)
        history = fit(builder(dataset), optimiser, dataset, split, epochs, seed)
        losses[name] = history["val_loss"].to_numpy()
    index = pd.RangeIndex(1, epochs + 1, name="epoch")
    return pd.DataFrame(rates), pd.DataFrame(losses, index=index)


# What each remedy against over-fitting changes.
REMEDIES: dict[str, dict[str, Any]] = {
    "none": {},
    "dropout": {"dropout": 0.5},
    "weight decay": {"weight_decay": 0.1},
    "augmentation": {"augment": True},
}


def compare_remedies(
    dataset: Dataset, split: pd.DataFrame, epochs: int, seeds: range
) -> pd.DataFrame:
    """Train the small network without a remedy and with each of `REMEDIES`, once a seed.

    Returns:
        A row a remedy, seed and epoch: `remedy`, `seed`, and what `fit` returns.
    """
    parts = []
    for seed in seeds:
        for remedy, changes in REMEDIES.items():
            optimiser = momentum_sgd(RATE, changes.get("weight_decay", 0.0))
            build = builder(dataset, changes.get("dropout", 0.0))
            augment = changes.get("augment", False)
            history = fit(build, optimiser, dataset, split, epochs, seed, augment)
            parts.append(history.assign(remedy=remedy, seed=seed))
    return pd.concat(parts, ignore_index=True)


def remedy_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return where each remedy ends, means over the seeds, and where early stopping would.

    Early stopping is the training without a remedy, up to its lowest validation loss.

    Args:
        curves: as `compare_remedies` returns them.

    Returns:
        A row a remedy: `epoch` (the one whose weights are kept), `training loss`,
        `validation loss`, `gap` (their difference), `validation accuracy`.
    """
    last = curves[curves["epoch"] == curves["epoch"].max()]
    plain = curves[curves["remedy"] == "none"]
    best = plain.loc[plain.groupby("seed")["val_loss"].idxmin()].assign(remedy="early stopping")
    means = pd.concat([last, best]).groupby("remedy", sort=False).mean()
    table = pd.DataFrame(
        {
            "epoch": means["epoch"].round(1),
            "training loss": means["loss"],
            "validation loss": means["val_loss"],
            "gap": means["val_loss"] - means["loss"],
            "validation accuracy": means["val_accuracy"],
        }
    )
    return table.rename_axis("remedy")


# The causes of the curves A, B, …, in this order: pictures, epochs and what else is done.
CURVES: dict[str, dict[str, Any]] = {
    "learning rate too low": {"pictures": 1_000, "rate": 0.0004},
    "over-fitting": {"pictures": 150, "rate": 0.02},
    "good": {"pictures": 4_000, "rate": 0.01, "dropout": 0.5},
    "labels shuffled": {"pictures": 1_000, "rate": 0.02, "shuffled": True},
    "learning rate too high": {"pictures": 1_000, "rate": 0.7},
}
CURVE_EPOCHS = 20

# What each cause would show, for those who take one for another.
SIGNS = {
    "learning rate too low": "both losses would fall slowly and together, and still be falling",
    "over-fitting": "the training loss would near 0, and the validation loss turn and rise, while "
    "the validation accuracy stays well above chance",
    "good": "both losses would be low at the end, and close to each other",
    "labels shuffled": "the training accuracy would rise, slowly, and the validation accuracy stay "
    "at chance",
    "learning rate too high": "not even the training accuracy would leave chance",
}


def mismatch(curve: pd.DataFrame, cause: str) -> str:
    """Return why a curve has not this cause: what that would show, and what is to be seen.

    Args:
        curve: the rows of one curve of `learning_curves`.
        cause: a key of `SIGNS`.
    """
    first, last = curve.iloc[0], curve.iloc[-1]
    seen = [
        f"{name} goes from {first[measure]:.2f} to {last[measure]:.2f}"
        for measure, name in zip(HISTORY[1:], MEASURES, strict=True)
    ]
    return f"if it were {cause!r}, {SIGNS[cause]}; here the {', the '.join(seen)}."


def learning_curves(say: Say = print, epochs: int = CURVE_EPOCHS) -> pd.DataFrame:
    """Train the small network on few MNIST pictures, once for each cause of `CURVES`, seed 1.

    Args:
        say: gets a line a training.
        epochs: of each.

    Returns:
        A row a curve and epoch: `curve` (A, B, …), `cause`, and what `fit` returns. In a
        notebook it is shown from `data/results/learning_curves.csv`.
    """
    dataset = datasets.load("mnist")
    parts = []
    for letter, (cause, how) in zip("ABCDE", CURVES.items(), strict=True):
        say(f"curve {letter}: {cause}")
        split = first_pictures(dataset, how["pictures"], how.get("shuffled", False))
        build, optimiser = builder(dataset, how.get("dropout", 0.0)), momentum_sgd(how["rate"])
        history = fit(build, optimiser, dataset, split, epochs, 1)
        parts.append(history.assign(curve=letter, cause=cause))
    table = pd.concat(parts, ignore_index=True)
    return table[["curve", "cause", *HISTORY]].round(5)


def first_pictures(dataset: Dataset, pictures: int, shuffled: bool = False) -> pd.DataFrame:
    """Return a split: the first learning pictures train, the last 1,000 validate.

    Args:
        dataset: one whose pictures come in no order, as MNIST's.
        pictures: how many train.
        shuffled: give each training picture the label of another one.
    """
    count = len(dataset.train_labels)
    train, validation = np.arange(pictures), np.arange(count - VALIDATION, count)
    labels = dataset.train_labels[train]
    if shuffled:
        labels = np.random.default_rng(1).permutation(labels)
    held_out = dataset.train_labels[validation]
    return pd.concat(
        [
            pd.DataFrame({"part": "train", "index": train, "label": labels}),
            pd.DataFrame({"part": "validation", "index": validation, "label": held_out}),
        ],
        ignore_index=True,
    )


# Functions of TensorFlow whose calls, with all that they call, are counted together.
PROFILED: Mapping[str, tuple[str, str]] = {
    "tracing the graph": ("tracing_compilation.py", "_maybe_define_function"),
    "running the graph": ("execute.py", "quick_execute"),
}


def profile_training(
    dataset: Dataset, split: pd.DataFrame, epochs: int, seed: int
) -> dict[str, float]:
    """Train the small network under Python's profiler; return where the time went, in seconds.

    Returns:
        Seconds of `tracing the graph` (Python builds it, once), `running the graph` (all steps,
        the wait for their pictures included) and `everything else`.
    """
    training.set_seed(seed)
    model = builder(dataset)()
    learn = int((split["part"] == "train").sum())
    recipe = Recipe(learning_rate=RATE, batch_size=min(BATCH_SIZE, learn), epochs=epochs)
    profiler = cProfile.Profile()
    with contextlib.redirect_stdout(io.StringIO()), profiler:
        training.train(model, dataset, split, recipe, seed)
    stats = pstats.Stats(profiler)
    seconds = dict.fromkeys(PROFILED, 0.0)
    for (path, _, function), (_, _, _, total, _) in stats.stats.items():  # type: ignore[attr-defined]
        for name, (file, called) in PROFILED.items():
            if path.endswith(file) and function == called:
                seconds[name] += total
    whole = stats.total_tt  # type: ignore[attr-defined]
    return {**seconds, "everything else": max(whole - sum(seconds.values()), 0.0)}


def throughput(
    dataset: Dataset,
    split: pd.DataFrame,
    batch_size: int,
    steps_per_execution: int,
    steps: int = 192,
    seed: int = 1,
) -> float:
    """Return the microseconds a picture that training the small network takes, once traced."""
    training.set_seed(seed)
    model = builder(dataset)()
    compile_small(model, momentum_sgd(RATE), steps_per_execution)
    stream, size = endless(dataset, split, batch_size)
    model.fit(stream, steps_per_epoch=steps_per_execution, shuffle=False, verbose=0)
    start = time.perf_counter()
    model.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)
    return 1e6 * (time.perf_counter() - start) / (steps * size)


def input_time(dataset: Dataset, split: pd.DataFrame, batch_size: int, steps: int = 192) -> float:
    """Return the microseconds a picture that fetching the batches takes, with no training."""
    stream, size = endless(dataset, split, batch_size)
    start = time.perf_counter()
    for _ in stream.take(steps):
        pass
    return 1e6 * (time.perf_counter() - start) / (steps * size)


def endless(dataset: Dataset, split: pd.DataFrame, batch_size: int) -> tuple[Any, int]:
    """Return a stream of full batches that begins again and again, and the pictures a batch."""
    indices, labels = preprocess.part_of(split, "train")
    size = min(batch_size, len(indices))
    whole = len(indices) // size * size
    stream = streams.batches(dataset.train_batch, indices[:whole], labels[:whole], size)
    return stream.repeat(), size
