"""Deployment: a run's network as files for a telephone, judged, and a page that uses one of them.

`deploy` writes `runs/RUN/edge/*.tflite` and, beside the report, `digit.html` (`photo.html` for a
folder of photographs). Every variant answers the same test pictures in the same order as Keras.
"""

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import drawings, edge, edge_figures
from convnetlab.datasets import Dataset, parse
from convnetlab.drawings import Drawings
from convnetlab.edge_answers import KERAS, answers, judged
from convnetlab.edge_page import PageFacts, Painted, write
from convnetlab.errors import LabError
from convnetlab.evaluation import predict as ask_keras
from convnetlab.figures import LabFigure
from convnetlab.handoff import PAGES, Run, versions, write_atomically
from convnetlab.paths import is_headless
from convnetlab.preprocess import part_of

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Say = Callable[[str], object]

FOLDER = "edge"  # of a run
DRAWING, PHOTO = PAGES
CALIBRATION_BYTES = 2**28  # that the pictures which int8 is calibrated on may take
LAYERS, MAPS = 3, 4  # of the static picture: layers, and maps of each
EXAMPLES = 20  # test pictures to click on in the page
PAINTED = 200  # test pictures painted on a canvas, to see what normalising is worth


@dataclass(frozen=True)
class Deployed:
    """A network that was written for the edge.

    Attributes:
        files: the LiteRT files by variant.
        said: probabilities for the test pictures, float32 (N, classes), of Keras (`KERAS`) and, if
            LiteRT's interpreter is installed, of each variant.
        table: their rows: `bytes` (Keras's without the optimiser's state), `of float32` (as a share
            of that file's), `accuracy` on the whole test set with its 95 % interval `low` to `high`
            (Wilson), `agreement` with Keras's answers (share), how many answers `changed`.
        page: the page; None if it was not written.
        refusals: sentences: why a variant or the page is missing, or the variants were not asked.
        painted: what normalising drawings is worth; None for photographs, or if nobody was asked.
        picture: what the page shows of one test picture, for readers without it.
    """

    files: Mapping[str, Path]
    said: Mapping[str, Floats]
    table: pd.DataFrame
    page: Path | None
    refusals: Sequence[str]
    painted: Painted | None
    picture: LabFigure

    @property
    def refusal(self) -> str:
        """Why something is missing; empty if nothing is."""
        return "\n".join(self.refusals)

    def frame(self, width: int = 900, height: int = 700) -> Any:
        """Return the page in a frame; None if there is none, or nobody looks (headless).

        JupyterLab shows what lies in the folder that it was started in.
        """
        if self.page is None or is_headless():
            return None
        from IPython.display import IFrame

        return IFrame(quote(Path(os.path.relpath(self.page)).as_posix()), width, height)


def deploy(
    run: Run,
    model: Any,
    data: Dataset,
    split: pd.DataFrame,
    *,
    probabilities: Floats | None = None,
    variants: Sequence[str] = ("float32", "int8"),
    float32_page: bool = False,
    paint: int = PAINTED,
    say: Say = lambda line: None,
) -> Deployed:
    """Write a run's network for the edge, let every variant answer the test set, write the page.

    Args:
        run: where everything goes.
        model: the run's network; takes raw pixels 0..255.
        data: the run's data set.
        split: the run's split. int8 is calibrated on pictures of its part `train` alone.
        probabilities: what the network says of the test pictures, (N, classes), if that is known.
        variants: which of `edge.VARIANTS` to write; the page's is among them.
        float32_page: put float32 into the page, not int8.
        paint: how many test drawings to paint on a canvas, to see what normalising is worth.
        say: gets a line of progress now and then.

    Raises:
        LabError: something could not be written. What LiteRT or the page cannot run is none: it is
            left out, and told in `refusals`.
    """
    model = first_output(model)
    indices, truth = part_of(split, "test")
    if probabilities is None:
        say("Keras: test pictures")
        probabilities = ask_keras(model, data, indices)
    files, refusals = export(run, model, variants, calibration_pictures(data, split), say)
    said = {KERAS: np.asarray(probabilities, np.float32)}
    said |= ask_files(files, data, indices, refusals, say)
    sizes = {KERAS: keras_bytes(model)} | {name: f.stat().st_size for name, f in files.items()}
    table = judged(said, truth, sizes)
    drawn = None if is_photographs(data) else drawings.drawings_of(data)
    inside = "float32" if float32_page else "int8"
    painted = None
    if drawn and inside in said:
        file = files[inside].read_bytes()
        painted = measure_painting(file, data, indices, truth, drawn, paint)
    page = run.folder / (DRAWING if drawn else PHOTO)
    if refusal := page_refusal(inside, files):
        page.unlink(missing_ok=True)  # an older one would have another network inside
        refusals.append(refusal)
    else:
        facts = facts_of(run, data, indices, inside, table, drawn, painted)
        write(page, files[inside].read_bytes(), facts)
    picture = page_picture(model, data, indices, drawn)
    return Deployed(files, said, table, None if refusal else page, refusals, painted, picture)


def first_output(model: Any) -> Any:
    """Return a network with its first output alone, without an optimiser."""
    from convnetlab.backend import keras

    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def calibration_pictures(data: Dataset, split: pd.DataFrame) -> Pixels:
    """Return `edge.CALIBRATION` pictures of a split's part `train`, or all of fewer, (N, H, W, C).

    They are chosen at random, the same each time; fewer of very large ones.
    """
    indices, _ = part_of(split, "train")
    room = max(1, CALIBRATION_BYTES // (4 * math.prod(data.image_shape)))  # as float32
    count = min(edge.CALIBRATION, len(indices), room)
    chosen = np.random.default_rng(0).choice(len(indices), count, replace=False)
    return data.train_batch(indices[np.sort(chosen)])


def export(
    run: Run, model: Any, variants: Sequence[str], calibration: Pixels, say: Say
) -> tuple[dict[str, Path], list[str]]:
    """Write variants of a network into a run; return their paths, and what LiteRT cannot take."""
    files, refusals = {}, []
    for variant in variants:
        say(f"{variant}: export")
        path = run.folder / FOLDER / f"{variant}.tflite"
        try:
            content = edge.export(model, variant, calibration)
        except LabError as error:
            path.unlink(missing_ok=True)
            refusals.append(str(error))
            continue
        write_bytes(path, content)
        files[variant] = path
    return files, refusals


def ask_files(
    files: Mapping[str, Path], data: Dataset, indices: Integers, refusals: list[str], say: Say
) -> dict[str, Floats]:
    """Return what LiteRT files say of test pictures, (N, classes) each.

    A file that cannot be asked is left out, and `refusals` told.
    """
    said: dict[str, Floats] = {}
    for variant, path in files.items():
        try:
            ask = edge.asker(path.read_bytes())
        except LabError as error:
            refusals += [] if str(error) in refusals else [str(error)]
            continue
        say(f"{variant}: test pictures")
        said[variant] = answers(ask, data, indices)
    return said


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file's bytes, all of them or none."""
    return write_atomically(path, lambda place: place.write_bytes(content))


def keras_bytes(model: Any) -> int:
    """Return how large a network's `.keras` file is without an optimiser's state, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.stat().st_size


def measure_painting(
    file: bytes,
    data: Dataset,
    indices: Integers,
    truth: Integers,
    drawn: Drawings,
    count: int,
) -> Painted:
    """Return what a network makes of test drawings that are painted on a large canvas.

    Args:
        file: a LiteRT file for pictures (H, W, 1).
        data: where the drawings are.
        indices: of the test pictures, (N,).
        truth: their classes, (N,).
        drawn: how the data set shows its drawings.
        count: how many to paint, spread evenly over all.
    """
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)
    height, width, _ = data.image_shape
    ways: dict[str, list[Pixels]] = {"normalised": [], "naive": []}
    images = data.test_batch(indices[chosen])
    for canvas in drawings.painted(images, seed=0, is_dark=drawn.is_dark):
        small, centred = drawings.both_ways(canvas, height, width, drawn)
        ways["naive"].append(small)
        ways["normalised"].append(centred)
    shares = {}
    for way, pictures in ways.items():
        answer = edge.predict(file, np.stack(pictures)).argmax(axis=1)
        shares[way] = float((answer == truth[chosen]).mean())
    return Painted(len(chosen), **shares)


def is_photographs(data: Dataset) -> bool:
    """Whether a data set holds photographs, in a folder, and no drawings."""
    return parse(data.source)[0] == "folder:"


def facts_of(
    run: Run,
    data: Dataset,
    indices: Integers,
    variant: str,
    table: pd.DataFrame,
    drawn: Drawings | None,
    painted: Painted | None,
) -> PageFacts:
    """Return what the page says of a run's network.

    Test pictures are in it for drawings only: photographs may show people. Of a folder it knows the
    name, not where it lies.
    """
    kind, place, query = parse(data.source)
    accuracy = float(table["accuracy"][variant])
    return PageFacts(
        title=run.folder.name,
        source=kind + Path(place).name,
        classes=data.classes,
        shape=data.image_shape,
        variant=variant,
        accuracy=None if math.isnan(accuracy) else accuracy,
        test_images=len(indices),
        made_with=versions(),
        drawn=drawn,
        fit=dict(parse_qsl(query)).get("fit", "pad"),
        examples=examples_of(data, indices) if drawn else [],
        painted=painted,
    )


def examples_of(data: Dataset, indices: Integers) -> list[tuple[Pixels, int]]:
    """Return the first test picture of each class, (H, W, C), with it; `EXAMPLES` at most."""
    _, first = np.unique(data.test_labels[indices], return_index=True)
    chosen = indices[first[:EXAMPLES]]
    return list(zip(data.test_batch(chosen), map(int, data.test_labels[chosen]), strict=True))


def page_refusal(variant: str, files: Mapping[str, Path]) -> str:
    """Return why there can be no page with a variant inside; empty if there can be one."""
    if variant not in files:
        return f"There is no page: LiteRT cannot take the network as {variant}."
    if missing := edge.unrunnable(files[variant].read_bytes()):
        return f"There is no page: it cannot run what {variant} needs: {', '.join(missing)}."
    return ""


def page_of(run: Run) -> Path | None:
    """Return the page of a run's network, if there is one."""
    return next((path for name in PAGES if (path := run.folder / name).is_file()), None)


def page_picture(model: Any, data: Dataset, indices: Integers, drawn: Drawings | None) -> LabFigure:
    """Draw what the page shows of one test picture: the way into the network, maps, the answer.

    Args:
        model: takes raw pixels, (N, H, W, C), gives probabilities.
        data: where the pictures are.
        indices: of the test pictures, (N,).
        drawn: how the data set shows drawings; None of photographs.
    """
    image = data.test_batch(indices[:1])[0]
    steps = {"the picture": image}
    if drawn:
        canvas = next(drawings.painted(image[None], seed=0, is_dark=drawn.is_dark))
        height, width, _ = data.image_shape
        small, image = drawings.both_ways(canvas, height, width, drawn)
        steps = {"as drawn": drawings.on_ground(canvas, drawn.is_dark)[..., None]}
        steps |= {"merely resized": small, "cut out, fitted, centred": image}
    probabilities = np.asarray(model.predict_on_batch(image[None]))[0]
    return edge_figures.page(steps, strongest_maps(model, image), probabilities, data.classes)


def strongest_maps(model: Any, image: Pixels) -> dict[str, Floats]:
    """Return a network's strongest maps of a picture by layer, (count, h, w); none if it has none.

    Of the layers before each reduction in size, the first `LAYERS`; of each `MAPS` maps.
    """
    from convnetlab import looking_inside

    try:
        found = looking_inside.strongest_maps(looking_inside.open_up(model), image, MAPS)
    except LabError:  # a network without feature maps, or one that does not open
        return {}
    return {name: maps for name, (_, maps) in [*found.items()][:LAYERS]}
