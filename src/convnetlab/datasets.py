"""Data sets of labelled pictures, each loaded into one type.

A source is a name (`mnist`, `digits`) or `kind:FOLDER` (`idx:FOLDER`, `folder:FOLDER`), with
options after a question mark (`folder:FOLDER?size=64&colour=grey`). Adding one is a function and a
line in `SOURCES`.
"""

import gzip
import hashlib
import inspect
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.errors import LabError
from convnetlab.image_arrays import Form, Say, Wanted, collect
from convnetlab.image_files import COLOURS, FITS
from convnetlab.image_folders import Listing, natural, scan
from convnetlab.paths import data_folder

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801
DIGITS = tuple("0123456789")
SMALLEST, LARGEST = 8, 2048  # sizes of pictures from a folder, in pixels


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures: what there is to learn from, and what is kept for the test.

    Pixels are uint8, 0..255, of shape (N, H, W, C); labels are int64, 0..classes-1, of shape (N,).

    Attributes:
        validation: int64 indices of the training pictures that the source keeps for validation;
            None where it leaves that to us.
        train_files: the training pictures' files, relative to the source's folder; empty for
            sources without them.
        test_files: likewise of the test pictures.
        unreadable: files that were left out, and why.
    """

    source: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    validation: NDArray[np.int64] | None = None
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every picture."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def train_batch(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the learning pictures with these indices, uint8 (N, H, W, C)."""
        return self.train_images[indices]

    def test_batch(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the test pictures with these indices, uint8 (N, H, W, C)."""
        return self.test_images[indices]

    def content_hash(self) -> str:
        """Return the SHA-256 over shapes, pixels and labels, as 64 hexadecimal digits.

        Where the source fixes which pictures are for validation, over their indices too.
        """
        digest = hashlib.sha256()
        arrays: list[NDArray[Any]] = [
            self.train_images,
            self.train_labels,
            self.test_images,
            self.test_labels,
        ]
        for array in arrays if self.validation is None else [*arrays, self.validation]:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def specification(self) -> dict[str, object]:
        """Return what a later stage needs to load the same pictures again, ready for JSON."""
        return {
            "source": self.source,
            "image_shape": list(self.image_shape),
            "classes": list(self.classes),
            "content_sha256": self.content_hash(),
        }


def load(source: str, say: Say = print) -> Dataset:
    """Load a data set.

    Args:
        source: `mnist`; `digits` (scikit-learn's, 8×8); `idx:FOLDER`, four IDX files; or
            `folder:FOLDER`, pictures in sub-folders. The options of the last two, after a
            question mark, are those of `load_idx` and `load_folder`.
        say: gets a line now and then when pictures have to be decoded, and what was unreadable.

    Raises:
        LabError: the source is unknown, or its files are not what they should be.

    >>> load("digits").image_shape
    (8, 8, 1)
    """
    kind, place, query = parse(source)
    reader = SOURCES.get(kind)
    if reader is None or kind.endswith(":") != bool(place):
        names = ", ".join(f"{name}FOLDER" if name.endswith(":") else name for name in SOURCES)
        raise LabError(f"dataset is {source!r}; it must be one of: {names}.")
    allowed = options_of(reader)
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            name = kind.removesuffix(":")
            raise LabError(f"dataset is {source!r}: no option {option!r}; {name} has: {known}.")
    if reader is load_folder:
        options["say"] = say
    dataset = reader(place, **options)
    check(dataset)
    return dataset


def parse(source: str) -> tuple[str, str, str]:
    """Return a source's kind, with its colon, its place, and its options as one text.

    A question mark in a folder's own name belongs to the name.

    >>> parse("idx:letters?transpose=true")
    ('idx:', 'letters', 'transpose=true')
    """
    kind, colon, place = source.partition(":")
    if not colon:
        kind, _, query = source.partition("?")
        return kind, "", query
    if Path(place).expanduser().is_dir() or "?" not in place:
        return kind + colon, place, ""
    place, _, query = place.rpartition("?")
    return kind + colon, place, query


def options_of(reader: Callable[..., Dataset]) -> list[str]:
    """Return the names of a reader's options: all that it takes by position, but for the place."""
    parameters = inspect.signature(reader).parameters.values()
    return [taken.name for taken in parameters if taken.kind is not taken.KEYWORD_ONLY][1:]


def load_specified(specification: Mapping[str, Any], say: Say = print) -> Dataset:
    """Load the data set that `Dataset.specification` described; `say` as in `load`.

    Raises:
        LabError: its pictures or labels have changed since.
    """
    dataset = load(specification["source"], say)
    for name, found in dataset.specification().items():
        if found != specification[name] and name == "content_sha256":
            raise LabError(
                f"The data set {specification['source']!r} has changed since the split was made: "
                "its pictures or labels are others. Run the notebook 01_load_preprocess again."
            )
        if found != specification[name]:
            raise LabError(
                f"The data set {specification['source']!r} has changed since the split was made: "
                f"{name} is {found}, expected {specification[name]}. "
                "Run the notebook 01_load_preprocess again."
            )
    return dataset


def check(dataset: Dataset) -> None:
    """Refuse a data set that nothing can be learnt from.

    Raises:
        LabError: no pictures, another number of labels than pictures, one class only, or labels
            that are not 0, 1, 2, …
    """
    for part, images, labels in (
        ("training", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        if len(images) != len(labels):
            raise LabError(
                f"{dataset.source}: {len(images)} {part} pictures and {len(labels)} labels; "
                "there must be one label for each picture."
            )
        if not images.size:
            raise LabError(f"{dataset.source}: the {part} set is empty; it needs pictures.")
    if dataset.train_images.shape[1:] != dataset.test_images.shape[1:]:
        raise LabError(
            f"{dataset.source}: training pictures are {dataset.train_images.shape[1:]} and test "
            f"pictures {dataset.test_images.shape[1:]}; both must have one size."
        )
    found = np.unique(dataset.train_labels)
    if len(found) < 2:
        raise LabError(
            f"{dataset.source}: all training labels are {found[0]}; a classifier needs at least "
            "two classes."
        )
    every = np.union1d(found, dataset.test_labels)
    if every[0] < 0 or every[-1] >= len(dataset.classes):
        raise LabError(
            f"{dataset.source}: labels run from {every[0]} to {every[-1]}, and there are "
            f"{len(dataset.classes)} classes; labels must run from 0 to {len(dataset.classes) - 1}."
        )


def load_mnist(_: str) -> Dataset:
    """MNIST from `data/mnist`, its four files held against their published MD5."""
    folder = data_folder() / "mnist"
    arrays = []
    for name, expected in MNIST_MD5.items():
        path = find(folder, name)
        content = read_bytes(path)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != expected:
            raise LabError(
                f"{path}: the MD5 of the unpacked bytes is {found}, expected {expected}. "
                "Restore the file with: git checkout -- data/mnist"
            )
        arrays.append(parse_idx(content, path, magic_of(name)))
    return assemble("mnist", arrays, DIGITS)


def load_digits(_: str) -> Dataset:
    """scikit-learn's 8×8 digits: 1,797 pictures, split 80/20, stratified, with a fixed seed.

    Its floats 0..16 become uint8 0..255 (times 255/16, rounded).
    """
    from sklearn.datasets import load_digits as load_from_sklearn
    from sklearn.model_selection import train_test_split

    bunch = load_from_sklearn()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(images)), test_size=0.2, stratify=bunch.target, random_state=0
    )
    labels = bunch.target
    return assemble("digits", [images[train], labels[train], images[test], labels[test]], DIGITS)


def load_idx(place: str, transpose: str = "false", first_label: str = "0") -> Dataset:
    """Four IDX files in a folder, gzipped or not, under MNIST's names or with a common prefix.

    Args:
        place: the folder. An optional `classes.txt` there has one class name a line.
        transpose: `true` swaps rows and columns of every picture (EMNIST is stored so).
        first_label: what the smallest label is called in the files (1 in EMNIST's letters).
    """
    folder = Path(place).expanduser().resolve()
    if transpose not in ("true", "false") or not first_label.isdecimal():
        raise LabError(
            f"dataset options: transpose is {transpose!r} and first_label is {first_label!r}; "
            "transpose must be true or false, first_label a whole number."
        )
    if not folder.is_dir():
        raise LabError(f"{folder} is no folder; idx:FOLDER needs one with the four IDX files.")
    arrays = [
        read_idx(folder, name).astype(np.int64) if "idx1" in name else read_idx(folder, name)
        for name in MNIST_MD5
    ]
    prefixes = {prefix_of(find(folder, name), name) for name in MNIST_MD5}
    if len(prefixes) > 1:
        raise LabError(
            f"{folder}: the four files have the prefixes {sorted(prefixes)}, expected one for all."
        )
    labels = np.concatenate([arrays[1], arrays[3]])
    first, smallest = int(first_label), int(labels.min(initial=255))
    if labels.size and smallest != first:
        raise LabError(
            f"{folder}: the smallest label is {smallest}, expected {first}. If the files count "
            f"from {smallest}, write dataset as 'idx:FOLDER?first_label={smallest}' (EMNIST's "
            "letters need '?first_label=1&transpose=true')."
        )
    if transpose == "true":
        arrays[0], arrays[2] = arrays[0].swapaxes(1, 2), arrays[2].swapaxes(1, 2)
    arrays[1], arrays[3] = arrays[1] - first, arrays[3] - first
    count = int(labels.max(initial=first)) - first + 1
    source = f"idx:{folder}?transpose={transpose}&first_label={first_label}"
    return assemble(source, arrays, class_names(folder, count))


def class_names(folder: Path, count: int) -> tuple[str, ...]:
    """Return the lines of `classes.txt`, or "0", "1", … where there is none."""
    path = folder / "classes.txt"
    if not path.is_file():
        return tuple(str(label) for label in range(count))
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) < count:
        raise LabError(f"{path} names {len(names)} classes, and the labels need {count}.")
    return names


def find(folder: Path, name: str) -> Path:
    """Return the one file called `name`, gzipped or not, with a prefix or without.

    Raises:
        LabError: the folder or the file is missing, or several prefixes fit.
    """
    if not folder.is_dir():
        raise LabError(f"{folder} is missing; it must hold the file {name}.gz or {name}.")
    spellings = spellings_of(name)
    found = {
        path.name.removesuffix(".gz"): path
        for path in sorted(folder.iterdir())
        if path.name.removesuffix(".gz").endswith(spellings)
        and path.is_file()
        and not path.name.startswith(".")
    }
    candidates = [found[spelling] for spelling in spellings if spelling in found][:1]
    candidates = candidates or list(found.values())
    if len(candidates) > 1:
        listed = ", ".join(path.name for path in candidates)
        raise LabError(f"{folder} has several files for {name}: {listed}. Leave one set of them.")
    if not candidates:
        raise LabError(f"{folder} has no {name} or {name}.gz (with any prefix).")
    return candidates[0]


def spellings_of(name: str) -> tuple[str, ...]:
    """Return how MNIST, its original distribution and EMNIST call a file."""
    return (name, name.replace("-idx", ".idx"), name.replace("t10k", "test"))


def prefix_of(path: Path, name: str) -> str:
    """Return what stands before `name`, in any spelling, in a file's name."""
    stem = path.name.removesuffix(".gz")
    spelling = next(spelling for spelling in spellings_of(name) if stem.endswith(spelling))
    return stem.removesuffix(spelling)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if it is gzipped.

    Raises:
        LabError: it cannot be read, or the gzip stream is cut short or damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LabError(f"{path} is truncated or damaged ({error}). Copy it again.") from None
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}.") from None


def parse_idx(content: bytes, path: Path, magic: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file: uint8 (N, H, W) for pictures, (N,) for labels.

    The layout: a big-endian magic number whose last byte is the number of dimensions, one 32-bit
    size a dimension, then the bytes.

    Args:
        content: the unpacked bytes.
        path: named in errors.
        magic: `IMAGES_MAGIC` or `LABELS_MAGIC`.

    Raises:
        LabError: another magic number, or another number of bytes than the header promises.
    """
    start = 4 + 4 * (magic & 0xFF)
    found = int.from_bytes(content[:4], "big")
    if len(content) < start or found != magic:
        kind = "pictures" if magic == IMAGES_MAGIC else "labels"
        raise LabError(
            f"{path} begins with {found:#010x}, expected {magic:#010x}: "
            f"it is no IDX file of {kind}."
        )
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    promised, there = math.prod(sizes), len(content) - start
    if promised != there:
        shape = "×".join(str(size) for size in sizes)
        raise LabError(
            f"{path}: the header promises {shape} = {promised} bytes, and {there} follow. "
            "The file is damaged; copy it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read_idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """Find, read and parse one of the four files of an IDX data set."""
    path = find(folder, name)
    return parse_idx(read_bytes(path), path, magic_of(name))


def magic_of(name: str) -> int:
    """Return the magic number that a file called so must begin with."""
    return IMAGES_MAGIC if "idx3" in name else LABELS_MAGIC


def assemble(source: str, arrays: Sequence[NDArray[Any]], classes: tuple[str, ...]) -> Dataset:
    """Make a `Dataset` of training pictures, labels, test pictures, labels, (N, H, W) and (N,)."""
    return Dataset(
        source=source,
        train_images=np.ascontiguousarray(arrays[0])[..., np.newaxis],
        train_labels=arrays[1].astype(np.int64),
        test_images=np.ascontiguousarray(arrays[2])[..., np.newaxis],
        test_labels=arrays[3].astype(np.int64),
        classes=classes,
    )


def load_folder(
    place: str,
    size: str = "128",
    fit: str = "pad",
    colour: str = "rgb",
    test: str = "0.2",
    seed: str = "0",
    memory: str = "100",
    *,
    say: Say = print,
) -> Dataset:
    """Pictures in one sub-folder a class, or in such below train/, validation/ and test/.

    Where there is no test/, a share of each class is kept for the test. Files that cannot be read
    are left out, as if they were not there, and told. See `image_folders.scan` and
    `image_files.read_image` for what is read and how.

    Args:
        place: the folder; nothing in it is changed.
        size: height and width of every picture, in pixels.
        fit: `pad`, `crop` or `stretch`.
        colour: `rgb` or `grey`.
        test: the share of each class kept for the test, where there is no test/.
        seed: of that choice.
        memory: a set of more MB than that is decoded into a cache under runs/ and read from there.
        say: gets what was unreadable, and the progress.
    """
    form = Form(whole("size", size, SMALLEST, LARGEST), fit, colour)
    one_of("fit", fit, FITS)
    one_of("colour", colour, COLOURS)
    share, number = fraction("test", test), whole("seed", seed, 0, 2**32 - 1)
    limit = whole("memory", memory, 0, 10**9) * 1_000_000
    listing = scan(place)

    def order(unreadable: Iterable[str] = ()) -> list[str]:
        return list(arranged(listing.without(unreadable), share, number)["file"])

    pictures = collect(Wanted(listing.folder, order(), form, order), limit, say)
    tell_unreadable(pictures.unreadable, say)
    rows = arranged(listing.without(pictures.unreadable), share, number)
    options = f"size={form.size}&fit={fit}&colour={colour}&test={share:g}&seed={number}"
    source = f"folder:{listing.folder}?{options}&memory={limit // 1_000_000}"
    learn = int((rows["part"] != "test").sum())
    labels, files = rows["label"].to_numpy(np.int64), tuple(rows["file"])
    chosen = np.flatnonzero(rows["part"] == "validation").astype(np.int64)
    return Dataset(
        source=source,
        train_images=pictures.pixels[:learn],
        train_labels=labels[:learn],
        test_images=pictures.pixels[learn:],
        test_labels=labels[learn:],
        classes=listing.classes,
        validation=chosen if len(chosen) else None,
        train_files=files[:learn],
        test_files=files[learn:],
        unreadable=pictures.unreadable,
    )


def arranged(listing: Listing, share: float, seed: int) -> pd.DataFrame:
    """Return a listing's files with every part known: train, then validation, then test.

    Raises:
        LabError: there is one class only, or a class has too few pictures to be split.
    """
    files = listing.files.copy()
    parts = set(files["part"])
    files["part"] = files["part"].replace("", "train")
    learn = files.index[files["part"] == "train"].to_numpy()
    needed = 1 + ("validation" not in parts) + ("test" not in parts)
    enough(listing, files.loc[learn, "label"].to_numpy(np.int64), needed)
    if "test" not in parts:
        labels = files.loc[learn, "label"].to_numpy(np.int64)
        files.loc[learn[hold_out(labels, share, seed, spare=needed - 1)], "part"] = "test"
    ranks = files["part"].map({"train": 0, "validation": 1, "test": 2})
    return files.loc[ranks.sort_values(kind="stable").index].reset_index(drop=True)


def enough(listing: Listing, labels: NDArray[np.int64], needed: int) -> None:
    """Refuse a folder with one class only, or with fewer than `needed` pictures in a class.

    Raises:
        LabError: so it is; the message names the classes.
    """
    if len(listing.classes) < 2:
        raise LabError(
            f"{listing.folder} has one class only, {listing.classes[0]!r}; a classifier needs at "
            "least two. Put the pictures of each class into a sub-folder of its own."
        )
    counts = np.bincount(labels, minlength=len(listing.classes))
    few = [
        f"{listing.classes[label]!r} {counts[label]}" for label in np.flatnonzero(counts < needed)
    ]
    if few:
        shown = ", ".join(few[:5]) + (", …" if len(few) > 5 else "")
        raise LabError(
            f"{listing.folder} has too few readable pictures to learn from in some classes: "
            f"{shown}. Each class needs at least {needed}, one for each part that is made of them "
            "(training, validation, test). Add pictures, or take the class out of the folder."
        )


def hold_out(
    labels: NDArray[np.int64], share: float, seed: int, spare: int = 1
) -> NDArray[np.int64]:
    """Choose a share of each class, at least one picture, and leave at least `spare`.

    Args:
        labels: (N,); each class that occurs has more than `spare`.
        share: in 0..1.
        seed: the same seed chooses the same.
        spare: how many of each class must be left.

    Returns:
        Indices, ascending.
    """
    from sklearn.model_selection import train_test_split

    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(places))), len(places) - spare)
        chosen.append(train_test_split(places, test_size=count, random_state=seed)[1])
    return np.sort(np.concatenate(chosen))


def tell_unreadable(unreadable: Mapping[str, str], say: Say) -> None:
    """Say how many files were left out, and why the first few were."""
    if unreadable:
        say(f"Left out, because they could not be read: {len(unreadable)} of the files")
    for file in sorted(unreadable, key=natural)[:5]:
        say(f"  {file}: {unreadable[file]}")
    if len(unreadable) > 5:
        say("  … (`convnetlab images check FOLDER` lists all)")


def whole(name: str, text: str, least: int, most: int) -> int:
    """Return an option as a whole number.

    Raises:
        LabError: it is none, or out of range.
    """
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise LabError(
            f"dataset option {name} is {text!r}; it must be a whole number from {least} to {most}."
        )
    return int(text)


def fraction(name: str, text: str) -> float:
    """Return an option as a number between 0 and 1.

    Raises:
        LabError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise LabError(
            f"dataset option {name} is {text!r}; it must lie between 0 and 1, such as 0.2."
        )
    return value


def one_of(name: str, text: str, known: Sequence[str]) -> None:
    """Refuse an option that is none of the known values.

    Raises:
        LabError: so it is.
    """
    if text not in known:
        raise LabError(f"dataset option {name} is {text!r}; it must be one of: {', '.join(known)}.")


SOURCES: dict[str, Callable[..., Dataset]] = {
    "mnist": load_mnist,
    "digits": load_digits,
    "idx:": load_idx,
    "folder:": load_folder,
}
