"""Collecting what a class handed in, in whatever layout the instructor got it."""

import contextlib
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nbformat import NotebookNode

from convnetlab.errors import LabError
from convnetlab.grading.archives import (
    EXPORTS,
    LARGEST_NOTEBOOK,
    NOTEBOOKS,
    OTHER_ARCHIVES,
    WANTED,
    Budget,
    Item,
    RefusedError,
    archive_items,
    folder_items,
    is_archive,
    opened,
)
from convnetlab.grading.records import Remark, Submission
from convnetlab.student import key

MOST_IN_CLASS = 100_000  # files in the archive of a whole class
DEEPEST = 3  # an archive in an archive in an archive
MOST_REMARKS = 8  # on a student's files
HASH = 4  # hexadecimal digits behind a name that had to be changed
LONGEST_ID = 120  # bytes; a file's name may have 255 on most systems

MOODLE = re.compile(
    r"(?P<name>[^/]+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<file>[^/]*))?"
)
CANVAS = re.compile(
    r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<number>[1-9]\d*)_[1-9]\d*_(?P<file>[^/]+)", re.I
)
ATTEMPT = re.compile(r"-(\d+)\.[a-z.]+$", re.IGNORECASE)
COPY = re.compile(r" ?\(\d+\)$")
CELL_ID = re.compile(rb'"(?:grade_)?id"\s*:\s*"([\w-]+)"')
STAMP = b'"convnetlab"'

# Folders of the lab itself: who hands in one of these inside a folder is one student, not many.
LAB_FOLDERS = re.compile(
    r"convnet.?lab.*|work|notebooks|further|runs|data|src|docs|tests|before-update-\d+|\..*", re.I
)
NBGRADER_FOLDERS = ("source", "release", "autograded", "feedback", "exchange")
IGNORED = re.compile(r"\.[^/]*|__MACOSX|before-update-\d+|Thumbs\.db|desktop\.ini", re.I)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Owner:
    """Who a file belongs to.

    Attributes:
        system: "moodle", "canvas", or "name" of a folder or an archive.
        key: the system's number, or the name.
    """

    system: str
    key: str


@dataclass
class Bundle:
    """All files of one student.

    Attributes:
        name: as the download has it.
        found_at: where.
        items: with the paths in the download; flat downloads' names without what was put first.
        is_late: Canvas says so.
        remarks: so far.
        best: the file that counts so far, by the notebook that it answers.
        others: paths of files that might have counted.
        strange: paths of notebooks that are none of the lab's.
    """

    name: str
    found_at: str
    items: list[Item] = field(default_factory=list)
    is_late: bool = False
    remarks: list[Remark] = field(default_factory=list)
    best: dict[str, "Candidate"] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Candidate:
    """A file that may be a student's version of a notebook.

    Attributes:
        rank: the greatest counts (see `Search.rank`).
        data: its content.
        path: where it was found.
    """

    rank: tuple[float, ...]
    data: bytes
    path: str


@dataclass(frozen=True)
class Wanted:
    """What is looked for: the notebooks' names, and ids of cells that only one of them has."""

    names: Sequence[str]
    ids: Mapping[str, set[bytes]]


def collect(
    folder: Path, notebooks: Sequence[str], ids: Mapping[str, set[str]] | None = None
) -> tuple[list[Submission], list[str]]:
    """Find every student's notebooks, without extracting, following or trusting anything.

    A folder or an archive a student, nbgrader's `submitted/`, and the downloads of Moodle and
    Canvas are understood, mixed with one another, in a folder or in one archive.

    Args:
        folder: a folder, or a zip or tar.gz of one.
        notebooks: the names of the source notebooks, without ending.
        ids: the ids of each source notebook's cells (see `cell_ids`), by which a renamed one is
            recognised.

    Returns:
        The submissions, sorted by student; and what was left aside, in sentences.

    Raises:
        LabError: the folder is missing or empty, or none of the notebooks is in it.
    """
    wanted = Wanted(notebooks, distinctive(ids or {}))
    aside: list[str] = []
    with contextlib.ExitStack() as stack:
        items = class_items(folder, stack)
        bundles = assign(unwrap(items, folder.is_file()), aside)
        for owner, bundle in bundles.items():
            Search(bundle, wanted, owner.system == "canvas").through(bundle.items)
    names = student_names(bundles)
    found = [submission(names[owner], owner, bundle) for owner, bundle in bundles.items()]
    if not any(each.notebooks for each in found):
        raise LabError(nothing_found(folder, notebooks, found, aside))
    return sorted(found, key=lambda each: (each.student.casefold(), each.student)), aside


def nothing_found(
    folder: Path, notebooks: Sequence[str], found: Sequence[Submission], aside: Sequence[str]
) -> str:
    """Return the message for a folder without submissions."""
    seen = [*aside, *(remark.text for each in found for remark in each.remarks)]
    detail = f" For one: {seen[0]}" if seen else ""
    return (
        f"No submission was found in {folder}: expected notebooks such as {notebooks[0]}.ipynb in "
        f"a folder or zip a student, or the download of Moodle or Canvas.{detail}"
    )


# What is there, and whose it is


def class_items(folder: Path, stack: contextlib.ExitStack) -> list[Item]:
    """List all files of a class; archives of the whole class are opened until `stack` closes.

    Raises:
        LabError: the folder is missing, or the archive cannot be read.
    """
    if folder.is_dir():
        try:
            next(folder.iterdir(), None)
        except OSError as error:
            raise LabError(f"{folder} cannot be read ({error.strerror}).") from None
        listed = list(folder_items(folder))
    elif folder.is_file() and is_archive(folder.name):
        try:
            file = stack.enter_context(folder.open("rb"))
            listed = list(archive_items(file, folder.name, MOST_IN_CLASS))
        except (RefusedError, OSError) as error:
            raise LabError(f"{folder} {error}. Unpack it, and name the folder instead.") from None
    else:
        what = "is neither a folder nor a zip" if folder.exists() else "does not exist"
        raise LabError(f"{folder} {what}. Expected the folder or zip with the class's submissions.")
    return [each for item in listed for each in expand(item, stack)]


def expand(item: Item, stack: contextlib.ExitStack) -> list[Item]:
    """Return the files in an archive of a whole class, as Moodle's and Canvas's; else the item."""
    is_outer = len(item.parts) == 1 and is_archive(item.name) and item.refused is None
    if is_outer and not MOODLE.fullmatch(item.name) and not CANVAS.fullmatch(item.name):
        with contextlib.suppress(RefusedError), contextlib.ExitStack() as own:
            file = own.enter_context(opened(item, Budget()))
            inner = list(archive_items(file, item.name, MOST_IN_CLASS))
            if any(is_of_system(part) for each in inner for part in each.parts[:2]):
                stack.enter_context(own.pop_all())
                return [replace(each, parts=(*item.parts, *each.parts)) for each in inner]
    return [item]


def is_of_system(part: str) -> bool:
    """Whether a name is one that Moodle or Canvas gives."""
    return bool(MOODLE.fullmatch(part) or CANVAS.fullmatch(part))


def unwrap(items: list[Item], is_archive_of_class: bool) -> list[Item]:
    """Leave out folders that hold the whole class, and what else an nbgrader course consists of."""
    items = [item for item in items if not IGNORED.fullmatch(item.parts[0])]
    while is_wrapped(items, is_archive_of_class):
        items = [
            replace(item, parts=item.parts[1:]) if len(item.parts) > 1 else item for item in items
        ]
    return without_course(items)


def is_wrapped(items: Sequence[Item], is_archive_of_class: bool) -> bool:
    """Whether all lies in one folder, which is a class's and not a student's."""
    tops = {item.parts[0] for item in items if len(item.parts) > 1 or is_archive(item.name)}
    if len(tops) != 1 or any(map(is_of_system, tops)) or any(map(is_archive, tops)):
        return False
    folders = {item.parts[1] for item in items if len(item.parts) > 2}
    files = {item.parts[1] for item in items if len(item.parts) == 2}
    if tops == {"submitted"}:
        return True
    if files and all(map(CANVAS.fullmatch, files)):
        return not folders
    if len(folders) == 1 and not files:
        deeper = [replace(item, parts=item.parts[1:]) for item in items if len(item.parts) > 1]
        return is_wrapped(deeper, is_archive_of_class)
    students = {name for name in folders if not LAB_FOLDERS.fullmatch(name)}
    students |= {name for name in files if is_archive_of_class and is_archive(name)}
    return len(students) > 1 and not any(name.lower().endswith(NOTEBOOKS) for name in files)


def without_course(items: list[Item]) -> list[Item]:
    """Return what students submitted to an nbgrader course, if the items are one."""
    if not any(item.parts[0] == "submitted" and len(item.parts) > 2 for item in items):
        return items
    return [
        replace(item, parts=item.parts[1:]) if item.parts[0] == "submitted" else item
        for item in items
        if item.parts[0] not in NBGRADER_FOLDERS and item.parts != ("submitted",)
    ]


def assign(items: Sequence[Item], aside: list[str]) -> dict[Owner, Bundle]:
    """Return every student's files; what belongs to nobody is said in `aside`."""
    direct: dict[Owner, Bundle] = {}
    wrapped: dict[Owner, Bundle] = {}
    flat = canvas_folders(items)
    for item in items:
        depth = depth_of(item, flat)
        owner, name, own = owner_of(item, depth)
        if owner is None:
            aside.append(name)
            continue
        start = "/".join(item.parts[: depth + 1])
        bundle = (wrapped if depth else direct).setdefault(owner, Bundle(name, start))
        late = CANVAS.fullmatch(item.parts[depth])
        bundle.is_late |= owner.system == "canvas" and bool(late and late["late"])
        bundle.items.append(own)
    for owner, bundle in wrapped.items():
        if direct.setdefault(owner, bundle) is not bundle:
            text = f"files under this student's name lie in {bundle.found_at} as well, left aside."
            direct[owner].remarks.append(Remark(text, suspicious=True))
    return direct


def canvas_folders(items: Iterable[Item]) -> set[str]:
    """Return the folders that hold nothing but files named as Canvas names them."""
    names: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if len(item.parts) > 1 and not IGNORED.fullmatch(item.parts[1]):
            names[item.parts[0]].append("/".join(item.parts[1:]))
    return {top for top, files in names.items() if all(map(CANVAS.fullmatch, files))}


def depth_of(item: Item, flat: set[str]) -> int:
    """Return 1 if the second name in a path is Moodle's or Canvas's, else 0.

    Only the first counts if both are, so that nobody hands in under another's name.
    """
    if len(item.parts) < 2 or is_of_system(item.parts[0]):
        return 0
    is_canvas = len(item.parts) == 2 and item.parts[0] in flat
    return int(is_canvas or bool(MOODLE.fullmatch(item.parts[1])))


def owner_of(item: Item, depth: int) -> tuple[Owner | None, str, Item]:
    """Return who an item belongs to, how the download names them, and the item.

    The item is without what Moodle or Canvas put before its name. If it belongs to nobody, a
    sentence says so in place of the name.
    """
    part, rest = item.parts[depth], item.parts[depth + 1 :]
    if moodle := MOODLE.fullmatch(part):
        if moodle["kind"] != "file":
            return None, f"{part} was left aside: a text written in Moodle is no notebook.", item
        own = item if rest else replace(item, parts=(moodle["file"] or part,))
        return Owner("moodle", moodle["number"]), moodle["name"], own
    if (canvas := CANVAS.fullmatch(part)) and not rest:
        own = replace(item, parts=(canvas["file"],))
        return Owner("canvas", canvas["number"]), canvas["name"], own
    if len(item.parts) == 1 and item.refused is not None:
        return None, f"{part} {item.refused}.", item
    if len(item.parts) == 1 and not is_archive(part):
        return (
            None,
            f"{part} belongs to nobody. Put it into a folder named after its student.",
            item,
        )
    part = item.parts[0]
    name = COPY.sub("", without_ending(part)) if is_archive(part) else part
    return Owner("name", name or part), name or part, item


def without_ending(name: str) -> str:
    """Return an archive's name without its ending.

    >>> without_ending("ada.l.tar.gz")
    'ada.l'
    """
    return re.sub(r"(\.tar)?\.[a-z]+$", "", name, flags=re.IGNORECASE)


# Which file is which notebook


@dataclass
class Search:
    """The search for one student's notebooks."""

    bundle: Bundle
    wanted: Wanted
    is_canvas: bool
    budget: Budget = field(default_factory=Budget)

    def through(self, items: Iterable[Item], outer: tuple[Item, ...] = ()) -> None:
        """Search files, and the archives among them; `outer` are the archives they lie in."""
        for item in items:
            if outer:
                self.budget.files -= 1
            try:
                self.look_at(item, outer)
            except RefusedError as error:
                path = "/".join(each.path for each in (*outer, item))
                self.bundle.remarks.append(Remark(f"{path} {error}.", error.suspicious))

    def look_at(self, item: Item, outer: tuple[Item, ...]) -> None:
        """Take a file in, if it is a notebook or an archive.

        Raises:
            RefusedError: it is one, and cannot be read or must not be; or a link and the like.
        """
        if any(IGNORED.fullmatch(part) for part in item.parts):
            return
        name = item.name.lower()
        if item.refused is not None and (item.refused.matters or name.endswith(WANTED)):
            raise item.refused
        if item.refused is not None:
            return
        if is_archive(name):
            self.open(item, outer)
        elif name.endswith(OTHER_ARCHIVES):
            raise RefusedError("is an archive of a kind that is not read; ask for a zip")
        elif name.endswith(NOTEBOOKS) or (name.endswith(EXPORTS) and self.named(item.name)):
            self.consider(item, outer)

    def open(self, item: Item, outer: tuple[Item, ...]) -> None:
        """Search an archive.

        Raises:
            RefusedError: it lies too deep, or cannot be read.
        """
        if len(outer) == DEEPEST:
            raise RefusedError(f"lies in {DEEPEST} archives already", suspicious=True)
        with opened(item, self.budget) as file:
            inside = list(archive_items(file, item.name, max(self.budget.files, 0)))
            self.through(inside, (*outer, item))

    def consider(self, item: Item, outer: tuple[Item, ...]) -> None:
        """Keep a file if it is the best so far for its notebook.

        Raises:
            RefusedError: it cannot be read, or is too large.
        """
        data = self.budget.take(item, LARGEST_NOTEBOOK)
        named, path = self.named(item.name), "/".join(each.path for each in (*outer, item))
        name = by_cells(data, self.wanted.ids) or named
        if name is None:
            self.bundle.strange.append(path)
            return
        if name != named:
            self.bundle.remarks.append(Remark(f"{path} was taken for {name}, whose cells it has."))
        new = Candidate(self.rank(item, data, outer), data, path)
        old = self.bundle.best.get(name, new)
        winner, loser = (new, old) if new.rank > old.rank else (old, new)
        self.bundle.best[name] = winner
        if is_rival(loser, winner):
            self.bundle.others.append(loser.path)

    def named(self, name: str) -> str | None:
        """Return the notebook that a file's name says it is."""
        return by_name(name, self.wanted.names)

    def rank(self, item: Item, data: bytes, outer: tuple[Item, ...]) -> tuple[float, ...]:
        """Return what decides between two files for one notebook: the greater counts.

        A notebook comes before an export of one, what is not empty before what is, a student's
        copy (it is stamped) before the lab's own notebook with solutions, which those who hand in
        the whole lab hand in too, and a file before its automatic checkpoint. Among equals
        the last attempt that Canvas numbers counts, and then what was changed last: who corrects
        something saves it later. Archives keep that time; only equal times are decided by names.
        """
        attempts = [ATTEMPT.search(each.name) for each in (*outer[:1], item)]
        numbers = [int(found[1][:6]) if found else 0 for found in attempts]
        return (
            item.name.lower().endswith(NOTEBOOKS),
            bool(data.strip()),
            STAMP in data,
            "checkpoint" not in item.name,
            max(numbers) if self.is_canvas else 0,
            item.modified,
            *(each.modified for each in reversed(outer)),
        )


def is_rival(loser: Candidate, winner: Candidate) -> bool:
    """Whether a file might have counted: it differs, and is no less of a student's copy."""
    return loser.data != winner.data and loser.rank[:4] == winner.rank[:4]


def by_name(file_name: str, names: Sequence[str]) -> str | None:
    """Return the notebook that a file is named after, whatever was added by copying.

    >>> by_name("ada 01 Load_Preprocess-Copy1 (2).ipynb", ["01_load_preprocess", "03_train"])
    '01_load_preprocess'
    """
    stem = squashed(re.sub(r"\.(ipynb|py|html?|pdf)(\.[a-z]+)?$", "", file_name, flags=re.I))
    found = [
        name for name in names if re.fullmatch(rf"{squashed(name)}(copy|checkpoint)?\d*", stem)
    ]
    found = found or [name for name in names if len(squashed(name)) > 5 and squashed(name) in stem]
    return max(found, key=len, default=None)


def squashed(name: str) -> str:
    """Return a name's letters and figures, in small letters."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in name if sign.isalnum())


def by_cells(data: bytes, ids: Mapping[str, set[bytes]]) -> str | None:
    """Return the notebook that most of whose own cells are in a file, if it is a third of them."""
    there = set(CELL_ID.findall(data)) if ids else set()
    shares = {name: len(own & there) / len(own) for name, own in ids.items() if own}
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] >= 1 / 3 else None


def cell_ids(source: NotebookNode) -> set[str]:
    """Return the ids by which a notebook's cells are recognised."""
    return {name for cell in source.cells for name in (cell.id, key(cell))}


def distinctive(ids: Mapping[str, set[str]]) -> dict[str, set[bytes]]:
    """Return, for each notebook, the ids that none of the others has."""
    times = Counter(name for names in ids.values() for name in names)
    return {
        notebook: {name.encode() for name in names if times[name] == 1}
        for notebook, names in ids.items()
    }


# What comes out


def submission(student: str, owner: Owner, bundle: Bundle) -> Submission:
    """Return what was found of a student."""
    return Submission(
        student=student,
        notebooks={name: bundle.best[name].data for name in sorted(bundle.best)},
        found_at=bundle.found_at,
        full_name=unicodedata.normalize("NFC", bundle.name),
        moodle=owner.key if owner.system == "moodle" else "",
        canvas=owner.key if owner.system == "canvas" else "",
        remarks=tuple(all_remarks(bundle)),
    )


def all_remarks(bundle: Bundle) -> list[Remark]:
    """Return the remarks on a student's files, the suspicious ones first, no flood of them."""
    remarks = sorted(bundle.remarks, key=lambda remark: not remark.suspicious)
    if len(remarks) > MOST_REMARKS:
        more = len(remarks) - MOST_REMARKS
        remarks = [*remarks[:MOST_REMARKS], Remark(f"{more} more remarks on files are left out.")]
    if bundle.is_late:
        remarks.append(Remark("Canvas says that this was handed in late."))
    if bundle.others:
        chosen = ", ".join(each.path for each in bundle.best.values())
        others = ", ".join(bundle.others[:MOST_REMARKS])
        text = f"more than one file would do; the latest count: {chosen}; and not: {others}."
        remarks.append(Remark(text))
    if not bundle.best:
        seen = f" Found instead: {', '.join(bundle.strange[:3])}." if bundle.strange else ""
        remarks.append(Remark(f"{bundle.found_at} holds none of the lab's notebooks.{seen}"))
    return remarks


def student_names(bundles: Mapping[Owner, Bundle]) -> dict[Owner, str]:
    """Return a name for each student that no other has, whatever the case of letters.

    It is the same in the next download, whoever else is in it: Moodle's and Canvas's students have
    their numbers in it, and a folder's name that had to be changed a few digits of its hash.
    """
    names: dict[Owner, str] = {}
    taken: set[str] = set()
    for owner in sorted(bundles, key=lambda each: (each.system, each.key)):
        original = bundles[owner].name
        name = fit(original)
        if owner.system != "name":
            name = f"{name}_{owner.key}"
        elif name != normal(original) or name.casefold() in taken:
            digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name}-{digest[:HASH]}"
        count, base = 1, name
        while name.casefold() in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name.casefold())
        names[owner] = name
    return names


def fit(name: str) -> str:
    """Return a name that is fit for a folder on every system and for nbgrader, in any script.

    >>> fit("Ada Lovelace"), fit("../É. Ŝ/con"), fit("Con"), fit("..")
    ('Ada_Lovelace', 'É._Ŝ-con', 'student-Con', 'student')
    """
    name = re.sub(r"\s+", "_", normal(name))
    signs = [sign if is_plain(sign) else "-" for sign in name if unicodedata.category(sign) != "Cf"]
    name = "".join(signs).encode()[:LONGEST_ID].decode(errors="ignore")
    name = name.lstrip(".-@_").rstrip(".-_ ") or "student"
    return f"student-{name}" if RESERVED.fullmatch(name) else name


def normal(name: str) -> str:
    """Return a name with each accented letter as one sign, as zips made on a Mac have them not."""
    return unicodedata.normalize("NFC", name).strip()


def is_plain(sign: str) -> bool:
    """Whether a sign is a letter, a figure, a part of one, or harmless."""
    return sign.isalnum() or unicodedata.category(sign)[0] == "M" or sign in "_-.@"
