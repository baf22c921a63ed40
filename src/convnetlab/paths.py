"""Where things are: data, runs, notebooks.

`CONVNETLAB_DATA` and `CONVNETLAB_RUNS` come first; else the nearest folder above the working
folder that has `data/mnist`; else the checkout that the package lies in.
"""

import os
from pathlib import Path

from convnetlab.errors import LabError

STAGES = ("01_load_preprocess", "02_architecture", "03_train", "04_evaluate")
FURTHER = len(STAGES) + 1  # where a run begins that executes the side trips alone


def is_smoke() -> bool:
    """Whether only a small stratified subset is used (`CONVNETLAB_SMOKE=1`)."""
    return os.environ.get("CONVNETLAB_SMOKE", "0") not in ("", "0")


def is_headless() -> bool:
    """Whether a program, not a person, runs the notebook (`CONVNETLAB_HEADLESS=1`)."""
    return os.environ.get("CONVNETLAB_HEADLESS", "0") not in ("", "0")


def root_folder() -> Path:
    """Return the lab's folder, the one with `data/mnist` in it.

    Raises:
        LabError: neither the working folder, nor one above it, nor the checkout has it.
    """
    here = Path.cwd()
    checkout = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, checkout):
        if (folder / "data" / "mnist").is_dir():
            return folder
    raise LabError(
        f"No folder data/mnist was found in {here} or above it. Work inside the lab's folder, or "
        "set CONVNETLAB_DATA to its data folder and CONVNETLAB_RUNS to a folder for runs."
    )


def data_folder() -> Path:
    """Return the folder that holds `mnist/` and `results/`."""
    chosen = os.environ.get("CONVNETLAB_DATA")
    return Path(chosen) if chosen else root_folder() / "data"


def runs_folder() -> Path:
    """Return the folder that holds one folder a run; it need not exist yet."""
    chosen = os.environ.get("CONVNETLAB_RUNS")
    return Path(chosen) if chosen else root_folder() / "runs"


def notebooks_folder() -> Path:
    """Return the folder with the source notebooks (with solutions).

    Raises:
        LabError: it has none.
    """
    folder = root_folder() / "notebooks"
    if not (folder / f"{STAGES[0]}.ipynb").is_file():
        raise LabError(f"{folder} has no {STAGES[0]}.ipynb. Run this inside the lab's folder.")
    return folder


def side_trips() -> tuple[str, ...]:
    """Return the names of the notebooks that lead further, such as `further/networks`."""
    return tuple(
        f"further/{path.stem}" for path in sorted(notebooks_folder().glob("further/*.ipynb"))
    )
