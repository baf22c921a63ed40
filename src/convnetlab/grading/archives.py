"""Listing and reading the files of folders and archives that cannot be trusted.

Nothing is ever extracted to disk, no link is followed, and nothing but regular files is opened.
"""

import gzip
import io
import os
import re
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

MIB = 2**20
LARGEST_NOTEBOOK = 50 * MIB
LARGEST_ARCHIVE = 300 * MIB
LARGEST_STUDENT = 1024 * MIB  # all that is read for one student
MOST_FILES = 20_000  # in one student's archives
MOST_LEVELS = 50  # folders in folders
ENTRY = 200  # bytes of an archive's table of contents that a file takes, with a long name
RATIO = 200  # packed more tightly than this, what is larger than a MiB is taken for a bomb

ZIPS = (".zip",)
TARS = (".tar", ".tar.gz", ".tgz")
OTHER_ARCHIVES = (".rar", ".7z", ".tar.bz2", ".tar.xz", ".gz")
NOTEBOOKS = (".ipynb", ".ipynb.txt", ".ipynb.json")  # browsers add the latter two
EXPORTS = (".py", ".html", ".htm", ".pdf")
WANTED = NOTEBOOKS + EXPORTS + ZIPS + TARS


class RefusedError(Exception):
    """A file is not read; the message ends a sentence that begins with its name."""

    def __init__(self, reason: str, suspicious: bool = False) -> None:
        """Say why, and whether it may be an attempt to do harm."""
        super().__init__(reason)
        self.suspicious = suspicious

    @property
    def matters(self) -> bool:
        """Whether it is to be said whatever the file is: it may be an attempt, or hide others."""
        return self.suspicious or str(self).startswith("cannot be read")


@dataclass(frozen=True)
class Item:
    """A file of a folder or an archive, or something in its place.

    Attributes:
        parts: the names of its folders and its own.
        modified: seconds since 1970; 0 if unknown.
        read: returns its content, of at most so many bytes; raises `RefusedError`.
        refused: why it is not to be read, where that is known already.
        place: its path, if it is a file on disk.
    """

    parts: tuple[str, ...]
    modified: float
    read: Callable[[int], bytes]
    refused: RefusedError | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.parts[-1]

    @property
    def path(self) -> str:
        """The whole path, for people."""
        return "/".join(self.parts)


@dataclass
class Budget:
    """What may still be read for one student: bytes of content, and files in archives."""

    content: int = LARGEST_STUDENT
    files: int = MOST_FILES

    def take(self, item: Item, limit: int) -> bytes:
        """Read a file.

        Raises:
            RefusedError: it is too large, or nothing is left to read it with.
        """
        if item.refused is not None:
            raise item.refused
        data = item.read(min(limit, self.content))
        self.content -= len(data)
        return data


def nothing(limit: int) -> bytes:
    """Stand in for reading what is not to be read."""
    raise RefusedError("is not to be read")


def refuse(parts: tuple[str, ...], reason: str, suspicious: bool = False) -> Item:
    """Return an item that says why it is not read."""
    return Item(parts, 0.0, nothing, RefusedError(reason, suspicious))


def too_deep(parts: tuple[str, ...]) -> Item:
    """Return what stands for a file in too many folders."""
    reason = f"holds more than {MOST_LEVELS} folders in one another"
    return refuse(parts[:2], reason, suspicious=True)


def readable(name: str) -> str:
    """Return a file's name as text that can be printed and stored anywhere.

    >>> readable("a\\udcff\\nb\\u202e")
    'a�b'
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(sign for sign in text if sign.isprintable() or sign in "\u200c\u200d")


def opened(item: Item, budget: Budget) -> IO[bytes]:
    """Open an archive where it is, or in memory if it lies in another one.

    Raises:
        RefusedError: it cannot be read, or is too large.
    """
    if item.refused is None and item.place:
        return open_file(item.place)
    return io.BytesIO(budget.take(item, LARGEST_ARCHIVE))


def is_archive(name: str) -> bool:
    """Whether the name is one of an archive that can be read."""
    return name.lower().endswith(ZIPS + TARS)


def folder_items(folder: Path) -> Iterator[Item]:
    """List a folder and all folders in it; empty folders and what cannot be read are listed too."""
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        place, parts = waiting.pop()
        try:
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield refuse(parts or (place.name,), f"cannot be read ({error.strerror})")
            continue
        if not entries and parts:
            yield refuse(parts, "is an empty folder")
        for entry in entries:
            names = (*parts, readable(entry.name))
            if len(names) > MOST_LEVELS:
                yield too_deep(names)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), names))
            else:
                yield folder_item(entry, names)


def folder_item(entry: os.DirEntry[str], parts: tuple[str, ...]) -> Item:
    """Return a folder's entry that is no folder."""
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError as error:
        return refuse(parts, f"cannot be read ({error.strerror})")
    if stat.S_ISLNK(state.st_mode):
        return refuse(parts, "is a link, and was not followed", suspicious=True)
    if not stat.S_ISREG(state.st_mode):
        return refuse(parts, "is no regular file, and was not opened", suspicious=True)
    return Item(parts, state.st_mtime, partial(read_file, entry.path), place=entry.path)


def open_file(path: str) -> IO[bytes]:
    """Open a regular file, and wait for nothing else.

    Raises:
        RefusedError: it is a link, no file, or cannot be read.
    """
    # What was listed may have been exchanged for a link or a pipe since.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        raise RefusedError(f"cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RefusedError("is no regular file, and was not opened", suspicious=True)
    return file


def read_file(path: str, limit: int) -> bytes:
    """Read a regular file.

    Raises:
        RefusedError: it is a link, no file, too large, or cannot be read.
    """
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise too_large(size, limit)
            return within(file.read(limit + 1), limit)
        except OSError as error:
            raise RefusedError(f"cannot be read ({error.strerror})") from None


def within(data: bytes, limit: int) -> bytes:
    """Return the data.

    Raises:
        RefusedError: there is more of it than `limit`.
    """
    if len(data) > limit:
        raise too_large(len(data), limit)
    return data


def too_large(size: int, limit: int) -> RefusedError:
    """Return the refusal of a file that is too large."""
    return RefusedError(
        f"is too large ({size / MIB:.0f} MB or more; {limit / MIB:.0f} MB are read)"
    )


def archive_items(data: IO[bytes], name: str, most: int = MOST_FILES) -> Iterator[Item]:
    """List an archive's files.

    Args:
        data: the archive; stays open as long as its items are read.
        name: tells its kind.
        most: so many files, at most.

    Raises:
        RefusedError: it is damaged, too crowded, or of another kind than its name says.
    """
    listing = zip_items if name.lower().endswith(ZIPS) else tar_items
    try:
        yield from listing(data, most)
    except RefusedError:
        raise
    except Exception as error:  # whatever hostile bytes make the libraries raise
        raise RefusedError(f"cannot be read as an archive ({summary(error)})") from None


def summary(error: Exception) -> str:
    """Return an error in a few words."""
    return readable(str(error))[:100] or type(error).__name__


def zip_items(data: IO[bytes], most: int) -> Iterator[Item]:
    """List a zip's files (see `archive_items`)."""
    # Before `ZipFile` makes an object of every entry. The sixth value is the size of them all.
    end = zipfile._EndRecData(data)  # type: ignore[attr-defined]
    if end is not None and end[5] > most * ENTRY:
        raise RefusedError(f"says that it holds more than {most} files", suspicious=True)
    archive = zipfile.ZipFile(data)
    files = [info for info in archive.infolist() if not info.is_dir()]
    if len(files) > most:
        raise RefusedError(f"holds more than {most} files", suspicious=True)
    for info in files:
        yield zip_item(archive, info)


def zip_item(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Item:
    """Return a zip's member."""
    parts, is_outside = safe_parts(zip_name(info))
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    size, packed = info.file_size, max(info.compress_size, 1)
    if is_outside:
        return refuse(parts, "has a path that leads out of the archive", suspicious=True)
    if len(parts) > MOST_LEVELS:
        return too_deep(parts)
    if kind == stat.S_IFLNK:
        return refuse(parts, "is a link, and was not followed", suspicious=True)
    if kind not in (0, stat.S_IFREG):
        return refuse(parts, "is no regular file", suspicious=True)
    if info.flag_bits & 1:
        return refuse(parts, "is locked with a password")
    if size > MIB and size / packed > RATIO:
        return refuse(parts, f"would unpack to {size / packed:.0f} times its size", suspicious=True)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return refuse(parts, "is compressed in a way that is not read here")
    return Item(parts, seconds(info), partial(read_member, archive, info))


def zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; many programs write UTF-8 without saying so."""
    if not info.flag_bits & 0x800:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename


def seconds(info: zipfile.ZipInfo) -> float:
    """Return when a member was changed, in seconds since 1970; 0 if it does not say."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """Read a zip's member.

    Raises:
        RefusedError: it is too large or damaged.
    """
    if info.file_size > limit:
        raise too_large(info.file_size, limit)
    try:
        with archive.open(info) as file:
            return within(file.read(limit + 1), limit)
    except RefusedError:
        raise
    except Exception as error:  # whatever hostile bytes make the library raise
        raise RefusedError(f"is damaged ({summary(error)})") from None


def safe_parts(path: str) -> tuple[tuple[str, ...], bool]:
    r"""Return a member's path as readable names, and whether it leads out of the archive.

    One that does is returned in one piece.

    >>> safe_parts("ada\\work.ipynb"), safe_parts("../../etc/passwd"), safe_parts("C:/x")
    ((('ada', 'work.ipynb'), False), (('../../etc/passwd',), True), (('C:/x',), True))
    """
    path = path.replace("\\", "/")
    names = [readable(name) for name in path.split("/")]
    if path.startswith("/") or ".." in names or re.match("[A-Za-z]:", path):
        return (readable(path),), True
    return tuple(name for name in names if name not in ("", ".")) or ("?",), False


class Bounded(io.RawIOBase):
    """A stream that ends with a refusal once too much has been read from it."""

    def __init__(self, stream: io.BufferedIOBase | IO[bytes], limit: int) -> None:
        """Take a stream, and how much may be read from it."""
        super().__init__()
        self.stream, self.left = stream, limit

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self.stream.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise RefusedError("unpacks to too much", suspicious=True)
        return data


def tar_items(data: IO[bytes], most: int) -> Iterator[Item]:
    """List a tar's files, read as the stream passes (see `archive_items`)."""
    is_packed = data.read(2) == b"\x1f\x8b"
    data.seek(0)
    stream = Bounded(gzip.GzipFile(fileobj=data) if is_packed else data, LARGEST_ARCHIVE)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for count, member in enumerate(archive):
            if count == most:
                raise RefusedError(f"holds more than {most} files", suspicious=True)
            if not member.isdir():
                yield tar_item(archive, member)


def tar_item(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Item:
    """Return a tar's member; what may be a notebook or an archive is read at once."""
    parts, is_outside = safe_parts(member.name)
    if is_outside:
        return refuse(parts, "has a path that leads out of the archive", suspicious=True)
    if len(parts) > MOST_LEVELS:
        return too_deep(parts)
    if member.issym() or member.islnk():
        return refuse(parts, "is a link, and was not followed", suspicious=True)
    if not member.isfile() or member.issparse():
        return refuse(parts, "is no regular file", suspicious=True)
    if member.size > LARGEST_NOTEBOOK or not parts[-1].lower().endswith(WANTED):
        return Item(parts, float(member.mtime), partial(beyond, member.size))
    file = archive.extractfile(member)
    content = file.read() if file is not None else b""
    return Item(parts, float(member.mtime), partial(within, content))


def beyond(size: int, limit: int) -> bytes:
    """Stand in for reading a member that was passed over."""
    raise too_large(size, min(limit, LARGEST_NOTEBOOK))
