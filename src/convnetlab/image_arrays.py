"""Many picture files as one array: in memory, or in a cache on disk that is read by slices.

Both ways decode with the same function, so they give the same bits. The cache lies in
`runs/image-cache/`, a folder a set; any of them may be deleted at any time, and is made anew
when it is wanted.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
import psutil
from numpy.typing import NDArray

from convnetlab.errors import LabError
from convnetlab.handoff import group_folder, not_written, read_json, write_json
from convnetlab.image_files import UnreadableImage, read_image

Say = Callable[[str], object]
Pixels = NDArray[np.uint8]

CACHE, MARKER = "image-cache", "cache.json"  # the folder below runs/, and what it is known by
DECODER = 1  # to be raised whenever `read_image` gives other pixels than before
CHUNK = 32 * 2**20  # bytes of pixels that are decoded between two writes
PATIENCE = 0.5  # seconds between two looks at another process's work
SPARE_ROOM = 100 * 2**20  # bytes that a cache leaves free on its disk


@dataclass(frozen=True)
class Form:
    """The form that every picture is brought into; see `image_files.read_image`."""

    size: int
    fit: str
    colour: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.size, self.size, 3 if self.colour == "rgb" else 1

    def bytes_of(self, count: int) -> int:
        """Return how many bytes the pixels of `count` pictures take."""
        return count * self.size**2 * self.shape[2]


@dataclass(frozen=True)
class Wanted:
    """Which pictures of a folder are wanted, and in which order.

    Attributes:
        folder: where the files are.
        files: their paths, relative to the folder, in the order wanted.
        form: what they are brought into.
        without: gives the order wanted when some of the files prove unreadable.
    """

    folder: Path
    files: Sequence[str]
    form: Form
    without: Callable[[Iterable[str]], Sequence[str]]


@dataclass(frozen=True)
class Pictures:
    """Pixels, uint8 (N, H, W, C), a row a readable file in order; and why others have none."""

    pixels: Pixels
    unreadable: dict[str, str]


def collect(wanted: Wanted, limit: int, say: Say) -> Pictures:
    """Decode pictures into memory, or, if they would take more than `limit` bytes, into a cache.

    Raises:
        LabError: the cache does not fit on its disk, or cannot be written.
    """
    if wanted.form.bytes_of(len(wanted.files)) > limit:
        return cached(wanted, say)
    pixels = np.empty((len(wanted.files), *wanted.form.shape), np.uint8)
    unreadable: dict[str, str] = {}
    for start, block in blocks(wanted, unreadable, say):
        pixels[start : start + len(block)] = block
    return Pictures(put_in_order(pixels, wanted, unreadable), unreadable)


def blocks(wanted: Wanted, unreadable: dict[str, str], say: Say) -> Iterator[tuple[int, Pixels]]:
    """Decode all files, in parallel; yield the place of a block's first file, and its pixels.

    Unreadable files get a row of zeros and an entry in `unreadable`: the file, the reason. Says
    every tenth how far it is, where there is more than one block.
    """
    count, size = len(wanted.files), max(1, CHUNK // wanted.form.bytes_of(1))
    # Threads do: Pillow lets go of Python's lock while it decodes and resizes.
    with ThreadPoolExecutor(processors()) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters comes as an error
        for start in range(0, count, size):
            files = wanted.files[start : start + size]
            block = np.zeros((len(files), *wanted.form.shape), np.uint8)

            def read(
                rows: NDArray[np.int64], files: Sequence[str] = files, block: Pixels = block
            ) -> None:
                for row in rows:
                    try:
                        block[row] = read_image(wanted.folder / files[row], **asdict(wanted.form))
                    except UnreadableImage as error:
                        unreadable[files[row]] = error.reason

            # A few pictures a task: to hand over a single small one costs as much as to read it.
            list(pool.map(read, np.array_split(np.arange(len(files)), -(-len(files) // 16))))
            yield start, block
            done = start + len(files)
            if size < count and done * 10 // count > start * 10 // count:
                say(f"  {done:,} of {count:,} pictures")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def put_in_order(pixels: Pixels, wanted: Wanted, unreadable: dict[str, str]) -> Pixels:
    """Return the rows of the readable files in the order wanted; they are moved in place."""
    if not unreadable:
        return pixels
    place = {file: row for row, file in enumerate(wanted.files)}
    order = wanted.without(unreadable)
    move(pixels, [place[file] for file in order])
    return pixels[: len(order)]


def move(pixels: Pixels, sources: Sequence[int]) -> None:
    """Make row i what row `sources[i]` was, in place, with one spare row; later rows are lost.

    >>> rows = np.array([10, 11, 12, 13])
    >>> move(rows, [3, 0, 1]); rows[:3].tolist()
    [13, 10, 11]
    """
    rest = set(range(len(pixels))).difference(sources)
    whole = [*sources, *sorted(rest)]
    done = np.arange(len(whole)) == whole
    for start in range(len(whole)):
        if done[start]:
            continue
        spare, row = pixels[start].copy(), start
        while whole[row] != start:
            pixels[row] = pixels[whole[row]]
            done[row], row = True, whole[row]
        pixels[row] = spare
        done[row] = True


def cached(wanted: Wanted, say: Say) -> Pictures:
    """Return pictures from their cache, made first if there is none that fits.

    Raises:
        LabError: it does not fit on its disk, or cannot be written.
    """
    root = group_folder(CACHE, MARKER)
    if not (root / MARKER).is_file():
        write_json(root / MARKER, {"made_by": "convnetlab", "delete": "whenever you like"})
    place = root / key_of(wanted)
    wait_for_others(place, say)
    found = open_cache(place, wanted)
    if found is None:
        announce(place, wanted, say)
        build(place, wanted, say)
        found = open_cache(place, wanted)
    if found is None:
        raise LabError(f"{place} was changed while it was made. Delete it and run this again.")
    return found


def key_of(wanted: Wanted) -> str:
    """Return 16 hexadecimal digits for all that decides the pixels and their order.

    A file is known by its name, its size and the time of its last change.
    """
    digest = hashlib.sha256()
    known = [str(wanted.folder), asdict(wanted.form), DECODER, PIL.__version__]
    digest.update(json.dumps(known).encode())
    for file in wanted.files:
        try:
            found = (wanted.folder / file).stat()
            digest.update(repr((file, found.st_size, found.st_mtime_ns)).encode())
        except OSError:  # it will prove unreadable
            digest.update(repr((file, None)).encode())
    return digest.hexdigest()[:16]


def open_cache(place: Path, wanted: Wanted) -> Pictures | None:
    """Return a finished cache's pictures, mapped from the file; or None if it is none, or torn."""
    try:
        record = read_json(place / "record.json")
        pixels = np.load(place / "pixels.npy", mmap_mode="r")
        if record["order"] != list(wanted.without(record["unreadable"])):
            return None
    except (LabError, OSError, ValueError, KeyError):
        return None
    return Pictures(pixels.view(np.ndarray)[: len(record["order"])], record["unreadable"])


def wait_for_others(place: Path, say: Say) -> None:
    """Wait while another process of this machine makes the same; clear away what killed ones left.

    Nothing that is being made has the name of a finished cache.
    """
    told = False
    while True:
        alive = [left for left in place.parent.glob(f".*-{here()}-*") if not cleared(left)]
        if not any(left.name.startswith(f".{place.name}-") for left in alive):
            return
        if not told:
            say("Another process decodes the same pictures; waiting for it.")
            told = True
        time.sleep(PATIENCE)


def cleared(left: Path) -> bool:
    """Delete a cache in the making if its maker is no more, and return whether it is gone."""
    process = int(left.name.split("-")[-2])
    if process != os.getpid() and psutil.pid_exists(process):
        return False
    shutil.rmtree(left, ignore_errors=True)
    return True


def here() -> str:
    """Return this machine's name, as it stands in file names."""
    return "".join(sign if sign.isalnum() else "_" for sign in socket.gethostname())


def announce(place: Path, wanted: Wanted, say: Say) -> None:
    """Say how large the cache will be, and whether older ones can go.

    Raises:
        LabError: it does not fit on the disk.
    """
    count = len(wanted.files)
    needed, free = wanted.form.bytes_of(count), shutil.disk_usage(place.parent).free
    if needed + SPARE_ROOM > free:
        raise LabError(
            f"{count:,} pictures of {wanted.form.size} × {wanted.form.size} take "
            f"{needed / 1e9:.1f} GB on disk, and {place.parent} has {free / 1e9:.1f} GB free. Free "
            "space (older sets there may be deleted), take a smaller size, or set CONVNETLAB_RUNS "
            "to a folder on a larger disk."
        )
    say(
        f"Decoding {count:,} pictures once into {place}: {needed / 1e6:,.0f} MB, which may be "
        "deleted whenever it is no longer wanted."
    )
    for other in sorted(place.parent.glob("*/record.json")):
        with contextlib.suppress(LabError, KeyError):  # a damaged record tells nothing
            if other.parent != place and read_json(other)["folder"] == str(wanted.folder):
                say(f"  Made of that folder earlier, with other files or options: {other.parent}")


def build(place: Path, wanted: Wanted, say: Say) -> None:
    """Make a cache under another name, and give it its own in one step when it is whole.

    Raises:
        LabError: it cannot be written.
    """
    making = None
    try:
        prefix = f".{place.name}-{here()}-{os.getpid()}-"
        making = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
        unreadable = write_pixels(making / "pixels.npy", wanted, say)
        record = {
            "folder": str(wanted.folder),
            "form": asdict(wanted.form),
            "order": list(wanted.without(unreadable)),
            "unreadable": unreadable,
        }
        write_json(making / "record.json", record)
        making.chmod(0o755)
        if open_cache(place, wanted) is None:  # else another process was faster
            shutil.rmtree(place, ignore_errors=True)  # torn
            making.rename(place)
    except OSError as error:
        raise not_written(place, error) from None
    finally:
        if making is not None:
            shutil.rmtree(making, ignore_errors=True)


def write_pixels(path: Path, wanted: Wanted, say: Say) -> dict[str, str]:
    """Write the rows of all files as one `.npy`, readable ones first; return the unreadable."""
    unreadable: dict[str, str] = {}
    shape = (len(wanted.files), *wanted.form.shape)
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for _, block in blocks(wanted, unreadable, say):
            stream.write(block.data)
    if unreadable:
        put_in_order(np.load(path, mmap_mode="r+"), wanted, unreadable)
    return unreadable
