"""A user's folder of pictures: what is in it, class by class. Nothing in it is ever changed."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from convnetlab.errors import LabError
from convnetlab.image_files import UnreadableImage, opened

PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
    | {".heic", ".heif", ".avif"}  # not read, but pictures all the same, and told of
)
SYSTEM_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"})
LINKED = "a link to a folder; such links are not followed"
LAYOUT = (
    "Put the pictures into one sub-folder a class, such as FOLDER/cat/1.jpg, or into such "
    "folders below train/, validation/ and test/."
)


@dataclass(frozen=True)
class Listing:
    """What a folder holds, before any picture is decoded.

    Attributes:
        folder: the folder, resolved.
        files: a row a picture, in natural order: `file` (relative to the folder, with slashes),
            `class`, `label` (0, 1, 2, …), `part` (train, validation, test; or "" where the folder
            has no parts).
        ignored: a row a file or folder that is left out: `file`, `reason`.
        classes: the classes' names; a label is a place in it.
    """

    folder: Path
    files: pd.DataFrame
    ignored: pd.DataFrame
    classes: tuple[str, ...]

    def without(self, files: Iterable[str]) -> "Listing":
        """Return the listing without some files, such as unreadable ones."""
        rows = self.files[~self.files["file"].isin(list(files))].reset_index(drop=True)
        return Listing(self.folder, rows, self.ignored, self.classes)


def scan(folder: Path | str) -> Listing:
    """List the pictures of a folder: one sub-folder a class, or such below train/ and the like.

    Class folders are searched to any depth. A file whose name ends like a picture's is listed,
    though it may prove unreadable; any other is listed only if it is a picture. Hidden and system
    files are passed over silently. Links are followed to files inside the folder only.

    Names are compared in Unicode's composed form (NFC). A class below validation/ or test/ that
    differs from one below train/ in upper and lower case only is that class.

    Raises:
        LabError: there is no such folder, a folder in it cannot be read, or there are no pictures
            in class folders. The message says what to do.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        found = "a file" if root.exists() else "missing"
        raise LabError(f"{root} is {found}; a folder of pictures is expected there. {LAYOUT}")
    walk = Walk(root)
    rows = []
    for part, place in parts_of(root, walk).items():
        rows += [(file, name, part) for name, file in walk.classes_below(place)]
        if part and not any(row[2] == part for row in rows):
            raise LabError(
                f"{place} has no class folders with pictures in it. Give it the classes' "
                "sub-folders, or move it out of the folder."
            )
    ignored = pd.DataFrame(sorted(walk.ignored), columns=["file", "reason"])
    if not rows:
        raise LabError(
            f"{root} has no pictures in class folders ({len(ignored)} other files). {LAYOUT}"
        )
    files = pd.DataFrame(rows, columns=["file", "class", "part"])
    files["class"] = matched(files)
    classes = tuple(sorted(files["class"].unique(), key=natural))
    files["label"] = files["class"].map({name: label for label, name in enumerate(classes)})
    return Listing(root, files[["file", "class", "label", "part"]], ignored, classes)


def parts_of(root: Path, walk: "Walk") -> dict[str, Path]:
    """Return the folder of each part, train first; or the whole as the part "".

    There are parts if `train` has sub-folders, and nothing but parts stands beside it, or another
    part does; for `train` may also be a class, beside `bus`.
    """
    folders = walk.folders(root)
    named: dict[str, list[Path]] = {}
    for folder in folders:
        if folder.name.lower() in PARTS and walk.folders(folder):
            named.setdefault(PARTS[folder.name.lower()], []).append(folder)
    beside = [folder for folder in folders if folder.name.lower() not in PARTS]
    if not named or ("train" not in named and beside) or (len(named) == 1 and beside):
        return {"": root}
    for part, places in named.items():
        if len(places) > 1:
            names = " and ".join(place.name for place in places)
            raise LabError(f"{root} has {names}, both for {part}. Leave one of them.")
    if "train" not in named:
        raise LabError(f"{root} has {folders[0].name}/ and no train/ with class folders. {LAYOUT}")
    for part in ("validation", "test"):
        for folder in folders:
            if PARTS.get(folder.name.lower()) == part and part not in named:
                named[part] = [folder]
    walk.leave_out(beside, "beside train/, and no part")
    walk.leave_out_loose(root)
    return {part: named[part][0] for part in ("train", "validation", "test") if part in named}


class Walk:
    """Goes through a folder once, in natural order, and notes what it leaves out."""

    def __init__(self, root: Path) -> None:
        """Begin at a resolved folder; nothing outside of it is read."""
        self.root = root
        self.ignored: set[tuple[str, str]] = set()

    def relative(self, path: Path) -> str:
        """Return a path relative to the folder, with slashes."""
        return path.relative_to(self.root).as_posix()

    def leave_out(self, paths: Iterable[Path], reason: str) -> None:
        """Note that files or folders are left out, and why."""
        shown = (self.relative(path).encode("utf-8", "backslashreplace") for path in paths)
        self.ignored |= {(name.decode(), reason) for name in shown}

    def leave_out_loose(self, place: Path) -> None:
        """Note that the files beside a place's class folders, and links there, are left out."""
        for path in self.files(place):
            is_link = path.is_symlink() and path.is_dir()
            self.leave_out([path], LINKED if is_link else "above the class folders, so of no class")

    def entries(self, folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
        """Return those entries of a folder that are wanted, in natural order, no hidden ones.

        Raises:
            LabError: the folder cannot be read.
        """
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if seen(entry.name) and wanted(entry)]
        except OSError as error:
            raise LabError(
                f"{folder} cannot be read: {error.strerror}. Give yourself the right to read it, "
                "or move it out of the folder."
            ) from None
        return [folder / name for name in sorted(names, key=natural)]

    def folders(self, folder: Path) -> list[Path]:
        """Return the sub-folders that are no links."""
        return self.entries(folder, lambda entry: entry.is_dir(follow_symlinks=False))

    def files(self, folder: Path) -> list[Path]:
        """Return everything in a folder that is no sub-folder."""
        return self.entries(folder, lambda entry: not entry.is_dir(follow_symlinks=False))

    def classes_below(self, place: Path) -> Iterator[tuple[str, str]]:
        """Yield (class, file) for every picture in the class folders of a place."""
        self.leave_out_loose(place)
        for folder in self.folders(place):
            name = unicodedata.normalize("NFC", folder.name)
            if not is_text(name):
                raise LabError(
                    f"{place} has a class folder whose name is no UTF-8 text ({folder.name!a}). "
                    "Rename it."
                )
            found = False
            for path in self.pictures(folder):
                found = True
                yield name, self.relative(path)
            if not found:
                self.leave_out([folder], "a folder without pictures")

    def pictures(self, folder: Path) -> Iterator[Path]:
        """Yield the picture files of a folder and of all folders below it."""
        for path in self.files(folder):
            reason = self.why_not(path)
            if reason:
                self.leave_out([path], reason)
            else:
                yield path
        for below in self.folders(folder):
            yield from self.pictures(below)

    def why_not(self, path: Path) -> str:
        """Return why a file is no picture to be listed, or "" if it is one."""
        if path.is_symlink():
            try:
                real = path.resolve(strict=True)
            except (OSError, RuntimeError):  # a loop, or a link to nothing
                return "a link that leads nowhere"
            if real.is_dir():
                return LINKED
            if not real.is_relative_to(self.root):
                return "a link out of the folder; such links are not followed"
        if not path.is_file():
            return "no ordinary file"
        if not is_text(str(path)):
            return "its name is no UTF-8 text; rename it"
        if path.suffix.lower() in ENDINGS or is_picture(path):
            return ""
        return "no picture"


def seen(name: str) -> bool:
    """Whether a file or folder is to be looked at: neither hidden nor one of a system's own."""
    return not name.startswith(".") and name.lower() not in SYSTEM_NAMES


def is_text(name: str) -> bool:
    """Whether a name is proper Unicode (a file system may hold any bytes)."""
    try:
        name.encode("utf-8")
        return True
    except UnicodeEncodeError:
        return False


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does, whatever its name."""
    try:
        with opened(path):
            return True
    except UnreadableImage:
        return False


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts as people do, on every machine alike: 2 before 10, a beside A.

    >>> sorted(["10", "b", "2", "A", "a"], key=natural)
    ['2', '10', 'A', 'a', 'b']
    """
    text = unicodedata.normalize("NFC", name)
    pieces = re.split(r"(\d+)", text.casefold())  # text and numbers take turns
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], text


def matched(files: pd.DataFrame) -> pd.Series:
    """Return the class of each file, as it is spelt below train/.

    Raises:
        LabError: validation or test has a class that train lacks.
    """
    known = set(files.loc[files["part"].isin(["", "train"]), "class"])
    spellings: dict[str, list[str]] = {}
    for name in known:
        spellings.setdefault(name.casefold(), []).append(name)
    names = {}
    for part, name in files[["part", "class"]].drop_duplicates().itertuples(index=False):
        alike = [name] if name in known else spellings.get(name.casefold(), [])
        if len(alike) != 1:
            raise LabError(
                f"{part}/ has a class {name!r} that train/ lacks; train/ has "
                f"{', '.join(sorted(known, key=natural))}. Add pictures of it to train/, or take "
                f"it out of {part}/."
            )
        names[name] = alike[0]
    return files["class"].map(names)
