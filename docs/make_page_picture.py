"""Write docs/digit.png: a run's page on a telephone, with a digit drawn on it.

`make results` runs it; alone: `python docs/make_page_picture.py runs/lab/digit.html`. It needs
Chromium and its driver.
"""

import io
import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PICTURE = Path(__file__).with_name("digit.png")
WIDTH, HEIGHT, GAP = 390, 1000, 24  # pixels of a telephone's window, and between two of them
SHOWN = ("entry", "received", "inside")  # sections of the page, each at the top of a window
# A three, small and not in the middle, as people draw.
ARCS = ((0.3, 0.1, range(-150, 91, 10)), (0.5, 0.12, range(-90, 141, 10)))
STROKE = [
    (0.34 + across * math.cos(angle), middle + 0.1 * math.sin(angle))
    for middle, across, degrees in ARCS
    for angle in map(math.radians, degrees)
]


def draw(browser: Any, points: Iterable[tuple[float, float]]) -> None:
    """Draw a stroke with the mouse; points are (x, y), 0..1 of the sheet."""
    box = browser.find_element("id", "paper").rect
    kinds = ["mousePressed", *["mouseMoved"] * (len(STROKE) - 1)]
    for kind, (x, y) in zip(kinds, points, strict=True):
        where = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        press(browser, kind, where)
    press(browser, "mouseReleased", where)


def press(browser: Any, kind: str, where: dict[str, float]) -> None:
    """Send a mouse event with the left button."""
    event = {"type": kind, **where, "button": "left", "buttons": 1, "clickCount": 1}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def windows(page: Path) -> list[Image.Image]:
    """Return what a telephone shows of each section, once a digit has been drawn."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox"):
        options.add_argument(argument)
    browser: Any = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": True}
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.resolve().as_uri())
        draw(browser, STROKE)
        taken = []
        for name in SHOWN:
            section = browser.find_element("id", name)
            browser.execute_script("scrollTo(0, arguments[0].offsetTop - 12)", section)
            browser.execute_script("return new Promise(requestAnimationFrame)")
            taken.append(Image.open(io.BytesIO(browser.get_screenshot_as_png())))
        return taken
    finally:
        browser.quit()


def main(page: Path) -> None:
    """Put the windows side by side."""
    shots = windows(page)
    whole = Image.new("RGB", (len(shots) * (WIDTH + GAP) - GAP, HEIGHT), "white")
    for place, shot in enumerate(shots):
        whole.paste(shot, (place * (WIDTH + GAP), 0))
    whole.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
