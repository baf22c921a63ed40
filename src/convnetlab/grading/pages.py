"""What the pages share: templates that escape everything, and writing only what is new."""

import base64
import functools
import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from convnetlab.errors import LabError
from convnetlab.figures import LabFigure
from convnetlab.grading.scores import told
from convnetlab.handoff import write_atomically

UNSAFE = frozenset('/\\<>"&')  # in a student's name: they mean something in a path or a page


def put(path: Path, content: str | bytes) -> Path:
    """Write a file atomically, unless it has that content already."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return path
    return write_atomically(path, lambda file: file.write_bytes(data))


def render(template: str, **values: Any) -> str:
    """Return a page made from a template of this package; every value is escaped in it."""
    page: str = compiled(template).render(**values)
    return page


@functools.cache
def headed() -> dict[str, str]:
    """Return what the head of each page needs: the style, and a policy that allows nothing else.

    A policy with the style's hash also keeps styles out that would have got into the page.
    """
    style = files("convnetlab.grading").joinpath("grades.css").read_text("utf-8")
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"img-src data:; style-src 'sha256-{hashed}'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return {"style": style, "policy": policy}


@functools.cache
def compiled(template: str) -> Any:
    """Return a template, read once."""
    from jinja2 import Environment

    text = files("convnetlab.grading").joinpath(template).read_text("utf-8")
    engine = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    engine.filters["told"] = told
    return engine.from_string(text)


def readable(text: str, longest: int) -> str:
    """Return a text without terminals' codes and control characters, and not too long for a page.

    >>> readable("\\x1b[31mred\\x1b[0m and\\x07 so on", 10)
    'red and so\\n… (3 more characters)'
    """
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
    rest = len(plain) - longest
    return plain if rest <= 0 else f"{plain[:longest]}\n… ({rest} more characters)"


def embedded(figure: LabFigure) -> dict[str, str]:
    """Return a figure as the templates take it: its picture in base64, its alternative text."""
    return {"data": base64.b64encode(figure.png).decode(), "alt": figure.alt}


def refuse_unsafe(student: str) -> None:
    """Refuse a student's name that cannot name a file and stand in a page.

    Raises:
        LabError: it is empty, begins with a dot, or has a character that means something there.
    """
    if not student or student.startswith(".") or UNSAFE & set(student) or not student.isprintable():
        raise LabError(
            f"A student is called {student!r}, expected printable characters, without any "
            f"of {' '.join(sorted(UNSAFE))} and not beginning with a dot. Rename the submission."
        )
