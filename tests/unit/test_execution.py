"""Whatever a cell does, it costs one exercise: the others get what they deserve."""

import base64
import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from grading_cells import LIMITS, carry_out, exercise, notebook_of, statuses
from nbformat.v4 import new_code_cell

from convnetlab.grading import execution, watch, wire
from convnetlab.grading.execution import execute, read_answers
from convnetlab.grading.outputs import Outputs, is_png
from convnetlab.grading.records import Limits, Probe, Raised
from convnetlab.grading.slices import needed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
FINE = "{0} = lambda x: 2 * x\n"


def told(done, cell):
    """The remarks that name a cell."""
    return " ".join(r.text for r in done.remarks if f" {cell}:" in r.text or f" {cell} " in r.text)


def is_suspicious(done, cell):
    """Whether a remark that names a cell is for the instructor's list of suspicious ones."""
    return any(f" {cell}:" in r.text or f" {cell} " in r.text for r in done.remarks if r.suspicious)


@pytest.mark.parametrize("sandbox", [True, False])
def test_what_honest_and_wrong_answers_give(sandbox):
    done = carry_out(
        exercise(
            "right", "import numpy as np\ndef right(x):\n    return np.full(x, 2.0)", "print(1)"
        ),
        exercise(
            "wrong", "def wrong(x):\n    return x", "assert wrong(2) == 4, 'Expected 4.\\nGot 2.'"
        ),
        exercise("raises", "def raises(x):\n    raise KeyError(x)", "raises(1)"),
        exercise("syntax", "def syntax(:"),
        exercise("literal", "literal = (28, [1, 2.5], None)", "assert literal", []),
        sandbox=sandbox,
    )
    assert statuses(done, "right", "right-check", "wrong", "wrong-check", "syntax") == {
        **{"right": "ok", "right-check": "ok", "wrong": "ok", "wrong-check": "error"},
        "syntax": "error",
    }
    assert [array.tolist() for array in done.answers["right-check"]] == [[2.0] * 2, [2.0] * 5]
    assert done.cells["wrong-check"].message == "Expected 4. Got 2."
    assert done.cells["raises-check"].message == "KeyError: 1"
    assert done.cells["syntax-check"].message.startswith("NameError: name 'syntax'")
    assert done.answers["raises-check"] == [Raised("KeyError")] * 2
    assert done.answers["syntax-check"] is None
    assert not done.remarks and 10 * 2**20 < done.memory < LIMITS.memory
    text = nbformat.writes(done.notebook)
    assert "answers+json" not in text and "canary" not in text
    outputs = {cell.id: cell.outputs for cell in done.notebook.cells}
    assert outputs["right-check"][0].text == "1\n"
    assert outputs["wrong-check"][0].ename == "AssertionError"


def test_a_literal_is_asked_for():
    notebook = notebook_of(("number", "number = (28, [1, 2.5], ...)", "assert number", None))
    probes = [Probe("number-check", "number", None), Probe("none-check", "none", None)]
    done = execute(notebook, needed(notebook), probes, LIMITS)
    assert done.answers == {
        "number-check": [(28, [1, 2.5], wire.Foreign("ellipsis"))],
        "none-check": None,
    }


def test_each_call_gets_arguments_of_its_own():
    solution = "def total(x):\n    x += 1\n    return x.sum()"
    notebook = notebook_of(("total", solution, "assert total", None))
    given = np.arange(3)
    probes = [Probe("total-check", "total", ((given,), (given,)))]
    done = execute(notebook, needed(notebook), probes, LIMITS)
    assert done.answers["total-check"] == [6, 6] and given.tolist() == [0, 1, 2]


def test_it_works_in_a_thread():
    results = []
    worker = threading.Thread(target=lambda: results.append(carry_out()))
    worker.start()
    worker.join()
    assert len(results) == 1


def test_endless_loops():
    ignoring = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
    in_thread = "import threading\ndef run():\n    while True:\n        pass\n"
    in_thread += (
        "t = threading.Thread(target=run)\nt.start()\nwhile True:\n    try:\n        t.join()\n"
    )
    in_thread += "    except BaseException:\n        pass"
    done = carry_out(
        exercise("plain", "plain = lambda x: 2 * x\nwhile True:\n    pass"),
        exercise("ignores", ignoring),
        exercise(
            "deaf",
            "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass",
        ),
        exercise("thread", in_thread),
        exercise("in_c", "import ctypes\nin_c = lambda x: ctypes.PyDLL(None).sleep(1000)"),
        exercise("stopped", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
        exercise("later", "def later(x):\n    while x == 5:\n        pass\n    return 2 * x"),
    )
    cells = ("plain", "ignores", "deaf", "thread", "in_c", "in_c-check", "stopped", "later-check")
    expected = dict.fromkeys(cells, "timeout") | {"in_c": "ok", "later-check": "ok"}
    assert statuses(done, *cells) == expected
    assert done.cells["plain-check"].status == "ok"  # interrupted, the kernel went on
    assert done.answers["later-check"] is None and "took too long" in told(done, "later-check")
    assert "took too long, and went on" in told(done, "ignores")
    assert not any(remark.suspicious for remark in done.remarks)


def test_ends():
    done = carry_out(
        exercise("leaves", "import os\nos._exit(0)"),
        exercise("itself", "import os\nitself = lambda x: os.kill(os.getpid(), 9)"),
        exercise("crash", "import ctypes\ncrash = lambda x: ctypes.string_at(0)"),
        exercise("probe", "import os\nprobe = lambda x: 2 * x if x == 2 else os._exit(1)"),
        exercise("exits", "raise SystemExit(3)"),
        # What lies above it is bubblewrap, in whose eyes it has no rights.
        exercise(
            "parents",
            FINE.format("parents") + "import os\nfor n in (1, os.getppid()):\n    os.kill(n, 9)",
        ),
    )
    cells = ("leaves", "itself-check", "crash-check", "probe-check", "exits")
    assert statuses(done, *cells) == {
        **{"leaves": "died", "itself-check": "died", "crash-check": "died", "probe-check": "ok"},
        "exits": "error",
    }
    assert done.answers["probe-check"] is None
    assert "ended the kernel" in told(done, "leaves")
    assert not any(remark.suspicious for remark in done.remarks)
    assert all(done.cells[name].seconds < 1.4 for name in ("leaves", "itself-check", "crash-check"))
    assert done.cells["parents-check"].status == "ok"


@pytest.mark.parametrize("place", ["solution", "check", "probe"])
def test_who_is_ended_by_what_an_earlier_cell_left_behind_is_not_blamed(tmp_path, place):
    flag = tmp_path / "ended"
    killer = f"""
import os, pathlib, threading, time
def wait():
    while "has_begun" not in globals():
        time.sleep(0.01)
    pathlib.Path({str(flag)!r}).touch()
    os._exit(1)
if not os.path.exists({str(flag)!r}):
    threading.Thread(target=wait, daemon=True).start()
"""
    wait = "globals().update(has_begun=1) or time.sleep(0.4)"
    solution = f"import time\nmine = lambda x: ({wait if place == 'probe' else 0}) or 2 * x\n"
    done = carry_out(
        exercise("killer", FINE.format("killer") + killer),
        exercise(
            "mine",
            solution + (wait if place == "solution" else ""),
            wait if place == "check" else "assert mine",
        ),
        sandbox=False,
    )
    assert flag.exists()
    assert statuses(done, "mine", "mine-check") == {"mine": "ok", "mine-check": "ok"}
    assert done.answers["mine-check"] == done.answers["killer-check"] == [4, 10]
    [remark] = done.remarks
    assert "Cell mine" in remark.text and not remark.suspicious
    assert "not when it was run again" in remark.text


def test_memory():
    grow = "kept = []\nwhile True:\n    kept.append(bytearray(2**24))"
    mapped = (
        "import mmap\nm = mmap.mmap(-1, 2**29)\nfor i in range(0, 2**29, 4096):\n    m[i] = 1\n"
    )
    several = "import os, time\nfor i in range(6):\n    if not os.fork():\n"
    several += "        kept = bytearray(b'1') * 2**26\n        time.sleep(60)\ntime.sleep(60)"
    done = carry_out(
        exercise("grow", grow),
        exercise("mapped", mapped + "import time; time.sleep(60)"),
        exercise("several", several),
        exercise(
            "asks",
            FINE.format("asks") + "try:\n    x = bytearray(2**40)\nexcept MemoryError:\n    pass",
        ),
    )
    assert statuses(done, "grow", "mapped", "several", "asks") == {
        **dict.fromkeys(("grow", "mapped", "several"), "memory"),
        "asks": "ok",
    }
    assert LIMITS.memory < done.memory < 4 * LIMITS.memory
    for cell in ("grow", "mapped", "several"):
        assert "took more than 300 MB of memory" in told(done, cell)
        assert not is_suspicious(done, cell)


def test_processes_and_threads():
    threads = "import threading, time\nwhile True:\n"
    threads += "    threading.Thread(target=time.sleep, args=[60]).start()"
    behind = "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
    behind += "        time.sleep(600)\n    os._exit(0)\nos.wait()\n"
    done = carry_out(
        exercise("forks", "import os\nwhile True:\n    os.fork()"),
        exercise("threads", threads),
        exercise("behind", behind + FINE.format("behind")),
    )
    assert {done.cells[name].status for name in ("forks", "threads")} <= {"died", "memory", "error"}
    assert done.cells["behind-check"].status == "ok"
    for name in ("forks", "threads"):
        assert "more than 72 processes and threads" in told(done, name)
        assert is_suspicious(done, name)
    assert not is_suspicious(done, "behind")


def test_output():
    before = psutil.Process().memory_info().rss
    done = carry_out(
        exercise("once", "print('y' * 300_000_000)"),
        exercise("often", "for i in range(3_000_000):\n    print('y' * 100)"),
        exercise(
            "error", "import sys\nfor i in range(3_000_000):\n    print('y' * 100, file=sys.stderr)"
        ),
        exercise("page", "from IPython.display import HTML\ndisplay(HTML('y' * 50_000_000))"),
        exercise("shown", "for i in range(100_000):\n    display(i)"),
        exercise("raw", "import os\nfor i in range(300_000):\n    os.write(1, b'y' * 1000)"),
        exercise("much", "print('y' * 25_000)\n" + FINE.format("much")),
        exercise("warns", "import sys\nprint('careful', file=sys.stderr)\n" + FINE.format("warns")),
        limits=Limits(1.5, 2**30, 20_000, 2**23, 80),
    )
    floods = ("once", "often", "error", "page", "shown", "raw")
    assert not {done.cells[name].status for name in floods} & {"ok", "not run"}
    assert all(told(done, name) for name in (*floods, "much")) and not told(done, "warns")
    assert statuses(done, "much-check", "warns-check") == {"much-check": "ok", "warns-check": "ok"}
    assert len(nbformat.writes(done.notebook)) < 20 * LIMITS.output
    assert psutil.Process().memory_info().rss - before < 200 * 2**20


def test_printing_is_suspicious_if_it_goes_on_after_the_interrupt():
    often = "while True:\n    print('y' * 100)"
    deaf = "while True:\n    try:\n        while True:\n            print('y' * 100)\n"
    deaf += "    except BaseException:\n        pass"
    done = carry_out(exercise("often", often), exercise("deaf", deaf))
    assert told(done, "often") and not is_suspicious(done, "often")
    assert "printed far too much, and went on" in told(done, "deaf")
    assert is_suspicious(done, "deaf")


def test_too_many_processes_tell_more_than_the_memory_that_they_take():
    fault = watch.excess(watch.Usage(2**40, 1000), LIMITS, 0)
    assert fault is not None and fault.suspicious and "processes" in fault.words
    fault = watch.excess(watch.Usage(2**40, 5), LIMITS, 0)
    assert fault is not None and not fault.suspicious and "memory" in fault.words


def test_disk():
    fill = "with open('{0}', 'wb', buffering=0) as file:\n    while True:\n"
    fill += "        file.write(bytes(2**20))"
    many = "i = 0\nwhile True:\n    i += 1\n    open(f'{0}/{{i}}', 'w').close()"
    names = {"work": "x", "tmp": "/tmp/x", "shm": "/dev/shm/x", "sockets": "/lab/sockets/x"}
    done = carry_out(
        *(exercise(name, fill.format(place)) for name, place in names.items()),
        exercise("many", many.format(".")),
        exercise("most", many.format("/tmp")),
        limits=Limits(20, LIMITS.memory, LIMITS.output, LIMITS.disk, 80),
    )
    cells = (*names, "many", "most")
    assert {done.cells[name].status for name in cells} <= {"disk", "error"}
    for name in ("work", "sockets", "many", "most"):
        assert "filled the disk" in told(done, name) and is_suspicious(done, name)
    # One file may not be as large as these folders, which are larger than what is given to work in.
    assert (
        "File too large" in done.cells["tmp"].message and "too large" in done.cells["shm"].message
    )


def test_tampering_with_assertions_is_seen():
    transformer = """
import ast
class Weak(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Weak())
"""
    patched = """
shell = get_ipython()
def run_cell(*arguments, **options):
    from IPython.core.interactiveshell import ExecutionResult, ExecutionInfo
    return ExecutionResult(ExecutionInfo('', False, False, False, None))
async def run_cell_async(*arguments, **options):
    return run_cell()
shell.run_cell, shell.run_cell_async = run_cell, run_cell_async
import os
"""
    for attack in (transformer, patched):
        done = carry_out(exercise("cheat", "def cheat(x):\n    return 0\n" + attack))
        assert done.cells["cheat-check"].status == "error"
        assert "tampered with" in done.cells["cheat-check"].message
        assert [remark.suspicious for remark in done.remarks] == [True]
        assert "cheat-check" in done.remarks[0].text and done.answers["cheat-check"] is None


def test_a_patched_error_does_not_make_a_check_pass():
    other = "import builtins\nclass Mine(Exception):\n    pass\nbuiltins.AssertionError = Mine"
    done = carry_out(exercise("cheat", "def cheat(x):\n    return 0\n" + other))
    assert done.cells["cheat-check"].status == "error"


def test_objects_that_pretend():
    equal = "class Any:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n"
    hostile = """
class Bad:
    def __repr__(self): raise SystemExit
    def __reduce__(self): return (print, ('boo',))
    def __array__(self, *_): raise SystemExit
    __class__ = property(lambda self: 1 / 0)
"""
    done = carry_out(
        exercise("equal", equal + "equal = lambda x: Any()"),
        exercise("hostile", hostile + "hostile = lambda x: Bad()", "hostile(1)"),
        exercise(
            "deep", "deep = lambda x: [] if x == 0 else [deep(x - 1)] * 2\nlong = 'x' * 10**7", "1"
        ),
        exercise("huge", "huge = lambda x: bytearray(10**7) and 'x' * 10**7", "1"),
        exercise("exits", "def exits(x):\n    raise SystemExit", "1"),
        exercise("gone", "gone = 1\ndel gone", "1"),
        exercise("quiet", FINE.format("quiet") + "get_ipython().display_pub.publish = print"),
    )
    assert done.cells["equal-check"].status == "ok"  # its answers tell
    assert done.answers["equal-check"] == [wire.Foreign("Any")] * 2
    assert done.answers["hostile-check"] in (
        [Raised("SystemExit")] * 2,
        [Raised("ZeroDivisionError")] * 2,
    )
    assert done.answers["huge-check"] == [Raised("TooLong")] * 2
    assert done.answers["exits-check"] == [Raised("SystemExit")] * 2
    assert done.answers["gone-check"] is done.answers["quiet-check"] is None
    assert "was not answered" in told(done, "quiet-check")


def test_messages_that_make_no_sense():
    forge = """
kernel = get_ipython().kernel
session, out = kernel.session, kernel.iopub_thread.socket
parent = kernel.get_parent()
mark = b'<IDS|MSG>'
for parts in ([b''], [b'x'] * 9, [mark], [mark, b'0' * 64, b'{', b'{}', b'[]', b'3']):
    out.send_multipart(parts)
for kind in ('stream error display_data execute_result status clear_output comm_open x').split():
    for content in (
        {}, {'name': 3, 'text': {}}, {'data': 3, 'metadata': []}, {'traceback': {}}, {'ename': []},
        {'data': {'image/png': 'AAAA', 'text/plain': [1], 'x': None}}, {'traceback': [None, 3]},
    ):
        session.send(out, kind, content=content, parent=parent)
session.send(out, 'stream', content={'name': 'stdout', 'text': 'other'}, parent={'msg_id': 7})
session.send(out, 'stream', content={'name': 'stdout', 'text': '\\ud800 \\x00'}, parent=parent)
session.key = b'other'
"""
    answers = "get_ipython().display_pub.publish({'application/vnd.convnetlab.answers+json': %r})"
    done = carry_out(
        exercise("forge", FINE.format("forge") + forge),
        exercise("own", FINE.format("own"), "1; " + answers % "[[["),
        exercise("mute", "get_ipython().kernel.session.send = lambda *_, **__: None"),
        exercise(
            "unlink",
            FINE.format("unlink") + "import os\nfor f in os.scandir('/lab/sockets'): os.unlink(f)",
        ),
    )
    assert done.answers["own-check"] == done.answers["unlink-check"] == [4, 10]
    assert done.cells["unlink-check"].status == "ok"
    assert done.cells["mute"].status == "timeout"
    nbformat.validate(done.notebook)
    nbformat.writes(done.notebook).encode()


def test_a_message_without_an_end_does_not_fill_the_parent(monkeypatch):
    """Part after part of one message, written into the kernel's own connection."""
    monkeypatch.setattr(watch, "OWN_GROWTH", 150 * 2**20)
    code = """
import os, socket, stat
part = bytes([3]) + (7 * 2**20).to_bytes(8, "big") + bytes(7 * 2**20)  # more to come, long (ZMTP 3)
ends = []
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            end = socket.socket(fileno=os.dup(int(name)))
            if end.family == socket.AF_UNIX and end.getsockname().endswith("k-2"):
                end.getpeername()
                ends.append(end)
    except OSError:
        pass
for end in ends:
    end.setblocking(True)
    while True:
        end.sendall(part)
"""
    before = psutil.Process().memory_info().rss
    done = carry_out(exercise("endless", code), limits=replace(LIMITS, seconds=10))
    assert done.cells["endless"].status == "memory" and "sent so much" in told(done, "endless")
    assert is_suspicious(done, "endless")
    assert psutil.Process().memory_info().rss - before < 100 * 2**20


def test_a_link_in_the_place_of_a_socket_is_not_followed():
    """Whoever breaks the connection cannot make the parent connect to the machine's own."""
    path = f"/tmp/convnetlab-test-{os.getpid()}"
    code = """
import os, socket, stat
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
        socket.socket(fileno=os.dup(int(name))).shutdown(socket.SHUT_RDWR)
"""
    links = "import os\nfor i in '1245':\n    os.unlink('/lab/sockets/k-' + i)\n"
    links += f"    os.symlink({path!r}, '/lab/sockets/k-' + i)\n"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        try:
            server.listen()
            server.settimeout(0.2)
            done = carry_out(exercise("link", links + code))
            with pytest.raises(TimeoutError):
                server.accept()
        finally:
            Path(path).unlink()
    assert done.cells["link"].status in ("timeout", "error", "died")


@pytest.mark.parametrize(
    "text",
    ["", "[", "3", "[]", "[1]", "[{}]", '[{"value": "x"}]', '[{"value": 3}]', "[" * 9999, "null"],
)
def test_forged_answers_are_none(text):
    assert read_answers(text, 1) is None


def test_only_text_and_pictures_are_shown():
    outputs = Outputs(1000)
    figure = base64.b64encode(picture()).decode()
    for data in (
        {"text/html": "<script>", "text/plain": "a table"},
        {"application/javascript": "alert()"},
        {"image/svg+xml": "<svg onload=…>", "text/latex": "$x$"},
        {"image/png": figure, "text/html": "<b>"},
        {"image/png": base64.b64encode(b"<html>").decode()},
    ):
        outputs.add("display_data", {"data": data, "metadata": {"image/png": {"alt": "A\x00 b"}}})
    assert [set(output.data) for output in outputs.kept] == [
        *[{"text/plain"}] * 3,
        {"image/png"},
        {"text/plain"},
    ]
    assert outputs.kept[0].data["text/plain"] == "a table"
    assert "script" not in str(outputs.kept) and "svg" not in str(outputs.kept)


def picture(side=3):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_is_a_png_and_nothing_else():
    good = picture()
    assert is_png(base64.b64encode(good).decode())
    wrong = [
        good[:-1],
        good + b"<script>",
        b"x" + good,
        good.replace(b"IDAT", b"IDAX"),
        b"",
        good[:20],
    ]
    assert not any(is_png(base64.b64encode(each).decode()) for each in (*wrong, picture(4001)))
    assert not is_png("%%%") and not is_png("A" * 10_000_000)


def test_instructors_cells_have_more_time_than_students():
    notebook = notebook_of(("mine", "import time\nmine = slow\ntime.sleep(2)", "assert mine", None))
    notebook.cells.insert(0, new_code_cell("import time\nslow = time.sleep(2) or 1", id="given"))
    done = execute(notebook, needed(notebook, every_cell=True), [], LIMITS)
    assert statuses(done, "given", "mine") == {"given": "ok", "mine": "timeout"}


def test_a_notebook_that_kills_again_and_again_ends(monkeypatch):
    monkeypatch.setattr(execution, "RESTARTS", 3)
    bomb = "import threading, os\nthreading.Timer(0.05, os._exit, [1]).start()\n"
    cells = [(f"a{i}", f"{bomb}import time\ntime.sleep(0.3)", "1", None) for i in range(5)]
    notebook = notebook_of(*cells)
    done = execute(notebook, needed(notebook), [], LIMITS)
    assert done.cells["a0"].status == "died" and done.cells["a4-check"].status == "not run"
    assert any("the rest was not run" in remark.text for remark in done.remarks)
