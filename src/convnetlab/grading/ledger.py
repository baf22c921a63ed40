"""nbgrader's tables, filled in one transaction.

nbgrader makes the database; its own functions commit at every call, and refuse to change an
exercise once somebody has handed it in, so the rows are written here.
"""

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from nbformat import NotebookNode
from nbgrader import api

from convnetlab.errors import LabError
from convnetlab.grading.pages import put
from convnetlab.grading.records import Mark, Remark, Result
from convnetlab.grading.scores import told
from convnetlab.handoff import read_json, write_atomically

COURSE = ASSIGNMENT = "convnetlab"  # what nbgrader calls them
DATABASE = "gradebook.db"
BY_HAND = "by_hand.json"  # a second copy of what only people can give


def table(model: Any) -> sql.Table:
    """Return the table of one of nbgrader's classes."""
    found: sql.Table = model.__table__
    return found


ASSIGNMENTS, NOTEBOOKS, STUDENTS = map(table, (api.Assignment, api.Notebook, api.Student))
CELLS, GRADED, ANSWERED = map(table, (api.BaseCell, api.GradeCell, api.SolutionCell))
SOURCES, GRADES, COMMENTS = map(table, (api.SourceCell, api.Grade, api.Comment))
SUBMITTED, HANDED_IN = map(table, (api.SubmittedAssignment, api.SubmittedNotebook))

# What nbgrader's tables have no room for.
OWN = sql.MetaData()
SEEN = sql.Table(  # what was graded last: a hash of each notebook's result, and of the answers
    "convnetlab_seen",
    OWN,
    sql.Column("student", sql.String, primary_key=True),
    sql.Column("notebook", sql.String, primary_key=True),
    sql.Column("key", sql.String, nullable=False),
    sql.Column("asked", sql.JSON, nullable=False),
)
ASIDE = sql.Table(  # what was given by hand for exercises that are gone
    "convnetlab_set_aside",
    OWN,
    sql.Column("student", sql.String, primary_key=True),
    sql.Column("notebook", sql.String, primary_key=True),
    sql.Column("cell", sql.String, primary_key=True),
    sql.Column("manual_score", sql.Float),
    sql.Column("extra_credit", sql.Float),
    sql.Column("manual_comment", sql.Text),
)

PLACE = ("student", "notebook", "cell")
GIVEN = ("manual_score", "extra_credit", "manual_comment")

Row = dict[str, Any]
Key = tuple[str, str, str]  # student, notebook, cell


Place = tuple[str, str]  # student, notebook


@dataclass(frozen=True)
class Cell:
    """A cell that the gradebook knows.

    Attributes:
        notebook: its name.
        name: nbgrader's id of the cell.
        kind: "code" or "markdown".
        maximum: the points; None if the cell itself is not graded.
        is_answer: whether the student writes in it.
        source: as students get it; None if it is only in an earlier release.
        is_locked, checksum: nbgrader's, of that source.
    """

    notebook: str
    name: str
    kind: str
    maximum: float | None
    is_answer: bool
    source: str | None = None
    is_locked: bool = False
    checksum: str = ""


@dataclass(frozen=True)
class Asked:
    """What a student's points rest on, as it was last graded; where it differs, look again.

    Attributes:
        answer: a hash of the answer.
        check: a hash of the check; "" for what is graded by hand.
        maximum: the points.
    """

    answer: str
    check: str
    maximum: float


@dataclass(frozen=True)
class Seen:
    """What was graded of a student's notebook.

    Attributes:
        key: a hash of its result, and of all else that the formgrader's notebook is made from.
        asked: by the id of the graded cell.
    """

    key: str
    asked: Mapping[str, Asked]


UNSEEN = Seen("", {})


@contextlib.contextmanager
def transaction(folder: Path) -> Iterator[sql.Connection]:
    """Open the gradebook in `folder`, make it if it is missing, and commit at the end, or nothing.

    Raises:
        LabError: it is damaged, in use, or cannot be written.
    """
    path = folder / DATABASE
    try:
        if not path.is_file() or not path.stat().st_size:
            write_atomically(path, lambda new_file: create(new_file, folder / BY_HAND))
        engine = sql.create_engine(address(path))
        try:
            with engine.begin() as connection:
                OWN.create_all(connection)
                yield connection
        finally:
            engine.dispose()
    except sql.exc.DatabaseError as error:
        raise unusable(path, error) from None


def unusable(path: Path, error: sql.exc.DatabaseError) -> LabError:
    """Return the error to show when a gradebook could not be read or written."""
    told_of = f"{path} could not be read or written: {error.orig}."
    if isinstance(error, sql.exc.OperationalError):
        return LabError(
            f"{told_of} Its scores are as before: free space, make the file writable, or close a "
            "formgrader that is open on it, and run this again."
        )
    return LabError(
        f"{told_of} It is damaged: put a copy of yours in its place, or move it away and run this "
        f"again. Points and comments are then as {BY_HAND} has them: those given by hand since "
        "the last grading are lost, flags too, and everything else is made anew."
    )


def address(path: Path) -> sql.URL:
    """Return what SQLAlchemy calls a file."""
    return sql.URL.create("sqlite", database=str(path))


def create(path: Path, by_hand: Path) -> None:
    """Let nbgrader make a gradebook, with nothing in it but what had been given by hand.

    It calls `alembic`, which stands beside Python.

    Args:
        path: where to.
        by_hand: what `keep_by_hand` wrote. It is set aside, and so comes back with its exercises.
    """
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        api.Gradebook(address(path), COURSE).close()
    finally:
        os.environ["PATH"] = before
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # if it failed half-way
    engine = sql.create_engine(address(path))
    try:
        with engine.begin() as connection:
            OWN.create_all(connection)
            if rows := kept_by_hand(by_hand):
                connection.execute(sql.insert(ASIDE), rows)
    finally:
        engine.dispose()


def kept_by_hand(path: Path) -> list[Row]:
    """Return what had been given by hand, in the columns of what is set aside.

    Raises:
        LabError: the file cannot be understood.
    """
    if not path.is_file():
        return []
    try:
        rows = read_json(path)["given"]
        return [{name: row[name] for name in (*PLACE, *GIVEN)} for row in rows]
    except (LabError, KeyError, TypeError):
        raise LabError(
            f"{path} holds what was given by hand, and cannot be understood. Put a copy of yours "
            "in its place, or move it away: the points and comments in it are then lost."
        ) from None


def keep_by_hand(path: Path, ledger: "Ledger") -> None:
    """Write down what was given by hand, what is set aside included, outside of the gradebook."""
    rows: dict[Key, Row] = {}
    found = [*ledger.grades.items(), *ledger.comments.items(), *ledger.aside().items()]
    for key, row in found:
        given = {name: row[name] for name in GIVEN if row.get(name) is not None}
        if given:
            place = dict(zip(PLACE, key, strict=True))
            rows[key] = rows.get(key, place | dict.fromkeys(GIVEN)) | given
    value = {"given": [rows[key] for key in sorted(rows)]}
    put(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def new(**values: Any) -> Row:
    """Return a new row with an id of its own."""
    return {"id": api.new_uuid(), **values}


class Ledger:
    """The rows of the assignment, as they are and as they are to be."""

    def __init__(self, connection: sql.Connection) -> None:
        """Read what there is."""
        self.connection = connection
        self.remarks: defaultdict[str, list[Remark]] = defaultdict(list)
        query = sql.select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.name == ASSIGNMENT)
        self.assignment: str = connection.scalar(query) or self.add_assignment()
        self.grades = self.read(GRADES)
        self.comments = self.read(COMMENTS)
        self.seen = recall(connection)
        self.cells: dict[tuple[str, str, str], str] = {}  # ids by notebook, name, type
        self.places: dict[Place, str] = {}  # ids by student, notebook

    def add_assignment(self) -> str:
        """Add the assignment, and return its id."""
        row = new(name=ASSIGNMENT, course_id=COURSE)
        self.insert(ASSIGNMENTS, [row])
        return str(row["id"])

    def read(self, rows: sql.Table) -> dict[Key, Row]:
        """Return the grades or comments of the assignment."""
        query = (
            sql.select(rows, SUBMITTED.c.student_id, NOTEBOOKS.c.name, CELLS.c.name.label("cell"))
            .join(HANDED_IN, rows.c.notebook_id == HANDED_IN.c.id)
            .join(SUBMITTED, HANDED_IN.c.assignment_id == SUBMITTED.c.id)
            .join(NOTEBOOKS, HANDED_IN.c.notebook_id == NOTEBOOKS.c.id)
            .join(CELLS, rows.c.cell_id == CELLS.c.id)
            .where(NOTEBOOKS.c.assignment_id == self.assignment)
        )
        found = self.connection.execute(query).mappings()
        return {(row["student_id"], row["name"], row["cell"]): dict(row) for row in found}

    def insert(self, rows: sql.Table, values: Sequence[Row]) -> None:
        """Add rows."""
        if values:
            self.connection.execute(sql.insert(rows), list(values))

    def update(self, rows: sql.Table, values: Sequence[Row]) -> None:
        """Change rows, each known by its `id`; all have the same columns."""
        if values:
            columns: dict[str, Any] = {
                name: sql.bindparam(f"new_{name}") for name in values[0] if name != "id"
            }
            command = sql.update(rows).where(rows.c.id == sql.bindparam("row")).values(columns)
            named = [
                {"row" if name == "id" else f"new_{name}": value for name, value in row.items()}
                for row in values
            ]
            self.connection.execute(command, named)

    def delete(self, rows: sql.Table, ids: Iterable[str], column: str = "id") -> None:
        """Remove the rows whose `id`, or other column, is one of `ids`."""
        command = sql.delete(rows).where(rows.c[column] == sql.bindparam("row"))
        if chosen := [{"row": it} for it in ids]:
            self.connection.execute(command, chosen)

    def keep_cells(
        self, given: Mapping[str, NotebookNode], wanted: Mapping[tuple[str, str], Cell]
    ) -> None:
        """Bring the notebooks and their cells up to date; grades of cells that are gone go too."""
        query = sql.select(NOTEBOOKS).where(NOTEBOOKS.c.assignment_id == self.assignment)
        old = {row.name: row.id for row in self.connection.execute(query)}
        names = {notebook for notebook, _ in wanted} | given.keys()
        added = {name: new(name=name, assignment_id=self.assignment) for name in names - old.keys()}
        for name, row in added.items():
            kernel = given[name].metadata.get("kernelspec", {}) if name in given else {}
            row["kernelspec"] = json.dumps(kernel)
        self.insert(NOTEBOOKS, list(added.values()))
        ids = old | {name: row["id"] for name, row in added.items()}
        self.keep_typed(ids, wanted.values())
        self.keep_sources(ids, [cell for cell in wanted.values() if cell.source is not None])
        gone = [old[name] for name in old.keys() - names]
        self.delete(HANDED_IN, gone, "notebook_id")
        self.delete(NOTEBOOKS, gone)

    def keep_typed(self, notebooks: Mapping[str, str], wanted: Iterable[Cell]) -> None:
        """Bring the cells that are graded, and those that are answered in, up to date."""
        graded = {
            (it.notebook, it.name, "GradeCell"): it for it in wanted if it.maximum is not None
        }
        answers = {(it.notebook, it.name, "SolutionCell"): it for it in wanted if it.is_answer}
        names = {key: name for name, key in notebooks.items()}
        query = sql.select(CELLS).where(CELLS.c.notebook_id.in_(list(names)))
        rows = self.connection.execute(query).all()
        old = {(names[row.notebook_id], row.name, row.type): row.id for row in rows}
        keep = graded.keys() | answers.keys()
        gone = {old[key] for key in old.keys() - keep}
        self.drop(self.grades, GRADES, lambda key, row: row["cell_id"] in gone)
        self.drop(self.comments, COMMENTS, lambda key, row: row["cell_id"] in gone)
        for kind in (GRADED, ANSWERED, CELLS):
            self.delete(kind, gone)
        added = {
            key: new(name=key[1], notebook_id=notebooks[key[0]], type=key[2])
            for key in sorted(keep - old.keys())
        }
        self.cells = {key: old[key] if key in old else added[key]["id"] for key in keep}
        self.insert(CELLS, list(added.values()))
        self.insert(ANSWERED, [{"id": self.cells[key]} for key in answers if key in added])
        values = {
            key: {"id": self.cells[key], "max_score": cell.maximum, "cell_type": cell.kind}
            for key, cell in graded.items()
        }
        self.insert(GRADED, [row for key, row in values.items() if key in added])
        self.update(GRADED, [row for key, row in values.items() if key not in added])

    def keep_sources(self, notebooks: Mapping[str, str], wanted: Iterable[Cell]) -> None:
        """Write the cells' texts as students get them, in the place of those that were there."""
        self.delete(SOURCES, notebooks.values(), "notebook_id")
        rows = [
            new(
                name=cell.name,
                cell_type=cell.kind,
                locked=cell.is_locked,
                source=cell.source,
                checksum=cell.checksum,
                notebook_id=notebooks[cell.notebook],
            )
            for cell in wanted
        ]
        self.insert(SOURCES, rows)

    def keep_students(self, results: Sequence[Result]) -> None:
        """Add students, and the places for what they handed in; names that are there stay."""
        known = {row.id: row for row in self.connection.execute(sql.select(STUDENTS))}
        people = {result.submission.student: about(result) for result in results}
        self.insert(STUDENTS, [row for name, row in people.items() if name not in known])
        filled = [
            {key: getattr(known[name], key) or value for key, value in row.items()}
            for name, row in people.items()
            if name in known
        ]
        self.update(STUDENTS, filled)
        query = sql.select(SUBMITTED).where(SUBMITTED.c.assignment_id == self.assignment)
        there = {row.student_id: row.id for row in self.connection.execute(query)}
        added = [
            new(student_id=name, assignment_id=self.assignment)
            for name in people
            if name not in there
        ]
        self.insert(SUBMITTED, added)
        self.keep_places(results, there | {row["student_id"]: row["id"] for row in added})

    def keep_places(self, results: Sequence[Result], submitted: Mapping[str, str]) -> None:
        """Add the rows of the students' notebooks."""
        query = (
            sql.select(HANDED_IN.c.id, SUBMITTED.c.student_id, NOTEBOOKS.c.name)
            .join(SUBMITTED, HANDED_IN.c.assignment_id == SUBMITTED.c.id)
            .join(NOTEBOOKS, HANDED_IN.c.notebook_id == NOTEBOOKS.c.id)
            .where(NOTEBOOKS.c.assignment_id == self.assignment)
        )
        self.places = {(row.student_id, row.name): row.id for row in self.connection.execute(query)}
        named = sql.select(NOTEBOOKS).where(NOTEBOOKS.c.assignment_id == self.assignment)
        ids = {row.name: row.id for row in self.connection.execute(named)}
        added = []
        for owner, name in (
            (result.submission.student, notebook.name)
            for result in results
            for notebook in result.notebooks
        ):
            if (owner, name) not in self.places:
                row = new(notebook_id=ids[name], assignment_id=submitted[owner], flagged=False)
                self.places[owner, name] = row["id"]
                added.append(row)
        self.insert(HANDED_IN, added)

    def keep_grades(self, results: Sequence[Result], now: Mapping[Place, Seen]) -> None:
        """Write the automatic scores and comments of all marks; whatever was stale goes."""
        marks = {
            (result.submission.student, mark.notebook, mark.check): mark
            for result in results
            for mark in result.marks
        }
        answers: defaultdict[Key, list[Mark]] = defaultdict(list)
        for (owner, notebook, _), mark in marks.items():
            answers[owner, notebook, mark.exercise].append(mark)
        graded = {result.submission.student for result in results}
        self.drop(self.grades, GRADES, lambda key, _: key[0] in graded and key not in marks)
        self.drop(self.comments, COMMENTS, lambda key, _: key[0] in graded and key not in answers)
        aside = self.take_back({*marks, *answers})
        added = []
        for key, mark in marks.items():
            if key in self.grades:
                self.look_again(key, mark, now.get(key[:2], UNSEEN).asked.get(key[2]))
            else:
                added.append(self.new_grade(key, mark, aside.get(key)))
        self.insert(GRADES, added)
        self.update(
            GRADES,
            [
                {name: row[name] for name in ("id", "auto_score", "needs_manual_grade")}
                for key in marks
                if (row := self.grades.get(key)) and row.get("is_changed")
            ],
        )
        self.keep_comments(answers, aside)

    def new_grade(self, key: Key, mark: Mark, aside: Row | None) -> Row:
        """Return the row of a grade that was not there, with what was set aside for it."""
        score = auto_score(mark)
        by_hand = {
            name: aside[name] if aside else None for name in ("manual_score", "extra_credit")
        }
        return new(
            cell_id=self.cells[mark.notebook, mark.check, "GradeCell"],
            notebook_id=self.places[key[:2]],
            auto_score=score,
            needs_manual_grade=score is None or by_hand["manual_score"] is not None,
            **by_hand,
        )

    def look_again(self, key: Key, mark: Mark, now: Asked | None) -> None:
        """Note an exercise's new automatic score, and whether a person should look at it again."""
        row, score = self.grades[key], auto_score(mark)
        given = row["manual_score"]
        before = self.seen.get(key[:2], UNSEEN).asked.get(key[2])
        reason = why_again(before, now) if now else ""
        is_due = score is None if given is None else bool(reason or row["needs_manual_grade"])
        row["is_changed"] = (score, is_due) != (row["auto_score"], row["needs_manual_grade"])
        row |= {"auto_score": score, "needs_manual_grade": is_due}
        comment = self.comments.get((*key[:2], mark.exercise), {}).get("manual_comment")
        if what := by_hand(given, row["extra_credit"], comment if reason else None):
            over = given is not None and given > mark.maximum
            if reason or over or (is_due and given is not None):
                why = reason or (
                    f"it has {told(mark.maximum)} points" if over else "it has changed"
                )
                self.say(key, f"{what} given by hand, and {why}. That stands; look at it again")

    def say(self, key: Key, text: str) -> None:
        """Note a remark on a student's exercise."""
        self.remarks[key[0]].append(Remark(f"{key[1]}, {key[2]}: {text}."))

    def keep_comments(
        self, answers: Mapping[Key, Sequence[Mark]], aside: Mapping[Key, Row]
    ) -> None:
        """Write the automatic comments."""
        added, changed = [], []
        for key, marks in answers.items():
            comment = "; ".join(filter(None, map(auto_comment, marks))) or None
            if row := self.comments.get(key):
                if row["auto_comment"] != comment:
                    changed.append({"id": row["id"], "auto_comment": comment})
            else:
                added.append(
                    new(
                        cell_id=self.cells[key[1], key[2], "SolutionCell"],
                        notebook_id=self.places[key[:2]],
                        auto_comment=comment,
                        manual_comment=aside[key]["manual_comment"] if key in aside else None,
                    )
                )
        self.insert(COMMENTS, added)
        self.update(COMMENTS, changed)

    def drop(
        self, rows: dict[Key, Row], kind: sql.Table, is_gone: Callable[[Key, Row], bool]
    ) -> None:
        """Remove grades or comments; what was given by hand is set aside."""
        gone = {key: row for key, row in rows.items() if is_gone(key, row)}
        for key, row in gone.items():
            del rows[key]
            kept = {name: row[name] for name in GIVEN if row.get(name) is not None}
            if kept:
                self.set_aside(key, kept)
        self.delete(kind, [row["id"] for row in gone.values()])

    def set_aside(self, key: Key, kept: Row) -> None:
        """Keep what was given by hand for an exercise that is gone, in case it comes back."""
        place = dict(zip(PLACE, key, strict=True))
        where = sql.and_(*(ASIDE.c[name] == value for name, value in place.items()))
        if self.connection.execute(sql.update(ASIDE).where(where).values(kept)).rowcount == 0:
            self.insert(ASIDE, [place | kept])
        what = by_hand(*(kept.get(name) for name in GIVEN))
        self.say(
            key,
            f"{what} given by hand, and the exercise is gone. It is kept, and comes back with it",
        )

    def aside(self) -> dict[Key, Row]:
        """Return what is set aside."""
        rows = [dict(row) for row in self.connection.execute(sql.select(ASIDE)).mappings()]
        return {(row["student"], row["notebook"], row["cell"]): row for row in rows}

    def take_back(self, keys: Collection[Key]) -> dict[Key, Row]:
        """Return what was set aside for exercises that are there again; it is no longer aside."""
        back = {key: row for key, row in self.aside().items() if key in keys}
        for key in back:
            place = zip((ASIDE.c.student, ASIDE.c.notebook, ASIDE.c.cell), key, strict=True)
            self.connection.execute(sql.delete(ASIDE).where(*(name == it for name, it in place)))
            self.say(key, "what had been given by hand is back. Look at it again")
        return back

    def remember(self, now: Mapping[Place, Seen]) -> None:
        """Note what was graded of each student's notebook."""
        changed = {place: it for place, it in now.items() if self.seen.get(place) != it}
        gone = [{"who": student, "what": notebook} for student, notebook in changed]
        if changed:
            who, what = (
                SEEN.c.student == sql.bindparam("who"),
                SEEN.c.notebook == sql.bindparam("what"),
            )
            self.connection.execute(sql.delete(SEEN).where(who, what), gone)
        rows = [
            {"student": place[0], "notebook": place[1], "key": it.key, "asked": plain(it.asked)}
            for place, it in changed.items()
        ]
        self.insert(SEEN, rows)


def recall(connection: sql.Connection) -> dict[Place, Seen]:
    """Return what was graded last, by student and notebook."""
    return {
        (row.student, row.notebook): Seen(
            row.key, {name: Asked(*asked) for name, asked in row.asked.items()}
        )
        for row in connection.execute(sql.select(SEEN))
    }


def plain(asked: Mapping[str, Asked]) -> dict[str, list[Any]]:
    """Return what points rest on as JSON's values."""
    return {name: list(dataclasses.astuple(it)) for name, it in asked.items()}


def about(result: Result) -> Row:
    """Return a student's row: the names are for nbgrader's pages, which do not escape them.

    >>> from convnetlab.grading.records import Submission
    >>> about(Result(Submission("ada", {}, "ada.zip", "Ada <b> Lovelace", "", "77"), ()))
    {'id': 'ada', 'first_name': 'Ada ‹b›', 'last_name': 'Lovelace', 'lms_user_id': '77'}
    """
    submission = result.submission
    name = " ".join(submission.full_name.translate({60: "‹", 62: "›", 38: "+", 34: "”"}).split())
    last, comma, first = name.partition(",")
    if not comma:
        first, _, last = name.rpartition(" ")
    return {
        "id": submission.student,
        "first_name": first.strip() or None,
        "last_name": last.strip() or None,
        "lms_user_id": submission.canvas or submission.moodle or None,
    }


def by_hand(score: float | None, extra: float | None, comment: str | None) -> str:
    """Return in words what was given by hand, or "".

    >>> by_hand(4.0, None, "Well argued."), by_hand(None, None, None)
    ('4 points, a comment (“Well argued.”)', '')
    """
    parts = [
        "" if score is None else f"{told(score)} points",
        "" if not extra else f"{told(extra)} extra",
        f"a comment (“{comment}”)" if comment else "",
    ]
    return ", ".join(filter(None, parts))


def auto_score(mark: Mark) -> float | None:
    """Return what nbgrader keeps as the automatic score: none for an answer that a person reads.

    An unanswered question needs nobody to read it: 0, as nbgrader itself has it.
    """
    if mark.state == "by hand":
        return None
    points = mark.points if math.isfinite(mark.points) else 0.0
    return min(max(points, 0.0), mark.maximum)


def auto_comment(mark: Mark) -> str | None:
    """Return what the formgrader shows where no comment is given by hand.

    >>> groups = {"corners": (3, 4), "edges": (4, 4)}
    >>> auto_comment(Mark("a", "a-check", "01", "A", 1, 2, "partly", "", groups))
    'corners: 3 of 4 right; edges: 4 of 4 right'
    """
    if mark.state in ("unanswered", "missing"):
        return "No response."
    told_of = [f"{name}: {right} of {asked} right" for name, (right, asked) in mark.groups.items()]
    return "; ".join(told_of) or None


def why_again(before: Asked | None, now: Asked) -> str:
    """Return in words why points that were given by hand should be looked at again, or ""."""
    if before is None or before == now:
        return ""
    reasons = []
    if before.maximum != now.maximum:
        reasons.append(f"its points were {told(before.maximum)} and are {told(now.maximum)}")
    if before.answer != now.answer:
        reasons.append("the answer is another one")
    if before.check != now.check:
        reasons.append("its check has changed")
    return " and ".join(reasons)
