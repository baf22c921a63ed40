"""`convnetlab grade`: a class's notebooks, executed side by side and marked, into one folder.

What is kept of a student (`store`) is used again as far as nothing that it depends on has changed:
the file that was handed in, the source, the hidden tests, the seed, the limits, the versions. If
only the way of marking has changed, the answers that are there are marked again.
"""

import contextlib
import hashlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from convnetlab import cluster, release
from convnetlab.errors import LabError
from convnetlab.grading import (
    feedback,
    gradebook,
    hidden,
    marking,
    reference,
    report,
    sandbox,
    store,
    submissions,
    tables,
)
from convnetlab.grading.assignment import Assignment, load
from convnetlab.grading.handed_in import stamp_of
from convnetlab.grading.records import (
    Execution,
    Limits,
    NotebookResult,
    Remark,
    Result,
    Submission,
)
from convnetlab.handoff import (
    not_written,
    read_json,
    unless_foreign,
    write_atomically,
    write_json,
)

Say = Callable[[str], object]

MARKER = "grades.json"
SEED = "seed.txt"
LOCK = ".lock"


@dataclass(frozen=True)
class Settings:
    """How a class is graded.

    Attributes:
        limits: what each notebook may take.
        is_shut_in: whether kernels run in the sandbox.
        against: "own", the source that a submission's stamp names, or "newest".
        only: the one exercise to grade again, by its cell's id; "" for all.
        every_cell: execute all of the instructor's cells.
    """

    limits: Limits = field(default_factory=Limits)
    is_shut_in: bool = True
    against: str = "own"
    only: str = ""
    every_cell: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done for one notebook of one student.

    Attributes:
        assignment: what it is graded against.
        key: a hash of the file, the source, the seed, the settings and the versions.
        prepared: None if the marks that are kept still hold.
        ready: the execution that is kept, if just the marking has changed.
        remarks: of the choice of the assignment.
    """

    assignment: Assignment
    key: str
    prepared: marking.Prepared | None = None
    ready: Execution | None = None
    remarks: tuple[Remark, ...] = ()


def grade(
    folder: Path,
    out: Path,
    source: Path,
    settings: Settings,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Say = print,
) -> Path:
    """Grade what is in `folder`, and return the path of the instructor's page.

    Args:
        folder: the submissions, or a zip of them.
        out: where everything goes; new, empty, or of an earlier grading, which is added to.
        source: the folder of the source notebooks and `hidden_tests.py`.
        settings: limits and the like.
        workers, scheduler: see `cluster.connected`.
        say: gets a line of progress now and then.

    Raises:
        LabError: something is refused, before anything is executed; or some students could not be
            graded (all others are, then).
    """
    cluster.check(workers, scheduler)
    if settings.is_shut_in:
        sandbox.check_available()
    else:
        say("There is no sandbox: what is executed now may do all that you may.")
    refuse_within(folder, out)
    newest = load(source)
    refuse_unknown(settings.only, newest)
    ids = {name: submissions.cell_ids(it) for name, it in newest.notebooks.items()}
    found, left_aside = submissions.collect(folder, list(newest.notebooks), ids)
    prepare_folder(out, newest)
    with alone(out):
        failed, about = grade_all(found, out, newest, settings, workers, scheduler, say)
        aside = [
            *left_aside,
            *(f"{name}: not graded: {why}" for name, why in failed.items()),
            *lacking(newest, out, {submission.student for submission in found}, settings),
        ]
        for line in aside:
            say(line)
        page = write_all(out, newest, found, replace(about, left_aside=aside))
    if failed:
        names = ", ".join(sorted(failed))
        raise LabError(
            f"Not graded: {names} ({next(iter(failed.values()))}). All others are, in {page}. The "
            "same command tries these again."
        )
    return page


def refuse_within(folder: Path, out: Path) -> None:
    """Refuse to write among the submissions, where grades would be taken for one.

    Raises:
        LabError: `out` is the submissions' folder, or lies in it.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        raise LabError(f"--out {out} lies in {folder}, the submissions. Choose a folder elsewhere.")


def prepare_folder(out: Path, assignment: Assignment) -> None:
    """Make the folder of the grades, for nobody else to look into, if it is not there.

    Raises:
        LabError: it is somebody else's, has the grades of other notebooks, or cannot be written;
            or the hidden tests are broken.
    """
    unless_foreign(out, MARKER)
    names = list(assignment.notebooks)
    if not (out / MARKER).is_file():
        _ = assignment.exercises  # are refused now, if at all
        write_json(out / MARKER, {"made_by": "convnetlab", "notebooks": names})
        out.chmod(0o700)
    there = read_json(out / MARKER).get("notebooks")
    if there != names:
        raise LabError(
            f"{out} has grades of other notebooks ({', '.join(there or ['unknown'])}) than "
            f"{', '.join(names)}. Choose another folder for --out."
        )


def lacking(
    assignment: Assignment, out: Path, handed_in: set[str], settings: Settings
) -> list[str]:
    """Return in sentences what an instructor may miss: hidden tests, the sandbox, students."""
    told = []
    if not (assignment.folder / hidden.FILE).is_file():
        told.append(
            f"There is no {hidden.FILE} beside the source: the checks in the notebooks decide, and "
            "a student's program can make them pass."
        )
    if not settings.is_shut_in:
        told.append("Graded without the sandbox.")
    gone = [name for name in store.students(out) if name not in handed_in]
    if gone:
        told.append(
            f"Graded earlier, not among these submissions, and still in the tables: "
            f"{', '.join(gone)}."
        )
    return told


def refuse_unknown(exercise: str, assignment: Assignment) -> None:
    """Refuse to grade one exercise alone that there is not.

    Raises:
        LabError: no question has that id.
    """
    known = [it.exercise for questions in assignment.questions.values() for it in questions]
    if exercise and exercise not in known:
        raise LabError(f"There is no exercise {exercise!r}. The exercises are: {', '.join(known)}.")


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second grading out of the same folder meanwhile.

    Raises:
        LabError: one is under way.
    """
    if sys.platform == "win32":
        yield  # its locks are others
        return
    import fcntl

    try:
        lock = (out / LOCK).open("w")
    except OSError as error:
        raise not_written(out / LOCK, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(f"Another grading into {out} is under way. Wait for its end.") from None
        yield


def private_seed(out: Path) -> str:
    """Return the seed of the hidden inputs, which nobody but the instructor can read."""
    path = out / SEED
    if not path.is_file():
        seed = secrets.token_hex(16)

        def write(file: Path) -> None:
            file.write_text(seed + "\n")

        write_atomically(path, write)
        path.chmod(0o600)
    return path.read_text().strip()


def grade_all(
    found: list[Submission],
    out: Path,
    newest: Assignment,
    settings: Settings,
    workers: int | None,
    scheduler: str | None,
    say: Say,
) -> tuple[dict[str, str], report.About]:
    """Grade what has changed, and keep each student's results as they come.

    Returns:
        Why those that could not be graded were not, by student; and what the page tells of it all.
    """
    begun = time.monotonic()
    seed, sources = private_seed(out), Sources(newest, settings, out, say)
    circumstances = marking.circumstances(settings.limits, settings.is_shut_in)
    planned: dict[str, dict[str, Plan]] = {}
    jobs: dict[str, tuple[object, ...]] = {}
    by_name = {submission.student: submission for submission in found}
    for student, submission in by_name.items():
        kept = store.load(out, student)
        plans = planned[student] = {
            name: plan(submission, name, sources, kept, seed, circumstances, settings)
            for name in newest.notebooks
        }
        tasks = {
            name: replace(it.prepared.task, first=sources.first(it.assignment))
            for name, it in plans.items()
            if it.prepared is not None and it.ready is None
        }
        if tasks:
            jobs[student] = (tasks, settings.limits, settings.is_shut_in)
        else:
            finish(out, submission, plans, {}, kept, circumstances, settings)
    say(f"{len(found)} submissions, {len(found) - len(jobs)} of them need no execution")
    reused = sum(it.prepared is None for plans in planned.values() for it in plans.values())
    about = report.About(source=newest.stamp, reused=reused)
    failed: dict[str, str] = {}
    if not jobs:
        return failed, replace(about, seconds=time.monotonic() - begun)
    with cluster.connected(workers, scheduler, len(jobs)) as client:
        about = replace(about, workers=len(client.nthreads()))
        pace = Pace(len(jobs))
        for student, outcome in cluster.carry_out(client, marking.carry_out, jobs):
            if outcome.error is not None:
                failed[student] = outcome.error
                say(f"{pace.step()}: {student}: not graded: {outcome.error}")
                continue
            kept = store.load(out, student)
            result = finish(
                out,
                by_name[student],
                planned[student],
                outcome.value,
                kept,
                circumstances,
                settings,
            )
            reached = sum(mark.points for mark in result.marks)
            possible = sum(mark.maximum for mark in result.marks)
            say(f"{pace.step()}: {student}: {reached:g} of {possible:g} points")
    return failed, replace(about, seconds=time.monotonic() - begun)


class Pace:
    """Counts what is done, and estimates when the rest will be."""

    def __init__(self, total: int) -> None:
        """Begin to count `total` students."""
        self.total, self.done = total, 0
        self.begun = time.monotonic()

    def step(self) -> str:
        """Count one more, and tell how many there are and how long the rest may take."""
        self.done += 1
        left = self.total - self.done
        each = (time.monotonic() - self.begun) / self.done
        rest = f", about {clock(left * each)} left" if left else ""
        return f"{self.done} of {self.total}{rest}"


def clock(seconds: float) -> str:
    """Return a time in words.

    >>> clock(75), clock(9)
    ('2 min', '9 s')
    """
    return (
        f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min".replace("1 min", "2 min")
    )


class Sources:
    """The versions of an assignment, each read once."""

    def __init__(self, newest: Assignment, settings: Settings, out: Path, say: Say) -> None:
        """Choose from `newest` and those that were released before; `out` keeps their runs."""
        self.newest, self.settings, self.out, self.say = newest, settings, out, say
        self.known = {newest.stamp: newest}
        self.unpacking: dict[str, str] = {}

    def first(self, assignment: Assignment) -> str:
        """Return the code by which a kernel has the results of earlier stages, if it needs any."""
        if not self.settings.every_cell:
            return ""
        if assignment.stamp not in self.unpacking:
            runs = reference.runs_of(assignment, self.out, self.say)
            self.unpacking[assignment.stamp] = reference.unpacking(runs)
        return self.unpacking[assignment.stamp]

    def choose(self, name: str, handed_in: bytes | None) -> tuple[Assignment, tuple[Remark, ...]]:
        """Return what a notebook is graded against, and what is to be said of that."""
        stamp = stamp_of(handed_in) if handed_in and self.settings.against == "own" else ""
        if stamp and stamp not in self.known:
            there = release.archived(stamp)
            self.known[stamp] = load(there) if there else self.newest
        chosen = self.known.get(stamp, self.newest)
        if name not in chosen.notebooks:
            chosen = self.newest
        if stamp and chosen.stamp != stamp:
            told = f"{name} is of a version ({stamp}) that is not among the releases kept here"
            return chosen, (Remark(f"{told}; it was graded against the newest."),)
        if chosen is not self.newest:
            return chosen, (Remark(f"{name} is of an earlier release, and was graded by it."),)
        return chosen, ()


def plan(
    submission: Submission,
    name: str,
    sources: Sources,
    kept: store.Kept | None,
    seed: str,
    circumstances: str,
    settings: Settings,
) -> Plan:
    """Return what is to be done for one notebook of a submission."""
    handed_in = submission.notebooks.get(name)
    assignment, remarks = sources.choose(name, handed_in)
    told = (assignment.digests[name], seed, submission.student, circumstances, settings.every_cell)
    content = hashlib.sha256(handed_in).hexdigest() if handed_in is not None else "none"
    key = hashlib.sha256(repr((content, *told)).encode()).hexdigest()
    there = previous(kept, name)
    asked = [question.exercise for question in assignment.questions[name]]
    is_meant = settings.only in asked
    if there and (not is_meant if settings.only else there.key == key):
        return Plan(assignment, there.key)
    prepared = marking.prepare(
        assignment, name, handed_in, seed, submission.student, settings.every_cell
    )
    ready: Execution | None = None
    execution_key = f"{circumstances} {prepared.task.key}"
    if not prepared.task.sources:
        ready = marking.idle(prepared.task)
    elif kept and not is_meant and kept.executions.get(name, ("",))[0] == execution_key:
        ready = marking.again(prepared.task, kept.executions[name][1])
    return Plan(assignment, key, prepared, ready, remarks)


def previous(kept: store.Kept | None, name: str) -> NotebookResult | None:
    """Return a notebook's result that is kept, if any."""
    results = kept.result.notebooks if kept else ()
    return next((result for result in results if result.name == name), None)


def finish(
    out: Path,
    submission: Submission,
    plans: Mapping[str, Plan],
    executed: Mapping[str, Execution],
    kept: store.Kept | None,
    circumstances: str,
    settings: Settings,
) -> Result:
    """Mark what was executed, put it beside what still holds, and keep both."""
    results, executions = [], dict(kept.executions) if kept else {}
    for name, it in plans.items():
        there = previous(kept, name)
        if it.prepared is None:
            assert there is not None
            results.append(there)
            continue
        execution = executed.get(name) or it.ready
        assert execution is not None
        marks, remarks = marking.mark(it.assignment, name, it.prepared, execution)
        met = [Remark(f"{name}: {met.text}", met.suspicious) for met in execution.remarks]
        if settings.only and there:
            marks = tuple(
                new if new.exercise == settings.only else old.get(new.exercise, new)
                for old in [{mark.exercise: mark for mark in there.marks}]
                for new in marks
            )
        executions[name] = (f"{circumstances} {it.prepared.task.key}", execution)
        results.append(
            NotebookResult(
                name=name,
                key=there.key if settings.only and there else it.key,
                marks=marks,
                executed=store.as_text(execution.notebook),
                seconds=execution.seconds,
                memory=execution.memory,
                remarks=(*it.remarks, *it.prepared.rebuilt.remarks, *met, *remarks),
                source=it.assignment.stamp,
            )
        )
    result = Result(submission, tuple(results))
    new = store.Kept(result, executions)
    if kept is None or any(it.prepared for it in plans.values()) or is_other(kept, submission):
        store.save(out, new)
    return result


def is_other(kept: store.Kept, submission: Submission) -> bool:
    """Whether what is known of a submission, its notebooks aside, has changed."""
    return replace(kept.result.submission, notebooks={}) != replace(submission, notebooks={})


def write_all(out: Path, newest: Assignment, found: list[Submission], about: report.About) -> Path:
    """Write gradebook, tables, feedback and the instructor's page, whose path is returned.

    All students of whom something is kept are in them, those of earlier gradings included.
    """
    kept = {name: there for name in store.students(out) if (there := store.load(out, name))}
    results = [there.result for there in kept.values()]
    remarks = gradebook.write(out, newest.notebooks, results, found)
    manual = gradebook.manual_scores(out)
    tables.write(out, results, manual)
    feedback.write(out, results, manual)
    return report.write(out, results, manual, replace(about, remarks=remarks))
