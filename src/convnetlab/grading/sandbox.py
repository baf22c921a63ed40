"""The sandbox: a kernel in bubblewrap, from which nothing but messages comes out.

What a student wrote may be anything. The kernel that executes it sees the system's libraries, the
interpreter, this package and the data, all read-only; it has no network, no process but its own,
no user but one without rights; and all that it can write to are file systems in memory, of a
fixed size, which end with it. The parent speaks to it through sockets that lie in there, too.

A sandbox is only as strong as the kernel of the machine: a flaw in Linux may let a student out.
"""

import compileall
import contextlib
import functools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import convnetlab
from convnetlab.errors import LabError
from convnetlab.grading.records import Limits
from convnetlab.grading.syscalls import MACHINES, filter_program
from convnetlab.paths import data_folder

OLDEST = (0, 8)  # the version of bubblewrap that knows --disable-userns
NOBODY = 65534
# The folders as the kernel sees them.
LAB = "/lab"
WORK, DATA, SOURCES, FONTS = f"{LAB}/work", f"{LAB}/data", f"{LAB}/src", f"{LAB}/matplotlib"
SOCKETS = f"{LAB}/sockets"
CONNECTION = f"{LAB}/kernel.json"
ADDRESS = f"{SOCKETS}/k"
# Of the system: programs, libraries, and what libraries look up.
SYSTEM = (
    *(
        "/usr/bin",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/share/fonts",
        "/usr/share/zoneinfo",
    ),
    *("/bin", "/lib", "/lib32", "/lib64"),
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime"),
)
WAIT = 'read -r go && exec "$@" </dev/null'
SMALL, SIDE = 2**20, 64 * 2**20  # bytes: for sockets; for /tmp and /dev/shm
OPEN_FILES = 256
CPU_SECONDS = 3600
START = 30.0  # seconds that setting up a sandbox may take
TOOLS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
INSTEAD = (
    "On Windows use WSL, elsewhere a container or virtual machine with Debian or Ubuntu; or give "
    "--no-sandbox, for notebooks that you trust as you trust your own."
)


def check_available() -> None:
    """Check that submissions can be executed in a sandbox here.

    Raises:
        LabError: not on Linux, bubblewrap is missing or too old, or the system forbids it.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise LabError(
            f"Submissions are executed in a sandbox, which needs Linux on {' or '.join(MACHINES)}; "
            f"this is {platform.system()} on {platform.machine()}. {INSTEAD}"
        )
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise LabError(
                f"Submissions are executed in a sandbox, and its program {tool} is missing. "
                f"Install the package {package} (`sudo apt install {package}`), or give "
                "--no-sandbox, for notebooks that you trust as you trust your own."
            )
    check_version(subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout)
    with sandboxed(["true"], Limits(), {}) as box:
        said = box.process.communicate(timeout=60)[1].decode(errors="replace").strip()
    if code := box.process.returncode:
        raise LabError(
            f"The sandbox cannot be set up here: {said or code}. The system may forbid user "
            "namespaces; on Ubuntu `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` "
            f"allows them until it restarts. {INSTEAD}"
        )


def check_version(said: str) -> None:
    """Check what `bwrap --version` says.

    Raises:
        LabError: it is too old.
    """
    numbers = [int(number) for number in re.findall(r"\d+", said)[:2]]
    if tuple(numbers) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise LabError(
            f"The sandbox needs bubblewrap {wanted} or newer, and here is {said.strip()!r}. Update "
            f"the package bubblewrap (Debian 12, Ubuntu 24.04 and newer have it). {INSTEAD}"
        )


@dataclass(frozen=True)
class Sandbox:
    """A command that runs in a sandbox.

    Attributes:
        process: bubblewrap's.
        first: the number, seen from here, of the first process within: all others within end with
            it. 0 if the sandbox could not be set up.
    """

    process: subprocess.Popen[bytes]
    first: int

    def seen_from_here(self, place: str) -> str:
        """Return the path under which the parent finds a place in the sandbox."""
        return f"/proc/{self.first}/root{place}"

    def end(self) -> None:
        """Kill all that is within, and wait until it is gone."""
        # From within outwards, so that each process is waited for by the one that started it.
        if self.process.poll() is None and self.first:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        end(self.process)


@contextlib.contextmanager
def sandboxed(
    command: Sequence[str], limits: Limits, connection: Mapping[str, Any]
) -> Iterator[Sandbox]:
    """Start a command in a sandbox, of which nothing is left afterwards.

    Args:
        command: program and arguments, as seen from inside.
        limits: sizes and numbers.
        connection: what stands in the kernel's connection file.
    """
    files = [data_file(json.dumps(connection).encode()), data_file(filter_program())]
    try:
        process = subprocess.Popen(
            command_line(command, limits, *files),
            env=environment(),  # the first process's can be read within, whatever is unset
            pass_fds=files,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    finally:
        for descriptor in files:
            os.close(descriptor)
    box = Sandbox(process, first_process(process))
    let_go(process)
    try:
        yield box
    finally:
        box.end()


def data_file(content: bytes) -> int:
    """Return the descriptor of a file in memory, open for reading at its beginning."""
    descriptor = os.memfd_create("convnetlab")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def first_process(process: subprocess.Popen[bytes]) -> int:
    """Return the number, seen from here, of the first process within; 0 if there is none.

    It is the one that has number 1 in a numbering of its own, as deep as bubblewraps are nested.
    """
    depth = len(numbers(os.getpid())) + (2 if os.geteuid() == 0 else 1)
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            for member in psutil.Process(process.pid).children(recursive=True):
                found = numbers(member.pid)
                if len(found) == depth and found[-1] == 1 and member.children():
                    return member.pid
        time.sleep(0.005)
    return 0


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Tell the command in the sandbox, which waits for it, to begin.

    While bubblewrap sets things up it does not yet end with its parent. If the parent is killed
    meanwhile, this word never comes, and the command ends instead of waiting for nobody.
    """
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(b"go\n")
    process.stdin = None  # so that `communicate` leaves it alone


def numbers(process: int) -> list[int]:
    """Return a process's numbers, from the outermost numbering that is seen here inwards."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []


def command_line(
    command: Sequence[str], limits: Limits, connection: int, syscalls: int
) -> list[str]:
    """Return how bubblewrap is called.

    Root's files may lie where nobody else can go, and root must not run a student's code. So an
    outer bubblewrap, run by root, lays out the files, and an inner one, run by nobody,
    separates the rest. Without root, one does both.

    Args:
        command: to run inside.
        limits: sizes and numbers.
        connection: descriptor of the connection file.
        syscalls: descriptor of the filter of system calls.
    """
    files = file_arguments(limits, connection)
    apart = [
        *("--proc", "/proc", "--dev", "/dev"),
        *memory_folder("/dev/shm", SIDE),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--cap-drop", "ALL", "--chdir", WORK),
        *("--seccomp", str(syscalls), "--"),
        *("prlimit", f"--nproc={limits.processes}", f"--fsize={limits.disk}", "--core=0"),
        *(f"--nofile={OPEN_FILES}", f"--cpu={CPU_SECONDS}", f"--data={address_space(limits)}"),
        *("--", "sh", "-c", WAIT, "sh", *command),
    ]
    if os.geteuid() != 0:
        return ["bwrap", *files, *apart]
    # Its own process numbers: else the inner one would not end with it, being of another user.
    outer = ["--die-with-parent", "--unshare-pid", "--bind", "/proc", "/proc"]
    outer += ["--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]
    return ["bwrap", *files, *outer, "--", *as_nobody(), "bwrap", "--bind", "/", "/", *apart]


def as_nobody() -> list[str]:
    """Return what makes root's command one of a user without rights."""
    import pwd  # Windows has no such module

    try:
        entry = pwd.getpwnam("nobody")
        user, group = entry.pw_uid, entry.pw_gid
    except KeyError:
        user = group = NOBODY
    ids = ["--reuid", str(user), "--regid", str(group), "--clear-groups"]
    rights = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL"]
    return ["setpriv", *ids, *rights, "--"]


def address_space(limits: Limits) -> int:
    """Return how many bytes a process may ask for: an array far too large fails at once.

    What is really used is watched from outside; libraries ask for more than they use.
    """
    return limits.memory + 2**30


def file_arguments(limits: Limits, connection: int) -> list[str]:
    """Return the arguments that lay out what the kernel sees of files."""
    package = compiled_package()
    shown = {path: path for path in (*SYSTEM, *environments())}
    shown |= {f"{SOURCES}/convnetlab": str(package), DATA: str(data_folder().resolve())}
    arguments = [*folders([*shown, WORK])]
    for place, source in shown.items():
        if Path(source).is_symlink() and place in SYSTEM:
            arguments += ["--symlink", str(Path(source).readlink()), place]
        elif Path(source).exists():
            arguments += ["--ro-bind", source, place]
    for folder in hidden(package, environments()):
        arguments += ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]
    arguments += memory_folder("/tmp", SIDE) + memory_folder(WORK, limits.disk)
    arguments += memory_folder(SOCKETS, SMALL) + memory_folder(FONTS, SMALL)
    if fonts := font_list():
        arguments += ["--ro-bind", str(fonts), f"{FONTS}/{fonts.name}"]
    return [*arguments, "--perms", "0444", "--ro-bind-data", str(connection), CONNECTION]


@functools.cache
def compiled_package() -> Path:
    """Return the package's folder, with the bytecode that no kernel could keep in a sandbox."""
    package = Path(convnetlab.__file__).parent
    compileall.compile_dir(package, quiet=2)  # goes on where it may not write
    return package


def folders(places: Sequence[str]) -> list[str]:
    """Return arguments that make the folders above places, open to everybody.

    Bubblewrap would make those for root alone if root calls it.
    """
    above = {str(parent) for place in places for parent in Path(place).parents} - {"/"}
    return [part for folder in sorted(above) for part in ("--perms", "0755", "--dir", folder)]


def memory_folder(place: str, size: int) -> list[str]:
    """Return arguments for a writable folder that holds `size` bytes at most, in memory."""
    return ["--perms", "1777", "--size", str(size), "--tmpfs", place]


@functools.cache
def environments() -> tuple[str, ...]:
    """Return the folders of the interpreter and of its packages that are not the system's."""
    import site

    named = [sys.base_prefix, sys.prefix]
    if site.ENABLE_USER_SITE:
        named.append(site.getusersitepackages())
    both = {name: None for each in named for name in (each, str(Path(each).resolve()))}
    return tuple(sorted(name for name in both if Path(name).is_dir() and name != "/usr"))


def hidden(package: Path, shown: Sequence[str]) -> list[str]:
    """Return folders that are covered by empty ones: grading, and what lies in an environment.

    An environment may hold the lab (installed there), or even the whole repository.
    """
    secret = [data_folder().resolve().parent / "notebooks", package, package.parents[1] / ".git"]
    inside = [path for path in secret if any(path.is_relative_to(folder) for folder in shown)]
    covered = [str(path) for path in inside if path.is_dir()]
    return [f"{SOURCES}/convnetlab/grading", *covered]


def font_list() -> Path | None:
    """Return Matplotlib's list of fonts, which takes it seconds to make; None if there is none."""
    import matplotlib
    from matplotlib import font_manager

    version = font_manager.FontManager.__version__
    path = Path(matplotlib.get_cachedir()) / f"fontlist-v{version}.json"
    return path if path.is_file() else None


def environment() -> dict[str, str]:
    """Return the environment variables of a sandbox: nothing of the parent's is among them."""
    places = {"HOME": WORK, "CONVNETLAB_DATA": DATA, "PYTHONPATH": SOURCES}
    places |= {
        "CONVNETLAB_RUNS": f"{WORK}/runs",
        "MPLCONFIGDIR": FONTS,
        "IPYTHONDIR": "/tmp/ipython",
    }
    names = {"USER": "student", "LOGNAME": "student", "LANG": "C.UTF-8"}
    return {"PATH": "/usr/bin:/bin", **places, **names, **settings()}


def settings() -> dict[str, str]:
    """Return what a kernel is told, in a sandbox or not."""
    threads = ("OMP", "OPENBLAS", "MKL")
    return {
        "CONVNETLAB_SMOKE": "1",
        "CONVNETLAB_HEADLESS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        **{f"{library}_NUM_THREADS": "1" for library in threads},
    }


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, and wait for it."""
    if process.poll() is None:  # else its number may be another's by now
        root = psutil.Process(process.pid)
        for member in (*root.children(recursive=True), root):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait()
    if process.stderr:
        process.stderr.close()
