"""The student's copy of the notebooks: without solutions, and updated without losing an answer."""

import bisect
import copy
import functools
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from convnetlab import __version__
from convnetlab.errors import LabError
from convnetlab.handoff import write_atomically
from convnetlab.notebooks import MAY_RAISE, read, tags
from convnetlab.paths import notebooks_folder

TO_DO = "# YOUR CODE HERE"
STUB = f'{TO_DO}\nraise NotImplementedError("Write your answer here instead of this line.")'
SOLUTION = {"nbgrader": {"solution": True}}
HIDDEN_TESTS = "hidden_tests.py"  # beside the source notebooks; no student ever gets it


def start(folder: Path, update: bool = False) -> list[Path]:
    """Write a student's copy of every notebook into `folder`.

    Args:
        folder: where to; made if it is missing.
        update: bring the present text into copies that are there, and keep every answer and
            every cell that the student added. The old copies are kept in `before-update-N/`.

    Returns:
        The notebooks' paths.

    Raises:
        LabError: a copy is there and `update` is false; or a file there is no copy of ours.
            Nothing has been written then.
    """
    source_folder = notebooks_folder()
    sources = below(source_folder)
    if folder.resolve() == source_folder.resolve():
        raise LabError(f"{folder} holds the lab's own notebooks. Choose another folder for copies.")
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file, expected a folder.")
    there = [name for name in sources if (folder / name).exists()]
    if there and not update:
        raise LabError(
            f"{folder / there[0]} is there already, and your answers may be in it. "
            f"Keep working in it, or run `convnetlab start {folder} --update` to bring new text "
            "and keep your answers."
        )
    copies = {}
    stamp = source_stamp(source_folder)
    for name in sources:
        copies[name] = given(source_folder / name, stamp)
        if name in there:
            copies[name] = merge(copies[name], own_copy(folder / name))
    if there:
        back_up(folder, there)
    for name, notebook in copies.items():
        write_atomically(folder / name, functools.partial(nbformat.write, notebook))
    return [folder / name for name in sources]


def below(folder: Path) -> list[Path]:
    """Return the notebooks' paths below a folder, sorted; not those that editors hide there."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.ipynb"))
    return [name for name in names if not any(part.startswith(".") for part in name.parts)]


def given(path: Path, stamp: str) -> NotebookNode:
    """Return the student's copy of a source notebook; of one that is such a copy, itself.

    Args:
        path: a notebook with solutions; or, in a student's release, without.
        stamp: of the source, for a copy that is made now.
    """
    notebook = read(path)
    return notebook if "convnetlab" in notebook.metadata else student_copy(notebook, stamp)


def source_stamp(folder: Path) -> str:
    """Return a short hash of what is graded: a folder's notebooks, and their hidden tests.

    Outputs, counts and what editors keep in a notebook's metadata do not matter. Notebooks without
    solutions keep the stamp of those that they were made from.
    """
    notebooks = [read(path) for path in sorted(folder.glob("*.ipynb"))]
    if "convnetlab" in notebooks[0].metadata:
        return str(notebooks[0].metadata["convnetlab"].get("source", ""))
    hidden = folder / HIDDEN_TESTS
    content = [
        [
            [cell.id, cell.cell_type, cell.source, cell.get("attachments", {})]
            + [cell.metadata.get(name) for name in ("nbgrader", "tags")]
            for cell in notebook.cells
        ]
        for notebook in notebooks
    ]
    tests = hidden.read_text("utf-8") if hidden.is_file() else ""
    return fingerprint(json.dumps([content, tests], sort_keys=True))


def student_copy(source: NotebookNode, stamp: str = "") -> NotebookNode:
    """Return a notebook without solutions and outputs, in which Run All reaches the end.

    Solutions are cut by nbgrader's ClearSolutions. A literal that has a placeholder (`name = ...`)
    above its solution gets a comment in its place, a function a line that raises. Each cell is
    stamped with a hash of what the student was given, so that an answer can be told; the notebook
    with the version, and with `stamp`, by which grading finds the source that it was made from.
    """
    notebook = copy.deepcopy(source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        settings = cell.metadata.get("nbgrader", {})
        if settings.get("solution"):
            cell.source = without_solution(cell.cell_type, cell.source)
            if cell.cell_type == "markdown":
                cell.pop("attachments", None)  # pictures of the answer
        cell.metadata["convnetlab"] = {"given": fingerprint(cell.source)}
        if cell.cell_type == "code" and (settings.get("solution") or settings.get("grade")):
            cell.metadata["tags"] = [*tags(cell), MAY_RAISE]
    kept = ("kernelspec", "language_info")  # sliders' states would tell what solutions showed
    notebook.metadata = NotebookNode({k: v for k, v in notebook.metadata.items() if k in kept})
    notebook.metadata["convnetlab"] = {"version": __version__, "source": stamp}
    return notebook


@functools.lru_cache(maxsize=1024)
def without_solution(cell_type: str, source: str) -> str:
    """Return what the student is given of a cell with a solution."""
    from nbgrader.preprocessors import ClearSolutions

    has_placeholder = " = ..." in source.partition("BEGIN SOLUTION")[0]
    cutter = ClearSolutions(
        code_stub={"python": TO_DO if has_placeholder else STUB},
        text_stub="YOUR ANSWER HERE",
    )
    cell = nbformat.from_dict({"cell_type": cell_type, "source": source, "metadata": SOLUTION})
    cutter.preprocess_cell(cell, {"language": "python"}, 0)
    return str(cell.source)


def solutions(source: NotebookNode) -> dict[str, str]:
    """Return the answers in a notebook with solutions as a student would write them, by cell id."""
    return {
        cell.id: "\n".join(
            line
            for line in cell.source.split("\n")
            if "BEGIN SOLUTION" not in line and "END SOLUTION" not in line
        )
        for cell in source.cells
        if is_answer(cell)
    }


def answer(student_copy: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """Return a student's copy with answers, by the ids of their cells, written into it."""
    answered = copy.deepcopy(student_copy)
    for cell in answered.cells:
        cell.source = answers.get(cell.id, cell.source)
    return answered


def merge(new: NotebookNode, old: NotebookNode) -> NotebookNode:
    """Return the new copy with everything that the student wrote in the old one.

    An answer goes into its cell, which is matched by nbgrader's id, or by its cell id where that
    was stripped; of several with one id, into which a copied cell turns, the first that holds an
    answer counts. Whatever else the student wrote or changed stays as a plain cell after the one
    that it followed.
    """
    merged = copy.deepcopy(new)
    given = {cell.id: cell.source for cell in new.cells}

    def keep(cell: NotebookNode, match: NotebookNode | None) -> NotebookNode | None:
        there = () if match is None else (match.source, given[match.id])
        if not is_own(cell) or cell.source in there:
            return None
        kept = copy.deepcopy(cell)
        kept.id = nbformat.v4.new_code_cell().id
        kept.metadata.pop("nbgrader", None)
        # Ours once, changed by the student: kept to be read, not run. It need not fit the
        # cells that stand there now.
        ours = cell if match is None and "convnetlab" in cell.metadata else match
        if ours is not None and not is_answer(ours) and cell.cell_type == "code":
            kept = nbformat.v4.new_raw_cell(cell.source, id=kept.id)
        return kept

    def holds_answer(cell: NotebookNode, match: NotebookNode) -> bool:
        return is_own(cell) and cell.source != match.source

    weave(merged, old.cells, pair(merged.cells, old.cells), holds_answer, keep)
    return merged


def pair(new: Sequence[NotebookNode], old: Sequence[NotebookNode]) -> list[int | None]:
    """Return for each old cell the number of the new cell that it is a version of, if any.

    Cells are matched by nbgrader's id, or by their own where that was stripped.
    """
    by_key = {key(cell): number for number, cell in enumerate(new)}
    by_id = {cell.id: number for number, cell in enumerate(new)}
    return [by_key.get(key(cell), by_id.get(cell.id)) for cell in old]


def weave(
    new: NotebookNode,
    old: Sequence[NotebookNode],
    matches: Sequence[int | None],
    holds_answer: Callable[[NotebookNode, NotebookNode], bool],
    keep: Callable[[NotebookNode, NotebookNode | None], NotebookNode | None],
) -> dict[int, int]:
    """Put the student's answers into `new`, and behind each cell what else is kept of theirs.

    Args:
        new: changed in place.
        old: the student's cells.
        matches: what `pair` says of them.
        holds_answer: whether an old cell (first argument) answers the new one (second).
        keep: returns what an old cell that is no answer becomes, or None; its second argument is
            the new cell that it is a version of, which has its answer by then.

    Returns:
        The number of the old cell that the answer came from, by the new cell's number.
    """
    answers: dict[int, int] = {}
    for number, (cell, match) in enumerate(zip(old, matches, strict=True)):
        if (
            match is not None
            and is_answer(new.cells[match])
            and holds_answer(cell, new.cells[match])
        ):
            answers.setdefault(match, number)
    for match, number in answers.items():
        new.cells[match].source = old[number].source
        if new.cells[match].cell_type == "markdown" and "attachments" in old[number]:
            new.cells[match]["attachments"] = old[number]["attachments"]
    followers: dict[int, list[NotebookNode]] = defaultdict(list)
    place, anchors = -1, in_order(matches)
    for number, (cell, match) in enumerate(zip(old, matches, strict=True)):
        place = match if match is not None and number in anchors else place
        if match is None or answers.get(match) != number:
            kept = keep(cell, None if match is None else new.cells[match])
            followers[place] += [] if kept is None else [kept]
    new.cells = followers[-1] + [
        cell for number, first in enumerate(new.cells) for cell in (first, *followers[number])
    ]
    return answers


def in_order(matches: Sequence[int | None]) -> set[int]:
    """Return the positions of the longest rising subsequence: what was neither moved nor copied.

    >>> sorted(in_order([0, 9, 1, None, 2, 1, 3]))
    [0, 2, 4, 6]
    """
    tails: list[int] = []  # the lowest value that ends a rising sequence, by its length
    chains: list[list[int]] = []
    for position, match in enumerate(matches):
        if match is not None and match not in tails:
            length = bisect.bisect_left(tails, match)
            chain = [*(chains[length - 1] if length else []), position]
            tails[length : length + 1] = [match]
            chains[length : length + 1] = [chain]
    return set(chains[-1]) if chains else set()


def is_answer(cell: NotebookNode) -> bool:
    """Whether the cell is one for the student's answer."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def key(cell: NotebookNode) -> str:
    """Return what matches a cell across versions: nbgrader's id if it has one, else its own."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id") or cell.id)


def is_own(cell: NotebookNode) -> bool:
    """Whether the student wrote or changed the cell."""
    given = cell.metadata.get("convnetlab", {}).get("given")
    return bool(cell.source.strip()) and fingerprint(cell.source) != given


def fingerprint(source: str) -> str:
    """Return a short hash of a cell's source."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def own_copy(path: Path) -> NotebookNode:
    """Read a student's copy.

    Raises:
        LabError: it is damaged, or not a copy that `start` made.
    """
    notebook = read(path)
    if "convnetlab" not in notebook.metadata:
        raise LabError(
            f"{path} was not made by `convnetlab start` (it has no stamp). Move it away first."
        )
    return notebook


def back_up(folder: Path, names: list[Path]) -> None:
    """Copy notebooks into `before-update-1/`, or the next number that is free."""
    number = 1
    while (folder / f"before-update-{number}").exists():
        number += 1
    for name in names:
        target = folder / f"before-update-{number}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, target)
