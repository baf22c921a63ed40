"""`convnetlab check`: a student's notebooks in fresh kernels, before they are handed in.

They run as grading runs them, as far as a student's machine can: from top to bottom, with the lab's
own parameters and checks, few pictures, in a folder that holds no other file of the student's.
"""

import asyncio
import contextlib
import copy
import logging
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from convnetlab.errors import LabError
from convnetlab.handoff import MAKERS, run_folder
from convnetlab.notebooks import Literal, Say, environment, parameters, read, tags
from convnetlab.paths import STAGES, data_folder, notebooks_folder
from convnetlab.student import given, is_answer, is_own, key, source_stamp

SECONDS = 120  # for a cell; on the small pictures none of the lab's needs a tenth of it
RUN = "check"
SIGNS = {"right": "✓", "wrong": "✗", "missing": "✗", "unanswered": "–", "by hand": "·"}
HINTS = {
    "NameError": "In a fresh kernel a name is there only once a cell above has made it. Is that "
    "cell deleted, or does it stand below?",
    "ModuleNotFoundError": "Only the notebooks are handed in; there is the lab, and nothing else.",
    "FileNotFoundError": "Only the notebooks are handed in: no other file of yours is there.",
}
LAST = (
    "These are the checks that you see in the notebooks. Grading also asks your functions about "
    "inputs that are not shown."
)


@dataclass(frozen=True)
class Exercise:
    """What came out of one exercise.

    Attributes:
        title: its heading.
        state: "right", "wrong", "unanswered", "missing" or "by hand".
        said: what the check said, in one line; "" if it passed.
    """

    title: str
    state: str
    said: str = ""


@dataclass(frozen=True)
class Checked:
    """What came out of one notebook.

    Attributes:
        name: its stage.
        exercises: in the notebook's order.
        broken: cells that broke although they are no exercise, a sentence each; or what kept the
            notebook from being run.
        notes: what the student should know of how it will be graded.
        seconds: wall time, kernel start included.
    """

    name: str
    exercises: tuple[Exercise, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_fine(self) -> bool:
        """Whether nothing broke and every answer that is given passes its check."""
        bad = {"wrong", "missing"}
        return not self.broken and not any(exercise.state in bad for exercise in self.exercises)

    def lines(self) -> Iterator[str]:
        """Yield the lines to show."""
        states = [exercise.state for exercise in self.exercises]
        yield f"{self.name}: {counted(states)} ({self.seconds:.0f} s)"
        for exercise in self.exercises:
            said = f": {exercise.said}" if exercise.said else ""
            yield f"  {SIGNS[exercise.state]} {exercise.title}{said}"
        yield from (f"  ✗ {sentence}" for sentence in self.broken)
        yield from (f"  ! {sentence}" for sentence in self.notes)


def counted(states: Sequence[str]) -> str:
    """Return how many exercises are in each state.

    >>> counted(["right", "unanswered", "right"])
    '2 right, 1 unanswered'
    """
    return ", ".join(f"{states.count(state)} {state}" for state in SIGNS if state in states) or "–"


def check(folder: Path, say: Say = print) -> bool:
    """Run a student's four stage notebooks, and say what came out as soon as each is done.

    Nothing in `folder`, and none of the student's runs, is changed.

    Returns:
        Whether every notebook is there and runs, and every answer that is given passes.

    Raises:
        LabError: the folder is missing, or has none of the notebooks.
    """
    if not any((folder / f"{stage}.ipynb").is_file() for stage in STAGES):
        raise LabError(
            f"{folder} has none of the lab's notebooks, such as {STAGES[0]}.ipynb. "
            "`convnetlab start` makes your copy."
        )
    source = notebooks_folder()
    stamp = source_stamp(source)
    found = []
    with temporary_runs() as place, Kernels(place, len(STAGES)) as kernels:
        for number, stage in enumerate(STAGES):
            say(f"{stage} …")
            lab = given(source / f"{stage}.ipynb", stamp)
            checked = check_notebook(folder / f"{stage}.ipynb", lab, kernels, say)
            found.append(checked)
            for line in checked.lines():
                say(line)
            stand_in(lab, stage, any_left(folder, number), kernels, say)
    states = [exercise.state for checked in found for exercise in checked.exercises]
    say(f"All together: {counted(states)}. {LAST}")
    return all(checked.is_fine for checked in found)


class Kernels:
    """Fresh kernels, one after the other; the next one loads TensorFlow while this one works."""

    def __init__(self, place: Path, count: int) -> None:
        """Start them in the folder `place`; so many will be asked for, and seldom more."""
        self.place, self.count = place, count
        self.started: list[tuple[Any, Any]] = []  # the manager, a client that asked it to load
        self.is_taken = False  # the first of them

    def __enter__(self) -> "Kernels":
        """Start the first one."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop those that are left."""
        while self.started:
            self.stop()

    def take(self) -> Any:
        """Return a kernel that nothing has run in; the one before is stopped."""
        if self.is_taken:
            self.stop()
        self.is_taken = True
        self.count -= 1
        while not self.started or (self.count > 0 and len(self.started) < 2):
            self.start()
        return self.started[0][0]

    def start(self) -> None:
        """Start one."""
        from jupyter_client.manager import AsyncKernelManager
        from jupyter_core.utils import run_sync

        manager = AsyncKernelManager(kernel_name="python3")
        quiet = ["--IPKernelApp.log_level=CRITICAL", "--HistoryManager.enabled=False"]
        run_sync(manager.start_kernel)(cwd=str(self.place), extra_arguments=quiet)
        client = manager.blocking_client()
        client.start_channels()
        client.execute("import convnetlab.backend", silent=True, store_history=False)
        self.started.append((manager, client))

    def stop(self) -> None:
        """Stop the first one."""
        from jupyter_core.utils import run_sync

        manager, client = self.started.pop(0)
        client.stop_channels()
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)


@contextlib.contextmanager
def temporary_runs() -> Iterator[Path]:
    """Let kernels find data here, and write results where they are gone afterwards."""
    data = str(data_folder().resolve())
    with tempfile.TemporaryDirectory(
        prefix="convnetlab-check-", ignore_cleanup_errors=True
    ) as name:
        place, own = Path(name) / "work", Path(name) / "temporary"
        place.mkdir()
        own.mkdir()  # a kernel that is killed does not clean up
        with environment(
            CONVNETLAB_RUNS=str(Path(name) / "runs"),
            CONVNETLAB_DATA=data,
            CONVNETLAB_HEADLESS="1",
            CONVNETLAB_SMOKE="1",
            TMPDIR=str(own),
            TEMP=str(own),
        ):
            yield place


def any_left(folder: Path, number: int) -> bool:
    """Whether a notebook of a later stage is there."""
    return any((folder / f"{stage}.ipynb").is_file() for stage in STAGES[number + 1 :])


def stand_in(lab: NotebookNode, stage: str, is_needed: bool, kernels: Kernels, say: Say) -> None:
    """Run the lab's own notebook if the student's did not hand on what later stages need."""
    lacking = [
        name
        for name, maker in MAKERS.items()
        if maker == stage and not (run_folder(RUN) / name).is_file()
    ]
    if lacking and is_needed:
        say(
            f"  ! It did not hand on {', '.join(lacking)}, which later stages need. So that they "
            "can be checked, the lab's own notebook runs in its place …"
        )
        run(copy.deepcopy(lab), parameters(lab), kernels, lambda line: None)


def check_notebook(path: Path, lab: NotebookNode, kernels: Kernels, say: Say) -> Checked:
    """Run a student's notebook, and compare it with the lab's.

    Args:
        path: the student's file.
        lab: the copy that students are given.
        kernels: where it runs.
        say: gets a line of progress now and then.
    """
    if not path.exists():
        return Checked(path.stem, broken=(f"{path} is missing: nothing in it can be graded.",))
    try:
        mine = read(path)
        nbformat.validate(mine)
    except (LabError, nbformat.ValidationError, AttributeError, KeyError, TypeError) as error:
        told = f"It is damaged, and nothing in it can be graded: {one_line(str(error))}"
        return Checked(path.stem, broken=(told,))
    exercises = exercises_of(lab)
    if not any(copies_of(exercise.solution, mine) for exercise in exercises):
        told = f"{path} has none of its exercises: it is another notebook."
        return Checked(path.stem, broken=(told,))
    notes = tuple(remarks(mine, lab, exercises))
    names = {cell.id: called(number, cell) for number, cell in enumerate(mine.cells, start=1)}
    restore_checks(mine, exercises)
    start = time.perf_counter()
    stopped = run(mine, parameters(lab), kernels, say)
    seconds = time.perf_counter() - start
    broken = list(broken_cells(mine, exercises, names))
    if stopped:
        broken.append(f"{names.get(stopped[0], 'A cell')} {stopped[1]}")
    outcomes = tuple(outcome(exercise, mine) for exercise in exercises)
    return Checked(path.stem, outcomes, tuple(broken), notes, seconds)


# --- what the lab asks -----------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """An exercise as students are given it.

    Attributes:
        title: its heading.
        solution: the cell to answer in.
        check: the graded cell after it; None for what is graded by hand.
    """

    title: str
    solution: NotebookNode
    check: NotebookNode | None


def exercises_of(lab: NotebookNode) -> list[Asked]:
    """Return the exercises of a notebook that students are given, in its order."""
    found, title = [], ""
    for place, cell in enumerate(lab.cells):
        if cell.cell_type == "markdown" and (
            headings := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)
        ):
            title = headings[-1]
        if is_answer(cell):
            later = (other for other in lab.cells[place + 1 :] if is_graded(other))
            by_hand = is_graded(cell)
            found.append(Asked(title, cell, None if by_hand else next(later, None)))
    return found


def is_graded(cell: NotebookNode) -> bool:
    """Whether points are given for the cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def copies_of(cell: NotebookNode, mine: NotebookNode) -> list[NotebookNode]:
    """Return the cells of a student's notebook that are, or were copied from, one of the lab's."""
    return [other for other in mine.cells if key(other) == key(cell) or other.id == cell.id]


def is_answered(cell: NotebookNode, asked: NotebookNode) -> bool:
    """Whether the student wrote something else than what was given."""
    return is_own(cell) and cell.source != asked.source


def remarks(mine: NotebookNode, lab: NotebookNode, exercises: Sequence[Asked]) -> Iterator[str]:
    """Yield what the student should know of how this notebook will be graded."""
    stamp = mine.metadata.get("convnetlab", {}).get("source")
    if not stamp:
        yield "Its stamp is lost, so it will be graded as if it came from the newest release."
    elif stamp != lab.metadata["convnetlab"].get("source"):
        yield (
            "It comes from another release than notebooks/. `convnetlab start FOLDER --update` "
            "brings the present text, and keeps your answers."
        )
    for asked in exercises:
        copies = copies_of(asked.solution, mine)
        if len(copies) > 1:
            yield (
                f"{asked.title}: its cell is there {len(copies)} times. Grading takes the first "
                "that holds an answer, in the place of the lab's cell. Delete the others."
            )
        if copies and asked.check and (what := state_of_check(asked.check, mine)):
            yield f"{asked.title}: its check was {what}. Grading takes the lab's; so did this."


def state_of_check(check: NotebookNode, mine: NotebookNode) -> str:
    """Return whether a check was "deleted" or "changed", else ""."""
    copies = copies_of(check, mine)
    if any(is_answered(copy, check) for copy in copies):
        return "changed"
    return "" if copies else "deleted"


def restore_checks(mine: NotebookNode, exercises: Sequence[Asked]) -> None:
    """Put the lab's checks where a student deleted or changed them, as grading does."""
    for asked in exercises:
        copies = copies_of(asked.solution, mine)
        if asked.check is None or not copies:
            continue
        checks = copies_of(asked.check, mine)
        for check in checks:
            check.source = asked.check.source
        if not checks:
            mine.cells.insert(mine.cells.index(copies[-1]) + 1, copy.deepcopy(asked.check))


# --- running ---------------------------------------------------------------------------------


def run(
    notebook: NotebookNode, values: Mapping[str, Literal], kernels: Kernels, say: Say
) -> tuple[str, str] | None:
    """Execute a notebook in a fresh kernel, whatever its cells raise; its outputs are new.

    Args:
        notebook: changed in place: it gets a cell with the parameters, and outputs.
        values: the parameters, but for the run's name.
        kernels: gives it a fresh one.
        say: gets a line of progress now and then.

    Returns:
        The id of the cell that ended it all and what it did, if one did.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    prepare(notebook, {**values, "run": RUN})
    progress = Progress(len(notebook.cells), say)
    client = NotebookClient(
        notebook,
        km=kernels.take(),
        allow_errors=True,
        timeout_func=lambda cell: SECONDS,
        startup_timeout=300,  # TensorFlow is loaded first
        on_notebook_start=leave_interrupts,
        on_cell_start=progress,
        log=quiet_log(),
    )
    try:
        client.execute()
    except CellTimeoutError:
        return progress.cell, f"did not end within {SECONDS} s. The cells after it were not run."
    except DeadKernelError:
        return progress.cell, "ended Python. The cells after it were not run."
    return None


class Progress:
    """Says every tenth cell where a notebook is.

    Attributes:
        cell: the id of the one that runs.
    """

    def __init__(self, count: int, say: Say) -> None:
        """Tell of `count` cells."""
        self.count, self.say, self.cell = count, say, ""

    def __call__(self, cell: NotebookNode, cell_index: int) -> None:
        """Note a cell that begins."""
        self.cell = cell.id
        if (cell_index + 1) % 10 == 0:
            self.say(f"  cell {cell_index + 1} of {self.count}")


def leave_interrupts(notebook: NotebookNode) -> None:
    """Take Ctrl-C back from nbclient, which would stop the kernel and go on."""
    # The cell's task dies with its kernel; asyncio would print that nobody asked it why.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


def prepare(notebook: NotebookNode, values: Mapping[str, Literal]) -> None:
    """Clear the outputs, and put a cell of parameters behind the one tagged so, or first."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    places = [i for i, cell in enumerate(notebook.cells, 1) if "parameters" in tags(cell)]
    text = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(places[0] if places else 0, nbformat.v4.new_code_cell(text))


def quiet_log() -> logging.Logger:
    """Return a log for nbclient that shows nothing: what it has to say is told in words."""
    log = logging.getLogger("convnetlab.check")
    log.setLevel(logging.CRITICAL + 1)
    return log


# --- what came out ---------------------------------------------------------------------------


def outcome(asked: Asked, mine: NotebookNode) -> Exercise:
    """Return what came out of an exercise."""
    copies = copies_of(asked.solution, mine)
    if not copies:
        told = "its cell is missing. `convnetlab start FOLDER --update` puts it back"
        return Exercise(asked.title, "missing", told)
    answers = [cell for cell in copies if is_answered(cell, asked.solution)]
    if not answers:
        return Exercise(asked.title, "unanswered")
    if asked.check is None:
        return Exercise(asked.title, "by hand")
    cells = [*answers, *copies_of(asked.check, mine)]
    errors = [error for cell in cells for error in errors_of(cell)]
    if not errors and cells[-1].execution_count is None:
        errors = ["it was not reached"]
    return Exercise(asked.title, "wrong" if errors else "right", errors[0] if errors else "")


def broken_cells(
    mine: NotebookNode, exercises: Sequence[Asked], names: Mapping[str, str]
) -> Iterator[str]:
    """Yield a sentence for each cell that broke and belongs to no exercise; a hint once."""
    hints = dict(HINTS)
    graded = {
        cell.id
        for asked in exercises
        for part in (asked.solution, asked.check)
        if part is not None
        for cell in copies_of(part, mine)
    }
    for cell in mine.cells:
        for error in errors_of(cell) if cell.id in names.keys() - graded else []:
            hint = hints.pop(error.partition(":")[0], "")
            told = f"{names[cell.id]} is no exercise, and breaks: {error}."
            yield f"{told} {hint}".strip()


def errors_of(cell: NotebookNode) -> list[str]:
    """Return the errors of a cell's outputs, a line each; of an assertion, only what it says."""
    return [
        one_line(output.evalue if is_said else f"{output.ename}: {output.evalue}")
        for output in cell.get("outputs", [])
        if output.output_type == "error"
        for is_said in [output.ename == "AssertionError" and output.evalue]
    ]


def one_line(text: str) -> str:
    """Return a text in one line, without colours, at most 300 characters."""
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def called(number: int, cell: NotebookNode) -> str:
    """Return how a cell is called in a message: by its place and its first line."""
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    return f"Cell {number} (`{first[:60]}`)"
