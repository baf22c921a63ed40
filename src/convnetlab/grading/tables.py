"""The grades as tables: for people, for Moodle, for Canvas.

Moodle: in the assignment, *Actions* (or *Grading action*), *Upload grading worksheet*; the feedback
type *Offline grading worksheet* must be on, and *Maximum grade* set to the one in the table. Tick
*Allow updating records that have been modified more recently in Moodle* if you upload again. Moodle
looks for columns by name, so its language must be English meanwhile: "Identifier", "Grade" and
"Last modified (grade)" must be there (mod/assign/feedback/offline/importgradeslib.php), the others
are for people. A grade above the maximum, or without a number, is left out there in silence.

Canvas: *Grades*, *Import*. The student is found by the number in "ID", the points by the name of
the column; one that Canvas does not know becomes a new assignment, with the points of the second
row (lib/gradebook_importer.rb).
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from convnetlab.grading.pages import put
from convnetlab.grading.records import Mark, Result
from convnetlab.grading.scores import (
    Manual,
    given,
    is_by_hand,
    maximum,
    percent,
    reached,
    told,
    total,
)

COLUMN = "convnetlab"  # Canvas's name of the assignment
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # spreadsheets obey them
INVISIBLE = " \u00a0\u200b\u2060\ufeff"


def write(folder: Path, results: Sequence[Result], manual: Manual) -> list[Path]:
    """Write `grades.csv` and, where such names were found, `moodle.csv` and `canvas.csv`.

    Args:
        folder: GRADES.
        results: a student each, in any order.
        manual: what was given by hand.

    Returns:
        The paths of the tables. One of an earlier grading that has no rows any more is removed.
    """
    results = sorted(results, key=lambda result: result.submission.student)
    tables = {
        "grades.csv": grades(results, manual),
        "moodle.csv": moodle(results, manual),
        "canvas.csv": canvas(results, manual),
    }
    paths = []
    for name, rows in tables.items():
        if rows:
            paths.append(put(folder / name, as_csv(rows)))
        else:
            (folder / name).unlink(missing_ok=True)
    return paths


def grades(results: Sequence[Result], manual: Manual) -> list[list[str]]:
    """Return the table for people: a row a student, a column an exercise.

    An exercise's column is empty where a student's release did not have it, or a person has yet
    to grade it.
    """
    exercises = {(mark.notebook, mark.check): mark for result in results for mark in result.marks}
    order = sorted(exercises, key=lambda place: place[0])  # stable: the notebook's order within
    head = ["Student", "Full name", "Identifier", "ID", "Total", "Maximum", "Percent"]
    names = [f"{notebook} {exercises[notebook, check].exercise}" for notebook, check in order]
    rows = [[*head, "By hand", *names]]
    for result in results:
        about = result.submission
        marks = {(mark.notebook, mark.check): mark for mark in result.marks}
        most, points = maximum(result.marks), total(result, manual)
        texts = [safe(about.student), safe(about.full_name), participant(result), about.canvas]
        numbers = [told(points), told(most), percent(points, most)]
        cells = [cell(result, marks.get(place), manual) for place in order]
        rows.append([*texts, *numbers, by_hand(result, manual), *cells])
    return rows


def cell(result: Result, mark: Mark | None, manual: Manual) -> str:
    """Return an exercise's points, or "" where there are none."""
    if mark is None:
        return ""
    points = reached(mark, given(manual, result.submission.student, mark))
    return "" if points is None else told(points)


def by_hand(result: Result, manual: Manual) -> str:
    """Return the points of what a person grades; "" while some of it waits."""
    points = [
        reached(mark, given(manual, result.submission.student, mark))
        for mark in result.marks
        if is_by_hand(mark)
    ]
    found = [it for it in points if it is not None]
    return told(sum(found)) if found and len(found) == len(points) else ""


def participant(result: Result) -> str:
    """Return the student as Moodle's worksheet names them, or ""."""
    return f"Participant {result.submission.moodle}" if result.submission.moodle else ""


def moodle(results: Sequence[Result], manual: Manual) -> list[list[str]]:
    """Return Moodle's grading worksheet; no rows if nobody came from there.

    With extra credit a total may exceed the maximum, which Moodle would leave out: it is cut.
    """
    rows = [["Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)"]]
    for result in results:
        if result.submission.moodle:
            most = maximum(result.marks)
            points = told(min(total(result, manual), most))
            name = safe(result.submission.full_name)
            rows.append([participant(result), name, points, told(most), ""])
    return rows if len(rows) > 1 else []


def canvas(results: Sequence[Result], manual: Manual) -> list[list[str]]:
    """Return Canvas's table of grades; no rows if nobody came from there."""
    found = [result for result in results if result.submission.canvas]
    if not found:
        return []
    most = max(maximum(result.marks) for result in found)
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", COLUMN]
    rows = [head, ["    Points Possible", "", "", "", "", told(most)]]
    for result in found:
        about = result.submission
        name = safe(about.full_name or about.student)
        rows.append([name, about.canvas, "", "", "", told(total(result, manual))])
    return rows


def safe(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula.

    >>> safe("=1+1"), safe("Ada"), safe("-4")
    ("'=1+1", 'Ada', "'-4")
    """
    seen = text.lstrip(INVISIBLE)
    return f"'{text}" if text.startswith(FORMULA) or seen.startswith(FORMULA) else text


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV: every field in quotes, lines as RFC 4180 has them."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
