"""A page a student: what was tested and what came out, without giving hidden inputs away."""

from collections.abc import Sequence
from pathlib import Path

from convnetlab.grading.records import Result
from convnetlab.grading.scores import Manual


def write(folder: Path, results: Sequence[Result], manual: Manual) -> list[Path]:
    """Write `feedback/STUDENT.html` for each result, and return the paths."""
    raise NotImplementedError
