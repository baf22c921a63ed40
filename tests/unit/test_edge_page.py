"""The page is put together so that the browser runs our code, and nothing that a name brings."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

from convnetlab import edge_page
from convnetlab.drawings import Drawings
from convnetlab.edge_page import SCRIPTS, PageFacts, Painted

MODEL = bytes(range(256))
HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<!-- <script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "naïve\u2028\u2029\udcff猫",
)


class Page(HTMLParser):
    """The texts of a page's scripts and styles, by id or name, and its policy, as HTML has them."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.policy, self.inside = {}, "", None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.inside = given.get("id", tag) if tag in ("script", "style", "title", "h1") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def facts(**changed):
    given = {
        "title": "first",
        "source": "mnist",
        "classes": tuple("0123456789"),
        "shape": (28, 28, 1),
        "variant": "int8",
        "accuracy": 0.97,
        "test_images": 10_000,
        "made_with": {"convnetlab": "0.1.0"},
        "drawn": Drawings(True, 20 / 28),
    }
    return PageFacts(**{**given, **changed})


def test_the_policy_lets_in_what_stands_there_and_nothing_else():
    page = Page(edge_page.assemble(MODEL, facts()))
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    for rule, text in (("script-src", page.texts["code"]), ("style-src", page.texts["style"])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules.pop("img-src") == "data:"
    assert set(rules) == {"default-src", "base-uri", "form-action"}
    assert set(rules.values()) == {"'none'"}


def test_network_and_facts_come_out_as_they_went_in():
    image = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28, 1)
    given = facts(classes=HOSTILE, examples=[(image, 3)], painted=Painted(200, 0.9, 0.2))
    page = Page(edge_page.assemble(MODEL, given))
    assert base64.b64decode(page.texts["network"]) == MODEL
    told = json.loads(page.texts["facts"])
    # CRC-32 of the bytes 0 to 255, as zip and PNG have it.
    assert told["network"] == {"bytes": 256, "checksum": 0x29058C73}
    assert tuple(told["classes"]) == HOSTILE
    assert told["drawn"] == {"isDark": True, "share": 20 / 28}
    assert told["painted"] == {"images": 200, "normalised": 0.9, "naive": 0.2}
    (example,) = told["examples"]
    assert base64.b64decode(example["pixels"]) == image.tobytes() and example["label"] == 3


def test_no_name_gets_out_of_its_place(tmp_path):
    given = facts(classes=HOSTILE, title="<b>", source=HOSTILE[0], made_with={HOSTILE[0]: "1"})
    page = edge_page.write(tmp_path / "digit.html", MODEL, given).read_text("utf-8")
    assert page.count("<script") == page.count("</script>") == 3
    assert "<title>Draw something it knows – &lt;b&gt;</title>" in page


def test_the_same_page_is_written_each_time(tmp_path):
    paths = [edge_page.write(tmp_path / name, MODEL, facts()) for name in ("a.html", "b.html")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"\r" not in paths[0].read_bytes()


@pytest.mark.parametrize(
    ("classes", "drawn", "invitation"),
    [
        ("0123456789", True, "Draw a digit"),
        ("abcdeÄ猫", True, "Draw a letter"),
        ("ab1", True, "Draw a character"),
        (("shirt", "bag"), True, "Draw something it knows"),
        ("01", False, "Show it a photograph"),
    ],
)
def test_the_heading_says_what_to_do(classes, drawn, invitation):
    given = facts(classes=tuple(classes), drawn=Drawings(True, 1.0) if drawn else None)
    assert Page(edge_page.assemble(MODEL, given)).texts["h1"] == invitation


def test_the_code_has_one_scope_and_no_name_twice():
    code = "\n".join(files("convnetlab").joinpath("page", name).read_text() for name in SCRIPTS)
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", code, re.MULTILINE)
    assert len(names) > 100 and len(names) == len(set(names))
    assert "</script" not in code.lower() and "<!--" not in code
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", code)


def test_the_code_does_not_do_what_no_policy_stops():
    code = "\n".join(edge_page.part(name) for name in SCRIPTS)
    assert not re.search(r"\bopen\(|\blocation\b|RTC|\.submit\(|\bhref\b", code)
    assert re.findall(r"\bfetch\((.*)\)", code) == ['"https://nowhere.invalid/"']
    assert "A policy cannot stop everything" in edge_page.part("page.html")
