"""Running the notebooks headless, with parameters, into one run's folder."""

import ast
import contextlib
import copy
import difflib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import nbformat
import psutil
from nbformat import NotebookNode

from convnetlab.datasets import parse
from convnetlab.errors import LabError
from convnetlab.handoff import (
    MARKER,
    Run,
    open_run,
    read_json,
    run_folder,
    write_atomically,
    write_json,
)
from convnetlab.image_folders import scan
from convnetlab.memory import peak_memory
from convnetlab.paths import FURTHER, STAGES, notebooks_folder, runs_folder, side_trips
from convnetlab.recipes import SMALLEST, Recipe, check_weights, choose
from convnetlab.report import write_report

Literal = bool | int | float | str
Say = Callable[[str], object]

MAY_RAISE = "raises-exception"  # the tag of a cell after which a notebook goes on
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_KERNEL = "Sliders move this picture when the notebook is open in JupyterLab."

# Fewer pictures than so many are too few for a network to learn to see.
FEW, FOR_FEW = 2_000, "features"

# One artefact a stage, whose record tells the parameters that the stage was run with.
WITNESSES = ("split.csv", "architecture.json", "model.keras", "metrics.json")


class CellError(LabError):
    """A cell failed: the message names notebook and cell, and shows its source and the error."""


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        LabError: it is missing, or no notebook.
    """
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
        return notebook
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise LabError(f"{path} cannot be read as a notebook ({error}).") from None


def tags(cell: NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))


def parameters(notebook: NotebookNode) -> dict[str, Literal]:
    """Return the names and default values of the cell tagged `parameters`.

    Raises:
        LabError: there is not exactly one such cell, or it holds something else than literals.
    """
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise LabError(f"A notebook has {len(cells)} cells tagged 'parameters', expected one.")
    found: dict[str, Literal] = {}
    for statement in ast.parse(cells[0].source).body:
        try:
            assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            value = ast.literal_eval(statement.value)
            assert isinstance(value, (bool, int, float, str))
        except (AssertionError, ValueError):
            raise LabError(
                f"The parameters cell holds {ast.unparse(statement)!r}; expected name = literal."
            ) from None
        found[statement.targets[0].id] = value
    return found


def typed(name: str, text: str, default: Literal) -> Literal:
    """Return `text` as the type of the parameter's default.

    Raises:
        LabError: it is not of that type.
    """
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        value = kind(text)
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError
        return value
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise LabError(f"Parameter {name} is {text!r}, expected {wanted}.") from None


def choose_parameters(
    given: Sequence[tuple[str, str]], defaults: Mapping[str, Mapping[str, Literal]], first: int
) -> dict[str, Literal]:
    """Check the parameters that a user gave, and return them with their types.

    Args:
        given: names and values, as text.
        defaults: the parameters of each stage's notebook.
        first: the stage, 1 to 4, that the run begins with, or `FURTHER`.

    Raises:
        LabError: a name is unknown, belongs to a stage that is not run, or comes twice; or a
            value has the wrong type.
    """
    chosen: dict[str, Literal] = {}
    owners: dict[str, int] = {}
    notebooks = list(defaults)
    for stage, names in enumerate(defaults.values(), start=1):
        for name in names:
            owners.setdefault(name, stage)
    for name, text in given:
        if name == "run":
            raise LabError("The run's name is set with --run NAME, not with -p.")
        if name not in owners:
            near = difflib.get_close_matches(name, owners, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}? " if near else ""
            listed = ", ".join(sorted(owners.keys() - {"run"}))
            raise LabError(f"There is no parameter {name!r}. {hint}The parameters are: {listed}.")
        if name in chosen:
            raise LabError(f"Parameter {name} is given twice. Give it once.")
        if owners[name] < first:
            begins = "the side trips" if first == FURTHER else f"stage {first}"
            raise LabError(
                f"Parameter {name} belongs to stage {owners[name]} ({STAGES[owners[name] - 1]}), "
                f"and this run begins at {begins}. Leave out --from, or the parameter."
            )
        chosen[name] = typed(name, text, defaults[notebooks[owners[name] - 1]][name])
    return chosen


def check_recipe(values: Mapping[str, Literal]) -> Recipe:
    """Return the recipe that stage 3's parameters choose.

    Raises:
        LabError: there is none of that name, or `epochs` or `learning_rate` is out of range.
    """
    name, epochs, rate = (values[key] for key in ("recipe", "epochs", "learning_rate"))
    return choose(str(name), int(epochs), float(rate))


def accept(
    given: Sequence[tuple[str, str]], defaults: Mapping[str, Mapping[str, Literal]], first: int = 1
) -> dict[str, Literal]:
    """Return the parameters that a user gave, checked; with a recipe comes its architecture.

    A small folder of pictures brings the recipe for few photographs, unless the user chose a
    recipe or an architecture.

    Args and errors are those of `choose_parameters`, `check_recipe`, `check_weights` and `scan`.
    """
    chosen = choose_parameters(given, defaults, first)
    kind, place, query = parse(str(chosen.get("dataset", "")))
    count = len(scan(place).files) if kind == "folder:" else math.inf
    is_free = not {"recipe", "architecture"} & chosen.keys()
    if is_free and count < FEW and side(query) >= SMALLEST:
        chosen["recipe"] = FOR_FEW
    recipe = check_recipe({**defaults[STAGES[2]], **chosen})
    if count < recipe.batch_size and recipe.weights == "none":
        raise LabError(
            f"The recipe's batches have {recipe.batch_size} pictures, and {place} has only "
            f"{count}: too few to learn from scratch. Take the recipe features or fine-tune, and "
            f"pictures of size {SMALLEST} at least."
        )
    if "recipe" in chosen and first <= 2:
        chosen.setdefault("architecture", recipe.architecture)
        check_weights(recipe, str(chosen["architecture"]))
    return chosen


def side(query: str) -> float:
    """Return the side of the pictures that a folder's options ask for; infinity if they do not."""
    size = dict(parse_qsl(query)).get("size", "")
    return int(size) if size.isdecimal() else math.inf


def parameters_of(run: Run) -> dict[str, Literal]:
    """Return the parameters that all four stages of a finished run were made with.

    Raises:
        LabError: an artefact is missing, stale or damaged.
    """
    run.need("predictions.csv")
    return earlier_parameters(run, FURTHER)


def finished(name: str) -> Run:
    """Return a run, once it is sure that all its stages' results are there and fit together.

    Raises:
        LabError: there is no such run, or an artefact is missing, stale or damaged.
    """
    run = Run(run_folder(name), "compare")
    if not (run.folder / MARKER).is_file():
        raise LabError(f"There is no run {name!r} in {runs_folder()}.")
    try:
        parameters_of(run)
    except LabError as error:
        raise LabError(f"Run {name!r} is not finished, or damaged. {error}") from None
    return run


def earlier_parameters(run: Run, first: int) -> dict[str, Literal]:
    """Return the parameters of the stages before `first`, as their artefacts' records tell them.

    Raises:
        LabError: an earlier artefact is missing, stale or damaged.
    """
    known: dict[str, Literal] = {}
    for name in WITNESSES[: first - 1]:
        run.need(name)
        known = {**run.record(name)["parameters"], **known}
    return known


def run_lab(
    name: str,
    given: Sequence[tuple[str, str]] = (),
    smoke: bool = False,
    first: int = 1,
    further: bool = False,
    say: Say = print,
) -> Path:
    """Execute the notebooks from stage `first` on, and return the path of the run's page.

    Args:
        name: the run's name, or SWEEP/KEY; an existing run is run again in place.
        given: names and values of parameters, as text. With a recipe comes the architecture that
            it was chosen for, unless another one is given.
        smoke: use a small subset of the pictures.
        first: the stage, 1 to 4, to begin with, or `FURTHER`; the earlier stages' artefacts must
            be there.
        further: execute the side trips too, after stage 4.
        say: gets a line of progress now and then.

    Raises:
        LabError: a parameter or the run's folder is refused, before anything runs.
        CellError: a cell failed. The executed part of its notebook is kept.
    """
    names = [*STAGES, *(side_trips() if further or first == FURTHER else ())]
    sources = {name: read(notebooks_folder() / f"{name}.ipynb") for name in names}
    defaults = {name: parameters(notebook) for name, notebook in sources.items()}
    if smoke and first > 1:
        raise LabError("--smoke decides which pictures stage 1 takes. Leave out --from or --smoke.")
    chosen = accept(given, defaults, first)
    if chosen.get("other"):
        finished(str(chosen["other"]))
    if "recipe" in chosen.keys() - dict(given).keys():
        say(
            f"For so few pictures the recipe is {chosen['recipe']}, which begins with what a "
            "network learnt from other photographs. Choose another one with: -p recipe NAME"
        )
    # Read before anything is made: a run that is not there is not begun in the middle.
    inherited = earlier_parameters(Run(run_folder(name), ""), first)
    if first == 3:
        recipe = check_recipe({**defaults[STAGES[2]], **chosen})
        check_weights(recipe, str(inherited["architecture"]))
    run = open_run(name, len(STAGES))
    page = run.folder / "report.html"
    before = read_json(run.folder / MARKER).get("stages", {})
    timings = {name: before[name] for name in names if name in before}
    used: dict[str, Literal] = {}
    kind, place, _ = parse(str({**inherited, **chosen}.get("dataset", "")))
    own: dict[str, Literal] = {"folder": place} if kind == "folder:" else {}  # for the side trip
    pages: list[Future[None]] = []
    with (
        environment(CONVNETLAB_HEADLESS="1", CONVNETLAB_SMOKE="1" if smoke else "0"),
        ThreadPoolExecutor(1) as pool,  # writes a stage's page while the next stage runs
    ):
        for number, stage in enumerate(names, start=1):
            wanted = {**defaults[stage], **own, **inherited, **chosen, "run": name}
            values = {key: wanted[key] for key in defaults[stage]}
            used.update(values)
            if number < first:
                continue
            is_stage = number < FURTHER
            say(f"stage {number} of {len(STAGES)}: {stage}" if is_stage else f"side trip: {stage}")
            executed, timings[stage] = execute(sources[stage], stage, run.folder, values, say)
            if is_stage:  # it tells of what is no more; a slip in a parameter leaves it there
                page.unlink(missing_ok=True)
            pages.append(pool.submit(write_html, executed, run.folder / f"{stage}.html"))
            marker = read_json(run.folder / MARKER)
            write_json(run.folder / MARKER, {**marker, "stages": timings})
            say(f"  {timings[stage]['seconds']:.1f} s, {timings[stage]['peak_mb']:.0f} MiB at most")
            if number == 1:
                warn_of_flaws(read_json(run.folder / "dataset.json"), say)
            if number == len(STAGES):
                say(f"test accuracy {read_json(run.need('metrics.json'))['accuracy']:.4f}")
            if number >= len(STAGES):  # anew after each side trip, so that none can spoil it
                write_report(run, [{"notebook": name, **timings[name]} for name in timings], used)
    for written in pages:
        written.result()
    return page


def warn_of_flaws(description: Mapping[str, Any], say: Say) -> None:
    """Say what stage 1 found in a folder of pictures that would spoil the score."""
    for found in description.get("flaws", []):
        if found["spoils"]:
            say(f"  ✗ this spoils the score: {found['flaw']}")


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the kernels that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def execute(
    source: NotebookNode, stage: str, folder: Path, values: Mapping[str, Literal], say: Say
) -> tuple[NotebookNode, dict[str, float]]:
    """Execute one notebook into `folder`.

    Returns:
        The executed notebook, and `seconds`: wall time, kernel start included; `cell_seconds`: the
        cells alone, without those tagged `imports`; `peak_mb`: the kernel's largest resident
        memory, MiB.
    """
    # Papermill and nbconvert are slow to import.
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook, remove_error_markers

    register_engine()
    output = folder / f"{stage}.ipynb"
    output.parent.mkdir(exist_ok=True)
    bar = {"desc": stage, "leave": False} if sys.stderr.isatty() else False
    start = time.perf_counter()
    with PeakMemory() as memory:
        try:
            executed = execute_notebook(
                copy.deepcopy(source),  # papermill changes what it is given
                output,
                parameters=dict(values),
                engine_name="convnetlab",
                progress_bar=bar,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                say=None if bar else say,
            )
        except PapermillExecutionError:
            executed = remove_error_markers(read(output))
            refuse_failed(source, stage, output, executed)
            nbformat.write(executed, output)  # only unanswered exercises of a student's copy failed
        except KeyboardInterrupt:
            # The cell's task dies with its kernel; asyncio would print that nobody asked it why.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise
        except RuntimeError as error:  # nbclient's DeadKernelError among them
            raise CellError(
                f"{stage}: the kernel died ({error}). Usually the machine ran out of memory; "
                f"what had run is kept in {output}."
            ) from None
    seconds = time.perf_counter() - start
    cells = [cell for cell in executed.cells if "imports" not in tags(cell)]
    cell_seconds = sum(cell.metadata.papermill.duration or 0 for cell in cells)
    peak_mb = memory.peak / 2**20
    return executed, {"seconds": seconds, "cell_seconds": cell_seconds, "peak_mb": peak_mb}


def register_engine() -> None:
    """Tell papermill of an engine that says every tenth cell where it is."""
    from papermill.engines import NBClientEngine, papermill_engines

    class LabEngine(NBClientEngine):  # type: ignore[misc]
        """Papermill's own engine, with plain lines of progress."""

        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, say: Say | None = None, **arguments: Any
        ) -> None:
            """Execute all cells."""
            start = nb_man.cell_start

            def cell_start(cell: NotebookNode, cell_index: int | None = None, **more: Any) -> None:
                number, count = (cell_index or 0) + 1, len(nb_man.nb.cells)
                if say and number % 10 == 0:
                    say(f"  cell {number} of {count}")
                start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            super().execute_managed_notebook(nb_man, kernel_name, **arguments)

    papermill_engines.register("convnetlab", LabEngine)


def refuse_failed(source: NotebookNode, stage: str, output: Path, executed: NotebookNode) -> None:
    """Raise the error to show for a failed cell, numbered as in the source notebook.

    A cell that may fail (tag `raises-exception`), as a student's exercise may, is none.
    """
    failures = [
        (cell, result)
        for cell in executed.cells
        for result in cell.get("outputs", [])
        if result.output_type == "error" and MAY_RAISE not in tags(cell)
    ]
    if not failures:
        return
    failed, error = failures[0]
    ids = [cell.id for cell in source.cells]
    number = ids.index(failed.id) + 1 if failed.id in ids else 0
    where = f"cell {number} of {len(ids)}" if number else "the cell of injected parameters"
    code = "\n".join(f"    {line}" for line in failed.source.splitlines())
    raise CellError(
        f"{stage}, {where}, failed:\n{code}\n{error.ename}: {error.evalue}\n"
        f"What had run is kept in {output}."
    )


def write_html(notebook: NotebookNode, path: Path) -> None:
    """Write an executed notebook as one HTML file that loads nothing from outside."""
    from nbconvert.exporters import HTMLExporter

    nowhere = {
        name: ""
        for name in HTMLExporter.class_trait_names()
        if name.endswith("_url") and name != "widget_renderer_url"
    }
    exporter = HTMLExporter(embed_images=True, **nowhere)
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        # A page has no kernel that could answer; the picture beside the sliders stays.
        if WIDGET in output.get("data", {}):
            output.data = NotebookNode({"text/html": f"<p><em>{escape(NO_KERNEL)}</em></p>"})
        # The exporter's own template forgets the figures' alternative texts.
        if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
            source = f"data:image/png;base64,{output.data['image/png']}"
            output.data = NotebookNode({"text/html": f'<img alt="{escape(alt)}" src="{source}">'})
    resources = {"metadata": {"name": path.stem, "path": str(notebooks_folder())}}
    text, _ = exporter.from_notebook_node(notebook, resources)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


class PeakMemory:
    """The largest resident memory, in bytes, of any process started from here meanwhile."""

    def __init__(self, interval: float = 0.1) -> None:
        """Look every `interval` seconds."""
        self.peak = 0
        self.interval = interval
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        """Begin to watch."""
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self.stop.set()
        self.thread.join()

    def watch(self) -> None:
        """Look again and again, until told to stop."""
        here = psutil.Process()
        while not self.stop.wait(self.interval):
            for child in here.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError, ValueError):
                    self.peak = max(self.peak, peak_memory(child))
