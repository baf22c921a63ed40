"""One HTML file with a trained network inside, which recognises what is drawn or photographed.

It opens from a disk or a telephone's memory and asks for nothing: the style, the code, the network
(a `.tflite` file as base64) and what the page says of it stand in it. Its content security policy
lets in that style and that code, by their hashes, and no request. Leading the reader elsewhere and
WebRTC are beyond a policy (Chromium does not know `webrtc 'block'`), so the code must not do it.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.drawings import Drawings
from convnetlab.handoff import write_atomically

Pixels = NDArray[np.uint8]

# One after the other they are the page's code; the last line of the last one starts it.
SCRIPTS = (
    *("flatbuffer.js", "operators.js", "network.js"),  # the forward pass
    *("drawing.js", "picture.js"),  # from a drawing or a photograph to the network's pixels
    *("common.js", "sheet.js", "answer.js", "layers.js", "page.js"),
)


@dataclass(frozen=True)
class Painted:
    """What the way from a large drawing to the network's pixels is worth, measured.

    Attributes:
        images: how many test pictures were painted, at any size and place, on a large canvas.
        normalised: the share that is answered rightly if the ink is cut out, fitted and centred.
        naive: the share if the whole canvas is made smaller instead.
    """

    images: int
    normalised: float
    naive: float


@dataclass(frozen=True)
class PageFacts:
    """What the page knows beside the network.

    Attributes:
        title: the run's name.
        source: the data set that the network learnt from.
        classes: the classes' names, in the order of the network's outputs.
        shape: of a picture, (H, W, C); C is 1 or 3.
        variant: of `edge.VARIANTS`.
        accuracy: of this variant on the whole test set, 0..1; None where it was not asked.
        test_images: how many that were.
        made_with: versions, by name.
        drawn: how the data set draws; None if it holds photographs.
        fit: how a photograph is made square (`image_files.FITS`).
        examples: test pictures, uint8 (H, W, C), and their classes; drawings only, since
            photographs may show people.
        painted: what normalising drawings is worth, where it was measured.
    """

    title: str
    source: str
    classes: Sequence[str]
    shape: tuple[int, int, int]
    variant: str
    accuracy: float | None
    test_images: int
    made_with: Mapping[str, str]
    drawn: Drawings | None = None
    fit: str = "pad"
    examples: Sequence[tuple[Pixels, int]] = ()
    painted: Painted | None = None


def write(path: Path, model_file: bytes, facts: PageFacts) -> Path:
    """Write the page, whole or not at all, and return its path.

    Raises:
        LabError: the disk is full, or the folder cannot be written.
    """
    page = assemble(model_file, facts)
    return write_atomically(path, lambda place: place.write_text(page, "utf-8", newline="\n"))


def assemble(model_file: bytes, facts: PageFacts) -> str:
    """Return the page as HTML.

    Args:
        model_file: a `.tflite` file; whether the page can run it says `edge.unrunnable`.
        facts: what the page says of it.
    """
    from jinja2 import Environment

    style = part("page.css")
    script = "".join(f"// ===== {name} =====\n{part(name)}" for name in SCRIPTS)
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(part("page.html"))
        .render(
            title=facts.title,
            invitation=invitation(facts),
            draws=facts.drawn is not None,
            policy=policy(style, script),
            style=style,
            script=script,
            facts=as_json(facts, model_file),
            model=base64.b64encode(model_file).decode(),
        )
    )


def part(name: str) -> str:
    """Return a file of the page."""
    return files("convnetlab").joinpath("page", name).read_text("utf-8")


def policy(style: str, script: str) -> str:
    """Return the content security policy that lets in a style, a script, and no request."""
    allowed = f"script-src {hash_of(script)}; style-src {hash_of(style)}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def hash_of(text: str) -> str:
    """Return the hash of a style or script as a policy names it.

    >>> hash_of("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def invitation(facts: PageFacts) -> str:
    """Return what the page asks its reader to do, as a heading."""
    if facts.drawn is None:
        return "Show it a photograph"
    if all(len(name) == 1 for name in facts.classes):
        kinds = {"digit": str.isdecimal, "letter": str.isalpha}
        fitting = [kind for kind, test in kinds.items() if all(map(test, facts.classes))]
        return f"Draw a {fitting[0] if fitting else 'character'}"
    return "Draw something it knows"


def as_json(facts: PageFacts, model_file: bytes) -> str:
    """Return what the code needs to know, safe inside a `<script>` whatever classes are called.

    By the file's length and CRC-32 the page sees whether its network is still the same. It is no
    protection from somebody who changes both, and needs nothing that browsers keep from files, as
    they do SHA-256.
    """
    drawn, painted = facts.drawn, facts.painted
    value: dict[str, Any] = {
        "title": facts.title,
        "source": facts.source,
        "classes": list(facts.classes),
        "shape": list(facts.shape),
        "variant": facts.variant,
        "network": {"bytes": len(model_file), "checksum": zlib.crc32(model_file)},
        "accuracy": facts.accuracy,
        "testImages": facts.test_images,
        "madeWith": dict(facts.made_with),
        "drawn": drawn and {"isDark": drawn.is_dark, "share": drawn.share},
        "fit": facts.fit,
        "examples": [
            {"pixels": base64.b64encode(image.tobytes()).decode(), "label": int(label)}
            for image, label in facts.examples
        ],
        "painted": painted and vars(painted),
    }
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
