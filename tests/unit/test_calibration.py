"""Reliability, temperature, refusal: known answers and worlds with a known calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from test_figures import test_a_figure_is_described_and_nothing_is_clipped as check_figure

from convnetlab import calibration, charts, evaluation


def world(pictures, temperature=1.0, seed=0):
    """Answers that would be calibrated, were their logits not divided by a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2.5, size=(pictures, 5))
    chances = softmax(logits, axis=1)
    truth = (chances.cumsum(axis=1) > random.random((pictures, 1))).argmax(axis=1)
    return np.float32(softmax(logits / temperature, axis=1)), truth


@given(st.integers(1, 200), st.integers(1, 20))
def test_bins_hold_equally_many_pictures_in_the_order_of_confidence(pictures, bins):
    confidence = np.random.default_rng(pictures).random(pictures).round(1)  # with ties
    places = calibration.bins_by_mass(confidence, bins)
    sizes = np.bincount(places, minlength=bins)
    assert len(sizes) == bins and sizes.max() - sizes.min() <= 1
    order = np.argsort(places, kind="stable")
    assert (np.diff(np.sort(places)) >= 0).all()
    highest = [confidence[places == place].max() for place in np.unique(places)]
    lowest = [confidence[places == place].min() for place in np.unique(places)]
    assert all(a <= b for a, b in zip(highest, lowest[1:], strict=False)), order


def test_a_reliability_table_counts_every_picture_once():
    probabilities, truth = world(1_003)
    table = calibration.reliability(probabilities, truth)
    assert len(table) == calibration.BINS and table["pictures"].sum() == 1_003
    right = (probabilities.argmax(axis=1) == truth).mean()
    assert np.average(table["accuracy"], weights=table["pictures"]) == pytest.approx(right)
    assert table["confidence"].is_monotonic_increasing
    assert (table["low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["high"]).all()


def test_the_error_is_the_mean_gap_worked_out_by_hand():
    """Four pictures in two bins: said 0.6 and 0.7, one right; said 0.8 and 0.9, both right."""
    confidence = np.array([0.9, 0.6, 0.8, 0.7])
    probabilities = np.float32(np.stack([confidence, 1 - confidence], axis=1))
    error, low, high = calibration.calibration_error(probabilities, np.array([0, 0, 0, 1]), bins=2)
    assert error == pytest.approx((abs(0.5 - 0.65) + abs(1 - 0.85)) / 2, abs=1e-6)
    assert low <= error <= high


def test_an_overconfident_world_has_a_larger_error_than_a_calibrated_one():
    calibrated, _, high = calibration.calibration_error(*world(5_000))
    overconfident, low, _ = calibration.calibration_error(*world(5_000, temperature=0.4))
    assert calibrated < 0.03 and overconfident > 0.1 and low > high


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_of_a_world_is_found_again(temperature):
    probabilities, truth = world(20_000, temperature)
    found = calibration.best_temperature(probabilities, truth)
    # Dividing by T once more by 1/T gives the calibrated answers back.
    assert found == pytest.approx(1 / temperature, rel=0.05)
    before = evaluation.cross_entropy(probabilities, truth)
    assert evaluation.cross_entropy(calibration.soften(probabilities, found), truth) <= before


@given(st.integers(1, 30), st.floats(0.1, 10))
def test_softening_is_softmax_of_the_divided_logits_and_changes_no_answer(seed, temperature):
    logits = np.random.default_rng(seed).normal(scale=3, size=(20, 6))
    softened = calibration.soften(softmax(logits, axis=1), temperature)
    assert np.allclose(softened, softmax(logits / temperature, axis=1), atol=1e-5)
    assert np.array_equal(softened.argmax(axis=1), logits.argmax(axis=1))


def test_softening_takes_certain_answers_and_refuses_no_temperature():
    certain = np.float32([[1, 0, 0]])
    assert np.isfinite(calibration.soften(certain, 3.0)).all()
    assert calibration.soften(certain, 3.0).sum() == pytest.approx(1)
    for temperature in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            calibration.soften(certain, temperature)


def test_a_temperature_never_makes_the_validation_loss_higher():
    for seed in range(5):
        held_out, test = world(50, 0.7, seed), world(80, 0.7, seed + 100)
        table = calibration.temper(held_out, test)
        assert table["validation loss"].iloc[1] <= table["validation loss"].iloc[0]
        assert table["temperature"].iloc[0] == 1
        assert table["test error"].iloc[0] == calibration.calibration_error(*test)[0]


ANSWERS = st.lists(
    st.tuples(st.sampled_from([0.3, 0.5, 0.6, 0.8, 0.99]), st.booleans()), min_size=1, max_size=25
)


@given(ANSWERS, st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0]))
def test_the_threshold_is_the_smallest_that_reaches_what_is_wanted(answers, wanted):
    confidence, right = (np.array(column) for column in zip(*answers, strict=True))
    found = calibration.refusal_threshold(confidence, right, wanted)
    reached = {t for t in set(confidence) if right[confidence >= t].mean() >= wanted}
    assert found == min(reached, default=float("inf"))
    result = calibration.refuse(confidence, right, found)
    if reached:
        assert result["accuracy"] >= wanted
        assert result["coverage"] == (confidence >= found).mean()
    else:
        assert result["coverage"] == 0 and np.isnan(result["accuracy"])


@given(ANSWERS)
def test_full_coverage_is_the_plain_accuracy(answers):
    confidence, right = (np.array(column) for column in zip(*answers, strict=True))
    table = calibration.coverage(confidence, right)
    assert table["coverage"].iloc[-1] == 1
    assert table["accuracy"].iloc[-1] == pytest.approx(right.mean())
    assert table["threshold"].tolist() == sorted(set(confidence), reverse=True)


def test_the_figures_say_what_they_show():
    probabilities, truth = world(300)
    table = calibration.reliability(probabilities, truth)
    figure = charts.reliability({"as trained": table}, "Reliability")
    assert figure.png.startswith(b"\x89PNG")
    assert f"{table['accuracy'].iloc[0]:.3f} are right" in figure.alt
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    coverage = calibration.coverage(confidence, right)
    figure = charts.refusal(coverage, 0.8, "Refusal")
    given = confidence >= 0.8
    assert f"{given.mean():.1%} are given" in figure.alt
    assert f"{right[given].mean():.4f} of these are right" in figure.alt
    assert "are given" not in charts.refusal(coverage, float("inf"), "Refusal").alt


def test_few_pictures_make_few_bins():
    """Bins of one picture would find errors of 0.3 in a model that has none."""
    chance = np.random.default_rng(0)
    sure = chance.uniform(0.5, 0.9, 25)
    probabilities = np.stack([sure, 1 - sure], axis=1).astype(np.float32)
    truth = (chance.random(25) > sure).astype(np.int64)
    table = calibration.reliability(probabilities, truth)
    assert table["pictures"].tolist() == [13, 12]
    few, many = (calibration.calibration_error(probabilities, truth, bins)[0] for bins in (2, 15))
    assert calibration.calibration_error(probabilities, truth)[0] == few < many


@pytest.mark.parametrize(("power", "scale"), [(1, "linear"), (9, "log")])
def test_unsure_answers_are_drawn_on_an_even_scale(power, scale):
    probabilities = np.full((20, 3), 0.2, np.float32)
    probabilities[:, 0] = np.linspace(0.5, 0.8, 20)
    said = probabilities**power / (probabilities**power).sum(axis=1, keepdims=True)
    table = calibration.reliability(said, np.zeros(20, np.int64))
    figure = charts.reliability({"a": table}, "Reliability")
    assert figure.axes[0].get_xscale() == scale and figure.axes[0].get_xlim()[0] == 1
    check_figure(lambda: figure)
