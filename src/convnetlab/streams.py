"""Batches of pictures, fetched as they are needed."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from convnetlab.backend import tf

Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]

BATCHES_A_FETCH = 16  # Python is slow: it fetches many batches' pictures at once,
FETCHED_BYTES = 32 * 2**20  # as long as they are small
AT_ONCE = 1_000  # pictures that go through a network together where nothing is learnt,
AT_ONCE_BYTES = 5 * 2**19  # and fewer of large ones: a processor's caches are small, too


def batches(
    fetch: Callable[[Integers], Pixels],
    indices: Integers,
    labels: Integers,
    batch_size: int = 0,
    order: Callable[[], Integers] | None = None,
    augment: Callable[[Pixels, int], Pixels] | None = None,
) -> tf.data.Dataset:
    """Return batches of uint8 pictures (N, H, W, C) and labels (N,), fetched as they are needed.

    Args:
        fetch: gives the pictures of some indices: `Dataset.train_batch` or `.test_batch`.
        indices: which pictures, (N,).
        labels: their classes, (N,).
        batch_size: pictures a batch; the last one may be smaller. 0: as suits their size where
            nothing is learnt (`pictures_at_once`).
        order: asked at the beginning of each pass for an order of 0..N-1; else as they stand.
        augment: changes the pictures fetched at once, of which the first has a place 0..N-1.
    """
    shape = fetch(indices[:1]).shape[1:]
    batch_size = batch_size or pictures_at_once(shape)
    fetched = max(1, min(BATCHES_A_FETCH, FETCHED_BYTES // (batch_size * math.prod(shape))))

    def generate() -> Iterator[tuple[Pixels, Integers]]:
        places = order() if order else np.arange(len(indices))
        chunk = fetched * batch_size
        for start in range(0, len(places), chunk):
            chosen = places[start : start + chunk]
            images = fetch(indices[chosen])
            yield augment(images, start) if augment else images, labels[chosen]

    stream = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, *shape), tf.uint8),
            tf.TensorSpec((None,), tf.int64),
        ),
    )
    count = steps_per_epoch(len(indices), batch_size)
    stream = stream.rebatch(batch_size)
    stream = stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(4)
    # There is nothing to tune here, and when a fit ends TensorFlow would wait for its tuning
    # thread's current sleep, which doubles each time: up to as long as the whole fit took.
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return how many batches an epoch has; the last one may be smaller.

    >>> steps_per_epoch(54_000, 128)
    422
    """
    return math.ceil(images / batch_size)


def pictures_at_once(shape: tuple[int, ...]) -> int:
    """Return how many pictures (H, W, C) to put through a network where nothing is learnt.

    A network's maps take a hundred times the memory of the pictures.

    >>> pictures_at_once((28, 28, 1)), pictures_at_once((224, 224, 3))
    (1000, 17)
    """
    return max(1, min(AT_ONCE, AT_ONCE_BYTES // math.prod(shape)))
