"""Names of classes in figures: short, distinct, drawable; in figures of 2 to 100 classes."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_figures import test_a_figure_is_described_and_nothing_is_clipped as check_figure

from convnetlab import figures, inside_figures, lettering
from convnetlab.lettering import short_names

RNG = np.random.default_rng(0)
LONG = ["Golden retriever, adult", "Golden retriever, puppy", "Golden retriever", "$5 or $10_{"]
SCRIPTS = ["猫", "قط", "🐶 dog", "हिन्दी", "Größe", "кошка", "γάτα", "a\nb"]
MANY = [f"class of flowers number {number}" for number in range(40)]
ALIKE = [f"the very same beginning {number:03} and the very same end" for number in range(100)]
SETS = {"two": ["cat", "dog"], "long": LONG, "scripts": SCRIPTS, "40": MANY, "100": ALIKE}
told = pytest.mark.filterwarnings("ignore:Figures cannot show")


@pytest.mark.parametrize("classes", SETS.values(), ids=SETS)
@pytest.mark.parametrize("longest", [10, 14, 24])
@told
def test_short_names_are_short_and_tell_the_classes_apart(classes, longest):
    names = short_names(classes, longest)
    assert len(set(names)) == len(classes)
    assert all(len(name.replace("\\$", "$")) <= longest for name in names)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=12, unique=True))
@told
def test_whatever_classes_are_called_every_letter_is_drawn(classes):
    names = short_names(classes)
    assert len(names) == len(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of a letter that no font has
        figure = figures.LabFigure("x", 2, 2)
        for name in names:
            figure.text(0.1, 0.5, name)
        assert figure.png


def test_what_cannot_be_drawn_has_a_number_and_is_told_once():
    classes = ["cat", "قط", "\U0001f436 puppy"]
    with pytest.warns(UserWarning, match="class 1 is “قط”, class 2 is “\U0001f436 puppy”"):
        assert short_names(classes) == ["cat", "class 1", "class 2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert short_names(classes) == ["cat", "class 1", "class 2"]


@told
def test_an_installed_font_with_the_letters_is_used():
    """No script is missing from DejaVu in a font that is there everywhere: take it away instead."""
    with mpl.rc_context({"font.family": ["cmr10"]}):  # Latin letters only
        assert "ж" not in lettering.letters()
        assert short_names(["жук", "cat"]) == ["жук", "cat"]
        assert "ж" in lettering.letters() and mpl.rcParams["font.family"][0] == "cmr10"


def matrix(classes):
    counts = RNG.integers(0, 3, (len(classes), len(classes)))
    return counts + 20 * np.eye(len(classes), dtype=int)


def grid(classes):
    labels = np.arange(10) % len(classes)
    images = RNG.integers(0, 256, (10, 128, 128, 3)).astype(np.uint8)
    return figures.image_grid(images, labels, classes, "Grid", labels[::-1], np.full(10, 0.5, "f"))


def feature_map(classes):
    labels = np.arange(3 * len(classes)) % len(classes)
    points = {name: RNG.normal(size=(len(labels), 2)) for name in ("PCA", "t-SNE")}
    return inside_figures.feature_map(points, labels, labels[::-1], classes, "Features, flattened")


def answer(classes):
    image = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    probabilities = RNG.dirichlet(np.ones(len(classes))).astype("f")
    return inside_figures.answer(
        image, image[..., 0].astype("f"), probabilities, classes, "a $5 .jpg"
    )


def heat_maps(classes):
    images = RNG.integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    labels = np.arange(4) % len(classes)
    captions = inside_figures.answers(labels, labels[::-1], classes)
    return inside_figures.heat_maps(images, captions, {"Grad-CAM": images[..., 0] / 1.0}, "Warm")


DRAWN = {
    "confusion": lambda classes: figures.confusion(matrix(classes), classes, "Confusion matrix"),
    "grid": grid,
    "feature map": feature_map,
    "answer": answer,
    "heat maps": heat_maps,
}


@pytest.mark.parametrize("classes", [SETS[name] for name in ("two", "long", "scripts", "40")])
@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@told
def test_figures_with_named_classes_are_whole(draw, classes):
    check_figure(lambda: draw(classes))


@told
def test_a_confusion_matrix_of_a_hundred_classes_is_drawn_in_seconds_with_its_mistakes():
    figure = figures.confusion(matrix(ALIKE), ALIKE, "Confusion matrix")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == figures.NUMBERS and "0" not in shown
    check_figure(lambda: figure)
