"""The networks of `keras.applications`, by name, with what they do to pixels built in."""

import difflib
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.backend import ReverseChannels, keras
from convnetlab.errors import LabError
from convnetlab.recipes import KERAS, LITE0

Tensor = Any  # Keras's symbolic tensors
Floats = NDArray[np.float32]

# Keras builds these with one layer more for its weights from ImageNet than without any.
NOT_THE_SAME = tuple(f"EfficientNetB{number}" for number in range(8))


def titles() -> list[str]:
    """Return the names of the networks."""
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    return [name for name in names if name not in NOT_THE_SAME]


def maker(title: str) -> Callable[..., keras.Model]:
    """Return Keras's function that builds a network.

    Raises:
        LabError: there is none of that name, or not one for here.
    """
    known = titles()
    if title in known:
        made: Callable[..., keras.Model] = getattr(keras.applications, title)
        return made
    if title in NOT_THE_SAME:
        raise LabError(
            f"architecture is '{KERAS}{title}', which Keras builds in another way for its own "
            f"weights; take '{KERAS}EfficientNetV2B0' or {LITE0!r}."
        )
    near = difflib.get_close_matches(title, known, n=1)
    hint = f" Did you mean '{KERAS}{near[0]}'?" if near else ""
    raise LabError(
        f"architecture is '{KERAS}{title}'; after {KERAS!r} must stand a network of "
        f"keras.applications, such as MobileNetV2 or ResNet50V2.{hint}"
    )


def preprocessing(title: str) -> tuple[bool, Floats, Floats]:
    """Return what Keras's `preprocess_input` for a network does, found by asking it.

    Returns:
        Whether the channels are reversed (RGB to BGR), and then, channel by channel, the factor and
        the summand that pixels 0..255 get, float32 (3,) each.
    """
    prepare = sys.modules[maker(title).__module__].preprocess_input

    def of(*pixel: float) -> Floats:
        changed = prepare(np.array([[[pixel]]], np.float32))
        return np.asarray(changed, np.float32).reshape(3)

    black = of(0, 0, 0)
    factor = (of(255, 255, 255) - black) / np.float32(255)
    red = np.abs(of(255, 0, 0) - black)
    return bool(red.argmax() == 2), factor, black


def prepared(title: str, x: Tensor) -> Tensor:
    """Return pixels 0..1, (N, H, W, 3), as a network wants them: `preprocess_input` as layers."""
    reverse, factor, summand = preprocessing(title)
    if reverse:
        x = ReverseChannels(name="reverse")(x)
    factors, summands = (factor * 255).tolist(), summand.tolist()
    return keras.layers.Rescaling(factors, summands, name="prepare")(x)


def features(title: str, x: Tensor) -> Tensor:
    """Return what reaches a network's last layer, (N, F), from prepared pictures; no weights.

    Raises:
        LabError: the pictures are too small.
    """
    try:
        return maker(title)(
            include_top=False,
            weights=None,
            input_tensor=x,
            input_shape=tuple(x.shape[1:]),
            pooling="avg",
        ).output
    except ValueError as error:
        least = re.search(r"at least (\d+)", str(error))
        if not least:
            raise
        raise LabError(
            f"architecture '{KERAS}{title}': the pictures are {x.shape[1]} × {x.shape[2]}, and "
            f"both sides must be at least {least[1]}."
        ) from None


def with_imagenet(title: str, shape: tuple[int, int, int]) -> keras.Model:
    """Return Keras's own network, without its last layer, with weights from ImageNet.

    Raises:
        Exception: they could not be downloaded; Keras raises no narrower one.
    """
    return maker(title)(include_top=False, weights="imagenet", input_shape=shape, pooling="avg")
