"""Stage 1: from labelled pictures to a split that the later stages learn from and test on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from convnetlab.datasets import Dataset, hold_out
from convnetlab.errors import LabError
from convnetlab.paths import is_smoke

SMOKE_LEARN, SMOKE_TEST = 2_000, 1_000
BASELINE_IMAGES, BASELINE_ROUNDS = 10_000, 30
BASELINE_SIDE = 32  # pixels; larger pictures are shrunk to it for the baseline
PARTS = ("train", "validation", "test")


def class_counts(dataset: Dataset) -> pd.DataFrame:
    """Return how many pictures each class has: a row a class, columns `train` and `test`.

    A class without pictures has a 0, not a missing row.
    """
    count = len(dataset.classes)
    return pd.DataFrame(
        {
            "train": np.bincount(dataset.train_labels, minlength=count),
            "test": np.bincount(dataset.test_labels, minlength=count),
        },
        index=pd.Index(dataset.classes, name="class"),
    )


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels 0..255 as float32 in 0..1, of the same shape.

    >>> normalise(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return images.astype(np.float32) / np.float32(255)


def add_channel_axis(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey pictures (N, H, W) as (N, H, W, 1)."""
    return images[..., np.newaxis]


def one_hot(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Return labels (N,) as float32 (N, classes): one 1 a row, in the label's column.

    Raises:
        ValueError: a label is outside 0..classes-1.

    >>> one_hot(np.array([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}"
        )
    return np.eye(classes, dtype=np.float32)[labels]


def from_one_hot(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return one-hot rows (N, classes) as labels (N,): the column of each row's 1."""
    return np.asarray(vectors.argmax(axis=1), np.int64)


def shuffle(
    images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures and labels in one new random order, the same for the same seed.

    Raises:
        ValueError: there are not as many labels as pictures.
    """
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} pictures and {len(labels)} labels; expected as many")
    order = np.random.default_rng(seed).permutation(len(labels))
    return images[order], labels[order]


def resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return pictures (N, H, W, C) as (N, height, width, C), stretched by Pillow (bilinear).

    Raises:
        ValueError: height or width is less than 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height is {height} and width is {width}; both must be at least 1")
    resized = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for number, image in enumerate(images):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(image[..., channel])
            smaller = plane.resize((width, height), Image.Resampling.BILINEAR)
            resized[number, ..., channel] = np.asarray(smaller)
    return resized


def split(dataset: Dataset, validation_share: float, seed: int) -> pd.DataFrame:
    """Divide the learning pictures into training and validation; keep the test set whole.

    Stratified: each part has the classes in the same proportions; where that would leave a class
    without a validation picture, it gets one. Where the data set itself says which pictures are
    for validation (a folder with val/), these are, whatever the share. In smoke mode a small
    stratified subset stands in for each part.

    Args:
        dataset: what to split.
        validation_share: the share of the learning pictures kept for validation, in 0..1.
        seed: the same seed gives the same split.

    Returns:
        A row a picture, shuffled within the part: `part` (train, validation, test), `index` (into
        the data set's training or test pictures), `label`.

    Raises:
        LabError: the share is not between 0 and 1, the seed is no 32-bit number, or a class has
            too few pictures.
    """
    if not 0 < validation_share < 1:
        raise LabError(
            f"validation_share is {validation_share}; it must lie between 0 and 1, such as 0.1."
        )
    if not 0 <= seed < 2**32:
        raise LabError(f"seed is {seed}; it must be a whole number from 0 to {2**32 - 1}.")
    labels = dataset.train_labels
    learn, validation = learning_parts(dataset, validation_share, seed)
    count = len(dataset.test_labels)
    test = stratified_subset(dataset.test_labels, SMOKE_TEST if is_smoke() else count, seed)
    parts = [
        pd.DataFrame({"part": part, "index": index, "label": source[index]})
        for part, index, source in zip(
            PARTS, (learn, validation, test), (labels, labels, dataset.test_labels), strict=True
        )
    ]
    return pd.concat(parts, ignore_index=True)


def learning_parts(
    dataset: Dataset, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the pictures for training and for validation, each shuffled.

    Raises:
        LabError: a class has too few pictures.
    """
    labels = dataset.train_labels
    if dataset.validation is not None:
        return fixed_parts(labels, dataset.validation, seed)
    learn = stratified_subset(labels, SMOKE_LEARN if is_smoke() else len(labels), seed)
    classes, counts = np.unique(labels[learn], return_counts=True)
    if counts.min() < 2:
        raise LabError(
            f"{dataset.source}: {len(learn)} pictures of {len(dataset.classes)} classes cannot be "
            f"split: {dataset.classes[classes[counts.argmin()]]!r} has a single picture, and each "
            "class needs one in training and one in validation. Add pictures of it."
        )
    if min(share, 1 - share) * counts.min() < 1:  # scikit-learn would leave a class out
        held_out = hold_out(labels[learn], share, seed)
        parts = np.delete(learn, held_out), learn[held_out]
        return shuffled(parts[0], seed), shuffled(parts[1], seed)
    from sklearn.model_selection import train_test_split

    train, validation = train_test_split(
        learn, test_size=share, stratify=labels[learn], random_state=seed
    )
    return train, validation


def fixed_parts(
    labels: NDArray[np.int64], validation: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all other indices and those for validation, shuffled; in smoke mode, some of both."""
    learn = np.setdiff1d(np.arange(len(labels)), validation)
    if is_smoke():
        learn = learn[stratified_subset(labels[learn], SMOKE_LEARN, seed)]
        validation = validation[stratified_subset(labels[validation], SMOKE_TEST, seed)]
    return shuffled(learn, seed), shuffled(validation, seed)


def shuffled(indices: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return indices in a random order, the same for the same seed."""
    return np.random.default_rng(seed).permutation(indices)


def stratified_subset(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Return `size` indices, ascending, with the classes in proportion.

    All are returned where there are hardly more, or where a class has a single picture.
    """
    everything = np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    # What is left over must have room for every class; else it is no subset worth taking.
    if size > len(labels) - len(classes) or size < len(classes) or counts.min() < 2:
        return everything
    from sklearn.model_selection import train_test_split

    chosen, _ = train_test_split(everything, train_size=size, stratify=labels, random_state=seed)
    return np.sort(chosen)


def part_of(split: pd.DataFrame, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices and labels, both int64 (N,), of `train`, `validation` or `test`."""
    rows = split[split["part"] == part]
    return rows["index"].to_numpy(np.int64), rows["label"].to_numpy(np.int64)


@dataclass(frozen=True)
class Baseline:
    """What a simple classifier says: the number that a network has to beat."""

    name: str
    images: int
    validation_accuracy: float
    test_predictions: NDArray[np.int64]


def baseline(dataset: Dataset, split: pd.DataFrame, seed: int) -> Baseline:
    """Fit a linear classifier (scikit-learn's logistic regression) on raw pixels.

    Pictures larger than 32 × 32 are shrunk to that: it would gain little from more, slowly.

    It learns from the first 10,000 training pictures at most, in 30 rounds at most: a few
    seconds. The test predictions are made here and scored in stage 4, with everybody else's.
    """
    # It takes a second or more, which most users of this module need not wait for.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, labels = (column[:BASELINE_IMAGES] for column in part_of(split, "train"))
    validation, validation_labels = part_of(split, "validation")
    test, _ = part_of(split, "test")
    model = LogisticRegression(max_iter=BASELINE_ROUNDS, random_state=seed)
    with warnings.catch_warnings():
        # Thirty rounds are meant to be too few: a baseline is cheap.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(small_rows(dataset.train_batch, train), labels)
    height, width, _ = dataset.image_shape
    is_large = max(height, width) > BASELINE_SIDE
    return Baseline(
        name=f"logistic regression on {'shrunk' if is_large else 'raw'} pixels",
        images=len(train),
        validation_accuracy=model.score(
            small_rows(dataset.train_batch, validation), validation_labels
        ),
        test_predictions=model.predict(small_rows(dataset.test_batch, test)),
    )


def small_rows(
    fetch: Callable[[NDArray[np.int64]], NDArray[np.uint8]], indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return pictures as rows of normalised pixels, those larger than 32 × 32 shrunk to that.

    They are fetched a thousand at a time, so that the whole need not fit into memory.
    """
    rows = []
    for start in range(0, len(indices), 1_000):
        images = fetch(indices[start : start + 1_000])
        if max(images.shape[1:3]) > BASELINE_SIDE:
            images = resize(images, BASELINE_SIDE, BASELINE_SIDE)
        rows.append(flatten(images))
    return np.concatenate(rows)


def flatten(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pictures as rows of normalised pixels, float32 (N, H·W·C)."""
    return normalise(images).reshape(len(images), -1)
