"""The grades as tables: for people, for Moodle, for Canvas."""

from collections.abc import Sequence
from pathlib import Path

from convnetlab.grading.records import Result
from convnetlab.grading.scores import Manual


def write(folder: Path, results: Sequence[Result], manual: Manual) -> list[Path]:
    """Write `grades.csv` and, where such names were found, `moodle.csv` and `canvas.csv`."""
    raise NotImplementedError
