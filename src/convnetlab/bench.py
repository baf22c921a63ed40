"""`convnetlab bench`: times, memory and accuracy, side by side in one sitting.

Every training runs in a process of its own (`trials`), and the recipes take turns, so that a
machine that slows down slows them all. Each part writes its table into `runs/bench/`.
"""

import inspect
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from convnetlab import figures, trials
from convnetlab.errors import LabError
from convnetlab.evaluation import PUBLISHED_ACCURACY, accuracy_interval
from convnetlab.handoff import group_folder, read_json, versions, write_atomically, write_json
from convnetlab.paths import STAGES, runs_folder
from convnetlab.recipes import LITE0
from convnetlab.selection import CANDIDATES, winners
from convnetlab.trials import Trial

Say = Callable[[str], object]

QUICK_IMAGES = 10_000
COMPARED = ("listing", "one-cycle", "sprint", "best")
MORE_SEEDS = {"sprint": 5}  # of recipes that are cheap enough for more runs than the others
# What `networks` tells of a network as published.
PUBLISHED = (
    "year",
    "idea",
    "depth",
    "parameters",
    "published parameters",
    "multiply-adds",
    "published multiply-adds",
    "counted in",
)
PHOTOGRAPHS = 100  # a class
PHOTOGRAPH_SIDE = 224
START_UPS = {"import convnetlab": ["-c", "import convnetlab"], "--help": ["-m", "convnetlab", "-h"]}


def folder() -> Path:
    """Return where the tables go."""
    return runs_folder() / "bench"


def machine() -> str:
    """Return what this was measured on, and when."""
    found = versions()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {found['python']}, TensorFlow {found['tensorflow']}, {date.today().isoformat()}"
    )


def run(part: str, quick: bool = False, repeats: int | None = None, say: Say = print) -> str:
    """Measure one of `PARTS`, and return its table as text.

    Raises:
        LabError: the part knows no `quick`, or no `repeats`.
    """
    measure = PARTS[part]
    takes = inspect.signature(measure).parameters
    if quick and repeats:
        raise LabError("--quick does one run of each. Leave out --repeats.")
    arguments: dict[str, Any] = {"say": say} if "say" in takes else {}
    for name, value in {"quick": quick, "repeats": repeats}.items():
        if name in takes:
            arguments |= {name: value} if value else {}
        elif value:
            raise LabError(f"--{name} does not go with this part of the bench ({part}).")
    return measure(**arguments)


def recipes(quick: bool = False, repeats: int = 3, say: Say = print) -> str:
    """Train all recipes on MNIST's 60,000 pictures, and their rivals once; judge on the test set.

    Writes `bench.json`, `bench.csv`, `bench.md` and `bench.png`; `quick` writes `quick.json` only.

    Args:
        quick: 10,000 pictures and one run of each; no source of figures.
        repeats: how often each recipe is trained otherwise, with the seeds 1, 2, …
        say: gets a line of progress now and then.
    """
    images, rounds = (QUICK_IMAGES, 1) if quick else (0, repeats)
    runs = dict.fromkeys(COMPARED, rounds) | dict.fromkeys(trials.RIVALS, 1)
    if not quick:
        runs |= {name: max(rounds, seeds) for name, seeds in MORE_SEEDS.items()}
    results = [
        measured(Trial(name, seed, images=images), say)
        for seed in range(1, max(runs.values()) + 1)
        for name, count in runs.items()
        if seed <= count
    ]
    table = summarise(pd.DataFrame(results))
    rows = [{**row, "quick": True} if quick else row for row in as_rows(table)]
    write_json(folder() / ("quick.json" if quick else "bench.json"), rows)
    if not quick:
        write_atomically(folder() / "bench.csv", lambda path: table.to_csv(path))
        text = as_markdown(table)
        write_atomically(folder() / "bench.md", lambda path: path.write_text(text, "utf-8"))
        figure = figures.recipes(table, "What each recipe takes and reaches")
        write_atomically(folder() / "bench.png", lambda path: path.write_bytes(figure.png))
    title = "quick: 10,000 pictures, one run each; no source of figures\n" if quick else ""
    return f"{title}{machine()}\n{table.round(4).to_string()}"


def measured(trial: Trial, say: Say) -> dict[str, Any]:
    """Run a trial in a process of its own, and say what came out."""
    say(f"{trial.name}, seed {trial.seed}")
    result = trials.run_apart(trial)
    say(f"  {result['train_seconds']:.1f} s, accuracy {result['accuracy']:.4f}")
    return result


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row a recipe: median time and memory, mean and spread of the accuracy, speed-up.

    `low` and `high` are Wilson's 95 % interval for the mean accuracy, as of one test set.
    `seconds_to_target` is `train_seconds` where the mean accuracy reaches what the lab sheet
    published, else missing. `speedup` is the listing's time over the recipe's.
    """
    groups = results.groupby("recipe", sort=False)
    columns = ["train_seconds", "test_seconds", "peak_memory_mb", "parameters", "epochs"]
    table = groups[columns].median()
    for name in ("architecture", "device"):
        table[name] = groups[name].first()
    table["runs"] = groups.size()
    table["accuracy_mean"] = groups["accuracy"].mean()
    table["accuracy_std"] = groups["accuracy"].std(ddof=1)
    right, judged = groups["right"].mean().round().astype(int), groups["judged"].first()
    limits = [accuracy_interval(*pair) for pair in zip(right, judged, strict=True)]
    table["accuracy_low"], table["accuracy_high"] = zip(*limits, strict=True)
    reached = table["accuracy_mean"] >= PUBLISHED_ACCURACY
    table["seconds_to_target"] = table["train_seconds"].where(reached)
    seconds = table["train_seconds"].to_dict()
    table["speedup"] = [seconds["listing"] / took for took in seconds.values()]
    return table.astype({"parameters": "Int64", "epochs": "Int64"})


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows ready for JSON: None where something is missing."""
    rows = table.reset_index().astype(object).to_dict("records")
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()} for row in rows
    ]


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table as the README shows it."""
    lines = [
        f"Made by `convnetlab bench`: {machine()}, trained on {table['device'].iloc[0]}.",
        "",
        "| recipe | network | epochs | training, s | against the listing | test accuracy, mean | "
        "95 % interval | runs | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in as_rows(table):
        epochs = "–" if row["epochs"] is None else row["epochs"]
        times = f"{row['train_seconds']:.1f} | {row['speedup']:.1f}×"
        if row["train_seconds"] < figures.NOTHING:
            times = f"nothing to train; {row['test_seconds']:.0f} s to answer | –"
        lines.append(
            f"| {row['recipe']} | {row['architecture'] or '–'} | {epochs} "
            f"| {times} | {row['accuracy_mean']:.4f} "
            f"| {row['accuracy_low']:.4f} to {row['accuracy_high']:.4f} | {row['runs']} "
            f"| {row['peak_memory_mb']:.0f} |"
        )
    listing = table.loc["listing"]
    inside = listing["accuracy_low"] <= PUBLISHED_ACCURACY <= listing["accuracy_high"]
    lines += [
        "",
        "Training: the median wall time of `fit` on 60,000 pictures, with tracing and input. The "
        "interval (Wilson) is what another 10,000 test pictures could give. The recipes took "
        "turns, seed by seed; what has more runs than the others had its last ones alone. The lab "
        "sheet's "
        f"{PUBLISHED_ACCURACY} is {'consistent' if inside else 'not consistent'} with the "
        "listing's runs here.",
    ]
    return "\n".join(lines) + "\n"


def select(say: Say = print) -> str:
    """Rank candidates on 10,000 validation pictures; write `selection.csv`, return it as text.

    They learn from the other 50,000. The listing runs along, as the yardstick of the rule in
    `selection`. The test set is not read.
    """
    results = []
    for seed in range(1, max(candidate.seeds for candidate in CANDIDATES.values()) + 1):
        for name, candidate in CANDIDATES.items():
            if seed <= candidate.seeds:
                trial = replace(candidate.trial, seed=seed, judged_on="selection")
                say(f"candidate {name}")
                results.append({**measured(trial, say), "recipe": name})
    table = summarise(pd.DataFrame(results)).rename_axis("candidate")
    table.insert(0, "for", [CANDIDATES[name].goal for name in table.index])
    table = table.drop(columns=["seconds_to_target", "test_seconds"]).round(5)
    write_atomically(folder() / "selection.csv", lambda path: table.to_csv(path))
    ranked = table.sort_values(["for", "accuracy_mean"], ascending=[True, False])
    won = "\n".join(f"{goal}: {name}" for goal, name in winners(table).items())
    return f"{machine()}\n{ranked.to_string()}\nBy the rule in `selection`:\n{won}"


def determinism(repeats: int = 3, say: Say = print) -> str:
    """Measure what repeatable trainings cost; write `determinism.json`, return it as text."""
    results = []
    for _ in range(repeats):
        for deterministic in (True, False):
            trial = Trial("one-cycle", deterministic=deterministic)
            results.append({**measured(trial, say), "deterministic": deterministic})
    groups = pd.DataFrame(results).groupby("deterministic")
    seconds, different = groups["train_seconds"].median(), groups["weights_sha256"].nunique()
    result = {
        "machine": machine(),
        "recipe": "one-cycle",
        "runs": repeats,
        "seconds": seconds[True],
        "seconds_otherwise": seconds[False],
        "ratio": seconds[True] / seconds[False],
        "different_weights": int(different[True]),
        "different_weights_otherwise": int(different[False]),
    }
    write_json(folder() / "determinism.json", result)
    return (
        f"one-cycle, seed 1, {repeats} runs of each: {seconds[True]:.2f} s deterministic, "
        f"{seconds[False]:.2f} s otherwise (medians), ratio {result['ratio']:.3f}. Different final "
        f"weights among the runs: {different[True]} and {different[False]}."
    )


def kills(repeats: int = 10, say: Say = print) -> str:
    """Kill a training at random moments, run it again, and count how often nothing has changed.

    Every fifth time it is killed while a checkpoint is being written.
    """
    whole = trials.run_apart(trials.SURVIVOR)["weights_sha256"]
    same = 0
    for number in range(1, repeats + 1):
        moment = number if number % 5 else trials.IN_A_WRITE
        with tempfile.TemporaryDirectory() as place:
            trial, attempt = replace(trials.SURVIVOR, checkpoints=f"{place}/0"), 0
            while not trials.kill(trial, moment):  # it was faster than we: from the beginning
                attempt += 1
                trial = replace(trial, checkpoints=f"{place}/{attempt}")
            kept = sorted(path.name for path in Path(trial.checkpoints).glob("epoch-*.npz"))
            again = trials.run_apart(trial)["weights_sha256"]
        same += again == whole
        say(f"killed {moment}: {kept[-1] if kept else 'nothing'} was there; same: {again == whole}")
    result = {"machine": machine(), "killed": repeats, "same_weights": same}
    write_json(folder() / "kills.json", result)
    return f"killed {repeats} times, resumed: {same} with the same final weights"


def sweep(say: Say = print) -> str:
    """Do nine smoke runs as a sweep, kill one worker half-way, and count what came of it.

    Writes `sweep.json`; the sweep's own page is in `runs/bench-sweep/`.
    """
    from convnetlab import sweep as sweeps

    place = group_folder("bench-sweep", sweeps.SWEEP)
    shutil.rmtree(place, ignore_errors=True)
    reported, orphans = [], []

    def watch(line: str) -> None:
        """Pass a line of progress on; after the fourth finished run, kill a worker at work."""
        say(line)
        if " of 9: " in line:
            reported.append(line.split(": ")[1])
            if len(reported) == 4:
                orphans.extend(kill_worker())
                say("a worker was killed")

    grid = [("architecture", "reference,compact,lenet5"), ("seed", "0..2")]
    start = time.perf_counter()
    sweeps.sweep("bench-sweep", grid, smoke=True, say=watch)
    table = pd.read_csv(place / "results.csv")
    result = {
        "machine": machine(),
        "seconds": time.perf_counter() - start,
        "results": int((table["status"] == "finished").sum()),
        "twice": len(reported) - len(set(reported)) + int(table["run"].duplicated().sum()),
        "folders": sum(path.is_dir() for path in place.iterdir()),
        "orphaned_kernels_alive": sum(process.is_running() for process in orphans),
    }
    write_json(folder() / "sweep.json", result)
    return (
        f"{table.round(4).to_string()}\n\na worker killed half-way: {result['results']} results, "
        f"{result['twice']} of them twice, {result['folders']} folders of runs, "
        f"{result['orphaned_kernels_alive']} of its kernels still alive; {result['seconds']:.0f} s"
    )


def kill_worker(patience: float = 60) -> list[psutil.Process]:
    """Kill (SIGKILL) a worker process that has a kernel at work, and return its kernels.

    Raises:
        RuntimeError: none has a kernel within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for worker in psutil.Process().children():
            kernels = [child for child in worker.children() if "ipykernel" in str(child.cmdline())]
            if kernels:
                worker.kill()
                return kernels
        time.sleep(0.1)
    raise RuntimeError(f"no worker has a kernel after {patience} s")


def lab(quick: bool = False, repeats: int = 3, say: Say = print) -> str:
    """Measure the whole lab's run against the listing's fit, and the command's start-up.

    They take turns. Writes `lab.json`, or with `quick` (smoke pictures, one run) `lab-quick.json`.
    """
    trainings, labs = [], []
    for seed in range(1, 2 if quick else repeats + 1):
        images = QUICK_IMAGES if quick else 0
        trainings.append(measured(Trial("listing", seed, images=images), say)["train_seconds"])
        say(f"the whole lab, seed {seed}")
        labs.append(run_lab_apart(seed, quick))
        say(f"  {labs[-1]['seconds']:.1f} s")
    seconds = statistics.median(run["seconds"] for run in labs)
    result = {
        "machine": machine(),
        "quick": quick,
        "lab_seconds": seconds,
        "lab_against_listing_fit": seconds / statistics.median(trainings),
        "stages": median_stages(labs),
        "start_up_seconds": {name: start_up(command) for name, command in START_UPS.items()},
    }
    write_json(folder() / ("lab-quick.json" if quick else "lab.json"), result)
    starts = ", ".join(f"{name} {took:.2f} s" for name, took in result["start_up_seconds"].items())
    return "\n\n".join(
        [
            result["machine"] + (" (quick: says nothing)" if quick else ""),
            pd.DataFrame(result["stages"]).round(1).to_string(index=False),
            f"the whole lab: {seconds:.1f} s, {result['lab_against_listing_fit']:.2f} times the "
            "listing's fit alone",
            f"start-up: {starts}",
        ]
    )


def run_lab_apart(seed: int, quick: bool) -> dict[str, Any]:
    """Run the whole lab as a user would, `convnetlab run`; return its wall time and its stages."""
    return run_apart("bench-lab", "-p", "seed", str(seed), *(["--smoke"] if quick else []))


def run_apart(name: str, *arguments: str) -> dict[str, Any]:
    """Run the whole lab in a process of its own; return its wall time and its stages."""
    command = [sys.executable, "-m", "convnetlab", "run", "--run", name, *arguments]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "stages": read_json(runs_folder() / name / "run.json")["stages"]}


def photos(quick: bool = False, say: Say = print) -> str:
    """Run the whole lab on a folder of photographs, with the recipe features.

    Writes `photos.json`, or with `quick` (a tenth of the pictures, 64 × 64) `photos-quick.json`.
    Nothing but times: the pictures are cut from two photographs, and overlap.
    """
    count, side = (PHOTOGRAPHS // 10, 64) if quick else (PHOTOGRAPHS, PHOTOGRAPH_SIDE)
    with tempfile.TemporaryDirectory() as place:
        write_photographs(Path(place), count)
        say(f"2 classes of {count} photographs, {side} × {side}: the whole lab, recipe features")
        dataset = f"folder:{place}?size={side}"
        ran = run_apart("bench-photos", "-p", "dataset", dataset, "-p", "recipe", "features")
    notes = read_json(runs_folder() / "bench-photos" / "model.keras.meta.json")["notes"]
    result = {
        "machine": machine(),
        "load": os.getloadavg()[0],
        "quick": quick,
        "train_seconds": notes["train seconds"],
        "lab_seconds": ran["seconds"],
        "stages": median_stages([ran]),
    }
    write_json(folder() / ("photos-quick.json" if quick else "photos.json"), result)
    stages = pd.DataFrame(result["stages"]).round(1).to_string(index=False)
    return (
        f"{result['machine']}, load {result['load']:.1f}\n{stages}\n"
        f"training {result['train_seconds']:.1f} s, the whole lab {ran['seconds']:.1f} s"
    )


def write_photographs(place: Path, count: int) -> None:
    """Cut `count` JPEG files a class out of scikit-learn's two photographs, at random."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    chance = np.random.default_rng(1)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (place / name).mkdir()
        whole = Image.fromarray(pixels)
        for number in range(count):
            width, height = (int(side) for side in chance.integers(224, 400, 2))
            left = int(chance.integers(0, whole.width - width + 1))
            top = int(chance.integers(0, whole.height - height + 1))
            part = whole.crop((left, top, left + width, top + height))
            part.save(place / name / f"{number:03}.jpg", quality=90)


def start_up(arguments: list[str]) -> float:
    """Return the median wall time, in seconds, of five starts of Python with these arguments."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def median_stages(labs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a stage: median time and cell time, in seconds, and the largest memory, MiB."""
    return [
        {
            "notebook": stage,
            "seconds": statistics.median(lab["stages"][stage]["seconds"] for lab in labs),
            "cell_seconds": statistics.median(lab["stages"][stage]["cell_seconds"] for lab in labs),
            "peak_mb": max(lab["stages"][stage]["peak_mb"] for lab in labs),
        }
        for stage in STAGES
    ]


def networks(quick: bool = False, say: Say = print) -> str:
    """Train every architecture on MNIST, write `networks.csv`, return it as text.

    One training each, with the recipe one-cycle and seed 1, at scale "lab", on 54,000 pictures, as
    in stage 3; beside it what the network costs as published, by our count and in print. `quick`
    trains on 10,000 pictures and writes `networks-quick.csv`. EfficientNet-Lite0, which is there
    for photographs and has no small version, is counted, not trained.
    """
    from convnetlab.architectures import ARCHITECTURES

    rows = {}
    for name in ARCHITECTURES:
        if name == LITE0:
            rows[name] = costs(name)
            continue
        say(f"architecture {name}")
        changes = {"architecture": name}
        images = QUICK_IMAGES if quick else 54_000
        result = measured(Trial("one-cycle", changes=changes, images=images), say)
        low, high = accuracy_interval(result["right"], result["judged"])
        rows[name] = {
            **costs(name),
            "epochs": result["epochs"],
            "seconds an epoch": round(result["train_seconds"] / result["epochs"], 1),
            "accuracy": result["accuracy"],
            "low": round(low, 4),
            "high": round(high, 4),
        }
    # Whole numbers, though some rows have none.
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("network").convert_dtypes()
    path = folder() / ("networks-quick.csv" if quick else "networks.csv")
    write_atomically(path, lambda file: table.to_csv(file))
    return table.to_string()


def study_transfer(quick: bool = False, say: Say = print) -> str:
    """Compare transfer with training from scratch; write `transfer.csv`, return it as text."""
    from convnetlab import transfer

    table = transfer.study(quick, say)
    path = folder() / ("transfer-quick.csv" if quick else "transfer.csv")
    write_atomically(path, lambda file: table.to_csv(file, index=False))
    return table.to_string(index=False)


def curves(say: Say = print) -> str:
    """Record five trainings, four of them gone wrong, as `learning_curves.csv`."""
    from convnetlab import experiments

    table = experiments.learning_curves(say)
    write_atomically(folder() / "learning_curves.csv", lambda file: table.to_csv(file, index=False))
    return table.to_string(index=False)


def convolution() -> str:
    """Measure `conv2d` against Keras's; write `convolution.csv`, return it as text."""
    from convnetlab import races

    table = races.convolutions()
    write_atomically(folder() / "convolution.csv", lambda file: table.to_csv(file))
    return races.as_text(table)


def prediction() -> str:
    """Measure one pass against a call a picture; write `prediction.csv`, return it as text."""
    from convnetlab import races

    table = races.predictions()
    write_atomically(folder() / "prediction.csv", lambda file: table.to_csv(file))
    return f"{machine()}\n{table.round(3).to_string()}"


def images(repeats: int = 3, say: Say = print) -> str:
    """Measure reading folders of pictures; write `images.csv` and `images.json`, return them."""
    from convnetlab import image_races

    load = os.getloadavg()[0]
    table = image_races.speeds(repeats, say)
    write_atomically(folder() / "images.csv", lambda file: table.round(2).to_csv(file))
    found = image_races.memory(say)
    write_json(folder() / "images.json", {"machine": machine(), "load": load, **found})
    return (
        f"{machine()}, load {load:.1f} before\npictures a second, at {image_races.SIZE} pixels\n"
        f"{table.round(2).T.to_string()}\n{found['pictures']:,} pictures in "
        f"{found['seconds']:.0f} s, with at most {found['peak_mb']:,.0f} MB of anonymous memory"
    )


def edge(quick: bool = False, repeats: int = 3, say: Say = print) -> str:
    """Run the lab on MNIST, then `convnetlab edge` several times; open the page in Chromium.

    Writes `edge.json`, or with `quick` (smoke pictures, once, few repeats) `edge-quick.json`.
    """
    from convnetlab import edge_races

    load, name = os.getloadavg()[0], "bench-edge"
    say("the whole lab")
    run_apart(name, *(["--smoke"] if quick else []))
    command = [sys.executable, "-m", "convnetlab", "edge", name, *(["--quick"] if quick else [])]
    facts = []
    for number in range(1, 2 if quick else repeats + 1):
        say(f"convnetlab edge, time {number}")
        subprocess.run(command, check=True, capture_output=True)
        facts.append(read_json(runs_folder() / name / "edge" / "edge.json"))
    say("the page in Chromium")
    result = {
        "machine": machine(),
        "load": load,
        "times": len(facts),
        **edge_races.ratios(facts),
        "page": {**facts[0]["page"], **edge_races.page_of(runs_folder() / name)},
        "measured": facts,
    }
    write_json(folder() / ("edge-quick.json" if quick else "edge.json"), result)
    shown = {key: value for key, value in result.items() if key != "measured"}
    return "\n".join(f"{key}: {value}" for key, value in shown.items())


def grading(quick: bool = False, repeats: int = 1, say: Say = print) -> str:
    """Grade a class of 24 by us and by nbgrader; write `class.json`, return it as text.

    With `quick` the class has four, and the file is `class-quick.json`.
    """
    from convnetlab.grading.race import race

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        found = race(repeats, 4 if quick else 24, say, Path(place))
    result = {"machine": machine(), "load": load, **found}
    write_json(folder() / ("class-quick.json" if quick else "class.json"), result)
    return "\n".join(f"{name}: {value}" for name, value in result.items())


def costs(name: str) -> dict[str, Any]:
    """Return a network's facts and costs: as published, by our count and in print, and here."""
    from convnetlab import architectures, inspection

    network = architectures.ARCHITECTURES[name]
    small = architectures.outline(name, (28, 28, 1), 10)
    row: dict[str, Any] = dict.fromkeys(PUBLISHED)
    if network.paper_input:
        whole = architectures.published(name)
        row |= {
            "year": network.year,
            "idea": network.idea,
            "depth": network.depth,
            "parameters": inspection.trainable_parameters(whole),
            "published parameters": network.parameters,
            "multiply-adds": int(inspection.multiply_adds(whole).sum()),
            "published multiply-adds": network.multiply_adds,
            "counted in": network.counted_in,
        }
    row["lab parameters"] = inspection.trainable_parameters(small)
    row["lab multiply-adds"] = int(inspection.multiply_adds(small).sum())
    return row


PARTS: dict[str, Callable[..., str]] = {
    "recipes": recipes,
    "select": select,
    "lab": lab,
    "convolution": convolution,
    "networks": networks,
    "transfer": study_transfer,
    "curves": curves,
    "determinism": determinism,
    "kills": kills,
    "prediction": prediction,
    "images": images,
    "photos": photos,
    "edge": edge,
    "sweep": sweep,
    "grading": grading,
}
