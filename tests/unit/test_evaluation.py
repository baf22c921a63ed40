import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn.metrics import f1_score, log_loss, top_k_accuracy_score

from convnetlab import datasets, evaluation, handoff
from convnetlab.errors import LabError

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


def answers(pictures, classes=4, seed=0):
    """Random probabilities, a little better than chance, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, pictures)
    logits = random.normal(size=(pictures, classes))
    logits[np.arange(pictures), truth] += 2
    powers = np.exp(logits)
    return np.float32(powers / powers.sum(axis=1, keepdims=True)), truth


def test_the_measures_are_scikit_learns():
    probabilities, truth = answers(500)
    predicted = probabilities.argmax(axis=1)
    table = evaluation.measure(probabilities, truth, CLASSES)
    assert table["value"].to_dict() == pytest.approx(
        {
            "accuracy": (truth == predicted).mean(),
            "top-2 accuracy": top_k_accuracy_score(truth, probabilities, k=2),
            "macro F1": f1_score(truth, predicted, average="macro"),
            "weighted F1": f1_score(truth, predicted, average="weighted"),
            "log loss": log_loss(truth, probabilities),
        }
    )
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty():
    """Of many test sets from one world, 95 % of the intervals hold its own accuracy and loss."""
    world, truth = answers(200_000, seed=1)
    own = {
        "accuracy": (world.argmax(axis=1) == truth).mean(),
        "macro F1": f1_score(truth, world.argmax(axis=1), average="macro"),
        "log loss": log_loss(truth, world),
    }
    covered = dict.fromkeys(own, 0)
    tries = 60
    for number in range(tries):
        part = slice(300 * number, 300 * (number + 1))
        table = evaluation.measure(world[part], truth[part], CLASSES)
        for name, value in own.items():
            covered[name] += table.loc[name, "low"] <= value <= table.loc[name, "high"]
    # 57 are expected; fewer than 50 of 60 would come about once in two thousand times.
    assert min(covered.values()) >= 50, covered
    assert min(covered.values()) < tries, "an interval that never misses is too wide"


def test_a_single_picture_has_no_bootstrap_interval():
    table = evaluation.measure(np.float32([[0.2, 0.7, 0.1]]), np.array([1]), ("a", "b", "c"))
    assert table.loc["accuracy", "value"] == 1 and table.loc["accuracy", "low"] < 0.5
    assert table.loc["log loss", ["low", "high"]].isna().all()
    facts = evaluation.as_facts(table, 1)
    assert facts["loss_low"] is None and facts["top2_accuracy"] == 1 and facts["test_images"] == 1


def test_the_always_majority_classifier_is_exposed_by_macro_f1():
    truth = np.repeat([0, 1], [95, 5])
    probabilities = np.tile(np.float32([0.9, 0.1]), (100, 1))
    measured = evaluation.measure(probabilities, truth, ("common", "rare"))["value"]
    assert measured["accuracy"] == 0.95
    assert round(measured["macro F1"], 3) == 0.487
    assert measured["weighted F1"] > 0.9
    assert measured["log loss"] == pytest.approx(-(0.95 * np.log(0.9) + 0.05 * np.log(0.1)))


def test_the_most_confused_pairs_are_named_in_their_direction():
    matrix = np.array([[8, 2, 0], [0, 5, 5], [1, 0, 0]])
    table = evaluation.most_confused(matrix, ("cat", "dog", "owl"))
    assert table.to_numpy().tolist() == [
        ["dog", "owl", 5, 0.5],
        ["cat", "dog", 2, 0.2],
        ["owl", "cat", 1, 1.0],
    ]
    assert len(evaluation.most_confused(matrix, ("cat", "dog", "owl"), 1)) == 1
    assert evaluation.most_confused(np.diag([3, 4, 0]), ("cat", "dog", "owl")).empty


def test_row_shares_of_a_class_without_pictures_are_zero():
    shares = evaluation.row_shares(np.array([[3, 1], [0, 0]]))
    assert shares.tolist() == [[0.75, 0.25], [0, 0]]


def test_a_class_that_is_never_called_has_no_interval_of_precision():
    table = evaluation.per_class(np.array([0, 1]), np.array([0, 0]), ("a", "b"))
    assert table.loc["b", ["precision low", "precision high"]].isna().all()
    assert (table.loc["b", "recall low"], table.loc["b", "recall"]) == (0, 0)
    expected = evaluation.accuracy_interval(1, 2)
    assert tuple(table.loc["a", ["precision low", "precision high"]]) == expected


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=40))
def test_mcnemar_is_a_fair_coin_on_the_pictures_that_tell(rows):
    truth, first, second = columns(rows)
    only_first, only_second, p_value = evaluation.mcnemar(truth, first, second)
    assert only_first - only_second == (first == truth).sum() - (second == truth).sum()
    assert evaluation.mcnemar(truth, second, first) == (only_second, only_first, p_value)
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert p_value == pytest.approx(min(1, 2 * tail))


def test_the_same_difference_of_accuracies_can_be_luck_or_not():
    truth = np.zeros(10_000, int)
    first, second = truth.copy(), truth.copy()
    first[:122], second[112:244] = 1, 1  # ten are wrong in both
    assert evaluation.mcnemar(truth, first, second)[2] > 0.3
    second[:122], second[122:] = 1, 0
    second[122:132] = 1
    assert evaluation.mcnemar(truth, first, second) == (10, 0, pytest.approx(2 / 2**10))


def test_answers_of_different_length_are_refused():
    with pytest.raises(ValueError, match="3 true classes, 3 and 2 answers"):
        evaluation.mcnemar(np.zeros(3), np.zeros(3), np.zeros(2))


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 6))
def test_the_gradient_is_how_the_loss_grows_with_each_score(seed, pictures, classes):
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(0, 2, (pictures, classes)), rng.integers(0, classes, pictures)

    def loss(scores):
        return log_loss(truth, special.softmax(scores, axis=1), labels=range(classes))

    found = evaluation.score_gradient(special.softmax(scores, axis=1), truth)
    for place in np.ndindex(scores.shape):
        nudge = np.zeros_like(scores)
        nudge[place] = 1e-4
        slope = (loss(scores + nudge) - loss(scores - nudge)) / 2e-4
        assert found[place] == pytest.approx(slope, abs=1e-6)


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
    measured = evaluation.measure(np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "b"))
    others = {"baseline": np.array([0, 0]), "second": np.array([0, 1])}
    table = evaluation.comparison(measured, others, np.array([0, 1]), False)
    assert list(table.index) == ["baseline", "second", "this model"]
    assert table["accuracy"].tolist() == [0.5, 1, 1]
    assert table["loss"].isna().tolist() == [True, True, False]
    table = evaluation.comparison(measured, others, np.array([0, 1]), True)
    assert table.loc["the lab sheet, as published", "accuracy"] == 0.9878
    assert table.loc["the lab sheet, as published", "from"] < 0.9878


def judged(name, indices, content="abc"):
    """A run's folder as stage 4 needs and leaves it."""
    run = handoff.open_run(name, 1)
    save(run, "dataset.json", json.dumps({"content_sha256": content, "source": "digits"}))
    rows = "".join(f"test,{index},0\n" for index in indices)
    save(run, "split.csv", "part,index,label\n" + rows)
    rows = "".join(f"{index},0,{index % 2},0.9\n" for index in indices)
    run = handoff.open_run(name, 4)
    save(run, "predictions.csv", "index,truth,predicted,confidence\n" + rows)
    return run


def save(run, name, text):
    run.save(name, lambda path: path.write_text(text), {})


def test_another_runs_answers_are_taken_only_for_the_same_pictures(runs):
    here = judged("here", [3, 1, 2])
    judged("same", [3, 1, 2])
    assert evaluation.answers_of("same", here).tolist() == [1, 1, 0]
    judged("order", [1, 2, 3])
    judged("data", [3, 1, 2], "xyz")
    for name in ("order", "data"):
        with pytest.raises(LabError, match=f"other is '{name}': it judged other test pictures"):
            evaluation.answers_of(name, here)
    with pytest.raises(LabError, match="there is no such run"):
        evaluation.answers_of("none", here)
    assert not (runs / "none").exists()


def test_with_two_classes_the_truth_is_always_among_two_and_that_is_not_told():
    table = evaluation.measure(np.float32([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 1]), ("a", "b"))
    assert "top-2 accuracy" not in table.index
    assert {"accuracy", "macro F1", "weighted F1", "log loss"} == set(table.index)


def test_the_table_of_predictions_has_names_and_files_where_they_say_more():
    labels, images = np.array([0, 1, 1, 0]), np.zeros((4, 3, 3, 1), np.uint8)
    indices, said = np.array([3, 1]), np.float32([[0.1, 0.9], [0.3, 0.7]])
    plain = evaluation.predictions_table(indices, said, labels[indices])
    arrays = (images, labels, images, labels)
    digits = datasets.Dataset("x", *arrays, ("0", "1"))
    assert evaluation.with_names(plain, digits).equals(plain)
    files = ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "cat/2.jpg")
    folder = datasets.Dataset("x", *arrays, ("cat", "dog"), test_files=files)
    named = evaluation.with_names(plain, folder)
    assert named[list(plain)].equals(plain)
    assert named["is"].tolist() == ["cat", "dog"] and named["called"].tolist() == ["dog", "dog"]
    assert named["file"].tolist() == ["cat/2.jpg", "dog/1.jpg"]
