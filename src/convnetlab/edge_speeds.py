"""How fast a network answers: Keras in its three ways, and LiteRT.

All take turns in one process, so that a machine that slows down slows them all. Each takes pixels,
uint8, and gives probabilities, both as NumPy arrays. Keras is as it comes, and uses every core;
LiteRT has one thread.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab import edge

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

BATCHES = (32, 128, 1_000)  # of which Keras may choose; fewer of large pictures
FEWEST = 3  # calls in a turn
WARM_UP = 1  # turns that do not count


@dataclass(frozen=True)
class Way:
    """A way to ask a network.

    Attributes:
        one: answers one picture (H, W, C): float32 (classes,).
        many: answers pictures (N, H, W, C), so many at a time: float32 (N, classes).
        batches: how many at a time `many` is good for.
    """

    one: Callable[[Pixels], Floats]
    many: Callable[[Pixels, int], Floats]
    batches: tuple[int, ...]


def keras_ways(model: Any, batches: Sequence[int] = BATCHES) -> dict[str, Way]:
    """Return `predict`, a call, and a call that `tf.function` has compiled.

    Args:
        model: takes raw pixels, (N, H, W, C), gives probabilities.
        batches: how many pictures at a time it may choose from; each is traced for every way.
    """
    from convnetlab.backend import tf
    from convnetlab.streams import pictures_at_once

    most = pictures_at_once(model.inputs[0].shape[1:])
    sizes = tuple(sorted({min(size, most) for size in batches}))
    compiled = tf.function(lambda images: model(images, training=False))

    def predict(images: Pixels, size: int) -> Floats:
        return np.asarray(model.predict(images, batch_size=size, verbose=0))

    calls = {
        "call": lambda images: np.asarray(model(images, training=False)),
        "tf.function": lambda images: np.asarray(compiled(tf.constant(images))),
    }
    found = {"predict": Way(lambda image: predict(image[None], 1)[0], predict, sizes)}
    for name, call in calls.items():
        found[name] = Way(one_of(call), in_batches(call), sizes)
    return found


def one_of(call: Callable[[Pixels], Floats]) -> Callable[[Pixels], Floats]:
    """Return what asks a network that takes (N, H, W, C) about one picture (H, W, C)."""
    return lambda image: call(image[None])[0]


def in_batches(call: Callable[[Pixels], Floats]) -> Callable[[Pixels, int], Floats]:
    """Return what asks a network that takes (N, H, W, C) about many pictures, so many at a time."""

    def many(images: Pixels, size: int) -> Floats:
        starts = range(0, len(images), size)
        return np.concatenate([call(images[start : start + size]) for start in starts])

    return many


def litert_way(file: bytes) -> Way:
    """Return how LiteRT answers on one thread: one picture after the other."""
    ask = edge.asker(file)
    return Way(ask, lambda images, size: np.stack([*map(ask, images)]), (1,))


def one_image(
    ways: Mapping[str, Way], images: Pixels, turns: int, seconds: float
) -> dict[str, list[float]]:
    """Return how long single pictures took, in seconds, by way; each had so many turns.

    Args:
        ways: by name.
        images: pictures to ask about, in turn, (N, H, W, C).
        turns: how many count; one more comes before them.
        seconds: how long a turn takes, or a little longer.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP + turns):
        for name, way in ways.items():
            times = timed(way.one, images, seconds)
            taken[name] += times if turn >= WARM_UP else []
    return taken


def timed(ask: Callable[[Pixels], Floats], images: Pixels, seconds: float) -> list[float]:
    """Ask about one picture after the other for some seconds; return how long each took, in s."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    for image in itertools.cycle(images):
        start = time.perf_counter()
        ask(image)
        times.append(time.perf_counter() - start)
        if start > end and len(times) >= FEWEST:
            return times
    raise ValueError("there are no pictures to ask about")


def throughput(ways: Mapping[str, Way], images: Pixels, turns: int) -> dict[str, tuple[float, int]]:
    """Return pictures a second, the median of so many turns, and the best batch, by way.

    Args:
        ways: by name.
        images: (N, H, W, C), as many as the largest batch or more.
        turns: how many count; one more comes before them.
    """
    taken: dict[tuple[str, int], list[float]] = {}
    for turn in range(WARM_UP + turns):
        for name, way in ways.items():
            for size in way.batches:
                whole = images[: len(images) // size * size]  # a smaller batch is traced anew
                start = time.perf_counter()
                way.many(whole, size)
                rate = len(whole) / (time.perf_counter() - start)
                if turn >= WARM_UP:
                    taken.setdefault((name, size), []).append(rate)
    rates = {key: statistics.median(found) for key, found in taken.items()}
    return {
        name: max((rates[name, size], size) for size in way.batches) for name, way in ways.items()
    }
