"""An executed notebook, made safe to be shown: whatever a student wrote is text and stays text.

nbgrader's formgrader puts a notebook's Markdown and HTML into its page as they are, and that page
may do in the instructor's Jupyter whatever the instructor may. So nothing of the student's may
reach it that a browser would run, load or follow: a link to `javascript:` is enough.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import nbformat
from nbgrader.utils import compute_checksum

SETTINGS = ("grade", "grade_id", "locked", "points", "schema_version", "solution", "task")
Cells = list[dict[str, Any]]  # as JSON has them
PICTURES = ("image/png", "image/jpeg")


def cells_of(executed: str) -> Cells:
    """Return the cells of an executed notebook, which is JSON text; none of no text."""
    found: Cells = json.loads(executed)["cells"] if executed else []
    return found


def safe_notebook(
    cells: Cells, metadata: Mapping[str, Any], checksums: Mapping[str, str]
) -> dict[str, Any]:
    """Return an executed notebook for the formgrader: a notebook of format 4.5, as JSON's values.

    Args:
        cells: as they were executed.
        metadata: what is to stand for the notebook's own, which the student's kernel wrote.
        checksums: nbgrader's, of the cells as students get them, by the cell's `grade_id`.
    """
    taken: set[str] = set()
    safe = [safe_cell(cell, checksums, taken) for cell in cells]
    return {"cells": safe, "metadata": dict(metadata), "nbformat": 4, "nbformat_minor": 5}


def safe_cell(
    cell: Mapping[str, Any], checksums: Mapping[str, str], taken: set[str]
) -> dict[str, Any]:
    """Return a cell as text, with the metadata that nbgrader needs and no other.

    Args:
        cell: as it was executed.
        checksums: see `safe_notebook`.
        taken: ids and nbgrader's ids of the cells before; this one's are added.
    """
    own = cell.get("metadata", {}).get("convnetlab", {}).get("own")
    settings = {} if own else dict(cell.get("metadata", {}).get("nbgrader", {}))
    source, kind = text_of(cell.get("source", "")), cell.get("cell_type")
    is_theirs = own or (settings.get("solution") and not is_as_given(cell, checksums))
    if kind != "code" and is_theirs:
        source, kind = as_typed(source), "markdown"
    shown: dict[str, Any] = {
        "cell_type": kind if kind in ("code", "markdown") else "raw",
        "id": free_id(str(cell.get("id", "")), taken),
        "metadata": {"convnetlab": {"own": str(own)}} if own else {},
        "source": source,
    }
    name = settings.get("grade_id")
    if name and f"grade {name}" not in taken:
        taken.add(f"grade {name}")
        kept = {key: settings[key] for key in SETTINGS if key in settings}
        checksum = {"checksum": checksums[name]} if name in checksums else {}
        shown["metadata"]["nbgrader"] = kept | checksum
    if kind == "code":
        count = cell.get("execution_count")
        shown["execution_count"] = count if isinstance(count, int) else None
        shown["outputs"] = [safe for output in cell.get("outputs", []) for safe in shown_of(output)]
    return shown


def free_id(wanted: str, taken: set[str]) -> str:
    """Return an id of a cell that no other has, and that the format allows."""
    stem = wanted if re.fullmatch(r"[A-Za-z0-9_-]{1,50}", wanted) else "cell"
    free, number = stem, 1
    while free in taken:
        number += 1
        free = f"{stem}-{number}"
    taken.add(free)
    return free


def text_of(value: object) -> str:
    """Return a text that a notebook may keep as one string or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def is_as_given(cell: Mapping[str, Any], checksums: Mapping[str, str]) -> bool:
    """Whether an answer is still what students get, by nbgrader's checksum."""
    known = checksums.get(cell["metadata"]["nbgrader"].get("grade_id"))
    given = nbformat.from_dict({**cell, "source": text_of(cell.get("source", ""))})
    return known is not None and compute_checksum(given) == known


def as_typed(text: str) -> str:
    """Return Markdown that shows a text as it was typed, with nothing in it obeyed.

    A block of code ends at a fence at least as long as its first, and this one is longer than any
    in the text. To neutralise links one by one would be to guess what each renderer takes for one.

    >>> print(as_typed("*so* [click](javascript:alert(1)) ```"))
    ````
    *so* [click](javascript:alert(1)) ```
    ````
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def shown_of(output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what of an output may be shown: text, and pictures made of pixels."""
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        yield {"output_type": "stream", "name": name, "text": text_of(output.get("text", ""))}
    elif kind == "error":
        yield {
            "output_type": "error",
            "ename": str(output.get("ename", "")),
            "evalue": str(output.get("evalue", "")),
            "traceback": [str(line) for line in output.get("traceback", [])],
        }
    elif kind in ("display_data", "execute_result"):
        data = {key: text_of(value) for key, value in output.get("data", {}).items()}
        kept = {key: data[key] for key in PICTURES if is_base64(data.get(key, ""))}
        if "text/plain" in data:
            kept["text/plain"] = data["text/plain"]
        if kept:
            yield {"output_type": "display_data", "data": kept, "metadata": {}}


def is_base64(text: str) -> bool:
    """Whether a text is bytes in base64, at least one."""
    return bool(text) and re.fullmatch(r"[A-Za-z0-9+/=\s]+", text) is not None


def sources(cells: Cells) -> dict[str, str]:
    """Return the sources of the cells that have an nbgrader's id, by that id.

    Cells that the student added do not count, whatever they claim to be.
    """
    found: dict[str, str] = {}
    for cell in cells:
        metadata = cell.get("metadata", {})
        name = metadata.get("nbgrader", {}).get("grade_id")
        if name and not metadata.get("convnetlab", {}).get("own"):
            found.setdefault(str(name), text_of(cell.get("source", "")))
    return found
