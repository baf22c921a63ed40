"""Transfer learning: halves, examples, bases, what is frozen; and the table that is recorded."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from convnetlab import architectures, figures, inspection, training, transfer
from convnetlab.backend import keras
from convnetlab.errors import LabError

SHORT = dataclasses.replace(transfer.SETTINGS, steps=20)


@pytest.fixture(scope="module")
def target(split):
    return transfer.target_split(split, 10)


@pytest.fixture(scope="module")
def source(digits, split):
    network = architectures.build("reference", digits.image_shape, 10)
    return transfer.pretrain(network, digits, split, seed=1).model


def test_the_halves_share_no_class_and_leave_none_out(split):
    low, high = transfer.source_split(split, 10), transfer.target_split(split, 10)
    assert sorted(low["label"].unique()) == sorted(high["label"].unique()) == [0, 1, 2, 3, 4]
    assert len(low) + len(high) == len(split)
    merged = high.merge(split, on=["part", "index"])
    assert (merged["label_y"] == merged["label_x"] + 5).all() and len(merged) == len(high)
    assert transfer.source_classes(7) == 3
    with pytest.raises(LabError, match="has 3 classes; to halve them takes 4 or more"):
        transfer.source_classes(3)


def test_few_examples_are_stratified_nested_seeded_and_for_learning(target):
    ten, thirty = (transfer.few_examples(target, size, 1) for size in (10, 30))
    assert ten["label"].value_counts().tolist() == [10] * 5
    assert set(ten["part"]) == {"train"} and ten["index"].is_unique
    assert set(ten["index"]) < set(thirty["index"])
    assert transfer.few_examples(target, 10, 1).equals(ten)
    assert set(transfer.few_examples(target, 10, 2)["index"]) != set(ten["index"])


def test_a_small_source_is_looked_at_often_enough_to_be_learnt(digits, split, source):
    held_out = transfer.source_split(split, 10)
    held_out = held_out[held_out["part"] == "validation"]
    assert 0.9 < transfer.accuracy(source, digits, held_out) <= 1


@pytest.mark.parametrize("size", [0, -1, 1_000])
def test_more_examples_than_there_are_are_refused(target, size):
    with pytest.raises(LabError, match=f"per_class is {size}; it must be from 1 to 1"):
        transfer.few_examples(target, size, 1)


def test_sizes_are_those_that_every_class_can_give(target):
    assert transfer.affordable(target) == (10, 30, 100)
    with pytest.raises(LabError, match="it takes 1000 or more"):
        transfer.affordable(target, [1_000])


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_network_has_a_base_without_dense_layers(name):
    network = architectures.build(name, (28, 28, 1), 10)
    base = transfer.base_of(network)
    assert len(base.output_shape) == 2
    assert not any(isinstance(layer, keras.layers.Dense) for layer in base.layers)
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert base.count_params() + sum(d.count_params() for d in dense) == network.count_params()
    other = transfer.with_classes(network, 3)
    assert other.output_shape[-1] == 3 and network.output_shape[-1] == 10


def test_a_network_with_several_outputs_is_refused():
    network = architectures.build("googlenet", (28, 28, 1), 10, auxiliary_heads=True)
    with pytest.raises(LabError, match=r"has 3 output\(s\)"):
        transfer.base_of(network)


def test_features_come_in_the_rows_order(digits, target, source):
    rows = target[target["part"] == "test"].iloc[::-1]
    base = transfer.base_of(source)
    features = transfer.outputs(base, digits, rows)
    images = digits.test_batch(rows["index"].to_numpy())
    assert features.dtype == np.float32
    assert np.allclose(features, np.asarray(base(images)), atol=1e-5)
    assert (digits.test_labels[rows["index"]] - 5 == rows["label"]).all()
    for wrong in (target, rows[:0]):
        with pytest.raises(LabError, match="test pictures only or of learning pictures only"):
            transfer.outputs(base, digits, wrong)


def test_the_linear_classifier_takes_features_as_they_are(digits, target, source):
    rows = transfer.few_examples(target, 10, 1)
    features = transfer.outputs(transfer.base_of(source), digits, rows)
    one = transfer.by_features(features, rows["label"].to_numpy())
    ten = transfer.by_features(10 * features, rows["label"].to_numpy())
    assert one.score(features, rows["label"]) > 0.95
    assert np.allclose(one.predict_proba(features), ten.predict_proba(10 * features), atol=0.02)


def test_a_frozen_base_keeps_its_weights_and_the_source_is_never_changed(digits, target, source):
    rows = transfer.few_examples(target, 10, 1)
    before = source.get_weights()
    model = transfer.train_head(source, digits, rows, 5, 1, SHORT)
    base = transfer.base_of(source).get_weights()
    kept = transfer.base_of(model).get_weights()
    assert all(np.array_equal(*pair) for pair in zip(base, kept, strict=True))
    table = transfer.parts_table(model)
    assert table.loc["base", "trained"] == 0
    assert table.loc["head", "trained"] == inspection.trainable_parameters(model)
    assert table["parameters"].sum() == model.count_params()
    transfer.fine_tune(model, digits, rows, 1, SHORT)
    tuned = transfer.base_of(model).get_weights()
    assert not any(np.array_equal(*pair) for pair in zip(kept, tuned, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(before, source.get_weights(), strict=True))


def test_batch_normalisation_keeps_its_figures_through_head_and_fine_tuning(digits, target):
    training.set_seed(1)
    source = architectures.build("lenet5", digits.image_shape, 5)
    rows = transfer.few_examples(target, 10, 1)
    model = transfer.train_head(source, digits, rows, 5, 1, SHORT)
    transfer.fine_tune(model, digits, rows, 1, SHORT)
    moved = 0
    for layer in source.layers:
        if layer.name == "probabilities" or not layer.weights:
            continue
        pairs = zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True)
        same = all(np.array_equal(*pair) for pair in pairs)
        if isinstance(layer, keras.layers.BatchNormalization):
            assert same, layer.name
        moved += not same
    assert moved


def test_training_on_few_examples_is_repeatable(digits, target, source):
    rows = transfer.few_examples(target, 10, 1)
    one, same, other = (
        transfer.from_scratch(source, digits, rows, 5, seed, SHORT).get_weights()
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_a_comparison_has_a_row_a_method_size_and_seed(digits, split):
    network = architectures.build("compact", digits.image_shape, 10)
    lines = []
    table = transfer.compare(
        network, digits, split, (10, 30), (1, 2), "validation", SHORT, say=lines.append
    )
    assert list(table) == ["method", "examples", "seed", "accuracy", "pictures"]
    assert len(table) == len(transfer.METHODS) * 4 == len(table.drop_duplicates())
    assert list(table["method"].unique()) == list(transfer.METHODS)
    assert table["accuracy"].between(0, 1).all()
    held_out = transfer.target_split(split, 10)["part"].value_counts()["validation"]
    assert set(table["pictures"]) == {held_out}
    assert lines == ["transfer, seed 1", "transfer, seed 2"]


def made_up(accuracies):
    rows = [
        (method, 10, seed, accuracy)
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows, columns=["method", "examples", "seed", "accuracy"])


def test_gains_are_taken_seed_by_seed():
    table = made_up(
        {"from scratch": [0.5, 0.7, 0.9], "new head": [0.52, 0.72, 0.93], "fine-tuned": [1, 0, 1]}
    )
    gains = transfer.gains(table)
    head = gains.loc[("new head", 10)]
    assert head["gain"] == pytest.approx(0.07 / 3)
    # Student's t for two degrees of freedom, by the tables: 4.303.
    reach = 4.303 * np.std([0.02, 0.02, 0.03], ddof=1) / np.sqrt(3)
    assert head["high"] - head["gain"] == pytest.approx(reach, rel=1e-3)
    assert head["pays"] and not gains.loc[("fine-tuned", 10), "pays"]
    with pytest.raises(LabError, match="two or more"):
        transfer.gains(table[table["seed"] == 1])


def test_the_figure_says_in_words_what_it_shows():
    table = made_up({"from scratch": [0.5, 0.7], "new head": [0.8, 0.9]})
    figure = figures.transfer(table, "Transfer")
    assert "With 10 examples a class training from scratch reaches 0.600" in figure.alt
    assert "the best of the others, new head, 0.850" in figure.alt
    assert "standard deviation, 2 seeds" in figure.axes[0].get_ylabel()
    single = figures.transfer(table[table["seed"] == 1], "Transfer")
    assert "one seed" in single.axes[0].get_ylabel()
    assert set(figures.WAYS) == set(transfer.METHODS)


@pytest.fixture(scope="module")
def recorded():
    return pd.read_csv(ROOT / "data" / "results" / "transfer.csv")


def test_the_recorded_table_is_whole_and_plausible(recorded):
    assert list(recorded) == ["method", "examples", "seed", "accuracy", "pictures"]
    rows = recorded.set_index(["method", "examples", "seed"]).index
    expected = [transfer.METHODS, transfer.SIZES, transfer.SEEDS]
    assert rows.equals(pd.MultiIndex.from_product(expected, names=rows.names))
    assert set(recorded["pictures"]) == {4_861}  # MNIST's test pictures of 5 to 9
    means = recorded.groupby(["method", "examples"])["accuracy"].mean().unstack()
    assert (means.diff(axis=1).iloc[:, 1:] > 0).all(axis=None), "more examples, more accuracy"
    # Five classes, guessed: 0.2. MNIST whole: 0.99. Above that it would be a leak.
    assert means[10].between(0.6, 0.95).all() and means[1_000].between(0.95, 0.99).all()


def test_what_the_notebook_says_of_the_recorded_table(recorded):
    gains = transfer.gains(recorded)
    pays = gains["pays"].unstack()
    trained = ["trained features", "new head", "fine-tuned"]
    assert pays.loc[trained, [10, 30, 100]].all(axis=None)
    assert not pays.loc[trained, 1_000].any() and not pays.loc["untrained features"].any()
    tuning = gains.loc["fine-tuned", "gain"] - gains.loc["new head", "gain"]
    assert tuning.abs().max() < 0.005


@pytest.mark.slow
def test_the_recorded_table_is_that_of_a_fresh_run(recorded):
    fresh = transfer.study(quick=True)
    merged = fresh.merge(recorded, on=["method", "examples", "seed", "pictures"])
    assert len(merged) == len(fresh) == len(transfer.METHODS)
    assert (merged["accuracy_x"] - merged["accuracy_y"]).abs().max() < 0.03


@pytest.mark.parametrize(
    ("classes", "pictures", "enough"),
    [(3, 900, False), (4, 9, False), (4, 63, False), (4, 64, True)],
)
def test_what_is_enough_to_be_halved(classes, pictures, enough):
    labels = np.repeat(np.arange(classes), pictures)
    split = pd.DataFrame({"part": "train", "index": np.arange(len(labels)), "label": labels})
    other = split.assign(part="validation")  # these do not count
    assert transfer.can_be_halved(pd.concat([split, other]), classes) == enough
