"""Answers where no student should find them: in whatever a file says, however it is written.

A function's solution may show a line in a hint, never all of its lines; the package's own functions
are what the exercises build in small, so there only literal and written answers are looked for.
"""

import ast
import base64
import binascii
import contextlib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LINE = 16  # characters without spaces: a shorter line of code could stand anywhere
VALUE = 6  # characters of a literal that are enough to know it by
MARKS = re.compile(r"(?:BEGIN|END) SOLUTION")


@dataclass(frozen=True)
class Answer:
    """What one solution is known by, all squeezed.

    Attributes:
        lines: every line that is long enough to be nobody else's; all of them make the answer.
        literals: `name=value`, and values; each of them is the answer.
    """

    lines: tuple[str, ...]
    literals: tuple[str, ...] = field(default=())


class Leaks:
    """Looks for answers in files."""

    def __init__(self, solutions: Mapping[str, str]) -> None:
        """Take the text of each solution, by what it is called in a message."""
        self.answers = {name: answer(text) for name, text in solutions.items()}

    def in_file(self, path: Path, is_package: bool = False) -> list[str]:
        """Return what a file gives away, a phrase each.

        Args:
            path: a notebook, or anything else.
            is_package: whether it is a file of the package, which has the functions themselves.
        """
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".ipynb":
            return self.in_notebook(json.loads(text))
        if path.suffix == ".json":
            text = "\n".join(strings(json.loads(text)))
        return self.in_text(text, lines="none" if is_package else "any")

    def in_notebook(self, notebook: dict[str, object]) -> list[str]:
        """Return what a notebook gives away, in a cell's source or anywhere else."""
        found: list[str] = []
        cells = notebook.get("cells", [])
        assert isinstance(cells, list)
        for cell in cells:
            source = "".join(cell.pop("source"))
            found += [f"cell {cell.get('id')}: {what}" for what in self.in_text(source, "all")]
        for text in strings(notebook):
            found += [f"outputs or metadata: {what}" for what in self.in_text(text, "any")]
        return found

    def in_text(self, text: str, lines: str) -> list[str]:
        """Return what a text gives away.

        Args:
            text: of any kind.
            lines: whether "any" line of a solution is too many, "all" of them, or "none".
        """
        squeezed = squeeze(text)
        found = ["the marks of a solution"] if MARKS.search(text) and lines != "none" else []
        for name, wanted in self.answers.items():
            shown = [line in squeezed for line in wanted.lines]
            is_shown = {"any": any(shown), "all": bool(shown) and all(shown), "none": False}[lines]
            if is_shown or any(stands(literal, squeezed) for literal in wanted.literals):
                found.append(f"the answer of {name}")
        return found


def regions(source: str) -> str:
    """Return the lines between the marks of a cell's solutions."""
    kept, inside = [], False
    for line in source.splitlines():
        if MARKS.search(line):
            inside = "BEGIN" in line
        elif inside:
            kept.append(line)
    return "\n".join(kept)


def answer(text: str) -> Answer:
    """Return what a solution's text is known by.

    >>> answer("total = 44")
    Answer(lines=(), literals=('total=44',))
    >>> answer("shape = (28, 28, 8)").literals
    ('shape=(28,28,8)', '(28,28,8)')
    """
    lines = {squeeze(line.partition("  #")[0]) for line in text.splitlines()}
    long = tuple(sorted(line for line in lines if len(line) >= LINE))
    found: list[str] = []
    for name, value in literals(text):
        found.append(squeeze(f"{name}={value}"))
        # A word or a number may be in a question, too; several values together are its answer.
        found += [squeeze(value)] if value[0] in "([{" and len(squeeze(value)) >= VALUE else []
    return Answer(() if found else long, tuple(found))


def literals(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of every literal that a solution assigns on its outermost level."""
    try:
        statements = ast.parse(textwrap.dedent(text)).body
    except SyntaxError:  # words, or part of a function
        return
    for statement in statements:
        if isinstance(statement, ast.Assign):
            try:
                ast.literal_eval(statement.value)
            except ValueError:
                continue
            yield ast.unparse(statement.targets[0]), ast.unparse(statement.value)


def stands(literal: str, squeezed: str) -> bool:
    """Whether a literal stands in a text; 4 does not stand in 44 or 4.5."""
    return re.search(rf"{re.escape(literal)}(?![\d.])", squeezed) is not None


def squeeze(text: str) -> str:
    """Return a text without spaces, with one kind of quotes."""
    return re.sub(r"\s+", "", text).replace("'", '"')


def strings(value: object) -> Iterator[str]:
    """Yield every text in what a JSON file holds; lists of lines as one, pictures decoded."""
    if isinstance(value, str):
        yield value
        with contextlib.suppress(binascii.Error, ValueError):
            yield base64.b64decode(value, validate=True).decode("utf-8", "replace")
    elif isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            yield "".join(value)
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
