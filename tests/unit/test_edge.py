"""A run on the edge: what is written, what it answers, what is measured, and what is refused."""

import itertools
import json
import sys
from dataclasses import replace

import made_up
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from convnetlab import (
    datasets,
    deployment,
    edge,
    edge_answers,
    edge_figures,
    edge_races,
    edge_speeds,
    edge_study,
    edge_trials,
    handoff,
    preprocess,
    streams,
)
from convnetlab.cli import main
from convnetlab.errors import LabError
from convnetlab.report import write_report

CLASSES = ("<b>cat & dog</b>", "été")


def network(shape, classes, seed=1):
    from convnetlab.backend import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape, name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def keep(name, data, model, split=None):
    """Write into a run what stages 1 to 3 would, from a network that is there."""
    split = preprocess.split(data, 0.2, 1) if split is None else split
    one, two, three = (handoff.open_run(name, stage) for stage in (1, 2, 3))
    description, given = {**data.specification(), "smoke": False}, {"seed": 1}
    one.save("dataset.json", lambda path: path.write_text(json.dumps(description)), given)
    one.save("split.csv", lambda path: split.to_csv(path, index=False), given, ["dataset.json"])
    two.save("architecture.json", lambda path: path.write_text("{}"), given, ["dataset.json"])
    parents = ["split.csv", "architecture.json"]
    three.save("model.keras", model.save, given, parents)
    return three, split


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("edge") / "runs"


@pytest.fixture(scope="module")
def trained(place, digits):
    """A run on the small digits whose network knows most of them, in a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNETLAB_RUNS", str(place))
        model = network(digits.image_shape, 10)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(digits.train_images, digits.train_labels, 32, 8, verbose=0)
        run, split = keep("sweep/one", digits, model)
    return run, model, split


@pytest.fixture(scope="module")
def measured(trained, place):
    """What the command does, done once: its output, and the run's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNETLAB_RUNS", str(place))
        result = CliRunner().invoke(main, ["edge", "sweep/one", "--quick"])
    return result, trained[0].folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.setenv("CONVNETLAB_RUNS", str(place))


def ask(file, images):
    """LiteRT's interpreter, used by hand: the bytes or numbers that it puts out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    said = []
    for image in images:
        interpreter.set_tensor(entry["index"], image[None].astype(entry["dtype"]))
        interpreter.invoke()
        said.append(interpreter.get_tensor(end["index"])[0])
    return np.array(said)


def test_the_command_writes_files_tables_figures_and_the_page(measured):
    result, folder = measured
    assert result.exit_code == 0, result.output
    assert f"The page is {folder / 'digit.html'}" in result.stdout
    assert "float16: export" in result.stderr and "float16: export" not in result.stdout
    there = {path.name for path in (folder / "edge").iterdir()}
    tables = {"edge.csv", "edge.json", "edge.png", "changed.csv"}
    assert {f"{variant}.tflite" for variant in edge.VARIANTS} | tables <= there
    assert not [name for name in there if name.startswith(".")], "nothing half-written"


def test_the_table_is_what_the_interpreter_says_by_hand(measured, trained, digits):
    _, folder = measured
    _, model, split = trained
    indices, truth = preprocess.part_of(split, "test")
    images = digits.test_images[indices]
    keras_says = model.predict(images, verbose=0).argmax(axis=1)
    table = pd.read_csv(folder / "edge" / "edge.csv", index_col=0)
    rows = pd.read_csv(folder / "edge" / "changed.csv", dtype={"keras": str, "says": str})
    z = 1.959964
    for variant in edge.VARIANTS:
        file = (folder / "edge" / f"{variant}.tflite").read_bytes()
        says, row = ask(file, images).argmax(axis=1), table.loc[variant]
        assert row["bytes"] == len(file)
        assert row["of float32"] == pytest.approx(len(file) / table.loc["float32", "bytes"])
        share, n = (says == truth).mean(), len(truth)
        assert row["accuracy"] == pytest.approx(share) and share > 0.8
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        assert [row["low"], row["high"]] == pytest.approx([middle - half, middle + half], abs=1e-5)
        assert row["changed"] == (says != keras_says).sum()
        assert row["agreement"] == pytest.approx((says == keras_says).mean())
        mine = rows[rows["variant"] == variant]
        assert mine["index"].tolist() == indices[says != keras_says].tolist()
        assert mine["says"].tolist() == [str(label) for label in says[says != keras_says]]
        assert mine["keras"].tolist() == [str(label) for label in keras_says[says != keras_says]]
    assert table.loc["Keras, call", "accuracy"] == pytest.approx((keras_says == truth).mean())


def test_all_times_and_memories_are_there_but_two_of_keras(measured):
    _, folder = measured
    facts = handoff.read_json(folder / "edge" / "edge.json")
    rows = {row["network"]: row for row in facts["table"]}
    assert list(rows)[:3] == ["Keras, predict", "Keras, call", "Keras, tf.function"]
    for name, row in rows.items():
        assert row["ms an image"] > 0 and row["images a second"] > 0
        has_start = name not in ("Keras, predict", "Keras, tf.function")
        assert (row["cold start, s"] is not None) == (row["peak MiB"] is not None) == has_start
    assert rows["int8"]["peak MiB"] < rows["Keras, call"]["peak MiB"] / 2, "no TensorFlow in it"
    assert facts["model.keras bytes"] > rows["Keras, call"]["bytes"], "with the optimiser's state"
    assert facts["page"] == {"file": "digit.html", "bytes": (folder / "digit.html").stat().st_size}
    machine = facts["machine"]
    assert machine["versions"]["ai-edge-litert"] and machine["cores"] and facts["quick"] is True
    for unit in ("median", "one thread", "test pictures", "process of its own", "Wilson"):
        assert unit in "\n".join(facts["notes"])


def test_float32_is_keras_and_int8_counts_in_256ths(measured, trained, digits):
    _, folder = measured
    model, images = trained[1], digits.test_images[:50]
    files = {v: (folder / "edge" / f"{v}.tflite").read_bytes() for v in edge.VARIANTS}
    of_keras = model.predict(images, verbose=0)
    assert np.abs(edge.predict(files["float32"], images) - of_keras).max() < 1e-5
    assert np.abs(edge.predict(files["float16"], images) - of_keras).max() < 1e-2
    raw = ask(files["int8"], images)
    assert raw.dtype == np.uint8
    assert np.array_equal(edge.predict(files["int8"], images), raw.astype(np.float32) / 256)


def test_the_same_network_gives_the_same_bytes_and_nothing_is_said(
    measured, trained, digits, capfd, caplog, recwarn
):
    run, model, split = trained
    pictures = deployment.calibration_pictures(digits, split)
    again = edge.export(deployment.first_output(model), "int8", pictures)
    assert again == (run.folder / "edge" / "int8.tflite").read_bytes()
    edge.predict(again, digits.test_images[:1])
    assert capfd.readouterr() == ("", "") and not caplog.records and not recwarn.list


def test_calibration_sees_training_pictures_alone(digits, monkeypatch):
    split = preprocess.split(digits, 0.3, 5)
    asked = []
    batch = datasets.Dataset.train_batch
    monkeypatch.setattr(
        datasets.Dataset, "train_batch", lambda self, i: asked.append(i) or batch(self, i)
    )
    monkeypatch.setattr(datasets.Dataset, "test_batch", None)
    images = deployment.calibration_pictures(digits, split)
    learn, _ = preprocess.part_of(split, "train")
    chosen = np.concatenate(asked)
    assert len(images) == edge.CALIBRATION == len(set(chosen)) and set(chosen) <= set(learn)
    assert len(set(digits.train_labels[chosen])) == 10, "spread over all"
    few = split[split["part"] != "train"]
    few = pd.concat([few, split[split["part"] == "train"].head(7)])
    assert len(deployment.calibration_pictures(digits, few)) == 7
    monkeypatch.setattr(deployment, "CALIBRATION_BYTES", 4 * 64 * 5)
    assert len(deployment.calibration_pictures(digits, split)) == 5, "large ones would fill memory"


def test_pictures_are_asked_in_their_order_a_few_at_a_time(digits, monkeypatch):
    sizes = []
    batch = datasets.Dataset.test_batch
    monkeypatch.setattr(
        datasets.Dataset, "test_batch", lambda self, i: sizes.append(len(i)) or batch(self, i)
    )
    monkeypatch.setattr(streams, "pictures_at_once", lambda shape: 7)
    indices = np.random.default_rng(1).permutation(len(digits.test_labels))[:40]
    said = edge_answers.answers(lambda image: image[3, :, 0], digits, indices)
    assert np.array_equal(said, digits.test_images[indices][:, 3, :, 0])
    assert max(sizes) == 7 and sum(sizes) == 40


def test_the_first_of_several_outputs_is_deployed():
    from convnetlab.backend import keras

    picture = keras.Input((8, 8, 1), name="image")
    flat = keras.layers.Flatten()(picture)
    ends = [keras.layers.Dense(count, activation="softmax")(flat) for count in (3, 5)]
    model = keras.Model(picture, ends)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    assert edge.predict(edge.export(model, "float32"), images).shape == (2, 3)
    assert deployment.first_output(model).output_shape == (None, 3)


def test_a_network_that_was_trained_again_leaves_nothing_old(runs, digits):
    model = network(digits.image_shape, 10)
    run, split = keep("lab", digits, model)
    first = deployment.deploy(run, model, digits, split, variants=["int8"])
    assert first.page == deployment.page_of(run) == run.folder / "digit.html"
    assert first.refusal == "" and list(first.files) == ["int8"]
    for name in handoff.STUDIED:
        (run.folder / "edge" / name).write_text("of the first network")
    mine = run.folder / "edge" / "mine.txt"
    mine.write_text("a user's")
    other = network(digits.image_shape, 10, seed=2)
    keep("lab", digits, other)
    assert not (run.folder / "digit.html").exists(), "it had another network inside than the run"
    assert list(mine.parent.iterdir()) == [mine] and mine.read_text() == "a user's"
    again = deployment.deploy(run, other, digits, split, variants=["float32"], float32_page=True)
    assert deployment.page_of(run) == again.page
    assert {path.name for path in mine.parent.iterdir()} == {"float32.tflite", "mine.txt"}


def test_every_variant_goes_with_its_network():
    assert {f"edge/{variant}.tflite" for variant in edge.VARIANTS} < {
        *handoff.MADE_OF["model.keras"]
    }


def test_the_report_links_the_page_if_there_is_one(runs):
    made_up.run("lab")
    run = handoff.open_run("lab", 4)
    record = handoff.record_path(run.folder / "model.keras")
    notes = {"epochs done": 1, "epochs": 1, "device": "CPU"}
    handoff.write_json(record, handoff.read_json(record) | {"notes": notes})
    metrics = handoff.read_json(run.folder / "metrics.json") | {"baseline_accuracy": 0.5}
    run.save("metrics.json", lambda path: handoff.write_json(path, metrics), {"seed": 1})
    link = '<a href="digit.html">digit.html</a>'
    assert link not in write_report(run, [], {}).read_text("utf-8")
    (run.folder / "digit.html").write_text("a page")
    assert link in write_report(run, [], {}).read_text("utf-8")


@pytest.fixture
def small(runs, digits):
    model = network(digits.image_shape, 10)
    return *keep("lab", digits, model), model


def as_if_deployed(run):
    """Leave what an earlier call for the run's network would have."""
    (run.folder / "edge").mkdir()
    (run.folder / "edge" / "int8.tflite").write_bytes(b"int8")
    (run.folder / "digit.html").write_text("a page")
    assert deployment.page_of(run)


def test_what_the_page_cannot_run_is_named_and_no_old_page_stays(runs, digits):
    from convnetlab.backend import keras

    picture = keras.Input(digits.image_shape, name="image")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(picture))
    deep = keras.layers.Dense(8, activation="elu")(flat)
    model = keras.Model(picture, keras.layers.Dense(10, activation="softmax")(deep))
    run, split = keep("lab", digits, model)
    as_if_deployed(run)
    deployed = deployment.deploy(run, model, digits, split, variants=["float32"], float32_page=True)
    assert deployed.refusal == "There is no page: it cannot run what float32 needs: ELU."
    assert deployed.page is None and deployment.page_of(run) is None
    assert deployed.files["float32"].is_file() and deployed.table.loc["float32", "accuracy"] > 0


def test_what_litert_cannot_take_is_left_out(small, digits, monkeypatch):
    run, split, model = small
    export = edge.export

    def refuse(model, variant, calibration):
        if variant == "int8":
            raise LabError("LiteRT cannot take the network 'x' as int8: too odd")
        return export(model, variant, calibration)

    as_if_deployed(run)
    monkeypatch.setattr(edge, "export", refuse)
    deployed = deployment.deploy(run, model, digits, split)
    assert list(deployed.files) == ["float32"] and list(deployed.table.index) == [
        "Keras",
        "float32",
    ]
    assert deployed.page is None and not (run.folder / "digit.html").exists()
    assert not (run.folder / "edge" / "int8.tflite").exists()
    assert "too odd" in deployed.refusal and "There is no page" in deployed.refusal


def test_without_the_interpreter_files_and_page_are_written_and_it_says_so(small, monkeypatch):
    run, _, _ = small
    monkeypatch.setattr(edge, "find_spec", lambda name: None)
    monkeypatch.setattr(edge, "VARIANTS", ("float32", "int8"))
    result = CliRunner().invoke(main, ["edge", "lab"])
    assert result.exit_code == 1
    assert "LiteRT's interpreter is not installed" in result.stderr
    assert (run.folder / "digit.html").is_file()
    table = pd.read_csv(run.folder / "edge" / "edge.csv", index_col=0)
    assert table["bytes"].notna().all() and "ms an image" not in table
    assert table["accuracy"].notna().sum() == 3, "Keras's rows"
    page = (run.folder / "digit.html").read_text("utf-8")
    assert '"accuracy": null' in page and '"painted": null' in page, "nothing is made up"


def test_a_folder_that_cannot_be_written_is_named(small, digits):
    run, split, model = small
    (run.folder / "edge").write_text("no folder")
    with pytest.raises(LabError, match=r"edge.* could not be written"):
        deployment.deploy(run, model, digits, split)


def test_a_run_that_cannot_be_used_is_refused_in_plain_sentences(small, digits):
    run, _, model = small

    def error(name="lab"):
        result = CliRunner().invoke(main, ["edge", name])
        assert result.exit_code == 1 and "Traceback" not in result.output
        assert not (run.folder / "edge").exists()
        return result.stderr

    assert "Did you mean 'lab'" in error("labb")
    file = run.folder / "model.keras"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert "Run the notebook 03_train again" in error()
    file.unlink()
    assert "Run the notebook 03_train first" in error()
    keep("lab", digits, model, preprocess.split(digits, 0.3, 2))
    file.write_bytes(content)
    handoff.open_run("lab", 1).save("split.csv", lambda path: path.write_text("part"), {})
    assert "03_train" in error()


@pytest.fixture
def photographs(tmp_path, runs):
    """A run on a folder of coloured pictures, of two classes, six test pictures in all."""
    folder = tmp_path / "anna's pictures"
    chance = np.random.default_rng(1)
    for label, name in enumerate(CLASSES):
        (folder / "x").parent.mkdir(exist_ok=True)
        (folder / name.replace("/", "∕")).mkdir()
        for number in range(15):
            pixels = chance.integers(0, 256, (20, 30, 3)) // (1 + label)
            place = folder / name.replace("/", "∕") / f"{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    data = datasets.load(f"folder:{folder}?size=16&fit=crop")
    model = network(data.image_shape, 2)
    return *keep("photos", data, model), model, data, folder


def test_photographs_get_a_page_of_their_own_that_tells_no_path(photographs):
    run, split, model, data, folder = photographs
    deployed = deployment.deploy(run, model, data, split)
    assert deployed.page == run.folder / "photo.html" and deployed.painted is None
    page = deployed.page.read_text("utf-8")
    assert str(folder.parent) not in page and CLASSES[0] not in page, "escaped"
    assert deployed.table.loc["Keras", "low"] < deployed.table.loc["Keras", "high"]
    changed = edge_answers.changes(
        {"Keras": np.eye(2)[[0, 0]], "int8": np.eye(2)[[0, 1]]},
        np.array([3, 1]),
        np.array([0, 0]),
        data,
    )
    assert changed["file"].tolist() == [data.test_files[1]]
    assert edge_study.draw_changed(changed, data).png


def test_pictures_that_have_moved_are_missed_before_anything_is_written(photographs):
    run, *_, folder = photographs
    folder.rename(folder.with_name("elsewhere"))
    result = CliRunner().invoke(main, ["edge", "photos"])
    assert result.exit_code == 1 and not (run.folder / "edge").exists()
    assert "need the run's pictures" in result.stderr and str(folder) in result.stderr


def test_an_interruption_says_how_to_go_on(here, measured, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(edge_study, "measure", stop)
    result = CliRunner().invoke(main, ["edge", "sweep/one"])
    assert result.exit_code == 130 and "the same command" in result.stderr


def test_the_frame_has_a_relative_address_and_none_is_made_for_a_program(tmp_path, monkeypatch):
    deployed = deployment.Deployed(
        {}, {}, pd.DataFrame(), tmp_path / "é a/digit.html", [], None, None
    )
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CONVNETLAB_HEADLESS", "0")
    assert deployed.frame().src == "../%C3%A9%20a/digit.html"
    assert replace(deployed, page=None).frame() is None
    monkeypatch.setenv("CONVNETLAB_HEADLESS", "1")
    assert deployed.frame() is None


def test_a_cold_start_is_of_one_library(measured, trained, digits):
    run, model, _ = trained
    image = digits.test_images[5]
    start = edge_trials.measure(run.folder / "edge" / "int8.tflite", image)
    assert start.answer == model.predict(image[None], verbose=0).argmax()
    assert start.seconds > 0 and start.peak_mib > 10
    assert "tensorflow" in sys.modules
    with pytest.raises(AssertionError, match="tensorflow was loaded"):
        edge_trials.answer(run.folder / "edge" / "int8.tflite", image)
    with pytest.raises(RuntimeError, match=r"gone\.tflite"):
        edge_trials.measure(run.folder / "gone.tflite", image)


def test_times_are_of_single_calls_and_the_best_batch_wins(monkeypatch):
    clock = itertools.count()
    now = [0.0]
    monkeypatch.setattr(edge_speeds.time, "perf_counter", lambda: now[0])
    order = []

    def takes(name, first, later):
        def ask(image):
            order.append(name)
            now[0] += first if next(clock) < 2 else later

        return ask

    def many(images, size):
        now[0] += {2: 1.0, 4: 0.5}[size] * len(images) / 4

    ways = {
        name: edge_speeds.Way(takes(name, 60.0, later), many, (2, 4))
        for name, later in {"slow": 2.0, "quick": 0.25}.items()
    }
    images = np.zeros((9, 2, 2, 1), np.uint8)
    taken = edge_speeds.one_image(ways, images, turns=2, seconds=1.0)
    assert set(taken["slow"]) == {2.0} and set(taken["quick"]) == {0.25}, "the first do not count"
    assert len(taken["slow"]) == 2 * edge_speeds.FEWEST
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes == 5, "they take turns"
    rates = edge_speeds.throughput(ways, images, turns=3)
    assert rates == {"slow": (8.0, 4), "quick": (8.0, 4)}


def test_ratios_are_of_each_time_and_the_median_is_told():
    def fact(compiled, int8):
        rows = {
            "Keras, predict": (200, 0.98, 100.0),
            "Keras, call": (200, 0.98, 10.0),
            "Keras, tf.function": (200, 0.98, compiled),
            "float32": (200, 0.98, 0.1),
            "float16": (100, 0.98, 0.1),
            "dynamic": (60, 0.98, 0.1),
            "int8": (50, 0.97, int8),
        }
        columns = ("bytes", "accuracy", "ms an image")
        table = [{"network": n, **dict(zip(columns, v, strict=True))} for n, v in rows.items()]
        return {"table": [{**row, "cold start, s": 4.0, "peak MiB": 8.0} for row in table]}

    shown = edge_races.ratios([fact(1.0, 0.1), fact(2.0, 0.05), fact(3.0, 0.1)])
    assert shown["int8 bytes / float32 bytes"] == 0.25
    assert shown["int8 accuracy - Keras accuracy"] == pytest.approx(-0.01)
    assert shown["tf.function ms / int8 ms"] == pytest.approx(30), "of 10, 40 and 30"
    assert shown["Keras, predict ms / tf.function ms"] == 50


@pytest.mark.browser
def test_the_page_in_chromium_is_litert_and_asks_for_nothing(here, measured):
    _, folder = measured
    found = edge_races.page_of(folder)
    assert found["as LiteRT"] == 1 and found["requests"] == []
    assert found["ms an image"] >= 0 and found["pictures"] == edge_races.PICTURES


def test_figures_say_what_they_show(measured):
    _, folder = measured
    table = pd.read_csv(folder / "edge" / "edge.csv", index_col=0)
    figure = edge_figures.variants(table, "A run")
    assert all(str(name) in figure.alt for name in table.index)
    titles = [axes.get_xlabel() for axes in figure.axes if axes.axison]
    assert len(titles) == len(edge_figures.PANELS) == len(set(titles))
    steps = {"as drawn": np.zeros((20, 20, 1), np.uint8)}
    maps = {"convolution": np.zeros((3, 6, 6), np.float32)}
    page = edge_figures.page(steps, maps, np.array([0.25, 0.75], np.float32), CLASSES)
    assert page.alt.endswith(f"the answer: {CLASSES[1]} 75.0%, {CLASSES[0]} 25.0%.")
    assert "convolution" in page.alt and page.png


def test_the_network_is_asked_by_every_way_alike(trained, digits):
    _, model, _ = trained
    images = digits.test_images[:40]
    expected = model.predict(images, verbose=0)
    for name, way in edge_speeds.keras_ways(deployment.first_output(model)).items():
        assert np.allclose(way.one(images[3]), expected[3], atol=1e-5), name
        assert np.allclose(way.many(images, 16), expected, atol=1e-5), name
