"""A made-up class, to try grading on: `python -m convnetlab.grading.sample FOLDER`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import click
from nbformat import NotebookNode

from convnetlab.errors import LabError
from convnetlab.handoff import write_folder
from convnetlab.notebooks import read
from convnetlab.paths import notebooks_folder
from convnetlab.student import source_stamp, student_copy

NAMES = ("ada", "blaise", "chien-shiung", "dmitri", "emmy", "florence", "grace", "hypatia")
MARKS = re.compile(r"^[ \t]*### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)


def answers_of(notebook: NotebookNode) -> dict[str, str]:
    """Return the solved cells of a source notebook, as a student would have written them, by id."""
    return {
        cell.id: MARKS.sub("", cell.source).rstrip("\n")
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }


def hand_in(source: Path, changed: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return what a student hands in who solved everything, by the notebook's name.

    Args:
        source: the folder of the source notebooks.
        changed: other answers than the right ones, by the cell's id; "" leaves one out.
    """
    stamp, handed_in = source_stamp(source), {}
    for path in sorted(source.glob("*.ipynb")):
        notebook = read(path)
        answers = {**answers_of(notebook), **(changed or {})}
        copy = student_copy(notebook, stamp)
        for cell in copy.cells:
            cell.source = answers.get(cell.id) or cell.source
        handed_in[path.stem] = json.dumps(copy, ensure_ascii=False).encode()
    return handed_in


def everything(source: Path) -> list[str]:
    """Return the ids of all cells with a solution, in order."""
    return [key for path in sorted(source.glob("*.ipynb")) for key in answers_of(read(path))]


def changes(source: Path, number: int) -> dict[str, str]:
    """Return what the student of this number did not answer: of four, one answers nothing, one
    every other exercise, and two everything.
    """
    keys = everything(source)
    unanswered = {0: [], 1: keys[::2], 2: [], 3: keys}[number % 4]
    return dict.fromkeys(unanswered, "")


def write_class(source: Path, folder: Path, students: int) -> None:
    """Write a class's submissions, a folder a student, into `folder`, which is new or empty."""

    def fill(beside: Path) -> None:
        for number in range(students):
            name = NAMES[number % len(NAMES)] + (
                f"-{number // len(NAMES)}" * (number >= len(NAMES))
            )
            (beside / name).mkdir()
            for stem, content in hand_in(source, changes(source, number)).items():
                (beside / name / f"{stem}.ipynb").write_bytes(content)

    write_folder(folder, fill)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--students", type=click.IntRange(1), default=4, show_default=True)
def main(folder: Path, students: int) -> None:
    """Write made-up submissions into FOLDER, which must be new or empty."""
    try:
        write_class(notebooks_folder(), folder, students)
    except LabError as error:
        raise SystemExit(f"Error: {error}") from None
    click.echo(f"{folder}: {students} submissions")


if __name__ == "__main__":
    main()
