"""A run with its side trips, and its pages in a real browser: they load nothing from outside."""

import json
import os

import made_up
import pytest
from opening import open_page
from selenium.webdriver.common.by import By

from convnetlab import compare, notebooks
from convnetlab.paths import FURTHER, STAGES, side_trips
from convnetlab.report import FIGURES

in_a_browser = pytest.mark.browser
NOTEBOOKS = [*STAGES, *side_trips()]


@pytest.fixture(scope="module")
def lines():
    """What is said while the side trips run."""
    return []


@pytest.fixture(scope="module")
def pages(tmp_path_factory, lines):
    """A run, and its side trips afterwards."""
    folder = tmp_path_factory.mktemp("runs")
    before = os.environ["CONVNETLAB_RUNS"]
    os.environ["CONVNETLAB_RUNS"] = str(folder)
    # Another network than the default: its convolutions have no biases.
    chosen = [("dataset", "digits"), ("architecture", "lenet5")]
    notebooks.run_lab("page", chosen, smoke=True, say=lambda line: None)
    first = (folder / "page" / f"{STAGES[0]}.html").stat().st_mtime_ns
    notebooks.run_lab("page", first=FURTHER, say=lines.append)
    os.environ["CONVNETLAB_RUNS"] = before
    assert (folder / "page" / f"{STAGES[0]}.html").stat().st_mtime_ns == first
    return folder / "page"


def test_the_side_trips_follow_a_finished_run(pages, lines):
    assert not any(line.startswith("stage") for line in lines)
    page = (pages / "report.html").read_text("utf-8")
    for name in side_trips():
        assert f"side trip: {name}" in lines and f'href="{name}.html"' in page
        assert (pages / f"{name}.html").stat().st_size > 10_000


def test_what_interacts_yields_a_widget_and_a_picture(pages):
    found = 0
    for name in NOTEBOOKS:
        for cell in notebooks.read(pages / f"{name}.ipynb").cells:
            if any(tag.startswith("interacts:") for tag in notebooks.tags(cell)):
                kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
                assert notebooks.WIDGET in kinds and "image/png" in kinds, cell.id
                found += 1
    assert found >= 3


@in_a_browser
@pytest.mark.parametrize("name", ["report", *NOTEBOOKS])
def test_a_page_asks_for_nothing_but_itself(browser, pages, name):
    path = pages / f"{name}.html"
    assert open_page(browser, path) == {path.as_uri()}
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not severe


@in_a_browser
def test_the_report_shows_headline_figures_and_links(browser, pages):
    open_page(browser, pages / "report.html")
    accuracy = json.loads((pages / "metrics.json").read_text())["accuracy"]
    assert f"{100 * accuracy:.2f} %" in browser.find_element(By.CLASS_NAME, "headline").text
    pictures = browser.find_elements(By.TAG_NAME, "img")
    assert len(pictures) == len(FIGURES)
    for picture in pictures:
        assert browser.execute_script("return arguments[0].naturalWidth", picture) > 100
        assert picture.get_attribute("alt")
    links = [link.get_attribute("href") for link in browser.find_elements(By.TAG_NAME, "a")]
    assert links == [(pages / f"{page}.html").as_uri() for page in ("digit", *NOTEBOOKS)]


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_fits_the_window(browser, pages, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    open_page(browser, pages / "report.html")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison_asks_for_nothing_and_fits_the_window(browser, runs, width):
    for seed in "123":
        made_up.run(f"seed-{seed}", [("seed", seed), ("architecture", "compact")])
    made_up.run("another", [("architecture", "resnet18")], wrong=20)
    path = compare.compare(["seed-1", "seed-2", "seed-3", "another"])
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    assert open_page(browser, path) == {path.as_uri()}
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    pictures = browser.find_elements(By.TAG_NAME, "img")
    assert len(pictures) == 1 + compare.SHOWN + 1, "the plot, pictures that differ, one suspect"
    for picture in pictures:
        assert browser.execute_script("return arguments[0].naturalWidth", picture) >= 8
        assert picture.get_attribute("alt")


@in_a_browser
@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_every_figure_of_a_notebook_is_described(browser, pages, stage):
    open_page(browser, pages / f"{stage}.html")
    pictures = browser.find_elements(By.TAG_NAME, "img")
    assert pictures
    for picture in pictures:
        assert "No description" not in picture.get_attribute("alt")


@in_a_browser
def test_an_explainer_leaves_its_picture_where_no_kernel_runs(browser, pages):
    open_page(browser, pages / "02_architecture.html")
    assert notebooks.NO_KERNEL in browser.find_element(By.TAG_NAME, "body").text
    alts = [picture.get_attribute("alt") for picture in browser.find_elements(By.TAG_NAME, "img")]
    assert any(alt.startswith("vertical edges, place") for alt in alts)
