"""The hidden tests of notebooks/: wrong answers lose, right ones win, partly right ones in part."""

import ast
import functools
import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from test_mutations import MISCONCEPTIONS, generic
from test_source import FOLDER, NOTEBOOKS, STAGES, code, grader

from convnetlab.grading import hidden, wire
from convnetlab.grading.records import Raised

HIDDEN = hidden.load(FOLDER)
SOLUTIONS = {
    cell.id: cell
    for stage in STAGES
    for cell in code(NOTEBOOKS[stage])
    if grader(cell).get("solution")
}
every_exercise = pytest.mark.parametrize("exercise_id", HIDDEN)


@functools.cache
def imports(stage):
    """Return the notebook's imports, one name each, by the name."""
    found = {}
    for cell in code(NOTEBOOKS[stage]):
        for node in ast.parse(cell.source).body:
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
                one = (
                    ast.ImportFrom(node.module, [alias], node.level)
                    if isinstance(node, ast.ImportFrom)
                    else ast.Import([alias])
                )
                found[alias.asname or alias.name] = ast.unparse(one)
    return found


@functools.cache
def alone(exercise_id):
    """Return the sources that an exercise needs: imports, its solution, its check; no other cell.

    Everything else that they use they must make themselves.
    """
    stage = next(s for s in STAGES if exercise_id in {c.id for c in NOTEBOOKS[s].cells})
    cells = {cell.id: cell.source for cell in NOTEBOOKS[stage].cells}
    solution, check = cells[exercise_id], cells[f"{exercise_id}-check"]
    used = {node.id for node in ast.walk(ast.parse(solution + "\n" + check)) if hasattr(node, "id")}
    needed = [statement for name, statement in imports(stage).items() if name in used]
    return "\n".join(needed), solution, check


def marks(exercise_id, answer, seed="private", student="ann"):
    """Return what an answer gets, by group: executed here, after the right one, as a student's.

    Inputs and outputs go through the text that carries them into a student's kernel and back.
    """
    exercise, namespace = HIDDEN[exercise_id], {}
    needed, solution, _ = alone(exercise_id)
    exec(f"{needed}\nimport numpy as np\nfrom convnetlab import convolution, evaluation", namespace)
    exec(solution, namespace)
    with np.errstate(all="ignore"):
        exec(answer, namespace)
        drawn = hidden.draw(exercise, seed, student, exercise_id)
        calls = hidden.calls(exercise, drawn)
        mine = namespace[exercise.name]
        carried = wire.decode(wire.encode(calls))
        outputs = [mine] if calls is None else [output_of(mine, call) for call in carried]
    return hidden.score(exercise, drawn, outputs)


def output_of(function, call):
    try:
        return wire.decode(wire.encode(function(*call)))
    except Exception as error:
        return Raised(type(error).__name__)


def share(marks):
    """Return the share of the groups that are right as a whole."""
    return sum(right == asked for right, asked in marks.values()) / len(marks)


def test_each_exercise_of_the_stages_has_hidden_tests():
    by_hand = {name for name, cell in SOLUTIONS.items() if grader(cell).get("grade")}
    assert set(HIDDEN) == set(SOLUTIONS) - by_hand
    for name, exercise in HIDDEN.items():
        statement = ast.parse(SOLUTIONS[name].source).body[0]
        named = (
            statement.name if isinstance(statement, ast.FunctionDef) else statement.targets[0].id
        )
        assert exercise.name == named
        assert not exercise.groups or 2 <= len(exercise.groups) <= 4


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_six_to_eight_exercises_whose_points_can_be_shared(stage):
    graded = [cell for cell in NOTEBOOKS[stage].cells if grader(cell).get("grade")]
    assert 6 <= len(graded) <= 8
    headings = [
        line
        for cell in NOTEBOOKS[stage].cells
        for line in cell.source.splitlines()
        if line.startswith("### Exercise ")
    ]
    by_hand = sum(bool(grader(cell)["solution"]) for cell in graded)
    numbers = [int(line.split()[2].rstrip(":")) for line in headings]
    assert numbers == list(range(1, len(graded) - by_hand + 1))
    for cell in graded:
        exercise = HIDDEN.get(cell.id.removesuffix("-check"))
        if exercise:
            groups = len(exercise.groups) or len(exercise.parts) or 1
            assert 1 <= grader(cell)["points"] <= 4
            assert grader(cell)["points"] / groups % 0.5 == 0, "points to write down"


def test_solutions_and_checks_run_alone_and_without_tensorflow():
    sources = {name: "\n".join(alone(name)) for name in HIDDEN}
    script = (
        "import json, sys\n"
        "for name, source in json.load(sys.stdin).items():\n"
        "    exec(source, {})\n"
        "    assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules, name\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(sources), text=True, capture_output=True
    )
    assert finished.returncode == 0, finished.stderr
    assert len(re.findall(r"Right[.:]", finished.stdout)) == len(HIDDEN)


@every_exercise
def test_the_solution_gets_everything_whoever_asks(exercise_id):
    _, solution, _ = alone(exercise_id)
    for number in range(15):
        found = marks(exercise_id, solution, seed=f"seed {number % 3}", student=f"student {number}")
        assert all(right == asked > 0 for right, asked in found.values()), (number, found)
    assert not hidden.forbidden_in(HIDDEN[exercise_id], solution)


@every_exercise
def test_wrong_answers_lose_something_whoever_asks(exercise_id):
    lucky = []
    for answer, _ in MISCONCEPTIONS[exercise_id]:
        shares = [share(marks(exercise_id, answer, student=name)) for name in "abcdefgh"]
        if max(shares) == 1:
            lucky.append((answer, shares))
    assert not lucky


@every_exercise
def test_answers_that_fit_any_exercise_get_nothing(exercise_id):
    for answer in generic(SOLUTIONS[exercise_id]):
        if "type_of" in answer:  # shaped as the right answer: see below
            continue
        for student in "abc":
            got = marks(exercise_id, answer, student=student)
            assert share(got) <= DESERVED.get((exercise_id, answer.partition("=")[2].strip()), 0)


# A constant that is right by itself: no picture is of that class; epoch 1; the gap is 0.
DESERVED = {
    ("best-epoch", "lambda *given: 1.0"): 1 / 4,
    ("majority-accuracy", "lambda *given: 0"): 1 / 4,
    ("shift-gap", "lambda *given: 0"): 1 / 4,
}

# What works for some inputs, and the groups that it must lose; all the others it must get.
PARTLY = {
    "labels-of": [
        (
            "def labels_of(paths):\n"
            "    names = [path.split('/')[-2] for path in paths]\n"
            "    classes = list(dict.fromkeys(names))\n"
            "    return [classes.index(name) for name in names]",
            ["files in any order", "files in train and test", "folders above folders"],
        ),
        (
            "labels_of = lambda paths: np.unique([p.split('/')[1] for p in paths],"
            " return_inverse=True)[1]",
            ["folders above folders"],
        ),
    ],
    "majority-accuracy": [
        (
            "majority_accuracy = lambda train, test: np.bincount(test).max() / len(test)",
            [
                "another class leads in the test",
                "labels with gaps between them",
                "the commonest class is not in the test",
            ],
        ),
    ],
    "one-hot": [
        ("one_hot = lambda labels, classes: np.eye(classes)[labels]", ["float32"]),
        (
            "one_hot = lambda labels, c: np.eye(labels.max() + 1, dtype=np.float32)[labels]",
            ["the last classes do not occur", "a single label"],
        ),
    ],
    "prepare": [
        ("prepare = lambda p: (p / 255)[None, ..., None]", ["float32"]),
        ("prepare = lambda p: np.float32(p / p.max())[None, ..., None]", ["dim pictures"]),
        (
            "prepare = lambda p: np.float32(p / 255).reshape(1, len(p), len(p), 1)",
            ["pictures that are not square"],
        ),
    ],
    "unseen": [
        (
            "unseen = lambda a, b: [(p != q).any() for p, q in zip(a[:len(b)], b)]",
            ["copies at another place", "mirrored pictures, which are new", "colour pictures"],
        ),
        (
            "unseen = lambda a, b: ~np.isin(b.sum(axis=(1, 2, 3)), a.sum(axis=(1, 2, 3)))",
            ["mirrored pictures, which are new"],
        ),
    ],
    "convolve": [
        (
            "def convolve(image, kernel):\n"
            "    n, k = len(image), len(kernel)\n"
            "    return [[(image[r:r+k, c:c+k] * kernel).sum() for c in range(n - k + 1)]"
            " for r in range(n - k + 1)]",
            ["pictures that are not square", "kernels that are not square"],
        ),
        (
            "def convolve(image, kernel):\n"
            "    k = len(kernel)\n"
            "    h, w = image.shape[0] - k + 1, image.shape[1] - k + 1\n"
            "    return [[(image[r:r+k, c:c+k] * kernel).sum() for c in range(w)]"
            " for r in range(h)]",
            ["kernels that are not square", "kernels as large as the picture"],
        ),
    ],
    "output-size": [
        (
            "output_size = lambda n, k, stride=1, padding=0: -(-(n + 2*padding - k)//stride) + 1",
            ["a stride that leaves pixels over"],
        ),
        (
            "output_size = lambda n, k, stride=1, padding=0: (n + padding - k) // stride + 1",
            ["padding"],
        ),
        (
            "output_size = lambda n, k, stride=1, padding=0: n + 2 * padding - k + 1",
            ["a stride whose last step fits", "a stride that leaves pixels over"],
        ),
    ],
    "eight-filters": [
        ("eight_filters = (28, 28, 8, 600)", ["the parameters"]),
        ("eight_filters = [32, 32, 8, 608]", ["the shape of the output"]),
    ],
    "max-pool": [
        (
            "max_pool = lambda m: m.reshape(m.shape[0] // 2, 2, m.shape[1] // 2, 2).max((1, 3))",
            ["a row or a column left over"],
        ),
        (
            "def max_pool(m):\n"
            "    m = m[:len(m) // 2 * 2, :m.shape[1] // 2 * 2]\n"
            "    pooled = m.reshape(len(m) // 2, 2, m.shape[1] // 2, 2).max((1, 3))\n"
            "    return np.maximum(pooled, 0)",
            ["negative numbers only"],
        ),
    ],
    "audit": [
        ("audit = (5408, 540_800, 2_164_630)", ["the hidden layer's parameters"]),
        (
            "audit = (169, 540_900, 542_230)",
            ["the flattened numbers", "the parameters without pooling"],
        ),
    ],
    "cross-entropy": [
        (
            "cross_entropy = lambda p, y: -np.log(p[np.arange(len(y)), y]).sum()",
            [
                "pictures that are all called right",
                "pictures that are called wrong",
                "hardly any probability for the truth",
            ],
        ),
        (
            "cross_entropy = lambda p, y: -np.log(p.max(axis=1)).mean()",
            [
                "a single picture",
                "pictures that are called wrong",
                "hardly any probability for the truth",
            ],
        ),
    ],
    "score-gradient": [
        (
            "score_gradient = lambda p, y: p - np.eye(p.shape[1])[y]",
            ["pictures that are called right", "pictures that are called wrong", "two classes"],
        ),
        (
            "score_gradient = lambda p, y: (p - np.eye(p.shape[1])[p.argmax(axis=1)]) / len(y)",
            ["pictures that are called wrong", "two classes"],
        ),
    ],
    "momentum-step": [
        (
            "momentum_step = lambda w, v, g, rate, m: (w - rate * g, -rate * g)",
            ["on in the same direction", "against the velocity"],
        ),
    ],
    "steps": [
        ("steps_per_epoch = lambda images, size: images / size", ["a last, smaller batch"]),
        (
            "steps_per_epoch = lambda images, size: images // size + 1",
            ["batches that are all full"],
        ),
    ],
    "best-epoch": [
        (
            "best_epoch = lambda t, v: len(t)",
            [
                "the loss falls, then rises",
                "it rises and falls lower still",
                "it rises from the first epoch on",
            ],
        ),
        (
            "def best_epoch(t, v):\n"
            "    return next((i for i in range(1, len(v)) if v[i] > v[i - 1]), len(v))",
            ["it rises and falls lower still"],
        ),
    ],
    "interval": [
        (
            "def interval(right, n, z=1.96):\n"
            "    p = right / n\n    r = z * np.sqrt(p * (1 - p) / n)\n    return p - r, p + r",
            ["few pictures", "all of them right", "none of them right"],
        ),
    ],
    "confusion-matrix": [
        (
            "def confusion_matrix(t, p, k):\n"
            "    m = np.zeros((k, k), int)\n    m[t, p] += 1\n    return m",
            ["pairs that occur again", "two classes"],
        ),
        (
            "confusion_matrix = lambda t, p, k: evaluation.confusion_matrix(t, p, max(t) + 1)",
            ["a class that does not occur"],
        ),
    ],
    "macro-f1": [
        (
            "def macro_f1(m):\n    p, r = np.diag(m) / m.sum(0), np.diag(m) / m.sum(1)\n"
            "    return (2 * p * r / (p + r)).mean()",
            [
                "a class that is never named",
                "a class without pictures that is named",
                "a class that is nowhere",
            ],
        ),
        (
            "macro_f1 = lambda m: (2 * np.diag(m) / (m.sum(0) + m.sum(1))).mean()",
            ["a class that is nowhere"],
        ),
    ],
    "find-mistakes": [
        (
            "find_mistakes = lambda t, p, c, n: np.flatnonzero(t != p)[:n]",
            ["mistakes in any order", "more asked for than there are"],
        ),
        (
            "def find_mistakes(t, p, c, n):\n"
            "    w = np.flatnonzero(t != p)\n    w = w[np.argsort(-c[w])]\n"
            "    return [w[i] for i in range(min(n, 3, len(w)))]",
            ["more asked for than there are"],
        ),
    ],
    "threshold": [
        (
            "def threshold(confidence, right, wanted):\n"
            "    best = np.inf\n"
            "    for t in np.unique(confidence)[::-1]:\n"
            "        if right[confidence >= t].mean() < wanted:\n"
            "            break\n"
            "        best = t\n"
            "    return best",
            ["it falls and rises again", "answers that are equally sure"],
        ),
        (
            "threshold = lambda c, r, w: min(t for t in c if r[c >= t].mean() >= w)",
            ["no threshold reaches it"],
        ),
    ],
}


@pytest.mark.parametrize(
    ("exercise_id", "answer", "lost"),
    [(name, *case) for name, cases in PARTLY.items() for case in cases],
)
def test_partly_right_answers_get_their_share_exactly(exercise_id, answer, lost):
    for student in "abcdefgh":
        got = marks(exercise_id, answer, student=student)
        assert [name for name, (right, asked) in got.items() if right < asked] == lost
        assert share(got) == pytest.approx(1 - len(lost) / len(got))


def test_a_name_for_the_packages_own_function_is_seen():
    for name, answer in (
        (
            "convolve",
            "def convolve(image, kernel):\n    return convolution.convolve2d(image, kernel)",
        ),
        ("one-hot", "from convnetlab.preprocess import one_hot as mine\none_hot = mine"),
        ("output-size", "output_size = getattr(convolution, 'output_size')"),
    ):
        assert hidden.forbidden_in(HIDDEN[name], answer)


@every_exercise
def test_what_a_solution_should_not_use_is_the_packages_own(exercise_id):
    for name in HIDDEN[exercise_id].forbidden:
        module, _, function = name.partition(".")
        assert callable(getattr(importlib.import_module(f"convnetlab.{module}"), function))
