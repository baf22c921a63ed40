"""`convnetlab check`: what a student is told before handing in."""

import copy
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from convnetlab import check, student
from convnetlab.errors import LabError
from convnetlab.notebooks import read
from convnetlab.paths import STAGES, notebooks_folder


def command(*arguments):
    return [sys.executable, "-m", "convnetlab", "check", *map(str, arguments)]


def edit(path, change):
    notebook = nbformat.read(path, as_version=4)
    change(notebook, {cell.id: cell for cell in notebook.cells})
    nbformat.write(notebook, path)


def content(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def flaws(notebook, cells):
    """Stage 1 as a hapless student leaves it."""
    cells["wrapped-sum"].source = "wrapped_sum = 255"
    cells[
        "one-hot"
    ].source = "def one_hot(labels, classes):\n    return np.eye(classes, dtype='float32')[labels]"
    notebook.cells.remove(cells["one-hot-check"])
    cells["prepare"].source = "def prepare(picture):\n    return helper(picture)"
    cells["split"].source = cells["split"].source.replace("validation_share", "stale_share")
    notebook.cells.remove(cells["unseen"])
    cells["majority-accuracy"].source = "def majority_accuracy(train, test):\n    return 1.0"
    cells["majority-accuracy-check"].source = "print('Right.')"
    cells["labels-of"].source = "labels_of = lambda p: [2, 0, 2, 1, 0]"
    twin = copy.deepcopy(cells["labels-of"])
    twin.id = "twin"
    notebook.cells.append(twin)
    cells["summary"].cell_type = "code"
    cells["summary"].source = "open('notes.txt')"
    cells["summary"].outputs, cells["summary"].execution_count = [], None


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A folder with everything that goes wrong, checked: lines, exit code, whether it changed."""
    place = tmp_path_factory.mktemp("check")
    work, runs, temporary = place / "work", place / "runs", place / "temporary"
    temporary.mkdir()
    student.start(work)
    (work / "notes.txt").write_text("mine")
    edit(work / f"{STAGES[0]}.ipynb", flaws)
    shutil.copy(notebooks_folder() / f"{STAGES[1]}.ipynb", work)  # all right, its stamp lost
    (work / f"{STAGES[2]}.ipynb").write_text("{")
    answer = "It reads nine of ten digits."
    edit(work / f"{STAGES[3]}.ipynb", lambda _, cells: cells["conclusion"].update(source=answer))
    before = content(work)
    finished = subprocess.run(
        command(work),
        env={**os.environ, "CONVNETLAB_RUNS": str(runs), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert not finished.stderr
    assert content(work) == before
    assert not runs.exists() and not [*temporary.iterdir()]
    return finished.stdout.splitlines(), finished.returncode


def section(lines, stage):
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"{stage}: "))
    rest = lines[begin + 1 :]
    end = next((i for i, line in enumerate(rest) if not line.startswith("  ")), len(rest))
    return lines[begin], "\n".join(rest[:end])


def test_a_hapless_notebook_is_told_of_each_exercise(checked):
    lines, code = checked
    head, told = section(lines, STAGES[0])
    assert code == 1
    assert "1 right, 4 wrong, 1 missing" in head
    assert "✗ Exercise 1: from paths to labels: Expected the same labels in whatever order" in told
    assert "✗ Exercise 2: brighter, or not?: NumPy does not stop at 255" in told
    assert "✗ Exercise 3: count the classes, and set the bar: Expected 0.25" in told
    assert "✓ Exercise 4: one-hot" in told
    assert "✗ Exercise 5: prepare one picture: NameError: name 'helper' is not defined" in told
    assert "✗ Exercise 6: find the leak: its cell is missing" in told


def test_it_is_told_what_becomes_of_checks_and_copies(checked):
    _, told = section(checked[0], STAGES[0])
    assert "Exercise 1: from paths to labels: its cell is there 2 times." in told
    assert "Exercise 3: count the classes, and set the bar: its check was changed" in told
    assert "Exercise 4: one-hot: its check was deleted" in told


def test_cells_that_break_are_told_with_what_a_fresh_kernel_means(checked):
    _, told = section(checked[0], STAGES[0])
    stale = "breaks: NameError: name 'stale_share' is not defined. In a fresh kernel a name"
    assert stale in told
    assert told.count("In a fresh kernel") == 1
    assert "(`open('notes.txt')`) is no exercise, and breaks: FileNotFoundError" in told
    assert "no other file of yours is there" in told


def test_later_stages_are_checked_although_earlier_ones_broke(checked):
    lines, _ = checked
    _, told = section(lines, STAGES[0])
    assert "did not hand on split.csv, baseline.csv, which later stages need" in told
    head, told = section(lines, STAGES[1])
    assert "6 right" in head and "✗" not in told and "Its stamp is lost" in told
    head, told = section(lines, STAGES[2])
    assert "It is damaged, and nothing in it can be graded" in told
    assert "did not hand on history.csv, model.keras" in told
    head, told = section(lines, STAGES[3])
    assert "unanswered, 1 by hand" in head and "· Your conclusion" in told and "✗" not in told
    assert "inputs that are not shown" in lines[-1]


def test_a_missing_and_a_foreign_notebook(tmp_path):
    lab = student.given(notebooks_folder() / f"{STAGES[1]}.ipynb", "stamp")
    path = tmp_path / f"{STAGES[1]}.ipynb"
    missing = check.check_notebook(path, lab, None, print)
    assert not missing.is_fine and "is missing" in missing.broken[0]
    nbformat.write(read(notebooks_folder() / f"{STAGES[0]}.ipynb"), path)
    foreign = check.check_notebook(path, lab, None, print)
    assert not foreign.is_fine and "it is another notebook" in foreign.broken[0]
    path.write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}')
    damaged = check.check_notebook(path, lab, None, print)
    assert not damaged.is_fine and "It is damaged" in damaged.broken[0]


def test_unanswered_is_fine_and_wrong_is_not():
    fine = check.Checked("x", (check.Exercise("a", "unanswered"), check.Exercise("b", "right")))
    assert fine.is_fine
    assert not check.Checked("x", (check.Exercise("a", "wrong"),)).is_fine
    assert not check.Checked("x", (), ("a cell breaks",)).is_fine


def test_an_older_release_is_told(tmp_path):
    lab = student.given(notebooks_folder() / f"{STAGES[0]}.ipynb", "new")
    mine = student.given(notebooks_folder() / f"{STAGES[0]}.ipynb", "old")
    (told,) = check.remarks(mine, lab, check.exercises_of(lab))
    assert "another release" in told and "--update" in told


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "other.ipynb").write_text("{}")
    with pytest.raises(LabError, match="has none of the lab's notebooks"):
        check.check(tmp_path)


def test_a_cell_that_never_ends_and_one_that_ends_python(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "SECONDS", 2)
    new = nbformat.v4.new_code_cell
    with check.Kernels(tmp_path, 2) as kernels:
        for source, told in (
            ("while True: pass", "did not end"),
            ("import os; os._exit(1)", "ended Python"),
        ):
            cells = [new("1", id="a"), new(source, id="b"), new("1", id="c")]
            notebook = nbformat.v4.new_notebook(cells=cells)
            place, what = check.run(notebook, {}, kernels, lambda line: None)
            assert (place, told in what) == ("b", True)
            after = {cell.id: cell.execution_count for cell in notebook.cells}
            assert after["a"] and not after["c"]
        processes = psutil.Process().children(recursive=True)
    assert not any(process.is_running() for process in processes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_an_interrupted_check_leaves_nothing_behind(tmp_path):
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    temporary.mkdir()
    student.start(work)
    before = content(work)
    process = subprocess.Popen(
        command(work),
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while "cell 10" not in process.stdout.readline():
        assert process.poll() is None
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Stopped."
    deadline = time.monotonic() + 20
    while any(kernel.is_running() for kernel in kernels) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(kernel.is_running() for kernel in kernels)
    assert not [*temporary.iterdir()]
    assert content(work) == before
