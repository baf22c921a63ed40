"""The grades as a course of nbgrader's, on which its formgrader opens."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nbformat import NotebookNode

from convnetlab.grading.records import Remark, Result
from convnetlab.grading.scores import Manual


def write(
    folder: Path, sources: Mapping[str, NotebookNode], results: Sequence[Result]
) -> dict[str, tuple[Remark, ...]]:
    """Make or update the nbgrader course in `folder`, and return what should be known, by student.

    Args:
        folder: GRADES.
        sources: the instructor's notebooks, with solutions, by name ("02_architecture").
        results: of this grading; students of earlier ones stay as they are.
    """
    raise NotImplementedError


def manual_scores(folder: Path) -> Manual:
    """Return what instructors gave by hand in the formgrader; nothing if there is no gradebook."""
    raise NotImplementedError
