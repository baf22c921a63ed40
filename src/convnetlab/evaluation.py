"""Stage 4: how good the model is, how sure that is, and where it fails."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.datasets import Dataset
from convnetlab.errors import LabError
from convnetlab.handoff import Run, read_json, run_folder
from convnetlab.preprocess import one_hot, part_of

Integers = NDArray[np.int64]
Probabilities = NDArray[np.float32]

# What the lab sheet publishes for the reference model on MNIST.
PUBLISHED_ACCURACY, PUBLISHED_LOSS = 0.9878, 0.0406
PUBLISHED_IMAGES = 10_000
RESAMPLES = 1_000  # of a bootstrap
TINY = 1e-7  # Keras clips probabilities here before it takes the logarithm


def predict(
    model: Any, dataset: Dataset, indices: Integers, part: Literal["test", "train"] = "test"
) -> Probabilities:
    """Return the model's probabilities, float32 (N, classes), for some pictures, in one pass.

    Args:
        model: takes raw pixels 0..255.
        dataset: where the pictures are.
        indices: which pictures, (N,); the answers are in their order.
        part: whether they are test pictures or learning ones (validation is among these).
    """
    from convnetlab.streams import batches

    fetch = dataset.test_batch if part == "test" else dataset.train_batch
    stream = batches(fetch, indices, np.zeros_like(indices))
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


def picture_losses(probabilities: Probabilities, truth: Integers) -> NDArray[np.float64]:
    """Return −ln(probability of the true class) for each picture, float64 (N,), in nats."""
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.clip(of_truth, TINY, 1)))


def cross_entropy(probabilities: Probabilities, truth: Integers) -> float:
    """Return the mean of −ln(probability of the true class), in nats: no percentage.

    >>> round(cross_entropy(np.full((5, 10), 0.1), np.arange(5)), 4)
    2.3026
    """
    return float(picture_losses(probabilities, truth).mean())


def score_gradient(probabilities: Probabilities, truth: Integers) -> NDArray[np.float64]:
    """Return how `cross_entropy` grows with each score before softmax, float64 (N, classes).

    Each row is probabilities minus one-hot label, divided by N: Bishop, "Pattern Recognition and
    Machine Learning" (2006), equation 4.109, and the mean over the pictures.

    >>> score_gradient(np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]), np.array([0, 1])).tolist()
    [[-0.25, 0.125, 0.125], [0.0, 0.0, 0.0]]
    """
    surplus = probabilities.astype(np.float64) - one_hot(truth, probabilities.shape[1])
    return np.asarray(surplus / len(truth))


def confusion_matrix(truth: Integers, predicted: Integers, classes: int) -> Integers:
    """Return how often class `row` was called class `column`, int64 (classes, classes)."""
    from sklearn.metrics import confusion_matrix as count

    return np.asarray(count(truth, predicted, labels=range(classes)), np.int64)


def row_shares(matrix: Integers) -> NDArray[np.float64]:
    """Return each row of a confusion matrix as shares of that true class; an empty row as 0."""
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1), np.float64)


def most_confused(matrix: Integers, classes: Sequence[str], count: int = 5) -> pd.DataFrame:
    """Return the `count` commonest mistakes, the commonest first.

    Columns: `is`, `called` (names of classes), `pictures`, `share` (of the true class, 0..1).
    """
    mistakes = matrix - np.diag(np.diag(matrix))
    shares = row_shares(matrix)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(classes)) for place in order if mistakes.flat[place]]
    rows = [(classes[i], classes[j], int(matrix[i, j]), float(shares[i, j])) for i, j in pairs]
    return pd.DataFrame(rows, columns=["is", "called", "pictures", "share"])


def per_class(truth: Integers, predicted: Integers, classes: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, F1 (0..1) and the number of pictures of each class.

    Beside precision and recall stand their 95 % intervals (Wilson), `… low` and `… high`; they are
    missing where there was nothing to count. A class that is never predicted has precision 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, pictures = precision_recall_fscore_support(
        truth, predicted, labels=range(len(classes)), zero_division=0
    )
    right = np.diag(confusion_matrix(truth, predicted, len(classes)))
    called = np.bincount(predicted, minlength=len(classes))
    columns: dict[str, Any] = {}
    for name, values, counts in (("precision", precision, called), ("recall", recall, pictures)):
        limits = [
            accuracy_interval(*map(int, pair)) if pair[1] else (np.nan, np.nan)
            for pair in zip(right, counts, strict=True)
        ]
        columns[name] = values
        columns[f"{name} low"], columns[f"{name} high"] = zip(*limits, strict=True)
    columns |= {"F1": f1, "pictures": pictures}
    return pd.DataFrame(columns, index=pd.Index(classes, name="class"))


def top_right(probabilities: Probabilities, truth: Integers, k: int = 2) -> NDArray[np.bool_]:
    """Return for each picture whether its true class is among the `k` most probable, (N,)."""
    named = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]  # ties as argmax has them
    return np.asarray((named == truth[:, None]).any(axis=1))


def f1_scores(pairs: Integers, classes: int) -> tuple[float, float]:
    """Return macro and weighted F1, 0..1, of pairs `truth · classes + predicted`, (N,).

    Macro is the mean over the classes, weighted the mean over the pictures' true classes. From
    counts alone, so that a thousand resamples take a fraction of a second.
    """
    matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    support = matrix.sum(axis=1)
    scores = 2 * np.diag(matrix) / np.maximum(support + matrix.sum(axis=0), 1)
    return float(scores.mean()), float((scores * support).sum() / max(support.sum(), 1))


def bootstrap_interval(
    statistic: Callable[[Integers], float], pictures: int, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic by the bootstrap (percentiles, 1,000 resamples).

    B. Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7 (1979);
    done by SciPy. A test set of one picture says nothing about its spread: no interval.

    Args:
        statistic: takes the positions of the pictures drawn, int64 (pictures,), with repetitions.
        pictures: how many there are to draw from.
        seed: of the drawing.
    """
    from scipy.stats import bootstrap

    if pictures < 2:
        return np.nan, np.nan
    interval = bootstrap(
        (np.arange(pictures),),
        statistic,
        n_resamples=RESAMPLES,
        batch=100,  # a few megabytes at a time
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def measure(probabilities: Probabilities, truth: Integers, classes: Sequence[str]) -> pd.DataFrame:
    """Return the measures of stage 4 with their 95 % intervals, from one table of answers.

    Args:
        probabilities: float32 (N, classes).
        truth: the true classes, (N,).
        classes: the classes' names.

    Returns:
        A row a measure: `accuracy`, `top-2 accuracy` (the truth is among the two most probable;
        left out where there are only two classes), `macro F1`, `weighted F1` (0..1), `log loss`
        (cross-entropy, nats). Columns: `value`,
        `low`, `high`, and `interval`: Wilson's for proportions, bootstrap for the rest.
    """
    count = len(truth)
    predicted = probabilities.argmax(axis=1)
    pairs, losses = truth * len(classes) + predicted, picture_losses(probabilities, truth)
    right = int((predicted == truth).sum())
    macro, weighted = f1_scores(pairs, len(classes))
    by_bootstrap: dict[str, tuple[float, Callable[[Integers], float]]] = {
        "macro F1": (macro, lambda drawn: f1_scores(pairs[drawn], len(classes))[0]),
        "weighted F1": (weighted, lambda drawn: f1_scores(pairs[drawn], len(classes))[1]),
        "log loss": (float(losses.mean()), lambda drawn: float(losses[drawn].mean())),
    }
    rows: dict[str, tuple[float, float, float, str]] = {
        "accuracy": (right / count, *accuracy_interval(right, count), "Wilson"),
    }
    if len(classes) > 2:
        near = int(top_right(probabilities, truth).sum())
        rows["top-2 accuracy"] = (near / count, *accuracy_interval(near, count), "Wilson")
    for name, (value, statistic) in by_bootstrap.items():
        rows[name] = (value, *bootstrap_interval(statistic, count), "bootstrap")
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["value", "low", "high", "interval"]
    )
    return table.rename_axis("measure")


def as_facts(table: pd.DataFrame, test_images: int) -> dict[str, Any]:
    """Return `measure`'s table flat, for JSON: `macro_f1`, `macro_f1_low`, `macro_f1_high`, …

    The log loss is called `loss`, as Keras calls it; `test_images` stands beside.
    """
    facts: dict[str, Any] = {"test_images": test_images}
    for measured, row in table.iterrows():
        name = str(measured).replace("log loss", "loss").replace("-", "").replace(" ", "_").lower()
        for suffix, column in {"": "value", "_low": "low", "_high": "high"}.items():
            facts[name + suffix] = None if pd.isna(row[column]) else float(row[column])
    return facts


def made_with(run: Run) -> dict[str, Any]:
    """Return of what and how a run's network was made: data set, architecture, recipe.

    Raises:
        LabError: an earlier stage's file or its record is missing or damaged.
    """
    data = read_json(run.need("dataset.json"))
    return {
        "dataset": data["source"],
        "smoke": data["smoke"],
        "architecture": run.record("architecture.json")["parameters"]["architecture"],
        "recipe": run.record("model.keras")["parameters"]["recipe"],
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


def with_names(predictions: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return the table of test pictures with what the data set knows of them in words.

    `is` and `called` are the classes' names, unless these are their numbers anyway; `file` is the
    picture's file, where it has one.
    """
    more: dict[str, list[str]] = {}
    classes, files = dataset.classes, dataset.test_files
    if list(classes) != [str(number) for number in range(len(classes))]:
        for name, column in {"is": "truth", "called": "predicted"}.items():
            more[name] = [classes[place] for place in predictions[column]]
    if files:
        more["file"] = [files[index] for index in predictions["index"]]
    return predictions.assign(**more)


def most_confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the `count` mistakes of which the model was surest, surest first."""
    wrong = predictions[predictions["truth"] != predictions["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(count)


def answers_of(name: str, here: Run) -> Integers:
    """Return what the run `name` says of the test pictures of the run `here`, int64 (N,).

    Raises:
        LabError: there is no such run, it is not finished, or it judged other pictures.
    """
    other = Run(run_folder(name), here.stage)
    if not other.folder.is_dir():
        raise LabError(f"other is {name!r}, and there is no such run in {other.folder.parent}.")
    mine, its = (read_json(run.need("dataset.json")) for run in (here, other))
    predictions = pd.read_csv(other.need("predictions.csv"))
    indices, _ = part_of(pd.read_csv(here.need("split.csv")), "test")
    same = mine["content_sha256"] == its["content_sha256"]
    if not same or not np.array_equal(predictions["index"], indices):
        raise LabError(
            f"other is {name!r}: it judged other test pictures ({its['source']}, "
            f"{len(predictions):,}) than this run ({mine['source']}, {len(indices):,}). Only runs "
            "on the same pictures can be compared picture by picture."
        )
    return predictions["predicted"].to_numpy(np.int64)


def comparison(
    measured: pd.DataFrame, answers: Mapping[str, Integers], truth: Integers, with_published: bool
) -> pd.DataFrame:
    """Return this model, what it is held against and, for MNIST, the lab sheet, a row each.

    Args:
        measured: as `measure` makes it.
        answers: what others say of the same pictures, by name, (N,).
        truth: the true classes, (N,).
        with_published: whether the lab sheet's result belongs beside it.

    Returns:
        `accuracy`, its 95 % interval `from` … `to`, and `loss` (nats) where there is one.
    """
    rows: dict[str, tuple[float, ...]] = {}
    for name, predicted in answers.items():
        right = int((predicted == truth).sum())
        rows[name] = (right / len(truth), *accuracy_interval(right, len(truth)), np.nan)
    values = measured["value"]
    limits = measured.loc["accuracy", ["low", "high"]]
    rows["this model"] = (values["accuracy"], *limits, values["log loss"])
    if with_published:
        right = round(PUBLISHED_ACCURACY * PUBLISHED_IMAGES)
        published = (PUBLISHED_ACCURACY, *accuracy_interval(right, PUBLISHED_IMAGES))
        rows["the lab sheet, as published"] = (*published, PUBLISHED_LOSS)
    columns = ["accuracy", "from", "to", "loss"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def mcnemar(truth: Integers, first: Integers, second: Integers) -> tuple[int, int, float]:
    """Return how often only the first and only the second of two models is right, and a p-value.

    McNemar's exact test: pictures on which both are right, or both wrong, say nothing about which
    is better. Of the others, two equally good models would each win about half. The p-value is the
    two-sided one of SciPy's `binomtest`; without such pictures it is 1.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947).

    Args:
        truth: the true classes, (N,).
        first: what the first model says of the same pictures, (N,).
        second: what the second model says, (N,).

    Raises:
        ValueError: the three are not equally long.

    >>> mcnemar(np.zeros(9, int), np.array([0] * 8 + [1]), np.array([1] * 8 + [0]))
    (8, 1, 0.0390625)
    """
    from scipy.stats import binomtest

    if not len(truth) == len(first) == len(second):
        raise ValueError(
            f"{len(truth)} true classes, {len(first)} and {len(second)} answers; expected as many"
        )
    only_first = int(((first == truth) & (second != truth)).sum())
    only_second = int(((first != truth) & (second == truth)).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return only_first, only_second, p_value
