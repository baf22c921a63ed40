import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import evaluation

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)
CLASSES = ("a", "b", "c", "d")


def columns(pairs):
    return tuple(np.array(pairs, np.int64).T)


@given(PAIRS)
def test_the_trace_over_n_is_the_accuracy(pairs):
    truth, predicted = columns(pairs)
    matrix = evaluation.confusion_matrix(truth, predicted, 4)
    assert matrix.shape == (4, 4)
    assert matrix.sum() == len(pairs)
    assert np.isclose(np.trace(matrix) / len(pairs), evaluation.accuracy(truth, predicted))


@given(PAIRS)
def test_per_class_follows_from_the_matrix(pairs):
    truth, predicted = columns(pairs)
    table = evaluation.per_class(truth, predicted, CLASSES)
    matrix = evaluation.confusion_matrix(truth, predicted, 4)
    right = np.diag(matrix)
    assert np.allclose(table["precision"], right / np.maximum(matrix.sum(axis=0), 1))
    assert np.allclose(table["recall"], right / np.maximum(matrix.sum(axis=1), 1))
    assert table["pictures"].tolist() == np.bincount(truth, minlength=4).tolist()


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons_formula(case):
    right, images = case
    low, high = evaluation.accuracy_interval(right, images)
    z, share = 1.959963984540054, right / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    reach /= 1 + z**2 / images
    assert np.allclose((low, high), (centre - reach, centre + reach), atol=1e-9)
    assert 0 <= low <= share <= high <= 1


def test_the_always_majority_classifier_is_exposed_by_macro_f1():
    truth = np.repeat([0, 1], [95, 5])
    probabilities = np.tile(np.float32([0.9, 0.1]), (100, 1))
    measured = evaluation.measures(probabilities, truth, ("common", "rare"))
    assert measured["accuracy"] == 0.95
    assert round(measured["macro_f1"], 3) == 0.487
    assert measured["test_images"] == 100
    assert measured["loss"] == pytest.approx(-(0.95 * np.log(0.9) + 0.05 * np.log(0.1)))


def test_cross_entropy_is_clipped_as_keras_does():
    assert evaluation.cross_entropy(np.float32([[0, 1]]), np.array([0])) == pytest.approx(
        -np.log(1e-7)
    )


def test_most_confident_mistakes_come_surest_first():
    table = pd.DataFrame(
        {
            "index": [10, 11, 12, 13],
            "truth": [1, 1, 2, 2],
            "predicted": [1, 0, 0, 1],
            "confidence": [0.99, 0.6, 0.9, 0.7],
        }
    )
    assert evaluation.most_confident_mistakes(table, 2)["index"].tolist() == [12, 13]
    assert len(evaluation.most_confident_mistakes(table, 9)) == 3


def test_the_comparison_has_the_published_row_only_for_mnist():
    measured = evaluation.measures(np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "b"))
    assert list(evaluation.comparison(measured, 0.5, False).index) == ["baseline", "this model"]
    table = evaluation.comparison(measured, 0.5, True)
    assert table.loc["the lab sheet, as published", "accuracy"] == 0.9878
    assert table.loc["the lab sheet, as published", "from"] < 0.9878
