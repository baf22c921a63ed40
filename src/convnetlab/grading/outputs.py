"""What a cell printed and showed: capped as it arrives, and only text and pictures of it.

An instructor looks at it in a browser. So HTML, JavaScript, SVG and widgets, which run code of
whoever wrote them, are not kept.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode, v4

MOST = 100  # outputs of a cell
PICTURE_BYTES, PICTURE_SIDE, PICTURES = 2**20, 4000, 8
PATIENCE = 10  # times the limit: then a cell is stopped, not only cut
SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]")


class Outputs:
    """The outputs of one cell."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` characters."""
        self.limit = limit
        self.seen = 0  # characters that arrived
        self.pictures = 0
        self.kept: list[NotebookNode] = []
        self.is_cut = False

    @property
    def is_flood(self) -> bool:
        """Whether so much came that the cell should be stopped."""
        return self.seen > PATIENCE * self.limit

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take what a message of a kind brought."""
        if kind == "stream":
            self.add_stream(content)
        elif kind in ("display_data", "execute_result"):
            data, metadata = mapping(content.get("data")), mapping(content.get("metadata"))
            if shown := self.safe(data):
                self.keep(v4.new_output("display_data", shown, metadata=alternative(metadata)))
        elif kind == "error":
            lines = content.get("traceback")
            lines = lines if isinstance(lines, list) else []
            traceback = self.text("\n".join(str(line) for line in lines[:MOST])).split("\n")
            name, value = (plain(content.get(key), 500) for key in ("ename", "evalue"))
            # The error always stands there, however much was printed before.
            self.kept.append(v4.new_output("error", ename=name, evalue=value, traceback=traceback))
        elif kind == "clear_output":
            self.kept.clear()

    def add_stream(self, content: Mapping[str, Any]) -> None:
        """Take printed text; what follows on the same stream becomes one output."""
        name = "stderr" if content.get("name") == "stderr" else "stdout"
        text = self.text(content.get("text"))
        last = self.kept[-1] if self.kept else None
        if last is not None and last.get("name") == name:
            last.text += text
        elif text:
            self.keep(v4.new_output("stream", name=name, text=text))

    def keep(self, output: NotebookNode) -> None:
        """Keep an output, unless there are too many."""
        if len(self.kept) < MOST:
            self.kept.append(output)
        else:
            self.seen += max(1, self.limit // MOST)
            self.is_cut = True

    def text(self, value: Any) -> str:
        """Return as much of a text as there is room for, without what no file can hold."""
        if not isinstance(value, str):
            return ""
        room = max(0, self.limit - self.seen)
        self.seen += len(value)
        if len(value) > room:
            self.is_cut = True
        return CONTROL.sub("", sound(value[:room]))

    def safe(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Return text and picture of something shown, and a word for what is left out."""
        shown = {}
        if isinstance(data.get("text/plain"), str):
            shown["text/plain"] = self.text(data["text/plain"])
        picture = data.get("image/png")
        if isinstance(picture, str) and self.pictures < PICTURES and is_png(picture):
            self.pictures += 1
            shown["image/png"] = picture
        elif isinstance(picture, str):
            self.seen += len(picture)
        others = sum(len(value) for value in data.values() if isinstance(value, str))
        self.seen += max(0, others - PICTURE_BYTES * 2)
        if not shown and data:
            shown["text/plain"] = "(not shown: neither text nor a picture)"
        return shown


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def sound(text: str) -> str:
    """Return a text with half pairs of surrogates replaced: no file can be written with them."""
    return text.encode("utf-8", "replace").decode()


def plain(value: Any, most: int) -> str:
    """Return a text in one line, without colours, of at most so many characters."""
    text = ANSI.sub("", sound(value[: 4 * most])) if isinstance(value, str) else ""
    return " ".join(CONTROL.sub("", text).replace("\x1b", "").split())[:most]


def alternative(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an output's metadata the picture's alternative text."""
    text = mapping(metadata.get("image/png")).get("alt")
    return {"image/png": {"alt": plain(text, 1000)}} if isinstance(text, str) else {}


def is_png(text: str) -> bool:
    """Whether a text is base64 of a PNG of reasonable size, and of nothing else."""
    if len(text) > PICTURE_BYTES * 4 / 3 + 4:
        return False
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    if raw[:8] != SIGNATURE or raw[12:16] != b"IHDR" or len(raw) < 33:
        return False
    width, height = int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    return min(width, height) > 0 and max(width, height) <= PICTURE_SIDE and has_sound_chunks(raw)


def has_sound_chunks(raw: bytes) -> bool:
    """Whether a PNG's chunks follow each other, with right checksums, to the end (ISO 15948, 5)."""
    place = len(SIGNATURE)
    while place + 12 <= len(raw):
        end = place + 12 + int.from_bytes(raw[place : place + 4], "big")
        body, checksum = raw[place + 4 : end - 4], raw[end - 4 : end]
        if end > len(raw) or zlib.crc32(body).to_bytes(4, "big") != checksum:
            return False
        if body[:4] == b"IEND":
            return end == len(raw)
        place = end
    return False
