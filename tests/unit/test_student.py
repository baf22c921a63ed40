"""The student's copy: made without solutions, updated without losing anything."""

import ast
import copy

import nbformat
import pytest

from convnetlab import student
from convnetlab.errors import LabError
from convnetlab.notebooks import read
from convnetlab.paths import STAGES, notebooks_folder

SOURCES = {stage: read(notebooks_folder() / f"{stage}.ipynb") for stage in STAGES}


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def edit(path, change):
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


@pytest.fixture
def work(tmp_path):
    student.start(tmp_path / "work")
    return tmp_path / "work"


def solution_lines(stage):
    """The lines of code between the solution marks, without those that text elsewhere shows."""
    for cell in SOURCES[stage].cells:
        inside = False
        for line in cell.source.splitlines():
            inside = (inside or "BEGIN SOLUTION" in line) and "END SOLUTION" not in line
            if inside and "BEGIN SOLUTION" not in line:
                yield line.strip()


@pytest.mark.parametrize("stage", STAGES)
def test_no_solution_is_left_in_any_form(work, stage):
    notebook = read(work / f"{stage}.ipynb")
    text = "\n".join(cell.source for cell in notebook.cells)
    lines = list(solution_lines(stage))
    assert lines
    assert "SOLUTION" not in (work / f"{stage}.ipynb").read_text("utf-8")
    assert not [line for line in lines if line in text]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in SOURCES[stage].cells]


def test_students_get_notebooks_and_nothing_else(work):
    assert (notebooks_folder() / "hidden_tests.py").is_file()
    assert {path.suffix for path in work.rglob("*") if path.is_file()} == {".ipynb"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_cell_parses_and_only_exercises_may_raise(work, stage):
    for cell in read(work / f"{stage}.ipynb").cells:
        if cell.cell_type != "code":
            continue
        ast.parse(cell.source)
        is_exercise = bool(cell.metadata.get("nbgrader"))
        assert ("raises-exception" in cell.metadata.get("tags", [])) == is_exercise


def test_the_copy_is_stamped_and_the_source_is_not(work):
    from convnetlab import __version__

    stamp = {"version": __version__, "source": student.source_stamp(notebooks_folder())}
    assert len(stamp["source"]) == 16
    for stage in STAGES:
        assert read(work / f"{stage}.ipynb").metadata["convnetlab"] == stamp
        assert "convnetlab" not in SOURCES[stage].metadata
        assert "raises-exception" not in str(SOURCES[stage])


def test_an_existing_copy_is_left_alone(work):
    path = work / "01_load_preprocess.ipynb"
    edit(path, lambda notebook: cell_of(notebook, "one-hot").update(source="my answer"))
    (work / "02_architecture.ipynb").unlink()
    before = path.read_bytes()
    with pytest.raises(LabError, match="is there already, and your answers may be in it"):
        student.start(work)
    assert path.read_bytes() == before
    assert not (work / "02_architecture.ipynb").exists(), "half of a refused copy was written"


def test_the_source_folder_a_file_and_a_foreign_notebook_are_refused(tmp_path):
    with pytest.raises(LabError, match="the lab's own notebooks"):
        student.start(notebooks_folder(), update=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LabError, match="is a file"):
        student.start(tmp_path / "file")
    foreign = tmp_path / "mine" / "03_train.ipynb"
    foreign.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(), foreign)
    before = foreign.read_bytes()
    with pytest.raises(LabError, match="was not made by `convnetlab start`"):
        student.start(tmp_path / "mine", update=True)
    foreign.write_text("no notebook")
    with pytest.raises(LabError, match="cannot be read as a notebook"):
        student.start(tmp_path / "mine", update=True)
    assert before and [p.name for p in (tmp_path / "mine").iterdir()] == ["03_train.ipynb"]


def answer(notebook):
    """A student's work: two answers, a note, a copied cell, an edited text."""
    cell_of(notebook, "wrapped-sum").source = "wrapped_sum = 44  # Füße, 手"
    cell_of(notebook, "one-hot").source = "def one_hot(labels, classes):\n    return 1"
    place = notebook.cells.index(cell_of(notebook, "one-hot"))
    notebook.cells.insert(place + 1, nbformat.v4.new_markdown_cell("my note"))
    twin = copy.deepcopy(cell_of(notebook, "one-hot"))
    twin.id, twin.source = "copied-by-hand", "def one_hot(a, b):\n    return 2"
    notebook.cells.insert(place + 2, twin)
    cell_of(notebook, "split-text").source += "\n\nmy edit"


def test_update_keeps_answers_and_own_cells_and_brings_new_text(work, monkeypatch):
    path = work / "01_load_preprocess.ipynb"
    edit(path, answer)
    original = path.read_bytes()

    newer = copy.deepcopy(SOURCES["01_load_preprocess"])
    cell_of(newer, "title").source = "# A new title"
    cell_of(newer, "prepare").source += "\n# a new remark"
    real = student.read
    monkeypatch.setattr(
        student,
        "read",
        lambda p: (
            copy.deepcopy(newer)
            if p == notebooks_folder() / "01_load_preprocess.ipynb"
            else real(p)
        ),
    )
    student.start(work, update=True)
    updated = read(path)
    assert cell_of(updated, "title").source == "# A new title"
    assert cell_of(updated, "prepare").source.endswith("# a new remark")
    assert cell_of(updated, "wrapped-sum").source == "wrapped_sum = 44  # Füße, 手"
    assert cell_of(updated, "one-hot").source.endswith("return 1")
    sources = [cell.source for cell in updated.cells]
    place = sources.index(cell_of(updated, "one-hot").source)
    assert sources[place + 1] == "my note"
    assert sources[place + 2].endswith("return 2")
    assert "my edit" not in cell_of(updated, "split-text").source
    place = updated.cells.index(cell_of(updated, "split-text"))
    assert sources[place + 1].endswith("my edit"), "an edited text stays after the new one"
    nbformat.validate(updated)
    grade_ids = [
        c.metadata["nbgrader"]["grade_id"] for c in updated.cells if "nbgrader" in c.metadata
    ]
    assert len(set(grade_ids)) == len(grade_ids)
    # What was there before is kept as it was, the edited text too.
    assert (work / "before-update-1" / path.name).read_bytes() == original
    student.start(work, update=True)
    assert [cell.source for cell in read(path).cells] == sources
    assert (work / "before-update-2").is_dir()


def test_answers_are_found_when_the_metadata_was_stripped(work):
    path = work / "03_train.ipynb"

    def strip(notebook):
        cell_of(notebook, "steps").source = "def steps_per_epoch(a, b):\n    return 1"
        for cell in notebook.cells:
            cell.metadata.clear()

    edit(path, strip)
    student.start(work, update=True)
    updated = read(path)
    assert cell_of(updated, "steps").source.endswith("return 1")
    assert cell_of(updated, "steps").metadata["nbgrader"]["grade_id"] == "steps"


def test_an_answer_in_a_copied_cell_is_found_and_edits_of_ours_are_kept(work):
    path = work / "01_load_preprocess.ipynb"

    def change(notebook):
        twin = copy.deepcopy(cell_of(notebook, "one-hot"))
        twin.id, twin.source = "twin", "def one_hot(a, b):\n    return 3"
        notebook.cells.insert(notebook.cells.index(cell_of(notebook, "one-hot")) + 1, twin)
        cell_of(notebook, "parameters").source = 'dataset = "digits"'

    edit(path, change)
    student.start(work, update=True)
    updated = read(path)
    assert cell_of(updated, "one-hot").source.endswith("return 3")
    assert "raises-exception" in cell_of(updated, "one-hot").metadata["tags"]
    place = updated.cells.index(cell_of(updated, "parameters"))
    kept = updated.cells[place + 1]
    assert (kept.cell_type, kept.source) == ("raw", 'dataset = "digits"')
    count = len(updated.cells)
    student.start(work, update=True)
    assert len(read(path).cells) == count, "a second update adds nothing"


def test_an_edited_cell_of_ours_that_has_vanished_is_kept_but_not_run(work):
    """It may bind names that the present cells use otherwise, or call what is no longer there."""
    path = work / f"{STAGES[1]}.ipynb"
    notebook = read(path)
    given = notebook.cells[4].metadata["convnetlab"]
    vanished = nbformat.v4.new_code_cell("kernels = {}  # mine", id="vanished")
    vanished.metadata["convnetlab"] = dict(given)
    notebook.cells.insert(5, vanished)
    nbformat.write(notebook, path)
    student.start(work, update=True)
    (kept,) = [cell for cell in read(path).cells if cell.source == "kernels = {}  # mine"]
    assert kept.cell_type == "raw"


def test_the_written_conclusion_is_kept(work):
    path = work / "04_evaluate.ipynb"
    picture = {"plot.png": {"image/png": "aGVsbG8="}}
    edit(
        path,
        lambda notebook: cell_of(notebook, "conclusion").update(
            source="It is good.", attachments=picture
        ),
    )
    student.start(work, update=True)
    assert cell_of(read(path), "conclusion").source == "It is good."
    assert cell_of(read(path), "conclusion").attachments == picture


def test_what_a_student_added_stays_with_its_neighbour_when_another_cell_was_moved(work):
    path = work / f"{STAGES[0]}.ipynb"

    def change(notebook):
        place = notebook.cells.index(cell_of(notebook, "one-hot"))
        notebook.cells.insert(place, nbformat.v4.new_code_cell("mine = 1"))
        notebook.cells.insert(0, notebook.cells.pop())

    edit(path, change)
    before = [cell.id for cell in SOURCES[STAGES[0]].cells]
    student.start(work, update=True)
    cells = read(path).cells
    assert [cell.id for cell in cells if cell.source != "mine = 1"] == before
    place = [cell.id for cell in cells].index("one-hot")
    assert cells[place - 1].source == "mine = 1"


def test_a_copied_stub_takes_no_answers_place_where_metadata_was_stripped(work):
    path = work / f"{STAGES[0]}.ipynb"

    def change(notebook):
        cell = cell_of(notebook, "one-hot")
        twin = copy.deepcopy(cell)
        twin.id = "twin"
        cell.source = "def one_hot(a, b):\n    return 3"
        notebook.cells.insert(notebook.cells.index(cell), twin)
        for each in notebook.cells:
            each.metadata.pop("convnetlab", None)

    edit(path, change)
    student.start(work, update=True)
    updated = read(path)
    assert cell_of(updated, "one-hot").source.endswith("return 3")
    assert sum("def one_hot" in cell.source for cell in updated.cells) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_solutions_written_into_a_copy_are_the_sources_code(stage):
    source = SOURCES[stage]
    answers = student.solutions(source)
    filled = student.answer(student.student_copy(source), answers)
    assert answers and set(answers) == {c.id for c in source.cells if student.is_answer(c)}
    for cell, original in zip(filled.cells, source.cells, strict=True):
        assert "SOLUTION" not in cell.source and "YOUR CODE" not in cell.source
        if cell.cell_type == "code":  # comments are not in the tree
            assert ast.dump(ast.parse(cell.source)) == ast.dump(ast.parse(original.source))
    blank = student.answer(student.student_copy(source), {})
    assert blank == student.student_copy(source)
