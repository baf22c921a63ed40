"""A made-up class for tests of what comes out of grading: no kernel, no TensorFlow."""

import copy
import random

import nbformat
from nbformat import v4

from convnetlab.grading.records import Mark, NotebookResult, Remark, Result, Submission

GROUPS = ("corners", "borders", "large pictures", "one pixel")
HOSTILE = "<script>document.title='taken'</script><img src=http://evil.invalid/x onerror=alert(1)>"
# Names that are typed as they are: right to left, joined, composed, dangerous in a spreadsheet.
NAMES = (
    "Ada Lovelace",
    "Łukasz Żółć",
    "李 小龙",
    "محمد علي",
    "Ōe Kenzaburō",
    "=HYPERLINK(“http://evil.invalid”)",
    "Зоя Ким",
    "नीरज शर्मा",
    "Bobby <script>document.title='taken'</script> Tables",
    "O'Brien, Pat",
)


def settings(name, **more):
    plain = {"grade": False, "solution": False, "locked": False, "task": False}
    return {"nbgrader": {**plain, "grade_id": name, "schema_version": 3, **more}}


def exercise(name, number, points=2):
    """The cells of an exercise: text, answer, check."""
    text = v4.new_markdown_cell(f"### Exercise {number}: {name} things", id=f"{name}-text")
    answer = f"def {name}(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION"
    check = f"assert {name}(1) == 2, 'Expected 2.'"
    return [
        text,
        v4.new_code_cell(answer, id=name, metadata=settings(name, solution=True)),
        v4.new_code_cell(
            check,
            id=f"{name}-check",
            metadata=settings(f"{name}-check", grade=True, locked=True, points=points),
        ),
    ]


def conclusion(points=5):
    """A question that a person grades."""
    return v4.new_markdown_cell(
        "### Your conclusion\n### BEGIN SOLUTION\nModel answer.\n### END SOLUTION",
        id="conclusion",
        metadata=settings("conclusion", grade=True, solution=True, points=points),
    )


def source():
    """Two notebooks with solutions: two exercises, then one and the conclusion."""
    first = [*exercise("crop", 1), *exercise("scale", 2, points=1)]
    second = [*exercise("blur", 1, points=3), conclusion()]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        name: v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        for name, cells in (("01_first", first), ("02_second", second))
    }


def executed(notebook, answers, output=""):
    """A source notebook as JSON text, with a student's answers by cell, and an output."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        cell.source = answers.get(cell.id, cell.source)
        if cell.cell_type == "code":
            cell.outputs = [v4.new_output("stream", text=output)] if output else []
    return nbformat.writes(made)


def marks_of(notebook, name, share=1.0, states=(), answered=()):
    """Marks of a notebook's exercises, each with a share of its points."""
    found, title = [], ""
    for cell in notebook.cells:
        kind = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            title = cell.source.splitlines()[0].lstrip("# ")
        if not kind.get("grade"):
            continue
        by_hand = bool(kind["solution"])
        key, points = kind["grade_id"], float(kind["points"])
        state = dict(states).get(key.removesuffix("-check"))
        state = state or ("by hand" if by_hand else "right" if share == 1 else "partly")
        scored = 0.0 if by_hand or state in ("unanswered", "missing") else points * share
        found.append(
            Mark(
                exercise=key.removesuffix("-check"),
                check=key,
                notebook=name,
                title=title,
                points=scored,
                maximum=points,
                state=state,
            )
        )
    return tuple(found)


def result(student="ada", share=1.0, notebooks=None, key="1", states=(), answers=None, **about):
    """A student's result: the same share of all points, and answers by cell."""
    notebooks = notebooks or source()
    answers = answers or {"conclusion": "Networks see edges."}
    submission = Submission(student, dict.fromkeys(notebooks, b"{}"), f"in/{student}", **about)
    results = tuple(
        NotebookResult(
            name,
            f"{key}-{name}",
            marks_of(notebook, name, share, states),
            executed(notebook, answers),
            seconds=2.0,
            memory=10**8,
            source="abc123",
        )
        for name, notebook in notebooks.items()
    )
    return Result(submission, results)


def of_class(count=40, seed=1, notebooks=None):
    """A class with a plausible spread of points, in several scripts, some of it hostile."""
    chance, notebooks = random.Random(seed), notebooks or source()
    return [student_of(number, chance, notebooks) for number in range(count)]


def student_of(number, chance, notebooks):
    """One of the class: a talent that is drawn, exercises that differ in difficulty."""
    talent = min(max(chance.gauss(0.68, 0.2), 0.05), 1.0)
    full = NAMES[number % len(NAMES)] + ("" if number < len(NAMES) else f" {number // len(NAMES)}")
    submission = Submission(
        f"student-{number:02}",
        dict.fromkeys(notebooks, b"{}"),
        f"class.zip/{number}",
        full_name=full,
        moodle=str(1_000_000 + number) if number % 2 == 0 else "",
        canvas=str(5_000 + number) if number % 2 else "",
        remarks=(Remark("One file lay in a folder of its own."),) if number == 7 else (),
    )
    results = []
    for name, notebook in notebooks.items():
        marks = tuple(drawn_mark(mark, chance, talent, number) for mark in marks_of(notebook, name))
        remarks = []
        if number == 8:
            told = f"{name}: the answer of crop reads {HOSTILE}."
            remarks.append(Remark(told, suspicious=True))
        if number == 11:
            remarks.append(Remark(f"{name}: the check of crop had been edited; it was restored."))
        answers = {
            mark.exercise: f"def {mark.exercise}(x):\n    return x + {number}" for mark in marks
        }
        answers |= {"conclusion": f"I found that {number} filters do. {HOSTILE}"}
        results.append(
            NotebookResult(
                name,
                f"{number}-{name}",
                marks,
                executed(notebook, answers, HOSTILE),
                seconds=chance.uniform(1.5, 4) + (25 if number == 13 else 0),
                memory=int(chance.uniform(9e7, 3e8)),
                remarks=tuple(remarks),
                source="abc123" if number != 5 else "0ld000",
            )
        )
    return Result(submission, tuple(results))


def drawn_mark(mark, chance, talent, number):
    """A mark as a student of that talent gets it: harder ones are the later ones."""
    hard = 0.15 if mark.exercise in ("blur",) else 0.0
    if chance.random() > talent + 0.35:
        return replaced(mark, points=0.0, state="unanswered")
    if mark.state == "by hand":
        return mark
    groups = {
        name: (4 if chance.random() < talent - hard + 0.1 else chance.randrange(4), 4)
        for name in GROUPS
    }
    share = sum(right == asked for right, asked in groups.values()) / len(groups)
    state = "right" if share == 1 else "partly" if share else "wrong"
    said = "" if share == 1 else f"Expected (5, 5), got {number}. {HOSTILE if number == 8 else ''}"
    return replaced(
        mark, points=round(mark.maximum * share, 2), state=state, said=said, groups=groups
    )


def replaced(mark, **changes):
    """The mark with some of its fields changed."""
    return Mark(**{**mark.__dict__, **changes})
