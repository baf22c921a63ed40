"""The grades as a course of nbgrader's, on which its formgrader opens.

nbgrader makes the database; the rows are written through its tables in one transaction. Its own
functions commit at every call, and refuse to change an exercise once somebody has handed it in.

What an instructor gave by hand is never overwritten: manual points, extra credit, comments, flags,
names. Where the ground under it has changed, the formgrader asks for a second look and a remark
says why. Where its exercise is gone it is set aside, and comes back with the exercise.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import compute_checksum, is_grade, is_locked, is_solution

from convnetlab import student
from convnetlab.grading.ledger import (
    ASSIGNMENT,
    BY_HAND,
    COURSE,
    DATABASE,
    Asked,
    Cell,
    Ledger,
    Place,
    Seen,
    keep_by_hand,
    recall,
    transaction,
)
from convnetlab.grading.pages import put, refuse_unsafe
from convnetlab.grading.records import Mark, Remark, Result, Submission
from convnetlab.grading.scores import ByHand, Manual
from convnetlab.grading.shown import Cells, cells_of, safe_notebook, sources

CONFIGURATION = "nbgrader_config.py"
FORMAT = 2  # of the notebooks that the formgrader shows; another number writes them anew

CONFIGURED = f'''"""Made by convnetlab: nbgrader's formgrader opens here when started here."""

from pathlib import Path

from nbgrader.server_extensions.formgrader import handlers

here = Path(__file__).resolve().parent
c = get_config()
c.CourseDirectory.course_id = "{COURSE}"
c.CourseDirectory.root = str(here)
# nbgrader's own autograder runs students' programs without a sandbox, and would replace the scores.
c.CourseDirectory.student_id_exclude = ",".join(
    sorted(path.name for path in here.glob("submitted/*") if path.is_dir())
)
# Its page for grading by hand would load a program from a public server, and waits for it.
c.HTMLExporter.extra_template_basedirs = [str(here / "templates"), handlers.template_path]
'''

# Stands in for MathJax, so that the page works without a network: formulas stay as typed. Answers
# are shown as blocks of code, and their paragraphs are long lines: these are to be wrapped.
MATHJAX = """{%- macro mathjax(url="") -%}
<script>
var MathJax = {Hub: {Startup: {signal: {Interest: function (tell) {
  $(function () { tell("End"); });
}}}}};
</script>
<style>.text_cell_render pre {white-space: pre-wrap; word-break: normal}</style>
{%- endmacro -%}
"""


def write(
    folder: Path,
    notebooks: Mapping[str, NotebookNode],
    results: Sequence[Result],
    submissions: Sequence[Submission],
) -> dict[str, tuple[Remark, ...]]:
    """Make or update the nbgrader course in `folder`, and return what should be known, by student.

    Args:
        folder: GRADES.
        notebooks: the instructor's, with solutions, by name ("02_architecture"), of the newest
            source.
        results: students of earlier gradings who are not among them stay as they are.
        submissions: what was handed in now, for nbgrader's folder `submitted`.

    Raises:
        LabError: the gradebook or a file cannot be written. The scores are then as before.
    """
    for submission in [*submissions, *(result.submission for result in results)]:
        refuse_unsafe(submission.student)
    given = {name: given_copy(notebook) for name, notebook in notebooks.items()}
    lost = what_is_lost(folder)
    put_course(folder, notebooks)
    for submission in submissions:
        put_submitted(folder, submission, list(notebooks))
    with transaction(folder) as connection:
        seen = recall(connection)
    # Meanwhile a formgrader may be open and save: files take long, the gradebook a moment.
    now = put_autograded(folder, seen, given, results)
    with transaction(folder) as connection:
        ledger = Ledger(connection)
        ledger.remarks[""] += lost
        ledger.keep_cells(given, wanted_cells(given, results))
        ledger.keep_students(results)
        ledger.keep_grades(results, now)
        ledger.remember(now)
    return {name: tuple(found) for name, found in ledger.remarks.items() if found}


def what_is_lost(folder: Path) -> list[Remark]:
    """Return what is to be said if there were grades, and the gradebook is gone."""
    if (folder / DATABASE).is_file() or not (folder / "autograded").is_dir():
        return []
    if (folder / BY_HAND).is_file():
        rest = f"was taken from {BY_HAND}, as it was when the class was last graded"
    else:
        rest = "is not known any more, if anything was"
    return [Remark(f"{DATABASE} was not there and is made anew. What was given by hand {rest}.")]


def manual_scores(folder: Path) -> Manual:
    """Return what instructors gave by hand in the formgrader; nothing if there is no gradebook.

    A copy of it is written beside the gradebook, from which a new one takes it.

    Raises:
        LabError: the gradebook cannot be read, or the copy cannot be written.
    """
    if not (folder / DATABASE).is_file():
        return {}
    with transaction(folder) as connection:
        ledger = Ledger(connection)
        keep_by_hand(folder / BY_HAND, ledger)
    found = {
        key: ByHand(row["manual_score"], row["extra_credit"] or 0.0, "", row["needs_manual_grade"])
        for key, row in ledger.grades.items()
    }
    for key, row in ledger.comments.items():
        comment = row["manual_comment"] or ""
        if comment or key in found:
            found[key] = replace(found.get(key, ByHand()), comment=comment)
    return found


def put_course(folder: Path, notebooks: Mapping[str, NotebookNode]) -> None:
    """Write nbgrader's configuration, unless there is one, its template, the source notebooks."""
    if not (folder / CONFIGURATION).is_file():
        put(folder / CONFIGURATION, CONFIGURED)
    put(folder / "templates" / "formgrade" / "mathjax.html.j2", MATHJAX)
    for name, notebook in notebooks.items():
        put(folder / "source" / ASSIGNMENT / f"{name}.ipynb", nbformat.writes(notebook) + "\n")


def put_submitted(folder: Path, submission: Submission, names: Sequence[str]) -> None:
    """Write what a student handed in, as it came; what an earlier submission had goes."""
    place = folder / "submitted" / submission.student / ASSIGNMENT
    for name in names:
        if name in submission.notebooks:
            put(place / f"{name}.ipynb", submission.notebooks[name])
        else:
            (place / f"{name}.ipynb").unlink(missing_ok=True)


def given_copy(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as students get it, with nbgrader's checksums."""
    copy = student.student_copy(notebook)
    for cell in copy.cells:
        if is_grade(cell) or is_answer(cell) or is_locked(cell):
            cell.metadata.nbgrader["checksum"] = compute_checksum(cell)
    return copy


def is_answer(cell: NotebookNode) -> bool:
    """Whether the student writes in the cell."""
    return bool(is_solution(cell))


def checksums(given: NotebookNode | None) -> dict[str, str]:
    """Return nbgrader's checksums of a notebook's cells, by their nbgrader's ids."""
    settings = [cell.metadata.get("nbgrader", {}) for cell in (given.cells if given else [])]
    return {it["grade_id"]: it["checksum"] for it in settings if "checksum" in it}


def wanted_cells(
    given: Mapping[str, NotebookNode], results: Sequence[Result]
) -> dict[tuple[str, str], Cell]:
    """Return the cells that the gradebook is to know: of the newest source, and of all marks.

    Marks of an earlier release may be of exercises that the newest has no more, or has with other
    points; the larger number of points counts there, so that no score exceeds it.
    """
    wanted: dict[tuple[str, str], Cell] = {}
    for notebook, copy in given.items():
        for cell in copy.cells:
            settings = cell.metadata.get("nbgrader", {})
            if "checksum" in settings:
                points = float(settings["points"]) if settings["grade"] else None
                name, kind = str(settings["grade_id"]), str(cell.cell_type)
                known = str(cell.source), bool(is_locked(cell)), str(settings["checksum"])
                wanted[notebook, name] = Cell(notebook, name, kind, points, is_answer(cell), *known)
    for mark in (mark for result in results for mark in result.marks):
        for name in {mark.check, mark.exercise}:
            kind = "markdown" if mark.check == mark.exercise else "code"
            new = Cell(mark.notebook, name, kind, None, name == mark.exercise)
            cell = wanted.get((mark.notebook, name), new)
            if name == mark.check:
                cell = replace(cell, maximum=max(mark.maximum, cell.maximum or 0.0))
            wanted[mark.notebook, name] = cell
    return wanted


def put_autograded(
    folder: Path,
    seen: Mapping[Place, Seen],
    given: Mapping[str, NotebookNode],
    results: Sequence[Result],
) -> dict[Place, Seen]:
    """Write the notebooks that the formgrader shows, and return what the points of each rest on."""
    printed = {name: fingerprint(str(checksums(copy))) for name, copy in given.items()}
    now: dict[Place, Seen] = {}
    for result in results:
        owner = result.submission.student
        for notebook in result.notebooks:
            path = folder / "autograded" / owner / ASSIGNMENT / f"{notebook.name}.ipynb"
            key = f"{FORMAT} {notebook.key} {printed.get(notebook.name, '')}"
            before = seen.get((owner, notebook.name))
            if before and before.key == key and path.is_file():
                now[owner, notebook.name] = before
                continue
            cells = cells_of(notebook.executed)
            shown = shown_notebook(cells, given.get(notebook.name))
            put(path, json.dumps(shown, ensure_ascii=False) + "\n")
            now[owner, notebook.name] = Seen(key, what_is_asked(cells, notebook.marks))
    return now


def shown_notebook(cells: Cells, given: NotebookNode | None) -> dict[str, Any]:
    """Return an executed notebook as the formgrader gets it."""
    metadata = given.metadata if given else {}
    kept = {name: metadata[name] for name in ("kernelspec", "language_info") if name in metadata}
    return safe_notebook(cells, kept, checksums(given))


def what_is_asked(cells: Cells, marks: Iterable[Mark]) -> dict[str, Asked]:
    """Return what the points of a notebook's exercises rest on, by the id of the graded cell."""
    found = sources(cells)
    return {
        mark.check: Asked(
            fingerprint(found.get(mark.exercise, "")),
            "" if mark.check == mark.exercise else fingerprint(found.get(mark.check, "")),
            mark.maximum,
        )
        for mark in marks
    }


def fingerprint(text: str) -> str:
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
