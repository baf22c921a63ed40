"""Tiny notebooks with exercises, and what executing them gave."""

import psutil
from nbformat.v4 import new_code_cell, new_notebook

from convnetlab.grading.execution import execute
from convnetlab.grading.records import Limits, Probe
from convnetlab.grading.slices import needed

LIMITS = Limits(seconds=1.5, memory=300 * 2**20, output=20_000, disk=8 * 2**20, processes=80)


def exercise(name, solution, check="", probe=None):
    """A solution cell, a check cell, and what to ask of `name` ([] for nothing)."""
    return (
        name,
        solution,
        check or f"assert {name}(2) == 4",
        [(2,), (5,)] if probe is None else probe,
    )


BEFORE = exercise("before", "def before(x):\n    return 2 * x")
AFTER = exercise("after", "def after(x):\n    return before(x)")


def notebook_of(*exercises):
    cells = []
    for name, solution, check, _ in exercises:
        for suffix, source in (("", solution), ("-check", check)):
            settings = {"solution": not suffix, "grade": bool(suffix), "grade_id": name + suffix}
            cell = new_code_cell(source, id=name + suffix)
            cell.metadata["nbgrader"] = settings
            cells.append(cell)
    return new_notebook(cells=cells)


def carry_out(*exercises, limits=LIMITS, sandbox=True):
    """Execute exercises between two honest ones, which must not suffer."""
    exercises = (BEFORE, *exercises, AFTER)
    notebook = notebook_of(*exercises)
    probes = [
        Probe(f"{name}-check", name, tuple(asked)) for name, _, _, asked in exercises if asked
    ]
    others = set(psutil.Process().children(recursive=True))  # of tests before this one
    done = execute(notebook, needed(notebook), probes, limits, sandbox)
    for name in ("before", "before-check", "after", "after-check"):
        assert done.cells[name].status == "ok", (name, done.cells, done.remarks)
    assert done.answers["before-check"] == done.answers["after-check"] == [4, 10]
    left = set(psutil.Process().children(recursive=True)) - others
    assert not [child.cmdline() for child in left]
    return done


def statuses(done, *names):
    return {name: done.cells[name].status for name in names}
