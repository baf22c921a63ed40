"""The instructor's page: how the class did, what is odd, what is still to be done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convnetlab.grading.records import Remark, Result
from convnetlab.grading.scores import Manual


@dataclass(frozen=True)
class About:
    """What the page tells of the grading itself.

    Attributes:
        source: the stamp of the newest source.
        seconds: wall time of the command so far.
        workers: how many graded side by side.
        reused: notebooks whose result was taken from an earlier run.
        left_aside: a sentence for each thing that was not collected, and why.
        remarks: by student, beyond those in the results; "" for the whole class.
    """

    source: str = ""
    seconds: float = 0.0
    workers: int = 1
    reused: int = 0
    left_aside: Sequence[str] = ()
    remarks: Mapping[str, Sequence[Remark]] = field(default_factory=dict)


def write(folder: Path, results: Sequence[Result], manual: Manual, about: About) -> Path:
    """Write `report.html` into `folder` and return its path."""
    raise NotImplementedError
