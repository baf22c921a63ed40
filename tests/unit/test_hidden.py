"""Hidden tests: what is drawn, how an untrusted answer is compared, what a broken file says."""

import hashlib
import os
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nbformat.v4 import new_notebook

from convnetlab.errors import LabError
from convnetlab.grading import hidden, marking, wire
from convnetlab.grading.hidden import Exercise
from convnetlab.grading.records import CellRun, Execution, Mark, Raised

DOUBLE = Exercise(
    name="double",
    answer=lambda numbers: 2 * numbers,
    groups={
        "positive": lambda rng: (rng.integers(1, 1000, 3),),
        "negative": lambda rng: (-rng.integers(1, 1000, 3),),
    },
)
AUDIT = Exercise(name="audit", answer=(5, 6, 7), parts={"the first": 0, "the others": slice(1, 3)})


def outputs(exercise, drawn, function):
    return [function(*call) for call in hidden.calls(exercise, drawn)]


# --- drawing


def test_the_same_arguments_draw_the_same_inputs_in_another_process():
    script = (
        "import numpy as np\n"
        "from convnetlab.grading.hidden import Exercise, draw\n"
        "groups = {'é': lambda rng: (rng.integers(0, 10**9, 4).tolist(),)}\n"
        "print(draw(Exercise('f', abs, groups), 'seed', 'Zoë', 'an-id'))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    seed = int.from_bytes(hashlib.sha256("seed\0Zoë\0an-id\0é".encode()).digest(), "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    expected = {"é": tuple((rng.integers(0, 10**9, 4).tolist(),) for _ in range(3))}
    assert said == {f"{expected}\n"}


def test_seed_student_and_exercise_each_change_what_is_drawn():
    drawn = [
        hidden.draw(DOUBLE, *arguments)
        for arguments in (
            ("seed", "ann", "a"),
            ("tree", "ann", "a"),
            ("seed", "bob", "a"),
            ("seed", "ann", "b"),
            ("seedann", "", "a"),
        )
    ]
    assert len({str(one) for one in drawn}) == 5
    numbers = [call[0].tolist() for group in drawn[0].values() for call in group]
    assert len(numbers) == 6 and len({str(one) for one in numbers}) == 6


def test_a_new_group_leaves_the_others_as_they_are():
    more = Exercise("double", abs, {"new": lambda rng: (rng.random(),), **DOUBLE.groups})
    before, after = (hidden.draw(one, "seed", "ann", "double") for one in (DOUBLE, more))
    assert {name: str(after[name]) for name in before} == {n: str(c) for n, c in before.items()}


# --- comparing


@pytest.mark.parametrize(
    ("mine", "right"),
    [
        (3, 3.0),
        (True, 1),
        (1, np.bool_(True)),
        (np.float32(0.1), 0.1),
        (np.array(2.5), 2.5),
        ([1, 2], np.array([1.0, 2.0])),
        ((1, 2), np.array([1, 2])),
        ([np.int64(1), np.array(2)], np.array([1, 2])),
        ([np.array([1, 2]), [3, 4]], np.array([[1, 2], [3, 4]])),
        (np.array([1.0, 0.0]), np.array([True, False])),
        (np.array([1, 2], np.uint8), np.array([1, 2])),
        ([], np.array([], np.int64)),
        (float("inf"), np.inf),
        (float("nan"), np.nan),
        (0.333333, 1 / 3),
        (2**53 + 1, 2**53 + 1),
        ("dense", "dense"),
    ],
)
def test_what_the_visible_checks_accept_is_right(mine, right):
    assert hidden.agree(mine, right)


DEEP = [1]
for _ in range(100_000):
    DEEP = [DEEP]
HOSTILE = [
    None,
    Raised("ValueError"),
    "",
    "3",
    "\ud800",
    "9" * 1_000_000,
    b"3",
    {},
    {0: 3},
    [],
    [[]],
    DEEP,
    [DEEP, DEEP, DEEP],
    [3, [3], 3],
    [None, None, None],
    ["1", "2", "3"],
    [3.0] * 1_000_000,
    10**100_000,
    [10**400, 1, 2],
    -(2**64),
    float("nan"),
    float("inf"),
    [float("nan")] * 3,
    [float("inf"), -float("inf"), 1e308],
    1e308,
    complex(3, 0),
    np.array([1 + 0j, 2, 3]),
    np.array(["1", "2", "3"]),
    np.array("3"),
    np.array([b"1", b"2", b"3"]),
    np.array(["2020-01-01"] * 3, "datetime64[D]"),
    np.zeros(3, [("x", int)]),
    np.zeros((3, 0)),
    np.zeros((0, 3)),
    np.zeros((1, 3)),
    np.zeros((3, 1)),
    np.zeros((1,) * 30),
    np.full(3, np.finfo(np.longdouble).max, np.longdouble),
    np.full(3, 2**64 - 1, np.uint64),
    np.full(3, np.nan, np.float16),
    np.zeros(1_000_000),
    range(3),
    (i for i in range(3)),
    ...,
    object(),
    [np.zeros(2), np.zeros(3), np.zeros(4)],
]
RIGHT = [3, 3.5, True, "text", np.array([1, 2, 3]), (1.5, 2.5, 3.5), np.eye(3), np.array(7.0)]


@pytest.mark.parametrize("alike", [hidden.agree, hidden.within(0, 1e-4), hidden.of_type("float32")])
def test_no_answer_makes_a_comparison_raise_warn_or_say_yes(alike):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mine in HOSTILE:
            for right in RIGHT:
                assert alike(mine, right) is False, (type(mine), right)
            assert hidden.any_of(alike)(mine, RIGHT) is False


@given(
    hnp.arrays(
        hnp.floating_dtypes(sizes=(32, 64)) | hnp.integer_dtypes() | hnp.boolean_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
)
def test_an_array_is_alike_itself_as_lists_and_nothing_else(array):
    assert hidden.agree(array, array)
    assert hidden.agree(array.tolist(), array) or 0 in array.shape
    assert not hidden.agree(array[np.newaxis], array)
    assert not hidden.agree([array.tolist()], array)


@given(st.floats(-1e6, 1e6), st.floats(-2, 2).filter(lambda share: abs(abs(share) - 1) > 1e-6))
def test_a_number_is_right_within_its_tolerance(right, share):
    tolerance = 0.001 * abs(right) + 0.01
    assert hidden.within(0.001, 0.01)(right + share * tolerance, right) == (abs(share) < 1)


def test_whole_numbers_are_not_rounded():
    assert not hidden.agree(421.99, 422)
    assert not hidden.agree(2**53 + 1, 2**53)
    assert not hidden.agree(1_000_000, 1_000_001)
    assert hidden.agree(422.0, 422)


def test_a_type_is_asked_for_only_where_it_is():
    singles = np.ones(2, np.float32)
    assert hidden.agree([1, 1], singles) and hidden.of_type("float32")(singles, singles)
    assert not hidden.of_type("float32")(np.ones(2), singles)
    assert hidden.of_type("iu")([1, 2], np.array([1, 2]))
    assert not hidden.of_type("iu")([1.0, 2.0], np.array([1, 2]))
    assert not hidden.of_type("iu")([True, True], np.array([1, 1]))


def test_one_of_several_right_answers_will_do():
    assert hidden.any_of()([2, 1], [[1, 2], [2, 1]])
    assert not hidden.any_of()([2, 2], [[1, 2], [2, 1]])


# --- scoring


def test_a_group_is_scored_by_itself():
    drawn = hidden.draw(DOUBLE, "seed", "ann", "double")
    score = hidden.score
    everything = outputs(DOUBLE, drawn, lambda numbers: (2 * numbers).tolist())
    assert score(DOUBLE, drawn, everything) == {"positive": (3, 3), "negative": (3, 3)}
    absolute = outputs(DOUBLE, drawn, lambda numbers: 2 * abs(numbers))
    assert score(DOUBLE, drawn, absolute) == {"positive": (3, 3), "negative": (0, 3)}
    assert score(DOUBLE, drawn, everything[:4]) == {"positive": (3, 3), "negative": (1, 3)}
    assert score(DOUBLE, drawn, [*everything, 1, 2]) == score(DOUBLE, drawn, everything)
    broken = [Raised("ValueError"), *everything[1:]]
    assert score(DOUBLE, drawn, broken) == {"positive": (2, 3), "negative": (3, 3)}
    for nothing in (None, []):
        assert score(DOUBLE, drawn, nothing) == {"positive": (0, 3), "negative": (0, 3)}


def test_a_group_may_be_compared_in_its_own_way():
    typed = Exercise(
        DOUBLE.name,
        lambda numbers: np.float32(2 * numbers),
        DOUBLE.groups,
        alike_in={"negative": hidden.of_type("float32")},
    )
    drawn = hidden.draw(typed, "seed", "ann", "double")
    doubles = outputs(typed, drawn, lambda numbers: 2.0 * numbers)
    assert hidden.score(typed, drawn, doubles) == {"positive": (3, 3), "negative": (0, 3)}


def test_a_comparison_that_stumbles_says_wrong():
    def stumbles(mine, right):
        return mine["answer"] == right

    exercise = Exercise("f", 3, alike=stumbles)
    assert hidden.score(exercise, {}, [{"answer": 3}]) == {hidden.WHOLE: (1, 1)}
    for mine in HOSTILE:
        assert hidden.score(exercise, {}, [mine]) == {hidden.WHOLE: (0, 1)}


@pytest.mark.parametrize(
    ("value", "first", "others"),
    [
        ((5, 6, 7), 1, 1),
        ([5, 6, 0], 1, 0),
        (np.array([0, 6, 7]), 0, 1),
        ((5.0, "6", 7), 1, 0),
        ((5, 6), 0, 0),
        ((5, 6, 7, 8), 0, 0),
        ("567", 0, 0),
        (np.array([[5, 6, 7]]), 0, 0),
        ({0: 5}, 0, 0),
    ],
)
def test_a_literals_parts_are_scored_one_by_one(value, first, others):
    assert hidden.calls(AUDIT, hidden.draw(AUDIT, "seed", "ann", "audit")) is None
    expected = {"the first": (first, 1), "the others": (others, 1)}
    assert hidden.score(AUDIT, {}, [value]) == expected


def test_no_hostile_value_gets_a_part():
    for value in HOSTILE:
        assert hidden.score(AUDIT, {}, [value]) == {"the first": (0, 1), "the others": (0, 1)}


def test_an_exercise_that_cannot_be_marked_is_refused():
    with pytest.raises(ValueError, match="a function needs groups"):
        Exercise("f", abs)
    with pytest.raises(ValueError, match="a literal has none"):
        Exercise("f", 3, DOUBLE.groups)
    with pytest.raises(ValueError, match="names no group"):
        Exercise("f", abs, DOUBLE.groups, alike_in={"odd": hidden.agree})


# --- the file


def test_a_folder_without_hidden_tests_has_none(tmp_path):
    assert hidden.load(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("EXERCISES = {", "SyntaxError"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "no EXERCISES"),
        ("EXERCISES = {'a': 3}", "no EXERCISES"),
        ("from convnetlab.grading.hidden import Exercise\nExercise('f', abs)", "needs groups"),
        (
            "from convnetlab.grading.hidden import Exercise\n"
            "EXERCISES = {'an-id': Exercise('f', abs, {'texts': lambda rng: ('text',)})}",
            "'an-id' cannot be drawn and answered: TypeError",
        ),
        (
            "from convnetlab.grading.hidden import Exercise\n"
            "EXERCISES = {'an-id': Exercise('f', (1, 2), parts={'the third': 2})}",
            "'an-id' cannot be drawn and answered: IndexError",
        ),
    ],
)
def test_a_broken_file_is_named_with_the_reason(tmp_path, text, reason):
    (tmp_path / hidden.FILE).write_text(text)
    with pytest.raises(LabError, match=reason) as caught:
        hidden.load(tmp_path)
    assert str(tmp_path / hidden.FILE) in str(caught.value)


def test_loading_leaves_nothing_behind_and_sees_a_change(tmp_path):
    path = tmp_path / hidden.FILE
    for answer in (3, 4):
        path.write_text(
            "from convnetlab.grading.hidden import Exercise\n"
            f"EXERCISES = {{'an-id': Exercise('f', {answer})}}"
        )
        assert hidden.load(tmp_path)["an-id"].answer == answer
    assert list(tmp_path.iterdir()) == [path]


# --- what a solution should not call

CONV2D = "convolution.conv2d"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("convolution.convolve2d(a, b)", "convolution.convolve2d"),
        ("import convnetlab as c; c.convolution.convolve2d", "convolution.convolve2d"),
        ("import convnetlab.convolution; convnetlab.convolution.conv2d", CONV2D),
        ("def f(a):\n    return c.conv2d\nimport convnetlab.convolution as c", CONV2D),
        ("from convnetlab import convolution as c\nc.conv2d(a)", CONV2D),
        ("from convnetlab.convolution import convolve2d as f", "convolution.convolve2d"),
        ("from convnetlab.convolution import *\nconv2d(a)\ndef convolve2d(a): pass", CONV2D),
        ("from convnetlab.convolution import *", "convolution.convolve2d"),
        ("from convnetlab.convolution import *\ndef convolve2d(a): return a", ""),
        ("getattr(convolution, 'convolve2d')", "convolution.convolve2d"),
        ("import importlib as i\ni.import_module('convnetlab.convolution').conv2d", CONV2D),
        ("c, n = convolution, 3\nd = c\nd.conv2d(a)", CONV2D),
        ("(c := convolution).conv2d(a)", CONV2D),
        ("evaluation.confusion_matrix(a)", "evaluation.confusion_matrix"),
        ("%time x = convolution.convolve2d(a, b)", "convolution.convolve2d"),
        ("%%time\nx = 1\nx = convolution.convolve2d(a, b)", "convolution.convolve2d"),
        ("%%time\nfrom convnetlab.convolution import conv2d as f\nf(a)", CONV2D),
        ("def convolve2d(a): return convolve2d(a)", ""),
        ("convolution.relu(a) + '''as convolve2d does'''", ""),
        ("getattr(scipy, 'convolve2d')\nconvolution.relu", ""),
        ("'convolve2d'; getattr(convolution, 'relu')", ""),
        ("from scipy.signal import convolve2d, correlate\nconvolve2d(a, b)", ""),
        ("import scipy.signal as convolution\nconvolution.convolve2d(a, b)", ""),
        ("def f(convolution): return convolution.conv2d", ""),
        ("import tensorflow as tf\ntf.nn.conv2d(a)", ""),
        ("tf.nn.conv2d(a); keras.ops.conv2d(a); scipy.convolution.conv2d", ""),
        ("from sklearn.metrics import confusion_matrix as cm\ncm(a, b)", ""),
        ("from sklearn import metrics as evaluation\nevaluation.confusion_matrix(a)", ""),
        ("from convnetlab.convolution import relu\nimport convnetlab.convolution", ""),
        ("from . import convolution", ""),
        ("def f(:", ""),
        ("(" * 10_000, ""),
        ("a" + ".b" * 100_000, ""),
        ("\0", ""),
    ],
)
def test_uses_of_the_answer_and_of_nothing_else_are_found(source, found):
    forbidden = ("convolution.convolve2d", CONV2D, "evaluation.confusion_matrix")
    exercise = Exercise("convolve2d", 0, forbidden=forbidden)
    assert hidden.forbidden_in(exercise, source) == found


def test_several_uses_are_told_in_the_order_of_the_exercise():
    exercise = Exercise("f", 0, forbidden=("convolution.convolve2d", CONV2D))
    found = hidden.forbidden_in(exercise, "convolution.conv2d(convolution.convolve2d(a, b))")
    assert found == "convolution.convolve2d, convolution.conv2d"


def test_the_remark_says_whose_function_it_is_and_what_is_wrong_with_it():
    exercise = Exercise("f", 0, forbidden=(CONV2D,))
    ran = Execution(new_notebook(), {"f-check": CellRun("ok")}, {}, 0.0, 0)
    mark = Mark("f", "f-check", "n.ipynb", "F", 1.0, 1.0, "right", groups={"a": (1, 1)})
    [remark] = marking.doubts(mark, exercise, "f = convolution.conv2d", ran)
    assert remark.suspicious and remark.text == (
        "n.ipynb, f: the answer calls convnetlab's own convolution.conv2d, which does what the "
        "exercise asks for."
    )
    assert not marking.doubts(mark, exercise, "f = tf.nn.conv2d", ran)


@pytest.mark.parametrize("half", [Fraction(1, 2), Decimal("0.5"), np.array(Fraction(1, 2))])
def test_an_exact_number_is_as_good_as_a_float(half):
    exercise = Exercise("halve", lambda x: x / 2, {"ones": lambda rng: (1,)}, draws=1)
    output = wire.decode(wire.encode(half))
    assert hidden.score(exercise, {"ones": ((1,),)}, [output]) == {"ones": (1, 1)}
