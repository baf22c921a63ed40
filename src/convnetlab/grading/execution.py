"""Executing a notebook that may do anything, cell by cell, and asking what it computed.

One bad cell costs one exercise: a cell that takes too long is interrupted, a kernel that died or
was killed is started anew, and what had run before runs again, without the cell that did it.
"""

import copy
import inspect
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nbformat import NotebookNode

from convnetlab.grading import wire
from convnetlab.grading.kernel import ANSWERS, Kernel, Ran
from convnetlab.grading.records import CellRun, Execution, Limits, Probe, Raised, Remark
from convnetlab.grading.slices import is_exercise, owner

INSTRUCTORS_SECONDS = 120.0  # at least, for a cell that is not the student's
RESTARTS = 18
LONGEST_ANSWER = 6 * 2**20  # characters
TAMPERED = "an assertion that must fail did not: assertions were tampered with"
BLAMELESS = (
    "the kernel ended meanwhile, but not when it was run again: an earlier cell may have left "
    "something behind that ended it"
)
HIDDEN = "what the hidden tests asked was not answered: the kernel was tampered with"
# What the parent trusts is only how it reads the answer; the student's code can see all of this.
PROBE = """
def _convnetlab_probe():
    import json, sys
    from IPython.display import publish_display_data
    source, name, inputs, longest, kind = {arguments!r}
    wire = type(sys)("convnetlab_wire")
    sys.modules["convnetlab_wire"] = wire
    exec(compile(source, "wire", "exec"), wire.__dict__)
    answers = [] if name in globals() else None
    value = globals().get(name)
    for given in () if answers is None else [None] if inputs is None else inputs:
        try:
            found = value if given is None else value(*wire.decode(given))
            text = wire.encode(found)
            answers.append({{"value": text}} if len(text) < longest else {{"raised": "TooLong"}})
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            answers.append({{"raised": type(error).__name__}})
    publish_display_data({{kind: json.dumps(answers)}})
_convnetlab_probe()
del _convnetlab_probe
"""


def execute(
    notebook: NotebookNode,
    sources: Mapping[str, str],
    probes: Sequence[Probe],
    limits: Limits,
    sandbox: bool = True,
    first: str = "",
) -> Execution:
    """Execute cells of a notebook in order, with a probe after each check that has one.

    Args:
        notebook: whose cells they are.
        sources: what to execute, by the cell's id (`slices.needed`).
        probes: what to ask of the student's names.
        limits: what it may take.
        sandbox: whether the kernel is locked in. Without, it can do what you can do.
        first: code that each kernel runs before all else, or "".

    Raises:
        LabError: no kernel can be started here.
    """
    began = time.monotonic()
    executor = Executor(notebook, sources, probes, limits, sandbox, first)
    try:
        executor.run_all()
    finally:
        executor.stop()
    return Execution(
        notebook=executor.notebook,
        cells=executor.runs,
        answers=executor.answers,
        seconds=time.monotonic() - began,
        memory=executor.peak,
        remarks=tuple(executor.remarks),
    )


class Executor:
    """Executes one notebook, with as many kernels as it takes."""

    def __init__(
        self,
        notebook: NotebookNode,
        sources: Mapping[str, str],
        probes: Sequence[Probe],
        limits: Limits,
        is_sandboxed: bool,
        first: str = "",
    ) -> None:
        """Prepare; no kernel is started yet."""
        self.first = first
        self.notebook = without_outputs(notebook)
        self.cells = [cell for cell in self.notebook.cells if cell.id in sources]
        self.sources = sources
        self.probes = {probe.check: probe for probe in probes}
        self.limits = limits
        self.is_sandboxed = is_sandboxed
        self.kernel: Kernel | None = None
        self.starts = 0
        self.peak = 0
        self.replayed: list[NotebookNode] = []  # what a new kernel runs first
        self.recent: list[NotebookNode] = []  # of these, since the last check that was in order
        self.runs = {cell.id: CellRun("not run") for cell in self.cells}
        self.answers: dict[str, list[Any] | None] = {probe.check: None for probe in probes}
        self.remarks: list[Remark] = []

    def run_all(self) -> None:
        """Execute all cells."""
        for number, cell in enumerate(self.cells, 1):
            if not self.is_ready():
                text = f"The kernel had to be started {self.starts} times; the rest was not run."
                self.remarks.append(Remark(text, suspicious=True))
                return
            cell.execution_count = number
            if is_check(cell):
                self.run_check(cell)
            else:
                self.run_cell(cell)

    def stop(self) -> None:
        """End the kernel that runs, if one does."""
        if self.kernel is not None:
            self.peak = max(self.peak, self.kernel.peak)
            self.kernel.__exit__()
            self.kernel = None

    def is_ready(self) -> bool:
        """Whether a kernel runs in which all has run that can; start one if none does."""
        while self.kernel is None or not self.kernel.is_alive:
            self.stop()
            if self.starts > RESTARTS:
                return False
            self.starts += 1
            self.kernel = self.started()
            self.replay()
        return True

    def started(self) -> Kernel:
        """Start a kernel."""
        kernel = Kernel(self.limits, self.is_sandboxed).__enter__()
        if self.first:
            kernel.run(self.first, INSTRUCTORS_SECONDS)
        return kernel

    def replay(self) -> None:
        """Run again what ran before; a cell at which the kernel dies is left out from then on."""
        assert self.kernel is not None
        for cell in list(self.replayed):
            ran = self.kernel.run(self.sources[cell.id], self.seconds(cell))
            if not self.kernel.is_alive:
                self.replayed.remove(cell)
                self.note(cell, ran.remark or ran.message, "run again, ", ran.suspicious)
                return

    def run_check(self, cell: NotebookNode) -> None:
        """Execute a check after its canary, ask what there is to ask, and distrust what is odd."""
        if trouble := self.canary():
            self.distrust(cell, trouble)
            return
        if not self.is_ready():
            return
        self.run_cell(cell)
        if cell.id in self.probes and self.is_ready() and (trouble := self.ask(cell)):
            self.distrust(cell, trouble)
        self.recent.clear()

    def run_cell(self, cell: NotebookNode) -> None:
        """Execute a cell, and keep what became of it."""
        ran = self.run_fairly(cell, self.sources[cell.id], self.seconds(cell))
        cell.outputs = ran.outputs
        self.runs[cell.id] = CellRun(ran.status, described(ran), ran.seconds)
        if ran.remark:
            self.note(cell, ran.remark, suspicious=ran.suspicious)
        elif ran.status == "died":
            self.note(cell, "ended the kernel")
        is_alive = self.kernel is not None and self.kernel.is_alive
        if is_alive and ran.status in ("ok", "error"):
            self.replayed.append(cell)
            self.recent.append(cell)

    def run_fairly(self, cell: NotebookNode, code: str, seconds: float, when: str = "") -> Ran:
        """Run code of a cell, and once more in a new kernel if the kernel ended by itself.

        A thread or process that an earlier cell left behind may have ended it. If it ends well
        now, that counts, and is remarked.
        """
        assert self.kernel is not None
        ran = self.kernel.run(code, seconds)
        if ran.status != "died" or ran.remark or not self.replayed or not self.is_ready():
            return ran
        again = self.kernel.run(code, seconds)
        if self.kernel.is_alive and again.status in ("ok", "error"):
            self.note(cell, f"{when}{BLAMELESS}")
        return again

    def canary(self) -> str:
        """Run a check that must fail; return what is wrong if it does not, or "".

        Code in the same process can make every assertion pass.
        """
        assert self.kernel is not None
        word = secrets.token_hex(8)
        ran = self.kernel.run(f"assert False, {word!r}", self.limits.seconds)
        as_it_must = (ran.status, ran.name, ran.message) == ("error", "AssertionError", word)
        # If something before has ended the kernel, the check will run in the next one.
        return "" if as_it_must or not self.kernel.is_alive else TAMPERED

    def ask(self, cell: NotebookNode) -> str:
        """Keep what a student's function returns; tell if no answer came without a reason."""
        probe = self.probes[cell.id]
        when = f"{probe.name}, called again: "
        ran = self.run_fairly(cell, probe_code(probe), self.limits.seconds, when)
        if ran.remark or self.kernel is None or not self.kernel.is_alive:
            when = f"{probe.name}, called again, "
            self.note(cell, ran.remark or "ended the kernel", when, ran.suspicious)
        elif ran.answers is None:
            return HIDDEN
        count = 1 if probe.inputs is None else len(probe.inputs)
        self.answers[cell.id] = read_answers(ran.answers or "", count)
        return ""

    def distrust(self, cell: NotebookNode, trouble: str) -> None:
        """Count a check as failed, and go on without what ran since the last that was in order."""
        assert self.kernel is not None
        self.runs[cell.id] = CellRun("error", trouble)
        self.remarks.append(Remark(self.sentence(cell, trouble), suspicious=True))
        self.replayed = [each for each in self.replayed if each not in self.recent]
        self.recent.clear()
        self.kernel.kill()

    def seconds(self, cell: NotebookNode) -> float:
        """Return how long a cell may take."""
        is_students = is_exercise(cell) or owner(cell)
        return self.limits.seconds if is_students else max(self.limits.seconds, INSTRUCTORS_SECONDS)

    def note(self, cell: NotebookNode, what: str, when: str = "", suspicious: bool = False) -> None:
        """Remark that a cell met a limit."""
        self.remarks.append(Remark(self.sentence(cell, f"{when}{what}"), suspicious))

    def sentence(self, cell: NotebookNode, what: str) -> str:
        """Return a sentence about a cell."""
        return f"Cell {cell.id}: {what}."


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook as if it had never run."""
    clean: NotebookNode = copy.deepcopy(notebook)
    for cell in clean.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return clean


def is_check(cell: NotebookNode) -> bool:
    """Whether a cell is a check, which passes or fails."""
    settings = cell.metadata.get("nbgrader", {})
    return bool(settings.get("grade")) and not settings.get("solution")


def described(ran: Ran) -> str:
    """Return a line on how a cell ended: of a check that fails what it says."""
    if ran.name in ("", "AssertionError"):
        return ran.message
    return f"{ran.name}: {ran.message}".removesuffix(": ")


def probe_code(probe: Probe) -> str:
    """Return the code that calls a student's function and sends what it returns.

    Each call gets arguments of its own, so that a function which changes them harms itself only.
    """
    inputs = None if probe.inputs is None else [wire.encode(given) for given in probe.inputs]
    source = inspect.getsource(wire)
    return PROBE.format(arguments=(source, probe.name, inputs, LONGEST_ANSWER, ANSWERS))


def read_answers(text: str, count: int) -> list[Any] | None:
    """Return the answers to a probe; None if the text is not what a probe sends.

    Args:
        text: from the kernel: it may be anything.
        count: how many answers were asked for.
    """
    try:
        items = json.loads(text)
        if not isinstance(items, list) or len(items) != count:
            return None
        return [read_answer(item) for item in items]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_answer(item: Any) -> Any:
    """Return one answer.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    if "raised" in item:
        return Raised(str(item["raised"])[:100])
    return wire.decode(item["value"])
