"""What crosses the border of the sandbox: it comes back as it went, and nonsense is refused."""

import base64
import json
import math
import numbers
import subprocess
import sys
import tracemalloc
from collections import deque
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convnetlab.grading import wire

CARRIED = st.sampled_from([*"?bBhHiIlLefdFD", "<U3", "S2", ">i4", ">f8"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**1000), 2**1000)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
ARRAYS = hnp.arrays(
    CARRIED.map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements=None,
)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text("ab") | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def is_same(one, other):
    """Whether two values are the same in type, shape and content, nan equal to nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        same_kind = (one.dtype.kind, one.dtype.itemsize) == (other.dtype.kind, other.dtype.itemsize)
        equal_nan = one.dtype.kind in "fc"
        return same_kind and np.array_equal(one, other, equal_nan=equal_nan)
    return repr(one) == repr(other)  # nan like nan, 0.0 unlike -0.0


@given(VALUES)
def test_values_come_back_as_they_went(value):
    assert is_same(wire.decode(wire.encode(value)), value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0])
def test_the_odd_floats_come_back(number):
    assert repr(wire.decode(wire.encode(number))) == repr(number)


def test_scalars_of_numpy_stay_scalars_and_arrays_are_ones_own():
    assert type(wire.decode(wire.encode(np.float32(0.5)))) is np.float32
    assert type(wire.decode(wire.encode(np.bool_(True)))) is np.bool_
    array = wire.decode(wire.encode(np.arange(3)))
    array[0] = 7
    assert array.tolist() == [7, 1, 2]


def test_what_numpy_makes_an_array_of_is_carried():
    table = pd.DataFrame({"n": [1, 2], "name": ["a", "bc"]})
    assert wire.decode(wire.encode(table["n"])).tolist() == [1, 2]
    assert wire.decode(wire.encode(table["name"])).tolist() == ["a", "bc"]

    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.eye(2, dtype=np.float32)

    assert wire.decode(wire.encode([Tensor()]))[0].dtype == np.float32


class Whole(int):
    def __repr__(self):
        return "another way to write it"


class Kind(IntEnum):
    CAT = 3


class Word(str, Enum):  # noqa: UP042  # its str() is "Word.CAT", unlike a StrEnum's
    CAT = "cat"


class Registered:
    """A real number of a library, which knows itself as one."""

    def __float__(self):
        return 0.25


numbers.Real.register(Registered)


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (Fraction(3, 4), 0.75),
        (Fraction(-1, 3), -1 / 3),
        (Decimal("0.1"), 0.1),
        (Decimal("Infinity"), math.inf),
        (Registered(), 0.25),
        (Whole(7), 7),
        (Kind.CAT, 3),
        (Word.CAT, "cat"),
        ([Fraction(1, 2), (Decimal(2), True)], [0.5, (2.0, True)]),
        (np.array([Fraction(1, 2), 1], object), [0.5, 1]),
        (np.array(Fraction(1, 2), object), 0.5),
        (range(2, 8, 3), [2, 5]),
        (deque([1, Fraction(1, 2)]), [1, 0.5]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1.5}.values(), [1.5]),
        ({"a": 1}.items(), [("a", 1)]),
    ],
)
def test_numbers_and_sequences_of_other_types_become_ordinary_ones(value, carried):
    assert is_same(wire.decode(wire.encode(value)), carried)


def test_a_decimal_that_is_no_number_is_nan_or_foreign():
    assert math.isnan(wire.decode(wire.encode(Decimal("nan"))))
    assert wire.decode(wire.encode(Decimal("sNaN"))) == wire.Foreign("Decimal")
    assert wire.decode(wire.encode(Fraction(10**400))) == wire.Foreign("Fraction")


class Tracked:
    """A tensor that, like PyTorch's, becomes an array only without its gradients."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it requires grad")

    def detach(self):
        return np.float32(0.5)


class Eager:
    """A tensor of nought dimensions with nothing but `numpy`."""

    def numpy(self):
        return np.float32(0.5)


@pytest.mark.parametrize("tensor", [Tracked(), Eager()])
def test_tensors_are_carried_as_arrays(tensor):
    found = wire.decode(wire.encode(tensor))
    assert found.dtype == np.float32 and found.shape == () and found == 0.5
    assert wire.decode(wire.encode(type(tensor))) == wire.Foreign("type")


def test_tables_of_pandas_are_carried_as_arrays():
    table = pd.DataFrame({"a": [1.5, 2], "b": [3, 4]})
    assert wire.decode(wire.encode(table)).tolist() == [[1.5, 3.0], [2.0, 4.0]]
    assert wire.decode(wire.encode(table.index)).tolist() == [0, 1]
    assert wire.decode(wire.encode(table.columns)).tolist() == ["a", "b"]
    nullable = pd.Series([1, 2], dtype="Int64")
    assert wire.decode(wire.encode(nullable)).tolist() == [1, 2]


def test_what_looking_at_would_use_up_is_foreign():
    items = iter([1, 2])
    for value, name in ((items, "list_iterator"), (map(abs, items), "map"), ({1}, "set")):
        assert wire.decode(wire.encode(value)) == wire.Foreign(name)
    assert list(items) == [1, 2]


def test_other_things_are_carried_by_the_name_of_their_type():
    class Odd:
        def __reduce__(self):
            raise AssertionError("it was pickled")

        def __repr__(self):
            raise AssertionError("it was shown")

    for value, name in ((Odd(), "Odd"), (len, "builtin_function_or_method"), ({1}, "set")):
        assert wire.decode(wire.encode(value)) == wire.Foreign(name)
    assert wire.decode(wire.encode(np.array([Odd()], object))) == [wire.Foreign("Odd")]
    assert isinstance(wire.decode(wire.encode(np.array("2020", "M8[D]"))), wire.Foreign)
    assert isinstance(wire.decode(wire.encode(10**5000)), wire.Foreign)


def test_a_list_within_itself_ends():
    endless = []
    endless.append(endless)
    assert "deep nesting" in wire.encode(endless)
    assert isinstance(wire.decode(wire.encode(endless)), list)


def array(**changed):
    item = {"is": "array", "dtype": "<i4", "shape": [2], "bytes": base64.b64encode(b"12345678")}
    return json.dumps({**item, "bytes": item["bytes"].decode(), **changed})


NONSENSE = [
    "",
    "{",
    "NaN",
    "[Infinity]",
    "{}",
    '{"is": 3}',
    '{"is": []}',
    '{"is": "pickle", "bytes": ""}',
    '{"is": "tuple"}',
    '{"is": "tuple", "items": 3}',
    '{"is": "dict", "items": [[1]]}',
    '{"is": "dict", "items": [[[1], 2]]}',
    '{"is": "float", "value": "one"}',
    '{"is": "foreign"}',
    '"\\ud800"',
    "[" * 100_000,
    "[" * 100 + "]" * 100,
    "1" * 10_000,
    array(dtype="|O"),
    array(dtype="O"),
    array(dtype="<M8[D]"),
    array(dtype="<i4,<i4"),
    array(dtype="<f16"),
    array(dtype=["<i4"]),
    array(shape=[3]),
    array(shape=[-2]),
    array(shape=[2.0]),
    array(shape=[True, 2]),
    array(shape=2),
    array(shape=[1] * 33 + [2]),
    array(shape=[0, 2**39, 2**39], bytes=""),
    array(shape=[2**39]),
    array(dtype="<U99999", shape=[2**39]),
    array(bytes="no base64!"),
    array(bytes=3),
    array(dtype="<U2", shape=[1], bytes=base64.b64encode(b"\xff" * 8).decode()),
    array(dtype="<U1", shape=[1], bytes=base64.b64encode(b"\0\xd8\0\0").decode()),
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError):
        wire.decode(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["is", "items", "dtype", "shape", "bytes", "x"]), inner)
        | st.fixed_dictionaries(
            {"is": st.sampled_from(["array", "scalar", "tuple", "dict", "float", "foreign"])},
            optional={"items": inner, "value": inner, "name": inner, "shape": inner},
        )
    ),
    max_leaves=15,
)


@given(JSON | st.text())
def test_nothing_but_a_value_or_a_value_error_comes_of_any_text(item):
    for text in (json.dumps(item), str(item)):
        try:
            wire.decode(text)
        except ValueError as error:
            assert str(error)


def test_a_false_size_takes_no_memory():
    tracemalloc.start()
    try:
        for text in NONSENSE:
            with pytest.raises(ValueError):
                wire.decode(text)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_booleans_that_are_neither_are_made_true():
    text = array(dtype="|b1", shape=[2], bytes=base64.b64encode(b"\x00\x07").decode())
    assert wire.decode(text).view(np.uint8).tolist() == [0, 1]


def test_its_source_needs_nothing_but_numpy():
    source = Path(wire.__file__).read_text("utf-8")
    code = f"""
import sys
module = type(sys)("elsewhere"); sys.modules["elsewhere"] = module
exec({source!r}, module.__dict__)
print(module.encode((1, module.np.arange(2))))
print(*[name for name in sys.modules if "convnetlab" in name or "pandas" in name])
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert is_same(wire.decode(said[0]), (1, np.arange(2)))
    assert not said[1:] or said[1].strip() == ""
