"""An assignment: the instructor's notebooks, the questions in them, and their hidden tests."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nbformat import NotebookNode

from convnetlab import student
from convnetlab.errors import LabError
from convnetlab.grading import hidden
from convnetlab.notebooks import read


@dataclass(frozen=True)
class Question:
    """What points are given for.

    Attributes:
        exercise: the id of the cell that the student answers in.
        check: the id of the cell that holds the points: the check, or the answer's cell itself.
        title: the heading above it.
        maximum: its points.
        by_hand: whether a person reads the answer and gives them.
    """

    exercise: str
    check: str
    title: str
    maximum: float
    by_hand: bool


@dataclass(frozen=True)
class Assignment:
    """What is graded.

    Attributes:
        stamp: tells this version of the source from others.
        notebooks: the source, with solutions, by name, in the order of the names.
        questions: of each notebook, in its order.
        digests: of each notebook's file and the hidden tests together, as hexadecimal digits.
        folder: where it was read from.
    """

    stamp: str
    notebooks: Mapping[str, NotebookNode]
    questions: Mapping[str, tuple[Question, ...]]
    digests: Mapping[str, str]
    folder: Path

    @cached_property
    def exercises(self) -> Mapping[str, hidden.Exercise]:
        """The hidden tests, by the id of the solution cell.

        They are read when they are first needed: they import what they compare with.

        Raises:
            LabError: the hidden tests are broken or belong to no exercise.
        """
        found = hidden.load(self.folder)
        asked = {question.exercise for each in self.questions.values() for question in each}
        if lost := sorted(found.keys() - asked):
            told = f"tests {lost[0]!r}, and no exercise has that id"
            raise LabError(f"{self.folder / hidden.FILE} {told}.")
        return found


def load(folder: Path) -> Assignment:
    """Read an assignment from a source folder: notebooks with solutions, and `hidden_tests.py`.

    Raises:
        LabError: there is no notebook, one is damaged or a student's copy, or none has a question.
    """
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        raise LabError(f"{folder} holds no notebooks. Name the folder of the source notebooks.")
    notebooks = {path.stem: with_one_id(read(path)) for path in paths}
    for name, notebook in notebooks.items():
        if "convnetlab" in notebook.metadata:
            raise LabError(
                f"{folder / name}.ipynb is a student's copy, which has no solutions to grade "
                "against. Name the folder of the source notebooks."
            )
    questions = {name: tuple(ask(notebook)) for name, notebook in notebooks.items()}
    if not any(questions.values()):
        raise LabError(f"The notebooks in {folder} have no cell with points (nbgrader's metadata).")
    path = folder / hidden.FILE
    secret = path.read_bytes() if path.is_file() else b""
    digests = {path.stem: hashlib.sha256(path.read_bytes() + secret).hexdigest() for path in paths}
    return Assignment(student.source_stamp(folder), notebooks, questions, digests, folder)


def with_one_id(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook, its graded cells with nbgrader's id as their own."""
    for cell in notebook.cells:
        if key := cell.metadata.get("nbgrader", {}).get("grade_id"):
            cell.id = str(key)
    return notebook


def ask(notebook: NotebookNode) -> Iterator[Question]:
    """Yield a notebook's questions; a check belongs to the nearest answer above it."""
    title = answer = ""
    for cell in notebook.cells:
        settings = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            text = cell.source.partition("### BEGIN SOLUTION")[0]
            title = [title, *re.findall(r"^#+ +(.+)$", text, re.MULTILINE)][-1]
        if settings.get("solution"):
            answer = str(settings["grade_id"])
        if settings.get("grade"):
            by_hand = bool(settings.get("solution"))
            key = str(settings["grade_id"])
            exercise = key if by_hand else answer or key
            points = float(settings.get("points", 0))
            yield Question(exercise, key, title, points, by_hand)
