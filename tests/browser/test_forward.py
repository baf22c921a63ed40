"""The page's forward pass in a real browser, against LiteRT's interpreter and Keras.

int8 is compared with the interpreter as `edge.interpreter` opens it, value by value. On x86 its
kernels are XNNPACK's, but for softmax, which is LiteRT's own. XNNPACK rounds alike on every
processor; that softmax has a table of 16 bits on ARM, so there a last step is allowed.
"""

import base64
import functools
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import REFUSED, RUN, SHAPE, layers, small

from convnetlab import architectures, datasets, edge, pretrained
from convnetlab.backend import keras

pytestmark = pytest.mark.browser

PAGE = Path(edge.__file__).parent / "page"
SCRIPTS = ("flatbuffer.js", "operators.js", "network.js")
NETWORKS = {
    **{name: (name, {}) for name in architectures.ARCHITECTURES},
    "alexnet in groups": ("alexnet", {"groups": 2}),
    "googlenet with its heads": ("googlenet", {"auxiliary_heads": True}),
}
STEP = 0 if platform.machine() in ("x86_64", "AMD64") else 1

HELPERS = """
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** What a network says of pictures that lie one behind the other. */
function recognise(file, pictures) {
  const network = new Network(bytesOf(file));
  const [height, width, channels] = network.inputShape;
  const size = height * width * channels;
  const pixels = bytesOf(pictures);
  const answers = [];
  for (let start = 0; start < pixels.length; start += size) {
    const { probabilities, output } = network.run(pixels.subarray(start, start + size));
    answers.push([Array.from(probabilities), Array.from(output)]);
  }
  return answers;
}

/** Why a file is refused; "" if it is not, and runs. */
function refusal(file) {
  let network;
  try {
    network = new Network(bytesOf(file));
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return error.message;
  }
  network.run(new Uint8Array(network.input.values.length));
  return "";
}
"""


def base64_of(data):
    return base64.b64encode(bytes(data)).decode()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """Call a function of a page that has the forward pass and `HELPERS`."""
    script = "\n".join((PAGE / name).read_text("utf-8") for name in SCRIPTS) + HELPERS
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><script>{script}</script>', "utf-8")
    browser.get(path.as_uri())

    def call(name, *arguments):
        coded = [base64_of(data) for data in arguments]
        return browser.execute_script(f"return {name}(...arguments)", *coded)

    return call


@dataclass
class Trained:
    """A network's files, and the pictures on which it is tried."""

    model: keras.Model
    float32: bytes
    int8: bytes
    pictures: np.ndarray


@functools.cache
def trained(name):
    """Make a network that recognises digits, without a training."""
    architecture, options = NETWORKS[name]
    photographs = architecture == "efficientnet-lite0"
    mnist = datasets.load("mnist")
    prepare = coloured if photographs else np.asarray
    learnt, pictures = prepare(mnist.train_images[:400]), prepare(mnist.test_images[:200])
    keras.utils.set_random_seed(1)
    model = architectures.build(architecture, learnt.shape[1:], 10, **options)
    if photographs:
        pretrained.load(model)
    else:
        stir(model, learnt[:200])
    solve(model, learnt, mnist.train_labels[:400])
    files = (edge.export(model, variant, learnt[:20]) for variant in ("float32", "int8"))
    return Trained(model, *files, pictures)


def coloured(images):
    """48 × 48 pixels of three different channels, from 28 × 28 grey ones with a margin of 4."""
    grey = images[:, 2:-2, 2:-2, 0].repeat(2, 1).repeat(2, 2)
    return np.stack([grey, 255 - grey, np.roll(grey, 5, axis=1) // 2], axis=-1)


def stir(model, pictures):
    """Give a new network biases (the converter drops zeros) and figures to normalise by."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0  # they become those of the next batch
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
    model(pictures.astype(np.float32), training=True)


def solve(model, pictures, labels):
    """Make a network's last layer a classifier: ridge regression on the features before it."""
    last = model.get_layer("probabilities")
    features = keras.Model(model.inputs, last.input)
    found = np.array(features(pictures.astype(np.float32)), float)
    centred = found - found.mean(0)
    square = centred.T @ centred
    # A strong penalty: no weights so large that they show how float32 rounds the features.
    square += 10 * np.trace(square) / len(square) * np.eye(len(square))
    kernel = np.linalg.solve(square, centred.T @ (10 * np.eye(10)[labels] - 1))
    last.set_weights([kernel, -found.mean(0) @ kernel])


def answers(page, file, pictures):
    """What the page says: probabilities, and the values of the last tensor."""
    said = page("recognise", file, pictures)
    return [np.array(part) for part in zip(*said, strict=True)]


def litert(file, pictures):
    """The interpreter's output, as it is."""
    network = edge.interpreter(file)
    entry, end = network.get_input_details()[0], network.get_output_details()[0]
    said = []
    for picture in pictures:
        network.set_tensor(entry["index"], picture[None].astype(entry["dtype"]))
        network.invoke()
        said.append(network.get_tensor(end["index"])[0])
    return np.array(said)


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_is_what_litert_says(page, name):
    network = trained(name)
    expected = litert(network.int8, network.pictures)
    # It recognises something, and not always the same: else equality would say little.
    assert len(np.unique(expected.argmax(1))) >= 5 and len(np.unique(expected)) > 40
    probabilities, output = answers(page, network.int8, network.pictures)
    assert np.abs(output - expected.astype(int)).max() <= STEP
    assert np.array_equal(probabilities, output / 256)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_what_keras_says(page, name):
    network = trained(name)
    said = network.model(network.pictures.astype(np.float32))
    expected = np.array(said[0] if isinstance(said, list | tuple) else said)
    probabilities, output = answers(page, network.float32, network.pictures)
    assert np.abs(probabilities - expected).max() <= 1e-5
    assert np.array_equal(probabilities, output)
    assert edge.unrunnable(network.float32) == edge.unrunnable(network.int8) == []


@pytest.mark.parametrize("name", RUN)
def test_a_students_layer_is_what_litert_and_keras_say(page, name):
    model = small(RUN[name])
    pictures = np.random.default_rng(2).integers(0, 256, (30, *SHAPE), dtype=np.uint8)
    file = edge.export(model, "int8", pictures)
    output = answers(page, file, pictures)[1]
    assert np.abs(output - litert(file, pictures).astype(int)).max() <= STEP
    assert len(np.unique(output)) > 30
    probabilities = answers(page, edge.export(model, "float32"), pictures)[0]
    expected = np.array(model(pictures.astype(np.float32)))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_named_at_export_is_refused(page, name):
    file = edge.export(small(REFUSED[name]), "float32")
    assert re.match("This page cannot run .+[.]", page("refusal", file))
    assert edge.unrunnable(file) == [name]


def test_export_knows_the_pages_table(browser, page):
    run = "return [Object.keys(OPERATORS), Object.values(KINDS).map(({ kind }) => kind)]"
    for names in browser.execute_script(run):
        assert sorted(names) == sorted(edge.RUNNABLE)


def test_every_layer_is_described(browser, page):
    network = trained("reference")
    say = """const network = new Network(bytesOf(arguments[0]));
    return network.run(bytesOf(arguments[1])).layers.map((layer) => {
      return { ...layer, values: Array.from(layer.values) };
    });"""
    picture = network.pictures[0]
    said = browser.execute_script(say, base64_of(network.float32), base64_of(picture))
    by_kind = {layer["kind"]: layer for layer in said}
    convolution = by_kind["CONV_2D"]
    assert convolution["title"] == "convolution 3 × 3, 32 filters, ReLU"
    assert convolution["shape"] == [26, 26, 32] and convolution["parameters"] == 320
    assert by_kind["MAX_POOL_2D"]["title"] == "largest of each 2 × 2"
    assert sum(layer["parameters"] for layer in said) == network.model.count_params()
    maps = keras.Model(network.model.inputs, network.model.get_layer("convolution").output)
    expected = np.array(maps(picture[None].astype(np.float32)))
    np.testing.assert_allclose(convolution["values"], expected.ravel(), rtol=1e-5, atol=1e-6)
    inside = browser.execute_script(say, base64_of(network.int8), base64_of(picture))
    quantised = next(layer for layer in inside if layer["kind"] == "CONV_2D")
    # Numbers that are meant, not those of eight bits: one step of 256 from the float32 ones.
    difference = np.abs(np.array(quantised["values"]) - expected.ravel()).max()
    assert 0 < difference < 2 * expected.max() / 255
    assert quantised["parameters"] == 320


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "This is not a LiteRT file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "This is not a LiteRT file"),
        (bytes(4) + b"TFL3" + bytes(100), "version 0 of the format, not 3"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), "damaged"),
    ],
)
def test_a_foreign_file_is_refused_in_words(page, file, message):
    assert message in page("refusal", file)


def test_a_damaged_file_is_refused_or_runs(page):
    def branches(x):
        return layers.Concatenate()([layers.DepthwiseConv2D(3, 2)(x), layers.MaxPooling2D(3, 2)(x)])

    pictures = np.random.default_rng(2).integers(0, 256, (8, *SHAPE), dtype=np.uint8)
    whole = edge.export(small(branches), "int8", pictures)
    assert page("refusal", whole) == ""
    places = st.integers(0, len(whole) - 1)

    @settings(max_examples=150)
    @given(st.dictionaries(places, st.integers(0, 255), max_size=12), places | st.none())
    def refused_or_run(changes, end):
        file = bytearray(whole)
        for place, value in changes.items():
            file[place] = value
        page("refusal", bytes(file[:end]))  # it raises at any error but ModelError

    refused_or_run()


def test_no_name_is_given_twice():
    """The page's scripts become one: a second function of a name would take the first's place."""
    names = []
    for path in PAGE.glob("*.js"):
        code = path.read_text("utf-8")
        names += re.findall(r"^(?:async )?(?:function\*?|class|const|let|var) (\w+)", code, re.M)
        for several in re.findall(r"^(?:const|let|var) [{\[]([^}\]]+)[}\]]", code, re.M):
            names += re.findall(r"\w+", several)
    assert len(names) > 50 and sorted(names) == sorted(set(names))
