"""The page that carries a network, in a real Chromium: drawing, photographs, privacy, access."""

import base64
import io
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from opening import open_page
from PIL import Image, ImageDraw
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from strokes import DIGITS, draw_by_finger, draw_by_mouse, on_the_screen

from convnetlab import architectures, datasets, drawings, edge, edge_page, image_files, prediction
from convnetlab.edge_page import PageFacts, Painted
from convnetlab.training import set_seed

pytestmark = pytest.mark.browser

LEARNT, CALIBRATED = 10_000, 200
THINGS = ("apple", "pear", "Ελιά", "猫", "طائر", "a very long name " * 6, "<b>bold</b>", *"ghijk")


@pytest.fixture(scope="module")
def mnist():
    return datasets.load("mnist")


@pytest.fixture(scope="module")
def trained(mnist):
    """A small network that has learnt from some of the training pictures."""
    set_seed(1)
    network = architectures.build("compact", mnist.image_shape, 10)
    network.compile("adam", "sparse_categorical_crossentropy")
    images, labels = mnist.train_images[:LEARNT], mnist.train_labels[:LEARNT]
    network.fit(images, labels, epochs=2, batch_size=32, verbose=0)
    return network


@pytest.fixture(scope="module")
def facts(mnist):
    chosen = [int(np.flatnonzero(mnist.test_labels == label)[0]) for label in range(10)]
    return PageFacts(
        title="first",
        source="mnist",
        classes=mnist.classes,
        shape=mnist.image_shape,
        variant="int8",
        accuracy=0.95,
        test_images=10_000,
        made_with={"convnetlab": "0.1.0"},
        drawn=drawings.drawings_of(mnist),
        examples=[(mnist.test_images[place], int(mnist.test_labels[place])) for place in chosen],
        painted=Painted(200, 0.9, 0.2),
    )


@pytest.fixture(scope="module")
def int8(trained, mnist):
    return edge.export(trained, "int8", mnist.train_images[-CALIBRATED:])


@pytest.fixture(scope="module")
def page(int8, facts, tmp_path_factory):
    return edge_page.write(tmp_path_factory.mktemp("page") / "digit.html", int8, facts)


@pytest.fixture(scope="module")
def float32_page(trained, facts, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "digit.html"
    file = edge.export(trained, "float32")
    return edge_page.write(path, file, replace(facts, variant="float32"))


@pytest.fixture(scope="module")
def coloured():
    """A network for photographs that has learnt nothing, and answers all the same."""
    set_seed(2)
    return architectures.build("compact", (48, 48, 3), len(THINGS))


@pytest.fixture(scope="module")
def photo_page(coloured, facts, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "photo.html"
    changed = {"classes": THINGS, "shape": (48, 48, 3), "variant": "float32", "source": "folder:x"}
    given = replace(facts, drawn=None, examples=(), painted=None, **changed)
    return edge_page.write(path, edge.export(coloured, "float32"), given)


def window(browser, width, dark=False, touch=False):
    """Make the window as wide as that, in a theme."""
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})


def opened(browser, path, width=1280, **how):
    window(browser, width, **how)
    errors(browser)  # what an earlier test left
    assert open_page(browser, path) == {path.as_uri()}


def text(browser, name):
    return browser.find_element(By.ID, name).text


def wait(browser, condition):
    return WebDriverWait(browser, 20, 0.05).until(condition)


def errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def packed(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


PACKED = """
const packed = (bytes) => {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
};
"""


def run(browser, code, *given):
    """Run the body of a function in the page."""
    return browser.execute_script(PACKED + code, *given)


def unpacked(answer, *shape):
    return np.frombuffer(base64.b64decode(answer), np.uint8).reshape(shape)


# ----- Drawing -----


def test_ten_digits_are_drawn_and_read(browser, page):
    opened(browser, page)
    for digit, strokes in DIGITS.items():
        draw_by_mouse(browser, strokes)
        wait(browser, lambda it, digit=digit: text(it, "best") == digit)
        first = browser.find_element(By.CSS_SELECTOR, "#bars .first")
        assert first.text.split()[0] == digit and first.text.split()[1] in text(browser, "sure")
        browser.find_element(By.ID, "clear").click()
        wait(browser, lambda it: text(it, "best") == "")
    assert not errors(browser)


def test_an_empty_sheet_has_no_answer(browser, page):
    opened(browser, page)
    for _ in range(2):
        assert text(browser, "verdict") == "Nothing is drawn yet." and "%" not in text(
            browser, "bars"
        )
        assert "Draw here" in text(browser, "sheet") and not text(browser, "steps")
        draw_by_mouse(browser, DIGITS["4"])
        wait(browser, lambda it: text(it, "best") == "4")
        for _ in DIGITS["4"]:
            browser.find_element(By.ID, "undo").click()
        wait(browser, lambda it: text(it, "best") == "")
    assert not browser.find_element(By.ID, "undo").is_enabled()


PAINT = """
const [images, count] = arguments;
const all = bytesOf(images);
return Array.from({length: count}, (_, k) => {
  const small = new ImageData(WIDTH, HEIGHT);
  for (let p = 0; p < 784; p++) small.data[4 * p + 3] = all[784 * k + p];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  canvas.getContext("2d").putImageData(small, 0, 0);
  inkContext.clearRect(0, 0, inkSheet.width, inkSheet.height);
  inkContext.imageSmoothingEnabled = false;
  inkContext.drawImage(canvas, 0, 0, inkSheet.width, inkSheet.height);
  look(true);
  return Number(document.getElementById("best").textContent);
});
"""


def test_painted_test_pictures_are_answered_as_keras_answers(browser, float32_page, trained, mnist):
    opened(browser, float32_page)
    images = mnist.test_images[:200]
    assert run(browser, "return [inkSheet.width, inkSheet.height]") == [280, 280]
    said = run(browser, PAINT, packed(images), len(images))
    assert said == trained.predict_on_batch(images).argmax(axis=1).tolist()


def test_normalising_leaves_test_pictures_as_they_are(browser, page, mnist):
    opened(browser, page)
    code = """
    const all = bytesOf(arguments[0]);
    let kept = 0;
    for (let k = 0; k < all.length; k += 784) {
      const values = all.subarray(k, k + 784);
      const made = normalised({height: 28, width: 28, values}, 28, 28, facts.drawn).pixels;
      kept += made.every((value, place) => value === values[place]);
    }
    return kept;
    """
    assert run(browser, code, packed(mnist.test_images)) >= 0.999 * len(mnist.test_images)


def test_a_canvas_is_normalised_as_in_python(browser, page, facts, mnist):
    """Ink of any size and place, bright or dark, for pictures that are squares or not."""
    opened(browser, page)
    code = """
    const [canvas, side, height, width, drawn] = arguments;
    const sheet = {height: side, width: side, values: bytesOf(canvas)};
    const cutOut = normalised(sheet, height, width, drawn).pixels;
    return [cutOut, naive(sheet, height, width, drawn.isDark)].map(packed);
    """
    canvases = drawings.painted(mnist.test_images[:60], seed=5, side=140)
    for number, canvas in enumerate(canvases):
        height, width = (28, 28) if number < 40 else (20, 31)
        drawn = replace(facts.drawn, is_dark=number % 2 == 0)
        told = {"isDark": drawn.is_dark, "share": drawn.share}
        cut_out, whole = run(browser, code, packed(canvas), 140, height, width, told)
        expected = drawings.normalised(canvas, height, width, drawn)[..., 0]
        assert np.array_equal(unpacked(cut_out, height, width), expected)
        expected = drawings.naive(canvas, height, width, drawn.is_dark)[..., 0]
        assert np.array_equal(unpacked(whole, height, width), expected)


def test_the_steps_are_shown_and_the_layers_light_up(browser, page):
    opened(browser, page)
    draw_by_mouse(browser, DIGITS["3"])
    wait(browser, lambda it: text(it, "best") == "3")
    titles = [it.text for it in browser.find_elements(By.CSS_SELECTOR, "#steps h3")]
    assert titles == ["As drawn", "Cut out", "Scaled", "Centred", "Without these steps"]
    assert "20 pixels" in text(browser, "steps") and "of its centre" not in text(browser, "steps")
    assert "90.0" in text(browser, "measured") and "20.0" in text(browser, "measured")
    layers = browser.find_elements(By.CSS_SELECTOR, "#layers li")
    assert "28 × 28 × 1" in layers[0].text and "softmax" in layers[-1].text.lower()
    for layer in browser.find_elements(By.CSS_SELECTOR, "#layers .maps:not([hidden])"):
        browser.execute_script("arguments[0].scrollIntoView()", layer)
        brightest = "const it = arguments[0].querySelector('canvas'); return Math.max(...it"
        brightest += ".getContext('2d').getImageData(0, 0, it.width, it.height).data.filter("
        brightest += "(_, k) => k % 4 === 0))"
        wait(browser, lambda it, one=layer, code=brightest: it.execute_script(code, one) > 200)


def test_a_slow_network_waits_for_the_end_of_a_stroke(browser, page):
    opened(browser, page)
    run(browser, "state.times = Array(25).fill(1000); window.passes = 0")
    run(browser, "const all = answerTo; answerTo = (pixels) => (window.passes++, all(pixels))")
    draw_by_mouse(browser, DIGITS["5"])
    assert browser.execute_script("return window.passes") == 0
    assert not browser.find_element(By.ID, "hint").is_displayed()
    assert browser.find_element(By.ID, "undo").is_enabled()
    wait(browser, lambda it: text(it, "best") == "5")
    assert browser.execute_script("return window.passes") == 2, "with the steps, and without"


def test_a_test_picture_goes_in_as_it_is(browser, page, mnist, int8):
    opened(browser, page)
    button = browser.find_elements(By.CSS_SELECTOR, "#examples button")[4]
    assert button.accessible_name == "Test picture, labelled 4"
    button.click()
    wait(browser, lambda it: "labelled 4" in text(it, "received-text"))
    place = int(np.flatnonzero(mnist.test_labels == 4)[0])
    pixels = unpacked(run(browser, "return packed(state.given.pixels)"), 28, 28, 1)
    assert np.array_equal(pixels, mnist.test_images[place])
    assert text(browser, "best") == str(edge.predict(int8, pixels[None]).argmax())
    draw_by_mouse(browser, DIGITS["0"])
    wait(browser, lambda it: text(it, "best") == "0")


def test_a_finger_draws_on_a_telephone_and_nothing_slides(browser, page):
    opened(browser, page, 390, touch=True)
    browser.execute_script("window.scrollTo(0, 20)")
    for digit in "25":
        draw_by_finger(browser, DIGITS[digit])
        wait(browser, lambda it, digit=digit: text(it, "best") == digit)
        assert browser.execute_script("return [scrollX, scrollY]") == [0, 20]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        browser.execute_script("document.getElementById('clear').click()")


# ----- Strokes that end early, and pictures that come late -----

MARKED = """
const paper = document.getElementById("paper");
const pixels = paper.getContext("2d").getImageData(0, 0, paper.width, paper.height).data;
return [inkOnSheet().values.filter((ink) => ink > 0).length, pixels.some((value) => value > 0)];
"""


def test_a_tap_leaves_a_dot(browser, page):
    opened(browser, page)
    draw_by_mouse(browser, [[(0.5, 0.5)]])
    wait(browser, lambda it: "%" in text(it, "sure"))
    ink, is_seen = run(browser, MARKED)
    across = 0.075 * 280
    assert abs(ink - np.pi * across**2 / 4) < 3 * across and is_seen


@pytest.mark.parametrize("button", ["undo", "clear"])
def test_taking_a_stroke_back_ends_it(browser, page, button):
    """While the finger is still down, which may happen with two hands."""
    opened(browser, page)
    (before, going_on) = DIGITS["4"]
    draw_by_mouse(browser, [before])
    touched = on_the_screen(browser, [going_on])[0]
    press_and_move(browser, touched)
    browser.execute_script(f"document.getElementById('{button}').click()")
    press_and_move(browser, [], touched[::-1])
    expected = [len(before)] if button == "undo" else []
    assert run(browser, "return state.strokes.map((stroke) => stroke.length)") == expected
    assert not errors(browser)


def press_and_move(browser, pressed, moved=()):
    """Press the left button at the first point, and move on without letting it go."""
    kinds = ["mousePressed"] * len(pressed[:1]) + ["mouseMoved"] * (len(pressed[1:]) + len(moved))
    for kind, (x, y) in zip(kinds, [*pressed, *moved], strict=True):
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def test_a_picture_ends_the_keyboards_stroke(browser, page):
    opened(browser, page)
    sheet = browser.find_element(By.ID, "sheet")
    sheet.send_keys(Keys.SPACE, Keys.ARROW_DOWN)
    browser.execute_script("document.querySelector('#examples button').click()")
    wait(browser, lambda it: "labelled 0" in text(it, "received-text"))
    sheet.send_keys(Keys.ARROW_DOWN)
    assert run(browser, "return state.strokes") == [] and not errors(browser)


WAITING = """
window.waiting = [];
const before = openPicture;
openPicture = async (file) => {
  await new Promise((go) => window.waiting.push(go));
  return before(file);
};
"""


def test_what_was_asked_for_last_is_shown(browser, page, tmp_path):
    """A picture that takes long comes after a second one, after a stroke, and after Clear."""
    opened(browser, page)
    browser.execute_script(WAITING)
    paths = [tmp_path / "slow.png", tmp_path / "quick.png"]
    for path, width in zip(paths, (300, 60), strict=True):
        path.write_bytes(encoded(scene(width, 40)))
        choose(browser, path)
    shown = "return state.given && state.given.preview.width"
    browser.execute_script("window.waiting[1]()")
    wait(browser, lambda it: it.execute_script(shown) == 60)
    assert after_the_slow_one(browser, shown) == 60
    draw_by_mouse(browser, DIGITS["7"])
    choose(browser, paths[0])
    draw_by_mouse(browser, DIGITS["7"])
    assert after_the_slow_one(browser, shown) is None
    choose(browser, paths[0])
    browser.find_element(By.ID, "clear").click()
    assert after_the_slow_one(browser, shown) is None and not errors(browser)


def after_the_slow_one(browser, shown):
    """What is shown when all waiting pictures have been opened."""
    browser.execute_script("window.waiting.forEach((go) => go())")
    return browser.execute_async_script(
        f"const done = arguments[0]; setTimeout(() => done((() => {{ {shown} }})()), 300)"
    )


# ----- Access -----


def test_a_digit_is_drawn_with_the_keyboard(browser, page):
    opened(browser, page)
    sheet = browser.find_element(By.ID, "sheet")
    for _ in range(5):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element == sheet:
            break
    assert browser.switch_to.active_element == sheet
    assert (
        browser.execute_script("return getComputedStyle(document.activeElement).outlineWidth")
        == "3px"
    )
    keys = [Keys.ARROW_LEFT] * 6, Keys.SPACE, [Keys.ARROW_RIGHT] * 12
    keys = [*keys[0], keys[1], *keys[2], *[Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT] * 7]
    sheet.send_keys(*keys)
    assert "down" in browser.find_element(By.ID, "pen").get_attribute("class")
    sheet.send_keys(Keys.SPACE)
    wait(browser, lambda it: text(it, "best") == "7")
    spoken = "return document.getElementById('spoken').textContent"
    wait(browser, lambda it: it.execute_script(spoken).startswith("7, "))
    assert browser.execute_script("return scrollY") == 0
    sheet.send_keys(Keys.BACKSPACE)
    wait(browser, lambda it: text(it, "best") == "")
    wait(browser, lambda it: it.execute_script(spoken) == "Cleared.")


def test_a_screen_reader_hears_that_all_is_gone(browser, page):
    opened(browser, page)
    spoken = "return document.getElementById('spoken').textContent"
    draw_by_mouse(browser, DIGITS["7"])
    wait(browser, lambda it: it.execute_script(spoken).startswith("7, "))
    browser.find_element(By.ID, "sheet").send_keys(Keys.DELETE)
    assert browser.execute_script(spoken) == "Cleared."


def test_leaving_the_sheet_lifts_the_pen(browser, page):
    opened(browser, page)
    sheet = browser.find_element(By.ID, "sheet")
    sheet.send_keys(Keys.SPACE, Keys.ARROW_DOWN, Keys.TAB)
    assert browser.switch_to.active_element != sheet
    sheet.send_keys(Keys.ARROW_DOWN)
    assert run(browser, "return state.strokes.map((stroke) => stroke.length)") == [2]


TEXT_COLOURS = """
const seen = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
  if (element.closest(":disabled, .unseen, script, noscript")) continue;
  let ground = element;
  const behind = (it) => getComputedStyle(it).backgroundColor;
  while (behind(ground) === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const words = walker.currentNode.textContent.trim();
  seen.push([words, getComputedStyle(element).color, behind(ground)]);
}
return seen;
"""


def luminance(colour):
    """Relative luminance as WCAG 2 defines it, of `rgb(r, g, b)`."""
    levels = [int(level) / 255 for level in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out_from_its_ground(browser, page, dark):
    """At least 4.5 to 1, as level AA of WCAG 2 asks for."""
    opened(browser, page, dark=dark)
    draw_by_mouse(browser, DIGITS["3"])
    wait(browser, lambda it: text(it, "best") == "3")
    found = run(browser, TEXT_COLOURS)
    assert len(found) > 50
    for words, colour, ground in found:
        lighter, darker = sorted([luminance(colour), luminance(ground)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (words, colour, ground)
    assert (luminance(found[0][2]) < 0.1) == dark


def test_every_control_has_a_name_and_the_page_has_an_outline(browser, page):
    opened(browser, page)
    for control in browser.find_elements(
        By.CSS_SELECTOR, "button, input, [tabindex], canvas[role]"
    ):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    assert browser.execute_script("return document.documentElement.lang") == "en"
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    assert len(browser.find_elements(By.TAG_NAME, "main")) == 1
    live = browser.find_element(By.ID, "spoken")
    assert live.get_attribute("aria-live") == "polite"


# ----- Privacy -----

ATTEMPTS = """
const done = arguments[0], seen = [];
const note = ({ effectiveDirective }) => seen.push(effectiveDirective);
document.addEventListener("securitypolicyviolation", note);
const away = "http://127.0.0.1:9/";
fetch(away + "fetch").catch(() => {});
const request = new XMLHttpRequest();
request.open("GET", away + "xhr");
request.send();
new Image().src = away + "image";
try { new WebSocket("ws://127.0.0.1:9/"); } catch {}
navigator.sendBeacon(away + "beacon", "drawing");
const script = document.createElement("script");
script.textContent = "document.title = 'taken'";
document.head.append(script);
setTimeout("document.title = 'taken'");
setTimeout(() => done([seen.sort(), document.title]), 300);
"""


def test_nothing_gets_out_and_no_other_code_gets_in(browser, page):
    opened(browser, page)
    browser.get_log("performance")
    seen, title = browser.execute_async_script(ATTEMPTS)
    assert seen.count("connect-src") == 4 and seen.count("img-src") == 1
    assert "script-src-elem" in seen and "script-src" in seen and title != "taken"
    messages = [json.loads(it["message"])["message"] for it in browser.get_log("performance")]
    reached = [it for it in messages if it["method"] == "Network.responseReceived"]
    assert not reached


def test_the_page_lets_its_reader_see_that(browser, page):
    opened(browser, page)
    browser.find_element(By.ID, "attempt").click()
    wait(browser, lambda it: "Stopped by the policy (connect-src)" in text(it, "attempted"))
    assert "default-src 'none'" in text(browser, "policy")


def test_the_code_can_be_read_on_the_page(browser, page):
    opened(browser, page)
    for part in browser.find_elements(By.CSS_SELECTOR, "#sources details"):
        part.find_element(By.TAG_NAME, "summary").click()
        shown = part.find_element(By.TAG_NAME, "pre").get_attribute("textContent")
        assert shown == edge_page.part(part.find_element(By.TAG_NAME, "summary").text)
    assert "function convolve" in text(browser, "sources")


# ----- What is wrong with it -----


def test_hostile_names_stay_text(browser, int8, facts, tmp_path):
    names = [f"<img src=x onerror=\"document.title='taken'\">{k}" for k in range(9)]
    names.append("</script><script>document.title='taken'</script>\u202e")
    given = replace(facts, classes=names, title=names[0], source=names[9])
    opened(browser, edge_page.write(tmp_path / "digit.html", int8, given), 390)
    draw_by_mouse(browser, DIGITS["7"])
    wait(browser, lambda it: text(it, "best") == names[7])
    assert not browser.find_elements(By.CSS_SELECTOR, "main img") and "taken" not in (
        browser.title.removeprefix(f"Draw something it knows – {names[0]}")
    )
    assert [it.text for it in browser.find_elements(By.CSS_SELECTOR, "#bars bdi")][:9] == names[:9]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert not errors(browser)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: b"", "has 0 bytes, not"),
        (lambda file: file[:-1000], "bytes, not"),
        (lambda file: flipped(file, len(file) // 2), "checksum differs"),
        (lambda file: flipped(file, len(file) - 1), "checksum differs"),
    ],
)
def test_a_network_whose_bytes_changed_is_told(browser, page, int8, tmp_path, damage, reason):
    path = tmp_path / "digit.html"
    replace_network(page, path, base64.b64encode(damage(int8)).decode())
    assert_refused(browser, path, reason)


def test_a_network_that_is_no_base64_is_told(browser, page, tmp_path):
    path = tmp_path / "digit.html"
    replace_network(page, path, "GA*A")
    assert_refused(browser, path, "Its text is not base64.")


def replace_network(page, path, text):
    start = '<script type="text/plain" id="network">'
    before, after = page.read_text("utf-8").split(start)
    path.write_text(before + start + text + after[after.index("</script>") :], "utf-8")


def flipped(file, place):
    """The file with one bit the other way round."""
    return file[:place] + bytes([file[place] ^ 16]) + file[place + 1 :]


def test_checksums_are_those_of_zlib(browser, page, int8):
    opened(browser, page)
    for file in (b"", b"123456789", int8):
        assert run(
            browser,
            "return checksumOf(bytesOf(arguments[0]))",
            packed(np.frombuffer(file, np.uint8)),
        ) == (zlib.crc32(file))


def test_a_network_of_another_variant_is_told(browser, trained, int8, facts, tmp_path):
    path = edge_page.write(tmp_path / "digit.html", edge.export(trained, "float32"), facts)
    assert_refused(browser, path, "Its numbers are not int8, as the page says.")
    path = edge_page.write(path, int8, replace(facts, variant="float32"))
    assert_refused(browser, path, "Its numbers are not float32, as the page says.")


@pytest.mark.parametrize("damage", ["none", "foreign", "short", "another's"])
def test_a_network_that_cannot_be_run_is_told(browser, int8, facts, tmp_path, damage):
    """The bytes are those that were put there, so it is their reader who refuses them."""
    files = {"none": b"", "foreign": b"\x89PNG\r\n\x1a\n" * 99, "short": int8[: len(int8) // 2]}
    given = facts if damage != "another's" else replace(facts, shape=(32, 32, 1), examples=())
    path = edge_page.write(tmp_path / "digit.html", files.get(damage, int8), given)
    reasons = {"short": "", "another's": "takes other pictures"}
    assert_refused(browser, path, reasons.get(damage, "not a LiteRT file"))
    assert browser.find_element(By.TAG_NAME, "h1").is_displayed()


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9, 0.999])
def test_a_page_that_was_cut_says_so(browser, page, tmp_path, kept):
    whole = page.read_text("utf-8")
    assert_not_started(browser, tmp_path / "digit.html", whole[: int(kept * len(whole))])


def test_a_page_whose_code_was_changed_says_so(browser, page, tmp_path):
    whole = page.read_text("utf-8")
    assert whole.count("// The page: what") == 1
    changed = whole.replace("// The page: what", "// The page: that")
    assert_not_started(browser, tmp_path / "digit.html", changed)


def assert_not_started(browser, path, page):
    path.write_text(page, "utf-8")
    opened(browser, path)
    wait(browser, lambda it: "Get it again" in text(it, "unstarted"))


def test_a_sound_page_does_not_warn(browser, page):
    opened(browser, page)
    assert browser.execute_script("return document.getElementById('unstarted').hidden")


@pytest.mark.parametrize("damage", ["{", "{}", "null", "[1]"])
def test_damaged_facts_are_told(browser, page, tmp_path, damage):
    start = '<script type="application/json" id="facts">'
    before, after = page.read_text("utf-8").split(start)
    path = tmp_path / "digit.html"
    path.write_text(before + start + damage + after[after.index("</script>") :], "utf-8")
    assert_refused(browser, path, "What the page says of it cannot be read")


def assert_refused(browser, path, reason):
    """The page tells why it runs no network, and shows nothing that would need one."""
    opened(browser, path, 390)
    assert reason in text(browser, "alert") and "convnetlab edge" in text(browser, "alert")
    assert browser.find_element(By.ID, "alert").get_attribute("role") == "alert"
    assert not browser.find_element(By.ID, "lab").is_displayed()
    assert not browser.find_element(By.ID, "unstarted").is_displayed() and not errors(browser)


def test_where_no_code_runs_the_page_says_so(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, page)
        assert "needs JavaScript" in browser.find_element(By.TAG_NAME, "main").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


# ----- Photographs -----


def scene(width, height, mode="RGB", seed=0):
    """A picture with smooth parts, edges and noise."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(rows / (7 + k) + columns / (11 - k)) for k in range(len(mode))]
    levels = np.stack(waves, axis=-1) + chance.normal(0, 20, (height, width, len(mode)))
    picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((width * 0.3, height * 0.2, width * 0.8, height * 0.7), "white")
    return picture


READ = (
    PACKED
    + """
const [file, size, fit, channels, done] = arguments;
openPicture(new Blob([bytesOf(file)])).then((bitmap) => {
  done(packed(framed(bitmap, size, fit, channels).values));
});
"""
)


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("fit", image_files.FITS)
@pytest.mark.parametrize("colour", image_files.COLOURS)
def test_a_photograph_is_framed_as_in_python(browser, photo_page, tmp_path, fit, colour):
    opened(browser, photo_page)
    sizes = [(640, 427), (31, 20), (97, 500), (48, 48), (33, 700), (1201, 903), (50, 49)]
    for seed, (width, height) in enumerate(sizes):
        path = tmp_path / "picture.png"
        path.write_bytes(encoded(scene(width, height, seed=seed)))
        for size in (48, 61):
            given = packed(np.frombuffer(path.read_bytes(), np.uint8))
            channels = 3 if colour == "rgb" else 1
            got = browser.execute_async_script(READ, given, size, fit, channels)
            expected = image_files.read_image(path, size, fit, colour).astype(int)
            apart = np.abs(unpacked(got, *expected.shape) - expected)
            assert apart.max() <= 1, (width, height, size)
            # Pillow 13 takes the passes in another order where the height shrinks more.
            assert apart.mean() < (0.01 if width >= height else 0.3), (width, height, size)


def test_a_photograph_is_turned_upright_and_laid_on_white(browser, photo_page, tmp_path):
    opened(browser, photo_page)
    path, turned = tmp_path / "picture", Image.Exif()
    turned[0x0112] = 6
    smooth = scene(90, 60).resize((9, 6)).resize((90, 60))
    clear = scene(200, 150, "RGBA")
    for content, tolerance in (
        (encoded(smooth, "JPEG", exif=turned, quality=95, subsampling=0), 4),
        (encoded(clear), 2),
        (encoded(scene(200, 150).quantize(16)), 1),
    ):
        path.write_bytes(content)
        given = packed(np.frombuffer(content, np.uint8))
        got = browser.execute_async_script(READ, given, 48, "pad", 3)
        expected = image_files.read_image(path, 48).astype(int)
        assert np.abs(unpacked(got, 48, 48, 3) - expected).max() <= tolerance


def test_a_photograph_is_answered_as_keras_answers(browser, photo_page, coloured, tmp_path):
    opened(browser, photo_page, 390)
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(scene(300, 200)))
    choose(browser, path)
    wait(browser, lambda it: "%" in text(it, "sure"))
    pixels = image_files.read_image(path, 48)
    expected = coloured.predict_on_batch(pixels[None])[0]
    assert text(browser, "best") == THINGS[expected.argmax()].strip()
    shown = browser.execute_script("return Array.from(state.last.probabilities)")
    np.testing.assert_allclose(shown, expected, atol=0.01)  # pixels may differ by 1
    assert re.search(r"%.*, then .+ with \d", text(browser, "sure"))
    assert "as this browser opens it" in text(browser, "steps")
    titles = [it.text for it in browser.find_elements(By.CSS_SELECTOR, "#steps h3")]
    assert titles == ["As photographed", "As the network gets it"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#bars li")) == 10
    browser.execute_script("document.getElementById('more-bars').click()")
    names = [it.text for it in browser.find_elements(By.CSS_SELECTOR, "#bars bdi")]
    assert names == [" ".join(name.split()) for name in THINGS]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def choose(browser, path):
    """Choose a file, as the file picker would give it."""
    browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[-1].send_keys(str(path))


def test_what_is_no_picture_is_told(browser, photo_page, tmp_path):
    opened(browser, photo_page)
    path = tmp_path / "picture.png"
    path.write_bytes(b"no picture at all")
    choose(browser, path)
    wait(browser, lambda it: "cannot open that file" in text(it, "complaint"))
    path.write_bytes(encoded(scene(60, 60)))
    choose(browser, path)
    wait(browser, lambda it: "%" in text(it, "sure"))
    assert not text(browser, "complaint") and not errors(browser)


def test_a_huge_photograph_is_read_in_strips(browser, photo_page, tmp_path):
    """50 million pixels: no canvas is as large as that on a telephone."""
    opened(browser, photo_page)
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(scene(80, 62).resize((8_000, 6_200), 0), compress_level=1))
    code = """
    window.largest = 0;
    const before = CanvasRenderingContext2D.prototype.getImageData;
    CanvasRenderingContext2D.prototype.getImageData = function (...box) {
      window.largest = Math.max(window.largest, this.canvas.width * this.canvas.height);
      return before.apply(this, box);
    };
    """
    browser.execute_script(code)
    choose(browser, path)
    wait(browser, lambda it: "%" in text(it, "sure"))
    pixels = unpacked(run(browser, "return packed(state.given.pixels)"), 48, 48, 3)
    assert np.abs(pixels - image_files.read_image(path, 48).astype(int)).max() <= 1
    assert 0 < browser.execute_script("return window.largest") <= 4_100_000


def test_a_photographed_drawing_takes_the_steps_of_predict(browser, page, facts, tmp_path):
    """Dark ink on unevenly lit paper, once larger than a drawing is ever read."""
    opened(browser, page)
    for side in (300, 1_400):
        rows, columns = np.mgrid[:side, :side]
        paper = Image.fromarray((200 + 40 * rows / side - 30 * columns / side).astype(np.uint8))
        points = [(0.3 * side, 0.3 * side), (0.7 * side, 0.28 * side), (0.5 * side, 0.8 * side)]
        ImageDraw.Draw(paper).line(points, 40, side // 16, "curve")
        path = tmp_path / "seven.png"
        path.write_bytes(encoded(paper))
        choose(browser, path)
        wait(browser, lambda it: text(it, "best") == "7")
        assert "Otsu" in text(browser, "steps") and "negative" in text(browser, "steps")
        pixels = unpacked(run(browser, "return packed(state.given.pixels)"), 28, 28, 1)
        expected, _ = drawings.as_drawing(prediction.read_grey(path), 28, 28, facts.drawn)
        assert np.abs(pixels - expected.astype(int)).max() <= 2
        browser.find_element(By.ID, "clear").click()


def test_a_page_of_blank_paper_is_no_drawing(browser, page, facts, tmp_path):
    opened(browser, page)
    path = tmp_path / "blank.png"
    path.write_bytes(encoded(Image.new("L", (120, 80), 230)))
    choose(browser, path)
    wait(browser, lambda it: "No ink was found" in text(it, "steps"))
    pixels = unpacked(run(browser, "return packed(state.given.pixels)"), 28, 28, 1)
    expected, _ = drawings.as_drawing(prediction.read_grey(path), 28, 28, facts.drawn)
    assert np.array_equal(pixels, expected)
