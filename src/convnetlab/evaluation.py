"""Stage 4: how good the model is, how sure that is, and where it fails."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.datasets import Dataset

Integers = NDArray[np.int64]
Probabilities = NDArray[np.float32]

# What the lab sheet publishes for the reference model on MNIST.
PUBLISHED_ACCURACY, PUBLISHED_LOSS = 0.9878, 0.0406
PUBLISHED_IMAGES = 10_000
TINY = 1e-7  # Keras clips probabilities here before it takes the logarithm


def predict(model: Any, dataset: Dataset, indices: Integers) -> Probabilities:
    """Return the model's probabilities, float32 (N, classes), for test pictures, in one pass."""
    from convnetlab.training import batches

    stream = batches(dataset.test_batch, indices, np.zeros_like(indices))
    probabilities: Probabilities = model.predict(stream, verbose=0)
    return probabilities


def accuracy(truth: Integers, predicted: Integers) -> float:
    """Return the share of predictions that are right, 0..1 (scikit-learn's `accuracy_score`)."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truth, predicted))


def accuracy_interval(right: int, images: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy of `right` out of `images`.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927); computed by SciPy.

    >>> [round(limit, 4) for limit in accuracy_interval(9878, 10_000)]
    [0.9855, 0.9898]
    """
    from scipy.stats import binomtest

    interval = binomtest(right, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def cross_entropy(probabilities: Probabilities, truth: Integers) -> float:
    """Return the mean of −ln(probability of the true class), in nats: no percentage.

    >>> round(cross_entropy(np.full((5, 10), 0.1), np.arange(5)), 4)
    2.3026
    """
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.clip(of_truth, TINY, 1)).mean())


def confusion_matrix(truth: Integers, predicted: Integers, classes: int) -> Integers:
    """Return how often class `row` was called class `column`, int64 (classes, classes)."""
    from sklearn.metrics import confusion_matrix as count

    return np.asarray(count(truth, predicted, labels=range(classes)), np.int64)


def per_class(truth: Integers, predicted: Integers, classes: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, F1 (0..1) and the number of pictures of each class.

    A class that is never predicted has precision 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        truth, predicted, labels=range(len(classes)), zero_division=0
    )
    names = ("precision", "recall", "F1", "pictures")
    return pd.DataFrame(
        dict(zip(names, columns, strict=True)), index=pd.Index(classes, name="class")
    )


def measures(
    probabilities: Probabilities, truth: Integers, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the headline measures of stage 4, each from the same one pass.

    Returns:
        `accuracy`, its 95 % interval `accuracy_low` and `accuracy_high`, `loss` (cross-entropy,
        nats), `macro_f1` (the mean of the classes' F1), `test_images`.
    """
    predicted = probabilities.argmax(axis=1)
    low, high = accuracy_interval(int((predicted == truth).sum()), len(truth))
    return {
        "accuracy": accuracy(truth, predicted),
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": cross_entropy(probabilities, truth),
        "macro_f1": float(per_class(truth, predicted, classes)["F1"].mean()),
        "test_images": len(truth),
    }


def predictions_table(
    indices: Integers, probabilities: Probabilities, truth: Integers
) -> pd.DataFrame:
    """Return a row a test picture: `index`, `truth`, `predicted`, `confidence` (0..1)."""
    return pd.DataFrame(
        {
            "index": indices,
            "truth": truth,
            "predicted": probabilities.argmax(axis=1),
            "confidence": probabilities.max(axis=1),
        }
    )


def most_confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the `count` mistakes of which the model was surest, surest first."""
    wrong = predictions[predictions["truth"] != predictions["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(count)


def comparison(
    measured: dict[str, Any], baseline_accuracy: float, with_published: bool
) -> pd.DataFrame:
    """Return baseline, this model and, for MNIST, the lab sheet's result, a row each.

    Columns: `accuracy`, its 95 % interval `from` … `to`, and `loss` where there is one.
    """
    images = measured["test_images"]
    low, high = accuracy_interval(round(baseline_accuracy * images), images)
    rows: dict[str, tuple[float, ...]] = {
        "baseline": (baseline_accuracy, low, high, np.nan),
        "this model": (
            measured["accuracy"],
            measured["accuracy_low"],
            measured["accuracy_high"],
            measured["loss"],
        ),
    }
    if with_published:
        right = round(PUBLISHED_ACCURACY * PUBLISHED_IMAGES)
        low, high = accuracy_interval(right, PUBLISHED_IMAGES)
        rows["the lab sheet, as published"] = (PUBLISHED_ACCURACY, low, high, PUBLISHED_LOSS)
    columns = ["accuracy", "from", "to", "loss"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
