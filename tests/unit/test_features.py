"""Learning from few photographs: the recipes features and fine-tune. These load TensorFlow."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from convnetlab import (
    architectures,
    evaluation,
    features,
    preprocess,
    pretrained,
    recipes,
    training,
)
from convnetlab.backend import keras
from convnetlab.datasets import Dataset
from convnetlab.errors import LabError

SIDE = 64
RNG = np.random.default_rng(1)
FINE = replace(recipes.RECIPES["fine-tune"], epochs=2)


def crops(places):
    """The same squares of scikit-learn's two photographs, one after the other: labels 0 and 1."""
    pictures = [
        np.asarray(Image.fromarray(image[y : y + 170, x : x + 170]).resize((SIDE, SIDE)))
        for image in load_sample_images().images
        for y, x in places
    ]
    return np.stack(pictures), np.repeat([0, 1], len(places))


@pytest.fixture(scope="module")
def photographs():
    """A class is a photograph: its left half to learn from, its right half to test."""
    train, train_labels = crops([(y, x) for y in (0, 80, 160, 250) for x in (0, 75, 150)])
    test, test_labels = crops([(y, x) for y in (50, 150, 250) for x in (320, 400, 470)])
    return Dataset("crops", train, train_labels, test, test_labels, ("temple", "flower"))


@pytest.fixture(scope="module")
def rows(photographs):
    return preprocess.split(photographs, 0.2, 1)


def train(photographs, rows, recipe, folder=None, seed=1):
    training.set_seed(seed)
    model = architectures.build(recipe.architecture, photographs.image_shape, 2)
    return training.train(model, photographs, rows, recipe, seed, folder)


@pytest.fixture(scope="module")
def learnt(photographs, rows, tmp_path_factory):
    """What the recipe features makes of them, and where its features are kept."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    return train(photographs, rows, recipes.choose("features"), folder), folder


def test_features_learns_the_last_layer_and_nothing_else(photographs, rows, learnt, tmp_path):
    trained, _ = learnt
    assert trained.history.columns.tolist()[0] == "epoch" and len(trained.history) == 1
    row = trained.history.iloc[0]
    assert set(row.index) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert row["accuracy"] == 1
    fresh = architectures.build(recipes.LITE0, photographs.image_shape, 2)
    pretrained.load(fresh)
    pairs = zip(fresh.get_weights()[:-2], trained.model.get_weights()[:-2], strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    # It is an ordinary model: raw pixels in, probabilities out, and the measures are its own.
    trained.model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    for part, prefix in (("train", ""), ("validation", "val_")):
        indices, truth = preprocess.part_of(rows, part)
        found = evaluation.predict(model, photographs, indices, "train")
        assert evaluation.cross_entropy(found, truth) == pytest.approx(
            row[f"{prefix}loss"], abs=1e-4
        )
        assert evaluation.accuracy(truth, found.argmax(axis=1)) == row[f"{prefix}accuracy"]
    indices, truth = preprocess.part_of(rows, "test")
    found = evaluation.predict(model, photographs, indices)
    assert evaluation.accuracy(truth, found.argmax(axis=1)) >= 0.75


def test_features_are_kept_and_looked_at_once(photographs, rows, learnt, monkeypatch, capsys):
    trained, folder = learnt
    assert "Features of 24 pictures" not in capsys.readouterr().out
    trained.tidy()
    assert [path.name for path in folder.iterdir()] == [features.CACHE]
    monkeypatch.setattr(features, "batches", None)  # nothing is looked at again
    again = train(photographs, rows, recipes.choose("features"), folder)
    pairs = zip(again.model.get_weights(), trained.model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("damage", ["damaged", "of others"])
def test_features_that_are_not_these_are_made_anew(photographs, rows, learnt, tmp_path, damage):
    model, cache = learnt[0].model, tmp_path / features.CACHE
    indices, _ = preprocess.part_of(rows, "validation")
    if damage == "damaged":
        cache.write_bytes(b"PK a diary")
    else:
        features.features(model, photographs, indices[::-1].copy(), cache)
    seen = features.features(model, photographs, indices, cache)
    base = keras.Model(model.input, model.layers[-1].input)
    assert np.allclose(seen, np.asarray(base(photographs.train_images[indices])), atol=1e-4)


def test_fine_tuning_goes_on_from_the_head_and_keeps_batch_normalisation(
    photographs, rows, learnt, tmp_path
):
    whole = train(photographs, rows, FINE, tmp_path / "a")
    assert whole.history["epoch"].tolist() == [1, 2] and whole.finished
    # It begins where features ends: an untrained head would cost ln 2.
    assert whole.history["loss"].iloc[0] < 0.3
    same = {
        layer.name: all(
            np.array_equal(one, other)
            for one, other in zip(
                layer.get_weights(),
                learnt[0].model.get_layer(layer.name).get_weights(),
                strict=True,
            )
        )
        for layer in whole.model.layers
        if layer.weights
    }
    kept = {name for name, unchanged in same.items() if unchanged}
    assert kept == {name for name in same if name.endswith("_normalise")}
    # Killed after its first epoch, it goes on to the same weights, bit for bit.
    (tmp_path / "a" / "epoch-0002.npz").unlink()
    resumed = train(photographs, rows, FINE, tmp_path / "a")
    pairs = zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert resumed.history.equals(whole.history)


def test_a_recipe_for_few_pictures_takes_small_batches_and_others_name_it(photographs, rows):
    learn, held_out = training.parts(rows, FINE)
    model = architectures.build("compact", photographs.image_shape, 2)
    large = replace(FINE, batch_size=500)
    assert training.check(model, learn, held_out, large).batch_size == len(learn[0])
    with pytest.raises(LabError, match=r"only 19 to train on.*take the recipe features or fine-"):
        training.check(model, learn, held_out, recipes.choose("one-cycle"))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_last_layer_is_scikit_learns_logistic_regression(classes, class_weights, monkeypatch):
    monkeypatch.setattr(features, "PENALTIES", (0.05,))
    labels = np.sort(RNG.integers(0, classes, 90))[10:]
    # In float64, where two ways to the same scale end at the same weights.
    seen = RNG.normal(size=(80, 7)) * np.arange(1, 8) + labels[:, None]
    seen[:, 3] = 2.5  # a feature that never changes
    seen[:, 5] /= 100  # and one that hardly does
    kernel, bias = features.logistic_regression(seen, labels, classes, class_weights, 1)
    # Standardised, but hardly ever speaking features are divided by 0.3 of the median.
    usual = 0.3 * np.median(np.delete(seen, 3, axis=1).std(axis=0))
    standard = (seen - seen.mean(axis=0)) / np.maximum(seen.std(axis=0), usual)
    weights = None if class_weights == "none" else "balanced"
    linear = LogisticRegression(C=0.05, max_iter=300, class_weight=weights)
    expected = linear.fit(standard, labels).predict_proba(standard)
    scores = seen @ kernel + bias
    found = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.allclose(found, expected, atol=1e-4)


def test_a_feature_that_hardly_ever_speaks_does_not_shout():
    labels = np.repeat([0, 1], 20)
    seen = (RNG.normal(size=(40, 5)) + labels[:, None]).astype(np.float32)
    seen[:, 2] = 0.001 * labels  # it tells the classes apart, and is next to nothing
    kernel, _ = features.logistic_regression(seen, labels, 2, "none", 1)
    others = np.delete(kernel, 2, axis=0)
    assert np.abs(kernel[2]).max() < np.abs(others).max()


def test_a_class_without_pictures_is_never_chosen():
    labels = np.repeat([0, 2], 10)
    seen = (RNG.normal(size=(20, 4)) + labels[:, None]).astype(np.float32)
    kernel, bias = features.logistic_regression(seen, labels, 4, "balanced", 1)
    assert kernel.shape == (4, 4) and bias.shape == (4,)
    assert set((seen @ kernel + bias).argmax(axis=1)) <= {0, 2}


def test_a_single_picture_a_class_is_enough():
    seen = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    kernel, bias = features.logistic_regression(seen, np.array([0, 1]), 2, "none", 1)
    assert (seen @ kernel + bias).argmax(axis=1).tolist() == [0, 1]


def test_balanced_weights_are_scikit_learns():
    labels = np.array([2] * 7 + [0] * 3 + [5])
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert list(features.balanced(labels).values()) == pytest.approx(expected.tolist())


def test_class_weights_change_what_a_training_with_steps_learns(photographs, rows, monkeypatch):
    given = []
    fit = keras.Model.fit

    def noted(self, *inputs, **more):
        given.append(more.get("class_weight"))
        return fit(self, *inputs, **more)

    monkeypatch.setattr(keras.Model, "fit", noted)
    few = rows.drop(rows[(rows["part"] == "train") & (rows["label"] == 0)].index[:7])
    recipe = recipes.Recipe(learning_rate=0.01, batch_size=4, epochs=1, class_weights="balanced")
    for chosen in (recipe, replace(recipe, class_weights="none")):
        training.set_seed(1)
        model = architectures.build("strided", photographs.image_shape, 2)
        training.train(model, photographs, few, chosen, 1)
    counts = few.loc[few["part"] == "train", "label"].value_counts()
    expected = {label: counts.sum() / (2 * counts[label]) for label in (0, 1)}
    assert given == [pytest.approx(expected), None]


@pytest.mark.parametrize(
    ("field", "value"), [("weights", "coco"), ("class_weights", "mine"), ("augmentation", "video")]
)
def test_unknown_choices_are_refused(field, value):
    with pytest.raises(LabError, match=f"{field} is '{value}'; it must be one of"):
        replace(FINE, **{field: value})


def test_a_frozen_recipe_needs_weights_to_keep():
    with pytest.raises(LabError, match="frozen is True with weights 'none'"):
        replace(FINE, frozen=True, weights="none", epochs=1)
    with pytest.raises(LabError, match="and 2 epochs"):
        replace(FINE, frozen=True)
