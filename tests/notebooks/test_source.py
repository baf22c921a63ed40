"""The source notebooks as they are committed: format, tags, length."""

import ast
import csv
import re
import runpy
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from convnetlab.notebooks import parameters
from convnetlab.paths import STAGES

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.rglob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
STAGE_NOTEBOOKS = [NOTEBOOKS[stage] for stage in STAGES]  # the others are side trips

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS.values(), ids=NOTEBOOKS)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def grader(cell):
    return cell.metadata.get("nbgrader", {})


@every_notebook
def test_format_and_ids(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    # Ids are words, given by hand: random ones would mean that a tool has renumbered them.
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)
    assert not any(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}.*", name) for name in ids)


@every_notebook
def test_length_and_style(notebook):
    lines = [len(cell.source.splitlines()) for cell in code(notebook)]
    assert len(notebook.cells) <= (45 if notebook in STAGE_NOTEBOOKS else 50)
    assert len(notebook.cells) - len(lines) >= len(lines), "as many text cells as code cells"
    assert statistics.median(lines) <= 6
    assert max(lines) <= 20
    assert not any(cell.source.lstrip().startswith(("!", "%pip")) for cell in code(notebook))


@every_notebook
def test_no_pictures_timings_errors_or_escape_hatches(notebook):
    for cell in code(notebook):
        assert "raises-exception" not in tags(cell)
        kept = {"nbval-check-output", "keep_output"}
        assert kept <= set(tags(cell)) or not (kept & set(tags(cell)) or cell.outputs)
        for output in cell.outputs:
            assert output.output_type == "stream" and output.name == "stdout"
    assert "papermill" not in notebook.metadata


@every_notebook
def test_it_was_recorded_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "refresh it with: make notebooks"


@every_notebook
def test_something_is_recorded_to_compare(notebook):
    assert any(cell.outputs for cell in code(notebook))


@every_notebook
def test_one_parameters_cell_of_flat_literals(notebook):
    assert {"run", "seed"} <= parameters(notebook).keys()


def test_shared_parameters_have_one_default():
    found = {}
    for notebook in NOTEBOOKS.values():
        for name, value in parameters(notebook).items():
            assert found.setdefault(name, value) == value


@every_notebook
def test_nbgrader_finds_nothing_to_say(notebook):
    MetadataValidator().validate_nb(notebook)
    ids = [grader(cell)["grade_id"] for cell in notebook.cells if grader(cell)]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        if grader(cell):
            assert grader(cell)["schema_version"] == 3
            assert grader(cell)["grade_id"] == cell.id


@every_notebook
def test_every_exercise_has_a_solution_and_its_check_after_it(notebook):
    cells = notebook.cells
    exercises = [
        place
        for place, cell in enumerate(cells)
        if grader(cell).get("solution") and cell.cell_type == "code"
    ]
    assert len(exercises) >= (4 if notebook in STAGE_NOTEBOOKS else 2)
    for place in exercises:
        solution, check = cells[place], cells[place + 1]
        assert "### BEGIN SOLUTION" in solution.source and "### END SOLUTION" in solution.source
        assert check.id == f"{solution.id}-check"
        assert grader(check)["grade"] and grader(check)["points"] > 0
        statements = ast.parse(solution.source).body
        assert isinstance(statements[0], ast.FunctionDef | ast.Assign)
        asserts = [
            node for node in ast.walk(ast.parse(check.source)) if isinstance(node, ast.Assert)
        ]
        assert len(asserts) >= 3 and all(node.msg for node in asserts)


def test_the_conclusion_is_graded_by_hand():
    conclusion = next(cell for cell in NOTEBOOKS["04_evaluate"].cells if cell.id == "conclusion")
    assert conclusion.cell_type == "markdown"
    assert grader(conclusion)["grade"] and grader(conclusion)["solution"]


@every_notebook
def test_tags_mean_something(notebook):
    cells = notebook.cells
    for place, cell in enumerate(cells):
        for tag in tags(cell):
            kind, _, slug = tag.partition(":")
            if kind == "explains":
                assert cell.cell_type == "markdown" and len(cell.source.split()) >= 25, slug
            elif kind == "shows":
                assert cell.cell_type == "code", slug
                assert re.search(r"print\(|display\(", cell.source) or shows_value(cell), slug
            elif kind == "interacts":
                assert cell.cell_type == "code" and "explainer." in cell.source, slug
            elif kind == "practises":
                assert grader(cell).get("solution") and grader(cells[place + 1]).get("grade"), slug


def shows_value(cell):
    """Whether the cell's last statement is an expression, whose value Jupyter shows."""
    return isinstance(ast.parse(cell.source).body[-1], ast.Expr)


def test_every_concept_is_covered_as_it_needs():
    with (Path(__file__).parent / "concepts.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    found = {
        tag for notebook in NOTEBOOKS.values() for cell in notebook.cells for tag in tags(cell)
    }
    missing = [
        f"{kind}:{row['slug']}"
        for row in rows
        for kind in row["needs"].split()
        if f"{kind}:{row['slug']}" not in found
    ]
    assert not missing
    known = {row["slug"] for row in rows}
    used = {tag.partition(":")[2] for tag in found if ":" in tag}
    assert used <= known, "a tag of no concept"


def test_the_page_of_what_is_covered_is_up_to_date():
    docs = FOLDER.parent / "docs"
    made = runpy.run_path(str(docs / "make_coverage.py"))
    text = (docs / "coverage.md").read_text("utf-8")
    assert text == made["page"](), "refresh it with: make coverage"
    # Counted anew: every tag of a concept in every cell stands in the page, and nothing else.
    named = [
        (notebook, cell)
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith("| stage")
        for field in line.split("|")[3:-1]
        for part in field.strip().split("<br>")
        if ": " in part
        for notebook, cells in [part.split(": ")]
        for cell in re.findall("`(.*?)`", cells)
    ]
    tagged = [
        (path.relative_to(FOLDER).with_suffix("").as_posix(), cell.id)
        for path in PATHS
        for cell in NOTEBOOKS[path.stem].cells
        for tag in tags(cell)
        if ":" in tag
    ]
    assert sorted(named) == sorted(tagged)


def test_the_table_of_the_sheets_lines_names_cells_that_exist():
    table = next(cell for cell in NOTEBOOKS["04_evaluate"].cells if cell.id == "sheet-table")
    rows = re.findall(r"^\| (.*) \| (\d\d_\w+|further/\w+) \| (.*) \|$", table.source, re.MULTILINE)
    assert len(rows) > 20
    for _, stage, named in rows:
        ids = {cell.id for cell in NOTEBOOKS[stage.removeprefix("further/")].cells}
        cells = re.findall(r"`([a-z0-9-]+)`", named)
        assert cells and set(cells) <= ids, (stage, set(cells) - ids)


def test_ids_survive_nbstripout(tmp_path):
    strip = next(
        line.split("=", 1)[1].strip()
        for line in (FOLDER.parent / "Makefile").read_text().splitlines()
        if line.startswith("STRIP =")
    )
    options = shlex.split(strip)[1:]
    assert "--keep-id" in options
    for path in PATHS:
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        subprocess.run([sys.executable, "-m", "nbstripout", *options, str(copy)], check=True)
        before, after = NOTEBOOKS[path.stem], nbformat.read(copy, as_version=4)
        assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
        assert after == before, "the committed notebook is stripped"
