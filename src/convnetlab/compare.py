"""Runs beside each other: their measures, means over seeds, and where they disagree.

`convnetlab compare` looks at runs that are there; `sweep` makes runs and shows the same page. Its
workers import this module, too, so what only the page needs is imported where the page is made.
"""

import base64
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from convnetlab import __version__
from convnetlab.datasets import Dataset, load_specified
from convnetlab.errors import LabError
from convnetlab.handoff import (
    MARKER,
    Run,
    group_folder,
    read_json,
    run_folder,
    write_atomically,
    write_json,
)
from convnetlab.notebooks import finished, parameters_of
from convnetlab.paths import STAGES, runs_folder

COMPARISON = "comparison.json"
SHOWN = 20  # pictures of a kind on the page
MEASURES = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "loss", "test_images")
# Of these a configuration has means, the first two with their spread.
AVERAGED = ("accuracy", "train_seconds", "macro_f1", "loss", "parameters", "peak_mb")


def facts(run: Run) -> dict[str, Any]:
    """Return what a finished run measured.

    Returns:
        `MEASURES`, as in `metrics.json`; `parameters`: numbers in the network; `train_seconds`:
        wall time of the fit; `seconds`: of all four notebooks; `peak_mb`: the largest resident
        memory of a notebook's kernel, MiB; `device`; `smoke`. What an older run has not recorded
        is None.

    Raises:
        LabError: an artefact is missing, stale or damaged.
    """
    metrics = read_json(run.need("metrics.json"))
    layers = read_json(run.need("architecture.json"))["layers"]
    notes = run.record("model.keras").get("notes", {})
    timed = read_json(run.folder / MARKER).get("stages", {})
    stages = [timed[stage] for stage in STAGES if stage in timed]
    is_timed = len(stages) == len(STAGES)
    return {
        **{name: metrics.get(name) for name in MEASURES},
        "parameters": sum(layer["parameters"] for layer in layers),
        "train_seconds": notes.get("train seconds"),
        "seconds": sum(stage["seconds"] for stage in stages) if is_timed else None,
        "peak_mb": max(stage["peak_mb"] for stage in stages) if is_timed else None,
        "device": notes.get("device"),
        "smoke": metrics["smoke"],
    }


def configurations(results: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a row a configuration: means over its finished runs, and their spread.

    Args:
        results: a row a finished run: the parameters `names`, and `AVERAGED`.
        names: the parameters that make a configuration; `seed` is not one of them.

    Returns:
        By the configuration's label: `n` runs, the means, `accuracy_sd` and `train_seconds_sd`
        (standard deviation, n − 1; missing for one run), and `front`: whether no other
        configuration is as fast and as accurate, and better in one of the two.
    """
    labels = [label(row, names) for row in results[list(names)].to_dict("records")]
    measured = results[list(AVERAGED)].astype(float)  # None becomes a missing number
    groups = measured.groupby(pd.Index(labels, name="configuration"), sort=False)
    table = groups.mean()
    for name in AVERAGED[:2]:
        table[f"{name}_sd"] = groups[name].std(ddof=1)
    table.insert(0, "n", groups.size())
    table["front"] = front(table["train_seconds"].to_numpy(), table["accuracy"].to_numpy())
    return table


def label(values: Mapping[Any, Any], names: Sequence[str]) -> str:
    """Return a configuration's name: words stand for themselves, numbers with their parameter.

    >>> label({"architecture": "compact", "epochs": 3}, ["architecture", "epochs"])
    'compact, epochs 3'
    """
    told = [
        str(values[name]) if isinstance(values[name], str) else f"{name} {values[name]}"
        for name in names
    ]
    return ", ".join(told) or "all runs"


def front(seconds: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points, (N,), are Pareto's: none is as good in both and better in one.

    Args:
        seconds: less is better; a point without is on no front.
        accuracy: more is better.

    >>> front(np.array([1.0, 2.0, 3.0]), np.array([0.8, 0.9, 0.85])).tolist()
    [True, True, False]
    """
    as_fast = seconds[:, None] <= seconds
    as_good = accuracy[:, None] >= accuracy
    better = (seconds[:, None] < seconds) | (accuracy[:, None] > accuracy)
    beaten = (as_fast & as_good & better).any(axis=0)
    return np.asarray(~beaten & np.isfinite(seconds) & np.isfinite(accuracy))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values of several tests, corrected, in their order.

    The smallest of m is multiplied by m, the next by m − 1, and so on, and none may be less than
    the one before it. To call those below 0.05 different is then wrong in at most 5 % of all such
    families of tests.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).

    >>> holm([0.02, 0.01])
    [0.02, 0.02]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    in_order = np.empty(len(order))
    in_order[order] = corrected
    return [float(value) for value in in_order]


def pairs(truth: NDArray[np.int64], answers: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """Test each pair of runs with McNemar's exact test, corrected after Holm.

    Args:
        truth: the true classes, (N,).
        answers: what each run says of the same pictures, by its name, (N,).

    Returns:
        `first`, `second`, on how many pictures `only_first` and `only_second` is right, `p` and
        `p_holm`.
    """
    from convnetlab.evaluation import mcnemar

    rows = [
        (first, second, *mcnemar(truth, answers[first], answers[second]))
        for first, second in itertools.combinations(answers, 2)
    ]
    columns = ["first", "second", "only_first", "only_second", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"].to_list())
    return table


def differing(predictions: Mapping[str, pd.DataFrame]) -> NDArray[np.int64]:
    """Return the rows, (M,), on which the runs differ, those first of which they are surest."""
    said, sure = stacked(predictions)
    rows = np.flatnonzero((said != said[0]).any(axis=0))
    return rows[np.argsort(-sure[rows], kind="stable")]


def suspects(predictions: Mapping[str, pd.DataFrame]) -> NDArray[np.int64]:
    """Return the rows, (M,), on which all runs agree against the label, the surest first."""
    said, sure = stacked(predictions)
    truth = next(iter(predictions.values()))["truth"].to_numpy()
    rows = np.flatnonzero((said == said[0]).all(axis=0) & (said[0] != truth))
    return rows[np.argsort(-sure[rows], kind="stable")]


def stacked(
    predictions: Mapping[str, pd.DataFrame],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what each run says, int64 (runs, N), and the mean confidence, float64 (N,)."""
    tables = list(predictions.values())
    said = np.stack([table["predicted"].to_numpy(np.int64) for table in tables])
    return said, np.mean([table["confidence"].to_numpy(np.float64) for table in tables], axis=0)


def cards(
    rows: NDArray[np.int64], predictions: Mapping[str, pd.DataFrame], data: Dataset
) -> list[dict[str, Any]]:
    """Return the first `SHOWN` pictures with their labels and all answers, for the page."""
    shown = []
    for row in map(int, rows[:SHOWN]):
        here = {name: table.iloc[row] for name, table in predictions.items()}
        first = next(iter(here.values()))
        index, truth = int(first["index"]), int(first["truth"])
        answers = [
            {
                "run": name,
                "says": data.classes[int(answer["predicted"])],
                "sure": float(answer["confidence"]),
                "right": int(answer["predicted"]) == truth,
            }
            for name, answer in here.items()
        ]
        picture = as_png(data.test_batch(np.array([index]))[0])
        name = data.test_files[index] if data.test_files else f"picture {index}"
        label = data.classes[truth]
        shown.append({"name": name, "label": label, "data": picture, "answers": answers})
    return shown


def as_png(picture: NDArray[np.uint8]) -> str:
    """Return a picture (H, W, C), grey or RGB, as a PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def compare(names: Sequence[str], name: str = "comparison") -> Path:
    """Compare finished runs, and return the path of the page.

    Writes `report.html`, `results.csv` (a row a run) and `pairs.csv` (McNemar's tests) into
    `runs/<name>/`; an earlier comparison there is replaced.

    Args:
        names: two runs or more that were judged on the same test pictures.
        name: of the comparison.

    Raises:
        LabError: fewer than two runs, one twice, one that is missing or not finished, runs on
            other pictures than the first one's, or a folder that is none of ours.
    """
    if len(names) < 2:
        raise LabError("compare needs two runs or more, such as: convnetlab compare lab other")
    twice = sorted({run for run in names if names.count(run) > 1})
    if twice:
        raise LabError(f"Run {twice[0]!r} is named twice. Name each run once.")
    folder = group_folder(name, COMPARISON)
    results, varied, predictions = read(names)
    truth = next(iter(predictions.values()))["truth"].to_numpy(np.int64)
    tested = pairs(truth, {run: said["predicted"].to_numpy() for run, said in predictions.items()})
    data = load_specified(read_json(run_folder(names[0]) / "dataset.json"))
    differ, wrong = differing(predictions), suspects(predictions)
    write_json(folder / COMPARISON, {"made_by": "convnetlab", "runs": list(names)})
    write_table(folder / "pairs.csv", tested)
    return write_page(
        folder,
        f"Comparison “{name}”",
        results,
        varied,
        tests=tested.to_dict("records"),
        images=len(truth),
        differing={"count": len(differ), "cards": cards(differ, predictions, data)},
        suspects={"count": len(wrong), "cards": cards(wrong, predictions, data)},
    )


def read(names: Sequence[str]) -> tuple[pd.DataFrame, list[str], dict[str, pd.DataFrame]]:
    """Return a row a run, the parameters in which the runs differ, and each run's predictions.

    Raises:
        LabError: a run is missing or not finished, or was judged on other pictures.
    """
    rows: list[dict[str, Any]] = []
    predictions: dict[str, pd.DataFrame] = {}
    first = finished(names[0])
    parameters: dict[str, Any] = {}
    for name in names:
        run = finished(name)
        values = parameters_of(run)
        parameters |= values
        predictions[name] = pd.read_csv(run.need("predictions.csv"))
        refuse_other_pictures(first, run, predictions)
        rows.append({"run": name, **values, "status": "finished", **facts(run)})
    results = pd.DataFrame(rows)
    varied = [key for key in parameters if results[key].nunique(dropna=False) > 1]
    return results, varied, predictions


def refuse_other_pictures(first: Run, run: Run, predictions: Mapping[str, pd.DataFrame]) -> None:
    """Refuse a run that was judged on other pictures than the first one.

    Raises:
        LabError: another data set, smoke with full, or other test pictures.
    """
    names = list(predictions)
    pair = f"Runs {names[0]!r} and {names[-1]!r}"
    mine, its = (read_json(one.folder / "dataset.json") for one in (first, run))
    if mine["content_sha256"] != its["content_sha256"]:
        raise LabError(
            f"{pair} have other data: {mine['source']} and {its['source']}. Only runs on the same "
            "pictures can be compared."
        )
    smoke = [bool(one.get("smoke")) for one in (mine, its)]
    if smoke[0] != smoke[1]:
        raise LabError(
            f"{pair}: only one of them is a smoke run. Compare smoke runs with smoke runs."
        )
    judged = [predictions[name][["index", "truth"]] for name in (names[0], names[-1])]
    if not judged[0].equals(judged[1]):
        why = " A smoke run's seed also draws its test pictures." if smoke[0] else ""
        raise LabError(
            f"{pair} were judged on other test pictures of {mine['source']}.{why} Only runs on the "
            "same pictures can be compared."
        )


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV, without its index."""
    return write_atomically(path, lambda file: table.to_csv(file, index=False))


def write_page(
    folder: Path, title: str, results: pd.DataFrame, names: Sequence[str], **more: Any
) -> Path:
    """Write `results.csv` and `report.html`, and return the page's path.

    Args:
        folder: where they go.
        title: the page's.
        results: a row a run: `run` (its name), parameters, `status` (finished, failed), and for
            finished runs what `facts` returns; for failed ones `error`.
        names: the parameters that differ among the runs, `seed` perhaps among them.
        more: what only one of the commands shows; see the template.
    """
    from jinja2 import Environment

    from convnetlab import charts

    write_table(folder / "results.csv", results)
    done = results[results["status"] == "finished"]
    table = configurations(done, [name for name in names if name != "seed"]) if len(done) else None
    plot = None
    if table is not None and table["train_seconds"].notna().any():
        plot = charts.speed_and_accuracy(
            table.dropna(subset="train_seconds"), "What each configuration takes, and reaches"
        )
    template = files("convnetlab").joinpath("comparison.html.jinja").read_text("utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    text = page.render(
        title=title,
        version=__version__,
        names=list(names),
        runs=[{**row, "page": link(folder, row["run"])} for row in rows_of(results)],
        failed=int((results["status"] == "failed").sum()),
        configurations=[] if table is None else rows_of(table.reset_index()),
        plot=plot and {"alt": plot.alt, "data": base64.b64encode(plot.png).decode()},
        smoke=bool(len(done)) and bool(done["smoke"].any()),
        **more,
    )
    path = folder / "report.html"
    return write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def link(folder: Path, run: str) -> str | None:
    """Return the way from a page in `folder` to a run's own page, or None if it has none."""
    page = runs_folder() / run / "report.html"
    return Path(os.path.relpath(page, folder)).as_posix() if page.is_file() else None


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows for the template: None where something is missing."""
    rows = table.astype(object).to_dict("records")
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()} for row in rows
    ]
