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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()
