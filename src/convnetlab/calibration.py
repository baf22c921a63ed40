"""Stage 4: whether a model that says 0.9 is right nine times in ten, and when it had better pass.

A *confidence* is the largest probability of an answer. Everything here takes and returns arrays;
what is chosen (a temperature, a threshold) is chosen on validation pictures.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.evaluation import (
    Integers,
    Probabilities,
    accuracy_interval,
    bootstrap_interval,
    cross_entropy,
)

BINS, FEWEST = 15, 10  # fixed before any result was seen: bins at most, pictures in each at least
TEMPERATURES = (0.05, 20.0)  # the range that is searched
SMALLEST = np.finfo(np.float32).tiny


def bins_for(pictures: int) -> int:
    """Return how many bins so many pictures are divided into: 15, or fewer of ten pictures each.

    >>> bins_for(10_000), bins_for(36), bins_for(5)
    (15, 3, 1)
    """
    return max(1, min(BINS, pictures // FEWEST))


def bins_by_mass(confidence: NDArray[np.floating], bins: int) -> Integers:
    """Return each picture's bin, 0 the least confident: the same number of pictures in each.

    Fewer pictures than bins leave some empty. Ties are divided by position, the same way each time.
    """
    ranks = np.empty(len(confidence), np.int64)
    ranks[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return np.asarray(ranks * bins // max(len(confidence), 1), np.int64)


def reliability(
    probabilities: Probabilities, truth: Integers, bins: int | None = None
) -> pd.DataFrame:
    """Return a row a bin of about equally many pictures, the least confident first.

    There are `bins_for` the pictures, unless another number is given.

    Columns: `confidence` (mean, 0..1), `accuracy` with its 95 % interval `low` to `high` (Wilson),
    `pictures`. A calibrated model has accuracy = confidence in every row.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    table = pd.DataFrame({"confidence": confidence.astype(np.float64), "right": right})
    groups = table.groupby(bins_by_mass(confidence, bins or bins_for(len(truth))))
    rows = pd.DataFrame(
        {
            "confidence": groups["confidence"].mean(),
            "accuracy": groups["right"].mean(),
            "pictures": groups.size(),
        }
    )
    limits = [accuracy_interval(int(group.sum()), len(group)) for _, group in groups["right"]]
    rows["low"], rows["high"] = zip(*limits, strict=True)
    return rows.rename_axis("bin")


def calibration_error(
    probabilities: Probabilities, truth: Integers, bins: int | None = None
) -> tuple[float, float, float]:
    """Return the expected calibration error, 0..1, and its 95 % interval (bootstrap).

    The mean over the bins, by their pictures, of |accuracy − confidence|. Bins hold equally many
    pictures; a resample keeps each picture's bin. The error of a finite sample is never quite 0,
    even for a perfectly calibrated model, and a bootstrap repeats that: compare values with it.

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML
    (2017); with bins of equal mass, after K. Nguyen and B. O'Connor, EMNLP (2015).
    """
    bins = bins or bins_for(len(truth))
    confidence = probabilities.max(axis=1).astype(np.float64)
    gaps = (probabilities.argmax(axis=1) == truth) - confidence
    places = bins_by_mass(confidence, bins)

    def error(drawn: Integers) -> float:
        sums = np.bincount(places[drawn], weights=gaps[drawn], minlength=bins)
        return float(np.abs(sums).sum() / len(drawn))

    return error(np.arange(len(truth))), *bootstrap_interval(error, len(truth))


def soften(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return softmax(logits / temperature), float32 (N, classes), from the probabilities alone.

    The logarithms of probabilities are the logits but for a constant, which softmax ignores. Above
    1 answers get less sure, below 1 surer; the most probable class stays so.

    Raises:
        ValueError: the temperature is not above 0.

    >>> soften(np.array([[0.8, 0.2]]), 2).tolist() == [[np.float32(2 / 3), np.float32(1 / 3)]]
    True
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def best_temperature(probabilities: Probabilities, truth: Integers) -> float:
    """Return the temperature that makes the cross-entropy smallest, found by SciPy.

    The arguments are of *validation* pictures. One number cannot over-fit much, and it changes no
    answer, only how sure the answers are (Guo et al. 2017). 1 is returned if nothing is better.
    """
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return cross_entropy(soften(probabilities, float(np.exp(logarithm))), truth)

    limits = tuple(np.log(TEMPERATURES))
    found = minimize_scalar(loss, bounds=limits, method="bounded")
    return float(np.exp(found.x)) if found.fun < cross_entropy(probabilities, truth) else 1.0


def temper(
    validation: tuple[Probabilities, Integers], test: tuple[Probabilities, Integers]
) -> pd.DataFrame:
    """Choose a temperature on validation pictures, and return what it does to both sets.

    Args:
        validation: probabilities (N, classes) and true classes (N,).
        test: the same for the test pictures.

    Returns:
        Two rows, `as trained` and the temperature's: `temperature`, `validation loss` (nats),
        `test error` (`calibration_error`, 0..1), its 95 % interval `low` to `high`.
    """
    rows = {}
    chosen = best_temperature(*validation)
    for name, value in {"as trained": 1.0, f"temperature {chosen:.2f}": chosen}.items():
        loss = cross_entropy(soften(validation[0], value), validation[1])
        rows[name] = (value, loss, *calibration_error(soften(test[0], value), test[1]))
    columns = ["temperature", "validation loss", "test error", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> pd.DataFrame:
    """Return what refusing costs and gains: a row a threshold, the highest first.

    Args:
        confidence: of each answer, (N,), 0..1.
        right: whether each answer is right, (N,).

    Returns:
        `threshold`: answers at least so sure are given, the others refused; `coverage`: the share
        that is given, 0..1; `accuracy` of those.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, good = confidence[order], np.cumsum(right[order])
    # Answers that are equally sure are given or refused together.
    last = np.flatnonzero(np.append(np.diff(sure) != 0, len(sure) > 0))
    given, good = last + 1, good[last]
    return pd.DataFrame(
        {
            "threshold": sure[last].astype(np.float64),
            "coverage": given / max(len(sure), 1),
            "accuracy": good / given,
        }
    )


def refusal_threshold(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], wanted: float
) -> float:
    """Return the smallest threshold at which the given answers reach the `wanted` accuracy.

    The arguments are of *validation* pictures; the threshold is one of their confidences, and an
    answer exactly as sure is given. Infinity, which refuses everything, where none reaches it.
    """
    table = coverage(confidence, right)
    fits = table["threshold"][table["accuracy"] >= wanted]
    return float(fits.min()) if len(fits) else float("inf")


def refuse(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Return what a threshold does to other pictures: `threshold`, `coverage`, and of the answers
    given `accuracy`, `accuracy_low`, `accuracy_high` (Wilson; missing where none is given).
    """
    given = confidence >= threshold
    count, good = int(given.sum()), int((given & right).sum())
    low, high = accuracy_interval(good, count) if count else (np.nan, np.nan)
    return {
        "threshold": threshold,
        "coverage": count / len(confidence),
        "accuracy": good / count if count else np.nan,
        "accuracy_low": low,
        "accuracy_high": high,
    }
