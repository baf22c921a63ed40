"""What of a notebook is executed to mark it. The oracle is Python: the slice computes the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from convnetlab.grading.slices import needed
from convnetlab.notebooks import read
from convnetlab.paths import STAGES, notebooks_folder


def notebook(*cells):
    """A notebook of (id, source): check-… and answer-… are exercises, own-… and changed-… own."""
    made = []
    for name, source in cells:
        cell = new_code_cell(source, id=name)
        kind = name.partition("-")[0]
        if kind in ("check", "answer"):
            settings = {"grade": kind == "check", "solution": kind == "answer", "grade_id": name}
            cell.metadata["nbgrader"] = settings
        if kind in ("added", "changed"):
            cell.metadata["convnetlab"] = {"own": kind}
        made.append(cell)
    return new_notebook(cells=[new_markdown_cell("Text", id="text"), *made])


def run(sources):
    names = {}
    for source in sources:
        exec(source, names)
    return names


SHAPES = {
    "import": ("import math", "y = math.pi"),
    "import as": ("import os.path as p", "y = p.sep"),
    "import a.b": ("import os.path", "y = os.path.sep"),
    "import of two": ("import json, math", "y = math.pi"),
    "from": ("from math import pi, e as euler", "y = euler"),
    "from a star": ("from math import *", "y = tau"),
    "def": ("def f(x):\n    return 2 * x", "y = f(4)"),
    "lambda": ("f = lambda x: 2 * x", "y = f(4)"),
    "class": ("class C:\n    n = 3\n    def m(self):\n        return self.n", "y = C().m()"),
    "walrus": ("print(n := 5)", "y = n"),
    "walrus in a comprehension": ("[last := i for i in range(3)]", "y = last"),
    "for": ("for i in range(4):\n    total = i", "y = i + total"),
    "with": ("import io\nwith io.StringIO('ab') as file:\n    text = file.read()", "y = text"),
    "try": ("try:\n    import nowhere_at_all\nexcept ImportError:\n    a = 4", "y = a"),
    "while": ("n = 0\nwhile n < 3:\n    n += 1", "y = n"),
    "if": ("if len('a'):\n    a = 4\nelse:\n    a = 5", "y = a"),
    "augmented": ("a = 1\na += 2\na |= 8", "y = a"),
    "tuple": ("(a, *b), c = [1, 2, 3], 4", "y = b + [c]"),
    "chain": ("a = b = 4", "y = b"),
    "annotated": ("a: int = 3", "y = a"),
    "only annotated": ("a = 3\na: int", "y = a"),
    "match": (
        "match [1, 2]:\n    case [a, b]:\n        c = a\n    case _:\n        c = 0",
        "y = c + b",
    ),
    "match rest": ("match {'k': 1, 'l': 2}:\n    case {'k': 1, **rest}:\n        pass", "y = rest"),
    "global": ("def f():\n    global a\n    a = 3\nb = f()", "y = (b, a)"),
    "global by a call": ("a = 1\ndef f():\n    global a\n    a = 3\ng = f\ng()", "y = a"),
    "comprehension's own names": ("a = 2\nb = [a * i for i in range(3)]", "y = b"),
    "default": ("a = 2\ndef f(x=a):\n    return x\na = 7", "y = f()"),
    "decorator": ("def d(f):\n    return lambda: 7\n@d\ndef g():\n    return 0", "y = g()"),
    "closure": (
        "def f():\n    n = 3\n    def g():\n        return n + k\n    return g\nk = 4",
        "y = f()()",
    ),
    "bound after the function": ("def f():\n    return later\nlater = 5", "y = f()"),
    "through an alias": ("def f():\n    return k\ng = [f]\nk = 1\nk = 2", "y = g[0]()"),
    "through two functions": ("def f():\n    return g()\ndef g():\n    return k\nk = 3", "y = f()"),
    "a base class": ("class A:\n    a = 1\nclass B(A):\n    pass", "y = B.a"),
    "subscript": ("a = [1, 2]\na[0] = 9", "y = a"),
    "attribute": ("class A: pass\na = A()\na.b = 3", "y = a.b"),
    "del": ("a = {1: 2, 3: 4}\ndel a[1]", "y = a"),
    "starred call": ("a = (1, 2)\nb = max(*a)", "y = b"),
    "f-string": ("a = 3\nb = f'{a!r:>{a}}'", "y = b"),
    "future": ("from __future__ import annotations\ndef f(x: Nowhere):\n    return 3", "y = f(1)"),
    "several on a line": ("a = 1; b = a + 1; c = 5", "y = b"),
    "async": ("async def f():\n    return 3", "y = f.__name__"),
    "overwritten": ("a = 1\nb = a\na = 5", "y = (a, b)"),
    "overwritten on one way": ("a = 1\nif len(''):\n    a = 2", "y = a"),
    "non-ASCII": ("größe = 4", "y = größe"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slice_computes_the_same(shape):
    source, check = SHAPES[shape]
    noise = "noise = 1\ndef unused():\n    return noise\n"
    cells = (("one", f"{source}\n{noise}"), ("check-two", check))
    whole = run(source for _, source in cells)
    part = needed(notebook(*cells))
    found = run(part.values())
    assert found["y"] == whole["y"]
    assert list(part) == ["one", "check-two"]
    assert "noise" not in found and "unused" not in found


STATEMENTS = st.sampled_from(
    [
        *("a = {0}", "b = {0}", "c = {0}", "a, b = {0}, {1}", "a += {0}", "c = a + b", "b = c"),
        *("f = lambda: {0} + a", "g = f", "c = f()", "def f():\n    return g() if a > 3 else b"),
        *("for a in range({0}): b = a", "if a > {0}: b = {1}\nelse: c = {0}", "x = [a]"),
        *("if a > {0}: a = {1}", "while a > {0}: a -= 1", "import math as m", "b = int(m.pi)"),
        *("d = [a, b]", "d[0] = c", "c = d[0]", "[c for c in d]", "def f(x=c):\n    return x"),
        *("try: a = {0} // b\nexcept ZeroDivisionError: c = {1}", "class K:\n    v = a", "b = K.v"),
        *("def f():\n    global c\n    c = {0}\n    return c", "b = f() if f is not g else 0"),
    ]
)
LINES = st.lists(
    st.tuples(STATEMENTS, st.integers(0, 5), st.integers(0, 5)).map(lambda t: t[0].format(*t[1:])),
    max_size=14,
)
START = "a = 1\nb = 2\nc = 3\nd = [0, 0]\nimport math as m\nclass K: v = 1\n"
START += "f = lambda: 4\ng = lambda: 5"


@given(LINES, LINES)
def test_slices_of_made_up_programs_compute_the_same(first, second):
    cells = (("zero", START), ("one", "\n".join(first)), ("two", "\n".join(second)))
    cells = (*cells, ("check", "y = (a, c, d)"))
    try:
        whole = run(source for _, source in cells)["y"]
    except (RecursionError, TypeError):
        return  # f calls g, which is f
    assert run(needed(notebook(*cells)).values())["y"] == whole


def test_what_nothing_needs_is_left_out():
    cells = [
        ("imports", "import json, math as m, antigravity_of_nobody"),
        ("costly", "model = train()\nscores = m.pi\nplot(model)"),
        ("check-a", "assert scores"),
        ("after", "more = scores"),
    ]
    assert needed(notebook(*cells)) == {
        "imports": "import math as m",
        "costly": "scores = m.pi",
        "check-a": "assert scores",
    }


def test_what_a_check_binds_itself_is_not_looked_for_elsewhere():
    cells = [
        ("one", "right, n = train()"),
        (
            "check-a",
            "for right, n in [(1, 2)]:\n    mine = right / n\n    assert mine\nn = 3\nassert n",
        ),
    ]
    assert list(needed(notebook(*cells))) == ["check-a"]


def test_exercises_are_taken_whole_even_if_they_do_not_parse():
    cells = [
        (
            "one",
            "x = (",
        ),
        ("answer-a", "def f(:"),
        ("check-a", "assert f(1)"),
    ]
    assert needed(notebook(*cells)) == {"answer-a": "def f(:", "check-a": "assert f(1)"}


def test_magics():
    cells = [
        ("magic", "%matplotlib inline\n!ls\nimport math\nmath.pi?"),
        ("timed", "%%time\nk = math.pi"),
        ("shell", "%%bash\nk = 3"),
        ("listing", "files = !ls"),
        ("answer-a", "%%time\nf = lambda: k"),
        ("check-a", "%timeit f()\nassert f() and files"),
    ]
    found = needed(notebook(*cells))
    assert found["magic"] == "import math"
    assert found["timed"] == "k = math.pi"
    assert "shell" not in found
    assert found["listing"] == "files = get_ipython().getoutput('ls')"
    assert found["answer-a"].startswith("%%time") and found["check-a"].startswith("%timeit")


def test_a_star_import_stays_only_where_a_name_may_come_from_it():
    star = "from math import *"
    assert "one" in needed(notebook(("one", star), ("check-a", "assert tau")))
    assert "one" not in needed(notebook(("one", star), ("check-a", "assert len([1])")))
    assert "one" not in needed(notebook(("one", star), ("two", "tau = 1"), ("check-a", "tau")))


def test_students_own_cells():
    cells = [
        ("instructors", "import numpy as np\nstuff = []\nstuff.append(3)"),
        ("changed-one", "import numpy as np\nimport math\nnp = None\nstuff = [1]"),
        ("added-one", "seen = []\nseen.append(math.pi)\nprint(stuff)\nprint('hello')\nshow(4)"),
        ("added-two", "x = ("),
        ("answer-a", "def f():\n    return seen, np"),
        ("check-a", "assert f()[0]"),
    ]
    assert needed(notebook(*cells)) == {
        "instructors": "import numpy as np",
        "changed-one": "import math",
        "added-one": "seen = []\nseen.append(math.pi)",
        "answer-a": cells[4][1],
        "check-a": cells[5][1],
    }


def test_every_cell_of_the_instructors_can_be_asked_for():
    cells = [("one", "a = 1"), ("added-one", "b = 1"), ("two", "c = 1"), ("check-a", "assert 1")]
    assert list(needed(notebook(*cells), every_cell=True)) == ["one", "two", "check-a"]


@pytest.mark.parametrize("stage", STAGES)
def test_of_the_stages_only_a_little_is_needed(stage):
    source = read(notebooks_folder() / f"{stage}.ipynb")
    found = needed(source)
    code = [cell.id for cell in source.cells if cell.cell_type == "code"]
    exercises = [cell.id for cell in source.cells if cell.metadata.get("nbgrader")]
    assert set(exercises) & set(code) <= set(found)
    assert list(found) == [name for name in code if name in found]
    text = "\n".join(found.values())
    assert ".fit(" not in text and "figures." not in text and "run_here.figure" not in text
