"""A look over a folder of labelled pictures before anything is learnt from it.

Nothing in the folder is changed. What would spoil a training or its score is told apart from what
is only worth a look.
"""

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter1d

from convnetlab import __version__, audit_figures
from convnetlab.duplicates import NEARLY, SMALL, THUMBNAIL, groups, load_view
from convnetlab.errors import LabError
from convnetlab.figures import LabFigure
from convnetlab.handoff import group_folder, write_atomically, write_folder, write_json
from convnetlab.image_files import UnreadableImage, flatten, opened, turn_upright
from convnetlab.image_folders import Listing, scan

MARKER = "audit.json"
DECODED = 1024  # pixels: a larger JPEG is decoded at a half, a quarter or an eighth, but no smaller
LOOKED_AT = 256  # pixels of the longer side, at which sharpness is judged

BLANK = 2.0  # grey levels: the standard deviation up to which there is nothing to see
DARK, BRIGHT = 60, 195  # grey levels: 99 % of the pixels lie below, or above
# Crété-Roffet's blur, 0..1. Crops of scikit-learn's photographs, 320 × 240: sharp, 0.15 to 0.31;
# blurred by 3 pixels, 0.56 to 0.67; by 5, 0.76 to 0.81.
BLURRED = 0.67
TINY = 0.25  # of the median shorter side, below which a picture is tiny
UNEQUAL = 3  # times as many pictures in the largest class as in the smallest
BLUR_WIDTH = 11  # pixels, of Crété-Roffet's test blur
SHOWN = 30  # classes on the terminal
FEW = 20  # pictures a class, below which little can be learnt or measured


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        what: in a few words.
        where: the files, classes or groups of files, as they are shown.
        advice: what to do.
        spoils: whether it would spoil a training or its score.
        files: the pictures that it is seen in, if it can be seen.
    """

    what: str
    where: tuple[str, ...]
    advice: str
    spoils: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What a folder of pictures is like.

    Attributes:
        listing: the files, as `image_folders.scan` lists them.
        pictures: a row a readable file: the listing's columns and those of `measure`.
        unreadable: a row a file that gives no picture: `file`, `class`, `part`, `reason`.
        twins: a row a picture that is there more than once: `group`, `file`, `class`, `part`, `how`
            (see `duplicates.groups`).
        findings: what spoils a training first.
    """

    listing: Listing
    pictures: pd.DataFrame
    unreadable: pd.DataFrame
    twins: pd.DataFrame
    findings: tuple[Finding, ...]

    @property
    def spoiling(self) -> tuple[Finding, ...]:
        """The findings that would spoil a training or its score."""
        return tuple(finding for finding in self.findings if finding.spoils)

    @property
    def told(self) -> list[dict[str, object]]:
        """The findings in a line each, ready for JSON: `flaw`, `spoils`."""
        return [
            {"flaw": f"{finding.what}: {few_of(finding.where, 3)}", "spoils": finding.spoils}
            for finding in self.findings
        ]

    def classes(self) -> pd.DataFrame:
        """Return a row a part and class: pictures, unreadable files, sizes, formats, modes."""
        keys = ["part", "class"]
        wanted = self.listing.files[keys].drop_duplicates()
        rows = [self.class_row(part, name) for part, name in wanted.itertuples(index=False)]
        return pd.DataFrame(rows).set_index(keys if wanted["part"].any() else "class")

    def class_row(self, part: str, name: str) -> dict[str, object]:
        """Return one row of `classes`."""
        there, lost = (
            table[(table["part"] == part) & (table["class"] == name)]
            for table in (self.pictures, self.unreadable)
        )
        return {
            **({"part": part} if part else {}),
            "class": name,
            "pictures": len(there),
            "unreadable": len(lost),
            "width": span(there["width"]),
            "height": span(there["height"]),
            "formats": counted(there["format"]),
            "colour modes": counted(there["mode"]),
        }

    def table(self) -> pd.DataFrame:
        """Return a row a finding: what, how many, where (the first ones), what to do."""
        return pd.DataFrame(
            {
                "finding": [finding.what for finding in self.findings],
                "spoils a training": ["yes" if f.spoils else "" for f in self.findings],
                "count": [len(finding.where) for finding in self.findings],
                "where": [few_of(finding.where, 3) for finding in self.findings],
                "what to do": [finding.advice for finding in self.findings],
            }
        )

    def all_findings(self) -> pd.DataFrame:
        """Return a row for every file, class or group that something was found in."""
        rows = [
            (f.what, "yes" if f.spoils else "", place) for f in self.findings for place in f.where
        ]
        return pd.DataFrame(rows, columns=["finding", "spoils a training", "where"])

    def figure(self) -> LabFigure:
        """Draw pictures a class, sizes, and some of the pictures that are worth a look."""
        shown: dict[str, NDArray[np.uint8]] = {}
        for finding in self.findings:
            for file in finding.files[:2]:
                view = np.asarray(load_view(self.listing.folder, file))
                shown.setdefault(f"{finding.what}\n{file}", view)
        title = f"{len(self.pictures)} pictures in {len(self.listing.classes)} classes"
        return audit_figures.overview(self.pictures, self.listing.classes, shown, title)

    def summary(self) -> str:
        """Return all this as text for a terminal."""
        ignored = len(self.listing.ignored)
        lines = [
            f"{self.listing.folder}: {len(self.pictures)} pictures in "
            f"{len(self.listing.classes)} classes; {len(self.unreadable)} files are not readable, "
            f"{ignored} ignored.",
            "",
            shortened(self.classes()).to_string(),
            "",
        ]
        for finding in self.findings:
            mark = "✗" if finding.spoils else "!"
            lines.append(f"{mark} {finding.what}: {few_of(finding.where, 5)}. {finding.advice}")
        return "\n".join([*lines, *([] if self.findings else ["✓ Nothing was found amiss."])])


def span(values: pd.Series) -> str:
    """Return the least and the greatest of some whole numbers, such as "96–160"."""
    if values.empty:
        return "–"
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}–{high}"


def counted(values: pd.Series) -> str:
    """Return values with their counts, the commonest first, such as "JPEG 40, PNG 2"."""
    return ", ".join(f"{value} {count}" for value, count in values.value_counts().items()) or "–"


def few_of(names: Sequence[str], most: int) -> str:
    """Return the first few names, and how many there are."""
    if len(names) <= most:
        return "; ".join(names)
    return f"{len(names)}, such as {'; '.join(names[:most])}"


def shortened(classes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `Audit.classes` that fit on a terminal: those with the fewest pictures."""
    if len(classes) <= SHOWN:
        return classes
    return classes.sort_values("pictures", kind="stable").head(SHOWN)


def at_most(listing: Listing, count: int) -> Listing:
    """Return a listing of about `count` files at most: the first ones of each class and part.

    No class is left with fewer than `FEW` files that has them, so that none seems too small.
    """
    groups = listing.files.groupby(["part", "class"])
    kept = groups.head(max(FEW, count // max(1, groups.ngroups)))["file"]
    return listing.without(listing.files.loc[~listing.files["file"].isin(kept), "file"])


def audit(listing: Listing, tick: Callable[[], object] = lambda: None) -> Audit:
    """Decode every picture of a folder once, and say what is worth knowing before a training.

    Args:
        listing: as `image_folders.scan` makes it.
        tick: called after each file.
    """
    rows, reasons, thumbnails = [], [], []
    for row, measured in zip(
        listing.files.to_dict("records"), measure_all(listing, tick), strict=True
    ):
        if isinstance(measured, str):
            reasons.append(row | {"reason": measured})
        else:
            rows.append(row | measured[0])
            thumbnails.append(measured[1])
    pictures = pd.DataFrame(rows, columns=[*listing.files.columns, *MEASURES])
    unreadable = pd.DataFrame(reasons, columns=["file", "class", "part", "reason"])
    small = np.stack(thumbnails) if thumbnails else np.empty((0, THUMBNAIL, THUMBNAIL, 3), np.uint8)
    twins = groups(pictures, small, listing.folder)
    twins = twins.merge(pictures[["file", "class", "part"]], on="file")
    found = (
        *what_cannot_be_split(listing, pictures),
        *what_is_there_twice(twins),
        *what_cannot_be_read(unreadable),
        *which_folders_are_left_out(listing),
        *what_looks_odd(pictures),
        *what_is_unequal(pictures),
    )
    ordered = sorted(found, key=lambda finding: not finding.spoils)
    return Audit(listing, pictures, unreadable, twins, tuple(ordered))


Measured = tuple[dict[str, Any], NDArray[np.uint8]]


def measure_all(listing: Listing, tick: Callable[[], object]) -> Iterator[Measured | str]:
    """Yield what `measure` gives for each file, in order, or why it is unreadable.

    Threads do: Pillow decodes and resizes without holding Python's lock.
    """

    def one(file: str) -> Measured | str:
        try:
            return measure(listing.folder / file)
        except UnreadableImage as error:
            return error.reason

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for measured in pool.map(one, listing.files["file"]):
            tick()
            yield measured


def measure(path: Path) -> Measured:
    """Return `MEASURES` of a picture, and the picture as a thumbnail.

    Returns:
        `format`, `mode`: as in the file; `width`, `height`: upright, pixels; `bytes`;
        `file_hash`, `pixel_hash`: SHA-256; `hash`: imagehash's phash, uint64; `dark`, `bright`: the
        grey level, 0..255, below (above) which 99 % of the pixels lie; `spread`: the standard
        deviation of the thumbnail's grey levels; `blur`: see `blur`, not a number for a small one.
        And uint8 (THUMBNAIL, THUMBNAIL, 3).

    Raises:
        UnreadableImage: the file gives no picture.
    """
    with opened(path) as image:
        (width, height), form, mode = image.size, image.format, image.mode
        image.draft(None, (DECODED, DECODED))
        image.load()
        before = image.size
        turn_upright(image)
        if image.size != before:
            width, height = height, width
        picture = flatten(image, "rgb")
        content = path.read_bytes()
    digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes())
    thumbnail = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    grey = picture.convert("L")
    grey.thumbnail((LOOKED_AT, LOOKED_AT))
    levels = np.asarray(grey)
    dark, bright = np.percentile(levels, [99, 1])
    values = (
        *(form, mode, width, height, len(content)),
        *(hashlib.sha256(content).hexdigest(), digest.hexdigest()),
        *(int(str(imagehash.phash(picture)), 16), float(dark), float(bright)),
        *(float(np.asarray(thumbnail.convert("L")).std()), blur(levels)),
    )
    return dict(zip(MEASURES, values, strict=True)), np.asarray(thumbnail)


def blur(grey: NDArray[np.uint8]) -> float:
    """Return how blurred a grey picture (H, W) is: 0 sharp, 1 blurred; not a number if it is small.

    A sharp picture loses much of the differences between neighbours when it is blurred, a blurred
    one little. (F. Crété-Roffet, T. Dolmiere, P. Ladret, M. Nicolas, "The blur effect: perception
    and estimation with a new no-reference perceptual blur metric", SPIE 6492, 2007; but steps of
    one level, which rounding makes, do not count.)
    """
    if min(grey.shape) < SMALL:
        return float("nan")
    levels = grey.astype(np.float32)
    shares = []
    for axis in (0, 1):
        before = np.abs(np.diff(levels, axis=axis))
        before[before <= 1] = 0  # steps of one level are those of rounding, and never blurred
        after = np.abs(np.diff(uniform_filter1d(levels, BLUR_WIDTH, axis=axis), axis=axis))
        kept = before.sum() - np.maximum(before - after, 0).sum()
        shares.append(float(kept / max(before.sum(), 1e-6)))
    return max(shares)


def what_cannot_be_split(listing: Listing, pictures: pd.DataFrame) -> Iterator[Finding]:
    """Yield why the pictures cannot be learnt from and tested on."""
    if pictures.empty:
        yield Finding(
            "nothing readable",
            (str(listing.folder),),
            "None of the files gives a picture. Export the pictures as JPEG or PNG.",
            spoils=True,
        )
        return
    if len(listing.classes) < 2:
        yield Finding(
            "one class",
            listing.classes,
            "A classifier needs at least two: make a sub-folder for each class.",
            spoils=True,
        )
    parts = list(dict.fromkeys(listing.files["part"]))
    for part in parts:
        needed = pictures_needed(part, parts)
        there = pictures.loc[pictures["part"] == part, "class"]
        counts = there.value_counts().reindex(listing.classes, fill_value=0)
        short = [f"{name}: {count}" for name, count in counts.items() if count < needed]
        if short:
            place = f" in {part}" if part else ""
            yield Finding(
                f"fewer than {needed} pictures of a class{place}"
                if needed > 1
                else f"no picture of a class{place}",
                tuple(short),
                f"{WHY_SO_MANY[needed]} Add pictures to these classes, or take them out.",
                spoils=True,
            )


def pictures_needed(part: str, parts: Sequence[str]) -> int:
    """Return how many pictures of a class a part must have, given which parts there are.

    Whatever part is missing is taken from the part "" or from train.
    """
    if part in ("", "train"):
        return 1 + len({"validation", "test"} - set(parts))
    return 1


def what_is_there_twice(twins: pd.DataFrame) -> Iterator[Finding]:
    """Yield pictures in two parts, in two classes, and those that are merely repeated."""
    kinds: dict[tuple[str, bool], list[list[str]]] = {}
    for _, group in twins.groupby("group"):
        is_near = bool((group["how"] == NEARLY).any())
        several = {"parts": group["part"].nunique() > 1, "classes": group["class"].nunique() > 1}
        for kind in [kind for kind, is_so in several.items() if is_so] or ["again"]:
            kinds.setdefault((kind, is_near), []).append(group["file"].tolist())
    for kind, is_near in sorted(kinds, key=lambda key: (list(TWICE).index(key[0]), key[1])):
        members = kinds[kind, is_near]
        what, advice = TWICE[kind]
        yield Finding(
            f"{'nearly the same' if is_near else 'the same'} picture {what}",
            tuple(" = ".join(files) for files in members),
            LOOK + advice if is_near else advice[0].upper() + advice[1:],
            spoils=kind == "parts",
            files=tuple(members[0]),
        )


def what_cannot_be_read(unreadable: pd.DataFrame) -> Iterator[Finding]:
    """Yield the files that are skipped."""
    if len(unreadable):
        rows = unreadable[["file", "reason"]].itertuples(index=False)
        yield Finding(
            "not readable",
            tuple(f"{file} ({reason})" for file, reason in rows),
            "They are skipped. Copy them again from where they came, or take them out.",
        )


def which_folders_are_left_out(listing: Listing) -> Iterator[Finding]:
    """Yield folders that are no class and no part, and links to folders."""
    rows = listing.ignored.itertuples(index=False)
    told = tuple(f"{file} ({why})" for file, why in rows if (listing.folder / file).is_dir())
    if told:
        yield Finding(
            "folders left out",
            told,
            "If their pictures are wanted, move them into a class's folder.",
        )


def what_looks_odd(pictures: pd.DataFrame) -> Iterator[Finding]:
    """Yield pictures that are blank, dark, bright, blurred or tiny; each in one finding only."""
    shorter = pictures[["width", "height"]].min(axis=1)
    left = pd.Series(True, index=pictures.index)
    for what, is_so, advice in (
        ("blank", pictures["spread"] <= BLANK, "There is nothing to see: take them out."),
        (
            "tiny",
            shorter < TINY * shorter.median(),
            "Enlarged they would be blurred: look for the originals.",
        ),
        ("very dark", pictures["dark"] < DARK, "Look whether anything can be seen in them."),
        ("very bright", pictures["bright"] > BRIGHT, "Look whether anything can be seen in them."),
        ("blurred", pictures["blur"] > BLURRED, "Look whether the class can still be told."),
    ):
        files = tuple(pictures.loc[is_so & left, "file"])
        left &= ~is_so
        if files:
            yield Finding(what, files, advice, files=files)


def what_is_unequal(pictures: pd.DataFrame) -> Iterator[Finding]:
    """Yield classes with few pictures to learn from, and those that are far from as many."""
    learn = pictures[pictures["part"].isin(["", "train"])]
    counts = learn["class"].value_counts(sort=False).sort_values(kind="stable")
    told = tuple(f"{name}: {count}" for name, count in counts.items())
    few = tuple(f"{name}: {count}" for name, count in counts.items() if count < FEW)
    if few:
        yield Finding(
            f"fewer than {FEW} pictures of a class to learn from",
            few,
            "Collect more, or use the recipe features, which needs few; expect wide intervals.",
        )
    if len(counts) > 1 and counts.max() >= UNEQUAL * counts.min():
        yield Finding(
            "classes of unequal size",
            told if len(told) <= 4 else (told[0], told[-1]),
            "Collect more of the small ones, or weigh the classes; look at each class's recall.",
        )


def copy_without(listing: Listing, left_out: Iterable[str], folder: Path) -> Listing:
    """Copy a folder's pictures, but for some, into a new folder; the old one stays as it is.

    Args:
        listing: as `image_folders.scan` makes it.
        left_out: files of it, relative to its folder.
        folder: new or empty, outside of the old one.

    Returns:
        The listing of the new folder.

    Raises:
        LabError: the folder is not empty or lies in the old one, or it could not be written.
            Nothing has been written then.
    """
    new = folder.expanduser().resolve()
    if new.is_relative_to(listing.folder):
        raise LabError(f"{new} lies in the folder of pictures. Choose a folder elsewhere.")

    def copy(beside: Path) -> None:
        for file in listing.without(left_out).files["file"]:
            target = beside / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(listing.folder / file, target)

    write_folder(new, copy)
    return scan(new)


def writable(name: str, listing: Listing) -> Path:
    """Return the folder for the results of an audit; it need not exist.

    Raises:
        LabError: the name is none, the folder is not an audit's, or lies in the pictures' folder.
    """
    folder = group_folder(name, MARKER)
    if folder.resolve().is_relative_to(listing.folder):
        raise LabError(
            f"{folder} lies in the folder of pictures, and nothing is written there. Set "
            "CONVNETLAB_RUNS to a folder elsewhere."
        )
    return folder


def write(found: Audit, name: str) -> Path:
    """Write the tables and the figure of an audit to `runs/NAME/`, and return that folder.

    Raises:
        LabError: see `writable`.
    """
    folder = writable(name, found.listing)
    about = {"made_by": "convnetlab", "version": __version__, "folder": str(found.listing.folder)}
    write_json(folder / MARKER, about)
    for file, table in (
        ("classes.csv", found.classes().reset_index()),
        ("pictures.csv", found.pictures),
        ("unreadable.csv", found.unreadable),
        ("ignored.csv", found.listing.ignored),
        ("duplicates.csv", found.twins),
        ("findings.csv", found.all_findings()),
    ):
        write_atomically(folder / file, functools.partial(table.to_csv, index=False))
    write_atomically(folder / "audit.png", lambda path: path.write_bytes(found.figure().png))
    return folder


MEASURES = (
    *("format", "mode", "width", "height", "bytes", "file_hash", "pixel_hash", "hash"),
    *("dark", "bright", "spread", "blur"),
)
ODD = ("blank", "tiny", "very dark", "very bright", "blurred")  # findings of `what_looks_odd`
WHY_SO_MANY = {
    1: "Each part needs each class.",
    2: "One is needed to learn from, one for what is split off.",
    3: "One each is needed for training, validation and test.",
}
LOOK = "Look whether they are the same. If so: "  # before the advice on near duplicates
TWICE = {
    "parts": (
        "in two parts",
        "the test would ask for what was learnt. Take them out of all parts but one.",
    ),
    "classes": ("in two classes", "one of the labels is wrong. Keep the right one."),
    "again": (
        "more than once",
        "keep one of each; a split would put copies on both sides, and the others count twice.",
    ),
}
