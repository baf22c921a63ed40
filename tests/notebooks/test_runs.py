"""The notebooks end to end, through papermill."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest

from convnetlab import handoff, notebooks
from convnetlab.errors import LabError
from convnetlab.lettering import drawable
from convnetlab.paths import STAGES

FAST = [("dataset", "digits")]


def silent(line):
    pass


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory):
    """One folder for the runs of this module, which look at each other."""
    folder = tmp_path_factory.mktemp("runs")
    before = os.environ["CONVNETLAB_RUNS"]
    os.environ["CONVNETLAB_RUNS"] = str(folder)
    yield folder
    os.environ["CONVNETLAB_RUNS"] = before


@pytest.fixture(scope="module")
def first_run(runs_folder):
    """A smoke run on digits with another seed than the default."""
    notebooks.run_lab("first", [*FAST, ("seed", "5")], smoke=True, say=silent)
    return runs_folder / "first"


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def cli(*arguments, runs, **settings):
    return subprocess.run(
        [sys.executable, "-m", "convnetlab", *arguments],
        env={**os.environ, "CONVNETLAB_RUNS": str(runs)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=600,
        **settings,
    )


def test_a_run_leaves_everything_that_is_promised(first_run):
    measured = metrics(first_run)
    assert {"accuracy", "loss", "macro_f1", "test_images"} <= measured.keys()
    assert measured["seed"] == 5 and measured["dataset"] == "digits" and measured["smoke"]
    with (first_run / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["index", "truth", "predicted", "confidence"]
    assert len(rows) == measured["test_images"] == 360
    right = sum(row["truth"] == row["predicted"] for row in rows)
    assert measured["accuracy"] == pytest.approx(right / len(rows))
    for name in handoff.MAKERS:
        handoff.open_run("first", 4).need(name)
    for stage in STAGES:
        executed = nbformat.read(first_run / f"{stage}.ipynb", as_version=4)
        assert not [
            o for c in executed.cells for o in c.get("outputs", []) if o.output_type == "error"
        ]
        assert (first_run / f"{stage}.html").stat().st_size > 10_000
    pictures = sorted(path.name for path in (first_run / "figures").iterdir())
    assert {"03_curves.png", "04_grid.png", "04_confusion.png"} <= set(pictures)
    page = (first_run / "report.html").read_text("utf-8")
    assert f"{100 * measured['accuracy']:.2f} %" in page
    assert "01_load_preprocess.html" in page


def test_figures_carry_their_alternative_texts_into_the_pages(first_run):
    for stage in STAGES:
        page = (first_run / f"{stage}.html").read_text("utf-8")
        assert "No description has been provided" not in page


def test_stage_1_does_not_load_tensorflow():
    from kernel import Kernel

    source = notebooks.read(notebooks.notebooks_folder() / f"{STAGES[0]}.ipynb")
    with Kernel() as kernel:
        for cell in source.cells:
            if cell.cell_type == "code":
                code = cell.source.replace('dataset = "mnist"', 'dataset = "digits"')
                assert kernel.run(code) == ("", "")
        assert kernel.run("import sys; assert 'tensorflow' not in sys.modules") == ("", "")


def test_the_same_seed_gives_the_same_figures(first_run, runs_folder):
    notebooks.run_lab("second", [*FAST, ("seed", "5")], smoke=True, say=silent)
    assert metrics(runs_folder / "second") == metrics(first_run)


def test_from_stage_3_keeps_what_came_before_and_uses_its_parameters(first_run, runs_folder):
    folder = runs_folder / "first"
    before = {name: (folder / name).read_bytes() for name in ("split.csv", "architecture.json")}
    old = metrics(folder)
    finished = cli("run", "--run", "first", "--from", "3", "-p", "epochs", "1", runs=runs_folder)
    assert finished.returncode == 0, finished.stderr
    assert "stage 2" not in finished.stderr and "stage 3 of 4" in finished.stderr
    assert {name: (folder / name).read_bytes() for name in before} == before
    new = metrics(folder)
    assert new["seed"] == 5 and new["dataset"] == "digits"
    assert new["accuracy"] != old["accuracy"] or new["loss"] != old["loss"]
    assert len((folder / "history.csv").read_text().splitlines()) == 2


def test_a_side_trip_without_a_trained_model_says_what_to_run_first(runs_folder):
    finished = cli("run", "--run", "nothing", "--from", "further", runs=runs_folder)
    assert finished.returncode == 1
    assert "Run the notebook 01_load_preprocess first" in finished.stderr
    assert not (runs_folder / "nothing").exists()


def test_a_stale_run_is_not_continued(first_run, runs_folder):
    """Stage 1 run again with another seed: stage 3 must not train on the new split unasked."""
    path = runs_folder / "first" / "dataset.json"
    kept = path.read_bytes()
    path.write_bytes(kept + b"\n")
    try:
        with pytest.raises(LabError, match="changed or damaged"):
            notebooks.run_lab("first", first=3, say=silent)
    finally:
        path.write_bytes(kept)


def test_a_failing_cell_is_named_with_its_source(runs_folder):
    finished = cli("run", "--run", "bad", "-p", "dataset", "nothing", runs=runs_folder)
    assert finished.returncode == 1
    assert "01_load_preprocess, cell 9 of 45, failed:" in finished.stderr
    assert "    data = datasets.load(dataset)" in finished.stderr
    assert "LabError: dataset is 'nothing'; it must be one of: mnist, digits" in finished.stderr
    assert "Traceback" not in finished.stderr
    partial = nbformat.read(runs_folder / "bad" / f"{STAGES[0]}.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in partial.cells)
    assert not (runs_folder / "bad" / "report.html").exists()


def test_an_unanswered_exercise_stops_no_run_and_hides_no_failing_cell(tmp_path):
    """As in a student's release, whose notebooks have no solutions."""
    new = nbformat.v4.new_code_cell
    cells = [new("1 / 0", id="exercise"), new("print('on')", id="after")]
    cells[0].metadata["tags"] = [notebooks.MAY_RAISE]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
    source = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    executed, _ = notebooks.execute(source, "small", tmp_path, {}, silent)
    assert [cell.id for cell in executed.cells] == ["exercise", "after"]
    assert executed.cells[1].outputs[0].text == "on\n"
    assert nbformat.read(tmp_path / "small.ipynb", as_version=4) == executed
    source.cells.append(new("[].pop()", id="failing"))
    with pytest.raises(LabError, match=r"cell 3 of 3, failed:\n    \[\].pop\(\)\nIndexError"):
        notebooks.execute(source, "small", tmp_path, {}, silent)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_an_interrupted_training_says_how_to_go_on_and_does(first_run, runs_folder):
    options = ["--run", "first", "--from", "3", "-p", "epochs", "60", "-p", "learning_rate", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "convnetlab", "run", *options],
        env={**os.environ, "CONVNETLAB_RUNS": str(runs_folder)},
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, interrupts are ignored from birth.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    import psutil

    while not [*(first_run / "checkpoints").glob("epoch-0003.npz")]:
        assert process.poll() is None
        time.sleep(0.01)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert "Stopped." in rest and "--from" in rest and "Traceback" not in rest
    deadline = time.monotonic() + 20
    while any(kernel.is_running() for kernel in kernels) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(kernel.is_running() for kernel in kernels)
    assert [*(first_run / "checkpoints").glob("epoch-*.npz")]
    assert (first_run / "checkpoints" / "best.keras").is_file()

    finished = cli("run", *options, runs=runs_folder)
    assert finished.returncode == 0, finished.stderr
    assert str(first_run / "report.html") in finished.stdout
    assert str(first_run / "digit.html") in finished.stdout
    executed = nbformat.read(first_run / f"{STAGES[2]}.ipynb", as_version=4)
    (cell,) = (cell for cell in executed.cells if cell.id == "train")
    said = "".join(output.get("text", "") for output in cell.outputs)
    assert re.search(r"Going on after epoch ([3-9]|\d\d) of 60, from a checkpoint", said)
    assert len((first_run / "history.csv").read_text().splitlines()) == 61
    assert not (first_run / "checkpoints").exists()


def test_with_a_recipe_comes_the_network_that_it_was_chosen_for(first_run):
    options = [("recipe", "sprint"), ("epochs", "1")]
    notebooks.run_lab("first", options, first=2, say=silent)
    assert metrics(first_run)["architecture"] == "strided"
    assert "trained on <b>" in (first_run / "report.html").read_text("utf-8")
    with pytest.raises(LabError, match="recipe is 'bets'; it must be one of: one-cycle, sprint"):
        notebooks.run_lab("first", [("recipe", "bets")], first=2, say=silent)


@pytest.fixture(scope="module")
def folder_run(runs_folder, tmp_path_factory):
    """A run on a folder of 48 coloured pictures of two sizes and two classes, named as they are."""
    from PIL import Image

    folder, chance = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for red, name in ((200, "Müller's “red” ones"), (60, "猫")):
        (folder / name).mkdir()
        for number in range(24):
            pixels = chance.integers(0, 120, (30 + number % 2 * 20, 40, 3))
            pixels[..., 0] += red - 60
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / name / f"{number}.png"
            )
    (folder / "猫" / "cut short.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    options = [("dataset", f"folder:{folder}?size=32"), ("recipe", "listing"), ("epochs", "1")]
    notebooks.run_lab("folder", options, say=silent)
    return folder, runs_folder / "folder"


def test_a_folder_of_photographs_goes_through_all_four_notebooks(folder_run):
    folder, run = folder_run
    measured = metrics(run)
    assert measured["test_images"] == 10 and "top2_accuracy" not in measured
    with (run / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted(path.name for path in folder.iterdir())
    for row in rows:
        assert row["is"] == names[int(row["truth"])] == row["file"].split("/")[0]
        assert row["called"] == names[int(row["predicted"])]
        assert (folder / row["file"]).is_file()
    page = (run / "report.html").read_text("utf-8")
    assert "class 1 is 猫." in page or drawable(tuple(names)) == tuple(names)
    assert "猫" in page and "Müller&#39;s “red” ones" in page and "top-2" not in page
    assert "In the folder of pictures, not readable: 猫/cut short.png" in page
    for stage in STAGES:
        executed = nbformat.read(run / f"{stage}.ipynb", as_version=4)
        told = [o.get("text", "") for c in executed.cells for o in c.get("outputs", [])]
        assert not any("missing from font" in text for text in told), stage


def test_what_a_small_folder_cannot_be_trained_with_is_refused_before_anything_runs(
    folder_run, runs_folder
):
    folder, _ = folder_run
    few = "has only 49: too few to learn from scratch. Take the recipe features"
    for place, recipe, told in (
        (f"{folder}", "sprint", few),
        (f"{folder}?size=28", "one-cycle", few),
        (f"{folder}/none", "features", "none is missing; a folder of pictures"),
    ):
        given = [("dataset", f"folder:{place}"), ("recipe", recipe)]
        with pytest.raises(LabError, match=told):
            notebooks.run_lab("never", given, say=silent)
    assert not (runs_folder / "never").exists()


def test_a_small_folder_brings_the_recipe_for_few_photographs(folder_run, runs_folder):
    defaults = {
        name: notebooks.parameters(notebooks.read(notebooks.notebooks_folder() / f"{name}.ipynb"))
        for name in STAGES
    }
    few = notebooks.accept([("dataset", f"folder:{folder_run[0]}")], defaults)
    assert (few["recipe"], few["architecture"]) == ("features", "efficientnet-lite0")
    asked = notebooks.accept(
        [
            ("dataset", f"folder:{folder_run[0]}"),
            ("architecture", "compact"),
            ("recipe", "listing"),
        ],
        defaults,
    )
    assert asked["recipe"] == "listing" and asked["architecture"] == "compact"


def test_predict_says_of_a_file_what_stage_4_said(folder_run):
    from convnetlab import prediction

    folder, run = folder_run
    with (run / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    answers = prediction.predict("folder", [folder / row["file"] for row in rows], say=silent)
    for row, probabilities in zip(rows, answers.probabilities, strict=True):
        assert answers.classes[probabilities.argmax()] == row["called"]
        assert probabilities.max() == pytest.approx(float(row["confidence"]), abs=1e-5)


@pytest.mark.slow
def test_full_mnist_reaches_a_plausible_accuracy(runs_folder, root):
    """A floor, and a ceiling: what is too good to be true is a leak."""
    finished = cli("run", "--run", "full", runs=runs_folder, cwd=root)
    assert finished.returncode == 0, finished.stderr
    measured = metrics(runs_folder / "full")
    assert measured["test_images"] == 10_000
    assert 0.980 <= measured["accuracy"] <= 0.998
    assert 0.85 <= measured["baseline_accuracy"] < measured["accuracy"]
    with (root / "data" / "results" / "first_result.csv").open() as stream:
        shown = list(csv.DictReader(stream))
    with (runs_folder / "full" / "predictions.csv").open() as stream:
        fresh = list(csv.DictReader(stream))[: len(shown)]
    assert [row["truth"] for row in shown] == [row["truth"] for row in fresh]
    same = sum(a["predicted"] == b["predicted"] for a, b in zip(shown, fresh, strict=True))
    assert len(shown) == 20 and same >= 19


@pytest.mark.slow
def test_the_recorded_listing_begins_as_a_fresh_one(root):
    from convnetlab import architectures, datasets, preprocess, recipes, training

    with (root / "data" / "results" / "listing_history.csv").open() as stream:
        recorded = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in recorded] == list(range(1, 11))
    data = datasets.load("mnist")
    split = preprocess.split(data, 0.1, 1)
    training.set_seed(1)
    model = architectures.build("reference", data.image_shape, 10)
    fresh = training.train(model, data, split, recipes.choose("listing-validated", 1), 1).history
    for name, tolerance in {
        "accuracy": 0.01,
        "val_accuracy": 0.01,
        "loss": 0.03,
        "val_loss": 0.03,
    }.items():
        assert fresh[name].iloc[0] == pytest.approx(float(recorded[0][name]), abs=tolerance)
