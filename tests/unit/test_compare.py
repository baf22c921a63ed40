"""Runs beside each other; the runs are made up."""

import base64
import io
import itertools
import re
from fractions import Fraction

import made_up
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image

from convnetlab import charts, compare, datasets
from convnetlab.errors import LabError


def made(name, **options):
    given = {key: str(options.pop(key)) for key in ("seed", "architecture") if key in options}
    made_up.run(name, list(given.items()), **options)
    return name


@pytest.fixture
def three(runs):
    """Two seeds of one network, and another network."""
    return [
        made("a", seed=1, architecture="compact"),
        made("b", seed=2, architecture="compact"),
        made("c", seed=1, architecture="resnet18", wrong=40),
    ]


def read(path):
    return pd.read_csv(path)


def test_a_comparison_has_a_row_a_run_and_a_test_a_pair(three, runs):
    page = compare.compare(three)
    assert page == runs / "comparison" / "report.html"
    results, pairs = (read(page.with_name(f"{name}.csv")) for name in ("results", "pairs"))
    assert results["run"].to_list() == three
    assert results["architecture"].to_list() == ["compact", "compact", "resnet18"]
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    said = {name: read(runs / name / "predictions.csv") for name in three}
    for _, row in pairs.iterrows():
        right = [said[row[name]].eval("truth == predicted") for name in ("first", "second")]
        assert row["only_first"] == (right[0] & ~right[1]).sum()
        assert row["only_second"] == (right[1] & ~right[0]).sum()
    assert (pairs["p_holm"] >= pairs["p"]).all()
    different = pairs.set_index(["first", "second"])["p_holm"] < 0.05
    assert different.to_list() == [False, True, True]


def test_the_page_has_means_pictures_answers_and_links(three, runs):
    page = compare.compare(three).read_text("utf-8")
    assert 'href="../a/report.html"' in page and "✓ different" in page
    compact = [
        read(runs / name / "predictions.csv").eval("truth == predicted").mean() for name in "ab"
    ]
    mean, spread = np.mean(compact), np.std(compact, ddof=1)
    assert f"{mean:.4f} ± {spread:.4f}" in page
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page) and "<script" not in page
    assert "default-src 'none'" in page
    suspects = page.partition("Likely label errors")[2]
    assert f"picture {made_up.SUSPECT}<" in suspects and "hint, not proof" in suspects
    assert suspects.count('class="cards"') == 1 and suspects.count("✗") == 3
    differing = page.partition("on which the runs differ</h2>")[2].partition("<h2>")[0]
    assert 'class="cards"' in differing and "✓ a says" in differing
    assert differing.count("<img") == compare.SHOWN and "The first 20 of" in differing


def test_all_pictures_have_alternative_texts(three):
    page = compare.compare(three).read_text("utf-8")
    pictures = re.findall(r"<img [^>]*>", page)
    assert pictures and all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)


def test_runs_that_never_differ_are_compared_too(runs):
    names = [made("a", wrong=0), made("b", wrong=0)]
    page = compare.compare(names, "same").read_text("utf-8")
    assert "all runs" in page and "the runs give the same answer to every one of 360" in page
    assert read(runs / "same" / "pairs.csv")["p"].to_list() == [1.0]


def test_a_second_comparison_replaces_the_first(three, runs):
    compare.compare(three)
    compare.compare(three[:2])
    assert read(runs / "comparison" / "results.csv")["run"].to_list() == three[:2]


def test_what_cannot_be_compared_is_refused(three, runs):
    made("smoke", smoke=True)
    made("fewer", test=100)
    made("cut")
    (runs / "cut" / "model.keras").unlink()
    (runs / "mine").mkdir()
    (runs / "mine" / "thesis.txt").write_text("precious")
    for names, name, message in (
        (["a"], "x", "two runs or more"),
        (["a", "b", "a"], "x", "'a' is named twice"),
        (["a", "nothing"], "x", "There is no run 'nothing'"),
        (["a", "../a"], "x", "run is '../a'"),
        (["a", "cut"], "x", r"'cut' is not finished, or damaged\. .*model\.keras is missing"),
        (["a", "smoke"], "x", "only one of them is a smoke run"),
        (["a", "fewer"], "x", "other test pictures of digits. Only"),
        (["a", "b"], "mine", "not made by convnetlab"),
        (["a", "b"], "a", "a is a run. Choose another name"),
        (["a", "b"], "a/b", "run is 'a/b'"),
    ):
        with pytest.raises(LabError, match=message):
            compare.compare(names, name)
    assert not (runs / "x").exists()
    assert [path.name for path in (runs / "mine").iterdir()] == ["thesis.txt"]


def test_smoke_runs_with_other_test_pictures_are_told_why(runs):
    names = [made("a", smoke=True), made("b", smoke=True, test=100)]
    with pytest.raises(LabError, match="A smoke run's seed also draws its test pictures"):
        compare.compare(names)


def test_runs_on_other_data_are_refused(three, digits):
    shifted = datasets.Dataset(
        "shifted",
        digits.train_images,
        digits.train_labels,
        255 - digits.test_images,
        digits.test_labels,
        digits.classes,
    )
    made("other", data=shifted)
    with pytest.raises(LabError, match="have other data: digits and shifted"):
        compare.compare(["a", "other"])


def tables(said, sure, truth):
    return {
        str(run): pd.DataFrame(
            {"index": range(len(truth)), "truth": truth, "predicted": row, "confidence": sure[run]}
        )
        for run, row in enumerate(said)
    }


def test_pictures_are_found_and_the_surest_come_first():
    truth = [0, 0, 0, 0, 0, 0]
    said = [[0, 1, 1, 1, 2, 0], [0, 1, 1, 2, 2, 1]]
    sure = [[0.9, 0.6, 0.9, 0.5, 0.7, 0.9], [0.9, 0.6, 0.9, 0.5, 0.7, 0.9]]
    found = tables(said, sure, truth)
    assert compare.differing(found).tolist() == [5, 3]
    assert compare.suspects(found).tolist() == [2, 4, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holms_correction_is_that_of_its_definition(p_values):
    """Hypothesis k is rejected at α while every smaller p is below α over those that are left."""
    corrected = compare.holm(p_values)
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        needed = max(
            Fraction(p_values[order[step]]) * (len(p_values) - step) for step in range(rank + 1)
        )
        assert corrected[place] == pytest.approx(min(1.0, float(needed)))


points = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(st.lists(points, min_size=1, max_size=12))
def test_no_point_on_the_front_is_beaten_and_every_other_one_is(found):
    seconds, accuracy = (np.array(column, float) for column in zip(*found, strict=True))
    on_it = compare.front(seconds, accuracy)
    assert on_it.any()
    for mine, (took, reached) in enumerate(found):
        beaten = any(
            (other[0] <= took and other[1] >= reached) and other != (took, reached)
            for other in found
        )
        assert on_it[mine] == (not beaten)


def test_a_configuration_without_a_time_is_on_no_front():
    front = compare.front(np.array([np.nan, 1.0]), np.array([0.99, 0.5]))
    assert front.tolist() == [False, True]


def test_configurations_have_means_and_spread_and_one_run_has_none():
    rows = pd.DataFrame(
        {
            "architecture": ["a", "a", "b"],
            "epochs": [1, 1, 2],
            "accuracy": [0.9, 0.8, 0.7],
            "train_seconds": [1.0, 3.0, None],
            **dict.fromkeys(("macro_f1", "loss", "parameters", "peak_mb"), 1),
        }
    )
    table = compare.configurations(rows, ["architecture", "epochs"])
    assert table.index.to_list() == ["a, epochs 1", "b, epochs 2"]
    assert table["n"].to_list() == [2, 1]
    assert table["accuracy"].to_list() == pytest.approx([0.85, 0.7])
    assert table["accuracy_sd"].iloc[0] == pytest.approx(0.1 / 2**0.5)
    assert table["accuracy_sd"].isna().to_list() == [False, True]
    assert table["train_seconds_sd"].iloc[0] == pytest.approx(2**0.5)


@pytest.mark.parametrize("count", [1, 2, 13])
def test_the_plot_tells_the_front_and_names_every_point_without_overlap(count):
    chance = np.random.default_rng(count)
    table = pd.DataFrame(
        {
            "accuracy": 0.97 + 0.0005 * chance.random(count),
            "train_seconds": 5 + chance.random(count),
            "accuracy_sd": np.nan,
            "train_seconds_sd": 0.5,
        },
        index=[f"network number {number}, epochs {number}" for number in range(count)],
    )
    table["front"] = compare.front(table["train_seconds"].to_numpy(), table["accuracy"].to_numpy())
    figure = charts.speed_and_accuracy(table, "Title")
    assert f"{count} configurations" in figure.alt
    for name in table.index[table["front"]]:
        assert f"{name}: " in figure.alt
    assert figure.png
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == table.sort_values("accuracy").index.to_list()
    boxes = [Text.get_window_extent(text) for text in texts]  # without its line
    page = figure.bbox
    for one, other in itertools.combinations(boxes, 2):
        assert not (one.y0 < other.y1 and other.y0 < one.y1), "names lie on each other"
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, "a name is cut off"


def test_a_colour_picture_is_shown_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    shown = Image.open(io.BytesIO(base64.b64decode(compare.as_png(picture))))
    assert np.array_equal(np.asarray(shown), picture)
