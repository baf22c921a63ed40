"""A kernel in the sandbox, and a conversation with it in which it may say anything.

Nothing that comes from it is believed to be well-formed, to come at all, or to be about what was
asked. All waiting has an end, and ends at once when the kernel's process does.
"""

import contextlib
import functools
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session
from nbformat import NotebookNode, v4

from convnetlab.errors import LabError
from convnetlab.grading import sandbox, watch
from convnetlab.grading.outputs import Outputs, plain
from convnetlab.grading.records import Limits
from convnetlab.grading.watch import Fault

ANSWERS = "application/vnd.convnetlab.answers+json"
PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
LARGEST_MESSAGE = 8 * 2**20  # bytes, of one part
MOST_WAITING = 16  # messages that ZeroMQ holds for us
LOOK = 0.2  # seconds between looks at what the kernel takes
GRACE = 1.0  # seconds from an interrupt to the end
PATIENCE = 2.0  # seconds for outputs to come after the reply
START = 90.0  # seconds that a kernel may take to start
FULL = "filled the disk"
SCHEME = {"signature_scheme": "hmac-sha256", "kernel_name": "convnetlab"}
LAUNCH = (
    *("-X", "frozen_modules=on", "-m", "ipykernel_launcher", "--HistoryManager.enabled=False"),
    *("--IPKernelApp.log_level=CRITICAL", "--InteractiveShell.cache_size=0", "-f"),
)


@dataclass
class Ran:
    """How a cell ended.

    Attributes:
        status: as `records.CellRun` has it.
        name: of the error, such as "AssertionError".
        message: of the error, in one line.
        outputs: what may be shown.
        answers: what a probe sent, None if nothing came.
        remark: of a limit that was met, or "".
        suspicious: whether what is remarked is hardly a slip.
        seconds: wall time.
    """

    status: str
    name: str = ""
    message: str = ""
    outputs: list[NotebookNode] = field(default_factory=list)
    answers: str | None = None
    remark: str = ""
    suspicious: bool = False
    seconds: float = 0.0


class Kernel:
    """A running kernel. Use it in a `with`: afterwards nothing of it is left."""

    def __init__(self, limits: Limits, is_sandboxed: bool) -> None:
        """Prepare; `with` starts it."""
        self.limits = limits
        self.is_sandboxed = is_sandboxed
        self.peak = 0
        self.parent_before = psutil.Process().memory_info().rss
        self.next_look = 0.0
        self.places: list[str] = []  # folders in memory that it can write to
        self.process: subprocess.Popen[bytes]
        self.kill: Callable[[], None]  # ends its processes
        self.exits = contextlib.ExitStack()

    def __enter__(self) -> "Kernel":
        """Start the kernel and wait until it answers.

        Raises:
            LabError: it does not.
        """
        try:
            start = self.start_inside if self.is_sandboxed else self.start_outside
            connection = start()
            self.connect(connection)
            self.wait_until_ready()
        except BaseException:
            self.exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and all that it started."""
        self.exits.close()

    def start_inside(self) -> dict[str, Any]:
        """Start it in the sandbox; return how it is reached."""
        connection = {
            **{"transport": "ipc", "ip": sandbox.ADDRESS, "key": secrets.token_hex(16)},
            **{**PORTS, **SCHEME},
        }
        command = [sys.executable, *LAUNCH, sandbox.CONNECTION]
        box = self.exits.enter_context(sandbox.sandboxed(command, self.limits, connection))
        self.process, self.kill = box.process, box.end
        if not box.first:
            raise self.not_started()
        places = (sandbox.WORK, sandbox.SOCKETS, sandbox.FONTS, "/tmp", "/dev/shm")
        self.places = [box.seen_from_here(place) for place in places]
        return {**connection, "ip": box.seen_from_here(sandbox.ADDRESS)}

    def start_outside(self) -> dict[str, Any]:
        """Start it without a sandbox, in a folder of its own; return how it is reached."""
        made = tempfile.TemporaryDirectory(prefix="convnetlab-", ignore_cleanup_errors=True)
        folder = Path(self.exits.enter_context(made))
        work = folder / "work"
        work.mkdir()
        is_windows = os.name == "nt"  # it has no sockets in the file system
        file, connection = write_connection_file(
            str(folder / "kernel.json"),
            key=secrets.token_hex(16).encode(),
            transport="tcp" if is_windows else "ipc",
            ip="" if is_windows else str(folder / "k"),
        )
        runs = {"CONVNETLAB_RUNS": str(work / "runs"), "CONVNETLAB_DATA": data_path()}
        self.process = subprocess.Popen(
            [sys.executable, *LAUNCH, file],
            cwd=work,
            env={**os.environ, **sandbox.settings(), **runs, "PYTHONPATH": package_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.kill = functools.partial(sandbox.end, self.process)
        self.exits.callback(self.kill)
        return dict(connection)

    def connect(self, connection: Mapping[str, Any]) -> None:
        """Connect to the kernel's sockets, once they are there."""
        context = self.exits.enter_context(zmq.Context())
        self.session = Session(key=str(connection["key"]).encode(), check_pid=False)
        self.poller = zmq.Poller()
        self.shell, self.control, self.iopub = (
            self.connected(context, kind, connection, port)
            for kind, port in (
                (zmq.DEALER, "shell_port"),
                (zmq.DEALER, "control_port"),
                (zmq.SUB, "iopub_port"),
            )
        )
        monitor = self.iopub.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.exits.callback(monitor.close, 0)
        self.monitor: zmq.Socket[bytes] = monitor
        self.poller.register(monitor, zmq.POLLIN)

    def connected(
        self, context: zmq.Context[Any], kind: int, connection: Mapping[str, Any], port: str
    ) -> zmq.Socket[bytes]:
        """Return a socket that is connected, and that takes no more than is good for us."""
        made: zmq.Socket[bytes] = context.socket(kind)
        self.exits.callback(made.close, 0)
        made.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        made.setsockopt(zmq.RCVHWM, MOST_WAITING)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.SNDTIMEO, 500)
        # Where the socket was, a student may have put a link to one of the machine's own.
        made.setsockopt(zmq.RECONNECT_IVL, -1)
        if kind == zmq.SUB:
            made.setsockopt(zmq.SUBSCRIBE, b"")
        if connection["transport"] == "ipc":
            path = f"{connection['ip']}-{connection[port]}"
            self.wait_for(lambda: is_listening(path))
            made.connect(f"ipc://{path}")
        else:
            made.connect(f"tcp://{connection['ip']}:{connection[port]}")
        self.poller.register(made, zmq.POLLIN)
        return made

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Wait until something is there.

        Raises:
            LabError: the process ends before, or it takes too long.
        """
        end = time.monotonic() + START
        while not is_there():
            if self.process.poll() is not None or time.monotonic() > end:
                raise self.not_started()
            time.sleep(0.01)

    def not_started(self) -> LabError:
        """Return the error of a kernel that does not start."""
        self.kill()
        return LabError(
            f"A kernel that should execute a submission did not start (exit code "
            f"{self.process.returncode}). Is ipykernel installed, and is there memory left?"
        )

    def wait_until_ready(self) -> None:
        """Wait until the kernel answers on both of its channels.

        Raises:
            LabError: it does not.
        """
        end = time.monotonic() + START
        is_heard, is_answered = False, False
        while not (is_heard and is_answered):
            if self.process.poll() is not None or time.monotonic() > end:
                raise self.not_started()
            self.tell(self.shell, self.session.msg("kernel_info_request", {}))
            for source, _ in self.poller.poll(100):
                is_heard |= source is self.iopub and self.receive(source) is not None
                is_answered |= source is self.shell and self.receive(source) is not None
        self.drain()

    def drain(self) -> None:
        """Throw away what has come, for as long as it comes, but not for ever."""
        for _ in range(1000):
            ready = self.poller.poll(0)
            if not ready:
                return
            for source, _ in ready:
                self.receive(source)

    def tell(self, target: Any, message: dict[str, Any]) -> None:
        """Send a message, unless nobody takes it: then no answer comes, and time runs out."""
        with contextlib.suppress(zmq.ZMQError):
            self.session.send(target, message)

    def receive(self, source: Any) -> dict[str, Any] | None:
        """Return a message that is there; None if it is malformed or not signed."""
        if source is self.monitor:
            source.recv_multipart()
            return None
        try:
            _, message = self.session.recv(source, mode=zmq.NOBLOCK)
        except Exception:  # whatever a hostile message may bring about
            return None
        return message if isinstance(message, dict) else None

    def run(self, code: str, seconds: float) -> Ran:
        """Execute code, for so many seconds at most, and tell how it ended."""
        began = time.monotonic()
        request = self.session.msg("execute_request", execute_request(code))
        self.tell(self.shell, request)
        conversation = Conversation(request["msg_id"], Outputs(self.limits.output))
        ran = self.listen(conversation, began + seconds)
        ran.seconds = time.monotonic() - began
        ran.outputs, ran.answers = conversation.outputs.kept, conversation.answers
        if self.is_alive and (fault := self.look()):
            self.kill()
            ran.status, ran.message, ran.remark = fault.status, fault.words, fault.words
            ran.suspicious = fault.suspicious
        if conversation.outputs.is_cut or (conversation.is_torn and self.is_alive):
            ran.remark = ran.remark or "printed more than is kept"
            ran.outputs.append(v4.new_output("stream", text="\n… (the rest is not kept)\n"))
        if conversation.is_torn:
            self.kill()  # ZeroMQ does not connect again once a message was too large
        return ran

    def listen(self, conversation: "Conversation", deadline: float) -> Ran:
        """Take messages until the code has ended, by itself or by force."""
        stopped: Fault | None = None
        while True:
            if conversation.is_over():
                return ending(conversation.reply or {}, stopped)
            if self.process.poll() is not None:
                return Ran("died", "", "the kernel died")
            if time.monotonic() > self.next_look and (fault := self.look()):
                self.kill()
                return stopped_by(fault, fault.suspicious)
            if stopped is None and (reason := overdue(conversation, deadline)):
                stopped, deadline = reason, time.monotonic() + GRACE
                self.tell(self.control, self.session.msg("interrupt_request", {}))
            elif stopped is not None and time.monotonic() > deadline:
                self.kill()
                return stopped_by(stopped, stopped.suspicious, ", and went on")
            for source, _ in self.poller.poll(50):
                conversation.is_torn |= source is self.monitor
                message = self.receive(source)
                if message is not None:
                    conversation.take(message, is_reply=source is self.shell)

    def look(self) -> Fault | None:
        """Return the limit that is exceeded, None if none is."""
        self.next_look = time.monotonic() + LOOK
        taken = watch.usage(self.process.pid, self.limits.memory)
        self.peak = max(self.peak, taken.memory)
        fault = watch.excess(taken, self.limits, self.parent_before)
        if fault is None and watch.full_folder(self.places):
            return Fault("disk", FULL, suspicious=True)
        return fault

    @property
    def is_alive(self) -> bool:
        """Whether the kernel's process runs."""
        return self.process.poll() is None


class Conversation:
    """What came in answer to one request."""

    def __init__(self, request: str, outputs: Outputs) -> None:
        """Wait for answers to the request with this id."""
        self.request = request
        self.outputs = outputs
        self.answers: str | None = None
        self.reply: Mapping[str, Any] | None = None
        self.is_idle = False
        self.is_torn = False  # a message was too large
        self.replied_at = 0.0

    def take(self, message: Mapping[str, Any], is_reply: bool) -> None:
        """Take a message, if it answers the request."""
        parent, content = message.get("parent_header"), message.get("content")
        if not isinstance(parent, Mapping) or parent.get("msg_id") != self.request:
            return
        if not isinstance(content, Mapping):
            return
        kind = message.get("msg_type")
        if is_reply and kind == "execute_reply" and self.reply is None:
            self.reply, self.replied_at = content, time.monotonic()
        elif not is_reply and kind == "status":
            self.is_idle |= content.get("execution_state") == "idle"
        elif not is_reply:
            data = content.get("data")
            if isinstance(data, Mapping) and isinstance(data.get(ANSWERS), str):
                self.answers = data[ANSWERS]
            else:
                self.outputs.add(str(kind), content)

    def is_over(self) -> bool:
        """Whether the reply is there and all outputs are; those may have got lost."""
        if self.reply is None:
            return False
        patience = 0.3 if self.is_torn else PATIENCE
        return self.is_idle or time.monotonic() > self.replied_at + patience


def overdue(conversation: Conversation, deadline: float) -> Fault | None:
    """Return why code must be interrupted, None if it must not.

    It is suspicious only if the interrupt does not end it.
    """
    if conversation.outputs.is_flood or conversation.is_torn:
        return Fault("error", "printed far too much", suspicious=True)
    if time.monotonic() > deadline:
        return Fault("timeout", "took too long")
    return None


def stopped_by(fault: Fault, suspicious: bool, more: str = "") -> Ran:
    """Return how code ended that was stopped, with more words for the remark."""
    remark = f"{fault.words}{more}"
    return Ran(fault.status, "", fault.words, remark=remark, suspicious=suspicious)


def ending(reply: Mapping[str, Any], stopped: Fault | None) -> Ran:
    """Return how code ended of which a reply came."""
    if stopped is not None:
        return stopped_by(stopped, suspicious=False)
    if reply.get("status") == "ok":
        return Ran("ok")
    name, message = plain(reply.get("ename"), 100), plain(reply.get("evalue"), 500)
    return Ran("error", name, message)


def is_listening(path: str) -> bool:
    """Whether somebody listens at a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def execute_request(code: str) -> dict[str, Any]:
    """Return the content of the message that has code executed."""
    options = {"silent": False, "store_history": False, "allow_stdin": False}
    return {"code": code, **options, "user_expressions": {}, "stop_on_error": False}


def data_path() -> str:
    """Return the data folder, from wherever the kernel works."""
    from convnetlab.paths import data_folder

    return str(data_folder().resolve())


def package_path() -> str:
    """Return the search path on which the kernel finds this package first."""
    import convnetlab

    here = str(Path(convnetlab.__file__).parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
