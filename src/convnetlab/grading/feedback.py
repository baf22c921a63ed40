"""A page a student: what was tested and what came out, without giving hidden inputs away."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnetlab import __version__
from convnetlab.grading.pages import headed, put, readable, refuse_unsafe, render
from convnetlab.grading.records import Mark, NotebookResult, Result
from convnetlab.grading.scores import (
    ByHand,
    Manual,
    given,
    is_by_hand,
    maximum,
    percent,
    reached,
    told,
    total,
)
from convnetlab.grading.shown import cells_of, sources

LONGEST = 10_000  # characters of an answer, or of what a check said
# How a state looks, and is called; never by its colour alone.
STATES = {
    "right": ("right", "✓", "right"),
    "partly": ("partly", "◐", "partly right"),
    "wrong": ("wrong", "✗", "wrong"),
    "unanswered": ("empty", "○", "not answered"),
    "missing": ("empty", "○", "missing"),
    "by hand": ("hand", "✎", "graded by your instructor"),
}


def write(folder: Path, results: Sequence[Result], manual: Manual) -> list[Path]:
    """Write `feedback/STUDENT.html` for each result, and return the paths.

    Args:
        folder: GRADES.
        results: a student each.
        manual: what was given by hand.

    Raises:
        LabError: a page cannot be written.
    """
    paths = []
    for result in results:
        refuse_unsafe(result.submission.student)
        page = page_of(result, manual)
        paths.append(put(folder / "feedback" / f"{result.submission.student}.html", page))
    return paths


def page_of(result: Result, manual: Manual) -> str:
    """Return a student's page: of this student, and of nobody else."""
    student, marks = result.submission.student, result.marks
    hands = [given(manual, student, mark) for mark in marks]
    points = [reached(mark, hand) for mark, hand in zip(marks, hands, strict=True)]
    whole = [it is not None and it >= mark.maximum for mark, it in zip(marks, points, strict=True)]
    return render(
        "feedback.html.jinja",
        **headed(),
        name=result.submission.full_name or student,
        points=total(result, manual),
        maximum=maximum(marks),
        percent=percent(total(result, manual), maximum(marks)),
        right=sum(whole),
        count=len(marks),
        waiting=points.count(None),
        notebooks=[section(result, notebook, manual) for notebook in result.notebooks],
        sources=sorted({notebook.source for notebook in result.notebooks if notebook.source}),
        version=__version__,
    )


def section(result: Result, notebook: NotebookResult, manual: Manual) -> dict[str, Any]:
    """Return what the page tells of a notebook."""
    answers = sources(cells_of(notebook.executed))
    student = result.submission.student
    return {
        "name": notebook.name,
        "points": total(result, manual, notebook.marks),
        "maximum": maximum(notebook.marks),
        "exercises": [
            exercise(mark, given(manual, student, mark), answers.get(mark.exercise, ""))
            for mark in notebook.marks
        ],
    }


def exercise(mark: Mark, hand: ByHand, answer: str) -> dict[str, Any]:
    """Return what the page tells of an exercise."""
    look, sign, state = STATES[mark.state]
    points = reached(mark, hand)
    is_answered = mark.state not in ("unanswered", "missing")
    return {
        "title": mark.title.replace("`", "").replace("**", "") or mark.exercise,
        "look": look,
        "sign": sign,
        "state": "waits for your instructor" if points is None else state,
        "points": points,
        "maximum": mark.maximum,
        "said": readable(mark.said, LONGEST) if is_answered else "",
        "passed": is_answered and not is_by_hand(mark),
        "groups": [
            {"name": name, "right": right, "asked": asked, "whole": right == asked}
            for name, (right, asked) in mark.groups.items()
        ],
        "is_literal": mark.is_literal,
        "hand": words(mark, hand),
        "advice": advice(mark),
        "comment": readable(hand.comment, LONGEST),
        "answer": readable(answer, LONGEST) if is_answered else "",
    }


def words(mark: Mark, hand: ByHand) -> str:
    """Return what is to be said of points that a person gave, or has yet to give."""
    extra = f", {told(hand.extra)} of them beyond the exercise" if hand.extra else ""
    if hand.points is not None:
        return f"Your instructor gave these points{extra}."
    if mark.state == "by hand":
        return "Your instructor has yet to read this answer."
    return f"Your instructor gave {told(hand.extra)} points beyond the exercise." if extra else ""


def advice(mark: Mark) -> str:
    """Return what the student should look at, or "".

    >>> groups = {"corners": (4, 4), "one pixel": (1, 4)}
    >>> advice(Mark("a", "a-check", "01", "A", 1, 2, "partly", "", groups))
    'Look at: one pixel. Try such inputs by hand, and work out on paper what should come out.'
    """
    if mark.state == "unanswered":
        return "There was no answer in this cell. A first attempt may already earn points."
    if mark.state == "missing":
        return "This cell was not in what you handed in. Do not delete or rename cells."
    failed = [name for name, (right, asked) in mark.groups.items() if right < asked]
    look = f"Look at: {', '.join(failed)}. " if failed else ""
    if mark.said and mark.state != "right":
        return f"{look}Begin with what the check says: it names what was expected and what came."
    if failed and mark.is_literal:
        return f"{look}Work it out on paper again, step by step."
    if failed:
        return f"{look}Try such inputs by hand, and work out on paper what should come out."
    return ""
