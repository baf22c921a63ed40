"""Values as text: how inputs go into a student's kernel, and how outputs come back.

JSON, and arrays as raw bytes in it: nothing is ever pickled, so that reading what a hostile kernel
sent runs no code of its own. The source of this module is itself sent into the kernel, so that
it needs nothing but NumPy.
"""

import base64
import binascii
import json
import math
import numbers
import re
from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

DEEPEST = 40  # lists within lists
# Booleans, whole numbers, floats, complex numbers, bytes and text, of the usual sizes.
DTYPE = re.compile(r"[<>|](b1|[iu][1248]|f[248]|c8|c16|S\d{1,5}|U\d{1,5})")
LARGEST_INT = 1024  # bits
LISTS = (list, range, deque, KeysView, ValuesView, ItemsView)  # looking at them changes nothing


@dataclass(frozen=True)
class Foreign:
    """In the place of a value of a type that is not carried, such as "function"."""

    name: str


def encode(value: Any) -> str:
    """Return a value as text.

    Carried are None, bool, int, float, str, tuples, lists, dicts, NumPy's arrays and scalars, and
    what NumPy makes an array of, such as a tensor or a column of a table. Other whole and real
    numbers become int and float (a fraction, a decimal), other sequences become lists (a range, a
    deque, the keys of a dict). Anything else is carried as the name of its type.

    >>> decode(encode([1, (2.5, None), {"a": np.arange(3)}]))
    [1, (2.5, None), {'a': array([0, 1, 2])}]
    >>> decode(encode([print]))
    [Foreign(name='builtin_function_or_method')]
    """
    return json.dumps(as_json(value, 0), allow_nan=False)


def as_json(value: Any, depth: int) -> Any:
    """Return what JSON knows: what it does not know becomes a dictionary with a key "is"."""
    if depth > DEEPEST:
        return {"is": "foreign", "name": "deep nesting"}
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return array_as_json(value, depth)
    if isinstance(value, (numbers.Real, Decimal)):
        return number_as_json(value)
    if isinstance(value, (tuple, *LISTS)):
        items = [as_json(item, depth + 1) for item in value]
        return {"is": "tuple", "items": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        pairs = [[as_json(key, depth + 1), as_json(value[key], depth + 1)] for key in value]
        return {"is": "dict", "items": pairs}
    if isinstance(value, type):
        return {"is": "foreign", "name": type(value).__name__}
    if callable(getattr(value, "detach", None)):  # PyTorch refuses while there are gradients
        value = value.detach()
    if hasattr(value, "__array__"):
        return array_as_json(np.asarray(value), depth)
    if callable(getattr(value, "numpy", None)):
        return array_as_json(np.asarray(value.numpy()), depth)
    return {"is": "foreign", "name": type(value).__name__}


def number_as_json(value: Any) -> Any:
    """Return a whole number as such, and another real number as a float, which may round it."""
    if isinstance(value, numbers.Integral):
        whole = int(value)
        fits = whole.bit_length() <= LARGEST_INT
        return whole if fits else {"is": "foreign", "name": type(value).__name__}
    try:
        real = float(value)
    except (OverflowError, ValueError):  # a fraction larger than any float, a signalling NaN
        return {"is": "foreign", "name": type(value).__name__}
    return real if math.isfinite(real) else {"is": "float", "value": repr(real)}


def array_as_json(value: Any, depth: int) -> Any:
    """Return an array's dtype, shape and bytes; an array of objects as the list of them."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.dtype.kind in "OT":
        is_text = array.size > 0 and all(isinstance(item, str) for item in array.flat)
        if not is_text:
            items = array.tolist()
            is_one = array.ndim == 0 and not isinstance(items, (numbers.Real, Decimal))
            return as_json(type(items) if is_one else items, depth + 1)
        array = array.astype(str)
    if not DTYPE.fullmatch(array.dtype.str):
        return {"is": "foreign", "name": f"array of {array.dtype}"}
    return {
        "is": "scalar" if isinstance(value, np.generic) else "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "bytes": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


def decode(text: str) -> Any:
    """Return the value of a text that `encode` made; arrays are writable and nobody else's.

    Raises:
        ValueError: it is no such text. Whatever the text is, nothing else is raised, and no more
            memory is taken than a few times its length.
    """
    try:
        return from_json(json.loads(text), 0)
    except (TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def from_json(item: Any, depth: int) -> Any:
    """Return the value of what JSON gave."""
    if depth > DEEPEST + 2:
        raise ValueError("nested too deeply")
    if isinstance(item, str):
        item.encode()  # raises on half a pair of surrogates, which no file could be written with
    if isinstance(item, list):
        return [from_json(each, depth + 1) for each in item]
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError("a number that JSON does not have")
    if not isinstance(item, dict):
        return item
    match item["is"]:
        case "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[item["value"]]
        case "tuple":
            return tuple(from_json(each, depth + 1) for each in list(item["items"]))
        case "dict":
            pairs = [(from_json(k, depth + 1), from_json(v, depth + 1)) for k, v in item["items"]]
            return dict(pairs)
        case "scalar":
            return array_from_json(item).reshape(())[()]
        case "array":
            return array_from_json(item)
        case "foreign":
            return Foreign(str(from_json(item["name"], depth + 1))[:100])
    raise ValueError("of no kind that is known")


def array_from_json(item: dict[str, Any]) -> Any:
    """Return the array; its size is compared with the bytes that came before any is made.

    Raises:
        ValueError: dtype, shape and bytes do not belong together, or make no sense.
    """
    name, shape = item["dtype"], item["shape"]
    if not isinstance(name, str) or not DTYPE.fullmatch(name):
        raise ValueError("a dtype that is not carried")
    if not isinstance(shape, list) or len(shape) > 32:
        raise ValueError("no shape")
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):
        raise ValueError("no shape")
    try:
        raw = base64.b64decode(item["bytes"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"no bytes: {error}") from None
    dtype = np.dtype(name)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError("shape and bytes do not fit")
    if dtype.itemsize == 0:
        return np.zeros(shape if math.prod(shape) == 0 else (0,), dtype)
    if dtype.kind == "b":
        return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
    if dtype.kind == "U":
        check_letters(np.frombuffer(raw, f"{name[0]}u4"))
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def check_letters(codes: Any) -> None:
    """Check code points of text: NumPy would raise, or worse, on others.

    Raises:
        ValueError: one is no character.
    """
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise ValueError("text that is none")
