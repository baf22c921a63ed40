"""The networks at both scales, against their papers and Keras's own. These load TensorFlow."""

import gc
import math

import numpy as np
import pandas as pd
import pytest

from convnetlab import architectures, datasets, inspection, preprocess, recipes, training
from convnetlab.architectures import ARCHITECTURES, build, outline, smallest_side
from convnetlab.backend import keras
from convnetlab.errors import LabError

PUBLISHED = [name for name, network in ARCHITECTURES.items() if network.paper_input]


def published(name, **options):
    network = ARCHITECTURES[name]
    return outline(name, network.paper_input, network.paper_classes, scale="paper", **options)


def size(variables):
    return sum(math.prod(variable.shape) for variable in variables)


def shape(model, layer):
    return tuple(model.get_layer(layer).output.shape[1:])


@pytest.mark.parametrize(
    ("name", "options", "trainable", "everything"),
    [
        ("lenet5", {}, 61_706, 61_706),
        ("alexnet", {}, 60_965_224, 60_965_224),
        ("alexnet", {"groups": 2}, 60_965_224, 60_965_224),
        ("alexnet", {"groups": 1}, 62_378_344, 62_378_344),
        ("zfnet", {}, 62_357_608, 62_357_608),
        ("vgg16", {}, 138_357_544, 138_357_544),
        ("vgg19", {}, 143_667_240, 143_667_240),
        ("googlenet", {}, 6_998_552, 6_998_552),
        ("resnet18", {}, 11_689_512, 11_699_112),
        ("resnet34", {}, 21_797_672, 21_814_696),
        ("mobilenet", {}, 4_231_976, 4_253_864),
        ("efficientnet-lite0", {}, 4_652_008, 4_694_024),
    ],
)
def test_the_parameters_at_paper_scale(name, options, trainable, everything):
    model = published(name, **options)
    assert size(model.trainable_weights) == trainable
    assert model.count_params() == size(model.weights) == everything


@pytest.mark.parametrize(
    ("name", "tolerance", "why"),
    [
        ("lenet5", 0.03, "lenet5_reconciliation accounts for each of the 1,706"),
        ("alexnet", 0.02, "printed to one digit"),
        ("vgg16", 0.005, "printed in millions"),
        ("vgg19", 0.005, "printed in millions"),
        ("googlenet", 0.03, "counted by others, who do not say how"),
        ("mobilenet", 0.015, "printed to two digits"),
        ("efficientnet-lite0", 0.015, "printed to two digits"),
    ],
)
def test_the_parameters_are_the_published_ones(name, tolerance, why):
    printed = ARCHITECTURES[name].parameters
    assert published(name).count_params() == pytest.approx(printed, rel=tolerance), why


STAGES = {
    "lenet5": {
        "C1": (28, 28, 6),
        "S2": (14, 14, 6),
        "C3": (10, 10, 16),
        "S4": (5, 5, 16),
        "C5": (1, 1, 120),
        "F6": (84,),
    },
    "alexnet": {
        "conv1": (55, 55, 96),
        "pool1": (27, 27, 96),
        "conv2": (27, 27, 256),
        "pool2": (13, 13, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        "fc6": (4096,),
        "fc7": (4096,),
    },
    "zfnet": {
        "conv1": (110, 110, 96),
        "pool1": (55, 55, 96),
        "conv2": (26, 26, 256),
        "pool2": (13, 13, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        "fc6": (4096,),
        "fc7": (4096,),
    },
    "vgg16": {
        "conv1_2": (224, 224, 64),
        "conv2_2": (112, 112, 128),
        "conv3_3": (56, 56, 256),
        "conv4_3": (28, 28, 512),
        "conv5_3": (14, 14, 512),
        "pool5": (7, 7, 512),
        "fc7": (4096,),
    },
    "googlenet": {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2": (56, 56, 192),
        "pool2": (28, 28, 192),
        "3a_concatenate": (28, 28, 256),
        "3b_concatenate": (28, 28, 480),
        "pool3": (14, 14, 480),
        "4a_concatenate": (14, 14, 512),
        "4b_concatenate": (14, 14, 512),
        "4c_concatenate": (14, 14, 512),
        "4d_concatenate": (14, 14, 528),
        "4e_concatenate": (14, 14, 832),
        "pool4": (7, 7, 832),
        "5a_concatenate": (7, 7, 832),
        "5b_concatenate": (7, 7, 1024),
        "mean": (1024,),
    },
    "resnet18": {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2_2_relu": (56, 56, 64),
        "conv3_2_relu": (28, 28, 128),
        "conv4_2_relu": (14, 14, 256),
        "conv5_2_relu": (7, 7, 512),
        "mean": (512,),
    },
    "mobilenet": {
        "conv1": (112, 112, 32),
        "depthwise1": (112, 112, 32),
        "pointwise1": (112, 112, 64),
        "depthwise2": (56, 56, 64),
        "pointwise3": (56, 56, 128),
        "pointwise5": (28, 28, 256),
        "pointwise11": (14, 14, 512),
        "pointwise13": (7, 7, 1024),
        "mean": (1024,),
    },
    "efficientnet-lite0": {
        "stem": (112, 112, 32),
        "1a_narrow": (112, 112, 16),
        "2a_widen": (112, 112, 96),
        "2b_add": (56, 56, 24),
        "3b_add": (28, 28, 40),
        "4c_add": (14, 14, 80),
        "5c_add": (14, 14, 112),
        "6d_add": (7, 7, 192),
        "7a_narrow": (7, 7, 320),
        "head": (7, 7, 1280),
        "mean": (1280,),
    },
}
STAGES["vgg19"] = {
    **STAGES["vgg16"],
    "conv3_4": (56, 56, 256),
    "conv4_4": (28, 28, 512),
    "conv5_4": (14, 14, 512),
}
STAGES["resnet34"] = {
    "conv1": (112, 112, 64),
    "conv2_3_relu": (56, 56, 64),
    "conv3_4_relu": (28, 28, 128),
    "conv4_6_relu": (14, 14, 256),
    "conv5_3_relu": (7, 7, 512),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_stages_at_paper_scale(name):
    model = published(name)
    assert {layer: shape(model, layer) for layer in STAGES[name]} == STAGES[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_depth_is_the_number_of_layers_with_weights(name):
    """MobileNet's 28 count both halves of a block; ResNet's leave the projections out."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    counted = [
        layer.name
        for layer in published(name).layers
        if isinstance(layer, kinds) and not layer.name.endswith("_project")
    ]
    if name == "googlenet":  # a module is two layers deep, whatever its width
        counted = [layer for layer in counted if not layer[0].isdigit()] + ["module"] * 18
    assert len(counted) == ARCHITECTURES[name].depth


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_convolutions_stride_is_larger_than_its_window(name):
    """Its gradient destroys memory in TensorFlow 2.21: see `architectures.project`."""
    models = [outline(name, (28, 28, 1), 10)]
    if name in PUBLISHED:
        models.append(published(name))
    for layer in [layer for model in models for layer in model.layers]:
        if hasattr(layer, "kernel_size"):
            assert max(layer.strides) <= min(layer.kernel_size)


def test_a_projection_is_a_1x1_convolution_with_stride_2():
    image = keras.Input((6, 7, 3))
    model = keras.Model(image, architectures.project(image, 4, 2, "project", False))
    pictures = np.random.default_rng(1).normal(size=(2, 6, 7, 3)).astype(np.float32)
    direct = keras.layers.Conv2D(4, 1, 2)
    direct.build(pictures.shape)
    direct.set_weights(model.get_layer("project").get_weights())
    assert np.allclose(np.asarray(direct(pictures)), np.asarray(model(pictures)), atol=1e-6)


def with_weights(model):
    return [[tuple(w.shape) for w in layer.weights] for layer in model.layers if layer.weights]


def output_shapes(model, *kinds):
    return [layer.output.shape for layer in model.layers if type(layer) in kinds]


@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
def test_vgg_is_keras_own_layer_for_layer(name):
    with keras.StatelessScope(initialize_variables=False):
        theirs = getattr(keras.applications, name)(weights=None)
    ours = published(name.lower())
    assert with_weights(ours) == with_weights(theirs)
    kinds = keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Dense, keras.layers.Flatten
    assert output_shapes(ours, *kinds) == output_shapes(theirs, *kinds)


def test_mobilenet_is_keras_own_layer_for_layer():
    with keras.StatelessScope(initialize_variables=False):
        theirs = keras.applications.MobileNet(weights=None)
    ours = published("mobilenet")
    # Keras has the last layer as a 1 × 1 convolution.
    assert with_weights(ours)[:-1] == with_weights(theirs)[:-1]
    assert with_weights(ours)[-1] == [(1024, 1000), (1000,)]
    assert with_weights(theirs)[-1] == [(1, 1, 1024, 1000), (1000,)]
    kinds = keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization
    assert output_shapes(ours, *kinds) == output_shapes(theirs, *kinds)
    assert size(ours.trainable_weights) == size(theirs.trainable_weights)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_smallest_picture_is_the_smallest(name):
    side = smallest_side(name, 3, "paper")
    assert side == {"lenet5": 32, "alexnet": 67, "zfnet": 53, "vgg16": 32, "vgg19": 32}.get(name, 1)
    assert outline(name, (side, side, 3), 10, scale="paper").count_params() > 0
    if side == 1:
        return
    for sides in ((side - 1, side - 1), (side - 1, 300), (300, side - 1)):
        expected = f"'{name}': the pictures are {sides[0]} × {sides[1]}.*at least {side} at scale"
        with pytest.raises(LabError, match=expected):
            build(name, (*sides, 3), 10, scale="paper")


def test_the_auxiliary_heads_need_larger_pictures():
    assert smallest_side("googlenet", 3, "paper", auxiliary_heads=True) == 65
    with pytest.raises(LabError, match="at least 65"):
        outline("googlenet", (64, 64, 3), 10, scale="paper", auxiliary_heads=True)
    model = published("googlenet", auxiliary_heads=True)
    heads = ["probabilities", "auxiliary_4a", "auxiliary_4d"]
    assert [output.shape for output in model.outputs] == [(None, 1000)] * 3
    assert [model.output_names[at] for at in range(3)] == heads
    assert shape(model, "auxiliary_4a_pool") == (4, 4, 512)
    assert shape(model, "auxiliary_4d_pool") == (4, 4, 528)


def test_the_weights_of_an_outline_never_get_values():
    """Keras would give them all values when it next traces a layer of an unknown shape."""
    drawn = outline("compact", (28, 28, 1), 10)

    class Half(keras.layers.Layer):
        def call(self, inputs):
            return inputs[:, ::2, ::2]

    other = keras.Sequential([keras.Input((8, 8, 1)), Half(), keras.layers.Dense(2)])
    assert other(np.ones((1, 8, 8, 1))).shape == (1, 4, 4, 2)
    assert all(variable._value is None for variable in drawn.weights)
    assert all(variable._value is not None for variable in other.weights)


def test_an_outline_and_a_built_network_are_the_same():
    arguments = ("googlenet", (70, 70, 3), 5, 0.1, "paper")
    drawn, built = outline(*arguments), build(*arguments)
    assert drawn.to_json() == built.to_json()
    assert inspection.layer_table(drawn).equals(inspection.layer_table(built))
    pictures = np.random.default_rng(1).integers(0, 256, (2, 70, 70, 3))
    probabilities = np.asarray(built(pictures))
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_largest_network_is_built_with_its_weights():
    model = build("alexnet", (227, 227, 3), 1000, scale="paper")
    assert sum(array.size for array in model.get_weights()) == 60_965_224
    probabilities = np.asarray(model(np.full((1, 227, 227, 3), 128, np.uint8)))
    assert probabilities.shape == (1, 1000)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    del model
    gc.collect()


def test_local_response_normalisation_is_the_papers_formula():
    """Krizhevsky et al. (2012), section 3.3: k = 2, n = 5, α = 1e-4, β = 0.75."""
    values = np.random.default_rng(1).normal(0, 50, (1, 2, 2, 7)).astype(np.float32)
    expected = np.empty_like(values)
    for channel in range(7):
        near = values[..., max(0, channel - 2) : channel + 3]
        scale = (2 + 1e-4 * (near**2).sum(axis=-1)) ** 0.75
        expected[..., channel] = values[..., channel] / scale
    layer = architectures.LocalResponseNormalization()
    assert np.allclose(np.asarray(layer(values)), expected, rtol=1e-4)


def test_lenet5s_parameters_are_reconciled_with_the_papers():
    table = architectures.lenet5_reconciliation().set_index("layer")
    assert table["paper"].to_dict() == {
        "C1": 156,
        "S2": 12,
        "C3": 1_516,
        "S4": 32,
        "C5": 48_120,
        "F6": 10_164,
        "output": 0,
        "total": 60_000,
    }
    assert table["difference"].tolist() == [0, -12, 900, -32, 0, 0, 850, 1_706]
    assert table.loc["total", "ours"] == published("lenet5").count_params() == 61_706
    assert (table["ours"] - table["paper"] == table["difference"]).all()
    assert (table["why"].iloc[:-1] != "").all()


def test_lenet5s_connections_are_reconciled_with_the_papers():
    table = architectures.lenet5_reconciliation("connections").set_index("layer")
    assert table["paper"].to_dict() == {
        "C1": 122_304,
        "S2": 5_880,
        "C3": 151_600,
        "S4": 2_000,
        "C5": 48_120,
        "F6": 10_164,
        "output": 840,
        "total": ARCHITECTURES["lenet5"].multiply_adds,
    }
    model = published("lenet5")
    biases = [
        math.prod(layer.output.shape[1:]) for layer in model.layers if len(layer.weights) == 2
    ]
    ours = inspection.multiply_adds(model).sum() + sum(biases)
    assert table.loc["total", "ours"] == ours == 423_038
    with pytest.raises(ValueError, match="counted is 'weights'"):
        architectures.lenet5_reconciliation("weights")


def test_c3s_table_is_the_papers():
    """Table I: six maps see three neighbours, nine see four, one sees all; no map twice."""
    sees = architectures.C3_SEES
    assert [len(maps) for maps in sees] == [3] * 6 + [4] * 9 + [6]
    assert len(set(sees)) == 16
    counts = [sum(str(number) in maps for maps in sees) for number in range(6)]
    assert counts == [10] * 6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_builder_says_where_it_comes_from_and_what_it_changes(name):
    text = ARCHITECTURES[name].builder.__doc__
    assert text
    if name in PUBLISHED:
        assert "Source: " in text
        assert "Deviations at lab scale: " in text
        assert f"{published(name).count_params():,}" in text or name.startswith("resnet")


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (20, 40, 1)])
def test_every_network_is_built_for_small_pictures(name, size):
    model = outline(name, size, 7)
    inner = inspection.layers_of(model)
    assert inner[0].name == "rescale" and inner[-1].name == "probabilities"
    assert inner[0].scale == pytest.approx(1 / 255) and not inner[0].weights
    assert model.input_shape == (None, *size) and model.output_shape == (None, 7)
    padded = tuple(max(32, side) for side in size[:2])
    if name in PUBLISHED and min(size[:2]) < 32:
        assert shape(model, "pad") == (*padded, size[2])
    else:
        assert "pad" not in [layer.name for layer in inner]
    # Who loads it needs nothing but Keras.
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_is_read_back_from_json_and_from_a_file(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = build(name, (28, 28, 1), 10)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 28, 28, 1), np.uint8)
    probabilities = np.asarray(model(pictures, training=False))
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    described = keras.models.model_from_json(model.to_json())
    described.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for again in (described, loaded):
        assert np.array_equal(np.asarray(again(pictures, training=False)), probabilities)
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_a_network_with_our_own_layer_is_read_back_too(name, tmp_path):
    model = build(name, (70, 70, 1), 4, width=1 / 16, scale="paper")
    pictures = np.random.default_rng(1).integers(0, 256, (2, 70, 70, 1), np.uint8)
    model.save(tmp_path / "model.keras")
    described = keras.models.model_from_json(model.to_json())
    described.set_weights(model.get_weights())
    for again in (described, keras.models.load_model(tmp_path / "model.keras")):
        assert np.allclose(np.asarray(again(pictures)), np.asarray(model(pictures)))


def test_the_reference_network_is_the_lab_sheets():
    model = build("reference", (28, 28, 1), 10)
    assert model.count_params() == 542_230
    names = ["rescale", "convolution", "pooling", "flatten", "hidden", "probabilities"]
    assert [layer.name for layer in model.layers] == names


def test_without_pooling_there_are_more_parameters():
    layers = build("reference", (28, 28, 1), 10).layers
    kept = [
        layer.from_config(layer.get_config())
        for layer in layers
        if not isinstance(layer, keras.layers.MaxPooling2D)
    ]
    model = keras.Sequential([keras.Input((28, 28, 1)), *kept])
    assert model.count_params() == 2_164_630


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_width_multiplies_the_filters(name):
    kinds = (keras.layers.Conv2D, keras.layers.Dense)

    def widths(width):
        layers = outline(name, (28, 28, 1), 10, width).layers
        wide = [layer for layer in layers if isinstance(layer, kinds)][:-1]
        return [getattr(layer, "filters", None) or layer.units for layer in wide]

    assert widths(2) == [2 * filters for filters in widths(1)]
    assert set(widths(0.001)) == {1}


def test_groups_divide_the_filters_whatever_the_width():
    for width in (0.01, 0.3, 1.7):
        model = outline("alexnet", (28, 28, 1), 10, width, groups=2)
        assert model.get_layer("conv2").groups == 2
        assert all(layer.filters % 2 == 0 for layer in model.layers if hasattr(layer, "filters"))
    assert outline("alexnet", (28, 28, 1), 10).get_layer("conv2").groups == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_batch_normalisation_can_be_left_out_and_put_in(name):
    for wanted in (True, False):
        model = outline(name, (28, 28, 1), 10, batch_normalisation=wanted)
        kinds = [type(layer).__name__ for layer in model.layers]
        assert ("BatchNormalization" in kinds) == wanted
        biased = [layer.use_bias for layer in model.layers if hasattr(layer, "filters")]
        assert biased == [not wanted] * len(biased)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ("resnet", (28, 28, 1), 10),
            {},
            r"architecture is 'resnet'; it must be one of: reference",
        ),
        (("ResNet18", (28, 28, 1), 10), {}, r"Did you mean 'resnet18'\?"),
        (("reference", (3, 28, 1), 10), {}, r"the pictures are 3 × 28.*at least 4\.$"),
        (("compact", (28, 6, 1), 10), {}, r"the pictures are 28 × 6.*at least 7\.$"),
        (("lenet5", (28, 28), 10), {}, r"input_shape is \(28, 28\); it must be"),
        (("lenet5", (0, 28, 1), 10), {}, r"input_shape is \(0, 28, 1\)"),
        (("lenet5", 28, 10), {}, r"input_shape is 28; it must be"),
        (("lenet5", (28, 28.5, 1), 10), {}, r"input_shape is \(28, 28.5, 1\)"),
        (("lenet5", (28, 28, 1), 1), {}, r"classes is 1; it must be a whole number, 2 or more"),
        (("lenet5", (28, 28, 1), "10"), {}, r"classes is '10'; it must be"),
        (("lenet5", (28, 28, 1), 10, 0), {}, r"width is 0; it must be more than 0"),
        (("lenet5", (28, 28, 1), 10, "2"), {}, r"width is '2'; it must be more than 0"),
        (("lenet5", (28, 28, 1), 10, 1e5), {}, r"width is 100000.0; .* at most 16"),
        (("lenet5", (28, 28, 1), 10, -1.0), {}, r"width is -1.0"),
        (("lenet5", (28, 28, 1), 10, float("nan")), {}, r"width is nan"),
        (("lenet5", (28, 28, 1), 10, float("inf")), {}, r"width is inf"),
        (
            ("lenet5", (28, 28, 1), 10, 1, "full"),
            {},
            r"scale is 'full'; it must be one of: lab, pa",
        ),
        (("compact", (28, 28, 1), 10, 1, "paper"), {}, r"'compact' has no paper"),
        (("reference", (28, 28, 1), 10, 1, "paper"), {}, r"'reference' has no paper"),
        (
            ("vgg16", (28, 28, 1), 10),
            {"batch_normalization": True},
            r"no option 'batch_normalization'; it has: batch_normalisation\. Did you mean 'batch_n",
        ),
        (("reference", (28, 28, 1), 10), {"groups": 1}, r"no option 'groups'; it has none"),
        (("vgg16", (28, 28, 1), 10), {"batch_normalisation": 1}, r"is 1; it must be True or False"),
        (("alexnet", (28, 28, 1), 10), {"groups": True}, r"groups is True; it must be a whole"),
        (("alexnet", (28, 28, 1), 10), {"groups": 3}, r"groups is 3; it must be 1 or 2"),
        (
            ("vgg16", (224, 224, 3), 10, 1, "paper"),
            {"batch_normalisation": True},
            r"batch_normalisation is an option of scale 'lab'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, options, message):
    with pytest.raises(LabError, match=message):
        build(*arguments, **options)


def test_a_builders_own_mistake_is_not_taken_for_a_small_picture(monkeypatch):
    def broken(plan):
        raise ValueError("a mistake")

    def only_for_ten_classes(plan):
        if plan.classes == 10:
            raise ValueError("a mistake")
        return architectures.reference(plan)

    entry = architectures.Network(only_for_ten_classes, 2026, "an idea", "a source")
    monkeypatch.setitem(ARCHITECTURES, "new", entry)
    with pytest.raises(ValueError, match="a mistake"):
        build("new", (28, 28, 1), 10)
    assert build("new", (28, 28, 1), 3).output_shape == (None, 3)


@pytest.fixture(scope="module")
def mnist():
    return datasets.load("mnist")


@pytest.mark.parametrize(
    "name", ["alexnet", "zfnet", "vgg16", "vgg19", "googlenet", "resnet34", "mobilenet"]
)
def test_the_deep_networks_learn_256_pictures_by_heart(mnist, name):
    keras.utils.set_random_seed(1)
    model = build(name, mnist.image_shape, 10)
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=8,
        jit_compile=False,
    )
    images, labels = mnist.train_batch(np.arange(256)), mnist.train_labels[:256]
    accuracy = 0.0
    for _ in range(6):
        model.fit(images, labels, batch_size=32, epochs=5, verbose=0)
        accuracy = model.evaluate(images, labels, batch_size=256, verbose=0)[1]
        if accuracy >= 0.95:
            break
    assert accuracy >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs", "least"),
    [
        # The others take minutes: `make results` trains them, and test_bench has the floor. A whole
        # run of the lab (test_runs) has the reference.
        ("compact", 3, 0.985),
        ("lenet5", 1, 0.96),
        ("resnet18", 1, 0.97),
    ],
)
def test_the_small_networks_learn_mnist_in_a_few_epochs(mnist, name, epochs, least):
    """On the validation pictures: what the networks were chosen by. The test set stays unseen."""
    split = preprocess.split(mnist, 0.1, 1)
    training.set_seed(1)
    model = build(name, mnist.image_shape, 10)
    history = training.train(model, mnist, split, recipes.choose("one-cycle", epochs), 1).history
    assert isinstance(history, pd.DataFrame)
    assert history["val_accuracy"].iloc[-1] >= least
