"""Hidden tests: inputs that a private seed draws, and how the outputs are compared with ours.

What the lab asks stands in `hidden_tests.py`, beside the notebooks with the exercises. It never
enters the sandbox; inputs go in, outputs come back as plain data, and are compared here.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.errors import LabError
from convnetlab.grading import mentions

FILE = "hidden_tests.py"
WHOLE = "the answer"  # the only group of a literal that has no parts

Call = tuple[Any, ...]  # the arguments
Inputs = Mapping[str, tuple[Call, ...]]  # the calls of each group, by its name
Alike = Callable[[Any, Any], bool]


def within(relative: float = 1e-4, absolute: float = 1e-6) -> Alike:
    """Return a comparison of numbers and arrays: the same shape, and equal but for rounding.

    Whole numbers must be right to a millionth, whatever the tolerance. Lists and tuples count as
    arrays, and 0-dimensional arrays as numbers; the type of the numbers does not matter. Texts
    must be the same.

    Args:
        relative: tolerance, as a share of the right number.
        absolute: tolerance, added to it.

    >>> within()([2.0, 1.0], np.array([2, 1])), within()([[2, 1]], np.array([2, 1]))
    (True, False)
    """

    def alike(mine: Any, right: Any) -> bool:
        if isinstance(right, str):
            return isinstance(mine, str) and mine == right
        expected = np.asarray(right)
        found = numbers(mine, expected.shape)
        if found is None:
            return False
        if expected.dtype.kind in "biu" and found.dtype.kind in "biu":
            return bool((found == expected).all())
        with np.errstate(all="ignore"):
            is_whole = expected.dtype.kind in "biu"
            close = np.isclose(
                found.astype(np.float64),
                expected.astype(np.float64),
                rtol=0.0 if is_whole else relative,
                atol=1e-6 if is_whole else absolute,
                equal_nan=True,
            )
        return bool(np.all(close))

    return alike


agree = within()


def numbers(value: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return plain data as an array of real numbers of this shape; None if it is none.

    Whatever the value, this looks at no more of it than an array of this shape has numbers.
    """
    if not has_shape(value, shape):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "biuf" and array.shape == shape else None


def has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether plain data are numbers, in lists in lists of such lengths."""
    if isinstance(value, np.ndarray | np.generic):
        return value.shape == shape
    if not shape:
        return isinstance(value, bool | int | float)
    is_long_enough = isinstance(value, list | tuple) and len(value) == shape[0]
    return is_long_enough and all(has_shape(item, shape[1:]) for item in value)


def of_type(kind: str, alike: Alike = agree) -> Alike:
    """Return a comparison that also asks for a type of numbers: "float32", or "iu" for whole ones.

    >>> of_type("float32")(np.zeros(2), np.zeros(2)), of_type("iu")([1, 2], np.array([1, 2]))
    (False, True)
    """
    kinds = "" if kind[-1].isdigit() else kind

    def typed(mine: Any, right: Any) -> bool:
        found = numbers(mine, np.shape(right))
        fits = found is not None and (found.dtype.name == kind or found.dtype.kind in kinds)
        return fits and alike(mine, right)

    return typed


def any_of(alike: Alike = agree) -> Alike:
    """Return a comparison for an oracle that gives a list of all answers that are right."""
    return lambda mine, rights: any(alike(mine, right) for right in rights)


@dataclass(frozen=True)
class Exercise:
    """What an exercise is to the grader.

    Attributes:
        name: of the student's function or literal.
        answer: the oracle: a function for a function, a value for a literal.
        groups: what draws the arguments of one call, by a name that the student is shown, such
            as "kernels that are not square"; none for a literal.
        draws: calls a group.
        alike: whether an output is as good as the oracle's.
        alike_in: another comparison for some of the groups, by their names.
        parts: where the parts of a literal stand in its tuple, by a name that the student is
            shown; none if it is right or wrong as a whole.
        forbidden: functions of the package, such as "convolution.convolve2d", of which a
            solution should make no use, for they are the answer.
    """

    name: str
    answer: Any
    groups: Mapping[str, Callable[[np.random.Generator], Call]] = field(default_factory=dict)
    draws: int = 3
    alike: Alike = agree
    alike_in: Mapping[str, Alike] = field(default_factory=dict)
    parts: Mapping[str, int | slice] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be marked."""
        if callable(self.answer) != bool(self.groups):
            raise ValueError(f"{self.name}: a function needs groups of inputs, a literal has none")
        if self.draws < 1 or not set(self.alike_in) <= set(self.groups):
            raise ValueError(f"{self.name}: draws is less than 1, or alike_in names no group")


def load(source_folder: Path) -> Mapping[str, Exercise]:
    """Return the exercises of a folder's hidden tests, by the ids of their solution cells.

    The file is the instructor's own, and is run. Each exercise is tried once.

    Args:
        source_folder: where the notebooks lie; without the file there are no hidden tests.

    Raises:
        LabError: the file cannot be run, or an exercise in it cannot be drawn and answered.
    """
    path = source_folder / FILE
    if not path.exists():
        return {}
    namespace: dict[str, Any] = {"__name__": "hidden_tests", "__file__": str(path)}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
    except Exception as error:
        raise LabError(f"{path} cannot be run: {type(error).__name__}: {error}.") from error
    exercises = namespace.get("EXERCISES")
    if not isinstance(exercises, dict) or not all(
        isinstance(key, str) and isinstance(value, Exercise) for key, value in exercises.items()
    ):
        raise LabError(
            f"{path} has no EXERCISES = {{…}}: expected an Exercise for each id of a solution cell."
        )
    for exercise_id, exercise in exercises.items():
        try:
            expected(exercise, draw(exercise, "trial", "", exercise_id))
        except Exception as error:
            raise LabError(
                f"{path}: {exercise_id!r} cannot be drawn and answered: "
                f"{type(error).__name__}: {error}."
            ) from error
    return exercises


def draw(exercise: Exercise, seed: str, student: str, exercise_id: str) -> Inputs:
    """Return the calls of each group; the same arguments give the same calls, on any machine.

    Each group has a generator of its own, so that a new group leaves the others as they are. (A
    new NumPy may draw other numbers from the same generator: NEP 19.)

    Args:
        exercise: whose inputs.
        seed: the instructor's private one.
        student: each gets inputs of their own.
        exercise_id: the id of the solution cell.
    """
    drawn = {}
    for name, make in exercise.groups.items():
        text = "\0".join((seed, student, exercise_id, name))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
        drawn[name] = tuple(make(rng) for _ in range(exercise.draws))
    return drawn


def calls(exercise: Exercise, drawn: Inputs) -> tuple[Call, ...] | None:
    """Return the calls one after another, as a `Probe` takes them; None for a literal."""
    if not callable(exercise.answer):
        return None
    return tuple(call for group in drawn.values() for call in group)


def expected(exercise: Exercise, drawn: Inputs) -> Mapping[str, tuple[Any, ...]]:
    """Return what the oracle says to each call, by group; to a literal's parts, what is right."""
    if callable(exercise.answer):
        return {
            name: tuple(exercise.answer(*call) for call in group) for name, group in drawn.items()
        }
    if exercise.parts:
        return {name: (exercise.answer[place],) for name, place in exercise.parts.items()}
    return {WHOLE: (exercise.answer,)}


def score(
    exercise: Exercise, drawn: Inputs, outputs: Sequence[Any] | None
) -> Mapping[str, tuple[int, int]]:
    """Return how many outputs are right, and how many were asked for, by group.

    Args:
        exercise: whose outputs.
        drawn: the calls, as `draw` gave them.
        outputs: an output a call in the order of `calls`, or the one value of a literal: plain
            data of an untrusted process, or `Raised`; None if nothing came. What is missing is
            wrong.
    """
    given = list(outputs or ())
    wanted = expected(exercise, drawn)
    if not callable(exercise.answer):
        given = parts_of(exercise, given[0]) if given else []
    marks, place = {}, 0
    for name, rights in wanted.items():
        alike = exercise.alike_in.get(name, exercise.alike)
        mine = given[place : place + len(rights)]
        right = sum(is_alike(alike, *pair) for pair in zip(mine, rights, strict=False))
        marks[name] = (right, len(rights))
        place += len(rights)
    return marks


def parts_of(exercise: Exercise, value: Any) -> list[Any]:
    """Return a literal's parts in their order; nothing if it has not as many numbers as ours."""
    if not exercise.parts:
        return [value]
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = list(value[: len(exercise.answer) + 1])
    if not isinstance(value, list | tuple) or len(value) != len(exercise.answer):
        return []
    return [value[place] for place in exercise.parts.values()]


def is_alike(alike: Alike, mine: Any, right: Any) -> bool:
    """Whether an output is right; whatever a comparison stumbles over is not."""
    try:
        return bool(alike(mine, right))
    except Exception:
        return False


def forbidden_in(exercise: Exercise, source: str) -> str:
    """Return which forbidden functions a solution's source uses, or "".

    >>> one_hot = Exercise("one_hot", 0, forbidden=("preprocess.one_hot",))
    >>> forbidden_in(one_hot, "x = preprocess.one_hot(y, 3)")
    'preprocess.one_hot'
    >>> forbidden_in(one_hot, "def one_hot(y, n): return one_hot")
    ''
    """
    # What the exercise's own name stands for at the end is the answer: `import *` may have made it.
    return ", ".join(mentions.used(f"{source}\n{exercise.name}", exercise.forbidden))
