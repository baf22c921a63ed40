"""What is read off a model: parameters, multiply-adds, receptive fields. These load TensorFlow."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convnetlab import architectures, datasets, inspection, preprocess
from convnetlab.backend import keras

layers = keras.layers
PUBLISHED = [name for name, network in architectures.ARCHITECTURES.items() if network.paper_input]


def published(name):
    network = architectures.ARCHITECTURES[name]
    return architectures.outline(name, network.paper_input, network.paper_classes, scale="paper")


def test_the_reference_networks_table_is_the_sheets_arithmetic_done_right():
    table = inspection.layer_table(architectures.build("reference", (28, 28, 1), 10))
    assert table["parameters"].tolist() == [0, 320, 0, 0, 540_900, 1_010]
    assert table["output shape"].tolist()[1:4] == [(26, 26, 32), (13, 13, 32), (5408,)]
    assert table["arithmetic"].tolist() == [
        "none",
        "(3·3·1 + 1) · 32",
        "none",
        "none: 13·13·32 = 5408 numbers",
        "(5408 + 1) · 100",
        "(100 + 1) · 10",
    ]


@settings(max_examples=10)
@given(st.integers(4, 20), st.integers(4, 20), st.sampled_from([1, 3]), st.integers(2, 12))
def test_the_layer_table_agrees_with_keras_for_any_shape(height, width, channels, classes):
    model = architectures.build("reference", (height, width, channels), classes)
    assert inspection.layer_table(model)["parameters"].sum() == model.count_params()


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_the_arithmetic_of_every_network_is_known_and_keras_own(name):
    models = [architectures.outline(name, (28, 28, 1), 10)]
    if name in PUBLISHED:
        models.append(published(name))
    for model in models:
        table = inspection.layer_table(model)  # which asserts that the arithmetic is Keras's count
        assert "not worked out here" not in table["arithmetic"].tolist()
        assert table["parameters"].sum() == model.count_params()


def arithmetic(layer, shape=(8, 8, 6)):
    model = keras.Sequential([keras.Input(shape), layer])
    return inspection.layer_table(model)[["parameters", "arithmetic"]].to_numpy().tolist()[0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(4, (3, 5)), [364, "(3·5·6 + 1) · 4"]),
        (lambda: layers.Conv2D(4, 3, use_bias=False), [216, "3·3·6 · 4"]),
        (lambda: layers.Conv2D(4, 3, groups=2), [112, "(3·3·6/2 + 1) · 4"]),
        (lambda: layers.Conv2D(4, 3, groups=2, use_bias=False), [108, "3·3·6/2 · 4"]),
        (lambda: layers.DepthwiseConv2D(3), [60, "(3·3 + 1) · 6"]),
        (lambda: layers.DepthwiseConv2D(3, use_bias=False), [54, "3·3 · 6"]),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), [120, "(3·3 + 1) · 12"]),
        (lambda: layers.Dense(5), [35, "(6 + 1) · 5"]),
        (lambda: layers.Dense(5, use_bias=False), [30, "6 · 5"]),
        (lambda: layers.Flatten(), [0, "none: 8·8·6 = 384 numbers"]),
        (
            lambda: layers.BatchNormalization(),
            [24, "4 · 6: scale, shift, and two running figures (not trained)"],
        ),
        (
            lambda: layers.BatchNormalization(scale=False),
            [18, "3 · 6: shift, and two running figures (not trained)"],
        ),
        (
            lambda: layers.BatchNormalization(scale=False, center=False),
            [12, "2 · 6: two running figures (not trained)"],
        ),
        (lambda: layers.MaxPooling2D(2), [0, "none"]),
        # An unknown layer gets no invented arithmetic.
        (lambda: layers.Conv2DTranspose(4, 3), [220, "not worked out here"]),
    ],
)
def test_each_layers_arithmetic(layer, expected):
    assert arithmetic(layer()) == expected


def test_the_models_first_layer_is_the_normalise_function():
    digits = datasets.load("digits")
    model = architectures.build("reference", digits.image_shape, 10)
    images = digits.test_images[:7]
    outputs = inspection.layer_outputs(model, images)
    assert np.allclose(outputs["rescale"], preprocess.normalise(images), atol=1e-7)
    assert list(outputs) == [layer.name for layer in model.layers]


def test_the_outputs_of_a_branching_network_come_by_layer_name():
    model = architectures.build("googlenet", (8, 8, 1), 10)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    outputs = inspection.layer_outputs(model, images)
    assert list(outputs) == [layer.name for layer in model.layers[1:]]
    assert np.allclose(outputs["probabilities"], np.asarray(model(images)))
    channels = [outputs[f"3a_{part}"].shape[-1] for part in ("1x1", "3x3", "5x5", "pool_project")]
    assert outputs["3a_concatenate"].shape[-1] == sum(channels)


def test_multiply_adds_by_hand():
    counts = inspection.multiply_adds(architectures.build("reference", (28, 28, 1), 10))
    assert counts.to_dict() == {
        "rescale": 0,
        "convolution": 26 * 26 * 9 * 32,
        "pooling": 0,
        "flatten": 0,
        "hidden": 540_800,
        "probabilities": 1_000,
    }
    assert counts.sum() == 736_488


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(4, 3, 2, "same"), 16 * 9 * 6 * 4),
        (lambda: layers.Conv2D(4, 3, groups=2), 36 * 9 * 3 * 4),
        (lambda: layers.DepthwiseConv2D(3, padding="same"), 64 * 9 * 6),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), 36 * 9 * 6 * 2),
        (lambda: layers.Dense(5), 64 * 6 * 5),  # for each of the 64 places
        (lambda: layers.BatchNormalization(), 0),
    ],
)
def test_each_layers_multiply_adds(layer, expected):
    model = keras.Sequential([keras.Input((8, 8, 6)), layer()])
    assert inspection.multiply_adds(model).tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "tolerance", "why"),
    [
        ("alexnet", 0.01, "printed to two digits"),
        ("vgg16", 0.012, "He et al.'s 15.3 billion leave out the 0.12 billion of dense layers"),
        ("vgg19", 0.003, "printed to three digits"),
        ("googlenet", 0.025, "Howard et al. do not say how they count"),
        ("resnet18", 0.01, "printed to two digits"),
        ("resnet34", 0.02, "printed to two digits; without projections it would be 3.64 billion"),
        ("mobilenet", 0.001, "printed to three digits"),
        ("efficientnet-lite0", 0.06, "its authors do not say what they count besides"),
    ],
)
def test_the_multiply_adds_are_the_published_ones(name, tolerance, why):
    total = inspection.multiply_adds(published(name)).sum()
    printed = architectures.ARCHITECTURES[name].multiply_adds
    assert total == pytest.approx(printed, rel=tolerance), why


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet5", 416_520),
        ("alexnet", 724_406_816),
        ("zfnet", 1_168_032_896),  # its paper prints none
        ("vgg16", 15_470_264_320),
        ("vgg19", 19_632_062_464),
        ("googlenet", 1_582_671_872),
        ("resnet18", 1_814_073_344),
        ("resnet34", 3_663_761_408),
        ("mobilenet", 568_740_352),
        ("efficientnet-lite0", 385_187_552),
    ],
)
def test_the_multiply_adds_stay_what_they_are(name, expected):
    assert inspection.multiply_adds(published(name)).sum() == expected


def fields(model):
    return inspection.receptive_fields(model).set_index("layer")


def test_the_receptive_fields_of_vgg16_are_the_known_ones():
    """Araujo, Norris and Sim (2019) print 212 and 32 for VGG-16, and 195 and 32 for AlexNet."""
    table = fields(published("vgg16"))
    assert table.loc["conv1_2", "size"] == (5, 5)
    assert table.loc["pool5"].tolist() == [(212, 212), (32, 32), (-90, -90), (121, 121)]
    assert table.loc["flatten"].tolist() == [(224, 224), (0, 0), (0, 0), (223, 223)]
    alexnet = fields(published("alexnet"))
    assert alexnet.loc["pool5", ["size", "stride"]].tolist() == [(195, 195), (32, 32)]


def test_the_receptive_fields_of_branching_networks_are_the_known_ones():
    """The same article: 435 and 32 for the last block of ResNet-18, 899 for ResNet-34's."""
    assert fields(published("resnet18")).loc["conv5_2_relu", "size"] == (435, 435)
    assert fields(published("resnet34")).loc["conv5_3_relu", "size"] == (899, 899)
    mobilenet = fields(published("mobilenet")).loc["pointwise13"]
    assert mobilenet[["size", "stride"]].tolist() == [(315, 315), (32, 32)]
    module = fields(published("googlenet"))
    assert module.loc["3a_concatenate", "size"] == module.loc["3a_5x5", "size"]


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_network_sees_the_whole_picture_in_the_end(name):
    table = fields(architectures.outline(name, (28, 28, 1), 10))
    assert table.loc["rescale"].tolist() == [(1, 1), (1, 1), (0, 0), (0, 0)]
    # The windows of `strided` stay within the picture; three rows and columns are left over.
    seen = 25 if name == "strided" else 28
    assert table.loc["probabilities"].tolist() == [(seen, seen), (0, 0), (0, 0), (seen - 1,) * 2]


def test_padding_moves_the_field_and_a_dropped_column_is_not_seen():
    model = keras.Sequential(
        [
            keras.Input((9, 11, 1)),
            layers.ZeroPadding2D(((2, 1), (0, 0)), name="pad"),
            layers.Conv2D(1, (3, 4), name="convolution"),  # 10 rows, 8 columns
            layers.MaxPooling2D(3, name="pooling"),  # 3 and 2: a row and two columns are left over
            layers.Flatten(name="flatten"),
            layers.Dense(2, name="dense"),
        ]
    )
    table = fields(model)
    assert table.loc["pad", "start"] == (-2, 0)
    assert table.loc["pooling"].tolist() == [(5, 6), (3, 3), (-2, 0), (2, 5)]
    assert table.loc["flatten"].tolist() == [(9, 9), (0, 0), (0, 0), (8, 8)]
    assert table.loc["dense"].tolist() == table.loc["flatten"].tolist()


def test_what_has_no_field_is_refused():
    image = keras.Input((9, 9, 1))
    sparse = layers.Conv2D(1, 3, 2, "same")(image)
    dense = layers.Conv2D(1, 5)(image)
    model = keras.Model(image, layers.Add(name="sum")([sparse, dense]))
    with pytest.raises(ValueError, match="layer 'sum': branches with different strides"):
        inspection.receptive_fields(model)
    model = keras.Sequential([image, layers.UpSampling2D(name="up")])
    with pytest.raises(ValueError, match="layer 'up': what a UpSampling2D sees is not known"):
        inspection.receptive_fields(model)
    stacked = layers.Concatenate(axis=1, name="stack")([image, image])
    with pytest.raises(ValueError, match="layer 'stack'"):
        inspection.receptive_fields(keras.Model(image, stacked))


def seen(model, row, column):
    """Return first and last row and column that move a unit, where all is 0 but one of them.

    Every weight is positive, so that nothing cancels out. Gradients would tell the same, but
    TensorFlow's are not safe where a stride is larger than its window: `architectures.project`.
    """
    height, width = model.inputs[0].shape[1:3]
    rows, columns = np.zeros((height, height, width, 1)), np.zeros((width, height, width, 1))
    rows[np.arange(height), np.arange(height)] = 1
    columns[np.arange(width), :, np.arange(width)] = 1
    moved = [
        np.nonzero(np.asarray(model(pictures))[:, row, column].any(axis=-1))[0]
        for pictures in (rows, columns)
    ]
    return tuple(int(line[end]) for line in moved for end in (0, -1))


def linear(kind, kernel, stride, padding, dilation):
    """A layer whose every weight is positive."""
    if kind == "average":
        return layers.AveragePooling2D(kernel, stride, padding)
    if kind == "maximum":
        return layers.MaxPooling2D(kernel, stride, padding)
    if kind == "depthwise":
        return layers.DepthwiseConv2D(
            kernel, (stride, stride), padding, depthwise_initializer="ones"
        )
    if dilation > 1:
        stride = 1  # TensorFlow has both only one at a time
    return layers.Conv2D(
        1, kernel, stride, padding, dilation_rate=dilation, kernel_initializer="ones"
    )


@st.composite
def windows(draw):
    kind = draw(st.sampled_from(["convolution", "average", "maximum", "depthwise"]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.integers(1, min(kernel)))  # else pixels between windows are seen by none
    padding = draw(st.sampled_from(["valid", "same"]))
    return kind, kernel, stride, padding, draw(st.sampled_from([1, 1, 2]))


SIDES = st.tuples(st.integers(24, 40), st.integers(24, 40))


def check_inner_unit(model, shape):
    """Compare a unit from the middle: all that it should see is in the picture."""
    _, rows, columns, _ = model.outputs[0].shape
    row, column = rows // 2, columns // 2
    last = inspection.receptive_fields(model).iloc[-1]
    start = [last["start"][0] + row * last["stride"][0], last["start"][1]]
    start[1] += column * last["stride"][1]
    end = [begin + size - 1 for begin, size in zip(start, last["size"], strict=True)]
    margin = max(last["stride"])  # what windows leave over at the end is less than a stride
    assume(min(start) >= 0 and end[0] < shape[0] - margin and end[1] < shape[1] - margin)
    assert seen(model, row, column) == (start[0], end[0], start[1], end[1])


def check_first_unit(model, shape):
    """Compare unit 0, cut off where the picture begins."""
    last = inspection.receptive_fields(model).iloc[-1]
    margin = 2 * max(last["stride"])
    assume(last["end"][0] < shape[0] - margin and last["end"][1] < shape[1] - margin)
    assume(min(last["end"]) >= 0)  # else it sees nothing but padding
    expected = [(max(0, last["start"][axis]), last["end"][axis]) for axis in (0, 1)]
    assert seen(model, 0, 0) == (*expected[0], *expected[1])


@settings(max_examples=25)
@given(SIDES, st.lists(windows(), min_size=1, max_size=4))
def test_stacks_see_what_moves_them(shape, stack):
    try:
        model = keras.Sequential(
            [keras.Input((*shape, 1)), layers.ZeroPadding2D(((1, 2), (0, 1)))]
            + [linear(*window) for window in stack]
        )
    except ValueError:  # the picture is used up
        assume(False)
    check_inner_unit(model, shape)
    if all(dilation == 1 for *_, dilation in stack):  # no gaps where the picture cuts the field off
        check_first_unit(model, shape)


@settings(max_examples=25)
@given(SIDES, st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(1, 2), st.booleans())
def test_branches_see_what_moves_them(shape, kernels, stride, add):
    """As in inception modules and residual blocks."""
    image = keras.Input((*shape, 1))
    x = layers.Conv2D(1, 3, kernel_initializer="ones")(image)
    branches = [
        linear("convolution", (3, 1), 1, "same", 1)(
            linear("average", (kernel, kernel + 1), stride, "same", 1)(x)
        )
        for kernel in kernels
    ]
    branches.append(linear("convolution", (1, 1), stride, "same", 1)(x))
    merge = layers.Add() if add else layers.Concatenate()
    model = keras.Model(image, linear("convolution", (2, 2), 1, "valid", 1)(merge(branches)))
    check_first_unit(model, shape)
    check_inner_unit(model, shape)
