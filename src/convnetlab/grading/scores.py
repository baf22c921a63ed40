"""What counts: the automatic points of a mark, or what an instructor gave by hand instead."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from convnetlab.grading.records import Mark, Result


@dataclass(frozen=True)
class ByHand:
    """What an instructor did to one exercise of one student in the formgrader.

    Attributes:
        points: given by hand, in place of the automatic ones; None if none were.
        extra: extra credit, on top; it may be negative.
        comment: for the student, or "".
        is_due: whether the formgrader shows it as still to be graded, or to be looked at again.
    """

    points: float | None = None
    extra: float = 0.0
    comment: str = ""
    is_due: bool = False


# By student, notebook and the id of the cell: points at the graded one, comments at the answer.
Manual = Mapping[tuple[str, str, str], ByHand]
NOTHING = ByHand()


def given(manual: Manual, student: str, mark: Mark) -> ByHand:
    """Return what was done by hand to a student's exercise; comments stand at its answer."""
    at_check = manual.get((student, mark.notebook, mark.check), NOTHING)
    at_answer = manual.get((student, mark.notebook, mark.exercise), NOTHING)
    return replace(at_check, comment=at_answer.comment)


def is_by_hand(mark: Mark) -> bool:
    """Whether the exercise is one that a person grades: its answer is the graded cell itself."""
    return mark.exercise == mark.check


def reached(mark: Mark, hand: ByHand) -> float | None:
    """Return the points that count, extra credit included; None if a person has yet to give them.

    >>> mark = Mark("sum", "sum-check", "01_load", "Sums", 1.0, 2.0, "partly")
    >>> reached(mark, ByHand(points=2.0, extra=0.5)), reached(mark, NOTHING)
    (2.5, 1.0)
    """
    if hand.points is not None:
        return hand.points + hand.extra
    if is_by_hand(mark) and mark.state == "by hand":
        return None
    return min(max(mark.points, 0.0), mark.maximum) + hand.extra


def total(result: Result, manual: Manual, marks: Iterable[Mark] | None = None) -> float:
    """Return a student's points, of all marks or of some; what is not graded yet counts 0."""
    student = result.submission.student
    chosen = result.marks if marks is None else marks
    return tidy(sum(reached(mark, given(manual, student, mark)) or 0.0 for mark in chosen))


def maximum(marks: Iterable[Mark]) -> float:
    """Return the points that could be reached, without extra credit."""
    return tidy(sum(mark.maximum for mark in marks))


def tidy(points: float) -> float:
    """Return points without what binary arithmetic adds to them: to a thousandth.

    >>> tidy(0.1 + 0.2)
    0.3
    """
    return round(points, 3) + 0.0  # no minus zero


def told(points: float) -> str:
    """Return points as people write them.

    >>> told(0.1 + 0.2), told(3.0), told(1 / 3)
    ('0.3', '3', '0.333')
    """
    return f"{tidy(points):.3f}".rstrip("0").rstrip(".")


def percent(points: float, most: float) -> str:
    """Return a share of the points in per cent, without the sign.

    >>> percent(1, 3), percent(0, 0)
    ('33.3', '0.0')
    """
    return f"{100 * points / most if most else 0.0:.1f}"
