"""A sweep's grid, its resuming, its table and page; the runs are made up."""

import contextlib
import json
import re

import made_up
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import cluster, handoff, sweep
from convnetlab.errors import LabError

GRID = [("architecture", "compact,reference"), ("seed", "0..1")]
FIXED = [("dataset", "digits")]


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, processes=False, threads_per_worker=1, dashboard_address=None
        ) as inside,
        Client(inside) as found,
    ):
        yield found


class Sweeper:
    """Starts sweeps; knows what the last one did, and what it said."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def __call__(self, grid=GRID, fixed=FIXED, name="grid", **options):
        self.lines.clear()
        self.path.write_text("")
        path = self.path  # what runs the jobs is a copy of this function

        def run(name, *arguments, **options):
            with path.open("a") as stream:
                stream.write(name.partition("/")[2] + "\n")
            made_up.run(name, *arguments, **options)

        page, failed = sweep.sweep(name, grid, fixed, say=self.lines.append, run=run, **options)
        return page.parent, failed

    @property
    def done(self):
        return self.path.read_text().splitlines() if self.path.is_file() else []


@pytest.fixture
def here(client, runs, monkeypatch, tmp_path):
    """Runs are made up, in this process; what is done is recorded."""

    @contextlib.contextmanager
    def connected(workers, scheduler, jobs):
        yield client

    monkeypatch.setattr(cluster, "connected", connected)
    return Sweeper(tmp_path / "done.txt")


def table(folder):
    return pd.read_csv(folder / "results.csv")


def test_a_sweep_does_every_combination_once_and_says_so(here, runs):
    folder, failed = here()
    keys = [
        f"architecture-{name}_seed-{seed}" for name in ("compact", "reference") for seed in "01"
    ]
    assert failed == 0 and here.done == keys
    results = table(folder)
    assert results["run"].to_list() == [f"grid/{key}" for key in keys]
    assert results["seed"].to_list() == [0, 1, 0, 1]
    for _, row in results.iterrows():
        metrics = json.loads((runs / row["run"] / "metrics.json").read_text())
        assert row["accuracy"] == metrics["accuracy"] and row["test_images"] == 360
        assert row["parameters"] == 100 * len(row["architecture"])
        assert row["train_seconds"] == len(row["architecture"]) + row["seed"] / 10
        assert (row["seconds"], row["peak_mb"], row["device"]) == (8.0, 800.0, "CPU")
    assert here.lines[0] == "4 runs, 0 of them finished already"
    assert re.fullmatch(
        r"4 of 4: architecture-\w+_seed-\d: accuracy 0\.98\d\d, .* s", here.lines[4]
    )
    assert not (folder / sweep.ATTEMPTS).exists()


def test_a_run_of_a_sweep_is_a_run_like_others(here, runs):
    here()
    run = handoff.open_run("grid/architecture-compact_seed-1", 4)
    assert run.need("metrics.json", seed=1).is_file()
    assert (run.folder / "report.html").read_text() == "<p>grid/architecture-compact_seed-1</p>"


def test_started_again_nothing_finished_is_done_again(here):
    folder, _ = here()
    before = (folder / "results.csv").read_bytes()
    here()
    assert here.done == [] and here.lines == ["4 runs, 4 of them finished already"]
    assert (folder / "results.csv").read_bytes() == before


def test_what_is_missing_damaged_or_made_otherwise_is_done_again(here, runs):
    here()
    keys = list(here.done)
    (runs / "grid" / keys[0] / "metrics.json").unlink()
    (runs / "grid" / keys[1] / "model.keras").write_text("damaged")
    made_up.run(f"grid/{keys[2]}", [("architecture", "reference"), ("epochs", "5")])
    (runs / "grid" / sweep.ATTEMPTS / "left" / "over").mkdir(parents=True)
    folder, _ = here()
    assert here.done == keys[:3]
    assert (table(folder)["status"] == "finished").all()
    assert not (folder / sweep.ATTEMPTS).exists()


def test_a_grid_may_grow_in_any_order(here):
    here()
    folder, _ = here([("seed", "0..2"), ("architecture", "reference,strided,compact")])
    assert sorted(here.done) == [
        "architecture-compact_seed-2",
        "architecture-reference_seed-2",
        *(f"architecture-strided_seed-{seed}" for seed in range(3)),
    ]
    assert len(table(folder)) == 9


@pytest.mark.parametrize(
    ("again", "message"),
    [
        ({"smoke": True}, "smoke was False, and is now True"),
        ({"fixed": [*FIXED, ("epochs", "2")]}, "the parameters of -p was"),
        ({"grid": GRID[:1]}, "varies architecture, seed, and this grid varies architecture"),
        ({"grid": [GRID[0], ("seed", "1..3")]}, "has seed 0, and this grid has not"),
    ],
)
def test_another_sweep_under_the_same_name_is_refused(here, again, message):
    folder, _ = here()
    before = (folder / "sweep.json").read_bytes()
    with pytest.raises(LabError, match=message):
        here(**again)
    assert here.done == [] and (folder / "sweep.json").read_bytes() == before


def test_a_failing_run_is_reported_and_the_rest_finished(here, runs):
    folder, failed = here([("architecture", f"{made_up.FAILS},compact"), ("seed", "0..1")])
    assert failed == 2 and len(here.done) == 4
    results = table(folder)
    assert results["status"].to_list() == ["failed"] * 2 + ["finished"] * 2
    error = results["error"][0]
    assert error.startswith("03_train, cell 9 of 44, failed: ValueError: no luck What had run")
    assert "train()" not in error and "\n" not in error
    assert f"failed: {error}" in here.lines[1]
    kept = runs / results["run"][0]
    assert f"{kept.resolve() / '01_load_preprocess'}.ipynb" in error, "the path is where it is kept"
    assert (kept / "01_load_preprocess.ipynb").is_file()
    assert "    train()" in (kept / "error.txt").read_text()
    page = (folder / "report.html").read_text("utf-8")
    assert "2 of them failed" in page and "no luck" in page and "compact" in page
    here([("architecture", f"{made_up.FAILS},compact"), ("seed", "0..1")])
    assert len(here.done) == 2, "only what failed is tried again"


def test_a_sweep_in_which_all_fails_still_has_its_page(here):
    folder, failed = here([("architecture", made_up.FAILS)])
    assert failed == 1 and "no luck" in (folder / "report.html").read_text("utf-8")


def test_the_first_whole_attempt_stays(here, runs):
    here()
    values = {"architecture": "compact", "seed": 0}
    given = tuple((name, str(value)) for name, value in values.items())
    expected = {**values, "dataset": "digits", "validation_share": 0.1}
    expected |= {"recipe": "one-cycle", "epochs": 0, "learning_rate": 0.0}
    job = sweep.Job(runs, f"grid/{sweep.key_of(values)}", values, given, expected, False)
    model = runs / job.name / "model.keras"
    before = model.stat().st_mtime_ns
    sweep.attempt(job, made_up.run)
    assert model.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("grid", "fixed", "message"),
    [
        ([("sead", "0..2")], [], "no parameter 'sead'. Did you mean seed"),
        ([("seed", "0,one")], [], "seed is 'one', expected a whole number"),
        ([("seed", "0..")], [], r"seed is '0\.\.', expected a whole number"),
        ([("seed", "2..0")], [], "must run upwards"),
        ([("seed", "0..99999999999")], [], "at most 1,000"),
        ([("seed", "0..99"), ("epochs", "1..99")], [], "9,900 runs"),
        ([("seed", "1,,2")], [], "has an empty value"),
        ([("seed", "")], [], "has an empty value"),
        ([("seed", "1,01")], [], "has the value 1 twice"),
        ([("seed", "1"), ("seed", "2")], [], "twice with -g"),
        ([("seed", "1")], [("seed", "2")], "given with -g and with -p"),
        ([("seed", "1")], [("epochs", "-1")], "epochs is -1"),
        ([("seed", "1")], [("epoch", "1")], "Did you mean epochs"),
        ([("recipe", "sprint,bets")], [], "recipe is 'bets'"),
        ([("architecture", "compact,resnet81")], [], "Did you mean 'resnet18'"),
        ([("seed", "1")], [("architecture", "nothing")], "architecture is 'nothing'"),
        ([("run", "a,b")], [], "--run NAME"),
        ([("other", "a,b")], [], "takes no parameter other"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(here, runs, grid, fixed, message):
    with pytest.raises(LabError, match=message):
        here(grid, fixed)
    assert here.done == [] and not runs.exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x"])
def test_a_sweep_needs_a_plain_name(here, runs, name):
    with pytest.raises(LabError, match="run is"):
        here(name=name)
    assert not runs.exists()


def test_a_folder_that_is_no_sweep_is_refused_and_untouched(here, runs):
    made_up.run("lab")
    before = sorted(runs.rglob("*"))
    with pytest.raises(LabError, match="lab is a run"):
        here(name="lab")
    assert sorted(runs.rglob("*")) == before


def test_a_worker_that_does_not_see_the_runs_is_refused(here, monkeypatch):
    monkeypatch.setattr(sweep.os.path, "isfile", lambda path: False)
    with pytest.raises(LabError, match=r"does not see .*CONVNETLAB_RUNS"):
        here()


def test_with_a_recipe_comes_its_architecture(here, runs):
    defaults = {
        "01_load_preprocess": {"run": "lab", "seed": 1},
        "02_architecture": {"run": "lab", "architecture": "reference"},
        "03_train": {"run": "lab", "recipe": "one-cycle", "epochs": 0, "learning_rate": 0.0},
    }
    jobs = sweep.plan("s", {"recipe": ["sprint", "listing"]}, [], False, defaults)
    assert [job.expected["architecture"] for job in jobs] == ["strided", "reference"]


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=120)


@given(st.lists(texts, min_size=2, max_size=6, unique=True))
def test_every_value_gets_a_key_of_its_own_that_a_run_may_be_called(values):
    keys = [sweep.key_of({"dataset": value}) for value in values]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert re.fullmatch(handoff.NAME, key)


@given(st.integers(-50, 50), st.integers(0, 20))
def test_a_range_has_both_its_ends(first, length):
    values = [int(text) for text in sweep.spread("seed", f"{first}..{first + length}")]
    assert values == [first + step for step in range(length + 1)]
