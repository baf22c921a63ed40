"""Changed pictures, what a model says of them, and what that is compared with."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convnetlab import datasets, evaluation, handoff, robustness, robustness_figures
from convnetlab.errors import LabError

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (5, 9, 2), (1, 1, 1)]
every_corruption = pytest.mark.parametrize("name", robustness.CORRUPTIONS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def noise_pictures(shape, count=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def blobs(shape, count=12):
    """Smooth bright spots in the middle of a dark picture, long in one direction."""
    height, width, channels = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    spot = 255 * np.exp(-(x**2) / 0.06 - y**2 / 0.3)
    return np.repeat(np.repeat(spot[None, ..., None], count, 0), channels, 3).astype(np.uint8)


class Constant:
    """A model that always says the same class, equally sure."""

    def predict_on_batch(self, images):
        return np.tile(np.float32([0.2, 0.7, 0.1]), (len(images), 1))


class Brightness:
    """A model of ten classes that goes by the mean pixel alone."""

    def predict_on_batch(self, images):
        place = (images.reshape(len(images), -1).mean(axis=1) / 12).clip(0, 9)
        logits = -np.abs(place[:, None] - np.arange(10))
        powers = np.exp(logits)
        return np.float32(powers / powers.sum(axis=1, keepdims=True))


@every_corruption
@every_shape
def test_strength_0_changes_nothing(name, shape):
    images = noise_pictures(shape)
    changed = robustness.corrupt(name, images, 0, 3)
    assert changed.dtype == np.uint8 and np.array_equal(changed, images)


@every_corruption
@every_shape
def test_shape_and_type_stay_and_the_originals_too(name, shape):
    images = noise_pictures(shape)
    kept = images.copy()
    for strength in robustness.CORRUPTIONS[name].strengths:
        changed = robustness.corrupt(name, images, strength, 3)
        assert changed.dtype == np.uint8 and changed.shape == images.shape
    assert np.array_equal(images, kept)


@every_corruption
def test_the_same_arguments_give_the_same_pictures(name):
    images = blobs((12, 12, 1), 40)
    strength = robustness.CORRUPTIONS[name].strengths[1]
    first, again, other = (robustness.corrupt(name, images, strength, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    at_random = name in ("shift", "rotation", "noise")
    assert np.array_equal(first, other) != at_random


@every_corruption
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)], ids=str)
def test_the_damage_grows_with_the_strength(name, shape):
    images = blobs(shape).astype(int)
    damage = [
        np.abs(robustness.corrupt(name, images.astype(np.uint8), strength, 3) - images).mean()
        for strength in (0, *robustness.CORRUPTIONS[name].strengths)
    ]
    assert (np.diff(damage) > 0).all(), damage


@every_corruption
def test_every_corruption_has_five_rising_strengths_within_its_bounds(name):
    kind = robustness.CORRUPTIONS[name]
    assert len(kind.strengths) == 5
    assert kind.strengths[0] > 0 and (np.diff(kind.strengths) > 0).all()
    assert kind.strengths[-1] <= kind.most
    assert len({kind.form.format(strength) for strength in kind.strengths}) == 5


@given(st.integers(1, 5), st.integers(0, 5))
def test_a_shift_moves_a_single_pixel_exactly_so_far(step, seed):
    images = np.zeros((8, 28, 28, 1), np.uint8)
    images[:, 14, 13] = 200
    moved = robustness.corrupt("shift", images, step / 14, seed)
    assert (moved.reshape(8, -1).sum(axis=1) == 200).all()
    places = np.argwhere(moved)[:, 1:3] - (14, 13)
    assert (np.abs(places).sum(axis=1) == 2 * step).all() and (places == 0).any(axis=1).all()


def test_shifts_and_turns_go_in_all_directions():
    images = np.zeros((60, 28, 28, 1), np.uint8)
    images[:, 14, 13] = 200
    moved = robustness.corrupt("shift", images, 1 / 14, 0)
    assert len({tuple(place) for place in np.argwhere(moved)[:, 1:3] - (14, 13)}) == 4
    turned = robustness.corrupt("rotation", blobs((9, 9, 1), 60), 30, 0)
    assert len({picture.tobytes() for picture in turned}) == 2


def test_half_a_pixel_is_shared_by_two():
    images = np.zeros((4, 7, 7, 1), np.uint8)
    images[:, 3, 3] = 200
    moved = robustness.corrupt("shift", images, 0.5 / 7, 0)
    assert all(sorted(picture.ravel())[-3:] == [0, 100, 100] for picture in moved)


def test_a_quarter_turn_is_numpys():
    images = noise_pictures((9, 9, 2), 20)
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0
    turned = robustness.corrupt("rotation", images, 90, 0)
    ways = [np.rot90(images, times, axes=(1, 2)) for times in (1, 3)]
    found = [[np.array_equal(*pair) for pair in zip(turned, way, strict=True)] for way in ways]
    assert np.logical_xor(*found).all() and all(map(any, found))


def test_positive_degrees_turn_as_the_docstring_says():
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 0, 4] = 255
    random = type("ToTheLeft", (), {"random": lambda self, count: np.zeros(count)})()
    turned = robustness.rotation(image, 90, random)
    assert turned[0, 4, 0] == 255, "what was at the top is at the left"


@pytest.mark.parametrize("name, strength", [("shift", 2 / 14), ("rotation", 40)])
@pytest.mark.parametrize("ground", [0, 90, 255])
def test_what_comes_in_is_the_pictures_own_background(name, strength, ground):
    images = np.full((6, 14, 14, 3), ground, np.uint8)
    assert (robustness.corrupt(name, images, strength, 0) == ground).all()
    images[:, 0, 5:8] = 130  # a stroke that touches the border does not become a bar
    changed = robustness.corrupt(name, images, strength, 0)
    assert (changed != ground).sum() <= 4 * 6 * 3 * 3


def test_contrast_keeps_the_mean_and_loses_its_share():
    images = noise_pictures((10, 10, 1), 3)
    changed = robustness.corrupt("contrast", images, 0.5).astype(float)
    assert np.allclose(changed.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), atol=0.5)
    assert np.allclose(changed.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 2, rtol=0.02)
    grey = robustness.corrupt("contrast", images, 1)
    assert all(len(np.unique(picture)) == 1 for picture in grey)


def test_full_inversion_is_the_negative_and_half_of_it_is_grey():
    images = noise_pictures((6, 6, 3))
    assert np.array_equal(robustness.corrupt("inversion", images, 1), 255 - images)
    assert set(np.unique(robustness.corrupt("inversion", images, 0.5))) <= {127, 128}


def test_noise_has_the_standard_deviation_that_it_says():
    images = np.full((50, 28, 28, 1), 128, np.uint8)
    changed = robustness.corrupt("noise", images, 20, 1).astype(float) - 128
    assert changed.std() == pytest.approx(20, rel=0.02) and abs(changed.mean()) < 0.5


def test_blur_keeps_the_sum_inside_and_is_wider_by_its_sigma():
    images = np.zeros((1, 31, 31, 1), np.uint8)
    images[0, 10:21, 10:21] = 200
    changed = robustness.corrupt("blur", images, 2)[0, ..., 0].astype(float)
    assert changed.sum() == pytest.approx(200 * 121, rel=0.01)
    places = np.arange(31) - 15
    variance = (changed.sum(axis=0) * places**2).sum() / changed.sum()
    assert variance == pytest.approx(10 + 4, rel=0.05)  # of eleven equal steps, and of the blur


def test_each_strength_has_the_same_luck():
    images = np.full((3, 6, 6, 1), 128, np.uint8)
    weak, strong = (robustness.corrupt("noise", images, by, 5).astype(int) - 128 for by in (10, 20))
    assert np.abs(strong - 2 * weak).max() <= 1


def test_what_makes_no_sense_is_refused():
    images = noise_pictures((8, 8, 1))
    with pytest.raises(LabError, match=r"'fog'.*shift, rotation"):
        robustness.corrupt("fog", images, 1)
    with pytest.raises(LabError, match=r"strength of shift is -0.1"):
        robustness.corrupt("shift", images, -0.1)
    with pytest.raises(LabError, match="from 0 to 1"):
        robustness.corrupt("inversion", images, 1.5)
    with pytest.raises(LabError, match="nan"):
        robustness.corrupt("noise", images, float("nan"))
    for wrong in (images[..., 0], images.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            robustness.corrupt("noise", wrong, 1)


def test_at_strength_0_the_accuracy_is_that_of_the_pictures(digits):
    indices, truth = np.arange(200, 330), digits.test_labels[200:330]
    table = robustness.evaluate(Brightness(), digits, indices, truth, 1)
    said = Brightness().predict_on_batch(digits.test_batch(indices))
    clean = table[table["strength"] == 0]
    assert len(clean) == len(robustness.CORRUPTIONS)
    assert (clean["accuracy"] == evaluation.accuracy(truth, said.argmax(axis=1))).all()
    assert clean["confidence"].to_numpy() == pytest.approx(said.max(axis=1).mean())
    right = round(130 * clean["accuracy"].iloc[0])
    assert tuple(clean[["low", "high"]].iloc[0]) == evaluation.accuracy_interval(right, 130)


def test_every_row_is_what_the_changed_pictures_say(digits):
    indices, truth = np.arange(90), digits.test_labels[:90]
    table = robustness.evaluate(Brightness(), digits, indices, truth, 4)
    assert len(table) == 36 and not table.duplicated(["corruption", "strength"]).any()
    for row in table[table["strength"] > 0].itertuples():
        images = robustness.corrupt(row.corruption, digits.test_images[:90], row.strength, (4, 0))
        said = Brightness().predict_on_batch(images)
        assert row.accuracy == (said.argmax(axis=1) == truth).mean(), row
        assert row.confidence == pytest.approx(said.max(axis=1).mean()), row
    assert table.groupby("corruption")["accuracy"].nunique().max() > 2, "the test could fail"


def test_a_picture_is_changed_alike_however_many_others_there_are(digits, monkeypatch):
    indices = np.arange(250)
    monkeypatch.setattr(robustness, "BATCH", 100)
    everything = robustness.predict(Brightness(), digits, indices, "noise", 60, 1)
    few = robustness.predict(Brightness(), digits, indices[:30], "noise", 60, 1)
    assert np.array_equal(everything[:30], few)
    images = robustness.corrupt("noise", digits.test_images[200:250], 60, (1, 200))
    assert np.array_equal(everything[200:], Brightness().predict_on_batch(images))


def test_a_model_that_never_looks_is_never_hurt():
    images = noise_pictures((8, 8, 3), 30)
    truth = np.arange(30) % 3
    data = datasets.Dataset("test", images, truth, images, truth, ("a", "b", "c"))
    table = robustness.evaluate(Constant(), data, np.arange(30), truth, 1)
    assert table["accuracy"].unique().tolist() == [1 / 3]
    assert table["confidence"].to_numpy() == pytest.approx(0.7)
    said = robustness.answers(Constant(), data, np.arange(30), 1)
    gains = robustness.gains(said, said, truth)
    assert (gains[["gain", "low", "high"]] == 0).all(axis=None)
    assert set(gains["verdict"]) == {"open"}


def test_a_single_picture_has_no_interval_of_its_gain(digits):
    indices, truth = np.arange(1), digits.test_labels[:1]
    said = robustness.answers(Brightness(), digits, indices, 1)
    gains = robustness.gains(said, said, truth)
    assert gains["low"].isna().all() and set(gains["verdict"]) == {"open"}
    assert len(robustness.accuracies(said, truth)) == 36


def made_up(right):
    """Answers to pictures of class 0 that are right where `right` (conditions, N) says so."""
    return robustness.Answers(
        np.where(right, 0, 1).astype(np.int64), np.full(np.shape(right), 0.5, np.float32)
    )


def test_gains_are_paired_means_over_the_strengths():
    """A second model that is right wherever the first is, and at one more strength of shift."""
    count = len(robustness.conditions())
    hard = np.tile(np.arange(80) % 2 == 0, (count, 1))  # half of the pictures, for both
    more = hard.copy()
    more[3, 1:60:2] = True  # the third strength of shift, on 30 more pictures
    table = robustness.gains(made_up(hard), made_up(more), np.zeros(80, int))
    assert list(table.index) == ["clean", *robustness.CORRUPTIONS]
    shift = table.loc["shift"]
    assert (shift["before"], shift["after"]) == (0.5, pytest.approx(0.5 + 30 / 80 / 5))
    assert shift["verdict"] == "better" and 0 < shift["low"] < shift["gain"] < shift["high"] < 0.2
    assert (table.drop("shift")["verdict"] == "open").all()
    turned = robustness.gains(made_up(more), made_up(hard), np.zeros(80, int))
    assert turned.loc["shift", "verdict"] == "worse"
    assert turned.loc["shift", "gain"] == -shift["gain"]


def test_the_intervals_of_gains_cover_no_gain_about_nineteen_times_in_twenty():
    random = np.random.default_rng(0)
    count, verdicts = len(robustness.conditions()), []
    for number in range(30):
        first, second = (made_up(random.random((count, 60)) < 0.7) for _ in range(2))
        table = robustness.gains(first, second, np.zeros(60, int), number)
        verdicts += table["verdict"].tolist()
    # 210 comparisons of equals: about ten false alarms are expected.
    assert 1 <= sum(verdict != "open" for verdict in verdicts) <= 25


def test_answers_to_other_pictures_have_no_gain():
    count = len(robustness.conditions())
    with pytest.raises(ValueError, match="for 5 pictures"):
        robustness.gains(*[made_up(np.ones((count, 6), bool))] * 2, np.zeros(5, int))


@every_shape
def test_pictures_of_nothing_are_pictures_of_the_models_size(shape):
    pictures = robustness.nothing(shape, 1)
    assert {"black", "white", "noise", "checkerboard", "diagonal bar", "disc"} <= set(pictures)
    assert all(image.shape == shape and image.dtype == np.uint8 for image in pictures.values())
    assert not pictures["black"].any() and (pictures["white"] == 255).all()
    again = robustness.nothing(shape, 1)
    assert all(np.array_equal(pictures[name], again[name]) for name in pictures)
    if min(shape[:2]) >= 8:
        assert len({image.tobytes() for image in pictures.values()}) == len(pictures)


def test_what_is_said_of_nothing_is_named():
    table = robustness.said_of(Constant(), robustness.nothing((8, 8, 1), 1), ("a", "b", "c"))
    assert set(table["says"]) == {"b"}
    assert table["confidence"].to_numpy() == pytest.approx(0.7)
    assert "black" in table.index


def finished(name, content="abc", indices=range(4)):
    """A run as stages 1 to 4 leave it, with a network that can be loaded."""
    import keras

    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    told = {"content_sha256": content, "source": "digits"}
    rows = "".join(f"test,{index},0\n" for index in indices)
    said = "".join(f"{index},0,0,0.9\n" for index in indices)
    texts = {
        "split.csv": "part,index,label\n" + rows,
        "predictions.csv": "index,truth,predicted,confidence\n" + said,
    }
    for stage, artefact in enumerate(
        ("dataset.json", "split.csv", "model.keras", "predictions.csv")
    ):
        run = handoff.open_run(name, (1, 1, 3, 4)[stage])
        if artefact == "dataset.json":
            run.save(artefact, lambda path: handoff.write_json(path, told), {})
        elif artefact == "model.keras":
            run.save(artefact, network.save, {})
        else:
            run.save(artefact, lambda path, text=texts[artefact]: path.write_text(text), {})
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
    assert not (runs / "never").exists()
    shutil.copy(runs / "second" / "split.csv", runs / "second" / "model.keras")
    with pytest.raises(LabError, match=r"model\.keras was changed"):
        robustness.other_model("second", here)


def drawn(figure):
    """Draw, and return all texts that lie outside of the figure."""
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


def test_the_figures_tell_what_they_show(digits):
    indices, truth = np.arange(60), digits.test_labels[:60]
    table = robustness.evaluate(Brightness(), digits, indices, truth, 1)
    examples = robustness.examples(digits.test_images[0], 1)
    assert all(images.shape == (6, 8, 8, 1) for images in examples.values())
    assert all(np.array_equal(images[0], digits.test_images[0]) for images in examples.values())
    chart = robustness_figures.curves({"one": table, "two": table}, examples, "Six curves")
    worst = table.loc[table["accuracy"].idxmin()]
    assert f"two: {table['accuracy'].iloc[0]:.3f} on clean pictures" in chart.alt
    assert f"{worst['accuracy']:.3f}, with {worst['corruption']} {worst['amount']}." in chart.alt
    panels = chart.axes
    assert [axes.get_title() for axes in panels] == list(robustness.CORRUPTIONS)
    assert all(len(axes.child_axes) == 6 for axes in panels)
    assert not drawn(chart)
    for axes, name in zip(panels, robustness.CORRUPTIONS, strict=True):
        lines = [bars.lines[0].get_ydata() for bars in axes.containers]
        expected = table[table["corruption"] == name]["accuracy"]
        assert len(lines) == 2 and all(np.array_equal(line, expected) for line in lines)


def test_the_figure_of_confidence_names_the_largest_gap():
    rows = [
        {"corruption": name, "unit": "u", "strength": by, "amount": f"{by}", "accuracy": 0.9}
        for name in ("shift", "noise")
        for by in (0, 1)
    ]
    table = pd.DataFrame(rows).assign(low=0.8, high=0.95, confidence=[0.9, 0.97, 0.9, 0.5])
    chart = robustness_figures.confidence(table, "Sure?")
    assert "with shift 1: 0.970 against 0.900" in chart.alt
    assert [axes.axison for axes in chart.axes] == [True, True, False]
    assert not drawn(chart)


def test_the_figure_of_gains_marks_what_is_open_without_colour():
    table = pd.DataFrame(
        {
            "gain": [0.02, -0.1],
            "low": [-0.01, -0.12],
            "high": [0.05, -0.08],
            "verdict": ["open", "worse"],
        },
        index=["shift", "noise"],
    )
    chart = robustness_figures.gains(table, "Gains")
    assert "shift +2.0 (open), noise -10.0 (worse)" in chart.alt
    dots = [container.lines[0] for container in chart.axes[0].containers]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [True, False]
    assert [text.get_text() for text in chart.axes[0].texts] == ["open", "worse"]
    assert not drawn(chart)
