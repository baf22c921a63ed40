"""The small experiments: what they measure, and that they repeat."""

import numpy as np
import pandas as pd
import pytest

from convnetlab import experiments, preprocess, training


def test_the_small_network_takes_raw_pixels_and_gives_probabilities(digits):
    plain, dropped = (experiments.builder(digits, share)() for share in (0.0, 0.5))
    assert plain.count_params() == dropped.count_params()
    assert len(dropped.layers) == len(plain.layers) + 1
    answers = plain.predict(digits.train_images[:3], verbose=0)
    assert answers.shape == (3, 10) and np.allclose(answers.sum(axis=1), 1)


def test_few_takes_the_first_training_pictures_and_no_test_picture(split):
    chosen = experiments.few(split, 70)
    counts = chosen["part"].value_counts().to_dict()
    assert counts == {"train": 70, "validation": (split["part"] == "validation").sum()}
    train = split[split["part"] == "train"]["index"]
    assert list(chosen[chosen["part"] == "train"]["index"]) == list(train[:70])


def fit(digits, split, **settings):
    optimiser = experiments.momentum_sgd(0.05)
    some = experiments.few(split, 130)
    return experiments.fit(experiments.builder(digits), optimiser, digits, some, 2, **settings)


def test_a_fit_repeats_and_depends_on_its_seed_and_on_augmentation(digits, split):
    first = fit(digits, split, seed=3)
    assert list(first) == experiments.HISTORY and list(first["epoch"]) == [1, 2]
    pd.testing.assert_frame_equal(first, fit(digits, split, seed=3))
    for changed in (fit(digits, split, seed=4), fit(digits, split, seed=3, augment=True)):
        assert (first["loss"] != changed["loss"]).all()


def test_a_fits_numbers_are_kerass_own(digits, split):
    """One epoch, one batch: the loss before the step, and the validation after it."""
    some = experiments.few(split, 50)
    settings = digits, some, 1, 1
    build = experiments.builder(digits)
    row = experiments.fit(build, experiments.momentum_sgd(0.05), *settings).iloc[0]
    training.set_seed(1)
    model = build()
    experiments.compile_small(model, experiments.momentum_sgd(0.05))
    parts = {
        part: (digits.train_batch(indices), labels)
        for part in ("train", "validation")
        for indices, labels in [preprocess.part_of(some, part)]
    }
    before = model.evaluate(*parts["train"], batch_size=50, verbose=0)
    assert np.allclose(before, [row["loss"], row["accuracy"]], atol=1e-5)
    model.train_on_batch(*parts["train"])
    after = model.evaluate(*parts["validation"], batch_size=1000, verbose=0)
    assert np.allclose(after, [row["val_loss"], row["val_accuracy"]], atol=1e-4)


def test_a_range_test_raises_the_rate_and_ends_where_the_loss_diverges(digits, split):
    build = experiments.builder(digits)
    table = experiments.learning_rate_range(build, digits, split, 1e-3, 100.0, 60)
    rates = table["learning_rate"].to_numpy()
    assert rates[0] == pytest.approx(1e-3) and len(table) < 60 and rates[-1] < 100
    assert np.allclose(np.diff(np.log(rates)), np.log(1e5) / 59)
    assert np.isfinite(table).all().all()
    smoothed = table["smoothed"]
    assert smoothed[0] == pytest.approx(table["loss"][0])
    assert smoothed[1] == pytest.approx((0.9 * table["loss"][0] + table["loss"][1]) / 1.9)
    assert (smoothed <= experiments.DIVERGED * smoothed.cummin()).all()
    again = experiments.learning_rate_range(build, digits, split, 1e-3, 100.0, 60)
    pd.testing.assert_frame_equal(table, again)


def test_the_suggested_rate_trains(digits, split):
    table = experiments.learning_rate_range(experiments.builder(digits), digits, split)
    rate = experiments.suggest_rate(*table[["learning_rate", "smoothed"]].to_numpy().T)
    assert 1e-3 < rate < 0.2
    optimiser = experiments.momentum_sgd(rate)
    some = experiments.few(split, 1_000)
    history = experiments.fit(experiments.builder(digits), optimiser, digits, some, 4, 1)
    assert history["val_loss"].iloc[-1] < 0.7 < history["val_loss"].iloc[0]


def test_schedules_begin_or_peak_at_the_highest_rate_and_fall(digits, split):
    rates, losses = experiments.compare_schedules(
        digits, experiments.few(split, 150), highest=0.2, epochs=3, seed=1
    )
    assert list(rates) == list(losses) == ["constant", "in steps", "cosine", "one-cycle"]
    assert rates.shape == (9, 4) and losses.shape == (3, 4) and list(losses.index) == [1, 2, 3]
    assert (rates["constant"] == rates["constant"][0]).all()
    assert np.allclose(rates.drop(columns="one-cycle").iloc[0], 0.2)
    assert np.allclose(rates["in steps"].unique(), [0.2, 0.02, 0.002])
    assert rates["one-cycle"][0] == pytest.approx(0.02) and rates["one-cycle"].max() <= 0.2001
    assert (rates[["cosine", "one-cycle"]].iloc[-1] < 0.02).all()


def test_every_remedy_changes_the_training(digits, split):
    curves = experiments.compare_remedies(digits, experiments.few(split, 100), 2, range(1, 3))
    assert len(curves) == len(experiments.REMEDIES) * 2 * 2
    last = curves[curves["epoch"] == 2]
    assert last.groupby("seed")["val_loss"].nunique().eq(len(experiments.REMEDIES)).all()
    table = experiments.remedy_table(curves)
    assert list(table.index) == [*experiments.REMEDIES, "early stopping"]
    assert np.allclose(table["gap"], table["validation loss"] - table["training loss"])
    assert table.loc["early stopping", "validation loss"] <= table.loc["none", "validation loss"]


def test_early_stopping_is_the_lowest_epoch_of_the_plain_training():
    curves = pd.DataFrame(
        {
            "remedy": ["none"] * 3 + ["dropout"] * 3,
            "seed": 1,
            "epoch": [1, 2, 3] * 2,
            "loss": [0.9, 0.4, 0.1, 1.0, 0.8, 0.6],
            "accuracy": 0.5,
            "val_loss": [0.8, 0.6, 0.9, 0.9, 0.7, 0.5],
            "val_accuracy": [0.7, 0.8, 0.75, 0.6, 0.7, 0.8],
        }
    )
    row = experiments.remedy_table(curves).loc["early stopping"]
    assert row.to_list() == pytest.approx([2, 0.4, 0.6, 0.2, 0.8])


def recorded(root):
    return pd.read_csv(root / "data" / "results" / "learning_curves.csv")


def test_the_recorded_curves_begin_as_fresh_ones(root):
    said = []
    fresh, kept = experiments.learning_curves(said.append, epochs=2), recorded(root)
    assert len(said) == 5 and list(fresh) == list(kept)
    assert dict(zip(kept["curve"], kept["cause"], strict=True)) == dict(
        zip("ABCDE", experiments.CURVES, strict=True)
    )
    assert (kept.groupby("curve").size() == experiments.CURVE_EPOCHS).all()
    first = kept[kept["epoch"] <= 2].reset_index(drop=True)
    for measure, tolerance in {"loss": 0.05, "val_loss": 0.05, "val_accuracy": 0.03}.items():
        assert np.allclose(first[measure], fresh[measure], atol=tolerance), measure


def test_the_recorded_curves_show_their_causes(root):
    curves = dict(list(recorded(root).groupby("cause")))
    last = {cause: group.iloc[-1] for cause, group in curves.items()}
    slow = curves["learning rate too low"]
    assert (np.diff(slow["loss"]) < 0).all() and (np.diff(slow["val_loss"]) < 0).all()
    assert last["learning rate too low"]["val_loss"] > 1
    heart = last["over-fitting"]
    assert heart["loss"] < 0.05 and heart["val_loss"] > curves["over-fitting"]["val_loss"].min()
    assert heart["val_accuracy"] > 0.6
    assert max(last["good"][["loss", "val_loss"]]) < 0.3
    shuffled = last["labels shuffled"]
    assert shuffled["accuracy"] > 0.5 and shuffled["val_accuracy"] < 0.2
    assert shuffled["val_loss"] > np.log(10)
    assert last["learning rate too high"]["accuracy"] < 0.2


def test_every_wrong_cause_has_a_reason_of_its_own(root):
    assert set(experiments.SIGNS) == set(experiments.CURVES)
    reasons = {
        experiments.mismatch(curve, cause)
        for own, curve in recorded(root).groupby("cause")
        for cause in experiments.SIGNS
        if cause != own
    }
    assert len(reasons) == 20
    slow = recorded(root).query("cause == 'learning rate too low'")
    assert "the training loss goes from 2.32 to 1.46" in experiments.mismatch(slow, "good")


def test_a_profile_finds_tracing_and_steps(digits, split, capsys):
    seconds = experiments.profile_training(digits, experiments.few(split, 200), 1, 1)
    assert list(seconds) == ["tracing the graph", "running the graph", "everything else"]
    assert seconds["tracing the graph"] > 0.05 and seconds["running the graph"] > 0
    assert not capsys.readouterr().out


def test_larger_batches_cost_less_a_picture(digits, split):
    small, large = (
        min(experiments.throughput(digits, split, size, 4, steps=40) for _ in range(2))
        for size in (2, 256)
    )
    assert 0 < large < small


def test_batches_larger_than_the_pictures_are_cut_down(digits, split):
    few = experiments.few(split, 30)
    assert experiments.endless(digits, few, 64)[1] == 30
    assert experiments.throughput(digits, few, 64, 1, steps=3) > 0
    assert experiments.input_time(digits, few, 64, steps=3) > 0
