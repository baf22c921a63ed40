"""How a model fares outside the world of its test set: changed pictures, and pictures of nothing.

Six corruptions, each in five strengths, after D. Hendrycks and T. Dietterich, "Benchmarking neural
network robustness to common corruptions and perturbations", ICLR (2019). Theirs are for
photographs; these are small ones, chosen by looking at pictures, not at accuracies. Strength 0
changes nothing.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from convnetlab.calibration import refuse
from convnetlab.datasets import Dataset
from convnetlab.evaluation import Integers, accuracy_interval, answers_of, mcnemar
from convnetlab.handoff import Run, run_folder

Pixels = NDArray[np.uint8]

STEPS = range(6)  # no change, then five strengths from weak to strong
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))  # down and right, pixels
MIDDLE = 3  # the strength, of five, at which two models are compared


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Return numbers as pixels: below 0 is 0, above 255 is 255, the rest is rounded."""
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


def shift(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Move pictures by so many % of their side, in turns down, up, right and left.

    What comes in from outside is black; parts of a pixel are interpolated linearly.
    """
    _, height, width, _ = images.shape
    moved = np.empty_like(images)
    for turn, (down, right) in enumerate(DIRECTIONS[: len(images)]):
        steps = (0, down * height * strength / 100, right * width * strength / 100, 0)
        moved[turn::4] = ndimage.shift(images[turn::4], steps, order=1, mode="grid-constant")
    return moved


def rotation(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Turn pictures by so many degrees about their middle, in turns to the left and right.

    What comes in from outside is black.
    """
    turned = np.empty_like(images)
    for turn, angle in enumerate((strength, -strength)[: len(images)]):
        turned[turn::2] = ndimage.rotate(
            images[turn::2], angle, (2, 1), reshape=False, order=1, mode="grid-constant"
        )
    return turned


def noise(images: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Add to each number one from a normal distribution with this standard deviation."""
    return to_pixels(images + strength * random.standard_normal(images.shape, np.float32))


def blur(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Replace each pixel by a weighted mean around it: a Gaussian, sigma so many pixels."""
    # As floats: with whole numbers SciPy would round between the rows and the columns.
    sigmas = (0, strength, strength, 0)
    return to_pixels(ndimage.gaussian_filter(images, sigmas, output=np.float32))


def contrast(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Bring each pixel so many % of the way to its picture's mean (over all channels)."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return to_pixels(mean + (1 - strength / 100) * (images - mean))


def inversion(images: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Blend pictures x with so many % of their negatives 255 - x.

    At 50 all is one grey; beyond it dark and bright have changed places; 100 is the negative.
    """
    share = strength / 100
    return to_pixels((1 - share) * images + share * (255 - images))


class Corruption(NamedTuple):
    """One way in which pictures change: `change(images, strength, random)`, and its strengths."""

    change: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, ...]  # one for each of `STEPS`
    unit: str


CORRUPTIONS = {
    "shift": Corruption(shift, (0, 5, 10, 15, 20, 25), "% of the side"),
    "rotation": Corruption(rotation, (0, 12, 24, 36, 48, 60), "degrees"),
    "noise": Corruption(noise, (0, 25, 50, 75, 100, 125), "grey levels (standard deviation)"),
    "blur": Corruption(blur, (0, 0.5, 1, 1.5, 2, 2.5), "pixels (sigma)"),
    "contrast": Corruption(contrast, (0, 20, 40, 60, 80, 90), "% lost"),
    "inversion": Corruption(inversion, (0, 20, 40, 60, 80, 100), "% of the negative"),
}


def corrupt(name: str, images: Pixels, step: int, seed: int = 0, place: int = 0) -> Pixels:
    """Return changed pictures, uint8 (N, H, W, C) as before; the same for the same arguments.

    Args:
        name: one of `CORRUPTIONS`.
        images: uint8 (N, H, W, C).
        step: which of its strengths, 0 (no change) to 5.
        seed: of the noise, together with the step and the place; nothing else is random.
        place: of the first picture among all, where they come in batches.

    >>> corrupt("inversion", np.array([[[[0], [40]]]], np.uint8), 5).tolist()
    [[[[255], [215]]]]
    """
    kind = CORRUPTIONS[name]
    random = np.random.default_rng((seed, step, place))
    return kind.change(images, kind.strengths[step], random)


def examples(image: Pixels, seed: int) -> dict[str, Pixels]:
    """Return one picture (H, W, C) under every corruption: by name uint8 (6, H, W, C), 0 first."""
    return {
        name: np.concatenate([corrupt(name, image[None], step, seed) for step in STEPS])
        for name in CORRUPTIONS
    }


def answers(
    model: Any, dataset: Dataset, indices: Integers, truth: Integers, seed: int
) -> pd.DataFrame:
    """Return what a model says of test pictures under all corruptions.

    With the same seed every model sees the same pictures. A few hundred are changed and judged at
    once, however many there are.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        dataset: where the pictures are.
        indices: which test pictures, (N,).
        truth: their classes, (N,).
        seed: of the noise.

    Returns:
        A row a corruption, step (0..5, 0 is no change) and picture, in the order of `indices`:
        `corruption`, `step`, `right` (bool), `confidence` (of the answer given, 0..1).
    """
    from convnetlab.streams import pictures_at_once

    tables, batch = [], pictures_at_once(dataset.image_shape)
    for name, step, start in product(CORRUPTIONS, STEPS, range(0, len(indices), batch)):
        chosen = slice(start, start + batch)
        images = corrupt(name, dataset.test_batch(indices[chosen]), step, seed, start)
        said = np.asarray(model.predict_on_batch(images))
        columns = {"corruption": name, "step": step, "right": said.argmax(axis=1) == truth[chosen]}
        tables.append(pd.DataFrame({**columns, "confidence": said.max(axis=1)}))
    return pd.concat(tables, ignore_index=True)


def accuracies(said: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of `answers`, a row a corruption and step, in their order.

    Columns: `corruption`, `step`, `strength` in its `unit`, `accuracy`, 0..1, and its 95 % interval
    `low` to `high` (Wilson).
    """
    groups = said.groupby(["corruption", "step"], sort=False)["right"]
    table = groups.agg(accuracy="mean", right="sum", pictures="size").reset_index()
    kinds = [CORRUPTIONS[name] for name in table["corruption"]]
    strengths = [kind.strengths[step] for kind, step in zip(kinds, table["step"], strict=True)]
    counts = zip(table.pop("right"), table.pop("pictures"), strict=True)
    limits = [accuracy_interval(int(right), int(pictures)) for right, pictures in counts]
    low, high = zip(*limits, strict=True)
    return table.assign(strength=strengths, unit=[kind.unit for kind in kinds], low=low, high=high)


def at_step(said: pd.DataFrame, step: int) -> dict[str, pd.DataFrame]:
    """Return rows of `answers`: to the unchanged pictures (`clean`), and to each corruption's."""
    groups = said.groupby(["corruption", "step"])
    cases = {"clean": ("shift", 0)} | {name: (name, step) for name in CORRUPTIONS}
    return {case: groups.get_group(key) for case, key in cases.items()}


def refusals(said: pd.DataFrame, threshold: float, step: int) -> pd.DataFrame:
    """Return what a threshold on the confidence does to changed pictures.

    Args:
        said: `answers` of a model.
        threshold: answers less sure are refused, as in `calibration.refuse`.
        step: the strength, 1 to 5.

    Returns:
        A row for the unchanged pictures (`clean`) and for each corruption, shares 0..1: `right`,
        mean `confidence`, `answered`, and `right if answered` (missing where nothing is).
    """
    rows = {}
    for case, answered in at_step(said, step).items():
        confidence, right = answered["confidence"].to_numpy(), answered["right"].to_numpy()
        kept = refuse(confidence, right, threshold)
        rows[case] = (right.mean(), confidence.mean(), kept["coverage"], kept["accuracy"])
    columns = ["right", "confidence", "answered", "right if answered"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def compare(first: pd.DataFrame, second: pd.DataFrame, step: int = MIDDLE) -> pd.DataFrame:
    """Return whether the second of two models is better, by McNemar's exact test.

    Seven questions are asked at once. So that luck alone finds a difference in one of twenty such
    tables at most, p must be below 0.05 / 7 for a verdict (Bonferroni's correction). It is about
    these two networks: another training may turn it round.

    Args:
        first: `answers` of the first model.
        second: `answers` of the second one to the same pictures, changed with the same seed.
        step: the strength, 1 to 5, at which they are compared.

    Returns:
        A row for the unchanged pictures (`clean`) and for each corruption: the accuracies `first`
        and `second`, on how many pictures `only first` and `only second` is right, `p`, and
        `verdict`: the second is `better`, `worse`, or the question is `open`.
    """
    before, after = at_step(first, step), at_step(second, step)
    rows = {}
    for case in before:
        one, two = (said[case]["right"].to_numpy() for said in (before, after))
        rows[case] = (one.mean(), two.mean(), *mcnemar(np.ones_like(one), one, two))
    columns = ["first", "second", "only first", "only second", "p"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    direction = np.where(table["only second"] > table["only first"], "better", "worse")
    return table.assign(verdict=np.where(table["p"] < 0.05 / len(table), direction, "open"))


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
    """Return pictures without a digit, each uint8 (H, W, C), by what they are; strokes are white.

    Args:
        image_shape: (H, W, C).
        seed: of the noise.
    """
    height, width, channels = image_shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius, inside = np.hypot(x, y), np.maximum(abs(x), abs(y)) < 0.75
    rows, columns = np.indices((height, width)) // max(1, min(height, width) // 7)
    eyes = np.hypot(abs(x) - 0.3, y + 0.25) < 0.15
    mouth = (abs(radius - 0.45) < 0.12) & (y > 0.15)
    drawn = {
        "blank": np.zeros((height, width)),
        "all white": np.ones((height, width)),
        "noise": np.random.default_rng(seed).random((height, width)),
        "checkerboard": (rows + columns) % 2 == 0,
        "a face": (abs(radius - 0.8) < 0.12) | eyes | mouth,
        "the letter X": (abs(abs(x) - abs(y)) < 0.2) & inside,
        "the letter E": inside & ((x < -0.45) | (abs(y) < 0.15) | (abs(y) > 0.5)),
        "a frame": inside & (np.maximum(abs(x), abs(y)) > 0.5),
    }
    return {
        name: np.repeat(to_pixels(255.0 * values)[..., None], channels, axis=2)
        for name, values in drawn.items()
    }


def said_of(model: Any, pictures: dict[str, Pixels], classes: Sequence[str]) -> pd.DataFrame:
    """Return what a model says of pictures (H, W, C), a row each: `says`, and `confidence`, 0..1.

    Args:
        model: takes raw pixels 0..255, gives probabilities.
        pictures: by name, all of the model's size.
        classes: the classes' names.
    """
    said = np.asarray(model.predict_on_batch(np.stack(list(pictures.values()))))
    names = [classes[place] for place in said.argmax(axis=1)]
    return pd.DataFrame({"says": names, "confidence": said.max(axis=1)}, index=list(pictures))
