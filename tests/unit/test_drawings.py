"""New drawings go through the steps that a data set's own drawings went through."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from convnetlab import datasets, drawings, prediction

DRAWN = drawings.Drawings(is_dark=True, share=20 / 28)


@pytest.fixture(scope="module")
def mnist():
    return datasets.load("mnist")


def test_drawings_are_known_by_their_ground_and_their_size(mnist, digits):
    found = drawings.drawings_of(mnist)
    assert found.is_dark and found.share == pytest.approx(20 / 28), "LeCun's box of 20 pixels"
    assert drawings.drawings_of(digits) == drawings.Drawings(True, 1.0)


def test_a_digit_of_the_data_sets_own_size_stays_and_its_negative_is_inverted(mnist, tmp_path):
    picture = mnist.test_images[0]
    for image, note in ((picture, ""), (255 - picture, "inverted")):
        Image.fromarray(image[..., 0]).save(tmp_path / "digit.png")
        grey = prediction.read_grey(tmp_path / "digit.png")
        found, told = drawings.as_drawing(grey, 28, 28, DRAWN)
        assert np.array_equal(found, picture) and told == note


def test_a_photograph_of_a_digit_becomes_one_of_mnists(mnist):
    """Dark ink on paper that is lit from one side, far from the middle: nearly the old pixels."""
    chance, likeness = np.random.default_rng(0), []
    for image in mnist.train_images[:40, ..., 0]:
        large = np.asarray(Image.fromarray(image).resize((252, 252), Image.Resampling.BICUBIC))
        page = np.zeros((600, 800))
        page[300:552, 60:312] = large
        light = 220 - 60 * np.arange(800) / 800
        photograph = light * (1 - 0.7 * page / 255) + chance.normal(0, 4, page.shape)
        found, told = drawings.as_drawing(photograph.clip(0, 255).astype(np.uint8), 28, 28, DRAWN)
        assert told == "inverted, ink cut out and centred"
        likeness.append(np.corrcoef(found.ravel(), image.ravel())[0, 1])
        rows, columns = np.indices((28, 28)) * found[..., 0] / found.sum()
        assert abs(rows.sum() - 14) < 1 and abs(columns.sum() - 14) < 1
    assert np.median(likeness) > 0.95 and min(likeness) > 0.5


@pytest.mark.parametrize("level", [0, 200])
def test_an_empty_page_is_said_to_be_empty(level):
    found, told = drawings.as_drawing(np.full((90, 60), level, np.uint8), 28, 28, DRAWN)
    assert found.shape == (28, 28, 1) and np.ptp(found) == 0
    assert told.endswith("no ink found")


def test_mnist_itself_is_normalised_already(mnist):
    """Cut out, fitted and centred again, at least 999 of 1,000 test pictures stay as they are."""
    found = (drawings.normalised(image[..., 0], 28, 28, DRAWN) for image in mnist.test_images)
    same = [np.array_equal(*pair) for pair in zip(found, mnist.test_images, strict=True)]
    assert len(same) == 10_000 and np.mean(same) >= 0.999


@pytest.mark.parametrize(("factor", "place"), [(1, (3, 8)), (7, (0, 91)), (10, (44, 5))])
def test_place_and_size_on_the_canvas_do_not_matter(mnist, factor, place):
    for image in mnist.test_images[:50, ..., 0]:
        large = image.repeat(factor, axis=0).repeat(factor, axis=1)
        canvas = np.pad(large, [(at, 100 - at) for at in place])
        found = drawings.normalised(canvas, 28, 28, DRAWN)
        assert np.array_equal(found[..., 0], image)


def test_dark_ink_on_white_is_given_back_as_such(mnist):
    white = drawings.Drawings(is_dark=False, share=20 / 28)
    image = mnist.test_images[0, ..., 0]
    canvas = np.pad(image, 30)
    assert np.array_equal(drawings.normalised(canvas, 28, 28, white)[..., 0], 255 - image)
    assert drawings.naive(canvas, 28, 28, is_dark=False).max() == 255
    again = next(drawings.painted(255 - image[None], 0, is_dark=False))
    assert np.median(again) == 0 and again.max() == image.max()


def test_an_empty_canvas_gives_nothing():
    empty = np.zeros((280, 280), np.uint8)
    assert drawings.normalised(empty, 28, 28, DRAWN) is None
    assert drawings.naive(empty, 28, 28).tolist() == np.zeros((28, 28, 1)).tolist()
    assert next(drawings.painted(np.zeros((1, 28, 28), np.uint8), 0)).shape == (280, 280)


sides = st.integers(1, 24)
inks = arrays.arrays(np.uint8, st.tuples(sides, sides), elements=st.integers(0, 255))


@given(inks, sides, sides)
def test_area_average_is_the_mean_of_a_finely_cut_picture(image, height, width):
    """The oracle: cut each pixel so finely that the larger ones hold whole numbers of pieces."""
    fine = image.repeat(height, axis=0).repeat(width, axis=1)
    blocks = fine.reshape(height, image.shape[0], width, image.shape[1])
    assert np.allclose(drawings.area_average(image, height, width), blocks.mean(axis=(1, 3)))


@given(inks, st.integers(8, 40), st.integers(8, 40), st.floats(0.3, 1))
def test_all_ink_is_on_the_page_and_as_near_the_middle_as_it_fits(image, height, width, share):
    drawn = drawings.Drawings(is_dark=True, share=share)
    page = drawings.normalised(image, height, width, drawn)
    box = drawings.ink_box(image)
    if box is None:
        assert page is None
        return
    rows, columns = box[1] - box[0], box[3] - box[2]
    scale = share * min(height / rows, width / columns)
    extent = [max(1, int(np.floor(side * scale + 0.5))) for side in (rows, columns)]
    small = drawings.area_average(image[box[0] : box[1], box[2] : box[3]], *extent)
    whole = np.floor(small + 0.5)
    corners = [
        (top, left)
        for top in range(height - extent[0] + 1)
        for left in range(width - extent[1] + 1)
        if np.array_equal(page[top : top + extent[0], left : left + extent[1], 0], whole)
    ]
    assert corners and page.sum() == whole.sum()
    middle = [(np.indices(small.shape)[axis] * small).sum() / small.sum() for axis in (0, 1)]
    best = [
        min(max(side / 2 - at, 0), side - n)
        for side, at, n in zip((height, width), middle, extent, strict=True)
    ]
    assert min(np.abs(np.subtract(corner, best)).max() for corner in corners) <= 0.5 + 1e-9


def test_painted_drawings_differ_in_size_and_place_and_are_repeatable(mnist):
    images = mnist.test_images[:60]
    first, again, other = (list(drawings.painted(images, seed, 100)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    boxes = np.array([drawings.ink_box(canvas) for canvas in first])
    longer = np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2])
    assert 24 <= longer.min() < 35 and 75 < longer.max() <= 85
    assert np.ptp(boxes[:, 0]) > 40 and np.ptp(boxes[:, 2]) > 40
    for image, canvas in zip(images, first, strict=True):
        assert set(np.unique(canvas)) <= set(np.unique(image)), "no smoothing, no new grey levels"
    found = [drawings.normalised(canvas, 28, 28, DRAWN) for canvas in first]
    assert np.median(likeness(found, images)) > 0.97 and min(likeness(found, images)) > 0.5
    found = [drawings.naive(canvas, 28, 28) for canvas in first]
    assert np.median(likeness(found, images)) < 0.4, "elsewhere, and of another size"


def likeness(found, images):
    return [
        np.corrcoef(one.ravel(), two.ravel())[0, 1] for one, two in zip(found, images, strict=True)
    ]
