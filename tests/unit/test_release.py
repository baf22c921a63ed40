"""What students get: nothing of an answer, everything to work with, and the source kept."""

import ast
import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from IPython.core.inputtransformer2 import TransformerManager
from nbgrader.nbgraderformat import MetadataValidator

from convnetlab import leaks, release, student
from convnetlab.errors import LabError
from convnetlab.notebooks import read
from convnetlab.paths import STAGES

FILES = ("LICENSE", "constraints.txt", "environment.yml", "pyproject.toml")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The real release, packed, and unpacked far from the repository."""
    place = tmp_path_factory.mktemp("release")
    finished = subprocess.run(
        [sys.executable, "-m", "convnetlab", "release", str(place / "out")],
        cwd=ROOT,
        env={**os.environ, "CONVNETLAB_RUNS": str(place / "runs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"release [0-9a-f]{16}, ready to be zipped", finished.stdout)
    shutil.make_archive(str(place / "packed"), "zip", place / "out")
    with zipfile.ZipFile(place / "packed.zip") as packed:
        packed.extractall(place / "student" / "lab")
    return place / "student" / "lab"


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)]


def texts(value):
    """Every text in a notebook's JSON, with lists of lines joined."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else ():
        yield from texts(inner)
    if isinstance(value, list):
        yield "".join(inner for inner in value if isinstance(inner, str))
        for inner in value:
            yield from texts(inner)


def lines_of_solutions(root):
    """Lines of code that stand in solutions only, and nowhere else in the source notebooks."""
    inside, outside = set(), []
    for path in (root / "notebooks").rglob("*.ipynb"):
        for cell in read(path).cells:
            is_inside = False
            for line in cell.source.splitlines():
                if "SOLUTION" in line:
                    is_inside = "BEGIN" in line
                elif is_inside:
                    inside.add("".join(line.split()))
                else:
                    outside.append("".join(line.split()))
    text = "\n".join(outside)
    return {line for line in inside if len(line) >= 12 and line not in text}


def test_no_answer_is_left_in_any_file_but_the_packages_functions(released):
    lines = lines_of_solutions(ROOT)
    assert len(lines) > 60
    for path in files(released):
        if path.suffix == ".gz":
            continue
        text = path.read_text("utf-8")
        told = "\n".join(texts(json.loads(text))) if path.suffix == ".ipynb" else text
        squeezed = "".join(told.split())
        is_package = path.is_relative_to(released / "src")
        assert is_package or not [line for line in lines if line in squeezed], path
        assert "wrapped_sum=44" not in squeezed and "28,28,8,608" not in squeezed, path
        assert is_package or "SOLUTION" not in told, path


def test_nothing_is_left_that_instructors_keep(released):
    names = {path.relative_to(released).as_posix() for path in released.rglob("*")}
    for word in ("grading", "hidden_tests", "release.py", "test", "docs", ".git", "instructor"):
        assert not [name for name in names if word in name], word
    assert not [path for path in released.rglob("*") if path.is_symlink()]
    assert not [name for name in names if name.endswith((".pyc", "~")) or "/." in name]
    assert str(ROOT) not in "".join(
        path.read_text("utf-8") for path in files(released) if path.suffix != ".gz"
    )
    assert {*FILES, "Makefile", "README.md", "data/mnist", "data/README.md"} <= names


def test_every_cell_parses_and_nbgrader_finds_nothing_to_say(released):
    notebooks = [*(released / "notebooks").rglob("*.ipynb")]
    assert len(notebooks) == len([*(ROOT / "notebooks").rglob("*.ipynb")])
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        MetadataValidator().validate_nb(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert not cell.outputs and cell.execution_count is None
                ast.parse(TransformerManager().transform_cell(cell.source))


def outside(folder, *words, **settings):
    """Run Python in a release as if there were no other lab."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONVNETLAB_", "HOME"))}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder / "src"), **settings},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_every_module_is_there_that_another_one_needs(released):
    program = (
        "import importlib, pkgutil, convnetlab\n"
        "for found in pkgutil.iter_modules(convnetlab.__path__):\n"
        "    if found.name not in ('__main__', 'backend'):\n"
        "        importlib.import_module(f'convnetlab.{found.name}')\n"
        "print(convnetlab.__file__)"
    )
    finished = outside(released, "-c", program)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(str(released))


def test_a_page_can_be_made_of_the_parts_that_are_there(released):
    program = (
        "from convnetlab.edge_page import PageFacts, assemble\n"
        "facts = PageFacts('lab', 'mnist', ['0', '1'], (28, 28, 1), 'int8', None, 10, {})\n"
        "print('class Network' in assemble(b'', facts))"
    )
    finished = outside(released, "-c", program)
    assert finished.stdout == "True\n", finished.stderr


@pytest.mark.parametrize("words", [["release", "x"], ["grade", "work", "--out", "x"]])
def test_what_is_for_instructors_says_so(released, words):
    (released / "work").mkdir(exist_ok=True)
    finished = outside(released, "-m", "convnetlab", *words)
    assert finished.returncode == 1
    told = f"`convnetlab {words[0]}` is for instructors and not part of a student's release.\n"
    assert finished.stderr == f"Error: {told}"


def test_a_student_starts_and_runs_all_of_stage_1(released):
    made = outside(released, "-m", "convnetlab", "start")
    assert made.returncode == 0, made.stderr
    path = released / "work" / f"{STAGES[0]}.ipynb"
    assert path.read_bytes() == (released / "notebooks" / path.name).read_bytes()
    ran = outside(
        released,
        "-m",
        "nbconvert",
        "--execute",
        "--to=notebook",
        "--output=ran",
        str(path),
        CONVNETLAB_SMOKE="1",
    )
    assert ran.returncode == 0, ran.stderr
    cells = [c for c in read(path.with_name("ran.ipynb")).cells if c.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert "handed on" in cells[-1].outputs[0].text
    raised = {c.id for c in cells for o in c.outputs if o.output_type == "error"}
    assert raised and all(c.metadata.get("nbgrader") or c.id not in raised for c in cells)
    (released / "runs" / "lab" / "split.csv").stat()
    shutil.rmtree(released / "work")
    shutil.rmtree(released / "runs")


def test_a_students_makefile_and_readme_name_what_is_there(released):
    targets = subprocess.run(
        ["make", "help"], cwd=released, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^make (\w+)", targets, re.MULTILINE) == [
        "help", "setup", "lab", "run", "check"
    ]  # fmt: skip
    text = (released / "README.md").read_text("utf-8")
    for command in re.findall(r"bin/convnetlab (\w+)", text):
        assert outside(released, "-m", "convnetlab", command, "--help").returncode == 0
    assert "-e .[pretrained]" in (released / "environment.yml").read_text()


# --- a small lab of its own, which tests may spoil -------------------------------------------


@pytest.fixture
def lab(tmp_path, runs, monkeypatch):
    """A copy of the lab, with next to no data."""
    folder = tmp_path / "lab"
    for name in ("src", "notebooks"):
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / "data" / "mnist").mkdir(parents=True)
    (folder / "data" / "mnist" / "images.gz").write_bytes(b"\0\1")
    monkeypatch.chdir(folder)
    return folder


def edit(lab, change, stage=STAGES[0]):
    path = lab / "notebooks" / f"{stage}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change(notebook, {cell.id: cell for cell in notebook.cells})
    nbformat.write(notebook, path)


def replace(name, old, new):
    def change(_, cells):
        assert old in cells[name].source
        cells[name].source = cells[name].source.replace(old, new)

    return change


def settings(name, **values):
    return lambda _, cells: cells[name].metadata.nbgrader.update(values)


FAULTS = {
    "without a region": (
        lambda _, c: c["wrapped-sum"].update(source="wrapped_sum = 44"),
        "cell wrapped-sum: it has no ### BEGIN SOLUTION",
    ),
    "never ended": (replace("one-hot", "### END SOLUTION", ""), "cell one-hot: BEGIN SOLUTION and"),
    "begun twice": (replace("one-hot", "### END", "### BEGIN"), "cell one-hot: BEGIN SOLUTION and"),
    "ended early": (
        replace("one-hot", "### BEGIN SOLUTION", "### END SOLUTION"),
        "cell one-hot: BEGIN SOLUTION and",
    ),
    "in a plain cell": (
        lambda _, c: c["load"].update(source="### BEGIN SOLUTION\nx = 1\n### END SOLUTION"),
        "cell load: it has a solution, and nbgrader's metadata do not",
    ),
    "hidden tests": (
        lambda _, c: c["unseen-check"].update(source="### BEGIN HIDDEN TESTS\nassert 1"),
        "cell unseen-check: hidden tests in a cell would be given away",
    ),
    "no points": (settings("unseen-check", points=0), "cell unseen-check: it is graded, and its"),
    "points missing": (
        lambda _, c: c["unseen-check"].metadata.nbgrader.pop("points"),
        "cell unseen-check: it is graded, and its points are None",
    ),
    "an id twice": (settings("unseen", grade_id="one-hot"), "cell unseen: another cell has"),
    "no grade id": (
        lambda _, c: c["unseen"].metadata.nbgrader.pop("grade_id"),
        "01_load_preprocess.ipynb: nbgrader cell does not have a grade_id",
    ),
    "no Python": (
        lambda _, c: c["split"].update(source="%time x = 1\nfor x in:"),
        "cell split: it cannot be parsed",
    ),
    "an old schema": (settings("unseen", schema_version=1), "01_load_preprocess.ipynb: "),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_notebook_is_refused_before_anything_is_written(lab, runs, change, told):
    edit(lab, change)
    before = sorted(lab.rglob("*"))
    with pytest.raises(LabError) as caught:
        release.release(lab / "out")
    assert told in str(caught.value)
    assert sorted(lab.rglob("*")) == before and not runs.exists()


def test_broken_hidden_tests_are_refused_before_anything_is_written(lab, runs):
    (lab / "notebooks" / "hidden_tests.py").write_text("EXERCISES = {'one-hot': 1 / 0}")
    finished = subprocess.run(
        [sys.executable, "-m", "convnetlab", "release", "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "hidden_tests.py cannot be run: ZeroDivisionError" in finished.stderr
    assert not (lab / "out").exists() and not runs.exists()


def test_a_magic_is_no_fault(lab):
    edit(lab, replace("split", "split =", "%matplotlib inline\nsplit ="))
    release.release(lab / "out")


def test_a_grade_id_must_stay_what_it_was(lab):
    release.release(lab / "out")
    edit(lab, settings("wrapped-sum-check", grade=False, points=1))
    with pytest.raises(LabError, match=r"cell wrapped-sum-check: it is .* last release it was"):
        release.release(lab / "out")
    edit(lab, settings("wrapped-sum-check", grade=True, points=3))
    release.release(lab / "out")


ONE_HOT = "return np.eye(classes,dtype = np.float32)[labels]"
HOSTS = {
    "another cell": lambda _, c: c["summary"].update(source=f"So write\n`{ONE_HOT}`"),
    "metadata": lambda _, c: c["summary"].metadata.update(note=ONE_HOT),
    "an attachment": lambda _, c: c["summary"].update(
        attachments={"a.svg": {"image/svg+xml": base64.b64encode(ONE_HOT.encode()).decode()}}
    ),
    "a literal": lambda _, c: c["summary"].update(source="It is `wrapped_sum =  44`."),
}


@pytest.mark.parametrize("change", HOSTS.values(), ids=HOSTS)
def test_an_answer_somewhere_else_in_a_notebook_is_found(lab, runs, change):
    edit(lab, change)
    with pytest.raises(LabError, match=r"01_load_preprocess.ipynb: .*the answer of"):
        release.release(lab / "out")
    assert not (lab / "out").exists() and not runs.exists()
    assert not [path for path in lab.iterdir() if path.name.startswith(".")]


def test_an_answer_in_another_file_is_found(lab):
    for name, text in {
        "notes.txt": f"# {ONE_HOT}",
        "notes.json": json.dumps({"a": ["é", 'five_curves = {"A": "learning rate too low"}']}),
        "copy.ipynb": (lab / "notebooks" / f"{STAGES[0]}.ipynb").read_text("utf-8"),
        "where.txt": f"see {lab}/data",
        "marks.txt": "### BEGIN SOLUTION",
    }.items():
        path = lab / "data" / name
        path.write_text(text, "utf-8")
        if name == "notes.json":  # not all of the answer
            release.release(lab / "out")
        else:
            with pytest.raises(LabError, match=f"data/{name}: "):
                release.release(lab / "other")
        path.unlink()


def test_outputs_and_sliders_and_leftovers_are_not_released(lab):
    def show(notebook, cells):
        output = nbformat.v4.new_output("stream", text=ONE_HOT)
        cells["one-hot-check"].outputs = [output]
        notebook.metadata.widgets = {"state": ONE_HOT}

    edit(lab, show)
    for name in ("src/convnetlab/__pycache__/x.pyc", "src/convnetlab/x.py~", "data/.x/y"):
        (lab / name).parent.mkdir(exist_ok=True)
        (lab / name).write_text(ONE_HOT)
    (lab / "data" / "link").symlink_to(lab / "LICENSE")
    (lab / "notebooks" / "hidden_tests.py").write_text(ONE_HOT)
    release.release(lab / "out")
    names = {path.relative_to(lab / "out").as_posix() for path in (lab / "out").rglob("*")}
    assert not [name for name in names if re.search(r"pyc|~|\.x|hidden", name)]
    assert not (lab / "out" / "data" / "link").is_symlink()
    assert ONE_HOT not in (lab / "out" / "notebooks" / f"{STAGES[0]}.ipynb").read_text()


def test_a_hint_may_show_a_line_but_not_all():
    found = leaks.Leaks({"x": "first = numbers.mean(axis=0)\nreturn first - numbers.min()"})
    assert not found.in_text("Take numbers.mean(axis=0): first = numbers.mean(axis=0)", "all")
    assert found.in_text("first = numbers.mean(axis=0); return first-numbers.min()", "all")
    assert found.in_text("first = numbers.mean(axis=0)", "any")
    assert not leaks.Leaks({"x": "k = 4"}).in_text("k = 44", "any")


# --- the folder ------------------------------------------------------------------------------


def test_only_a_new_an_empty_or_an_untouched_release_is_written_into(lab, tmp_path):
    (lab / "mine").mkdir()
    (lab / "mine" / "thesis.txt").write_text("mine")
    (lab / "file").write_text("mine")
    for name, told in (("mine", "is not empty"), ("file", "is a file"), ("data/x", "lies in data")):
        with pytest.raises(LabError, match=told):
            release.release(lab / name)
    (lab / "empty").mkdir()
    release.release(lab / "empty")
    cache = lab / "empty" / "src" / "convnetlab" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"")
    edit(lab, lambda _, c: c["title"].update(source="# Corrected"))
    release.release(lab / "empty")
    assert read(lab / "empty/notebooks" / f"{STAGES[0]}.ipynb").cells[0].source == "# Corrected"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (lab / "empty" / "work").mkdir()
    (lab / "empty" / "work" / "answers.ipynb").write_text("mine")
    with pytest.raises(LabError, match=r"answers\.ipynb was made or changed after"):
        release.release(lab / "empty")
    shutil.rmtree(lab / "empty" / "work")
    (lab / "empty" / "README.md").write_text("my words")
    with pytest.raises(LabError, match=r"README\.md was made or changed after"):
        release.release(lab / "empty")
    assert (lab / "empty" / "README.md").read_text() == "my words"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_release_that_is_cut_short_leaves_the_old_one(lab, monkeypatch, error):
    release.release(lab / "out")
    before = {path: path.read_bytes() for path in files(lab)}
    edit(lab, lambda _, c: c["title"].update(source="# Corrected"))
    before[lab / "notebooks" / f"{STAGES[0]}.ipynb"] = None

    def fail(*_):
        raise error

    monkeypatch.setattr(release, "archive", fail)
    with pytest.raises((LabError, KeyboardInterrupt)):
        release.release(lab / "out")
    after = {path: path.read_bytes() for path in files(lab)}
    after[lab / "notebooks" / f"{STAGES[0]}.ipynb"] = None
    assert after == before


# --- the archive -----------------------------------------------------------------------------


def test_what_is_graded_is_kept_privately_and_for_good(lab, runs):
    source = lab / "notebooks"
    first = release.release(lab / "out")
    kept = release.archived(first)
    for folder in (kept, kept.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {*(f"{stage}.ipynb" for stage in STAGES), *(p.name for p in source.glob("hidden*"))}
    assert {path.name for path in kept.iterdir()} == names
    assert all((kept / name).read_bytes() == (source / name).read_bytes() for name in names)
    assert student.source_stamp(kept) == student.source_stamp(source) == first
    written = (kept / f"{STAGES[0]}.ipynb").stat().st_mtime_ns
    assert release.release(lab / "out") == first
    assert (kept / f"{STAGES[0]}.ipynb").stat().st_mtime_ns == written
    edit(lab, replace("wrapped-sum-check", "255", "254"))
    second = release.release(lab / "out")
    assert second != first
    assert "255" in (release.archived(first) / f"{STAGES[0]}.ipynb").read_text()
    stamps = [
        made["stamp"]
        for made in json.loads((kept.parent / "releases.json").read_text())["releases"]
    ]
    assert stamps == [first, first, second]


def test_hidden_tests_change_the_stamp_and_editors_traces_do_not(lab):
    source = lab / "notebooks"
    first = student.source_stamp(source)

    def trace(notebook, cells):
        notebook.metadata.language_info = {"name": "python", "version": "9"}
        cells["load"].execution_count, cells["load"].metadata.collapsed = 99, True
        cells["load"].outputs = [nbformat.v4.new_output("stream", text="x")]

    edit(lab, trace)
    assert student.source_stamp(source) == first
    (source / "hidden_tests.py").write_text("# other")
    assert student.source_stamp(source) != first


def test_an_archive_is_found_by_its_stamp_only(lab, runs):
    stamp = release.release(lab / "out")
    for other in ("", "..", "../releases", stamp[:-1], stamp.upper() + "x", "0" * 16):
        assert release.archived(other) is None
    path = runs / "releases" / stamp / f"{STAGES[0]}.ipynb"
    path.write_text(path.read_text().replace("255", "254"))
    with pytest.raises(LabError, match="was changed since it was released"):
        release.archived(stamp)


def test_a_students_copy_cannot_be_released(lab):
    release.release(lab / "out")
    shutil.rmtree(lab / "notebooks")
    shutil.copytree(lab / "out" / "notebooks", lab / "notebooks")
    with pytest.raises(LabError, match="is a student's copy"):
        release.release(lab / "again")


# --- corrected in mid-week -------------------------------------------------------------------


def unpack(folder, target):
    shutil.make_archive(str(target) + "-packed", "zip", folder)
    with zipfile.ZipFile(str(target) + "-packed.zip") as packed:
        packed.extractall(target)


def correct(notebook, cells):
    """A text, a check; an exercise goes, one comes, a literal becomes a function."""
    cells["split-text"].source = "# Corrected text"
    cells["one-hot-check"].source += "\nassert True, 'a new property'"
    for name in ("prepare", "prepare-check"):
        notebook.cells.remove(cells[name])
    cells["wrapped-sum"].source = (
        'def wrapped_sum(a, b):\n    """Return it."""\n    ### BEGIN SOLUTION\n'
        "    return (a + b) % (255 + 1)\n    ### END SOLUTION"
    )
    cells["wrapped-sum-check"].source = "assert wrapped_sum(200, 100) == 300 - 256, 'no'"
    fresh = nbformat.from_dict(json.loads(json.dumps([cells["unseen"], cells["unseen-check"]])))
    for cell, name in zip(fresh, ("fresh", "fresh-check"), strict=True):
        cell.id = cell.metadata.nbgrader.grade_id = name
        cell.source = cell.source.replace("unseen", "fresh_ones")
    place = notebook.cells.index(cells["unseen-check"]) + 1
    notebook.cells[place:place] = fresh


def test_students_who_unpack_a_corrected_release_and_update_keep_their_answers(
    lab, tmp_path, monkeypatch
):
    first = release.release(lab / "out")
    home = tmp_path / "student"
    unpack(lab / "out", home)
    monkeypatch.chdir(home)
    student.start(home / "work")
    path = home / "work" / f"{STAGES[0]}.ipynb"
    assert read(path).metadata.convnetlab.source == first
    mine = nbformat.read(path, as_version=4)
    answers = {
        "wrapped-sum": "wrapped_sum = 40 + 4",
        "one-hot": "def one_hot(labels, classes):\n    return 'mine'",
        "prepare": "def prepare(picture):\n    return 'mine, too'",
        "unseen": "unseen = print",
    }
    for cell in mine.cells:
        cell.source = answers.get(cell.id, cell.source)
    nbformat.write(mine, path)

    monkeypatch.chdir(lab)
    edit(lab, correct)
    second = release.release(lab / "out")
    assert release.archived(first) and release.archived(second) and first != second
    unpack(lab / "out", home)
    monkeypatch.chdir(home)
    student.start(home / "work", update=True)

    updated = read(path)
    cells = {cell.id: cell for cell in updated.cells}
    assert updated.metadata.convnetlab.source == second
    assert cells["split-text"].source == "# Corrected text"
    assert cells["one-hot-check"].source.endswith("'a new property'")
    for name in ("wrapped-sum", "one-hot", "unseen"):
        assert cells[name].source == answers[name]
    assert answers["prepare"] in [cell.source for cell in updated.cells]
    assert "prepare-check" not in cells
    assert student.TO_DO in cells["fresh"].source
    assert (home / "work" / "before-update-1" / path.name).is_file()
    nbformat.validate(updated)
    assert not Path(home / "work" / "hidden_tests.py").exists()
