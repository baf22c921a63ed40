"""The student's copy of the notebooks: without solutions, and updated without losing an answer."""

import copy
import functools
import hashlib
import json
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from convnetlab import __version__
from convnetlab.errors import LabError
from convnetlab.handoff import write_atomically
from convnetlab.notebooks import MAY_RAISE, read, tags
from convnetlab.paths import STAGES, notebooks_folder

TO_DO = "# YOUR CODE HERE"
STUB = f'{TO_DO}\nraise NotImplementedError("Write your answer here instead of this line.")'
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
    sources = sorted(
        path.relative_to(source_folder)
        for path in source_folder.rglob("*.ipynb")
        if not any(part.startswith(".") for part in path.relative_to(source_folder).parts)
    )
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


def given(path: Path, stamp: str) -> NotebookNode:
    """Return the student's copy of a source notebook; of one that is such a copy, itself.

    Args:
        path: a notebook with solutions; or, in a student's release, without.
        stamp: of the source, for a copy that is made now.
    """
    notebook = read(path)
    return notebook if "convnetlab" in notebook.metadata else student_copy(notebook, stamp)


def source_stamp(folder: Path) -> str:
    """Return a short hash of what is graded: the four stage notebooks and their hidden tests.

    Outputs, counts and what editors keep in a notebook's metadata do not matter. Notebooks without
    solutions keep the stamp of those that they were made from.
    """
    notebooks = [read(folder / f"{stage}.ipynb") for stage in STAGES]
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
    from nbgrader.preprocessors import ClearSolutions

    notebook = copy.deepcopy(source)
    resources = {"language": "python"}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        settings = cell.metadata.get("nbgrader", {})
        if settings.get("solution"):
            has_placeholder = " = ..." in cell.source.partition("BEGIN SOLUTION")[0]
            cutter = ClearSolutions(
                code_stub={"python": TO_DO if has_placeholder else STUB},
                text_stub="YOUR ANSWER HERE",
            )
            cutter.preprocess_cell(cell, resources, index)
            if cell.cell_type == "markdown":
                cell.pop("attachments", None)  # pictures of the answer
        cell.metadata["convnetlab"] = {"given": fingerprint(cell.source)}
        if cell.cell_type == "code" and (settings.get("solution") or settings.get("grade")):
            cell.metadata["tags"] = [*tags(cell), MAY_RAISE]
    kept = ("kernelspec", "language_info")  # sliders' states would tell what solutions showed
    notebook.metadata = NotebookNode({k: v for k, v in notebook.metadata.items() if k in kept})
    notebook.metadata["convnetlab"] = {"version": __version__, "source": stamp}
    return notebook


def merge(new: NotebookNode, old: NotebookNode) -> NotebookNode:
    """Return the new copy with everything that the student wrote in the old one.

    An answer goes into its cell, which is matched by nbgrader's id, or by its cell id where that
    was stripped; of several with one id, into which a copied cell turns, the first that holds an
    answer counts. Whatever else the student wrote or changed stays as a plain cell after the one
    that it followed.
    """
    merged = copy.deepcopy(new)
    by_key = {key(cell): cell for cell in merged.cells}
    by_id = {cell.id: cell for cell in merged.cells}
    matches = [by_key.get(key(cell)) or by_id.get(cell.id) for cell in old.cells]
    answers: dict[str, int] = {}  # the number of the old cell, by the new cell's id
    for number, (cell, match) in enumerate(zip(old.cells, matches, strict=True)):
        if match is not None and is_answer(match) and is_own(cell):
            answers.setdefault(match.id, number)
    place = 0
    for number, (cell, match) in enumerate(zip(old.cells, matches, strict=True)):
        if match is not None:
            place = max(place, merged.cells.index(match) + 1)
        if match is not None and answers.get(match.id) == number:
            match.source = cell.source
            if "attachments" in cell:
                match["attachments"] = cell["attachments"]
        elif is_own(cell) and (match is None or cell.source != match.source):
            kept = copy.deepcopy(cell)
            kept.id = nbformat.v4.new_code_cell().id
            kept.metadata.pop("nbgrader", None)
            # Ours once, changed by the student: kept to be read, not run. It need not fit the
            # cells that stand there now.
            ours = cell if match is None and "convnetlab" in cell.metadata else match
            if ours is not None and not is_answer(ours) and cell.cell_type == "code":
                kept = nbformat.v4.new_raw_cell(cell.source, id=kept.id)
            merged.cells.insert(place, kept)
            place += 1
    return merged


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
