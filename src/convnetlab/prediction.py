"""`convnetlab predict`: what a finished run's model says of pictures in files.

Each file is read exactly as the run's own pictures were. A run on a folder says in its data set's
name how (size, fit, colour). MNIST and its kin hold drawings that somebody has cut out and centred,
as a rule bright on a dark ground, and a photograph of a digit is none of that: the module
`drawings` does to it what was done to them, and the answer says so.
"""

import contextlib
import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import inside_figures
from convnetlab.datasets import load_specified, parse
from convnetlab.drawings import as_drawing, drawings_of
from convnetlab.errors import LabError
from convnetlab.evaluation import Probabilities
from convnetlab.handoff import (
    MARKER,
    Run,
    read_json,
    run_folder,
    write_atomically,
    write_json,
)
from convnetlab.image_files import flatten, opened, read_image, turn_upright
from convnetlab.image_folders import Walk
from convnetlab.paths import runs_folder

Pixels = NDArray[np.uint8]
Say = Callable[[str], object]

FIRST_COLUMNS = ["file", "predicted", "confidence", "error"]  # of the CSV; by them it is known
EXPLAINED = "explained.json"  # by this a folder of explanations is known
RANKS = ("answer", "second", "third")
LARGE = 1_000  # pixels: a drawing's longer side is never read larger


@dataclass(frozen=True)
class Reading:
    """A picture as the model gets it, or why there is none.

    Attributes:
        image: uint8 (H, W, C), or None if the file cannot be read.
        note: what was done to it beyond what the data set's own pictures went through; or the
            reason why it cannot be read.
    """

    image: Pixels | None
    note: str = ""


def open_run(name: str) -> Run:
    """Return a run whose model can be asked.

    Raises:
        LabError: there is no such run.
    """
    folder = run_folder(name)
    if not (folder / MARKER).is_file():
        there = sorted(path.parent.name for path in runs_folder().glob(f"*/{MARKER}"))
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Train one: convnetlab run"
        raise LabError(f"There is no run {name!r} in {runs_folder()}. {hint}")
    return Run(folder, "predict")


def reader(description: Mapping[str, Any]) -> Callable[[Path], Reading]:
    """Return what reads a file as the pictures of a run were read.

    Args:
        description: the run's `dataset.json`.

    Raises:
        LabError: the run's pictures have another number of channels than files can give, or its
            drawings, which tell how to treat a photograph of one, are not there any more.
    """
    source, (height, width, channels) = description["source"], description["image_shape"]
    if channels not in (1, 3):
        raise LabError(
            f"The run's pictures ({source}) have {channels} channels; files are read as grey (1) "
            "or RGB (3)."
        )
    kind, _, query = parse(source)
    if kind == "folder:":
        fit = dict(parse_qsl(query))["fit"]
        colour = "rgb" if channels == 3 else "grey"
        return lambda path: Reading(read_image(path, height, fit, colour))
    drawn = drawings_of(load_specified(description))
    return lambda path: Reading(*as_drawing(read_grey(path), height, width, drawn))


def read_grey(path: Path) -> Pixels:
    """Return a picture file upright and in grey, (H, W), made smaller if it is very large.

    Raises:
        UnreadableImage: it is no picture, or damaged.
    """
    with opened(path) as image:
        image.draft("L", (LARGE, LARGE))
        image.load()
        turn_upright(image)
        flat = flatten(image, "grey")
        flat.thumbnail((LARGE, LARGE))
        return np.asarray(flat)


@dataclass(frozen=True)
class Answers:
    """What a model said of files.

    Attributes:
        files: every file asked about, in order.
        classes: the classes' names.
        probabilities: float32 (N, classes), NaN in the rows of files that could not be read.
        notes: what was done to each picture, or why it could not be read.
    """

    files: Sequence[Path]
    classes: Sequence[str]
    probabilities: Probabilities
    notes: Sequence[str]

    @property
    def unreadable(self) -> dict[Path, str]:
        """The files that could not be read, with the reasons."""
        failed = np.isnan(self.probabilities[:, 0])
        triples = zip(self.files, self.notes, failed, strict=True)
        return {file: note for file, note, has_failed in triples if has_failed}


def predict(
    name: str,
    places: Sequence[Path],
    table: Path | None = None,
    explain: Path | None = None,
    say: Say = print,
) -> Answers:
    """Ask a run's model about pictures in files.

    Args:
        name: the run's.
        places: files, or folders whose files, and those of the folders in them, are meant.
        table: a CSV file to write, a row a file and a column a class.
        explain: a folder to write a picture into for each file: the answer, and its Grad-CAM.
        say: gets a line of progress now and then.

    Raises:
        LabError: there is no such run, its training is not finished, there are no pictures, or
            the table or the folder to write is there and is none of ours.
    """
    run = open_run(name)
    model_file, description = run.need("model.keras"), read_json(run.need("dataset.json"))
    files = pictures_in(places)
    if table:
        refuse_foreign_table(table)
    if explain:
        claim(explain)
    read = reader(description)
    answers = ask(load_model(model_file), description["classes"], files, read, explain, say)
    if table:
        write_table(table, answers)
    return answers


def load_model(path: Path) -> Any:
    """Return the network in a file, ready to be asked, not to be trained on."""
    importlib.import_module("convnetlab.architectures")  # it registers its layers with Keras
    from convnetlab.backend import keras

    return keras.models.load_model(path, compile=False)


def pictures_in(places: Sequence[Path]) -> list[Path]:
    """Return the files meant, each once: those named, and the pictures in folders that are named.

    Raises:
        LabError: a place is not there, or no picture is left.
    """
    files: list[Path] = []
    for place in places:
        if not place.exists():
            raise LabError(f"{place} is not there. Name picture files, or folders that hold some.")
        root = place.resolve()
        found = Walk(root).pictures(root) if place.is_dir() else [root]
        files += [place / path.relative_to(root) for path in found]
    if not files:
        named = ", ".join(map(str, places)) or "nothing"
        raise LabError(
            f"There are no pictures in {named}. Name picture files, or a folder of them."
        )
    return list(dict.fromkeys(files))


def chunks(
    files: Sequence[Path], read: Callable[[Path], Reading], count: int
) -> Iterator[tuple[slice, list[Reading]]]:
    """Read files, so many at once, and give each time which they are; none stays in memory."""
    for start in range(0, len(files), count):
        chosen = slice(start, min(start + count, len(files)))
        yield chosen, [attempt(read, file) for file in files[chosen]]


def attempt(read: Callable[[Path], Reading], file: Path) -> Reading:
    """Read a file; where that fails, keep the reason."""
    try:
        return read(file)
    except LabError as error:
        return Reading(None, str(error))


def ask(
    model: Any,
    classes: Sequence[str],
    files: Sequence[Path],
    read: Callable[[Path], Reading],
    explain: Path | None = None,
    say: Say = print,
) -> Answers:
    """Ask a model about files in one pass, a few at a time, whatever their number.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        classes: the classes' names.
        files: the pictures.
        read: makes of a file what the model takes.
        explain: a folder for a picture of each answer, or None.
        say: gets a line of progress now and then.
    """
    from convnetlab.streams import pictures_at_once

    probabilities = np.full((len(files), len(classes)), np.nan, np.float32)
    notes: list[str] = []
    draw = explainer(model, classes, explain) if explain else None
    at_once = pictures_at_once(model.inputs[0].shape[1:])
    for chosen, readings in chunks(files, read, at_once):
        notes += [reading.note for reading in readings]
        there = [n for n, reading in enumerate(readings, chosen.start) if reading.image is not None]
        images = [reading.image for reading in readings if reading.image is not None]
        if images:
            probabilities[there] = model.predict_on_batch(np.stack(images))
        if draw:
            for place, image in zip(there, images, strict=True):
                draw(files[place], image, probabilities[place])
        if len(files) > at_once:
            say(f"  {chosen.stop:,} of {len(files):,} pictures")
    return Answers(files, classes, probabilities, notes)


def explainer(
    model: Any, classes: Sequence[str], folder: Path
) -> Callable[[Path, Pixels, NDArray[np.float32]], None]:
    """Return what writes a picture of an answer and its Grad-CAM into a folder.

    Raises:
        LabError: the network has no feature maps.
    """
    from convnetlab import looking_inside

    inside = looking_inside.open_up(model)
    layer = inside.last_maps
    used: set[str] = set()

    def draw(file: Path, image: Pixels, probabilities: NDArray[np.float32]) -> None:
        heat = looking_inside.grad_cam(inside, image[None], name=layer)[0]
        figure = inside_figures.answer(image, heat, probabilities, classes, file.name)
        path = folder / unused(file.stem, used)
        write_atomically(path, lambda place: place.write_bytes(figure.png))

    return draw


def unused(stem: str, used: set[str]) -> str:
    """Return a PNG's name that has not been given away yet, and give it away."""
    name, number = f"{stem}.png", 1
    while name in used:
        number += 1
        name = f"{stem}-{number}.png"
    used.add(name)
    return name


def claim(folder: Path) -> None:
    """Make a folder for explanations, or take one that was made for that.

    Raises:
        LabError: it is a file, or something else is in it.
    """
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / EXPLAINED).is_file():
        raise LabError(
            f"{folder} is there and was not made by --explain. Name a new or an empty folder, so "
            "that no file of yours is replaced."
        )
    write_json(folder / EXPLAINED, {"made_by": "convnetlab predict --explain"})


def refuse_foreign_table(path: Path) -> None:
    """Refuse to replace a file that is no table of answers.

    Raises:
        LabError: there is such a file, or a folder.
    """
    if not path.exists():
        return
    with contextlib.suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as stream:
        if stream.readline().startswith(",".join(FIRST_COLUMNS)):
            return
    raise LabError(
        f"{path} is there and was not made by --csv. Name another file, so that nothing of yours "
        "is replaced."
    )


def write_table(path: Path, answers: Answers) -> Path:
    """Write answers as CSV, a row a file and a column a class, whatever the classes are called."""
    named = [f"P({name})" for name in answers.classes]
    values = pd.DataFrame(answers.probabilities, columns=named)
    failed = values.isna().any(axis=1)
    best = answers.probabilities[~failed].argmax(axis=1)
    values.insert(0, "file", [str(file) for file in answers.files])
    values.insert(1, "predicted", None)
    values.loc[~failed, "predicted"] = [answers.classes[place] for place in best]
    values.insert(2, "confidence", answers.probabilities.max(axis=1))
    values.insert(3, "error", np.where(failed, answers.notes, ""))
    return write_atomically(path, lambda file: values.to_csv(file, index=False))


def as_text(answers: Answers, top: int = 2) -> str:
    """Return the answers as a table to read, a line a file, with the `top` most probable classes.

    Files that could not be read are left out; where something was done to a picture it says so.
    """
    rows: dict[str, dict[str, str]] = {}
    triples = zip(answers.files, answers.probabilities, answers.notes, strict=True)
    for file, probabilities, note in triples:
        if np.isnan(probabilities).any():
            continue
        row = {}
        for rank, place in enumerate(np.argsort(-probabilities, kind="stable")[:top]):
            title = RANKS[rank] if rank < len(RANKS) else f"{rank + 1}th"
            row[title] = f"{answers.classes[place]} ({probabilities[place]:.1%})"
        rows[str(file)] = {**row, "picture": note}
    if not rows:
        return "No picture could be read."
    table = pd.DataFrame.from_dict(rows, orient="index")
    if not table["picture"].any():
        table = table.drop(columns="picture")
    with pd.option_context("display.unicode.east_asian_width", True, "display.max_colwidth", None):
        return table.to_string()
