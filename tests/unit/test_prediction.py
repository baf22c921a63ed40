"""`convnetlab predict`: files are read as the run's pictures were, and answered as in stage 4."""

import csv
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageOps

from convnetlab import datasets, evaluation, handoff, prediction, preprocess, streams
from convnetlab.cli import main
from convnetlab.errors import LabError

CLASSES = ("Dreieck, spitz", "round – “very”")


def draw(kind, seed):
    """A coloured shape on another colour, of any size."""
    chance = np.random.default_rng(seed)
    width, height = (int(side) for side in chance.integers(30, 90, 2))
    colours = [tuple(int(level) for level in chance.integers(0, 256, 3)) for _ in range(2)]
    picture = Image.new("RGB", (width, height), colours[0])
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    if kind:
        ImageDraw.Draw(picture).ellipse(box, fill=colours[1])
    else:
        corners = [(box[0], box[3]), (box[2], box[3]), (width // 2, box[1])]
        ImageDraw.Draw(picture).polygon(corners, fill=colours[1])
    return picture


def finish(name, data, model):
    """Write into a run what stages 1 to 4 would, from a network that is there."""
    split = preprocess.split(data, 0.2, 1)
    one, two, three, four = (handoff.open_run(name, stage) for stage in (1, 2, 3, 4))
    description = {**data.specification(), "smoke": False}
    given = {"seed": 1}
    one.save("dataset.json", lambda path: path.write_text(json.dumps(description)), given)
    one.save("split.csv", lambda path: split.to_csv(path, index=False), given, ["dataset.json"])
    two.save("architecture.json", lambda path: path.write_text("{}"), given, ["dataset.json"])
    three.save("model.keras", model.save, given, ["split.csv", "architecture.json"])
    indices, truth = preprocess.part_of(split, "test")
    probabilities = evaluation.predict(model, data, indices)
    table = evaluation.predictions_table(indices, probabilities, truth)
    four.save("predictions.csv", lambda path: table.to_csv(path, index=False), given)
    return probabilities, table


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of two classes; one picture lies on its side and says so (EXIF), one is grey."""
    folder = tmp_path_factory.mktemp("photographs")
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(10):
            picture = draw(label, 10 * label + number)
            exif = Image.Exif()
            if number == 3:
                exif[0x0112], picture = 6, picture.rotate(90, expand=True)
            if number == 4:
                picture = ImageOps.grayscale(picture)
            picture.save(folder / name / f"{number}.png", exif=exif)
    return folder


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def answered(photographs, runs_folder):
    """A run on the photographs, and what stage 4 said in it."""
    from convnetlab.backend import keras

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNETLAB_RUNS", str(runs_folder))
        data = datasets.load(f"folder:{photographs}?size=24&fit=crop")
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.Input(data.image_shape),
                keras.layers.Rescaling(1 / 64),  # large inputs, so that the answers differ
                keras.layers.Conv2D(6, 3, activation="relu"),
                keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        return data, *finish("shapes", data, model)


@pytest.fixture
def ready(answered, runs_folder, monkeypatch):
    monkeypatch.setenv("CONVNETLAB_RUNS", str(runs_folder))
    return answered


def state(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_gets_the_probabilities_that_stage_4_gave_it(ready, photographs):
    data, probabilities, table = ready
    before = state(photographs)
    files = [photographs / data.test_files[index] for index in table["index"]]
    answers = prediction.predict("shapes", files)
    assert np.allclose(answers.probabilities, probabilities, atol=1e-5)
    assert answers.probabilities.std(axis=0).min() > 0.01, "the answers differ from file to file"
    assert answers.probabilities.argmax(axis=1).tolist() == table["predicted"].tolist()
    assert np.allclose(answers.probabilities.max(axis=1), table["confidence"], atol=1e-5)
    assert state(photographs) == before


def test_a_folder_means_its_pictures_once_and_in_batches(ready, photographs, monkeypatch):
    whole = prediction.predict("shapes", [photographs, photographs / CLASSES[0] / "1.png"])
    assert len(whole.files) == 20
    monkeypatch.setattr(streams, "pictures_at_once", lambda shape: 3)
    said = []
    in_threes = prediction.predict("shapes", [photographs], say=said.append)
    assert np.allclose(in_threes.probabilities, whole.probabilities, atol=1e-6)
    assert said[-1] == "  20 of 20 pictures"


def test_a_run_predicts_without_its_folder(ready, photographs, tmp_path):
    """A phone's new picture is asked about long after the training pictures are gone."""
    picture = tmp_path / "new.JPG"
    draw(1, 99).save(picture, "JPEG")
    moved = photographs.rename(photographs.with_name("elsewhere"))
    try:
        answers = prediction.predict("shapes", [picture])
    finally:
        moved.rename(photographs)
    assert answers.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_command_writes_a_table_and_names_what_it_cannot_read(ready, photographs, tmp_path):
    broken, table = tmp_path / "broken, “old”.jpg", tmp_path / "new" / "answers.csv"
    broken.write_bytes(b"\xff\xd8\xff nothing")
    files = [str(photographs / CLASSES[1] / "2.png"), str(broken)]
    asked = ["predict", "shapes", *files, "--csv", str(table), "--top", "5"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 1
    assert f"1 of 2 files could not be read:\n  {broken} cannot be read" in result.stderr
    assert "Traceback" not in result.output
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[4:] == [f"P({name})" for name in CLASSES]
    assert [row["file"] for row in rows] == files
    values = [float(rows[0][f"P({name})"]) for name in CLASSES]
    assert rows[0]["predicted"] == CLASSES[int(np.argmax(values))]
    assert float(rows[0]["confidence"]) == max(values) and sum(values) == pytest.approx(1)
    for name, value in zip(CLASSES, values, strict=True):
        assert f"{name} ({value:.1%})" in result.stdout, "both classes, though five were asked for"
    assert rows[1]["predicted"] == rows[1]["confidence"] == "" and str(broken) in rows[1]["error"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 1 and table.is_file(), "its own table is replaced"


def test_nothing_of_the_users_is_replaced(ready, photographs, tmp_path):
    mine = tmp_path / "marks.csv"
    mine.write_text("file,mark\n1.png,5\n")
    with pytest.raises(LabError, match=r"marks\.csv is there and was not made by --csv"):
        prediction.predict("shapes", [photographs], table=mine)
    picture = photographs / CLASSES[0] / "1.png"
    with pytest.raises(LabError, match=r"1\.png is there"):
        prediction.predict("shapes", [photographs], table=picture)
    before = state(photographs)
    with pytest.raises(LabError, match="was not made by --explain"):
        prediction.predict("shapes", [picture], explain=photographs)
    assert mine.read_text() == "file,mark\n1.png,5\n" and state(photographs) == before


def test_explanations_are_pictures_with_the_answer_in_words(ready, photographs, tmp_path):
    files = [photographs / name / "2.png" for name in CLASSES]
    for _ in range(2):  # an earlier call's folder is taken again
        answers = prediction.predict("shapes", files, explain=tmp_path / "why")
    made = sorted(path.name for path in (tmp_path / "why").iterdir())
    assert made == ["2-2.png", "2.png", prediction.EXPLAINED]
    for row, name in enumerate(("2.png", "2-2.png")):
        with Image.open(tmp_path / "why" / name) as picture:
            told = picture.info["Description"]
        best = answers.probabilities[row].argmax()
        assert f"2.png: {CLASSES[best]} {answers.probabilities[row, best]:.1%}" in told
        assert "Grad-CAM is" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shaqes", "."], "There is no run 'shaqes' in .* Did you mean 'shapes'"),
        (["begun", "."], "model.keras is missing. Run the notebook 03_train first"),
        (["../x", "."], "run is '../x'"),
        (["shapes", "nowhere.png"], "nowhere.png is not there. Name picture files"),
        (["shapes", "{empty}"], "There are no pictures in .*empty"),
        (["five", "{picture}"], "have 5 channels; files are read as grey"),
    ],
)
def test_what_cannot_be_asked_is_told(
    ready, photographs, runs_folder, tmp_path, arguments, message
):
    handoff.open_run("begun", 1)
    (tmp_path / "empty").mkdir()
    if arguments[0] == "five":
        images = np.zeros((20, 8, 8, 5), np.uint8)
        labels = np.arange(20) % 2
        from convnetlab.backend import keras

        layers = [keras.Input((8, 8, 5)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
        data = datasets.Dataset("five", images, labels, images, labels, ("a", "b"))
        finish("five", data, keras.Sequential(layers))
    places = {"empty": tmp_path / "empty", "picture": photographs / CLASSES[0] / "1.png"}
    result = CliRunner().invoke(main, ["predict", *(part.format(**places) for part in arguments)])
    assert result.exit_code == 1
    assert pd.Series([result.stderr]).str.contains(message, regex=True).all(), result.stderr
    assert "Traceback" not in result.stderr and not result.stdout


def test_a_network_without_maps_cannot_explain_but_answers(ready, photographs, tmp_path):
    from convnetlab.backend import keras

    model = keras.Sequential(
        [keras.Input((24, 24, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    finish("flat", ready[0], model)
    picture = photographs / CLASSES[0] / "1.png"
    assert prediction.predict("flat", [picture]).probabilities.shape == (1, 2)
    with pytest.raises(LabError, match="no convolution"):
        prediction.predict("flat", [picture], explain=tmp_path / "why")
