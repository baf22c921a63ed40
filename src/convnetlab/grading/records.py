"""What the steps of grading hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode


@dataclass(frozen=True)
class Remark:
    """Something that the instructor should know of a submission.

    Attributes:
        text: one plain sentence, complete with names of notebook and cell.
        suspicious: whether it may be an attempt to cheat or to break out, not a mere slip.
    """

    text: str
    suspicious: bool = False


@dataclass(frozen=True)
class Submission:
    """What one student handed in, as bytes: it has not been parsed, and may be anything.

    Attributes:
        student: unique in the class; fit for a folder's name and for nbgrader.
        full_name: as the download names it, or "".
        moodle: Moodle's participant number, or "".
        canvas: Canvas's user number, or "".
        notebooks: the files, by the source notebook that they answer ("01_load_preprocess").
        found_at: where it was found, for people.
        remarks: what was odd about its files.
    """

    student: str
    notebooks: Mapping[str, bytes]
    found_at: str
    full_name: str = ""
    moodle: str = ""
    canvas: str = ""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Rebuilt:
    """The instructor's notebook with a student's answers in it, fit to be executed.

    Cells that the student added or changed carry `metadata.convnetlab.own`: "added", or "changed"
    for what the student made of one of the instructor's cells (which is there as well, restored).

    Attributes:
        notebook: without outputs.
        states: "answered", "unanswered" (as given, or empty) or "missing" (no such cell), by the
            id of the solution cell.
        remarks: duplicates, edited checks, stripped metadata, …
    """

    notebook: NotebookNode
    states: Mapping[str, str]
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a submission may take.

    Attributes:
        seconds: for each of the student's cells, each check, each probe.
        memory: bytes, of all processes of a notebook together.
        output: characters that a cell may print.
        disk: bytes in the working folder.
        processes: and threads, together.
    """

    seconds: float = 30.0
    memory: int = 2 * 2**30
    output: int = 100_000
    disk: int = 256 * 2**20
    processes: int = 256


@dataclass(frozen=True)
class Probe:
    """What the parent asks of a student's name once its check cell has run.

    Attributes:
        check: the id of the check cell.
        name: of the student's function or literal.
        inputs: arguments, a tuple a call; None asks for the value of a literal.
    """

    check: str
    name: str
    inputs: tuple[tuple[Any, ...], ...] | None


@dataclass(frozen=True)
class Raised:
    """In the place of an output: what the student's function raised, such as "ValueError"."""

    name: str


@dataclass(frozen=True)
class CellRun:
    """What became of a cell.

    Attributes:
        status: "ok", "error", "timeout", "died" (the kernel did), "memory", "disk", or "not run".
        message: the error in a line: what the check's assertion says, for a check.
        seconds: wall time.
    """

    status: str
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Execution:
    """What executing a notebook gave.

    Attributes:
        notebook: with its outputs, capped; safe to be shown is not promised.
        cells: what became of each cell that was to be run, by its id.
        answers: what each probe found, by the id of its check cell: a list with an output or
            `Raised` a call, or a one-element list with the literal; None if it never answered.
        seconds: wall time, kernel start included.
        memory: the peak, in bytes, of all processes together.
        remarks: limits that were met, and what else was noticed.
    """

    notebook: NotebookNode
    cells: Mapping[str, CellRun]
    answers: Mapping[str, list[Any] | None]
    seconds: float
    memory: int
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Mark:
    """The points of one exercise.

    Attributes:
        exercise: the id of its solution cell (of the hand-graded cell itself).
        check: the id of the graded cell, under which nbgrader keeps the score.
        notebook: its name, "02_architecture".
        title: its heading in the notebook.
        points: 0 to `maximum`; 0 for what is graded by hand.
        maximum: as the instructor's source says.
        state: "right", "partly", "wrong", "unanswered", "missing" or "by hand".
        said: what the visible check said, "" if it passed.
        groups: (right, asked) of the hidden inputs, or of a literal's parts, by their name.
        is_literal: whether the groups are parts of a value, for which there are no inputs.
    """

    exercise: str
    check: str
    notebook: str
    title: str
    points: float
    maximum: float
    state: str
    said: str = ""
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    is_literal: bool = False


@dataclass(frozen=True)
class NotebookResult:
    """The marks of one notebook of one student, and how they came about.

    Attributes:
        name: the notebook's, "02_architecture".
        key: a hash of everything that the marks depend on.
        marks: one an exercise, in the notebook's order.
        executed: the executed notebook as JSON text.
        seconds: wall time.
        memory: peak, in bytes.
        remarks: of rebuilding, executing and marking.
        source: the stamp of the source that it was graded against.
    """

    name: str
    key: str
    marks: tuple[Mark, ...]
    executed: str
    seconds: float
    memory: int
    remarks: tuple[Remark, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Result:
    """What grading one submission gave."""

    submission: Submission
    notebooks: tuple[NotebookResult, ...]

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All marks, notebook after notebook."""
        return tuple(mark for notebook in self.notebooks for mark in notebook.marks)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """All remarks: of collecting first, then notebook after notebook."""
        found = [remark for notebook in self.notebooks for remark in notebook.remarks]
        return (*self.submission.remarks, *found)
