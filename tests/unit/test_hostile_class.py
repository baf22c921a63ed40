"""A class in which everybody but two does something hostile or hapless, graded in one go.

What each gets, that all others are graded, that nothing outside is touched, and that the
instructor's page names it. What a kernel may do is tried one by one in `test_execution`.
"""

import html
import http.server
import json
import re
import sys
import threading
import zipfile
from typing import ClassVar

import psutil
import pytest
from small_class import SOLUTIONS, hand_in, write_source
from test_grade import FULL, NOTHING, points, rows, run

from convnetlab.grading import store
from convnetlab.grading.records import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
LIMITS = Limits(seconds=3, memory=512 * 2**20)
RIGHT = SOLUTIONS["double"] + "\n"

# What a student writes in the cell of `double`; the points that they get for it; what is said.
CELLS = {
    "endless": (RIGHT + "while True:\n    pass", 2, "took too long"),
    "stubborn": (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"{RIGHT}while True:\n    pass",
        0,
        "took too long",
    ),
    "exit": (f"import os\n{RIGHT}os._exit(0)", 0, "ended the kernel"),
    "memory": (f"{RIGHT}held = []\nwhile True: held.append(bytearray(2**26))", 0, "memory"),
    "forks": (
        f"import os\n{RIGHT}while True:\n    try: os.fork()\n    except OSError: pass",
        0,
        "processes",
    ),
    "talk": (
        f"{RIGHT}for _ in range(300): print('x' * 2**20)",
        0,
        "printed far too much|MB of memory",
    ),
    "one-file": (
        f"{RIGHT}file = open('big', 'wb')\nwhile True: file.write(bytes(2**22))",
        0,
        "filled the disk",
    ),
    "many-files": (
        f"{RIGHT}number = 0\nwhile True:\n    number += 1\n"
        "    open(f'f{number}', 'wb').write(bytes(2**16))",
        0,
        "filled the disk",
    ),
    "warns": (f"import sys\nsys.stderr.write('Warning!')\n{RIGHT}", 2, ""),
    "equal": (
        "class Yes:\n    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "def double(x): return Yes()",
        0,
        "made for the check",
    ),
    "transformer": (
        "import ast\nclass Mute(ast.NodeTransformer):\n"
        "    def visit_Assert(self, node): return ast.Pass()\n"
        "get_ipython().ast_transformers.append(Mute())\ndef double(x): return 0",
        0,
        "tampered",
    ),
    "patched": (
        "import builtins\nclass Quiet(Exception): pass\nbuiltins.AssertionError = Quiet\n"
        "def double(x): return 0",
        0,
        "",
    ),
    "left-behind": (
        f"import subprocess\nsubprocess.Popen(['sleep', '98765'], start_new_session=True)\n{RIGHT}",
        2,
        "",
    ),
}


class Door(http.server.BaseHTTPRequestHandler):
    """Notes who comes in."""

    came: ClassVar[list[str]] = []

    def do_GET(self):
        Door.came.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def notebook_of(folder, name="01_numbers"):
    return folder / f"{name}.ipynb"


def change(path, how):
    """Change a handed-in notebook's JSON."""
    notebook = json.loads(path.read_text())
    how(notebook)
    path.write_text(json.dumps(notebook))


def cell(notebook, key):
    return next(cell for cell in notebook["cells"] if cell["id"] == key)


def without_double(notebook):
    notebook["cells"] = [c for c in notebook["cells"] if not c["id"].startswith("double")]


def with_a_soft_check(notebook):
    cell(notebook, "is_even-check")["source"] = "print('fine')"
    cell(notebook, "is_even")["source"] = "is_even = None"


def with_a_copy(notebook):
    notebook["cells"].append(json.loads(json.dumps(cell(notebook, "double"))))
    notebook["cells"].append(json.loads(json.dumps(cell(notebook, "double-check"))))


def upside_down(notebook):
    notebook["cells"].reverse()


def stripped(notebook):
    for each in notebook["cells"]:
        each["metadata"] = {}


def with_more_points(notebook):
    cell(notebook, "double-check")["metadata"]["nbgrader"]["points"] = 100


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The class, graded; a server that nobody may reach; a folder that nobody may touch."""
    place = tmp_path_factory.mktemp("hostile")
    source, submissions = write_source(place / "source"), place / "submissions"
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the secret")
    for name, (answer, *_) in CELLS.items():
        hand_in(source, submissions / name, **SOLUTIONS | {"double": answer})
    for name in ("ada", "zoë"):
        hand_in(source, submissions / name, **SOLUTIONS)
    changed = {
        "deleted": without_double,
        "soft": with_a_soft_check,
        "copied": with_a_copy,
        "reversed": upside_down,
        "stripped": stripped,
        "greedy": with_more_points,
    }
    for name, how in changed.items():
        hand_in(source, submissions / name, **SOLUTIONS)
        change(notebook_of(submissions / name), how)
    for name in ("gone", "renamed", "empty", "corrupt", "picture", "shadow", "linked"):
        hand_in(source, submissions / name, **SOLUTIONS)
    notebook_of(submissions / "gone").unlink()
    notebook_of(submissions / "renamed").rename(submissions / "renamed" / "final version.ipynb")
    notebook_of(submissions / "empty").write_bytes(b"")
    text = notebook_of(submissions / "corrupt").read_text()
    notebook_of(submissions / "corrupt").write_text(text[: len(text) // 2])
    notebook_of(submissions / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    for module in ("numpy.py", "convnetlab.py", "math.py"):
        (submissions / "shadow" / module).write_text("raise SystemExit('mine')")
    notebook_of(submissions / "linked").unlink()
    notebook_of(submissions / "linked").symlink_to(notebook_of(submissions / "ada"))
    with zipfile.ZipFile(submissions / "escape.zip", "w") as archive:
        for path in (submissions / "ada").iterdir():
            archive.write(path, path.name)
        archive.writestr("../../outside/escaped.ipynb", "{}")
        archive.writestr("/tmp/escaped.ipynb", "{}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    grades = place / "grades"
    look = f"""
import os, socket, pathlib
def double(x): return 2 * x
seen = []
for place in {[str(source), str(submissions), str(grades), str(outside), str(place)]!r}:
    try:
        seen += [str(path) for path in pathlib.Path(place).rglob("*") if path.is_file()]
    except OSError: pass
for path in ["/etc/shadow", "/home"]:
    try:
        seen += list(os.listdir(path)) if os.path.isdir(path) else [open(path).read()]
    except OSError: pass
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        seen += [number] * (b"TEST_SECRET" in open("/proc/" + number + "/environ", "rb").read())
    except OSError: pass
for target in [("127.0.0.1", {server.server_port}), ("1.1.1.1", 53)]:
    try:
        socket.create_connection(target, timeout=1)
        seen.append(str(target))
    except OSError: pass
for place in {[str(outside), str(submissions / "ada"), str(grades), "/etc", "/usr", "/var/tmp"]!r}:
    try:
        open(place + "/hostile.txt", "w").write("x")
        seen.append(place)
    except OSError: pass
print("SEEN", seen)
"""
    hand_in(source, submissions / "spy", **SOLUTIONS | {"double": look})
    before = {path: path.read_bytes() for path in submissions.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNETLAB_TEST_SECRET", "x")
        told = run(submissions, grades, source, limits=LIMITS)
    server.shutdown()
    after = {path: path.read_bytes() for path in submissions.rglob("*") if path.is_file()}
    assert before == after
    return place, told


@pytest.mark.parametrize("name", CELLS)
def test_a_hostile_cell_costs_its_exercise_at_most(name, hostile):
    place, _ = hostile
    _, expected, word = CELLS[name]
    assert points(place / "grades")[name] == FULL | {"double": expected}
    page = html.unescape((place / "grades" / "report.html").read_text())
    assert name in page
    told = "\n".join(r.text for r in store.load(place / "grades", name).result.remarks)
    assert re.search(word, told) and (not word or re.search(word, page))


HAPLESS = {
    "ada": FULL,
    "zoë": FULL,
    "deleted": FULL | {"double": 0},
    "soft": FULL | {"is_even": 0},
    "copied": FULL,
    "reversed": FULL,
    "stripped": FULL,
    "greedy": FULL,
    "gone": NOTHING | {"triple": 2},
    "renamed": FULL,
    "empty": NOTHING | {"triple": 2},
    "corrupt": NOTHING | {"triple": 2},
    "picture": NOTHING | {"triple": 2},
    "shadow": FULL,
    "linked": NOTHING | {"triple": 2},
    "escape": FULL,
    "spy": FULL,
}


@pytest.mark.parametrize("name", HAPLESS)
def test_everybody_else_is_graded(name, hostile):
    place, _ = hostile
    assert points(place / "grades")[name] == HAPLESS[name]
    if name not in ("ada", "zoë", "shadow", "spy"):
        assert store.load(place / "grades", name).result.remarks, "the instructor is told nothing"


def test_all_have_a_row_and_a_page(hostile):
    place, _ = hostile
    everybody = {*CELLS, *HAPLESS}
    assert rows(place / "grades").keys() == everybody
    for student in everybody:
        assert (place / "grades" / "feedback" / f"{student}.html").is_file()


def test_nothing_outside_was_seen_or_touched(hostile):
    place, _ = hostile
    executed = store.load(place / "grades", "spy").result.notebooks[0].executed
    seen = re.search(r"SEEN (\[.*?\])", executed)
    assert seen and seen[1] == "[]"
    assert Door.came == []
    assert [path.name for path in (place / "outside").iterdir()] == ["secret.txt"]
    assert not list(place.rglob("hostile.txt")) and not list(place.rglob("*escaped*"))


def test_nothing_is_left_running(hostile):
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    assert not [line for line in lines if "98765" in line]
