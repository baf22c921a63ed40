"""What one stage hands to the next: files in `runs/<run>/`, each with a record of its making.

Beside an artefact `split.csv` stands `split.csv.meta.json`: the notebook that made it, the
SHA-256 of its bytes and of those it was made from, the parameters, the versions. A stage that
needs an artefact checks all that first, so that nobody evaluates yesterday's model by mistake.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from convnetlab import __version__
from convnetlab.errors import LabError
from convnetlab.paths import STAGES, runs_folder

MARKER = "run.json"
RELEASES = "releases.json"
KINDS = {
    MARKER: "a run",
    "sweep.json": "a sweep, no run; its runs are called SWEEP/KEY",
    "comparison.json": "a comparison, no run",
    "audit.json": "an audit of pictures, no run",
    "cache.json": "the cache of decoded pictures, no run",
    RELEASES: "what was released, no run",
}
NAME = r"\w[\w.-]{0,99}"  # of a run
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "matplotlib")
MAKERS = {
    "dataset.json": STAGES[0],
    "split.csv": STAGES[0],
    "baseline.csv": STAGES[0],
    "architecture.json": STAGES[1],
    "history.csv": STAGES[2],
    "model.keras": STAGES[2],
    "predictions.csv": STAGES[3],
    "metrics.json": STAGES[3],
}
# What is made of a network beside the stages (`deployment`, `edge_study`): it goes when another
# network is handed on, for nobody could tell from it that it is an older one's.
PAGES = ("digit.html", "photo.html")
LITERT = tuple(f"{variant}.tflite" for variant in ("float32", "float16", "dynamic", "int8"))
STUDIED = ("edge.csv", "edge.json", "changed.csv", "edge.png", "changed.png")
MADE_OF = {"model.keras": (*PAGES, *(f"edge/{name}" for name in (*LITERT, *STUDIED)))}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Whatever happens on the way, `path` holds its old bytes or all of the new ones.

    Args:
        path: the file to make; its folder is made if missing.
        write: gets the temporary file's path, which has the same ending.

    Raises:
        LabError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    except OSError as error:
        raise not_written(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_folder(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Let `fill` write a folder beside `folder`, then put it in place: whole, or not at all.

    Args:
        folder: new, or empty.
        fill: gets the path of an empty folder.

    Raises:
        LabError: it is a file, or not empty, or could not be written.
    """
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file, expected a folder that is new or empty.")
    if folder.is_dir() and any(folder.iterdir()):
        raise LabError(
            f"{folder} is not empty, and nothing in it is overwritten. Choose a new folder."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:50]}-"))
    except OSError as error:
        raise not_written(folder, error) from None
    try:
        fill(beside)
        beside.chmod(0o755)
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()  # empty, or this fails; Windows renames onto no folder at all
        beside.rename(folder)
    except OSError as error:
        raise not_written(folder, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def not_written(path: Path, error: OSError) -> LabError:
    """Return the error to show when a file could not be written."""
    reason = error.strerror or str(error)
    return LabError(
        f"{path} could not be written: {reason}. Nothing that was there before has changed. "
        "Free space, or choose a folder that you may write to, and run this again."
    )


def write_json(path: Path, value: object) -> Path:
    """Write `value` as indented JSON, atomically; JSON has no NaN and no infinity: null."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def finite(value: object) -> object:
    """Return a value for JSON, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        LabError: the file is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise LabError(
            f"{path} cannot be read as JSON ({error}). Run its notebook again."
        ) from None
    if not isinstance(value, dict):
        raise LabError(f"{path} holds a {type(value).__name__}, not a JSON object.")
    return value


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what the results depend on."""
    found = {"python": platform.python_version(), "convnetlab": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


@dataclass(frozen=True)
class Run:
    """One run's folder, as one stage sees it."""

    folder: Path
    stage: str
    # The SHA-256 of each artefact as it was when this stage took it: its children are recorded as
    # made from that, even if an earlier notebook makes it anew meanwhile.
    taken: dict[str, str] = field(default_factory=dict, compare=False)

    def save(
        self,
        name: str,
        write: Callable[[Path], object],
        parameters: Mapping[str, object],
        parents: Sequence[str] = (),
        notes: Mapping[str, object] | None = None,
    ) -> Path:
        """Write the artefact `name` and its record, both atomically.

        Args:
            name: one of `MAKERS`, made by this stage.
            write: fills the file whose path it gets.
            parameters: the notebook's parameters that it depends on, `seed` among them.
            parents: names of the artefacts that it was made from.
            notes: what else is worth knowing of how it was made, such as the device.
        """
        if MAKERS.get(name) != self.stage:
            raise ValueError(f"{self.stage} does not make {name!r}; see handoff.MAKERS")
        path = self.folder / name
        record_path(path).unlink(missing_ok=True)  # never a new record beside old bytes
        write_atomically(path, write)
        self.discard(MADE_OF.get(name, ()))
        record: dict[str, Any] = {
            "artefact": name,
            "made_by": self.stage,
            "sha256": sha256(path),
            "parents": {
                name: self.taken.get(name) or sha256(self.folder / name) for name in parents
            },
            "parameters": dict(parameters),
            "seed": parameters.get("seed"),
            "notes": dict(notes or {}),
            "versions": versions(),
        }
        write_json(record_path(path), record)
        self.taken[name] = record["sha256"]
        return path

    def discard(self, names: Sequence[str]) -> None:
        """Remove files of the run's folder, if they are there.

        Raises:
            LabError: the folder cannot be written.
        """
        for name in names:
            path = self.folder / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise not_written(path, error) from None

    def need(self, name: str, **parameters: object) -> Path:
        """Return the path of an earlier stage's artefact, once it has been checked.

        Args:
            name: one of `MAKERS`.
            parameters: what this notebook believes of the parameters that it was made with.

        Raises:
            LabError: it is missing, corrupt, foreign, made from something that has changed
                since, or made with other parameters. The message names the notebook to run.
        """
        path = self.folder / name
        again = f"Run the notebook {MAKERS[name]} again"
        if not path.is_file():
            raise LabError(f"{path} is missing. Run the notebook {MAKERS[name]} first.")
        record = self.record(name)
        if record["sha256"] != sha256(path):
            raise LabError(f"{path} was changed or damaged after {MAKERS[name]} made it. {again}.")
        for parent, expected in record["parents"].items():
            self.need(parent)
            if self.record(parent)["sha256"] != expected:
                raise LabError(
                    f"{path} is stale: it was made from another {parent} than the one that is "
                    f"there now. {again}."
                )
        for key, value in parameters.items():
            made_with = record["parameters"].get(key, value)
            if made_with != value:
                raise LabError(
                    f"{path} was made with {key} = {made_with!r}, and this notebook says "
                    f"{value!r}. {again}, or set {key} = {made_with!r} here."
                )
        self.taken.setdefault(name, record["sha256"])
        return path

    def record(self, name: str) -> dict[str, Any]:
        """Return the record of an artefact.

        Raises:
            LabError: there is none, or it is not one of ours.
        """
        path = record_path(self.folder / name)
        if not path.is_file():
            raise LabError(
                f"{self.folder / name} has no {path.name} beside it, so it was not made by "
                f"{MAKERS[name]}. Move it away and run the notebook {MAKERS[name]}."
            )
        record = read_json(path)
        fits = record.get("artefact") == name and record.get("made_by") == MAKERS[name]
        if not fits or not {"sha256", "parents", "parameters"} <= record.keys():
            raise LabError(
                f"{path} is not a record of {name}. Run the notebook {MAKERS[name]} again."
            )
        return record

    def figure(self, name: str, figure: Any) -> Any:
        """Keep a `figures.LabFigure` as `figures/<stage>_<name>.png` of the run, and return it."""
        path = self.folder / "figures" / f"{self.stage[:2]}_{name}.png"
        write_atomically(path, lambda file: file.write_bytes(figure.png))
        return figure


def record_path(path: Path) -> Path:
    """Return where the record of an artefact stands."""
    return path.with_name(path.name + ".meta.json")


def run_folder(name: str) -> Path:
    """Return the folder of a run; it need not exist.

    Args:
        name: a plain name, or `SWEEP/KEY` for one run of a sweep.

    Raises:
        LabError: the name is none, or the folder is there and not one of ours.
    """
    if not re.fullmatch(rf"{NAME}(/{NAME})?", name):
        raise LabError(
            f"run is {name!r}. A run's name has letters, digits, '-', '_' and '.' only, and "
            "begins with a letter or a digit; a run of a sweep is called SWEEP/KEY."
        )
    folder = runs_folder() / name
    if (folder.parent / MARKER).is_file():
        raise LabError(
            f"run is {name!r}, and {folder.parent} is a run itself. Choose another run name."
        )
    return unless_foreign(folder, MARKER)


def group_folder(name: str, marker: str) -> Path:
    """Return the folder of what looks at several runs, such as a sweep; it need not exist.

    Args:
        name: a plain name.
        marker: the file by which such a folder is known.

    Raises:
        LabError: the name is none, or the folder is there and has no marker.
    """
    if not re.fullmatch(NAME, name):
        raise LabError(
            f"run is {name!r}. Its name has letters, digits, '-', '_' and '.' only, and begins "
            "with a letter or a digit."
        )
    return unless_foreign(runs_folder() / name, marker)


def unless_foreign(folder: Path, marker: str) -> Path:
    """Return the folder, if it is missing, empty, or has the marker.

    Raises:
        LabError: something else is in it.
    """
    is_ours = (folder / marker).is_file()
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    for other, kind in KINDS.items():
        if not is_ours and (folder / other).is_file():
            raise LabError(f"{folder} is {kind}. Choose another name.")
    if not (is_ours or is_free):
        raise LabError(
            f"{folder} is there and was not made by convnetlab (it has no {marker}). "
            "Choose another name."
        )
    return folder


def open_run(name: str, stage: int | Literal["further"]) -> Run:
    """Return the run `name` as stage 1 to 4 or a side trip sees it; make its folder if missing.

    Raises:
        LabError: see `run_folder`.
    """
    folder = run_folder(name)
    if not (folder / MARKER).is_file():
        write_json(folder / MARKER, {"made_by": "convnetlab", "version": __version__})
    return Run(folder, stage if stage == "further" else STAGES[stage - 1])
