"""Changed pictures, what a model says of them, and what that is compared with."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convnetlab import charts, datasets, evaluation, handoff, robustness, streams
from convnetlab.errors import LabError

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (5, 9, 2), (1, 1, 1)]
every_corruption = pytest.mark.parametrize("name", robustness.CORRUPTIONS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def noise_pictures(shape, count=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def change(name, images, strength, seed=0):
    """Change pictures by a strength that need not be one of the five."""
    return robustness.CORRUPTIONS[name].change(images, strength, np.random.default_rng(seed))


class Brightness:
    """A model of some classes that goes by the mean pixel alone."""

    def __init__(self, classes=10):
        self.classes = classes

    def predict_on_batch(self, images):
        place = images.reshape(len(images), -1).mean(axis=1) * self.classes / 128
        powers = np.exp(-np.abs(place[:, None] - np.arange(self.classes)))
        return np.float32(powers / powers.sum(axis=1, keepdims=True))


@every_corruption
@every_shape
@pytest.mark.parametrize("count", [1, 2, 7])
def test_no_change_at_step_0_and_pictures_remain_pictures(name, shape, count):
    images = noise_pictures(shape, count)
    kept = images.copy()
    assert np.array_equal(robustness.corrupt(name, images, 0, 3), images)
    for step in robustness.STEPS:
        changed = robustness.corrupt(name, images, step, 3)
        assert changed.dtype == np.uint8 and changed.shape == images.shape
    assert np.array_equal(images, kept), "the originals stay"


@every_corruption
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)], ids=str)
def test_the_damage_grows_with_the_strength(name, shape):
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    spot = 255 * np.exp(-(x**2) / 0.06 - y**2 / 0.3)  # long in one direction
    images = np.repeat(np.repeat(spot[None, ..., None], 12, 0), shape[2], 3).astype(np.uint8)
    damage = [
        np.abs(robustness.corrupt(name, images, step, 3) - images.astype(int)).mean()
        for step in robustness.STEPS
    ]
    assert damage[0] == 0 and (np.diff(damage) > 0).all(), damage


def test_every_corruption_has_a_strength_for_each_step():
    for kind in robustness.CORRUPTIONS.values():
        assert len(kind.strengths) == len(robustness.STEPS)
        assert kind.strengths[0] == 0 and (np.diff(kind.strengths) > 0).all()


@given(st.integers(1, 7))
def test_a_shift_moves_whole_pixels_in_all_directions_and_nothing_comes_back(pixels):
    images = noise_pictures((28, 20, 2), 4)
    down, up = change("shift", images, 100 * pixels / 28)[:2]
    assert np.array_equal(down[pixels:], images[0, :-pixels]) and not down[:pixels].any()
    assert np.array_equal(up[:-pixels], images[1, pixels:]) and not up[-pixels:].any()
    right, left = change("shift", images, 100 * pixels / 20)[2:]
    assert np.array_equal(right[:, pixels:], images[2, :, :-pixels]) and not right[:, :pixels].any()
    assert np.array_equal(left[:, :-pixels], images[3, :, pixels:]) and not left[:, -pixels:].any()


def test_half_a_pixel_is_shared_by_two():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    images[:, 3, 3] = 200
    moved = change("shift", images, 100 / 16)
    assert all(sorted(picture.ravel())[-3:] == [0, 100, 100] for picture in moved)


def test_a_quarter_turn_is_numpys_to_the_left_and_to_the_right():
    images = noise_pictures((9, 9, 2), 5)
    turned = change("rotation", images, 90)
    assert np.array_equal(turned[::2], np.rot90(images[::2], 1, axes=(1, 2)))
    assert np.array_equal(turned[1::2], np.rot90(images[1::2], -1, axes=(1, 2)))


def test_noise_has_the_standard_deviation_that_it_says_and_never_wraps():
    images = np.full((50, 28, 28, 1), 128, np.uint8)
    changed = change("noise", images, 20).astype(float) - 128
    assert changed.std() == pytest.approx(20, rel=0.02) and abs(changed.mean()) < 0.5
    bright, dark = (change("noise", np.full_like(images, value), 20) for value in (250, 5))
    assert bright.min() > 128 > dark.max()


def test_noise_derives_from_seed_and_strength_and_place():
    images = np.full((3, 6, 6, 1), 128, np.uint8)
    drawn = [
        robustness.corrupt("noise", images, step, seed, place)
        for step, seed, place in ((1, 5, 0), (1, 5, 0), (1, 6, 0), (1, 5, 500), (2, 5, 0))
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not any(np.array_equal(drawn[0], other) for other in drawn[2:])
    doubled = 128 + 2 * (drawn[0].astype(int) - 128)
    assert np.abs(drawn[4] - doubled).max() > 10, "each strength has noise of its own"


def test_blur_keeps_the_sum_and_widens_a_line_by_its_sigma():
    images = np.zeros((1, 40, 40, 1), np.uint8)
    images[0, 15:25, 15:25] = 200
    changed = change("blur", images, 2)[0, ..., 0].astype(float)
    assert changed.sum() == pytest.approx(200 * 100, rel=0.01)
    places = np.arange(40) - 19.5
    variance = (changed.sum(axis=0) * places**2).sum() / changed.sum()
    assert variance == pytest.approx((10**2 - 1) / 12 + 4, rel=0.05)


def test_contrast_keeps_each_pictures_mean_and_loses_its_share():
    images = noise_pictures((10, 10, 3), 3)
    images[0] //= 4  # much darker than the others
    changed = change("contrast", images, 50).astype(float)
    assert np.allclose(changed.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), atol=0.5)
    assert np.allclose(changed.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 2, rtol=0.02)


def test_inversion_ends_with_the_negative_and_is_grey_half_way():
    images = noise_pictures((6, 6, 3))
    assert np.array_equal(robustness.corrupt("inversion", images, 5), 255 - images)
    assert set(np.unique(change("inversion", images, 50))) <= {127, 128}


def test_every_row_is_what_the_changed_pictures_say(digits, monkeypatch):
    """In batches or at once; at step 0 the accuracy is that of the pictures as they are."""
    monkeypatch.setattr(streams, "pictures_at_once", lambda shape: 40)
    indices, truth = np.arange(200, 290), digits.test_labels[200:290]
    said = robustness.answers(Brightness(), digits, indices, truth, 4)
    assert len(said) == 36 * 90
    assert not said[["step", "corruption"]].isna().any(axis=None)
    for (name, step), rows in said.groupby(["corruption", "step"]):
        images = digits.test_images[200:290]
        images = np.concatenate(
            [robustness.corrupt(name, images[s : s + 40], step, 4, s) for s in (0, 40, 80)]
        )
        expected = Brightness().predict_on_batch(images)
        assert np.array_equal(rows["right"], expected.argmax(axis=1) == truth), (name, step)
        assert rows["confidence"].to_numpy() == pytest.approx(expected.max(axis=1))
    table = robustness.accuracies(said)
    assert len(table) == 36 and table.groupby("corruption")["accuracy"].nunique().max() > 2
    assert list(table["corruption"].unique()) == list(robustness.CORRUPTIONS)
    row = table[(table["corruption"] == "blur") & (table["step"] == 4)].iloc[0]
    right = said[(said["corruption"] == "blur") & (said["step"] == 4)]["right"]
    assert row["accuracy"] == right.mean()
    assert (row["strength"], row["unit"]) == (2, "pixels (sigma)")
    assert (row["low"], row["high"]) == evaluation.accuracy_interval(int(right.sum()), 90)


def test_one_colour_picture_and_two_classes_are_enough():
    images, labels = noise_pictures((6, 7, 3), 2), np.array([0, 1])
    data = datasets.Dataset("test", images, labels, images, labels, ("no", "yes"))
    said = robustness.answers(Brightness(2), data, np.arange(1), labels[:1], 1)
    assert len(robustness.accuracies(said)) == 36
    assert (robustness.compare(said, said)["p"] == 1).all()


def made_up(right):
    """Answers that are right where `right` (36 conditions in their order, N) says so."""
    conditions = [(name, step) for name in robustness.CORRUPTIONS for step in robustness.STEPS]
    rows = pd.DataFrame(conditions, columns=["corruption", "step"])
    rows = rows.loc[rows.index.repeat(right.shape[1])].reset_index(drop=True)
    return rows.assign(right=right.ravel(), confidence=0.5)


def test_comparisons_are_paired_and_of_the_chosen_strength():
    hard = np.tile(np.arange(80) % 2 == 0, (36, 1))  # half of the pictures, for both
    more = hard.copy()
    more[3, 1:61:2] = True  # shift, step 3: 30 pictures more
    more[9, 1:9:2] = True  # rotation, step 3: four more, too few to tell
    more[16, 1:61:2] = True  # noise, step 4: not asked
    table = robustness.compare(made_up(hard), made_up(more))
    assert list(table.index) == ["clean", *robustness.CORRUPTIONS]
    shift = table.loc["shift"]
    assert list(shift[["first", "second"]]) == [0.5, 0.5 + 30 / 80]
    assert list(shift[["only first", "only second"]]) == [0, 30] and shift["p"] == 2 / 2**30
    assert shift["verdict"] == "better" and table.loc["rotation", "only second"] == 4
    assert set(table.drop("shift")["verdict"]) == {"open"}
    turned = robustness.compare(made_up(more), made_up(hard))
    assert turned.loc["shift", "verdict"] == "worse"
    assert robustness.compare(made_up(hard), made_up(more), 4).loc["noise", "verdict"] == "better"


def test_a_threshold_is_held_against_the_clean_pictures_and_each_corruption():
    said = made_up(np.tile(np.arange(10) < 6, (36, 1)))
    clean, blurred = said["step"] == 0, (said["corruption"] == "blur") & (said["step"] == 5)
    said.loc[clean, "confidence"] = 0.9
    said.loc[blurred, "confidence"] = np.where(np.arange(10) < 4, 0.3, 0.8)
    table = robustness.refusals(said, 0.8, 5)
    assert list(table.index) == ["clean", *robustness.CORRUPTIONS]
    assert table.loc["clean"].tolist() == pytest.approx([0.6, 0.9, 1, 0.6])
    assert table.loc["blur"].tolist() == pytest.approx([0.6, 0.6, 0.6, 2 / 6])
    assert table.loc["noise", "answered"] == 0 and np.isnan(table.loc["noise", "right if answered"])


def test_equal_models_seldom_get_a_verdict():
    random = np.random.default_rng(0)
    tables = [
        robustness.compare(*(made_up(random.random((36, 60)) < 0.7) for _ in range(2)))
        for _ in range(20)
    ]
    alarms = sum((table["verdict"] != "open").any() for table in tables)
    assert alarms <= 4, "of twenty tables one at most is expected"


@every_shape
def test_pictures_of_nothing_are_pictures_of_the_models_size(shape):
    pictures = robustness.nothing(shape, 1)
    assert {"blank", "noise", "a face", "the letter X"} <= set(pictures)
    assert all(image.shape == shape and image.dtype == np.uint8 for image in pictures.values())
    assert not pictures["blank"].any() and (pictures["all white"] == 255).all()
    again = robustness.nothing(shape, 1)
    assert all(np.array_equal(pictures[name], again[name]) for name in pictures)
    if min(shape[:2]) >= 8:
        assert len({image.tobytes() for image in pictures.values()}) == len(pictures)


def test_what_is_said_of_nothing_is_named():
    pictures = {"dark": np.zeros((4, 4, 1), np.uint8), "bright": np.full((4, 4, 1), 128, np.uint8)}
    table = robustness.said_of(Brightness(2), pictures, ("night", "day"))
    assert table["says"].to_dict() == {"dark": "night", "bright": "day"}
    assert table["confidence"].to_numpy() == pytest.approx([1 / (1 + np.exp(-1))] * 2, rel=0.01)


def finished(name, content="abc", indices=range(4)):
    """A run as stages 1 to 4 leave it, with a network that can be loaded."""
    from convnetlab.backend import keras

    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    told = {"content_sha256": content, "source": "digits"}
    rows = "".join(f"test,{index},0\n" for index in indices)
    said = "".join(f"{index},0,0,0.9\n" for index in indices)
    writers = {
        (1, "dataset.json"): lambda path: handoff.write_json(path, told),
        (1, "split.csv"): lambda path: path.write_text("part,index,label\n" + rows),
        (3, "model.keras"): network.save,
        (4, "predictions.csv"): lambda path: path.write_text(
            "index,truth,predicted,confidence\n" + said
        ),
    }
    for (stage, artefact), write in writers.items():
        handoff.open_run(name, stage).save(artefact, write, {})
    return handoff.open_run(name, "further")


def test_another_runs_network_is_taken_if_it_judged_the_same_pictures(runs):
    here = finished("here")
    finished("second")
    network = robustness.other_model("second", here)
    assert network.predict_on_batch(np.ones((2, 8, 8, 1))).shape == (2, 64)
    finished("pictures", content="xyz")
    finished("fewer", indices=range(3))
    for name in ("pictures", "fewer"):
        with pytest.raises(LabError, match=f"{name}.*other test pictures"):
            robustness.other_model(name, here)
    with pytest.raises(LabError, match="no such run"):
        robustness.other_model("never", here)
    (runs / "second" / "model.keras").write_bytes(b"damaged")
    with pytest.raises(LabError, match=r"model\.keras was changed"):
        robustness.other_model("second", here)


def outside(figure):
    """Return all titles and labels that do not lie within the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label)]
    boxes = {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}
    return [
        name
        for name, box in boxes.items()
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]


def test_the_figure_tells_what_it_shows(digits):
    said = robustness.answers(Brightness(), digits, np.arange(60), digits.test_labels[:60], 1)
    table = robustness.accuracies(said)
    examples = robustness.examples(digits.test_images[0], 1)
    assert all(images.shape == (6, 8, 8, 1) for images in examples.values())
    assert all(np.array_equal(images[0], digits.test_images[0]) for images in examples.values())
    chart = charts.robustness({"one": table, "two": table}, examples, "Six curves")
    worst = table.loc[table["accuracy"].idxmin()]
    assert f"two: {table['accuracy'].iloc[0]:.3f} on clean pictures" in chart.alt
    assert (
        f"{worst['accuracy']:.3f}, with {worst['corruption']} {worst['strength']:g} " in chart.alt
    )
    panels = chart.axes
    assert [axes.get_title() for axes in panels] == list(robustness.CORRUPTIONS)
    assert all(len(axes.child_axes) == 6 for axes in panels)
    assert not outside(chart)
    for axes, name in zip(panels, robustness.CORRUPTIONS, strict=True):
        lines = [bars.lines[0].get_ydata() for bars in axes.containers]
        expected = table[table["corruption"] == name]["accuracy"]
        assert len(lines) == 2 and all(np.array_equal(line, expected) for line in lines)
