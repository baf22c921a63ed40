"""Reading what was handed in as a notebook: any bytes at all."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from convnetlab.grading.records import Remark

# More than a notebook of the lab can have; less than what would take a grader's memory or time.
LARGEST_CELL = 100_000  # characters
MOST_CELLS = 1_000
MOST_VALUES = 3_000_000  # a value of JSON takes up to 200 bytes once it has been read

GRADING = ("grade_id", "points", "grade", "solution", "locked")
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
STAMP = re.compile(r"[0-9A-Za-z_-]{1,64}")  # it becomes a folder's name: nothing else is believed
BEGINNINGS = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"<": "a web page",
    b"\x89PNG": "a picture",
    b"#": "a Python script or plain text",
    b"import ": "a Python script",
}


@dataclass(frozen=True)
class HandedIn:
    """A notebook as it was handed in, reduced to what grading takes from it.

    Attributes:
        cells: in their order, without outputs; `id` is "" where there is none, and `metadata`
            holds no more than nbgrader's and our own.
        stamp: of the source that the student's copy was made from, or "".
        remarks: what was odd about the file.
    """

    cells: tuple[NotebookNode, ...] = ()
    stamp: str = ""
    remarks: tuple[Remark, ...] = ()


class UnreadableError(Exception):
    """No notebook can be made of it; the message ends the sentence "The file …"."""


def stamp_of(handed_in: bytes | None) -> str:
    """Return the stamp of the source that a student's copy was made from; "" if it has none."""
    return read_handed_in(handed_in).stamp


@functools.lru_cache(maxsize=4)
def read_handed_in(handed_in: bytes | None) -> HandedIn:
    """Read a notebook of any version of the format, leniently; what cannot be read has no cells.

    The cells are shared with later calls: they must not be changed.
    """
    if handed_in is None:
        return HandedIn(remarks=(Remark("no such notebook was handed in."),))
    try:
        content, is_foreign = parse(handed_in)
        found = [cell_from(raw) for raw in raw_cells(content)[:MOST_CELLS]]
    except UnreadableError as error:
        return HandedIn(remarks=(Remark(f"the file {error}."),))
    metadata = content.get("metadata")
    ours = metadata.get("convnetlab") if isinstance(metadata, dict) else None
    stamp = ours.get("source") if isinstance(ours, dict) else ""
    cells = tuple(cell for cell in found if cell is not None)
    return HandedIn(
        cells=cells,
        stamp=stamp if isinstance(stamp, str) and STAMP.fullmatch(stamp) else "",
        remarks=tuple(oddities(content, cells, len(found) - len(cells), is_foreign)),
    )


def oddities(
    content: Mapping[str, Any], cells: tuple[NotebookNode, ...], broken: int, is_foreign: bool
) -> list[Remark]:
    """Return what the instructor should know of a file that could be read."""
    remarks = []
    if is_foreign:
        remarks.append(Remark("the file is not in UTF-8; it was read as Windows-1252."))
    version = content.get("nbformat", 4)
    if version != 4:
        remarks.append(Remark(f"it is in version {str(version)[:20]} of the notebook format."))
    if broken:
        remarks.append(Remark(f"{broken} of its cells are no cells, and were left out."))
    if len(raw_cells(content)) > MOST_CELLS:
        text = f"it has more than {MOST_CELLS} cells; the others were left out."
        remarks.append(Remark(text, suspicious=True))
    if huge := [cell.id[:40] for cell in cells if cell.get("is_huge")]:
        text = f"{len(huge)} of its cells have more than {LARGEST_CELL} characters; they were left "
        remarks.append(Remark(f"{text}out: {', '.join(huge[:5])}.", suspicious=True))
    return remarks


def parse(data: bytes) -> tuple[dict[str, Any], bool]:
    """Return the JSON object in the file, and whether it is in no encoding of Unicode.

    Raises:
        UnreadableError: there is none, or it would take too much memory.
    """
    if not data.strip():
        raise UnreadableError("is empty")
    if sum(data.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise UnreadableError("holds millions of values, and was not read")
    text, is_foreign = decoded(data)
    try:
        content = json.loads(text)
    except RecursionError:
        raise UnreadableError("is nested too deeply to be read") from None
    except ValueError:
        raise UnreadableError(described(text)) from None
    if not isinstance(content, dict) or not raw_cells(content):
        raise UnreadableError("is JSON, but no notebook with cells")
    return content, is_foreign


def decoded(data: bytes) -> tuple[str, bool]:
    """Return the text in UTF-8, -16 or -32, with or without its mark; else in Windows-1252."""
    try:
        return data.decode(json.detect_encoding(data)), False
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), True


def described(text: str) -> str:
    """Return what a file is that is no JSON, as the end of a sentence."""
    start = text.lstrip("\ufeff \t\r\n")
    for beginning, kind in BEGINNINGS.items():
        if start.startswith(beginning.decode("latin-1")):
            return f"is {kind}, not a notebook"
    if start.startswith("{"):
        return "is damaged or cut short: it begins like a notebook, but is no valid JSON"
    return "is not a notebook: it is no JSON"


def raw_cells(content: Mapping[str, Any]) -> list[Any]:
    """Return the list of cells, which version 3 of the format divides into worksheets."""
    cells = content.get("cells")
    if isinstance(cells, list):
        return cells
    sheets = content.get("worksheets")
    lists = [sheet.get("cells") for sheet in as_list(sheets) if isinstance(sheet, dict)]
    return [cell for cells in lists for cell in as_list(cells)]


def as_list(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def cell_from(raw: Any) -> NotebookNode | None:
    """Return a cell with its kind, id, source, pictures, and what grading reads of its metadata."""
    if not isinstance(raw, dict):
        return None
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    source = joined(raw.get("source", raw.get("input", "")))
    cell = NotebookNode(
        cell_type=kind_of(raw),
        id=clean(raw["id"]) if isinstance(raw.get("id"), str) else "",
        source=source if len(source) <= LARGEST_CELL else "",
        metadata=NotebookNode(known(metadata)),
    )
    if len(source) > LARGEST_CELL:
        cell["is_huge"] = True
    if cell.cell_type == "markdown" and (found := pictures(raw.get("attachments"))):
        cell["attachments"] = found
    return cell


def kind_of(raw: Mapping[str, Any]) -> str:
    """Return "code", "markdown" or "raw"; a heading of version 3 is text."""
    kind = raw.get("cell_type")
    if kind in ("code", "markdown", "raw"):
        return str(kind)
    return "markdown" if kind == "heading" else "code" if "outputs" in raw else "raw"


def joined(source: Any) -> str:
    """Return a cell's source, which may be a list of lines, as clean text."""
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return clean(source) if isinstance(source, str) else ""


def clean(text: str) -> str:
    r"""Return the text fit for files and compilers: plain line ends, no half characters, no zeros.

    >>> clean("a\r\nb\0\ud800")
    'a\nb��'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what grading reads of a cell's metadata, and nothing else."""
    found: dict[str, Any] = {}
    settings, ours = metadata.get("nbgrader"), metadata.get("convnetlab")
    if isinstance(settings, dict):
        found["nbgrader"] = {
            field: clean(value) if isinstance(value, str) else value
            for field in GRADING
            if isinstance(value := settings.get(field), (str, bool, int, float))
        }
    if isinstance(ours, dict):
        found["convnetlab"] = {"given": str(ours.get("given"))}
    return found


def pictures(attachments: Any) -> dict[str, dict[str, str]]:
    """Return the pictures among a text cell's attachments."""
    found = {}
    for name, bundle in (attachments if isinstance(attachments, dict) else {}).items():
        for kind, data in (bundle if isinstance(bundle, dict) else {}).items():
            if kind in PICTURES and isinstance(data, str) and data.isascii():
                found[clean(name)] = {kind: data}
    return found
