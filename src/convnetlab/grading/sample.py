"""A made-up class, to try grading on: `python -m convnetlab.grading.sample FOLDER`."""

from pathlib import Path

import click
import nbformat
from nbformat import NotebookNode

from convnetlab import student
from convnetlab.errors import LabError
from convnetlab.handoff import write_folder
from convnetlab.notebooks import read
from convnetlab.paths import notebooks_folder

NAMES = ("ada", "blaise", "chien-shiung", "dmitri", "emmy", "florence", "grace", "hypatia")


def write_class(source: Path, folder: Path, students: int) -> None:
    """Write a class's submissions, a folder a student, into `folder`, which is new or empty.

    Of each four students two answer everything, one every other exercise and one nothing.

    Args:
        source: the folder of the notebooks with solutions.
        folder: where to.
        students: how many, 1 or more.
    """
    notebooks = {path.stem: read(path) for path in sorted(source.glob("*.ipynb"))}
    stamp = student.source_stamp(source)

    def fill(beside: Path) -> None:
        for number in range(students):
            again, place = divmod(number, len(NAMES))
            own = beside / (f"{NAMES[place]}-{again}" if again else NAMES[place])
            own.mkdir()
            for name, notebook in notebooks.items():
                nbformat.write(hand_in(notebook, stamp, number), own / f"{name}.ipynb")

    write_folder(folder, fill)


def hand_in(notebook: NotebookNode, stamp: str, number: int) -> NotebookNode:
    """Return what the student of this number hands in for a source notebook."""
    answers = student.solutions(notebook)
    keys = list(answers)
    answered = {0: keys, 1: keys[1::2], 2: keys, 3: []}[number % 4]
    return student.answer(
        student.student_copy(notebook, stamp), {key: answers[key] for key in answered}
    )


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
