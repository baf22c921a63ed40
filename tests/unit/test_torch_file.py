"""Reading PyTorch's files: the real one, and files that mean harm."""

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import pretrained, torch_file
from convnetlab.errors import LabError

STORAGE = "FloatStorage"


class Global:
    """Something that a pickle names, and whoever loads it must find."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class Writer(pickle._Pickler):
    """Write as PyTorch did: names and storages that need not exist here."""

    dispatch = pickle._Pickler.dispatch.copy()

    def persistent_id(self, thing):
        return tuple(thing) if isinstance(thing, list) and thing[:1] == ["storage"] else None

    def save_global_call(self, thing):
        self.write(b"c" + f"{thing.module}\n{thing.name}\n".encode())
        if thing.arguments:
            self.save(thing.arguments)
            self.write(b"R")

    dispatch[Global] = save_global_call


def dump(thing):
    stream = io.BytesIO()
    Writer(stream, 2).dump(thing)
    return stream.getvalue()


def tensor(offset=0, shape=(2, 3), strides=(3, 1), count=6, kind=STORAGE, key="k"):
    storage = ["storage", Global("torch", kind), key, "cpu", count, None]
    more = (False, collections.OrderedDict())
    return Global("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, *more)


def file(state=None, keys=("k",), storages=None, magic=torch_file.MAGIC):
    """The bytes of a file with one tensor of six numbers, or of what else is given."""
    state = {"a": tensor()} if state is None else state
    if storages is None:
        storages = struct.pack("<q6f", 6, *range(6))
    heads = [magic, torch_file.PROTOCOL, {"little_endian": True}, state, list(keys)]
    return b"".join(map(dump, heads)) + storages


def refusal(content):
    with pytest.raises(LabError) as caught:
        torch_file.parse(content, "weights.pth")
    message = str(caught.value)
    assert message.startswith("weights.pth ") and "\n" not in message
    return message


def test_a_file_is_read_and_strides_are_followed():
    assert torch_file.parse(file(), "x")["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    turned = torch_file.parse(file({"a": tensor(shape=(3, 2), strides=(1, 3))}), "x")["a"]
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]] and turned.flags.c_contiguous
    two = {"a": tensor(offset=2, shape=(2,), strides=(3,)), "b": tensor(shape=(), strides=())}
    found = torch_file.parse(file(two), "x")
    assert found["a"].tolist() == [2, 5] and found["b"].tolist() == 0


def test_the_real_files_arrays_are_known():
    arrays = pretrained.lite0_arrays()
    assert len(arrays) == 296
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert sum(array.size for array in arrays.values() if array.dtype == np.float32) == 4_694_024
    assert all(np.isfinite(array).all() for array in arrays.values())


class Hostile:
    """Unpickled by anybody else, it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_nothing_in_a_file_is_run(tmp_path):
    mark = tmp_path / "mark"
    hostile = pickle.dumps(Hostile(f"touch {mark}"))
    pickle.loads(hostile)
    assert mark.exists(), "the file would be harmless"
    mark.unlink()
    start = b"".join(map(dump, [torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True}]))
    for content in (hostile, start + hostile, file({"a": Hostile(f"touch {mark}")})):
        assert "which no weights need. Nothing in it was run" in refusal(content)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.FloatStorage", "x"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("convnetlab.torch_file", "read"),
    ],
)
def test_any_other_name_is_refused(module, name):
    content = file({"a": Global(module, name, "1")})
    assert f"it asks for {module}.{name}, which no weights need" in refusal(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 1}, "reaches beyond its 6 numbers"),
        ({"strides": (10**12, 1)}, "reaches beyond its 6 numbers"),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, "reaches beyond its 6 numbers"),
        ({"strides": (-1, 1)}, "no whole numbers"),
        ({"offset": -1}, "no whole numbers"),
        ({"shape": (2.0, 3)}, "no whole numbers"),
        ({"shape": (True, 3)}, "no whole numbers"),
        ({"shape": "23"}, "no whole numbers"),
        ({"strides": (1,)}, "2 sizes and 1 strides"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "9 sizes and 9 strides"),
        ({"shape": (0, 3)}, "reaches beyond its 6 numbers"),
        ({"kind": "HalfStorage"}, "asks for torch.HalfStorage"),
        ({"count": -1}, "a reference to its numbers is malformed"),
        ({"count": 7}, "a storage has 6 numbers, expected 7"),
        ({"count": 10**15}, "a storage has 6 numbers, expected 1000000000000000"),
        ({"key": "other"}, "its list of storages is not that of its tensors"),
    ],
)
def test_absurd_tensors_are_refused(changes, message):
    assert message in refusal(file({"a": tensor(**changes)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short or damaged"),
        (b"a diary", "cut short or damaged"),
        (b"PK\x03\x04" + bytes(100), "PyTorch's newer format, a zip file"),
        (file(magic=1), "does not begin as PyTorch's files do"),
        (file(["a"]), "something else than a dictionary of tensors"),
        (file({"a": 1}), "something else than a dictionary of tensors"),
        (file(keys=("k", "k")), "its list of storages"),
        (file() + b"x", "something follows after its last numbers"),
        (file(storages=struct.pack("<q5f", 6, *range(5))), "cut short"),
        (file(storages=struct.pack("<q", 2**60)), "expected 6"),
        # "Remember this as number 2,000,000,000", which C's unpickler makes room for.
        (b"\x80\x02Nr" + struct.pack("<I", 2 * 10**9) + b".", "cut short or damaged"),
        (
            file({"a": tensor(), "b": tensor(count=1, shape=(1,), strides=(1,))}),
            "a storage has 6 numbers, expected 1",
        ),
        (
            file({"b": tensor(count=1, shape=(1,), strides=(1,)), "a": tensor()}),
            "its tensors disagree about their storage",
        ),
    ],
)
def test_what_is_no_file_of_weights_is_refused(content, message):
    assert message in refusal(content)


@given(st.data())
def test_a_file_cut_anywhere_or_with_a_byte_changed_is_refused_or_harmless(data):
    whole = file()
    cut = data.draw(st.integers(0, len(whole) - 1))
    refusal(whole[:cut])
    place, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = bytearray(whole)
    changed[place] = byte
    try:
        found = torch_file.parse(bytes(changed), "x")
    except LabError:
        return
    assert all(isinstance(array, np.ndarray) and array.size <= 6 for array in found.values())


def test_a_file_with_another_hash_is_not_opened(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(file())
    with pytest.raises(LabError, match=r"weights.pth is not the file .* It was not opened"):
        torch_file.read(path, "0" * 64)
    with pytest.raises(LabError, match=r"none.pth cannot be read: No such file"):
        torch_file.read(tmp_path / "none.pth", "0" * 64)
