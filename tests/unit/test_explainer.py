"""Kernels made by hand, and the explainers: their sliders decide what is drawn."""

import numpy as np
import pytest

from convnetlab import convolution, datasets, explainer, kernels, optimisers


@pytest.fixture(scope="module")
def picture():
    return datasets.load("digits").train_images[0, :, :, 0] / np.float32(255)


@pytest.mark.parametrize("size", range(2, 8))
@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("blur", 1),
        ("sharpen", 1),
        ("vertical edges", 0),
        ("horizontal edges", 0),
        ("outline", 0),
        ("emboss", 1),
    ],
)
def test_a_kernels_sum_says_what_it_does_to_flat_ground(name, total, size):
    kernel = kernels.make(name, size)
    assert kernel.shape == (size, size) and kernel.dtype == np.float32
    flat = np.full((9, 9), 0.5, np.float32)
    assert np.allclose(convolution.convolve2d(flat, kernel), 0.5 * total, atol=1e-5)


def test_edges_know_their_direction():
    left_to_right = np.tile(np.arange(5.0), (5, 1))
    assert (convolution.convolve2d(left_to_right, kernels.make("vertical edges")) > 0).all()
    assert (convolution.convolve2d(left_to_right, kernels.make("horizontal edges")) == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("edges",), "must be one of: blur, sharpen"), (("blur", 1), "at least 2 rows")],
)
def test_kernels_that_are_not_there_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kernels.make(*arguments)


def test_every_slider_changes_what_is_said(picture):
    shown = explainer.explain_convolution(picture)
    values = {"kernel": "blur", "place": 7, "size": 5, "stride": 2, "padding": 1, "dilation": 2}
    for name, value in values.items():
        fresh = explainer.explain_convolution(picture)
        before = fresh.draw().alt
        fresh.controls[name].value = value
        assert fresh.draw().alt != before, name
    assert "36 places" not in shown.draw().alt and "6 × 6 places" in shown.draw().alt


def test_the_sum_is_the_outputs_number(picture):
    shown = explainer.explain_convolution(picture)
    shown.controls["place"].value = 20
    output = convolution.convolve2d(picture, kernels.make("vertical edges"))
    assert f"is {output[3, 2]:.2f};" in shown.draw().alt


def test_a_place_beyond_a_smaller_output_moves_to_its_last(picture):
    shown = explainer.explain_convolution(picture)
    shown.controls["place"].value = 35
    shown.controls["stride"].value = 4
    assert "2 × 2 places, 4 of them filled" in shown.draw().alt
    assert shown.controls["place"].max == shown.controls["play"].max == 3


@pytest.mark.parametrize(
    ("name", "value", "word"), [("size", 7, "larger"), ("dilation", 3, "larger")]
)
def test_what_cannot_be_computed_is_said_in_the_picture(picture, name, value, word):
    shown = explainer.explain_convolution(picture[:6, :6])
    shown.controls[name].value = value
    assert "cannot be computed" in shown.draw().alt and word in shown.draw().alt


def test_a_learnt_kernel_comes_first_and_keeps_its_size(picture):
    kernel = np.arange(15.0, dtype=np.float32).reshape(3, 5)
    shown = explainer.explain_convolution(picture, {"filter 1": (kernel, -2.5)})
    alt = shown.draw().alt
    assert alt.startswith("filter 1") and "6 × 4 places" in alt
    assert shown.controls["size"].disabled
    shown.controls["place"].value = 0
    expected = float((picture[:3, :5] * kernel).sum() - 2.5)
    assert f"is {expected:.2f};" in shown.draw().alt
    shown.controls["kernel"].value = "blur"
    assert shown.draw().alt.startswith("blur") and not shown.controls["size"].disabled


def test_the_receptive_fields_sliders_are_its_stack(picture):
    shown = explainer.explain_receptive_field(picture)
    assert "3 × 3, 5 × 5, 7 × 7 pixels" in shown.draw().alt
    shown.controls["dilation"].index = 1
    assert "3 × 3, 7 × 7, 15 × 15 pixels" in shown.draw().alt
    shown.controls["layers"].value, shown.controls["stride"].value = 2, 2
    shown.controls["dilation"].index = 0
    assert "3 × 3, 7 × 7 pixels" in shown.draw().alt


def test_the_optimisers_knobs_are_the_walks_settings():
    shown = explainer.explain_optimisers()
    values = {"optimiser": "Nesterov", "learning_rate": 0.1, "steps": 7}
    for name, value in values.items():
        fresh = explainer.explain_optimisers()
        before = fresh.draw().alt
        fresh.controls[name].value = value
        assert fresh.draw().alt != before, name
    assert shown.draw().alt.startswith("SGD") and shown.controls["momentum"].disabled
    for name in ("momentum", "Nesterov", "Adam"):
        shown.controls["optimiser"].value = name
        before = shown.draw().alt
        assert not shown.controls["momentum"].disabled
        shown.controls["momentum"].value = 0.5
        assert shown.draw().alt != before
        rate, steps = shown.controls["learning_rate"].value, shown.controls["steps"].value
        end = optimisers.valley(optimisers.walk(name, rate, 0.5, steps))[-1]
        assert f"to {end:.3g};" in shown.draw().alt
        shown.controls["momentum"].value = 0.9


def test_moving_a_slider_updates_the_picture_that_was_shown(picture, monkeypatch):
    updates = []

    class Handle:
        def update(self, figure):
            updates.append(figure.alt)

    shown_first = []

    def display(thing, display_id=False):
        shown_first.append(thing)
        return Handle() if display_id else None

    monkeypatch.setattr(explainer, "display", display)
    shown = explainer.explain_convolution(picture)
    shown._ipython_display_()
    assert len(shown_first) == 2 and shown_first[1].png.startswith(b"\x89PNG")
    shown.controls["stride"].value = 2
    assert "3 × 3 places" in updates[-1]


@pytest.mark.parametrize(
    ("rate", "end"), [(0.01, "creeps"), (0.5, "arrives"), (1.0, "stays"), (1.1, "flies off")]
)
def test_the_learning_rate_decides_where_a_walk_ends(rate, end):
    walks = []

    def walk(learning_rate):
        walks.append(1.5 * (1 - 2 * learning_rate) ** np.arange(9))
        return walks[-1]

    shown = explainer.explain_descent(walk)
    shown.controls["learning_rate"].value = rate
    alt = shown.draw().alt
    assert f"learning rate {rate:.2f}" in alt
    first, last = walks[-1][0] ** 2, walks[-1][-1] ** 2
    assert {"creeps": first / 2 < last < first, "arrives": last == 0}.get(end, last >= first * 0.99)
