"""`convnetlab bench`: times, memory and accuracy, side by side in one sitting.

Every training runs in a process of its own: `python -m convnetlab.bench RECIPE SEED`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from convnetlab.handoff import read_json, write_atomically, write_json
from convnetlab.paths import STAGES, runs_folder

Say = Callable[[str], object]
START_UPS = {"import convnetlab": ["-c", "import convnetlab"], "--help": ["-m", "convnetlab", "-h"]}


def measure(quick: bool, repeats: int = 3, say: Say = print) -> str:
    """Run everything, write `runs/bench/bench.json` and `.csv`, and return the tables as text.

    The listing's fit and the whole lab's run take turns, as do the recipe's seeds, so that a
    machine that slows down slows both.

    Args:
        quick: smoke pictures and one seed; written to `quick.json`, and no source of figures.
        repeats: how often everything is run otherwise, with the seeds 1, 2, …
        say: gets a line of progress now and then.
    """
    seeds = range(1, 2 if quick else repeats + 1)
    environment = {**os.environ, "CONVNETLAB_SMOKE": "1" if quick else "0"}
    trainings, labs = [], []
    for seed in seeds:
        for recipe in ("listing", "one-cycle"):
            say(f"recipe {recipe}, seed {seed}")
            trainings.append(train_apart(recipe, seed, environment))
            say(f"  {trainings[-1]['train_seconds']:.1f} s")
        say(f"the whole lab, seed {seed}")
        labs.append(run_apart(seed, quick, environment))
        say(f"  {labs[-1]['seconds']:.1f} s")
    recipes = summarise(pd.DataFrame(trainings))
    listing_seconds = recipes.loc["listing", "train_seconds"]
    lab_seconds = statistics.median(lab["seconds"] for lab in labs)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "quick": quick,
        "recipes": recipes.reset_index().to_dict("records"),
        "lab_seconds": lab_seconds,
        "lab_against_listing_fit": lab_seconds / listing_seconds,
        "stages": median_stages(labs),
        "start_up_seconds": {name: start_up(command) for name, command in START_UPS.items()},
    }
    folder = runs_folder() / "bench"
    write_json(folder / ("quick.json" if quick else "bench.json"), result)
    if not quick:
        write_atomically(folder / "bench.csv", lambda path: recipes.to_csv(path))
    return as_text(result, recipes)


def train_apart(recipe: str, seed: int, environment: dict[str, str]) -> dict[str, Any]:
    """Train in a fresh process; return what `train_here` measures."""
    command = [sys.executable, "-m", "convnetlab.bench", recipe, str(seed)]
    finished = subprocess.run(
        command,
        env={**environment, "CONVNETLAB_HEADLESS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def train_here(recipe_name: str, seed: int) -> dict[str, Any]:
    """Train the reference network on MNIST as the notebooks do, and test it once."""
    import psutil

    from convnetlab import architectures, datasets, evaluation, preprocess, recipes, training
    from convnetlab.notebooks import peak_memory

    data = datasets.load("mnist")
    split = preprocess.split(data, 0.1, seed)
    training.set_seed(seed)
    model = architectures.build("reference", data.image_shape, len(data.classes))
    trained = training.train(model, data, split, recipes.choose(recipe_name), seed)
    peak = peak_memory(psutil.Process())
    indices, truth = preprocess.part_of(split, "test")
    predicted = evaluation.predict(model, data, indices).argmax(axis=1)
    return {
        "recipe": recipe_name,
        "seed": seed,
        "train_seconds": trained.seconds,
        "accuracy": evaluation.accuracy(truth, predicted),
        "peak_memory_mb": peak / 2**20,
        "parameters": model.count_params(),
    }


def run_apart(seed: int, quick: bool, environment: dict[str, str]) -> dict[str, Any]:
    """Run the whole lab as a user would, `convnetlab run`; return its wall time and its stages."""
    command = [sys.executable, "-m", "convnetlab", "run", "--run", "bench-lab", "-p", "seed"]
    command += [str(seed), *(["--smoke"] if quick else [])]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "stages": read_json(runs_folder() / "bench-lab" / "run.json")["stages"],
    }


def start_up(arguments: list[str]) -> float:
    """Return the median wall time, in seconds, of five starts of Python with these arguments."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def summarise(trainings: pd.DataFrame) -> pd.DataFrame:
    """Return a row a recipe: median time and memory, mean and spread of the accuracy, speed-up."""
    groups = trainings.groupby("recipe", sort=False)
    table = groups[["train_seconds", "peak_memory_mb", "parameters"]].median()
    table["runs"] = groups.size()
    table["accuracy_mean"] = groups["accuracy"].mean()
    table["accuracy_std"] = groups["accuracy"].std(ddof=0)
    seconds = table["train_seconds"].to_dict()
    table["speedup"] = [seconds["listing"] / took for took in seconds.values()]
    return table


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


def as_text(result: dict[str, Any], recipes: pd.DataFrame) -> str:
    """Return the tables to print."""
    starts = ", ".join(f"{name} {took:.2f} s" for name, took in result["start_up_seconds"].items())
    return "\n\n".join(
        [
            f"{result['machine']}" + (" (quick: says nothing)" if result["quick"] else ""),
            recipes.round(4).to_string(),
            pd.DataFrame(result["stages"]).round(1).to_string(index=False),
            f"the whole lab: {result['lab_seconds']:.1f} s, "
            f"{result['lab_against_listing_fit']:.2f} times the listing's fit alone",
            f"start-up: {starts}",
        ]
    )


if __name__ == "__main__":
    print(json.dumps(train_here(sys.argv[1], int(sys.argv[2]))))
