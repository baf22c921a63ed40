"""`convnetlab release`: the lab as students get it, without an answer, stamped, ready to zip.

What is graded is kept as it was released, in `runs/releases/STAMP/`: each submission can be graded
against the source that its notebooks were made from.
"""

import datetime
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from convnetlab import __version__
from convnetlab.errors import LabError
from convnetlab.handoff import (
    RELEASES,
    group_folder,
    not_written,
    read_json,
    sha256,
    write_folder,
    write_json,
)
from convnetlab.leaks import Leaks, regions
from convnetlab.notebooks import read
from convnetlab.paths import STAGES, root_folder
from convnetlab.student import HIDDEN_TESTS, below, given, is_answer, source_stamp

MARKER = "release.json"
COPIED = ("LICENSE", "constraints.txt", "pyproject.toml")
PACKAGE = Path("src") / "convnetlab"
FOR_STUDENTS = "for_students"  # of the package: the files that only a release has
INSTRUCTORS = {"grading", "release.py", "leaks.py", FOR_STUDENTS}  # of the package
# Of the package's files; no caches, no editor's copies.
SUFFIXES = {".py", ".jinja", ".html", ".css", ".js"}
STAMP = r"[0-9a-f]{16}"

Sources = Mapping[Path, NotebookNode]  # by the path below notebooks/


def release(out: Path) -> str:
    """Write the student's version of the lab into `out`, and keep what it was made from.

    Args:
        out: new, empty, or a release of ours in which nothing was changed.

    Returns:
        The release's stamp.

    Raises:
        LabError: the notebooks have a fault, `out` is none of those, or an answer would be given
            away. Nothing has been written then.
    """
    root = root_folder()
    inside = [name for name in ("notebooks", "data", "src") if is_below(out, root / name)]
    if inside:
        raise LabError(f"{out} lies in {inside[0]}/, which is released. Choose another folder.")
    sources = source_notebooks(root / "notebooks")
    stamp = source_stamp(root / "notebooks")
    found = [fault for name, notebook in sources.items() for fault in faults(name, notebook)]
    found += changed_kinds(sources)
    if found:
        raise LabError("Nothing was released:\n" + "\n".join(f"  {fault}" for fault in found))
    put(out, functools.partial(fill, root=root, sources=sources, stamp=stamp))
    log(stamp)
    return stamp


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path.resolve().is_relative_to(folder.resolve())


def source_notebooks(folder: Path) -> dict[Path, NotebookNode]:
    """Return all notebooks with solutions, the side trips too, by their path below `folder`.

    Raises:
        LabError: one cannot be read, a stage is missing, or they have no solutions.
    """
    missing = [stage for stage in STAGES if not (folder / f"{stage}.ipynb").is_file()]
    if missing:
        raise LabError(f"{folder / missing[0]}.ipynb is missing.")
    found = {name: read(folder / name) for name in below(folder)}
    for name, notebook in found.items():
        if "convnetlab" in notebook.metadata:
            raise LabError(f"{folder / name} is a student's copy, expected one with solutions.")
    return found


# --- what must not be released ---------------------------------------------------------------


def faults(name: Path, notebook: NotebookNode) -> list[str]:
    """Return what keeps a notebook from being released, a sentence each, with the cell's id."""
    from nbgrader.nbgraderformat import (
        MetadataValidator,
        SchemaTooNewError,
        SchemaTooOldError,
        ValidationError,
    )

    schema = (ValidationError, SchemaTooOldError, SchemaTooNewError)
    try:
        nbformat.validate(notebook)
        found = [f"{name}, cell {cell.id}: {fault}" for cell, fault in cell_faults(notebook)]
        if not found:
            MetadataValidator().validate_nb(notebook)
        return found
    except (nbformat.ValidationError, *schema) as error:
        return [f"{name}: {str(error).splitlines()[0]}"]


def cell_faults(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, str]]:
    """Yield each cell with a fault, and the fault."""
    known: set[str] = set()
    for cell in notebook.cells:
        settings = cell.metadata.get("nbgrader", {})
        if fault := region_fault(cell):
            yield cell, fault
        if settings.get("grade") and not (settings.get("points") or 0) > 0:
            yield cell, f"it is graded, and its points are {settings.get('points')!r}"
        if fault := code_fault(cell):
            yield cell, fault
        name = settings.get("grade_id")
        if name in known:
            yield cell, f"another cell has the grade_id {name!r}, too"
        known |= {name} - {None}


def region_fault(cell: NotebookNode) -> str:
    """Return what is wrong with the marks of a cell's solution, or ""."""
    marks = re.findall(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)", cell.source)
    if any(kind == "HIDDEN TESTS" for _, kind in marks):
        return f"hidden tests in a cell would be given away; they belong in {HIDDEN_TESTS}"
    edges = [edge for edge, _ in marks]
    if edges and not is_answer(cell):
        return "it has a solution, and nbgrader's metadata do not call it a solution cell"
    if is_answer(cell) and cell.cell_type == "code" and not edges:
        return "it has no ### BEGIN SOLUTION and ### END SOLUTION"
    if edges != ["BEGIN", "END"] * (len(edges) // 2):
        return "BEGIN SOLUTION and END SOLUTION do not come in pairs"
    return ""


def code_fault(cell: NotebookNode) -> str:
    """Return why a code cell cannot be parsed once IPython's magics are translated, or ""."""
    import ast

    from IPython.core.inputtransformer2 import TransformerManager

    try:
        if cell.cell_type == "code":
            ast.parse(TransformerManager().transform_cell(cell.source))
    except SyntaxError as error:
        return f"it cannot be parsed ({error.msg}, line {error.lineno})"
    return ""


def kinds(sources: Sources) -> dict[tuple[Path, str], str]:
    """Return what each cell that nbgrader knows is, by notebook and grade id."""
    return {
        (name, settings["grade_id"]): (
            f"a {cell.cell_type} cell, "
            f"{'graded' if settings.get('grade') else 'not graded'}, "
            f"{'with' if settings.get('solution') else 'without'} an answer"
        )
        for name, notebook in sources.items()
        for cell in notebook.cells
        if (settings := cell.metadata.get("nbgrader", {})).get("grade_id")
    }


def changed_kinds(sources: Sources) -> list[str]:
    """Return the cells that became something else since the last release: nbgrader loses them."""
    last = last_release()
    if last is None:
        return []
    before = kinds({Path(path.name): read(path) for path in last.glob("*.ipynb")})
    return [
        f"{name}, cell {grade_id}: it is {kind}, and at the last release it was "
        f"{before[name, grade_id]}. Give it another grade_id"
        for (name, grade_id), kind in kinds(sources).items()
        if before.get((name, grade_id), kind) != kind
    ]


# --- the archive -----------------------------------------------------------------------------


def releases_folder() -> Path:
    """Return the private folder of what was released; it need not exist.

    Raises:
        LabError: something else is there.
    """
    return group_folder("releases", RELEASES)


def archived(stamp: str) -> Path | None:
    """Return the source folder of the release with a stamp, or None if there is none here.

    Args:
        stamp: as a notebook tells it; it may be any text.

    Raises:
        LabError: it was changed since.
    """
    if not re.fullmatch(STAMP, stamp):
        return None
    folder = releases_folder() / stamp
    if not folder.is_dir():
        return None
    if source_stamp(folder) != stamp:
        raise LabError(
            f"{folder} was changed since it was released, so nothing can be graded against it. "
            "Put its files back, or grade against the newest source."
        )
    return folder


def last_release() -> Path | None:
    """Return the source folder of the last release, or None."""
    record = releases_folder() / RELEASES
    past = read_json(record)["releases"] if record.is_file() else []
    return archived(past[-1]["stamp"]) if past else None


def archive(source: Path, stamp: str) -> Path:
    """Keep the graded notebooks and the hidden tests; what is kept already stays as it is."""
    folder = releases_folder()
    kept = archived(stamp)
    if kept:
        return kept
    if not (folder / RELEASES).is_file():
        write_json(folder / RELEASES, {"releases": []})
    folder.chmod(0o700)
    names = [path.name for path in source.glob("*.ipynb")]
    names += [HIDDEN_TESTS] if (source / HIDDEN_TESTS).is_file() else []

    def copy(beside: Path) -> None:
        for name in names:
            shutil.copyfile(source / name, beside / name)

    write_folder(folder / stamp, copy).chmod(0o700)
    return folder / stamp


def log(stamp: str) -> None:
    """Write down that a release was made."""
    record = releases_folder() / RELEASES
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = {"stamp": stamp, "version": __version__, "when": now}
    write_json(record, {"releases": [*read_json(record)["releases"], made]})


# --- the folder ------------------------------------------------------------------------------


def put(out: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write `out`, which may be a release; the old one stays until all is there."""
    if not (out / MARKER).is_file():
        write_folder(out, fill)
        return
    refuse_changed(out)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:50]}-") as beside:
            new, old = Path(beside) / "new", Path(beside) / "old"
            write_folder(new, fill)
            out.rename(old)
            try:
                new.rename(out)
            except OSError:
                old.rename(out)
                raise
    except OSError as error:
        raise not_written(out, error) from None


def refuse_changed(out: Path) -> None:
    """Raise a `LabError` if a release holds anything else than what `release` wrote."""
    listed = read_json(out / MARKER).get("files", {})
    for path in files(out):
        name = path.relative_to(out).as_posix()
        if "__pycache__/" in name or name == MARKER:
            continue
        if path.is_symlink() or name not in listed or sha256(path) != listed[name]:
            raise LabError(
                f"{path} was made or changed after the release, and would be lost. Move it away, "
                "or release into a new folder. (Try a release in a copy of it.)"
            )


def files(folder: Path) -> list[Path]:
    """Return all files in a folder and below, links too, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def fill(folder: Path, root: Path, sources: Sources, stamp: str) -> None:
    """Write the release into an empty folder, look for answers in it, and archive its source."""
    for name in sources:
        target = folder / "notebooks" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(given(root / "notebooks" / name, stamp), target)
    for path in [*package_files(root), *files(root / "data"), *(root / name for name in COPIED)]:
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            copy(path, folder / path.relative_to(root))
    for path in files(root / PACKAGE / FOR_STUDENTS):
        copy(path, folder / path.name)
    environment = (root / "environment.yml").read_text("utf-8")
    text = re.sub(r"-e \.\[[\w,]*\]", "-e .[pretrained]", environment)
    (folder / "environment.yml").write_text(text, "utf-8")
    made = {path.relative_to(folder).as_posix(): sha256(path) for path in files(folder)}
    about = {"made_by": "convnetlab release", "version": __version__, "source": stamp}
    write_json(folder / MARKER, {**about, "files": made})
    refuse_leaks(folder, root, sources)
    archive(root / "notebooks", stamp)


def package_files(root: Path) -> list[Path]:
    """Return the package's files that students get."""
    package = root / PACKAGE
    return [
        path
        for path in files(package)
        if path.suffix in SUFFIXES and path.relative_to(package).parts[0] not in INSTRUCTORS
    ]


def copy(path: Path, target: Path) -> None:
    """Copy a file's bytes; of a link, those of what it leads to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def refuse_leaks(folder: Path, root: Path, sources: Sources) -> None:
    """Raise a `LabError` if an answer, or a path of this machine, stands in a release."""
    leaks = Leaks({f"{name}, cell {cell}": text for name, cell, text in solutions(sources)})
    here = re.compile(rb"(?<![\w.])" + re.escape(os.fsencode(root.resolve())) + rb"(?![\w-])")
    told = []
    for path in files(folder):
        found = leaks.in_file(path, is_package=path.is_relative_to(folder / PACKAGE))
        if here.search(path.read_bytes()):
            found.append("where the lab lies on this machine")
        told += [f"{path.relative_to(folder)}: {what}" for what in found]
    if told:
        raise LabError("Nothing was released; found in it:\n" + "\n".join(f"  {t}" for t in told))


def solutions(sources: Sources) -> Iterator[tuple[Path, str, str]]:
    """Yield notebook, cell and text of every solution."""
    for name, notebook in sources.items():
        for cell in notebook.cells:
            if is_answer(cell):
                yield name, cell.id, regions(cell.source) or cell.source
