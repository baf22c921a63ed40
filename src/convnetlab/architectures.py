"""Stage 2: the networks, from LeNet-5 to EfficientNet, each at two scales.

Every network takes raw pixels, 0..255, and begins with a `Rescaling` layer, so that whoever loads
a saved model need not know how its pictures were normalised. Adding a network is one function
and one entry in `ARCHITECTURES`.

At the scale "paper" a network has the layers, filters and parameters that were published; it is
there to be read and counted (`outline` does so without making its weights). At the scale "lab" it
is made smaller, so that a processor trains it on small pictures in minutes. All lab versions
deviate from their papers in these points; each builder's docstring lists what it does besides:

- every layer's filters are the paper's times the entry's `lab_share`;
- pictures smaller than 32 × 32 are padded with zeros to 32 × 32, as LeNet-5's were;
- the first convolution is 3 × 3 with stride 1, so that little of a small picture is lost;
- initial weights are He's (2015) normal ones, which suit ReLU; the papers before have their own;
- batch normalisation, where a paper has none, stands between a convolution and its ReLU and takes
  the place of the biases: without it AlexNet, ZFNet, VGG and GoogLeNet learn nothing with the
  recipe `one-cycle`, nor does LeNet-5 on 8 × 8 digits;
- its running figures have momentum 0.9 instead of Keras's 0.99: a lab training has hundreds of
  steps, not hundreds of thousands.

EfficientNet-Lite0 is the exception: it is there for the weights that it learnt from ImageNet
(`pretrained`), so its lab version is the published one, and wants photographs.
"""

import bisect
import contextlib
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from convnetlab import applications
from convnetlab.backend import keras, tf
from convnetlab.convolution import dense_parameters, parameters
from convnetlab.errors import LabError
from convnetlab.recipes import KERAS

layers = keras.layers
Shape = tuple[int, int, int]
Tensor = Any  # Keras's symbolic tensors

SCALES = ("lab", "paper")
LAB_SIDE = 32  # smaller pictures are padded to this
WIDEST = 16  # times the filters of a scale; a wider network would fill the memory


def build(
    name: str,
    input_shape: Shape,
    classes: int,
    width: float = 1.0,
    scale: str = "lab",
    **options: Any,
) -> keras.Model:
    """Build an untrained network.

    Args:
        name: one of `ARCHITECTURES`, or `keras:` and a network of `keras.applications`.
        input_shape: (H, W, C) of the pictures.
        classes: how many classes there are.
        width: multiplies the filters of every layer; 1 means those of the scale.
        scale: "lab", small enough to train here, or "paper", as published.
        options: what the network's builder takes besides, such as `batch_normalisation`.

    Raises:
        LabError: an argument is unknown or out of range, or the pictures are too small.
    """
    check(name, input_shape, classes, width, scale, options)
    try:
        return assemble(name, input_shape, classes, width, scale, options)
    except ValueError:
        smallest = smallest_side(name, input_shape[2], scale, **options)
        if min(input_shape[:2]) >= smallest:
            raise
    raise LabError(
        f"architecture {name!r}: the pictures are {input_shape[0]} × {input_shape[1]}, and "
        f"both sides must be at least {smallest}"
        + (' at scale "paper"; take larger pictures or scale "lab".' if scale == "paper" else ".")
    )


def outline(
    name: str,
    input_shape: Shape,
    classes: int,
    width: float = 1.0,
    scale: str = "lab",
    **options: Any,
) -> keras.Model:
    """Build a network without its weights, for counting and drawing; arguments as for `build`.

    VGG-16 as published takes a moment and next to no memory. The model can be described
    (`to_json`) but neither run nor saved.
    """
    with without_weights():
        return build(name, input_shape, classes, width, scale, **options)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Build networks that take next to no memory, for their weights never get values.

    Keras keeps a list of such weights, and gives all of them values when it next traces a layer,
    of whatever network: gigabytes for VGG-16. So they are taken off that list, which is not public.
    """
    from keras.src.backend.common import global_state

    waiting = "uninitialized_variables"
    before = list(global_state.get_global_attribute(waiting) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(waiting, before)


def published(name: str, **options: Any) -> keras.Model:
    """Return the outline of a network as its paper has it: its input, its classes, its size.

    Raises:
        LabError: the name or an option is unknown, or the network has no paper.
    """
    network = ARCHITECTURES.get(name)
    shape, classes = (network.paper_input, network.paper_classes) if network else (None, None)
    return outline(name, shape or (224, 224, 3), classes or 1_000, scale="paper", **options)


def smallest_side(name: str, channels: int, scale: str = "lab", **options: Any) -> int:
    """Return the side of the smallest square picture that a network can take, found by trying.

    What a window leaves of a larger picture is never smaller; so it is enough to halve the range.

    Raises:
        ValueError: no picture below 1,000 × 1,000 will do: the fault is the builder's.
    """
    sides = range(1, 1_000)
    found = bisect.bisect_left(
        sides, True, key=lambda side: fits(name, (side, side, channels), scale, options)
    )
    if found == len(sides):
        raise ValueError(f"architecture {name!r} takes no picture smaller than 1000 × 1000")
    return sides[found]


def fits(name: str, input_shape: Shape, scale: str, options: dict[str, Any]) -> bool:
    """Return whether every window of a network finds room in pictures (H, W, C)."""
    try:
        with without_weights():
            assemble(name, input_shape, 2, 1.0, scale, options)
    except ValueError:
        return False
    return True


def assemble(
    name: str,
    input_shape: Shape,
    classes: int,
    width: float,
    scale: str,
    options: dict[str, Any],
) -> keras.Model:
    """Call the builder with a plan; arguments as for `build`, already checked."""
    network = find(name)
    share = width * (network.lab_share if scale == "lab" else 1)
    plan = Plan(name, input_shape, classes, share, scale == "lab")
    return network.builder(plan, **options)


def check(
    name: str,
    input_shape: Shape,
    classes: int,
    width: float,
    scale: str,
    options: dict[str, Any],
) -> None:
    """Refuse what no network can be built from; arguments as for `build`.

    Raises:
        LabError: always with the argument's name, what it is, and what it must be.
    """
    network = find(name)
    if scale not in SCALES:
        raise LabError(f"scale is {scale!r}; it must be one of: {', '.join(SCALES)}.")
    if scale == "paper" and network.paper_input is None:
        raise LabError(f"architecture {name!r} has no paper; it is built at scale 'lab' only.")
    if np.shape(input_shape) != (3,) or not all(is_whole(side, 1) for side in input_shape):
        raise LabError(
            f"input_shape is {input_shape}; it must be (height, width, channels), such as "
            "(28, 28, 1)."
        )
    if not is_whole(classes, 2):
        raise LabError(f"classes is {classes!r}; it must be a whole number, 2 or more.")
    if not (isinstance(width, int | float | np.number) and 0 < width <= WIDEST):
        raise LabError(f"width is {width!r}; it must be more than 0 and at most {WIDEST}.")
    check_options(name, scale, options)


def find(name: str) -> "Network":
    """Return the entry of a network.

    Raises:
        LabError: there is none of that name.
    """
    if name.startswith(KERAS):
        applications.maker(name.removeprefix(KERAS))
        return APPLICATION
    if name not in ARCHITECTURES:
        raise LabError(
            f"architecture is {name!r}; it must be one of: {', '.join(ARCHITECTURES)}; or "
            f"{KERAS}NAME, a network of keras.applications." + suggestion(name, ARCHITECTURES)
        )
    return ARCHITECTURES[name]


def is_whole(value: Any, least: int) -> bool:
    """Tell whether a value is a whole number, `least` or more."""
    return isinstance(value, int | np.integer) and int(value) >= least


def check_options(name: str, scale: str, options: dict[str, Any]) -> None:
    """Refuse options that the network does not have, or not with this value or scale."""
    known = options_of(name)
    for option, value in options.items():
        if option not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise LabError(
                f"architecture {name!r} has no option {option!r}; {has}."
                + suggestion(option, known)
            )
        if type(value) is not type(known[option]):
            expected = "True or False" if isinstance(known[option], bool) else "a whole number"
            raise LabError(f"{option} is {value!r}; it must be {expected}.")
    if scale == "paper" and "batch_normalisation" in options:
        raise LabError(
            "batch_normalisation is an option of scale 'lab'; at scale 'paper' a network is as "
            "published. Leave it out."
        )


def options_of(name: str) -> dict[str, Any]:
    """Return a network's options and their defaults."""
    parameters = inspect.signature(find(name).builder).parameters
    return {option: parameters[option].default for option in list(parameters)[1:]}


def suggestion(wrong: str, names: Iterable[str]) -> str:
    """Return ` Did you mean '…'?` with the nearest name, or nothing where none is near."""
    near = difflib.get_close_matches(str(wrong).lower(), names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True)
class Plan:
    """What a builder is asked for.

    Attributes:
        name: of the network.
        input_shape: (H, W, C) of the pictures.
        classes: how many classes there are.
        share: what the paper's filters are multiplied by.
        lab: whether it is the lab's version, not the paper's.
    """

    name: str
    input_shape: Shape
    classes: int
    share: float
    lab: bool

    def filters(self, published: int, multiple_of: int = 1) -> int:
        """Return the number of filters or units that stands for the paper's `published`.

        >>> Plan("lenet5", (28, 28, 1), 10, 0.125, True).filters(64)
        8
        """
        return max(1, round(published * self.share / multiple_of)) * multiple_of

    @property
    def padding(self) -> str:
        """How poolings treat the border in the networks whose papers leave it off."""
        return "same" if self.lab else "valid"

    def begin(self) -> tuple[Tensor, Tensor]:
        """Return the input, and the rescaled (and at lab scale padded) pictures."""
        image = keras.Input(self.input_shape, name="image")
        x = layers.Rescaling(1 / 255, name="rescale")(image)
        missing = [max(0, LAB_SIDE - side) for side in self.input_shape[:2]]
        if self.lab and any(missing):
            margins = tuple((pixels // 2, pixels - pixels // 2) for pixels in missing)
            x = layers.ZeroPadding2D(margins, name="pad")(x)
        return image, x

    def three_channels(self, x: Tensor) -> Tensor:
        """Return pictures (N, H, W, 3), grey ones repeated.

        Raises:
            LabError: they are neither grey nor RGB.
        """
        channels = self.input_shape[2]
        if channels not in (1, 3):
            raise LabError(
                f"architecture {self.name!r}: the pictures have {channels} channels; it takes "
                "grey ones (1) and RGB (3)."
            )
        return x if channels == 3 else layers.Concatenate(name="repeat")([x, x, x])

    def begin_small(self) -> tuple[Tensor, Tensor, str]:
        """Return the input, the rescaled pictures, and the padding that their size allows."""
        image = keras.Input(self.input_shape, name="image")
        x = layers.Rescaling(1 / 255, name="rescale")(image)
        return image, x, "valid" if min(self.input_shape[:2]) >= 20 else "same"

    def end(self, image: Tensor, x: Tensor, *others: Tensor) -> keras.Model:
        """Return the model, with `probabilities` computed from features (N, F)."""
        x = layers.Dense(self.classes, activation="softmax", name="probabilities")(x)
        # TensorFlow allows no colon in the name of a scope.
        name = self.name.replace(":", "-")
        return keras.Model(image, [x, *others] if others else x, name=name)


def convolution(
    x: Tensor,
    filters: int,
    size: int,
    name: str,
    stride: int = 1,
    padding: str = "same",
    groups: int = 1,
    normalise: bool = False,
    activation: str | None = "relu",
) -> Tensor:
    """Convolve; with `normalise`, without biases, then batch normalisation, then activation."""
    x = layers.Conv2D(
        filters,
        size,
        stride,
        padding,
        groups=groups,
        use_bias=not normalise,
        activation=None if normalise else activation,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return normalised(x, name, activation) if normalise else x


def normalised(x: Tensor, name: str, activation: str | None = "relu") -> Tensor:
    """Normalise by batches, then activate."""
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalise")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def hidden(x: Tensor, units: int, dropout: float, name: str) -> Tensor:
    """Apply a dense layer of ReLU units, then dropout, if there is any."""
    x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def max_pool(x: Tensor, size: int, stride: int, padding: str, name: str) -> Tensor:
    """Keep the largest of each window."""
    return layers.MaxPooling2D(size, stride, padding, name=name)(x)


@keras.saving.register_keras_serializable("convnetlab")
class LocalResponseNormalization(keras.Layer):  # type: ignore[misc]
    """Divide each number by (2 + 1e-4 · sum of squares in 5 neighbouring channels) ** 0.75.

    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3. Only at scale "paper".
    """

    pointwise = True  # one place at a time: `inspection.receptive_fields` asks

    def call(self, inputs: Any) -> Any:
        """Normalise (N, H, W, C)."""
        return tf.nn.local_response_normalization(inputs, 2, bias=2.0, alpha=1e-4, beta=0.75)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        return input_shape


def reference(plan: Plan) -> keras.Model:
    """The network of the lab sheet: one convolution, one pooling, two dense layers.

    For 28×28 grey pictures of ten classes it has 320 + 540,900 + 1,010 = 542,230 parameters.
    """
    return keras.Sequential(
        [
            keras.Input(plan.input_shape, name="image"),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(plan.filters(32), 3, activation="relu", name="convolution"),
            layers.MaxPooling2D(2, name="pooling"),
            layers.Flatten(name="flatten"),
            layers.Dense(plan.filters(100), activation="relu", name="hidden"),
            layers.Dense(plan.classes, activation="softmax", name="probabilities"),
        ],
        name="reference",
    )


def compact(plan: Plan) -> keras.Model:
    """A small, fast network: two convolutions, one pooling, two dense layers.

    The first convolution's stride 2 quarters the places that the second one has to visit. For
    28×28 grey pictures of ten classes it has 79,498 parameters, a seventh of `reference`'s.
    """
    return keras.Sequential(
        [
            keras.Input(plan.input_shape, name="image"),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(plan.filters(16), 5, 2, "same", activation="relu", name="convolution1"),
            layers.Conv2D(plan.filters(32), 3, activation="relu", name="convolution2"),
            layers.MaxPooling2D(2, name="pooling"),
            layers.Flatten(name="flatten"),
            layers.Dense(plan.filters(64), activation="relu", name="hidden"),
            layers.Dense(plan.classes, activation="softmax", name="probabilities"),
        ],
        name="compact",
    )


def strided(plan: Plan) -> keras.Model:
    """The fastest network here that is as good as `reference`: two convolutions with stride 2.

    No pooling, and windows that stay within the picture where it is large enough: MNIST's digits
    have four empty pixels around them, so nothing is lost.
    """
    image, x, padding = plan.begin_small()
    x = convolution(x, plan.filters(12), 5, "convolution1", 2, padding)
    x = convolution(x, plan.filters(32), 3, "convolution2", 2, padding)
    x = layers.Flatten(name="flatten")(x)
    x = hidden(x, plan.filters(100), 0.0, "hidden")
    return plan.end(image, x)


def minivgg(plan: Plan) -> keras.Model:
    """VGG's plan in small: 3 × 3 convolutions in pairs, twice the filters after the pooling.

    Each is batch normalised. The first one is 5 × 5 with stride 2: three quarters of the places
    that the others must visit are gone at once.
    """
    image, x, padding = plan.begin_small()
    x = convolution(x, plan.filters(32), 5, "convolution1", 2, padding, normalise=True)
    x = convolution(x, plan.filters(48), 3, "convolution2", 1, padding, normalise=True)
    x = max_pool(x, 2, 2, "valid", "pooling")
    x = convolution(x, plan.filters(96), 3, "convolution3", normalise=True)
    x = convolution(x, plan.filters(96), 3, "convolution4", normalise=True)
    x = layers.Flatten(name="flatten")(x)
    return plan.end(image, x)


def lenet5(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """LeNet-5: the plan that all later networks vary.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition" (1998), section II.B. With 32×32×1 pictures and 10 classes: 61,706 parameters;
    `lenet5_reconciliation` says why the paper has 60,000.

    Deviations at both scales: C3 sees all maps of S2; S2 and S4 have nothing to train; tanh is not
    stretched; the output is a dense softmax layer instead of distances to drawn digits.
    Deviations at lab scale: ReLU for tanh, the largest of a window for the mean, and batch
    normalisation after each convolution (without it the parameters stay 61,706, and trainings on
    MNIST vary more with the seed). All filters are there, and the first convolution stays 5×5.
    """
    image, x = plan.begin()
    pool = layers.MaxPooling2D if plan.lab else layers.AveragePooling2D
    style: dict[str, Any] = {
        "padding": "valid",
        "normalise": plan.lab and batch_normalisation,
        "activation": "relu" if plan.lab else "tanh",
    }
    x = convolution(x, plan.filters(6), 5, "C1", **style)
    x = pool(2, name="S2")(x)
    x = convolution(x, plan.filters(16), 5, "C3", **style)
    x = pool(2, name="S4")(x)
    x = convolution(x, plan.filters(120), 5, "C5", **style)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(plan.filters(84), activation=style["activation"], name="F6")(x)
    return plan.end(image, x)


def alexnet(plan: Plan, batch_normalisation: bool = True, groups: int = 0) -> keras.Model:
    """AlexNet: ReLU, dropout and two graphics cards.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional
    neural networks" (2012), section 3.5. With 227×227×3 pictures (the paper's 224 does not give
    its 55×55) and 1,000 classes: 60,965,224 parameters in two groups, 62,378,344 in one.

    Args:
        plan: what to build.
        batch_normalisation: at lab scale, in place of local response normalisation.
        groups: of convolutions 2, 4 and 5, each of which sees one half of the channels as each of
            the paper's cards did: 2, or 1, or 0 for 2 at scale "paper" and 1 at scale "lab".

    Deviations at lab scale: 1/8 of the filters and units; one group, because TensorFlow trains
    grouped convolutions very slowly on a processor; conv1 3×3 with stride 1 for 11×11
    with stride 4; poolings padded; batch normalisation after each convolution for local response
    normalisation after two.
    """
    if groups not in (0, 1, 2):
        raise LabError(f"groups is {groups}; it must be 1 or 2, or 0 for the scale's own.")
    groups = groups or (1 if plan.lab else 2)
    normalise = plan.lab and batch_normalisation
    image, x = plan.begin()
    if plan.lab:
        x = convolution(x, plan.filters(96, groups), 3, "conv1", normalise=normalise)
    else:
        x = convolution(x, plan.filters(96, groups), 11, "conv1", 4, "valid")
        x = LocalResponseNormalization(name="norm1")(x)
    x = max_pool(x, 3, 2, plan.padding, "pool1")
    x = convolution(x, plan.filters(256, groups), 5, "conv2", groups=groups, normalise=normalise)
    if not plan.lab:
        x = LocalResponseNormalization(name="norm2")(x)
    x = max_pool(x, 3, 2, plan.padding, "pool2")
    return five_and_three(plan, image, x, groups, normalise)


def five_and_three(
    plan: Plan, image: Tensor, x: Tensor, groups: int, normalise: bool
) -> keras.Model:
    """Complete AlexNet or ZFNet: convolutions 3 to 5, a pooling, and three dense layers."""
    for number, filters, parts in ((3, 384, 1), (4, 384, groups), (5, 256, groups)):
        name = f"conv{number}"
        x = convolution(
            x, plan.filters(filters, groups), 3, name, groups=parts, normalise=normalise
        )
    x = max_pool(x, 3, 2, plan.padding, "pool5")
    return dense_head(plan, image, x)


def dense_head(plan: Plan, image: Tensor, x: Tensor) -> keras.Model:
    """Complete AlexNet, ZFNet or VGG: 4096, 4096 (dropout 0.5 after each) and the classes."""
    x = layers.Flatten(name="flatten")(x)
    x = hidden(x, plan.filters(4096), 0.5, "fc6")
    x = hidden(x, plan.filters(4096), 0.5, "fc7")
    return plan.end(image, x)


def zfnet(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """ZFNet: AlexNet with smaller windows and strides, found by looking inside it.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014),
    section 3 and figure 3. With 224×224×3 pictures and 1,000 classes: 62,357,608 parameters.

    The figure's sizes 110, 55, 26, 13, 6 come out with this padding, which it does not print:
    conv1 (7×7, stride 2) 1 pixel on each side; pool1 1 pixel at the end; conv2 (5×5, stride 2)
    none; pool2 1 pixel at the end; conv3 to conv5 1 pixel on each side; pool5 none.
    The constants of its contrast normalisation are not printed either; they are AlexNet's.

    Deviations at lab scale: 1/4 of the filters and 1/4 of the units; conv1 3×3 with stride 1; conv2
    and poolings padded; batch normalisation after each convolution for contrast normalisation
    after two poolings.
    """
    normalise = plan.lab and batch_normalisation
    image, x = plan.begin()
    if plan.lab:
        x = convolution(x, plan.filters(96), 3, "conv1", normalise=normalise)
    else:
        x = layers.ZeroPadding2D(1, name="conv1_pad")(x)
        x = convolution(x, plan.filters(96), 7, "conv1", 2, "valid")
    x = max_pool(x, 3, 2, "same", "pool1")
    x = x if plan.lab else LocalResponseNormalization(name="norm1")(x)
    x = convolution(x, plan.filters(256), 5, "conv2", 2, plan.padding, normalise=normalise)
    x = max_pool(x, 3, 2, "same", "pool2")
    x = x if plan.lab else LocalResponseNormalization(name="norm2")(x)
    return five_and_three(plan, image, x, 1, normalise)


def vgg16(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """VGG-16: nothing but 3×3 convolutions, thirteen of them.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
    recognition" (2015), table 1, column D. With 224×224×3 pictures and 1,000 classes:
    138,357,544 parameters (table 2: 138 million).

    Deviations at lab scale: 1/8 of the filters and units; poolings padded; batch normalisation
    after each convolution, without which so deep a stack hardly learns.
    """
    return vgg(plan, (2, 2, 3, 3, 3), batch_normalisation)


def vgg19(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """VGG-19: VGG-16 with three more convolutions.

    Source: as `vgg16`, table 1, column E. With 224×224×3 pictures and 1,000 classes: 143,667,240
    parameters (table 2: 144 million).

    Deviations at lab scale: as `vgg16`.
    """
    return vgg(plan, (2, 2, 4, 4, 4), batch_normalisation)


def vgg(plan: Plan, counts: Sequence[int], batch_normalisation: bool) -> keras.Model:
    """Build a VGG network of five blocks with `counts` convolutions each."""
    image, x = plan.begin()
    for block, (filters, count) in enumerate(
        zip((64, 128, 256, 512, 512), counts, strict=True), start=1
    ):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            normalise = plan.lab and batch_normalisation
            x = convolution(x, plan.filters(filters), 3, name, normalise=normalise)
        x = max_pool(x, 2, 2, plan.padding, f"pool{block}")
    return dense_head(plan, image, x)


# 1×1; 1×1 before 3×3, 3×3; 1×1 before 5×5, 5×5; 1×1 after pooling (paper, table 1).
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(
    plan: Plan, batch_normalisation: bool = True, auxiliary_heads: bool = False
) -> keras.Model:
    """GoogLeNet: nine inception modules, each four windows at once.

    Source: Szegedy et al., "Going deeper with convolutions" (2015), table 1 and section 5. With
    224×224×3 pictures and 1,000 classes: 6,998,552 parameters without the auxiliary heads. The
    constants of its local response normalisation are not printed; they are AlexNet's.

    Args:
        plan: what to build.
        batch_normalisation: at lab scale, in place of local response normalisation.
        auxiliary_heads: add two outputs, `auxiliary_4a` and `auxiliary_4d`, which help to train
            (loss weights 1, 0.3, 0.3). Such a model needs the labels three times.

    Deviations at lab scale: 1/8 of the filters and units; conv1 3×3 with stride 1 for 7×7 with
    stride 2; the auxiliary heads' pooling padded; batch normalisation after each convolution for
    local response normalisation after two layers.
    """
    normalise = plan.lab and batch_normalisation
    image, x = plan.begin()
    x = googlenet_stem(plan, x, normalise)
    auxiliary = []
    for name, filters in INCEPTIONS.items():
        if name in ("4a", "5a"):
            x = max_pool(x, 3, 2, "same", f"pool{int(name[0]) - 1}")
        x = inception(x, [plan.filters(count) for count in filters], name, normalise)
        if auxiliary_heads and name in ("4a", "4d"):
            auxiliary.append(auxiliary_head(plan, x, name, normalise))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(0.4, name="dropout")(x)
    return plan.end(image, x, *auxiliary)


def googlenet_stem(plan: Plan, x: Tensor, normalise: bool) -> Tensor:
    """Apply GoogLeNet's layers before the first module."""
    size, stride = (3, 1) if plan.lab else (7, 2)
    x = convolution(x, plan.filters(64), size, "conv1", stride, normalise=normalise)
    x = max_pool(x, 3, 2, "same", "pool1")
    x = x if plan.lab else LocalResponseNormalization(name="norm1")(x)
    x = convolution(x, plan.filters(64), 1, "conv2_reduce", normalise=normalise)
    x = convolution(x, plan.filters(192), 3, "conv2", normalise=normalise)
    x = x if plan.lab else LocalResponseNormalization(name="norm2")(x)
    return max_pool(x, 3, 2, "same", "pool2")


def inception(x: Tensor, filters: Sequence[int], name: str, normalise: bool) -> Tensor:
    """Look through 1×1, 3×3 and 5×5 windows and a pooling at once; put the channels in a row."""
    one, reduce_three, three, reduce_five, five, pooled = filters
    branch1 = convolution(x, one, 1, f"{name}_1x1", normalise=normalise)
    branch2 = convolution(x, reduce_three, 1, f"{name}_3x3_reduce", normalise=normalise)
    branch2 = convolution(branch2, three, 3, f"{name}_3x3", normalise=normalise)
    branch3 = convolution(x, reduce_five, 1, f"{name}_5x5_reduce", normalise=normalise)
    branch3 = convolution(branch3, five, 5, f"{name}_5x5", normalise=normalise)
    branch4 = max_pool(x, 3, 1, "same", f"{name}_pool")
    branch4 = convolution(branch4, pooled, 1, f"{name}_pool_project", normalise=normalise)
    return layers.Concatenate(name=f"{name}_concatenate")([branch1, branch2, branch3, branch4])


def auxiliary_head(plan: Plan, x: Tensor, name: str, normalise: bool) -> Tensor:
    """Classify from half-way: GoogLeNet's help for training."""
    name = f"auxiliary_{name}"
    x = layers.AveragePooling2D(5, 3, plan.padding, name=f"{name}_pool")(x)
    x = convolution(x, plan.filters(128), 1, f"{name}_conv", normalise=normalise)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = hidden(x, plan.filters(1024), 0.7, f"{name}_fc")
    return layers.Dense(plan.classes, activation="softmax", name=name)(x)


def resnet18(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """ResNet-18: eight blocks, each of which adds a correction to its input.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2015), table 1,
    with projections where the shape changes (option B) and no biases in convolutions. With
    224×224×3 pictures and 1,000 classes: 11,689,512 trainable parameters.

    Deviation at both scales: a projection with stride 2 is made of two layers (see `project`).

    Deviations at lab scale: 1/8 of the filters; conv1 3×3 with stride 1 for 7×7 with stride 2.
    """
    return resnet(plan, (2, 2, 2, 2), batch_normalisation)


def resnet34(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """ResNet-34: `resnet18` with sixteen blocks.

    Source: as `resnet18`. With 224×224×3 pictures and 1,000 classes: 21,797,672 trainable
    parameters.

    Deviations at lab scale: as `resnet18`.
    """
    return resnet(plan, (3, 4, 6, 3), batch_normalisation)


def resnet(plan: Plan, counts: Sequence[int], normalise: bool) -> keras.Model:
    """Build a residual network of four stages with `counts` blocks each."""
    image, x = plan.begin()
    size, stride = (3, 1) if plan.lab else (7, 2)
    x = convolution(x, plan.filters(64), size, "conv1", stride, normalise=normalise)
    x = max_pool(x, 3, 2, "same", "pool1")
    for stage, count in enumerate(counts, start=2):
        for block in range(1, count + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            filters = plan.filters(64 * 2 ** (stage - 2))
            x = residual(x, filters, stride, f"conv{stage}_{block}", normalise)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return plan.end(image, x)


def residual(x: Tensor, filters: int, stride: int, name: str, normalise: bool) -> Tensor:
    """Add two convolutions' result to the input, projected (1×1) where the shape changes."""
    y = convolution(x, filters, 3, f"{name}_a", stride, normalise=normalise)
    y = convolution(y, filters, 3, f"{name}_b", normalise=normalise, activation=None)
    if stride > 1 or x.shape[-1] != filters:
        x = project(x, filters, stride, f"{name}_project", normalise)
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def project(x: Tensor, filters: int, stride: int, name: str, normalise: bool) -> Tensor:
    """Take every `stride`-th pixel and mix its channels: a 1×1 convolution with that stride.

    Taking the pixels is a layer of its own, because the gradient of a convolution whose stride is
    larger than its window writes where it should not (TensorFlow 2.21 with oneDNN, on a processor),
    and sooner or later the process dies.
    """
    if stride > 1:
        x = layers.MaxPooling2D(1, stride, name=f"{name}_sample")(x)
    return convolution(x, filters, 1, name, normalise=normalise, activation=None)


# Filters and stride of the 13 separable blocks (paper, table 1).
SEPARABLES = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
SEPARABLES += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


def mobilenet(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """MobileNet: each convolution split into one per channel and one per pixel.

    Source: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
    applications" (2017), table 1. With 224×224×3 pictures and 1,000 classes: 4,253,864 parameters,
    of which 4,231,976 are trainable.

    Deviations at lab scale: 1/4 of the filters; conv1 with stride 1 for 2; the first separable
    block with stride 2 for 1, the second with 1 for 2.
    """
    image, x = plan.begin()
    normalise = batch_normalisation
    strides = [stride for _, stride in SEPARABLES]
    if plan.lab:
        strides[:2] = strides[1::-1]
    stride = 1 if plan.lab else 2
    x = convolution(x, plan.filters(32), 3, "conv1", stride, normalise=normalise)
    for number, ((filters, _), stride) in enumerate(zip(SEPARABLES, strides, strict=True), start=1):
        x = separable(x, plan.filters(filters), stride, str(number), normalise)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return plan.end(image, x)


def separable(x: Tensor, filters: int, stride: int, name: str, normalise: bool) -> Tensor:
    """Convolve each channel by itself (3×3), then mix the channels of each pixel (1×1)."""
    x = layers.DepthwiseConv2D(
        3,
        stride,
        "same",
        use_bias=not normalise,
        activation=None if normalise else "relu",
        depthwise_initializer="he_normal",
        name=f"depthwise{name}",
    )(x)
    x = normalised(x, f"depthwise{name}") if normalise else x
    return convolution(x, filters, 1, f"pointwise{name}", normalise=normalise)


# Repetitions, side of the windows, stride of the first one, expansion and filters of each stage.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(plan: Plan, batch_normalisation: bool = True) -> keras.Model:
    """EfficientNet-Lite0: a network that a search found, made simple for telephones.

    Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks"
    (2019), table 1; made "lite" (no squeeze-and-excitation, ReLU6) in TensorFlow's repository tpu,
    models/official/efficientnet/lite (2020). With 224×224×3 pictures and 1,000 classes: 4,694,024
    parameters, of which 4,652,008 are trainable. `pretrained` has its weights from ImageNet.

    Those were learnt with pixels (x - 127) / 128, so a second rescaling follows the first. Grey
    pictures are repeated to three channels.

    Deviation at both scales: no blocks are left out at random while training.

    Deviations at lab scale: none but the padding of pictures smaller than 32 × 32, so that the
    weights from ImageNet fit.
    """
    image, x = plan.begin()
    x = layers.Rescaling(255 / 128, -127 / 128, name="centre")(plan.three_channels(x))
    style: dict[str, Any] = {"normalise": batch_normalisation, "activation": "relu6"}
    x = convolution(x, plan.filters(32), 3, "stem", 2, **style)
    before = 32  # filters, as published
    for stage, (count, size, stride, expansion, filters) in enumerate(LITE0_STAGES, start=1):
        for number in range(count):
            name = f"{stage}{'abcd'[number]}"
            wide = plan.filters(expansion * before) if expansion > 1 else 0
            x = inverted_residual(
                x, wide, plan.filters(filters), size, 1 if number else stride, name, style
            )
            before = filters
    x = convolution(x, plan.filters(1280), 1, "head", **style)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    return plan.end(image, x)


def inverted_residual(
    x: Tensor, wide: int, filters: int, size: int, stride: int, name: str, style: dict[str, Any]
) -> Tensor:
    """Widen (1×1), convolve each channel by itself, narrow (1×1, linear); add it to the input.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018).

    Args:
        x: the input.
        wide: filters between; 0 leaves out the widening.
        filters: of the result; where they or the stride change the shape, nothing is added.
        size: side of the windows that see one channel each.
        stride: of those.
        name: what the layers' names begin with.
        style: `normalise` and `activation` of `convolution`.
    """
    normalise, activation = style["normalise"], style["activation"]
    y = convolution(x, wide, 1, f"{name}_widen", **style) if wide else x
    y = layers.DepthwiseConv2D(
        size,
        stride,
        "same",
        use_bias=not normalise,
        activation=None if normalise else activation,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )(y)
    y = normalised(y, f"{name}_depthwise", activation) if normalise else y
    y = convolution(y, filters, 1, f"{name}_narrow", normalise=normalise, activation=None)
    if stride > 1 or x.shape[-1] != filters:
        return y
    return layers.Add(name=f"{name}_add")([x, y])


def application(plan: Plan) -> keras.Model:
    """A network of `keras.applications`, as Keras builds it, with random weights.

    What its weights from ImageNet expect of pixels is built in; grey pictures are repeated to three
    channels, and pictures smaller than 32 × 32 padded.
    """
    if plan.share != 1:
        raise LabError(f"width is {plan.share}; {plan.name!r} is built with width 1 only.")
    title = plan.name.removeprefix(KERAS)
    image, x = plan.begin()
    x = applications.prepared(title, plan.three_channels(x))
    return plan.end(image, applications.features(title, x))


@dataclass(frozen=True)
class Network:
    """A network of the registry, and what is printed about it.

    Attributes:
        builder: takes a `Plan`, and the network's options with their defaults.
        year: in which it appeared.
        idea: what was new, in a few words.
        depth: how many layers with weights it has from input to output, as its authors count
            (LeNet-5's count the sub-sampling, too); None without a paper.
        paper_input: (H, W, C) of the pictures that the figures hold for; None without a paper.
        paper_classes: how many classes they hold for; None without a paper.
        parameters: as printed, to the digits given; None where no total is printed.
        multiply_adds: of one picture, as printed; None where none is printed.
        counted_in: where the two are printed.
        lab_share: what the filters are multiplied by at scale "lab".
    """

    builder: Callable[..., keras.Model]
    year: int
    idea: str
    depth: int | None = None
    paper_input: Shape | None = None
    paper_classes: int | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    counted_in: str = ""
    lab_share: float = 1.0


IMAGENET: dict[str, Any] = {"paper_input": (224, 224, 3), "paper_classes": 1_000}
ARCHITECTURES: dict[str, Network] = {
    "reference": Network(reference, 2019, "the lab sheet's network"),
    "compact": Network(compact, 2026, "a stride of 2 saves the work"),
    "strided": Network(strided, 2026, "two strides of 2, no pooling"),
    "minivgg": Network(minivgg, 2026, "pairs of 3 × 3, batch normalisation, one stride of 2"),
    "lenet5": Network(
        lenet5,
        1998,
        "convolution and sub-sampling in turn, learnt throughout",
        depth=5,
        paper_input=(32, 32, 1),
        paper_classes=10,
        parameters=60_000,
        multiply_adds=340_908,
        counted_in="LeCun et al. (1998), section II.B; connections, biases included",
    ),
    "alexnet": Network(
        alexnet,
        2012,
        "ReLU, dropout, two graphics cards",
        depth=8,
        paper_input=(227, 227, 3),
        paper_classes=1_000,
        parameters=60_000_000,
        multiply_adds=720_000_000,
        counted_in="Howard et al. (2017), table 9",
        lab_share=1 / 8,
    ),
    "zfnet": Network(
        zfnet,
        2013,
        "smaller first windows, chosen by looking inside",
        depth=8,
        **IMAGENET,
        counted_in="not printed",
        lab_share=1 / 4,
    ),
    "vgg16": Network(
        vgg16,
        2014,
        "deep stacks of 3×3 windows alone",
        depth=16,
        **IMAGENET,
        parameters=138_000_000,
        multiply_adds=15_300_000_000,
        counted_in="Simonyan and Zisserman (2015), table 2; He et al. (2015), section 4.1",
        lab_share=1 / 8,
    ),
    "vgg19": Network(
        vgg19,
        2014,
        "VGG-16, three layers deeper",
        depth=19,
        **IMAGENET,
        parameters=144_000_000,
        multiply_adds=19_600_000_000,
        counted_in="Simonyan and Zisserman (2015), table 2; He et al. (2015), section 3.3",
        lab_share=1 / 8,
    ),
    "googlenet": Network(
        googlenet,
        2014,
        "several window sizes side by side",
        depth=22,
        **IMAGENET,
        parameters=6_800_000,
        multiply_adds=1_550_000_000,
        counted_in="Howard et al. (2017), table 8",
        lab_share=1 / 8,
    ),
    "resnet18": Network(
        resnet18,
        2015,
        "layers learn what to add",
        depth=18,
        **IMAGENET,
        multiply_adds=1_800_000_000,
        counted_in="He et al. (2015), table 1",
        lab_share=1 / 8,
    ),
    "resnet34": Network(
        resnet34,
        2015,
        "ResNet-18, twice as deep",
        depth=34,
        **IMAGENET,
        multiply_adds=3_600_000_000,
        counted_in="He et al. (2015), table 1",
        lab_share=1 / 8,
    ),
    "mobilenet": Network(
        mobilenet,
        2017,
        "channels and pixels convolved apart",
        depth=28,
        **IMAGENET,
        parameters=4_200_000,
        multiply_adds=569_000_000,
        counted_in="Howard et al. (2017), table 8",
        lab_share=1 / 4,
    ),
    "efficientnet-lite0": Network(
        efficientnet_lite0,
        2020,
        "found by a search, simplified for telephones",
        depth=50,
        **IMAGENET,
        parameters=4_700_000,
        multiply_adds=407_000_000,
        counted_in="README of TensorFlow's tpu repository, models/official/efficientnet/lite",
    ),
}
APPLICATION = Network(application, 2015, "one of keras.applications")


# Which maps of S2 each of C3's sixteen maps sees (LeCun et al. 1998, table I).
C3_SEES = ["012", "123", "234", "345", "045", "015"]
C3_SEES += ["0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245", "0235", "012345"]

WHY = {
    "C1": "the same",
    "S2": "ours has no factor and no bias to train, and multiplies nothing",
    "C3": "each of our 16 maps sees all 6 maps of S2, not 3, 4 or 6 of them",
    "S4": "as S2",
    "C5": "the same",
    "F6": "the same",
    "output": "ours learns 85 numbers a class; the paper's compares with 84 fixed ones",
}


def lenet5_reconciliation(counted: str = "parameters") -> pd.DataFrame:
    """Account for the difference between LeNet-5's paper and `lenet5` at scale "paper".

    Args:
        counted: `parameters` (those trained: 60,000 in the paper) or `connections` (each use of a
            weight or a bias: 340,908 in the paper).

    Returns:
        A row a layer and a last one, `total`: `layer`, `paper`, `ours`, `difference`, `why`.

    Raises:
        ValueError: `counted` is neither.
    """
    if counted not in ("parameters", "connections"):
        raise ValueError(f"counted is {counted!r}; it must be parameters or connections")
    model = outline("lenet5", (32, 32, 1), 10, scale="paper")
    rows = []
    for name, trained in lenet5_paper_parameters().items():
        layer = model.get_layer("probabilities" if name == "output" else name)
        paper, ours = trained, layer.count_params()
        if counted == "connections":
            # A layer's every parameter is used once for each place of its maps.
            places = math.prod(layer.output.shape[1:-1])
            paper, ours = lenet5_paper_connections(name, trained) * places, ours * places
        rows.append((name, paper, ours, ours - paper, WHY[name]))
    table = pd.DataFrame(rows, columns=["layer", "paper", "ours", "difference", "why"])
    sums = table[["paper", "ours", "difference"]].sum()
    table.loc[len(table)] = ["total", *sums, ""]
    return table


def lenet5_paper_parameters() -> dict[str, int]:
    """Return the paper's trained parameters by layer, from its section II.B and table I."""
    return {
        "C1": parameters(5, 5, 1, 6),
        "S2": 6 * 2,  # a factor and a bias for each map
        "C3": sum(parameters(5, 5, len(seen), 1) for seen in C3_SEES),
        "S4": 16 * 2,
        "C5": parameters(5, 5, 16, 120),
        "F6": dense_parameters(120, 84),
        "output": 0,  # distances to drawn digits, which are fixed
    }


def lenet5_paper_connections(name: str, trained: int) -> int:
    """Return the paper's connections of a layer for one place of its maps."""
    # Sub-sampling adds four numbers and a bias for each map; the output compares 84 with 84.
    return {"S2": 6 * 5, "S4": 16 * 5, "output": 84 * 10}.get(name, trained)


def sheet_table() -> pd.DataFrame:
    """Return the layer table that the lab sheet prints, errors and all, for comparison."""
    return pd.DataFrame(
        [
            ("convolution", (26, 26, 32), 320),
            ("pooling", (13, 13, 32), 0),
            ("flatten", (169,), 0),
            ("hidden", (100,), 16_900),
            ("probabilities", (10,), 1_010),
            ("total", (), 17_220),
        ],
        columns=["layer", "output shape", "parameters"],
    )
