"""`convnetlab sweep`: a run for every combination of some parameters' values, and one table.

A run of the sweep SWEEP is the run SWEEP/KEY, where KEY tells its values. Each attempt at one works
in a folder of its own, which is put in place in one step when it is whole: nobody ever sees half a
run there, and an attempt that was given up (its worker was killed) cannot spoil the next one.
"""

import contextlib
import hashlib
import io
import itertools
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from convnetlab import __version__, cluster
from convnetlab.compare import facts, write_page
from convnetlab.errors import LabError
from convnetlab.handoff import (
    Run,
    group_folder,
    read_json,
    run_folder,
    write_atomically,
    write_json,
)
from convnetlab.notebooks import (
    CellError,
    Literal,
    Say,
    accept,
    choose_parameters,
    environment,
    parameters,
    parameters_of,
    read,
    run_lab,
)
from convnetlab.paths import STAGES, notebooks_folder, runs_folder

SWEEP = "sweep.json"
ERROR = "error.txt"  # in a run's folder: why it failed
ATTEMPTS = ".attempts"
FORMAT = 1
MOST = 1_000  # runs of a sweep; more are a slip of the pen
ONE_AT_A_TIME = threading.Lock()  # a run sets its process's environment

RunLab = Callable[..., object]


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        runs: the folder of all runs.
        name: SWEEP/KEY.
        values: the grid's values for this run.
        given: all parameters given, as text.
        expected: the parameters of all four stages, which a finished run must have been made with.
        smoke: whether a small subset of the pictures is used.
    """

    runs: Path
    name: str
    values: Mapping[str, Literal]
    given: tuple[tuple[str, str], ...]
    expected: Mapping[str, Literal]
    smoke: bool


def sweep(
    name: str,
    grid: Sequence[tuple[str, str]],
    given: Sequence[tuple[str, str]] = (),
    smoke: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Say = print,
    run: RunLab = run_lab,
) -> tuple[Path, int]:
    """Do what is left of a sweep's runs, and return its page's path and how many runs failed.

    Writes `results.csv` and `report.html` into `runs/<name>/`. Started again, it does only what is
    not finished, or has become new because values were added to the grid.

    Args:
        name: the sweep's.
        grid: names of parameters, each with values: `a,b,c`, or whole numbers `0..2`.
        given: names and values of the other parameters, as text.
        smoke: use a small subset of the pictures.
        workers, scheduler: see `cluster.connected`.
        say: gets a line of progress now and then.
        run: executes a run, as `notebooks.run_lab` does.

    Raises:
        LabError: a name or value is refused, before anything runs; or the folder belongs to
            another sweep or to somebody else.
    """
    wanted = {key: spread(key, text) for key, text in grid}
    if len(wanted) < len(grid):
        raise LabError("A parameter is given twice with -g. Give it once, with all its values.")
    folder = group_folder(name, SWEEP)
    defaults = {stage: parameters(read(notebooks_folder() / f"{stage}.ipynb")) for stage in STAGES}
    marker = describe(wanted, given, smoke, defaults)
    refuse_another_sweep(folder, marker)
    jobs = plan(name, marker["grid"], given, smoke, defaults)
    left = {job.name: (job, run) for job in jobs if not is_finished(job)}
    say(f"{len(jobs)} runs, {len(jobs) - len(left)} of them finished already")
    errors: dict[str, str] = {}
    if left:
        with cluster.connected(workers, scheduler, len(left)) as client:
            write_json(folder / SWEEP, marker)
            shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)  # of a sweep that was cut short
            errors = do(left, folder, client, say)
    shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)
    results = pd.DataFrame([row(job, errors.get(job.name)) for job in jobs])
    title = f"Sweep “{name}”" + (" (smoke)" if smoke else "")
    page = write_page(folder, title, results, list(marker["grid"]))
    return page, int((results["status"] == "failed").sum())


def spread(name: str, text: str) -> list[str]:
    """Return the values that a text of the grid stands for, as text.

    Raises:
        LabError: a value is empty, or a range runs backwards or too far.

    >>> spread("seed", "0..2,7")
    ['0', '1', '2', '7']
    """
    values: list[str] = []
    for part in map(str.strip, text.split(",")):
        bounds = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", part)
        first, last = map(int, bounds.groups()) if bounds else (0, 0)
        if not part:
            raise LabError(f"-g {name} {text!r} has an empty value. Write values as a,b,c or 0..2.")
        if not 0 <= last - first < MOST:
            raise LabError(
                f"-g {name} {text!r}: the range {part} must run upwards, over at most {MOST:,} "
                f"numbers, such as 0..2."
            )
        values += map(str, range(first, last + 1)) if bounds else [part]
    return values


def describe(
    grid: Mapping[str, Sequence[str]],
    given: Sequence[tuple[str, str]],
    smoke: bool,
    defaults: Mapping[str, Mapping[str, Literal]],
) -> dict[str, Any]:
    """Return what a sweep is, for its marker: the typed values of the grid and the parameters.

    Raises:
        LabError: a name is unknown or given twice, or a value is wrong or comes twice.
    """
    typed: dict[str, list[Literal]] = {}
    for name, texts in grid.items():
        typed[name] = [choose_parameters([(name, text)], defaults, 1)[name] for text in texts]
        for value in typed[name]:
            if typed[name].count(value) > 1:
                raise LabError(f"-g {name} has the value {value} twice. Give each value once.")
    count = 1
    for values in typed.values():
        count *= len(values)
    if count > MOST:
        raise LabError(f"The grid has {count:,} runs; at most {MOST:,} are done at a time.")
    fixed = choose_parameters(given, defaults, 1)
    both = sorted(fixed.keys() & typed.keys())
    if both:
        raise LabError(f"Parameter {both[0]} is given with -g and with -p. Give it once.")
    if "other" in fixed.keys() | typed.keys():
        raise LabError(
            "A sweep takes no parameter other. Compare its runs with one another, and with other "
            "runs, with `convnetlab compare`."
        )
    return {
        "made_by": "convnetlab",
        "format": FORMAT,
        "version": __version__,
        "grid": typed,
        "parameters": fixed,
        "smoke": smoke,
    }


def refuse_another_sweep(folder: Path, marker: dict[str, Any]) -> None:
    """Refuse to mix two sweeps; put the grid's parameters in the order that the first start had.

    Raises:
        LabError: the folder's sweep has other parameters, another version, or values that are not
            in this grid.
    """
    if not (folder / SWEEP).is_file():
        return
    there, again = read_json(folder / SWEEP), "Choose another --run, or do as before"
    for key, words in {
        "format": "its file's format",
        "version": "convnetlab's version",
        "smoke": "smoke",
        "parameters": "the parameters of -p",
    }.items():
        if there.get(key) != marker[key]:
            raise LabError(
                f"The sweep in {folder} was started otherwise: {words} was {there.get(key)}, and "
                f"is now {marker[key]}. {again}."
            )
    grid: dict[str, list[Literal]] = there["grid"]
    if grid.keys() != marker["grid"].keys():
        raise LabError(
            f"The sweep in {folder} varies {', '.join(grid)}, and this grid varies "
            f"{', '.join(marker['grid'])}. {again}."
        )
    for name, values in grid.items():
        missing = [str(value) for value in values if value not in marker["grid"][name]]
        if missing:
            raise LabError(
                f"The sweep in {folder} has {name} {', '.join(missing)}, and this grid has not. A "
                f"sweep may grow, not shrink. {again}."
            )
    marker["grid"] = {name: marker["grid"][name] for name in grid}


def plan(
    name: str,
    grid: Mapping[str, Sequence[Literal]],
    given: Sequence[tuple[str, str]],
    smoke: bool,
    defaults: Mapping[str, Mapping[str, Literal]],
) -> list[Job]:
    """Return a job for every combination of the grid's values.

    Raises:
        LabError: a recipe or an architecture is unknown, or the values cannot go together.
    """
    flat = {key: value for stage in defaults.values() for key, value in stage.items()}
    jobs = []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        texts = (*given, *((key, str(value)) for key, value in values.items()))
        expected, run = {**flat, **accept(texts, defaults)}, f"{name}/{key_of(values)}"
        run_folder(run)  # refuses what lies there and is no run
        jobs.append(Job(runs_folder().resolve(), run, values, texts, expected, smoke))
    refuse_unknown_architectures(
        {name for job in jobs for key, name in job.given if key == "architecture"}
    )
    return jobs


def refuse_unknown_architectures(names: set[str]) -> None:
    """Refuse networks that there are none of, before anything runs.

    Raises:
        LabError: a name is unknown.
    """
    if not names:
        return  # and spare TensorFlow's import
    from convnetlab.architectures import ARCHITECTURES, check

    for name in sorted(names - ARCHITECTURES.keys()):
        check(name, (28, 28, 1), 10, 1.0, "lab", {})


def key_of(values: Mapping[str, Literal]) -> str:
    """Return the name of a run within its sweep: its values, as a file's name can say them.

    Where it cannot, or not in short, the beginning of a SHA-256 keeps different values apart.

    >>> key_of({"architecture": "compact", "seed": 1})
    'architecture-compact_seed-1'
    """
    whole = "_".join(f"{name}-{value}" for name, value in values.items())
    safe = re.sub(r"[^\w.-]+", "-", whole)[:90]
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return safe if safe == whole else f"{safe}-{digest}"


def is_finished(job: Job) -> bool:
    """Tell whether a job's run is there, whole, and made with the parameters that it should be."""
    run = Run(job.runs / job.name, "sweep")
    try:
        made_with = parameters_of(run)
        for name in ("baseline.csv", "history.csv"):
            run.need(name)
        smoke = bool(read_json(run.need("dataset.json")).get("smoke"))
    except LabError:
        return False
    same = all(job.expected.get(name) == value for name, value in made_with.items())
    return same and smoke == job.smoke and (run.folder / "report.html").is_file()


def do(
    left: Mapping[str, tuple[Job, RunLab]], folder: Path, client: Any, say: Say
) -> dict[str, str]:
    """Do the jobs, and return the errors of those that failed, by name.

    Raises:
        LabError: a worker does not see the runs' folder.
    """
    errors: dict[str, str] = {}
    for worker, sees in client.run(os.path.isfile, str((folder / SWEEP).resolve())).items():
        if not sees:
            raise LabError(
                f"The worker {worker} does not see {folder}. Put the runs' folder where all "
                "workers reach it under the same path, and name it in CONVNETLAB_RUNS."
            )
    for number, (name, outcome) in enumerate(cluster.carry_out(client, attempt, left), 1):
        if outcome.error is not None:
            errors[name] = outcome.error
        found = row(left[name][0], outcome.error)
        told = f"failed: {found['error']}"
        if found["status"] == "finished":
            told = f"accuracy {found['accuracy']:.4f}, {outcome.value:.1f} s"
        say(f"{number} of {len(left)}: {name.partition('/')[2]}: {told}")
    return errors


def attempt(job: Job, run: RunLab) -> float:
    """Execute a run apart, put it in place once it is whole, and return the seconds it took.

    Raises:
        LabError: the run failed. What had run is put in place all the same, with `error.txt`,
            unless a whole run is there.
    """
    start = time.perf_counter()
    runs = job.runs / Path(job.name).parent / ATTEMPTS / uuid.uuid4().hex
    made, place = runs / job.name, job.runs / job.name
    try:
        with (
            ONE_AT_A_TIME,
            environment(CONVNETLAB_RUNS=str(runs)),
            contextlib.redirect_stderr(io.StringIO()),  # no bars of several runs on one terminal
        ):
            run(job.name, job.given, job.smoke, say=lambda line: None)
    except CellError as error:
        message = str(error).replace(str(made), str(place))
        write_atomically(made / ERROR, lambda path: path.write_text(message, "utf-8"))
        put_in_place(made, place, job)
        raise LabError(message) from None
    put_in_place(made, place, job)
    shutil.rmtree(runs, ignore_errors=True)
    return time.perf_counter() - start


def put_in_place(made: Path, place: Path, job: Job) -> None:
    """Rename an attempt's folder to the run's, unless another attempt's whole run is there."""
    if is_finished(job):
        return
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)
    made.rename(place)


def row(job: Job, error: str | None) -> dict[str, Any]:
    """Return a job's row of the table: the grid's values, the status, and what was measured."""
    start = {"run": job.name, **job.values}
    if is_finished(job):
        found = facts(Run(job.runs / job.name, "sweep"))
        return {**start, "status": "finished", "error": None, **found}
    return {**start, "status": "failed", "error": sentence(error or "It is not whole.")}


def sentence(message: str) -> str:
    """Return an error in one line, without the failed cell's source, which is indented."""
    lines = [line for line in message.splitlines() if not line.startswith("    ")]
    return " ".join(lines)
