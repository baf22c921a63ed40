"""A small assignment without TensorFlow, and submissions to it, for the tests of grading."""

import json
from pathlib import Path

import nbformat

from convnetlab import student

HIDDEN_TESTS = """
from convnetlab.grading.hidden import Exercise


def double(x):
    return 2 * x


EXERCISES = {
    "double": Exercise(
        name="double",
        answer=double,
        groups={
            "positive numbers": lambda rng: (int(rng.integers(1, 1000)),),
            "negative numbers": lambda rng: (-int(rng.integers(1, 1000)),),
        },
    ),
    "answer": Exercise(name="answer", answer=6 * 7),
    "triple": Exercise(
        name="triple", answer=lambda x: 3 * x, groups={"arrays": lambda rng: (rng.random(4),)}
    ),
}
"""

SOLUTIONS = {
    "double": "def double(x):\n    return 2 * x",
    "answer": "answer = 42",
    "is_even": "def is_even(x):\n    return x % 2 == 0",
    "triple": "def triple(x):\n    return 3 * x",
    "why": "Because it is so.",
}


def graded(solution="", points=0, grade=False):
    """nbgrader's metadata."""
    return {
        "schema_version": 3,
        "solution": bool(solution),
        "grade": grade,
        "locked": not solution,
        "task": False,
        **({"points": points} if grade else {}),
    }


def exercise(name, solution, check, points, before=""):
    """A heading, a cell with a solution, and its check."""
    source = f"{before}### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
    cells = [
        nbformat.v4.new_markdown_cell(f"### Exercise: {name}", id=f"{name}-text"),
        nbformat.v4.new_code_cell(source, id=name),
        nbformat.v4.new_code_cell(check, id=f"{name}-check"),
    ]
    cells[1].metadata["nbgrader"] = graded("yes") | {"grade_id": name}
    cells[2].metadata["nbgrader"] = graded(points=points, grade=True) | {
        "grade_id": f"{name}-check"
    }
    return cells


def write_source(folder: Path) -> Path:
    """Write two notebooks with five questions, 11 points, into `folder`."""
    why = nbformat.v4.new_markdown_cell(
        "### Why?\n### BEGIN SOLUTION\nBecause it is so.\n### END SOLUTION", id="why"
    )
    why.metadata["nbgrader"] = graded("yes", 4, True) | {"grade_id": "why"}
    notebooks = {
        "01_numbers": [
            nbformat.v4.new_code_cell("import math\n\nimport numpy as np", id="imports"),
            *exercise(
                "double",
                SOLUTIONS["double"],
                "assert double(2) == 4, f'Expected 4, got {double(2)}.'\nprint('Right.')",
                2,
            ),
            *exercise(
                "answer",
                SOLUTIONS["answer"],
                "assert answer is not ..., 'Not answered yet.'\nassert answer == 42, 'Too short.'",
                1,
                before="answer = ...  # a whole number\n",
            ),
            *exercise(
                "is_even",
                SOLUTIONS["is_even"],
                "assert is_even(4), 'Four is even.'\nassert not is_even(3), 'Three is odd.'",
                2,
            ),
        ],
        "02_words": [
            nbformat.v4.new_code_cell("import numpy as np", id="imports"),
            *exercise(
                "triple",
                SOLUTIONS["triple"],
                "assert np.allclose(triple(np.ones(2)), 3), 'Expected threes.'",
                2,
            ),
            why,
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, cells in notebooks.items():
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    (folder / "hidden_tests.py").write_text(HIDDEN_TESTS)
    return folder


def hand_in(source: Path, folder: Path, **answers: str) -> Path:
    """Write a student's notebooks with these answers into `folder`; others stay as given."""
    folder.mkdir(parents=True)
    stamp = student.source_stamp(source)
    for path in sorted(source.glob("*.ipynb")):
        copy = student.student_copy(nbformat.read(path, as_version=4), stamp)
        for cell in copy.cells:
            cell.source = answers.get(cell.id, cell.source)
        (folder / path.name).write_text(json.dumps(copy), encoding="utf-8")
    return folder
