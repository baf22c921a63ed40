"""The page in a real browser, and the ratios that `convnetlab bench --only edge` shows."""

import base64
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab import edge
from convnetlab.deployment import DRAWING, FOLDER
from convnetlab.handoff import read_json

Pixels = NDArray[np.uint8]

WARM_UP, PICTURES = 20, 200
# Asks the page's network about pictures, one after the other: what it says, and how long it takes.
ASK = """
const [base64, size] = arguments;
const pixels = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const outputs = [], times = [];
for (let start = 0; start < pixels.length; start += size) {
  const image = pixels.slice(start, start + size);
  const before = performance.now();
  const { output } = network.run(image);
  times.push(performance.now() - before);
  outputs.push(Array.from(output));
}
return { outputs, times };
"""


def has_browser() -> bool:
    """Whether Chromium, its driver and selenium are installed."""
    return bool(shutil.which("chromedriver")) and find_spec("selenium") is not None


def page_of(folder: Path) -> dict[str, Any]:
    """Return what `in_chromium` finds of a run of drawings, or why it could not look."""
    from convnetlab.datasets import load_specified

    if not has_browser():
        return {"not opened": "selenium, Chromium or its driver is not installed"}
    images = load_specified(read_json(folder / "dataset.json")).test_images[:PICTURES]
    return in_chromium(folder / DRAWING, (folder / FOLDER / "int8.tflite").read_bytes(), images)


def in_chromium(page: Path, file: bytes, images: Pixels) -> dict[str, Any]:
    """Open the page of an int8 network, ask it about pictures, and compare it with LiteRT.

    Args:
        page: as `edge_page.write` made it.
        file: the network inside, int8.
        images: uint8 (N, H, W, C).

    Returns:
        `ms an image`, the median; `requests`, the addresses asked for beside the file's own;
        `as LiteRT`, the share of pictures of which every output byte is LiteRT's; `browser`.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-background-networking"):
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        driver: Any = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            driver.get(page.resolve().as_uri())
            size = images[0].size
            driver.execute_script(ASK, as_base64(images[:WARM_UP]), size)
            said = driver.execute_script(ASK, as_base64(images), size)
            asked = requests(driver.get_log("performance"))
            version = driver.capabilities["browserVersion"]
        finally:
            driver.quit()
    same = np.array(said["outputs"]) == np.rint(256 * edge.predict(file, images))
    return {
        "browser": f"Chromium {version}",
        "pictures": len(images),
        "ms an image": statistics.median(said["times"]),
        "requests": sorted(asked - {page.resolve().as_uri()}),
        "as LiteRT": float(same.all(axis=1).mean()),
    }


def as_base64(images: Pixels) -> str:
    """Return pixels as text."""
    return base64.b64encode(np.ascontiguousarray(images).tobytes()).decode()


def requests(log: Sequence[Mapping[str, str]]) -> set[str]:
    """Return the addresses that a browser's log names, but those of data and the browser's own."""
    messages = [json.loads(entry["message"])["message"] for entry in log]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    found = {params["request"]["url"] for params in sent}
    return {url for url in found if not url.startswith(("data:", "chrome:", "blob:"))}


def ratios(facts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what is shown of a run on the edge, as ratios and differences.

    Args:
        facts: `edge.json` of each time that `convnetlab edge` ran; a ratio of times is the median.
    """
    tables = [{row["network"]: row for row in fact["table"]} for fact in facts]
    first = tables[0]

    def ratio(one: str, other: str, column: str) -> float:
        taken = [table[one][column] / table[other][column] for table in tables]
        return float(statistics.median(taken))

    call, compiled, ms = "Keras, call", "Keras, tf.function", "ms an image"
    shown = {
        "int8 bytes / float32 bytes": first["int8"]["bytes"] / first["float32"]["bytes"],
        "int8 accuracy - Keras accuracy": first["int8"]["accuracy"] - first[call]["accuracy"],
        "Keras, predict ms / tf.function ms": ratio("Keras, predict", compiled, ms),
        "Keras, call ms / tf.function ms": ratio(call, compiled, ms),
    }
    shown |= {f"tf.function ms / {name} ms": ratio(compiled, name, ms) for name in edge.VARIANTS}
    for column in ("cold start, s", "peak MiB"):
        shown[f"Keras {column} / int8 {column}"] = ratio(call, "int8", column)
    return shown
