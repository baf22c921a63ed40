"""`convnetlab edge`: every variant of a run's network on the edge, measured beside Keras.

`measure` deploys the run (`deployment`), times it (`edge_speeds`, `edge_trials`), and writes tables
and figures into `runs/RUN/edge/`: `edge.csv`, `edge.json`, `changed.csv`, `edge.png`,
`changed.png`.
"""

import contextlib
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import edge, edge_figures, edge_speeds, edge_trials
from convnetlab.datasets import Dataset, load_specified
from convnetlab.deployment import FOLDER, Deployed, deploy, first_output, write_bytes
from convnetlab.edge_answers import KERAS, changes
from convnetlab.errors import LabError
from convnetlab.figures import LabFigure
from convnetlab.handoff import Run, read_json, versions, write_json
from convnetlab.prediction import load_model
from convnetlab.preprocess import part_of

Pixels = NDArray[np.uint8]
Say = Callable[[str], object]

KERAS_CALLS = ("predict", "call", "tf.function")
COLD = "call"  # how Keras gives a first answer soonest: the other two trace the network before
PASS = 1.0  # seconds that LiteRT may take for the pictures of a throughput, or so
MOST, MOST_BYTES = 1_000, 2**26  # such pictures, and what they may take
PAINTED = 1_000  # test pictures painted on a canvas
SHOWN = 15  # pictures in the figure of those that changed


@dataclass(frozen=True)
class Effort:
    """How much is repeated: turns that single pictures get, of so many seconds; and the rest.

    Of `batches` Keras may choose for many pictures.
    """

    turns: int = 7
    seconds: float = 0.2
    passes: int = 5
    starts: int = 3
    batches: tuple[int, ...] = edge_speeds.BATCHES


QUICK = Effort(turns=2, seconds=0.05, passes=1, starts=1, batches=(128,))


@dataclass(frozen=True)
class Measured:
    """A network on the edge, measured.

    Attributes:
        folder: where the files, tables and figures are.
        deployed: the files and the page.
        table: a row for Keras's `predict`, call and `tf.function`, and for each variant. To the
            columns of `Deployed.table` come, where LiteRT's interpreter is installed, `ms an image`
            (the median), `images a second`, `batch` (how many at a time), `cold start, s`, and
            `peak MiB` of that process; missing in two of Keras's rows.
        changed: the answers that are not Keras's, as `edge_answers.changes` has them.
        notes: how each number was measured, a sentence each.
        figure: the table as bars.
        changed_figure: pictures whose answers changed; None where none did.
    """

    folder: Path
    deployed: Deployed
    table: pd.DataFrame
    changed: pd.DataFrame
    notes: tuple[str, ...]
    figure: LabFigure
    changed_figure: LabFigure | None


def measure(
    run: Run, *, float32_page: bool = False, quick: bool = False, say: Say = print
) -> Measured:
    """Write every variant of a run's network for the edge, and measure it beside Keras.

    Args:
        run: a run whose network is trained.
        float32_page: put float32 into the page, not int8.
        quick: few repeats, and one batch for Keras, so the times say little.
        say: gets a line of progress now and then.

    Raises:
        LabError: the network, the split or the data set is missing, stale or damaged; or something
            could not be written.
    """
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # Windows has none
    model, data, split = load(run, say)
    deployed = deploy(
        run,
        model,
        data,
        split,
        variants=edge.VARIANTS,
        float32_page=float32_page,
        paint=PAINTED,
        say=say,
    )
    indices, truth = part_of(split, "test")
    table = with_keras_calls(deployed.table)
    if files := {name: path for name, path in deployed.files.items() if name in deployed.said}:
        most = min(MOST, MOST_BYTES // math.prod(data.image_shape))
        images, effort = data.test_batch(indices[:most]), QUICK if quick else Effort()
        table = table.join(times(model, files, images, effort, say))
        table = table.join(cold_starts(model, files, images[0], effort, say))
    changed = changes(deployed.said, indices, truth, data)
    title = f"The run {run.folder.name} on the edge, beside Keras"
    measured = Measured(
        run.folder / FOLDER,
        deployed,
        table,
        changed,
        notes(run, deployed, table, quick),
        edge_figures.variants(table, title),
        draw_changed(changed, data),
    )
    write(run, measured, {"machine": machine(), "load before": before, "quick": quick})
    return measured


def load(run: Run, say: Say) -> tuple[Any, Dataset, pd.DataFrame]:
    """Return a run's network, without an optimiser, its data set and its split.

    Raises:
        LabError: one of them is missing, stale or damaged.
    """
    model = first_output(load_model(run.need("model.keras")))
    split = pd.read_csv(run.need("split.csv"))
    try:
        data = load_specified(read_json(run.need("dataset.json")), say)
    except LabError as error:
        raise LabError(f"Calibrating and judging need the run's pictures: {error}") from None
    return model, data, split


def with_keras_calls(table: pd.DataFrame) -> pd.DataFrame:
    """Return `Deployed.table` with a row for each way to ask Keras, instead of one."""
    rows = table.loc[[KERAS] * len(KERAS_CALLS) + [name for name in table.index if name != KERAS]]
    names = [name_of(call) for call in KERAS_CALLS]
    return rows.set_index(pd.Index([*names, *rows.index[len(names) :]], name=table.index.name))


def name_of(call: str) -> str:
    """Return the name of the row of a way to ask Keras."""
    return f"{KERAS}, {call}"


def times(
    model: Any, files: Mapping[str, Path], images: Pixels, effort: Effort, say: Say
) -> pd.DataFrame:
    """Return `ms an image`, `images a second` and `batch` of Keras's ways and of each variant."""
    say("one picture at a time: Keras and LiteRT take turns")
    asked = edge_speeds.keras_ways(model, effort.batches)
    ways = {name_of(call): way for call, way in asked.items()}
    ways |= {name: edge_speeds.litert_way(path.read_bytes()) for name, path in files.items()}
    taken = edge_speeds.one_image(ways, images, effort.turns, effort.seconds)
    found = {name: {"ms an image": 1_000 * statistics.median(s)} for name, s in taken.items()}
    say("many pictures: Keras and LiteRT take turns")
    slowest = max(statistics.median(taken[name]) for name in files)
    largest = max(size for way in ways.values() for size in way.batches)
    count = max(largest, min(len(images), int(PASS / slowest)))
    many = np.resize(images, (count, *images.shape[1:]))  # few pictures come again and again
    for name, (rate, batch) in edge_speeds.throughput(ways, many, effort.passes).items():
        found[name] |= {"images a second": rate, "batch": batch}
    return pd.DataFrame.from_dict(found, orient="index")


def cold_starts(
    model: Any, files: Mapping[str, Path], image: Pixels, effort: Effort, say: Say
) -> pd.DataFrame:
    """Return `cold start, s` and `peak MiB`, medians, of Keras's call and of each variant."""
    taken: dict[str, list[edge_trials.ColdStart]] = {}
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "model.keras"
        model.save(alone)
        for turn in range(effort.starts):
            for name, path in {name_of(COLD): alone, **files}.items():
                say(f"{name}: cold start {turn + 1} of {effort.starts}")
                taken.setdefault(name, []).append(edge_trials.measure(path, image))
    rows = {
        name: {
            "cold start, s": statistics.median(start.seconds for start in starts),
            "peak MiB": statistics.median(start.peak_mib for start in starts),
        }
        for name, starts in taken.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def machine() -> dict[str, Any]:
    """Return what this was measured on: processor, cores, system, versions."""
    found = versions()
    with contextlib.suppress(PackageNotFoundError):
        found["ai-edge-litert"] = version("ai-edge-litert")
    kind = {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()}
    return {**kind, "date": date.today().isoformat(), "versions": found}


def notes(run: Run, deployed: Deployed, table: pd.DataFrame, quick: bool) -> tuple[str, ...]:
    """Return how the numbers of a table were measured, a sentence each."""
    tested = len(deployed.said[KERAS])
    with_optimiser = (run.folder / "model.keras").stat().st_size
    told = [
        f"bytes: of Keras's file without the optimiser's state; model.keras, with what is in it "
        f"for training, has {with_optimiser:,}. int8 was calibrated on at most {edge.CALIBRATION} "
        "pictures of the part train.",
        f"accuracy: on all {tested:,} test pictures, with its 95 % interval (Wilson). agreement: "
        "how many of these get the class that Keras gives.",
    ]
    if "ms an image" in table:
        told += [
            "ms an image: median over calls with one picture, pixels in, probabilities out, warmed "
            "up, all taking turns in one process; LiteRT on one thread, Keras as it comes "
            f"({os.cpu_count()} cores).",
            "images a second: Keras in the batch that suits it best, LiteRT one picture after the "
            "other on one thread; median of passes that take turns.",
            "cold start: from the start of Python to the first answer in a process of its own, "
            "imports among it, Keras by a call; peak: that process's largest resident memory. "
            "LiteRT's process has no TensorFlow in it, Keras's no LiteRT. Medians.",
        ]
    if painted := deployed.painted:
        told.append(
            f"drawings: of {painted.images:,} test pictures, painted on a large canvas at any size "
            f"and place, the page's network knows {painted.normalised:.1%} once they are cut out, "
            f"fitted and centred, and {painted.naive:.1%} if the canvas is merely resized."
        )
    if quick:
        told.append("Quick: few repeats, and one batch for Keras, so the times say little.")
    return tuple(told)


def draw_changed(changed: pd.DataFrame, data: Dataset) -> LabFigure | None:
    """Draw test pictures whose answer changed, the first `SHOWN`; None where none did."""
    if changed.empty:
        return None
    pictures = changed["index"].drop_duplicates().sort_values()
    shown = pictures.iloc[:SHOWN].to_numpy()
    groups = [changed[changed["index"] == index] for index in shown]
    title = f"Test pictures that a variant answers otherwise than Keras: {len(pictures)}"
    title += f", of which {len(shown)} are shown" if len(shown) < len(pictures) else ""
    images = data.test_batch(shown)
    return edge_figures.changed(images, groups, data.classes, title)


def write(run: Run, measured: Measured, how: Mapping[str, Any]) -> None:
    """Write tables and figures into a run's folder `edge`, each whole or not at all."""
    folder, deployed = measured.folder, measured.deployed
    write_bytes(folder / "edge.csv", measured.table.to_csv().encode())
    write_bytes(folder / "changed.csv", measured.changed.to_csv(index=False).encode())
    page = deployed.page
    facts = {
        **how,
        "test pictures": len(deployed.said[KERAS]),
        "model.keras bytes": (run.folder / "model.keras").stat().st_size,
        "page": page and {"file": page.name, "bytes": page.stat().st_size},
        "painted": deployed.painted and asdict(deployed.painted),
        "table": as_rows(measured.table),
        "notes": list(measured.notes),
        "missing": list(deployed.refusals),
    }
    write_json(folder / "edge.json", facts)
    write_bytes(folder / "edge.png", measured.figure.png)
    if measured.changed_figure:
        write_bytes(folder / "changed.png", measured.changed_figure.png)
    else:
        (folder / "changed.png").unlink(missing_ok=True)


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows ready for JSON: None where something is missing."""
    rows = table.reset_index().astype(object).to_dict("records")
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()} for row in rows
    ]


def as_text(measured: Measured) -> str:
    """Return the table to read, and below it how it was measured."""
    table, shown = measured.table, {}
    styles = {
        "bytes": "{:,.0f}",
        "of float32": "{:.3f}",
        "accuracy": "{:.4f}",
        "low": "{:.4f}",
        "high": "{:.4f}",
        "agreement": "{:.2%}",
        "changed": "{:,.0f}",
        "ms an image": "{:,.3g}",
        "images a second": "{:,.0f}",
        "batch": "{:,.0f}",
        "cold start, s": "{:.2f}",
        "peak MiB": "{:,.0f}",
    }
    for name in table.columns:
        style = styles[str(name)]
        shown[name] = ["–" if pd.isna(x) else style.format(x) for x in table[name]]
    text = pd.DataFrame(shown, index=table.index.rename(None)).to_string()
    return "\n".join([text, "", *(f"- {note}" for note in measured.notes)])
