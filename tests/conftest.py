"""What every test relies on: data from the repository, runs in a temporary folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("lab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")

# It imports PyTorch, which the lab does not need.
collect_ignore = ["reference/make_reference_logits.py"]

ROOT = Path(__file__).resolve().parents[1]

# Set before anything is imported, so that no test can touch a user's runs.
RUNS = tempfile.mkdtemp(prefix="convnetlab-tests-")
atexit.register(shutil.rmtree, RUNS, ignore_errors=True)
os.environ["CONVNETLAB_RUNS"] = RUNS
os.environ["CONVNETLAB_DATA"] = str(ROOT / "data")
os.environ.pop("CONVNETLAB_SMOKE", None)


@pytest.fixture
def root():
    return ROOT


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder for runs."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("CONVNETLAB_RUNS", str(folder))
    return folder


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's small digits."""
    from convnetlab import datasets

    return datasets.load("digits")


@pytest.fixture(scope="module")
def split(digits):
    """The digits divided with seed 1, a tenth for validation."""
    from convnetlab import preprocess

    return preprocess.split(digits, 0.1, 1)
