"""What is kept of each student's grading, so that the next one need not begin anew."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat

from convnetlab.errors import LabError
from convnetlab.grading import wire
from convnetlab.grading.records import (
    CellRun,
    Execution,
    Mark,
    NotebookResult,
    Raised,
    Remark,
    Result,
    Submission,
)
from convnetlab.handoff import read_json, write_json

FOLDER = "results"


@dataclass(frozen=True)
class Kept:
    """One student's results, and what they were made from.

    Attributes:
        result: the marks.
        executions: what each notebook's execution gave, by name, with the key of what was executed;
            enough to mark it again after the hidden tests' comparison has changed.
    """

    result: Result
    executions: Mapping[str, tuple[str, Execution]]


def path_of(folder: Path, student: str) -> Path:
    """Return where a student's results are kept."""
    return folder / FOLDER / f"{student}.json"


def save(folder: Path, kept: Kept) -> None:
    """Keep a student's results, atomically."""
    submission = kept.result.submission
    about = asdict(submission) | {"notebooks": sorted(submission.notebooks)}
    value = {
        "submission": about,
        "notebooks": [asdict(notebook) for notebook in kept.result.notebooks],
        "executions": {
            name: {"key": key, **plain(execution)}
            for name, (key, execution) in kept.executions.items()
        },
    }
    write_json(path_of(folder, submission.student), value)


def plain(execution: Execution) -> dict[str, Any]:
    """Return an execution as JSON's values; the notebook is in the result already."""
    return {
        "cells": {cell: asdict(ran) for cell, ran in execution.cells.items()},
        "answers": {cell: answer_as_text(found) for cell, found in execution.answers.items()},
        "seconds": execution.seconds,
        "memory": execution.memory,
        "remarks": [asdict(remark) for remark in execution.remarks],
    }


def answer_as_text(found: list[Any] | None) -> list[str] | None:
    """Return what a probe found as texts: `raised NAME`, or `value ` and its encoding."""
    if found is None:
        return None
    return [
        f"raised {output.name}" if isinstance(output, Raised) else f"value {wire.encode(output)}"
        for output in found
    ]


def answer_from_text(found: list[str] | None) -> list[Any] | None:
    """Return what `answer_as_text` was given."""
    if found is None:
        return None
    parts = [text.partition(" ") for text in found]
    return [Raised(text) if kind == "raised" else wire.decode(text) for kind, _, text in parts]


def load(folder: Path, student: str) -> Kept | None:
    """Return what is kept of a student; None if there is nothing, or nothing that can be read."""
    path = path_of(folder, student)
    if not path.is_file():
        return None
    try:
        value = read_json(path)
        about = value["submission"]
        remarks = tuple(Remark(**remark) for remark in about["remarks"])
        absent = dict.fromkeys(about["notebooks"], b"")
        submission = Submission(**about | {"notebooks": absent, "remarks": remarks})
        notebooks = tuple(notebook_result(found) for found in value["notebooks"])
        texts = {notebook.name: notebook.executed for notebook in notebooks}
        executions = {
            name: (found["key"], execution(found, texts[name]))
            for name, found in value["executions"].items()
        }
    except (LabError, KeyError, TypeError, ValueError):
        return None  # of another version, or damaged: it is graded anew
    return Kept(Result(submission, notebooks), executions)


def notebook_result(found: dict[str, Any]) -> NotebookResult:
    """Return a notebook's result from JSON's values."""
    marks = tuple(
        Mark(**mark | {"groups": {name: tuple(pair) for name, pair in mark["groups"].items()}})
        for mark in found["marks"]
    )
    remarks = tuple(Remark(**remark) for remark in found["remarks"])
    return NotebookResult(**found | {"marks": marks, "remarks": remarks})


def execution(found: dict[str, Any], notebook: str) -> Execution:
    """Return an execution from JSON's values."""
    return Execution(
        notebook=nbformat.from_dict(json.loads(notebook)),
        cells={cell: CellRun(**ran) for cell, ran in found["cells"].items()},
        answers={cell: answer_from_text(texts) for cell, texts in found["answers"].items()},
        seconds=found["seconds"],
        memory=found["memory"],
        remarks=tuple(Remark(**remark) for remark in found["remarks"]),
    )


def students(folder: Path) -> list[str]:
    """Return the students of whom something is kept, in order."""
    return sorted(path.stem for path in (folder / FOLDER).glob("*.json"))


def as_text(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as JSON text."""
    return json.dumps(notebook, ensure_ascii=False)
