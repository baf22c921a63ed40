"""The instructor's own run: what a stage finds of those before it, whatever a student did."""

import base64
import contextlib
import copy
import io
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from convnetlab.errors import LabError
from convnetlab.grading.assignment import Assignment
from convnetlab.handoff import write_atomically
from convnetlab.notebooks import environment
from convnetlab.paths import data_folder

FOLDER = "reference"
SECONDS = 600  # for a cell
LEFT_OUT = "checkpoints"  # large, and of no use to a later stage

# What a kernel runs before all else; what it unpacks is ours.
UNPACK = """
import base64, io, os, tarfile
with tarfile.open(fileobj=io.BytesIO(base64.b64decode({text!r}))) as archive:
    archive.extractall(os.environ["CONVNETLAB_RUNS"], filter="data")
del base64, io, os, tarfile, archive
"""


def unpacking(runs: bytes) -> str:
    """Return the code that puts a reference run where a kernel's notebooks look for it."""
    return UNPACK.format(text=base64.b64encode(runs).decode()) if runs else ""


def runs_of(assignment: Assignment, out: Path, say: Callable[[str], object]) -> bytes:
    """Return the runs folder that the source's notebooks leave behind, as a tar.gz.

    It is made once a version of the source, on smoke data, and kept in `out`.

    Raises:
        LabError: a cell of the source fails.
    """
    path = out / FOLDER / f"{assignment.stamp}.tar.gz"
    if not path.is_file():
        say("The source's own notebooks are run first: each stage is given their results.")
        content = pack(assignment)
        write_atomically(path, lambda file: file.write_bytes(content))
    return path.read_bytes()


def pack(assignment: Assignment) -> bytes:
    """Execute an assignment's notebooks in order, and return what they left, as a tar.gz."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        runs = Path(place, "runs")
        runs.mkdir()
        settings = {"CONVNETLAB_RUNS": str(runs), "CONVNETLAB_DATA": str(data_folder().resolve())}
        smoke = {"CONVNETLAB_SMOKE": "1", "CONVNETLAB_HEADLESS": "1"}
        stack.enter_context(environment(**settings, **smoke))
        for name, notebook in assignment.notebooks.items():
            where = {"metadata": {"path": place}}
            client = NotebookClient(
                copy.deepcopy(notebook),
                timeout=SECONDS,
                resources=where,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
            try:
                client.execute()
            except CellExecutionError as error:
                last = str(error).strip().splitlines()[-1]
                raise LabError(f"The source notebook {name} fails by itself: {last}") from None
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(runs, ".", filter=lambda it: None if LEFT_OUT in it.name else it)
    return packed.getvalue()
