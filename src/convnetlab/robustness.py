"""How a model fares outside the world of its test set: changed pictures, and pictures of nothing.

Six corruptions, each in five strengths, after D. Hendrycks and T. Dietterich, "Benchmarking neural
network robustness to common corruptions and perturbations", ICLR (2019). Theirs are for
photographs; these are small ones that keep the label of a digit. Strength 0 changes nothing.

What is random is drawn from the seed and the picture's place alone, the same for every strength
and every model: curves differ by the strength, models by what they say, and not by their luck.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from convnetlab.datasets import Dataset
from convnetlab.errors import LabError
from convnetlab.evaluation import Integers, accuracy_interval, answers_of, bootstrap_interval
from convnetlab.handoff import Run, run_folder

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Change = Callable[[Pixels, float, np.random.Generator], Pixels]

CLEAN = "clean"  # the pictures as they are
BATCH = 500  # pictures that are changed and judged at once
DIRECTIONS = ((1, 1), (1, -1), (2, 1), (2, -1))  # axis and sign: down, up, right, left


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures change.

    Attributes:
        unit: what the strength is measured in.
        strengths: five, from weak to strong.
        form: how a strength is written, such as `{:.0%}`.
        change: makes of pictures, uint8 (N, H, W, C), a strength and a source of random numbers
            the changed ones.
        most: the largest strength that makes sense.
    """

    unit: str
    strengths: tuple[float, float, float, float, float]
    form: str
    change: Change
    most: float = np.inf


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Return numbers as pixels: below 0 is 0, above 255 is 255, the rest is rounded."""
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


def background(images: Pixels) -> Floats:
    """Return each picture's background, float32 (N, 1, 1, C): the median of its border's pixels."""
    sides = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    return np.asarray(np.median(np.concatenate(sides, axis=1), axis=1), np.float32)[:, None, None]


def on_background(images: Pixels, move: Callable[[Floats], Floats]) -> Pixels:
    """Move what stands out from each picture's background; what comes in from outside is that.

    For MNIST it is 0. Repeating the nearest pixel would draw strokes that touch the border out into
    bars, and in the 8×8 digits most do.
    """
    ground = background(images)
    return to_pixels(ground + move(images - ground))


def shift(images: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Move each picture down, up, right or left, at random, by a share of its side.

    Parts of a pixel are interpolated linearly.
    """
    directions = random.integers(0, len(DIRECTIONS), len(images))

    def move(values: Floats) -> Floats:
        moved = values.copy()
        for number, (axis, sign) in enumerate(DIRECTIONS):
            steps = [0.0] * 4
            steps[axis] = sign * round(strength * values.shape[axis], 6)  # 2, not 1.9999999
            chosen = directions == number
            if chosen.any():
                moved[chosen] = ndimage.shift(values[chosen], steps, order=1, mode="grid-constant")
        return moved

    return on_background(images, move)


def rotation(images: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Turn each picture about its middle, to the left or right at random, by so many degrees."""
    to_the_left = random.random(len(images)) < 0.5

    def move(values: Floats) -> Floats:
        moved = values.copy()
        for chosen, angle in ((to_the_left, strength), (~to_the_left, -strength)):
            if chosen.any():
                moved[chosen] = ndimage.rotate(
                    values[chosen], angle, (2, 1), reshape=False, order=1, mode="grid-constant"
                )
        return moved

    return on_background(images, move)


def noise(images: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Add to each pixel a number from a normal distribution with this standard deviation."""
    return to_pixels(images + strength * random.standard_normal(images.shape, np.float32))


def blur(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Replace each pixel by a weighted mean of its surroundings: a Gaussian of so many pixels."""
    sigmas = (0, strength, strength, 0)
    return to_pixels(ndimage.gaussian_filter(images.astype(np.float32), sigmas, mode="nearest"))


def contrast(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Bring each pixel nearer to its picture's mean: at strength 1 all is that one grey."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return to_pixels(mean + (1 - strength) * (images - mean))


def inversion(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Blend pictures x with their negatives: (1 - strength) · x + strength · (255 - x).

    At 0.5 all is the same grey and nothing is left to see; from there on dark and bright have
    changed places, and at 1 it is the negative.
    """
    return to_pixels((1 - strength) * images + strength * (255 - images))


CORRUPTIONS: dict[str, Corruption] = {
    # Two pixels a step in a picture of 28.
    "shift": Corruption(
        "share of the side", (1 / 14, 2 / 14, 3 / 14, 4 / 14, 5 / 14), "{:.0%}", shift, 1
    ),
    "rotation": Corruption("degrees", (15, 30, 45, 60, 75), "{:g}", rotation, 360),
    "noise": Corruption(
        "standard deviation, grey levels", (30, 60, 90, 120, 150), "{:g}", noise, 255
    ),
    "blur": Corruption("sigma, pixels", (0.5, 1, 1.5, 2, 2.5), "{:g}", blur),
    "contrast": Corruption("share lost", (0.19, 0.38, 0.57, 0.76, 0.95), "{:.0%}", contrast, 1),
    "inversion": Corruption(
        "share of the negative", (0.2, 0.4, 0.6, 0.8, 1), "{:.0%}", inversion, 1
    ),
}


def corrupt(name: str, images: Pixels, strength: float, seed: int | Sequence[int] = 0) -> Pixels:
    """Return changed pictures, uint8 (N, H, W, C) as before; the same for the same arguments.

    Args:
        name: one of `CORRUPTIONS`.
        images: uint8 (N, H, W, C).
        strength: in the corruption's unit; 0 changes nothing.
        seed: of the directions and of the noise.

    Raises:
        LabError: there is no such corruption, or the strength is below 0 or too large.
        ValueError: the pictures are not uint8 (N, H, W, C).

    >>> corrupt("inversion", np.array([[[[0], [40]]]], np.uint8), 1).tolist()
    [[[[255], [215]]]]
    """
    if name not in CORRUPTIONS:
        raise LabError(f"corruption is {name!r}; it must be one of: {', '.join(CORRUPTIONS)}.")
    corruption = CORRUPTIONS[name]
    if not 0 <= strength <= corruption.most:
        raise LabError(
            f"The strength of {name} is {strength} ({corruption.unit}); it must be from 0 to "
            f"{corruption.most:g}."
        )
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"pictures are {images.dtype} of shape {images.shape}; expected uint8 (N, H, W, C)"
        )
    return corruption.change(images, strength, np.random.default_rng(seed))


def conditions() -> list[tuple[str, float]]:
    """Return all kinds of pictures, name and strength: first the clean ones, `CLEAN` and 0."""
    changed = [(name, by) for name, kind in CORRUPTIONS.items() for by in kind.strengths]
    return [(CLEAN, 0.0), *changed]


def examples(image: Pixels, seed: int) -> dict[str, Pixels]:
    """Return one picture (H, W, C) under every corruption: by name uint8 (6, H, W, C), 0 first."""
    return {
        name: np.concatenate(
            [corrupt(name, image[None], strength, seed) for strength in (0, *kind.strengths)]
        )
        for name, kind in CORRUPTIONS.items()
    }


@dataclass(frozen=True)
class Answers:
    """What a model says of the same pictures under every condition, in the order of `conditions`.

    Attributes:
        predicted: classes, int64 (conditions, N).
        confidence: the probabilities of those classes, float32 (conditions, N), 0..1.
    """

    predicted: Integers
    confidence: Floats


def answers(model: Any, dataset: Dataset, indices: Integers, seed: int) -> Answers:
    """Return what a model says of test pictures, clean and under all corruptions.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        dataset: where the pictures are.
        indices: which test pictures, (N,).
        seed: of the corruptions; with the same one every model sees the same pictures.
    """
    predicted, confidence = [], []
    for name, strength in conditions():
        probabilities = predict(model, dataset, indices, name, strength, seed)
        predicted.append(probabilities.argmax(axis=1))
        confidence.append(probabilities.max(axis=1))
    return Answers(np.stack(predicted), np.stack(confidence))


def predict(
    model: Any, dataset: Dataset, indices: Integers, name: str, strength: float, seed: int
) -> Floats:
    """Return probabilities, float32 (N, classes), of test pictures under one condition.

    Some hundred pictures at a time are changed and judged, whatever their number. Arguments as for
    `answers` and `corrupt`.
    """
    parts = []
    for start in range(0, len(indices), BATCH):
        images = dataset.test_batch(indices[start : start + BATCH])
        if name != CLEAN:
            images = corrupt(name, images, strength, (seed, start))
        parts.append(np.asarray(model.predict_on_batch(images), np.float32))
    return np.concatenate(parts)


def accuracies(said: Answers, truth: Integers) -> pd.DataFrame:
    """Return a row a corruption and strength, 0 included, from what a model says.

    Columns: `corruption`, `unit`, `strength`, `amount` (the strength as text), `accuracy` with its
    95 % interval `low` to `high` (Wilson), and the mean `confidence`, all 0..1.
    """
    measured = {
        condition: (int((classes == truth).sum()), float(sure.mean(dtype=np.float64)))
        for condition, classes, sure in zip(
            conditions(), said.predicted, said.confidence, strict=True
        )
    }
    rows = []
    for name, kind in CORRUPTIONS.items():
        for strength in (0, *kind.strengths):
            right, sure = measured[(name, strength) if strength else (CLEAN, 0.0)]
            limits = accuracy_interval(right, len(truth))
            about = (name, kind.unit, strength, kind.form.format(strength))
            rows.append((*about, right / len(truth), *limits, sure))
    columns = ["corruption", "unit", "strength", "amount", "accuracy", "low", "high", "confidence"]
    return pd.DataFrame(rows, columns=columns)


def evaluate(
    model: Any, dataset: Dataset, indices: Integers, truth: Integers, seed: int
) -> pd.DataFrame:
    """Return how good and how sure a model is under every corruption: see `accuracies`.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        dataset: where the pictures are.
        indices: which test pictures, (N,).
        truth: their classes, (N,).
        seed: of the corruptions.
    """
    return accuracies(answers(model, dataset, indices, seed), truth)


def gains(before: Answers, after: Answers, truth: Integers, seed: int = 0) -> pd.DataFrame:
    """Return by how much a second model is better than a first, a row a corruption.

    Paired: a picture counts by the share of the strengths at which the second is right, less that
    of the first, so what both find hard does not blur the comparison. The interval is 95 %, by the
    bootstrap over pictures. It says what other pictures could change, not what another training
    could.

    Args:
        before: what the first model says.
        after: what the second says of the same pictures.
        truth: their classes, (N,).
        seed: of the bootstrap.

    Returns:
        By corruption, the `clean` pictures first: the accuracies `before` and `after`, means
        over the strengths; `gain`, `low`, `high`; and `verdict`: `better`, `worse`, or `open`
        where the interval has the 0 in it.

    Raises:
        ValueError: the answers are not of as many pictures as there are true classes.
    """
    if not before.predicted.shape == after.predicted.shape == (len(conditions()), len(truth)):
        raise ValueError(
            f"answers of shapes {before.predicted.shape} and {after.predicted.shape} for "
            f"{len(truth)} pictures; expected ({len(conditions())}, {len(truth)})"
        )
    names = np.array([name for name, _ in conditions()])
    rows = {}
    for name in (CLEAN, *CORRUPTIONS):
        first, second = (
            (said.predicted[names == name] == truth).mean(axis=0) for said in (before, after)
        )
        rows[name] = (first.mean(), second.mean(), *mean_interval(second - first, seed))
    columns = ["before", "after", "gain", "low", "high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    choices = np.select([table["low"] > 0, table["high"] < 0], ["better", "worse"], "open")
    return table.assign(verdict=choices).rename_axis("corruption")


def mean_interval(values: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Return the mean of values (N,) and its 95 % interval by the bootstrap."""
    # Rounded: a sum's last digits are no reason to call one model better.
    low, high = bootstrap_interval(lambda d: round(float(values[d].mean()), 12), len(values), seed)
    return float(values.mean()), low, high


def other_model(name: str, here: Run) -> Any:
    """Return the trained network of the run `name`, which must have judged the same pictures.

    Raises:
        LabError: there is no such run, it is not finished, or it judged other pictures than the
            run `here`.
    """
    from convnetlab.backend import keras

    answers_of(name, here)  # refuses what cannot be compared
    return keras.models.load_model(Run(run_folder(name), here.stage).need("model.keras"))


def nothing(image_shape: tuple[int, int, int], seed: int) -> dict[str, Pixels]:
    """Return pictures with nothing in them to name, each uint8 (H, W, C), by what they are.

    Args:
        image_shape: (H, W, C).
        seed: of the noise.
    """
    height, width, channels = image_shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    rows, columns = np.indices((height, width)) // max(1, min(height, width) // 7)
    far = np.maximum(abs(x), abs(y))
    shapes = {
        "black": x > 1,
        "white": x <= 1,
        "checkerboard": (rows + columns) % 2 == 0,
        "stripes": rows % 2 == 0,
        "diagonal bar": (abs(x + y) < 0.3) & (far < 0.8),
        "disc": x**2 + y**2 < 0.5,
        "frame": (far > 0.5) & (far < 0.8),
    }
    drawn = {name: 255 * shape for name, shape in shapes.items()}
    drawn["ramp"] = 127.5 * (1 + x)
    drawn["noise"] = np.random.default_rng(seed).integers(0, 256, (height, width))
    return {
        name: np.repeat(to_pixels(values)[..., None], channels, axis=2)
        for name, values in drawn.items()
    }


def said_of(model: Any, pictures: Mapping[str, Pixels], classes: Sequence[str]) -> pd.DataFrame:
    """Return what a model says of pictures (H, W, C), a row each: `says`, and `confidence`, 0..1.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        pictures: by name, all of the model's size.
        classes: the classes' names.
    """
    probabilities = np.asarray(model.predict_on_batch(np.stack(list(pictures.values()))))
    return pd.DataFrame(
        {
            "says": [classes[place] for place in probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
        },
        index=pd.Index(pictures, name="picture"),
    )
