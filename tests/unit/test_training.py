"""Networks, their arithmetic, and their training. These tests load TensorFlow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnetlab import (
    architectures,
    callbacks,
    evaluation,
    preprocess,
    recipes,
    training,
)
from convnetlab.backend import keras
from convnetlab.errors import LabError

FROM_SCRATCH = [name for name, recipe in recipes.RECIPES.items() if recipe.weights == "none"]


def trained(digits, split, recipe, seed=1):
    training.set_seed(seed)
    model = architectures.build(recipe.architecture, digits.image_shape, 10)
    return training.train(model, digits, split, recipe, seed)


def test_recipes_are_refused_by_name_and_by_epochs():
    with pytest.raises(LabError, match="recipe is 'fast'; it must be one of: one-cycle, sprint"):
        recipes.choose("fast")
    with pytest.raises(LabError, match="epochs is -1"):
        recipes.choose("listing", -1)
    assert recipes.choose("listing").epochs == 10
    assert recipes.choose("listing", 2).epochs == 2


def test_the_listing_is_the_sheets():
    listing = recipes.RECIPES["listing"]
    assert (listing.learning_rate, listing.momentum, listing.nesterov) == (0.01, 0.9, False)
    assert (listing.batch_size, listing.epochs, listing.schedule) == (32, 10, "constant")
    assert not listing.validate and listing.listing_input


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_every_recipe_learns(digits, split, name):
    # Large batches make few steps of so few pictures.
    epochs = 24 if name in ("sprint", "best") else 4
    result = trained(digits, split, recipes.choose(name, epochs=epochs))
    assert result.history["epoch"].tolist() == list(range(1, epochs + 1))
    assert ("val_loss" in result.history) == recipes.RECIPES[name].validate
    assert result.history["loss"].iloc[-1] < result.history["loss"].iloc[0]
    assert result.seconds > 0
    indices, truth = preprocess.part_of(split, "test")
    probabilities = evaluation.predict(result.model, digits, indices)
    assert 0.8 < evaluation.accuracy(truth, probabilities.argmax(axis=1)) <= 1
    # The trained model takes raw pixels, however it was trained.
    direct = np.asarray(result.model(digits.test_images))
    assert np.allclose(direct, probabilities, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(digits, split):
    recipe = recipes.choose("one-cycle", 2)
    first, second = trained(digits, split, recipe), trained(digits, split, recipe)
    other = trained(digits, split, recipe, seed=2)
    pairs = zip(first.model.get_weights(), second.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert not np.array_equal(first.model.get_weights()[0], other.model.get_weights()[0])
    assert first.history.equals(second.history)


def test_an_epoch_ends_where_it_should_whatever_the_steps_per_execution(digits, split, monkeypatch):
    histories = []
    for steps in (1, 8, 50):
        monkeypatch.setattr(training, "STEPS_PER_EXECUTION", steps)
        histories.append(trained(digits, split, recipes.choose("one-cycle", 2)).history)
    assert np.allclose(histories[0], histories[1], atol=1e-4)
    assert np.allclose(histories[0], histories[2], atol=1e-4)


def test_our_measures_are_keras_own(digits, split):
    recipe = replace(recipes.choose("one-cycle", 1), label_smoothing=0.0)
    model = trained(digits, split, recipe).model
    indices, truth = preprocess.part_of(split, "test")
    probabilities = evaluation.predict(model, digits, indices)
    measured = evaluation.measure(probabilities, truth, digits.classes)["value"]
    loss, accuracy = model.evaluate(digits.test_images, digits.test_labels, verbose=0)
    assert measured["accuracy"] == pytest.approx(accuracy)
    assert measured["log loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_every_picture_comes_once_in_order(digits, batch_size):
    indices = np.arange(123)
    stream = training.batches(digits.test_batch, indices, digits.test_labels[:123], batch_size)
    assert len(stream) == training.steps_per_epoch(123, batch_size)
    images, labels = zip(*stream.as_numpy_iterator(), strict=True)
    assert np.array_equal(np.concatenate(images), digits.test_images[:123])
    assert np.array_equal(np.concatenate(labels), digits.test_labels[:123])


def test_each_epoch_has_its_own_order_which_the_seed_decides():
    first, second = callbacks.EpochOrder(3, 50), callbacks.EpochOrder(3, 50)
    orders = []
    for epoch in range(3):
        first.on_epoch_begin(epoch)
        orders.append(first.order.tolist())
    second.on_epoch_begin(2)  # as when a training goes on from its third epoch
    assert orders[2] == second.order.tolist()
    assert len({tuple(order) for order in orders}) == 3
    assert sorted(orders[0]) == list(range(50))


@settings(max_examples=20)
@given(st.floats(0.01, 1), st.integers(2, 500))
def test_one_cycle_rises_then_falls_to_nothing(highest, steps):
    rates = np.asarray(training.OneCycle(highest, steps)(np.arange(steps + 1)))
    top = rates.argmax()
    assert rates.max() <= highest * 1.0001
    assert rates[0] == pytest.approx(highest / 10, rel=0.01)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) <= 1e-7).all()
    assert rates[-1] == pytest.approx(0, abs=1e-4)


def test_a_saved_model_is_read_back_with_its_schedule(digits, split, tmp_path):
    model = trained(digits, split, recipes.choose("one-cycle", 1)).model
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(
        np.asarray(again(digits.test_images)), np.asarray(model(digits.test_images))
    )
    assert isinstance(again.optimizer._learning_rate, training.OneCycle)


def test_a_batch_larger_than_the_set_is_told(digits, split):
    recipe = replace(recipes.RECIPES["one-cycle"], batch_size=5_000)
    with pytest.raises(LabError, match="batches have 5000 pictures, and there are only 1293"):
        trained(digits, split, recipe)
