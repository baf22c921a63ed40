"""Reading weights from a file of PyTorch's, without PyTorch, and without running what is in it.

PyTorch saves with `pickle`, and to unpickle a stranger's file is to run a stranger's program. So
only four names are let in here, and none of them does anything but describe an array. The format
is the one from before 2020: three small pickles (a magic number, a protocol, the machine that wrote
it), the dictionary of tensors, the list of storages; then, storage by storage, how many numbers it
has and the numbers themselves.
"""

import collections
import hashlib
import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.errors import LabError

Arrays = dict[str, NDArray[Any]]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
KINDS: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
MOST_SIDES = 8  # dimensions of a tensor; a network's have four at most


class RefusedError(Exception):
    """What a file holds is not what weights look like; the message says how."""


@dataclass(frozen=True)
class Storage:
    """A row of numbers that stands further on in the file."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """Where in a storage an array's numbers lie."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# The one written in Python: that in C sets aside gigabytes if a file of ten bytes asks for them.
class Restricted(pickle._Unpickler):
    """An unpickler that admits descriptions of arrays, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global name.

        Raises:
            RefusedError: it is not one of the four.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: described(*arguments)
        if module == "torch" and name in KINDS:
            return name
        raise RefusedError(f"it asks for {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a tensor refers to.

        Raises:
            RefusedError: the reference is malformed.
        """
        match pid:
            case ("storage", str(kind), str(key), str(), int(count), None) if (
                kind in KINDS and count >= 0
            ):
                return Storage(kind, key, count)
        raise RefusedError("a reference to its numbers is malformed")


def described(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Return a tensor's description, once it is sure that it stays within its storage.

    Raises:
        RefusedError: sizes or strides are no whole numbers, negative, or lead out of the storage;
            or the array would have more numbers than its storage.
    """
    if not isinstance(storage, Storage) or not all(
        isinstance(sides, tuple) and all(type(side) is int and side >= 0 for side in sides)
        for sides in (shape, strides, (offset,))
    ):
        raise RefusedError("a tensor's sizes or strides are no whole numbers")
    if len(shape) != len(strides) or len(shape) > MOST_SIDES:
        raise RefusedError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if 0 in shape or last >= storage.count or math.prod(shape) > storage.count:
        raise RefusedError(f"a tensor of sizes {shape} reaches beyond its {storage.count} numbers")
    return Tensor(storage, offset, shape, strides)


def read(path: Path, sha256: str) -> Arrays:
    """Return the arrays of a file whose SHA-256 is known, float32 or int64, by name.

    Raises:
        LabError: the file is missing, another one, or no weights.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise LabError(
            f"{path} is not the file that this laboratory knows: its SHA-256 is {found}, expected "
            f"{sha256}. It was not opened; install its package again."
        )
    return parse(content, str(path))


def parse(content: bytes, name: str) -> Arrays:
    """Return the arrays of a file's bytes, float32 or int64, by name; see `read`.

    Raises:
        LabError: they are not what PyTorch wrote before 2020, or ask for more than arrays.
    """
    if content[:2] == b"PK":
        raise LabError(
            f"{name} is in PyTorch's newer format, a zip file; only the older one is read here."
        )
    try:
        return arrays(io.BytesIO(content))
    except RefusedError as refusal:
        reason = str(refusal)
    except Exception as error:  # a damaged pickle fails in many ways
        reason = f"it is cut short or damaged ({type(error).__name__})"
    raise LabError(f"{name} is refused as weights: {reason}. Nothing in it was run.") from None


def arrays(stream: io.BytesIO) -> Arrays:
    """Return the arrays of a stream; see `parse`.

    Raises:
        RefusedError: it holds something else.
        Exception: whatever a damaged pickle leads to.
    """
    if (Restricted(stream).load(), Restricted(stream).load()) != (MAGIC, PROTOCOL):
        raise RefusedError("it does not begin as PyTorch's files do")
    if Restricted(stream).load().get("little_endian") is not True:
        raise RefusedError("its numbers are not little-endian")
    tensors = Restricted(stream).load()
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in tensors.items()
    ):
        raise RefusedError("it holds something else than a dictionary of tensors")
    expected = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    keys = Restricted(stream).load()
    if not isinstance(keys, list) or sorted(keys) != sorted(expected):
        raise RefusedError("its list of storages is not that of its tensors")
    storages = {key: numbers(stream, expected[key]) for key in keys}
    if stream.read(1):
        raise RefusedError("something follows after its last numbers")
    return {key: array(tensor, storages[tensor.storage.key]) for key, tensor in tensors.items()}


def numbers(stream: io.BytesIO, storage: Storage) -> NDArray[Any]:
    """Return the numbers of a storage, (count,).

    Raises:
        RefusedError: there are others, or fewer, than promised.
    """
    count, kind = int.from_bytes(stream.read(8), "little"), KINDS[storage.kind]
    if count != storage.count:
        raise RefusedError(f"a storage has {count} numbers, expected {storage.count}")
    content = stream.read(count * kind.itemsize)
    if len(content) != count * kind.itemsize:
        raise RefusedError("it is cut short")
    return np.frombuffer(content, kind)


def array(tensor: Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor as an array of its own, its numbers in the order of its sizes.

    Raises:
        RefusedError: two tensors say different things of one storage.
    """
    if (storage.dtype, len(storage)) != (KINDS[tensor.storage.kind], tensor.storage.count):
        raise RefusedError("its tensors disagree about their storage")
    steps = [step * storage.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps)
    return view.copy()
