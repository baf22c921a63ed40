"""One measurement in a process of its own: a training, or one of its rivals.

`python -m convnetlab.trials '{"name": "one-cycle", "seed": 1}'` prints one line of JSON. Each trial
has a fresh process, so that none finds TensorFlow warm, or memory taken by another.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import datasets, recipes
from convnetlab.datasets import Dataset
from convnetlab.preprocess import flatten, normalise, part_of, split, stratified_subset

SELECTION_IMAGES, SELECTION_SEED = 10_000, 0  # the validation pictures that candidates compete on
IN_A_WRITE = "in a write"
Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Trial:
    """What to measure.

    Attributes:
        name: a recipe, or one of `RIVALS`.
        seed: of weights, order and augmentation.
        changes: fields of the recipe that are set otherwise.
        width: multiplies the filters of the recipe's architecture.
        dataset: as the parameter of stage 1.
        images: how many pictures to learn from, stratified; 0 means all.
        judged_on: `test`, or `selection`: 10,000 training pictures that are then not learnt from.
        deterministic: see `training.set_seed`.
        checkpoints: a folder for checkpoints, if any.
    """

    name: str
    seed: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    width: float = 1.0
    dataset: str = "mnist"
    images: int = 0
    judged_on: str = "test"
    deterministic: bool = True
    checkpoints: str = ""

    @property
    def recipe(self) -> recipes.Recipe:
        """The recipe, changed; without validation, on all pictures that there are to learn from."""
        return replace(recipes.choose(self.name), validate=False, **self.changes)


def command(trial: Trial) -> list[str]:
    """Return the command that measures a trial in a fresh process."""
    return [sys.executable, "-m", "convnetlab.trials", json.dumps(asdict(trial))]


def run_apart(trial: Trial) -> dict[str, Any]:
    """Measure in a fresh process; return what `run` returns there."""
    finished = subprocess.run(
        command(trial), env=environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def environment() -> dict[str, str]:
    """Return the environment of a trial's process."""
    return {**os.environ, "CONVNETLAB_HEADLESS": "1", "CONVNETLAB_SMOKE": "0"}


def kill(trial: Trial, moment: int | str) -> bool:
    """Start a trial that writes checkpoints, kill it (SIGKILL), and tell whether it was hit.

    Args:
        trial: with `checkpoints`.
        moment: `in a write`: while a checkpoint's file is being written; or a seed, which chooses
            an epoch, and the moment in the next one, at random. The first two are left in peace.
    """
    chance = random.Random(moment)
    folder = Path(trial.checkpoints)
    with subprocess.Popen(
        command(trial), env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        last = 1 if moment == IN_A_WRITE else chance.randrange(2, trial.recipe.epochs)
        before = now = time.perf_counter()
        while line := process.stdout.readline():
            before, now = now, time.perf_counter()
            if line.startswith(f"epoch {last} of"):
                break
        if moment == IN_A_WRITE:
            while process.poll() is None and not [*folder.glob(".*.npz")]:
                pass
        else:
            time.sleep(chance.uniform(0, now - before))
        process.kill()
    hit = process.returncode == -signal.SIGKILL
    return hit and (moment != IN_A_WRITE or bool([*folder.glob(".*.npz")]))


def run(trial: Trial) -> dict[str, Any]:
    """Measure a trial here.

    Returns:
        The trial's `recipe` and `seed`; `train_seconds`: wall time of the fit with tracing and
        input, without imports, loading and validation; `test_seconds`: wall time of judging;
        `accuracy`, 0..1, on `judged` pictures, `right` of them right; `peak_memory_mb`: the
        process's largest resident memory, MiB, until training ended; and for networks `epochs`,
        `architecture`, `parameters`, `weights_sha256` and `device`.
    """
    data = datasets.load(trial.dataset)
    measured = RIVALS.get(trial.name, train_network)(trial, data)
    return {"recipe": trial.name, "seed": trial.seed, **measured}


def pictures(trial: Trial, data: Dataset) -> tuple[pd.DataFrame, Pictures]:
    """Return what to learn from, as rows of a split, and the pictures and labels to judge by."""
    if trial.judged_on == "test":
        indices = np.arange(len(data.train_labels))
        judged = data.test_images, data.test_labels
    else:
        share = SELECTION_IMAGES / len(data.train_labels)
        rows = split(data, share, SELECTION_SEED)
        indices, _ = part_of(rows, "train")
        held_out, labels = part_of(rows, "validation")
        judged = data.train_batch(held_out), labels
    if trial.images:
        indices = indices[stratified_subset(data.train_labels[indices], trial.images, trial.seed)]
    learn = {"part": "train", "index": indices, "label": data.train_labels[indices]}
    return pd.DataFrame(learn), judged


def judge(predict: Callable[[], NDArray[np.int64]], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return how many labels `predict` finds, and how long that takes."""
    start = time.perf_counter()
    right = int((predict() == labels).sum())
    return {
        "test_seconds": time.perf_counter() - start,
        "accuracy": right / len(labels),
        "right": right,
        "judged": len(labels),
    }


def memory() -> float:
    """Return this process's largest resident memory so far, in MiB."""
    import psutil

    from convnetlab.memory import peak_memory

    return peak_memory(psutil.Process()) / 2**20


def train_network(trial: Trial, data: Dataset) -> dict[str, Any]:
    """Train as the notebooks do."""
    from convnetlab import architectures, training

    recipe = trial.recipe
    learn, (images, labels) = pictures(trial, data)
    training.set_seed(trial.seed, trial.deterministic)
    shape, classes = data.image_shape, len(data.classes)
    model = architectures.build(recipe.architecture, shape, classes, trial.width)
    folder = Path(trial.checkpoints) if trial.checkpoints else None
    trained = training.train(model, data, learn, recipe, trial.seed, folder, trial.deterministic)
    peak = memory()

    def predict() -> NDArray[np.int64]:
        return np.asarray(model.predict(images, batch_size=1_000, verbose=0).argmax(axis=1))

    return {
        "train_seconds": trained.seconds,
        **judge(predict, labels),
        "peak_memory_mb": peak,
        "epochs": recipe.epochs,
        "architecture": recipe.architecture,
        "parameters": model.count_params(),
        "weights_sha256": digest(model),
        "device": training.device(),
    }


def digest(model: Any) -> str:
    """Return the SHA-256 of a model's weights."""
    total = hashlib.sha256()
    for weights in model.get_weights():
        total.update(np.ascontiguousarray(weights).data)
    return total.hexdigest()


def keras_io_example(trial: Trial, data: Dataset) -> dict[str, Any]:
    """Train the “Simple MNIST convnet” of keras.io, written anew from its public description.

    Two 3×3 convolutions of 32 and 64 filters, each with a 2×2 max pooling, dropout of a half, one
    dense softmax layer; Adam, batches of 128, 15 epochs, a tenth kept for validation.
    """
    from convnetlab.backend import keras
    from convnetlab.callbacks import Record
    from convnetlab.checkpoints import Progress
    from convnetlab.training import set_seed

    layers = keras.layers
    learn, (images, labels) = pictures(trial, data)
    set_seed(trial.seed)
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(len(data.classes), activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    pixels = normalise(data.train_batch(learn["index"].to_numpy()))
    targets = keras.utils.to_categorical(learn["label"], len(data.classes))
    progress = Progress()
    model.fit(
        pixels,
        targets,
        batch_size=128,
        epochs=15,
        validation_split=0.1,
        verbose=0,
        callbacks=[Record(progress, None)],
    )
    peak = memory()
    pixels = normalise(images)
    return {
        "train_seconds": progress.seconds,
        **judge(lambda: np.asarray(model.predict(pixels, verbose=0).argmax(axis=1)), labels),
        "peak_memory_mb": peak,
        "epochs": 15,
        "architecture": "two convolutions, dropout",
        "parameters": model.count_params(),
    }


def nearest_neighbours(trial: Trial, data: Dataset) -> dict[str, Any]:
    """Let scikit-learn keep all pictures, and ask the five nearest ones of each new one."""
    from sklearn.neighbors import KNeighborsClassifier

    learn, (images, labels) = pictures(trial, data)
    rows = flatten(data.train_batch(learn["index"].to_numpy()))
    start = time.perf_counter()
    model = KNeighborsClassifier().fit(rows, learn["label"].to_numpy())
    seconds = time.perf_counter() - start
    peak = memory()
    judged = judge(lambda: np.asarray(model.predict(flatten(images))), labels)
    return {"train_seconds": seconds, **judged, "peak_memory_mb": peak}


# A training that a checkpoint must carry all of: dropout, batch normalisation, augmentation.
SURVIVOR = Trial(
    "one-cycle",
    dataset="digits",
    width=0.5,
    changes={
        "architecture": "alexnet",
        "augmentation": "affine",
        "batch_size": 64,
        "epochs": 12,
        "label_smoothing": 0.1,
        "learning_rate": 0.02,
        "weight_decay": 5e-4,
    },
)

# What the recipes are compared with, besides one another.
RIVALS: dict[str, Callable[[Trial, Dataset], dict[str, Any]]] = {
    "keras.io example": keras_io_example,
    "nearest neighbours": nearest_neighbours,
}

if __name__ == "__main__":
    print(json.dumps(run(Trial(**json.loads(sys.argv[1])))))
