"""What a kernel in the sandbox can reach: nothing of the machine's, and nobody else."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from convnetlab.errors import LabError
from convnetlab.grading import sandbox, watch
from convnetlab.grading.kernel import Kernel
from convnetlab.grading.records import Limits
from convnetlab.paths import data_folder, notebooks_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
LIMITS = Limits(seconds=20, disk=2**23, processes=60)
TOOLS = '''
import json, os
def refused(do, *arguments):
    """The error's name, or what came out."""
    try:
        return repr(do(*arguments))
    except OSError as error:
        return type(error).__name__
def tell(what):
    print(json.dumps(what))
'''


@pytest.fixture(scope="module")
def secret():
    """A word that only the parent's environment knows."""
    os.environ["CONVNETLAB_TEST_SECRET"] = word = "quidquid-latet-apparebit"
    yield word
    del os.environ["CONVNETLAB_TEST_SECRET"]


@pytest.fixture(scope="module")
def kernel(secret):
    with Kernel(LIMITS, is_sandboxed=True) as started:
        assert started.run(TOOLS, 20).status == "ok"
        yield started


def ask(kernel, code):
    """What code in the kernel tells."""
    ran = kernel.run(code, 20)
    assert ran.status == "ok", ran
    return json.loads(ran.outputs[0].text)


def test_it_is_available_here():
    sandbox.check_available()


def test_nothing_of_the_repository_and_of_people_is_there(kernel, root, tmp_path):
    grades = tmp_path / "GRADES" / "grades.csv"
    grades.parent.mkdir()
    grades.write_text("secret")
    places = [
        *(notebooks_folder(), root / "tests", root / ".git", root / "README.md", grades, tmp_path),
        *("/etc/passwd", "/etc/shadow", "/home", "/var", "/run", "/sys", "/mnt", "/proc/kcore"),
        *(Path.home() / ".bashrc", Path.home() / ".ssh", notebooks_folder() / "hidden_tests.py"),
    ]
    code = """
look = lambda place: os.listdir(place) if os.path.isdir(place) else open(place, "rb").read(1)
tell([refused(look, place) for place in {}])
"""
    found = ask(kernel, code.format([str(place) for place in places]))
    errors = {"FileNotFoundError", "PermissionError"}
    assert not [(p, f) for p, f in zip(places, found, strict=True) if f not in errors]


def test_the_package_is_there_without_grading(kernel):
    told = ask(
        kernel,
        """
import convnetlab, importlib.util
from convnetlab import datasets, preprocess
folder = convnetlab.__path__[0] + "/grading"
tell([os.listdir(folder), len(datasets.load("mnist").test_labels),
      importlib.util.find_spec("convnetlab.grading.execution") is None])
""",
    )
    assert told[0] == [] and told[1] > 0 and told[2]


def test_only_small_folders_in_memory_can_be_written_to(kernel, root):
    places = ["/", "/lab", "/dev", "/proc", "/usr/lib", "/lab/data", "/lab/src/convnetlab", "/etc"]
    places += ["/lab/src/convnetlab/grading", sys.prefix, str(root), "/lab/matplotlib/x"]
    code = f"tell([refused(open, p + '/x', 'w') for p in {places}])"
    errors = {"FileNotFoundError", "PermissionError", "OSError", "NotADirectoryError"}
    assert set(ask(kernel, code)) <= errors
    mounts = ask(kernel, "tell([line.split() for line in open('/proc/self/mounts')])")
    writable = {m[1]: m[2] for m in mounts if "rw" in m[3].split(",")}
    files = {
        place: kind for place, kind in writable.items() if not place.startswith(("/dev/", "/proc"))
    }
    assert files == dict.fromkeys(["/tmp", "/lab/work", "/lab/sockets", "/lab/matplotlib"], "tmpfs")
    sizes = ask(
        kernel,
        f"tell([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in {[*files, '/dev/shm']}])",
    )
    assert all(0 < size <= 2**26 for size in sizes)
    assert not list(data_folder().glob("x")) and not Path(sandbox.__file__).with_name("x").exists()


def test_no_way_out_by_links(kernel):
    code = "os.symlink({0!r}, 'link')\n"
    code += "tell([refused(open, 'link'), refused(os.link, '/usr/bin/env', 'hard')])"
    assert ask(kernel, code.format(str(notebooks_folder() / "01_load_preprocess.ipynb"))) == [
        "FileNotFoundError",
        "OSError",
    ]


def test_the_environment_is_not_the_parents(kernel, secret):
    told = ask(
        kernel,
        """
found = ""
for number in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        try:
            found += open(f"/proc/{number}/{name}").read()
        except OSError:
            pass
tell([dict(os.environ), found, sorted(filter(str.isdigit, os.listdir("/proc")), key=int)])
""",
    )
    assert secret not in str(told)
    assert {name: told[0][name] for name in sandbox.environment()} == sandbox.environment()
    assert "CONVNETLAB_DATA=/lab/data" in told[1] and str(Path.home() / ".ssh") not in told[1]
    assert str(os.getpid()) not in told[2] and len(told[2]) <= 3


def test_its_user_is_nobody_of_importance(kernel):
    first = psutil.Process(sandbox.first_process(kernel.process))
    inside = [first, *first.children(recursive=True)]
    assert len(inside) == 2 and all(0 not in (*p.uids(), *p.gids()) for p in inside)
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{inside[-1].pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (
        status["NoNewPrivs"] == "1"
        and status["Seccomp"] == "2"
        and status["Groups"].split()
        in (
            [],
            ["65534"],
        )
    )
    told = ask(
        kernel,
        "commands = 'unshare -U true', 'mount -t tmpfs x /tmp'\n"
        "tell([os.system(command + ' 2>/dev/null') for command in commands])",
    )
    assert all(told)


def test_memory_that_belongs_to_no_process_cannot_be_had(kernel):
    told = ask(
        kernel,
        """
import ctypes
c = ctypes.CDLL(None, use_errno=True)
tell([refused(os.memfd_create, "x"), c.shmget(0, 4096, 0o1600),
      c.msgget(0, 0o1600), c.semget(0, 1, 0o1600)])
""",
    )
    assert told == ["PermissionError", -1, -1, -1]


def test_no_network_and_no_socket_of_the_host(kernel):
    with contextlib.ExitStack() as stack:
        servers = {
            "tcp": socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "abstract": socket.socket(socket.AF_UNIX),
            "path": socket.socket(socket.AF_UNIX),
        }
        path = f"/tmp/convnetlab-test-{os.getpid()}"
        stack.callback(Path(path).unlink)
        for kind, address in (
            *(("tcp", ("127.0.0.1", 0)), ("udp", ("127.0.0.1", 0))),
            *(("abstract", f"\0convnetlab-{os.getpid()}"), ("path", path)),
        ):
            servers[kind].bind(address)
            servers[kind].settimeout(0.2)
            stack.callback(servers[kind].close)
            if kind != "udp":
                servers[kind].listen()
        ports = [servers[kind].getsockname()[1] for kind in ("tcp", "udp")]
        told = ask(
            kernel,
            f"""
import socket
def connect(family, address):
    with socket.socket(family) as s:
        s.settimeout(2)
        s.connect(address)
def send(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"hello", address)
tell([refused(connect, socket.AF_INET, ("127.0.0.1", {ports[0]})),
      refused(connect, socket.AF_INET, ("1.1.1.1", 53)), refused(send, ("1.1.1.1", 53)),
      refused(connect, socket.AF_UNIX, "\\0convnetlab-{os.getpid()}"),
      refused(connect, socket.AF_UNIX, {path!r}),
      refused(socket.getaddrinfo, "example.org", 80),
      [name for _, name in socket.if_nameindex()]])
send(("127.0.0.1", {ports[1]}))
""",
        )
        assert told[:-1] == [
            *("ConnectionRefusedError", "OSError", "OSError", "ConnectionRefusedError"),
            *("FileNotFoundError", "gaierror"),
        ]
        assert told[-1] == ["lo"]
        with pytest.raises(TimeoutError):
            servers["udp"].recvfrom(10)


def test_processes_are_counted_and_end_with_it():
    before = psutil.Process().children(recursive=True)
    with Kernel(LIMITS, is_sandboxed=True) as started:
        code = """
import os, time
count = 0
try:
    while count < 1000:
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        count += 1
except OSError:
    pass
"""
        inside = psutil.Process(sandbox.first_process(started.process))
        ran = started.run(code, 20)
        assert ran.status == "died" and "processes and threads" in ran.remark
        assert not inside.is_running()
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_the_kernels_own_limit_stops_a_fork_bomb():
    """Even if nobody watches: the limit of a user's processes holds, and for this sandbox alone."""
    code = """
import os, time
count = 0
try:
    while count < 500:
        if not os.fork():
            time.sleep(1)
            os._exit(0)
        count += 1
except OSError:
    pass
os.write(2, b"%d" % count)
"""
    for _ in range(2):
        with sandbox.sandboxed([sys.executable, "-c", code], LIMITS, {}) as box:
            said = box.process.communicate(timeout=60)[1]
        assert 40 < int(said) < LIMITS.processes


def test_it_ends_with_the_parent():
    """A worker that is killed leaves no sandbox behind."""
    code = """
import sys, time
from convnetlab.grading import sandbox
from convnetlab.grading.records import Limits
with sandbox.sandboxed([sys.executable, "-c", "import time; time.sleep(600)"], Limits(), {}) as box:
    print(box.first, flush=True)
    time.sleep(600)
"""
    path = str(Path(sandbox.__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    first = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    with contextlib.suppress(psutil.NoSuchProcess):
        first.wait(timeout=20)
    assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE


def test_it_ends_with_the_parent_even_before_it_began():
    """Until bubblewrap is ready, no signal tells it of its parent's death (its issue 633)."""
    mark = f"early-{os.getpid()}"
    code = f"""
import os, subprocess, sys, time
from convnetlab.grading import sandbox
from convnetlab.grading.records import Limits
sandbox.file_arguments(Limits(), 0)  # what it looks up once
for delay in range(15):
    reads, writes = os.pipe()
    worker = os.fork()
    if not worker:
        start = subprocess.Popen.__init__
        def tell(*arguments, **options):
            start(*arguments, **options)
            os.write(writes, b"!")
        subprocess.Popen.__init__ = tell
        command = [sys.executable, "-c", "import time; time.sleep(600)", {mark!r}]
        with sandbox.sandboxed(command, Limits(), {{}}) as box:
            box.process.wait()
    os.read(reads, 1)
    time.sleep(delay / 750)
    os.kill(worker, 9)
    os.waitpid(worker, 0)
    os.close(reads)
    os.close(writes)
"""
    path = str(Path(sandbox.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    end = time.monotonic() + 10
    while left := [
        p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])
    ]:
        if time.monotonic() > end:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            pytest.fail(f"{len(left)} processes are left")
        time.sleep(0.05)


def test_root_is_not_needed(root):
    """As a user without rights, from a place where root's interpreter can be reached."""
    code = """
import json, os
from nbformat.v4 import new_code_cell, new_notebook
from convnetlab.grading import sandbox
from convnetlab.grading.execution import execute
from convnetlab.grading.records import Limits
from convnetlab.grading.slices import needed
sandbox.check_available()
bomb = "import os\\nn = 0\\ntry:\\n    while n < 200:\\n        if not os.fork():\\n"
bomb += "            os._exit(os.system('sleep 5'))\\n"
bomb += "        n += 1\\nexcept OSError:\\n    pass\\nopen('x', 'w').write('1')\\nassert n < 60, n"
cells = [new_code_cell(bomb, id="one"), new_code_cell("import convnetlab.kernels", id="two")]
for cell in cells:
    cell.metadata["nbgrader"] = {"solution": True}
notebook = new_notebook(cells=cells)
done = execute(notebook, needed(notebook), [], Limits(20, processes=60))
statuses = {name: run.status for name, run in done.cells.items()}
print(json.dumps([os.getuid(), statuses, done.memory]))
"""
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "HOME": "/tmp"}
    environment["MPLCONFIGDIR"] = "/tmp/convnetlab-nobody-fonts"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        [*unprivileged(root), *command] if os.geteuid() == 0 else command,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    user, statuses, memory = json.loads(done.stdout.splitlines()[-1])
    assert user != 0 and statuses["one"] in ("ok", "died", "memory") and statuses["two"] == "ok"
    assert memory > 2**20


def unprivileged(root):
    """What runs a command as nobody, with the interpreter, the repository and /tmp in reach."""
    shown = {str(Path(place).resolve()) for place in (*sandbox.environments(), root)}
    above = {folder for place in shown for folder in Path(place).parents}
    closed = sorted(str(folder) for folder in above if folder.stat().st_mode & 0o005 != 0o005)
    covers = [part for folder in closed for part in ("--perms", "0755", "--tmpfs", folder)]
    inside = sorted(place for place in shown if any(place.startswith(c + "/") for c in closed))
    covers += [part for part in sandbox.folders(inside) if closed]
    binds = [part for place in inside for part in ("--ro-bind", place, place)]
    files = ["--dev-bind", "/", "/", *covers, *binds, "--perms", "1777", "--tmpfs", "/tmp"]
    return ["bwrap", *files, "--", *sandbox.as_nobody()]


@pytest.mark.parametrize(
    ("said", "is_fine"),
    [
        *(("bubblewrap 0.8.0", True), ("bubblewrap 0.11.0\n", True), ("bubblewrap 1.0", True)),
        *(("bubblewrap 0.6.2", False), ("", False)),
    ],
)
def test_an_old_bubblewrap_is_refused(said, is_fine):
    if is_fine:
        sandbox.check_version(said)
    else:
        with pytest.raises(LabError, match=r"0\.8 or newer.*--no-sandbox"):
            sandbox.check_version(said)


def test_where_it_is_missing_it_says_what_to_do(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(sandbox.sys, "platform", "darwin")
        with pytest.raises(LabError, match=r"needs Linux.*WSL.*container.*--no-sandbox"):
            sandbox.check_available()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(LabError, match=r"bwrap is missing.*bubblewrap.*--no-sandbox"):
            sandbox.check_available()
    false = tmp_path / "bwrap"
    false.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "bubblewrap 0.8.0" && exit\n'
        "echo 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    false.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        patch.setattr(sandbox, "environment", lambda: {"PATH": os.environ["PATH"]})
        with pytest.raises(LabError, match=r"No permissions.*namespaces.*--no-sandbox"):
            sandbox.check_available()


def test_what_processes_share_is_counted_once():
    code = """
import os, time
kept = bytearray(b"1") * 2**27
for _ in range(5):
    if not os.fork():
        time.sleep(60)
os.write(1, b"!")
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        process.stdout.read(1)
        assert watch.usage(process.pid, 2**40).memory > 5 * 2**27
        assert 2**27 < watch.usage(process.pid, 2**27).memory < 2 * 2**27
    finally:
        sandbox.end(process)
    assert watch.usage(process.pid, 0) == watch.Usage(0, 0)
