import json

import pytest

from convnetlab import handoff, paths
from convnetlab.errors import LabError


def write(text):
    return lambda path: path.write_text(text)


@pytest.fixture
def chain(runs):
    """A run with stage 1's and stage 2's artefacts."""
    one, two = handoff.open_run("r", 1), handoff.open_run("r", 2)
    one.save("dataset.json", write('{"a": 1}'), {"seed": 1, "dataset": "digits"})
    one.save("split.csv", write("part,index,label\n"), {"seed": 1}, ["dataset.json"])
    two.save("architecture.json", write("{}"), {"seed": 1}, ["dataset.json"])
    return handoff.open_run("r", 3)


def test_what_was_saved_is_found_with_its_record(chain):
    assert chain.need("split.csv", seed=1).read_text() == "part,index,label\n"
    record = chain.record("architecture.json")
    assert record["made_by"] == "02_architecture"
    assert record["parents"] == {"dataset.json": handoff.sha256(chain.folder / "dataset.json")}
    assert record["seed"] == 1
    assert record["versions"]["convnetlab"]


def test_a_missing_artefact_names_the_notebook_to_run(chain):
    with pytest.raises(LabError, match=r"model\.keras is missing\. Run the notebook 03_train"):
        chain.need("model.keras")


def test_a_changed_parent_makes_the_child_stale(chain):
    one = handoff.open_run("r", 1)
    one.save("dataset.json", write('{"a": 2}'), {"seed": 2, "dataset": "digits"})
    with pytest.raises(LabError, match=r"architecture\.json is stale.*02_architecture again"):
        chain.need("architecture.json")


def test_a_stale_grandparent_is_found(chain):
    chain.save("model.keras", write("m"), {"seed": 1}, ["architecture.json"])
    handoff.open_run("r", 1).save("dataset.json", write("{}"), {"seed": 1})
    with pytest.raises(LabError, match=r"architecture\.json is stale"):
        handoff.open_run("r", 4).need("model.keras")


def test_a_parent_that_changed_while_the_stage_ran_is_noticed(chain):
    chain.need("split.csv")
    one = handoff.open_run("r", 1)
    one.save("split.csv", write("part,index,label\ntrain,1,1\n"), {"seed": 1}, ["dataset.json"])
    chain.save("model.keras", write("made from the old split"), {"seed": 1}, ["split.csv"])
    with pytest.raises(LabError, match=r"model\.keras is stale"):
        handoff.open_run("r", 4).need("model.keras")


def test_a_changed_parameter_is_told_with_both_values(chain):
    with pytest.raises(LabError, match=r"seed = 1, and this notebook says 7.*01_load_preprocess"):
        chain.need("split.csv", seed=7)


def test_changed_bytes_are_found(chain):
    (chain.folder / "split.csv").write_text("part,index,label\ntrain,0,0\n")
    with pytest.raises(LabError, match="changed or damaged after 01_load_preprocess"):
        chain.need("split.csv")


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '{"artefact": "model.keras"}'])
def test_a_corrupt_or_foreign_record_is_refused(chain, content):
    handoff.record_path(chain.folder / "split.csv").write_text(content)
    with pytest.raises(LabError, match=r"split\.csv\.meta\.json"):
        chain.need("split.csv")


def test_a_file_without_a_record_is_foreign(chain):
    (chain.folder / "model.keras").write_text("from elsewhere")
    with pytest.raises(LabError, match="was not made by 03_train"):
        chain.need("model.keras")


def test_a_stage_cannot_save_what_another_makes(chain):
    with pytest.raises(ValueError, match=r"03_train does not make 'split\.csv'"):
        chain.save("split.csv", write(""), {})


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    handoff.write_json(path, {"old": True})

    def fail(file):
        file.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handoff.write_atomically(path, fail)
    assert json.loads(path.read_text()) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_save_leaves_no_valid_record(chain):
    def fail(file):
        raise OSError("disk full")

    with pytest.raises(LabError, match="could not be written: disk full"):
        handoff.open_run("r", 1).save("split.csv", fail, {"seed": 2}, ["dataset.json"])
    with pytest.raises(LabError, match=r"split\.csv"):
        chain.need("split.csv")


def test_a_folder_of_somebody_else_is_refused_and_untouched(runs):
    (runs / "mine").mkdir(parents=True)
    (runs / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(LabError, match="not made by convnetlab"):
        handoff.open_run("mine", 1)
    assert [entry.name for entry in (runs / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name",
    ["", "..", "a/b/c", "a/", "/a", "a/..", "../x", "a b", ".hidden", "-p", "a" * 101, "a\n"],
)
def test_a_run_needs_a_plain_name(runs, name):
    with pytest.raises(LabError, match="run is"):
        handoff.open_run(name, 1)
    assert not runs.exists()


def test_a_run_of_a_sweep_lies_in_the_sweeps_folder_but_no_run_in_another_run(runs):
    assert handoff.open_run("grid/seed-1", 1).folder == runs / "grid" / "seed-1"
    handoff.open_run("lab", 1)
    with pytest.raises(LabError, match="is a run itself"):
        handoff.open_run("lab/seed-1", 1)
    assert not (runs / "lab" / "seed-1").exists()


def test_paths_prefer_the_environment_then_the_nearest_folder_above(tmp_path, monkeypatch):
    monkeypatch.delenv("CONVNETLAB_RUNS")
    monkeypatch.delenv("CONVNETLAB_DATA")
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert paths.runs_folder() == tmp_path / "runs"
    assert paths.data_folder() == tmp_path / "data"
    with pytest.raises(LabError, match=r"has no 01_load_preprocess\.ipynb"):
        paths.notebooks_folder()
    monkeypatch.setenv("CONVNETLAB_RUNS", str(tmp_path / "elsewhere"))
    assert paths.runs_folder() == tmp_path / "elsewhere"


def test_outside_of_everything_the_checkout_is_found(tmp_path, monkeypatch, root):
    monkeypatch.delenv("CONVNETLAB_DATA")
    monkeypatch.chdir(tmp_path)
    assert paths.data_folder() == root / "data"
