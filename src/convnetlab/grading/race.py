"""`convnetlab bench --only grading`: this grading against nbgrader's own, on the same class.

Both execute the same submissions on the same machine, one after the other: honest ones, half
answered ones, blank ones. nbgrader takes one student at a time and no sandbox. What is measured is
the wall time of each command, in a process of its own.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from convnetlab.grading.sample import write_class
from convnetlab.notebooks import environment
from convnetlab.paths import data_folder, notebooks_folder

Say = Callable[[str], object]

COURSE = "convnetlab"


def race(repeats: int, students: int, say: Say, place: Path) -> dict[str, Any]:
    """Grade a class by both, ours `repeats` times, and count what a killed worker does.

    Args:
        repeats: of our grading; nbgrader's is done once, for it takes long.
        students: how many.
        say: gets a line of progress now and then.
        place: an empty folder, for submissions and grades.

    Returns:
        Seconds, ratios and counts.
    """
    submissions = place / "submissions"
    write_class(notebooks_folder(), submissions, students)
    ours, again = [], []
    for number in range(repeats):
        say(f"convnetlab grade, {students} students, run {number + 1}")
        ours.append(seconds_of(our_command(submissions, place / f"grades-{number}")))
        again.append(seconds_of(our_command(submissions, place / f"grades-{number}")))
    few = min(students, 8)
    write_class(notebooks_folder(), place / "few", few)
    say(f"with every cell executed, {few} students")
    every = seconds_of([*our_command(place / "few", place / "every"), "--every-cell"])
    say("nbgrader autograde")
    theirs = nbgrader(submissions, place / "course")
    say("a worker killed half-way")
    median = statistics.median(ours)
    return {
        "students": students,
        "runs": repeats,
        "seconds": median,
        "seconds_a_student": median / students,
        "hours_for_300": median / students * 300 / 3600,
        "nbgrader_seconds": theirs,
        "ratio": theirs / median,
        "every_cell_seconds_a_student": every / few,
        "every_cell_ratio": theirs / students / (every / few),
        "second_run_seconds": statistics.median(again),
        **kill_half_way(submissions, place / "killed", students),
    }


def our_command(submissions: Path, grades: Path) -> list[str]:
    """Return the command that grades the class into `grades`."""
    return [
        *(sys.executable, "-m", "convnetlab", "grade", str(submissions), "--out", str(grades)),
        *("--workers", "2"),
    ]


def seconds_of(command: Sequence[str], cwd: Path | None = None) -> float:
    """Return the wall time of a command, which must end well."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=cwd)
    return time.perf_counter() - start


def nbgrader(submissions: Path, course: Path) -> float:
    """Return the wall time of nbgrader's `autograde` for the class, in seconds.

    Its release is made first, and is not counted; runs go to a folder of its own, on smoke data as
    ours do.
    """
    (course / "source" / COURSE).mkdir(parents=True)
    for path in sorted(notebooks_folder().glob("*.ipynb")):
        shutil.copy2(path, course / "source" / COURSE)
    for folder in submissions.iterdir():
        shutil.copytree(folder, course / "submitted" / folder.name / COURSE)
    (course / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.course_id = {COURSE!r}\n"
        "c.ExecutePreprocessor.timeout = 600\n"
    )
    commands = str(Path(sys.executable).parent)
    with environment(
        PATH=commands + os.pathsep + os.environ.get("PATH", ""),
        CONVNETLAB_SMOKE="1",
        CONVNETLAB_HEADLESS="1",
        CONVNETLAB_DATA=str(data_folder()),
        CONVNETLAB_RUNS=str(course / "runs"),
    ):
        start = [sys.executable, "-m", "nbgrader"]
        subprocess.run(
            [*start, "generate_assignment", COURSE], check=True, capture_output=True, cwd=course
        )
        return seconds_of([*start, "autograde", COURSE], cwd=course)


def kill_half_way(submissions: Path, grades: Path, students: int) -> dict[str, int]:
    """Grade with two workers, kill one (SIGKILL) when half is done, and count what came of it."""
    command = our_command(submissions, grades)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told: list[str] = []
        for line in process.stderr:
            if " of " in line and " points" in line:
                told.append(line.split(": ")[1])
                if len(told) == students // 2:
                    kill_worker(process.pid)
    table = pd.read_csv(grades / "grades.csv")
    return {
        "graded_with_a_worker_killed": len(table),
        "of_them_twice": len(told) - len(set(told)) + int(table["Student"].duplicated().sum()),
    }


def kill_worker(command: int, patience: float = 60) -> None:
    """Kill (SIGKILL) a worker process of a command, as soon as one has a kernel at work.

    Raises:
        RuntimeError: none has within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for worker in psutil.Process(command).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("ipykernel" in " ".join(child.cmdline()) for child in worker.children(True)):
                    worker.kill()
                    return
        time.sleep(0.05)
    raise RuntimeError(f"no worker has a kernel at work after {patience} s")
