"""Looking inside: every network, known answers, and independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import cosine_distances
from test_figures import test_a_figure_is_described_and_nothing_is_clipped as check_figure

from convnetlab import convolution, explainer, inside_figures, inspection, looking_inside
from convnetlab.architectures import ARCHITECTURES, build
from convnetlab.backend import keras
from convnetlab.errors import LabError

layers = keras.layers
RNG = np.random.default_rng(1)
FROM_A_FILE = ("reference", "compact", "minivgg", "lenet5")  # of both kinds; reading takes a while


def pictures(count, shape=(28, 28, 1)):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8)


def small(*inner, shape=(6, 6, 1), classes=3, activation="softmax"):
    """A Sequential of some layers with a dense one at the end."""
    return keras.Sequential(
        [keras.Input(shape), *inner, layers.Flatten(), layers.Dense(classes, activation)]
    )


def all_of(model, images):
    """What every function makes of pictures, by name."""
    inside = looking_inside.open_up(model)
    return inside, {
        "probabilities": looking_inside.predict(inside, images),
        "grad_cam": looking_inside.grad_cam(inside, images),
        "saliency": looking_inside.saliency(inside, images),
        "occlusion": looking_inside.occlusion(inside, images, size=5, stride=5),
        "features": looking_inside.features_of(inside, images),
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_can_be_looked_into(name, tmp_path):
    keras.utils.set_random_seed(1)
    model, images = build(name, (28, 28, 1), 10), pictures(2)
    opened = model
    if name in FROM_A_FILE:
        model.save(tmp_path / "model.keras")
        opened = keras.models.load_model(tmp_path / "model.keras")
    inside, found = all_of(opened, images)
    expected = np.asarray(model(images, training=False))
    assert np.allclose(found["probabilities"], expected, atol=1e-5)
    for heat in ("grad_cam", "saliency", "occlusion"):
        assert found[heat].shape == images.shape[:3] and np.isfinite(found[heat]).all()
    assert found["saliency"].max() > 0 and found["grad_cam"].min() >= 0
    kernel, bias = inside.head.get_weights()
    logits = found["features"] @ kernel + bias
    assert np.allclose(logits, np.asarray(inside.network(images)), atol=1e-3)
    channels = 3 if name == "efficientnet-lite0" else 1  # to which it repeats a grey one
    assert inside.filters.ndim == 4 and inside.filters.shape[2] == channels
    strongest = looking_inside.strongest_maps(inside, images[0], 3)
    assert list(strongest) == [layer for layer in inspection.stages(model) if layer in strongest]
    for layer, (chosen, maps) in strongest.items():
        assert maps.shape[1:] == inside.map_layers[layer][:2] and len(chosen) == len(maps)
    indices, peaks = looking_inside.most_exciting(inside, inside.stages[0], images, 2)
    assert indices.shape == peaks.shape == (inside.map_layers[inside.stages[0]][2], 2)


@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8, 1), 10), ((20, 12, 3), 2), ((32, 32, 3), 5)]
)
def test_small_pictures_colours_and_two_classes(shape, classes):
    for name in ("reference", "lenet5"):
        _, found = all_of(build(name, shape, classes, width=0.3), pictures(1, shape))
        assert found["probabilities"].shape == (1, classes)
        for heat in ("grad_cam", "saliency", "occlusion"):
            assert found[heat].shape == (1, *shape[:2])


def residual(side):
    """A small functional network with a branch, to be put into another."""
    begin = keras.Input((side, side, 4))
    inner = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(begin)
    return keras.Model(begin, layers.Add()([begin, inner]), name="block")


def test_networks_within_a_network_are_unpacked_wherever_they_were_called_before(tmp_path):
    base = keras.Sequential(
        [layers.Rescaling(1 / 255), layers.Conv2D(4, 3, name="conv"), residual(8)], name="base"
    )
    base(keras.Input((10, 10, 1)))  # from now on layer.output belongs to another network
    begin = keras.Input((10, 10, 1))
    x = layers.GlobalAveragePooling2D()(residual(8)(base(begin)))
    model = keras.Model(begin, layers.Dense(3, "softmax", name="conv")(x))
    model.save(tmp_path / "nested.keras")
    for one in (model, keras.models.load_model(tmp_path / "nested.keras")):
        inside, found = all_of(one, images := pictures(3, (10, 10, 1)))
        assert np.allclose(found["probabilities"], np.asarray(model(images)), atol=1e-6)
        assert not any(looking_inside.is_graph(layer) for layer in inside.network.layers)
        assert {"base.conv", "base.block.conv", "block.conv"} <= set(inside.map_layers)
        assert inside.head.name == "conv" and found["features"].shape == (3, 4)


def test_only_the_first_of_several_outputs_counts():
    begin = keras.Input((9, 9, 1))
    x = layers.Conv2D(3, 3, name="shared")(begin)
    aside = layers.Dense(2, name="aside")(layers.Flatten()(layers.Conv2D(2, 3, name="late")(x)))
    main = layers.Dense(4, "softmax")(layers.GlobalAveragePooling2D()(x))
    inside, found = all_of(keras.Model(begin, [main, aside]), images := pictures(1, (9, 9, 1)))
    expected = np.asarray(keras.Model(begin, main)(images))
    assert np.allclose(found["probabilities"], expected, atol=1e-6)
    assert list(inside.map_layers) == ["shared"] and inside.head.units == 4


@pytest.mark.parametrize("end", ["fused", "layer", "activation", "operation", "logits"])
def test_the_softmax_is_taken_off_wherever_it_stands(end):
    begin = keras.Input((4, 4, 1))
    fused = "softmax" if end == "fused" else None
    logits = layers.Dense(3, fused)(layers.Flatten()(layers.Rescaling(1 / 255)(begin)))
    softmax = {
        "layer": layers.Softmax(),
        "activation": layers.Activation("softmax"),
        "operation": keras.ops.softmax,
    }.get(end, lambda x: x)
    model = keras.Model(begin, softmax(logits))
    images, inside = pictures(5, (4, 4, 1)), looking_inside.open_up(model)
    kernel, bias = model.layers[-1 if end in ("fused", "logits", "operation") else -2].get_weights()
    expected = images.reshape(5, -1) / 255 @ kernel + bias
    assert np.allclose(np.asarray(inside.network(images)), expected, atol=1e-5)
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    assert np.allclose(looking_inside.predict(inside, images), shares, atol=1e-6)


def test_the_network_itself_stays_as_it_is():
    model = build("compact", (28, 28, 1), 10)
    before, description = model.get_weights(), model.to_json()
    all_of(model, pictures(1))
    assert model.to_json() == description
    assert all(map(np.array_equal, before, model.get_weights()))


def averaging(chosen, count=3, side=6):
    """A network whose logit c is the mean of the map `chosen[c]` of one convolution."""
    model = keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Conv2D(count, 3, padding="same", activation="relu", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(chosen), use_bias=False, activation="softmax"),
        ]
    )
    model.layers[-1].set_weights([np.eye(count)[:, chosen]])
    return model


def test_grad_cam_of_a_logit_that_is_a_maps_mean_is_that_map():
    keras.utils.set_random_seed(3)
    inside, images = looking_inside.open_up(averaging([2, 0])), pictures(4, (6, 6, 1))
    maps = looking_inside.maps_of(inside, "maps", images)
    wanted = np.array([0, 1, 1, 0])
    heat = looking_inside.grad_cam(inside, images, wanted)
    for picture, which in enumerate(wanted):
        assert np.allclose(heat[picture], maps[picture, ..., [2, 0][which]] / 36, rtol=1e-4)


def test_grad_cam_agrees_with_finite_differences():
    """All of it again in NumPy, the gradient by moving each number of the maps a little."""
    keras.utils.set_random_seed(5)
    model = small(layers.Conv2D(2, 3, activation="relu", name="maps"), layers.MaxPooling2D(2))
    (kernel, bias), (dense, shift) = model.layers[0].get_weights(), model.layers[-1].get_weights()
    image = pictures(1, (6, 6, 1))
    maps = convolution.relu(convolution.conv2d(image.astype(float), kernel.astype(float), bias))

    def logit(values):
        return (values.reshape(2, 2, 2, 2, 2).max(axis=(1, 3)).reshape(-1) @ dense + shift)[1]

    gradient = np.zeros((4, 4, 2))
    for place in np.ndindex(gradient.shape):
        moved = np.zeros((4, 4, 2))
        moved[place] = 1e-4
        gradient[place] = (logit(maps[0] + moved) - logit(maps[0] - moved)) / 2e-4
    weights = gradient.mean(axis=(0, 1))
    expected = np.maximum((maps[0] * weights).sum(axis=-1), 0)
    inside = looking_inside.open_up(model)
    heat = looking_inside.grad_cam(inside, image, np.array([1]), "maps")[0]
    assert np.allclose(heat[1:5, 1:5], expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(heat[0], heat[1]) and np.array_equal(heat[:, 5], heat[:, 4])


def test_a_single_place_gives_a_uniform_heat_map_and_is_not_chosen_by_itself():
    keras.utils.set_random_seed(1)
    inside = looking_inside.open_up(build("lenet5", (28, 28, 1), 10))
    last = list(inside.map_layers)[-1]
    assert inside.map_layers[last][:2] == (1, 1)
    height, width, _ = inside.map_layers[inside.last_maps]
    assert height * width > 1
    heat = looking_inside.grad_cam(inside, pictures(3), name=last)
    assert (np.ptp(heat, axis=(1, 2)) < 1e-6).all()
    # Where there is no other, it is taken: 8 × 8 pictures and a convolution as large.
    alone = looking_inside.open_up(small(layers.Conv2D(2, 6)))
    assert alone.map_layers[alone.last_maps][:2] == (1, 1)


def pass_on(padding="same"):
    """A convolution that gives back its input."""
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, 1] = 1
    return layers.Conv2D(
        1,
        3,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
    )


@pytest.mark.parametrize(
    ("inner", "furthest"),
    [
        ([pass_on()], 0),
        ([layers.ZeroPadding2D(5), pass_on()], 0),
        ([layers.ZeroPadding2D(((0, 6), (4, 0))), pass_on("valid")], 0),
        ([pass_on(), layers.MaxPooling2D(2)], 1),
        ([layers.ZeroPadding2D(3), pass_on(), layers.MaxPooling2D(3)], 2),
    ],
)
def test_a_map_lies_over_the_picture_where_its_units_see_it(inner, furthest):
    inside = looking_inside.open_up(small(*inner, shape=(12, 12, 1)))
    name = inside.last_maps
    for row, column in ((2, 3), (9, 2), (5, 8)):
        image = np.zeros((1, 12, 12, 1), np.uint8)
        image[0, row, column] = 255
        maps = looking_inside.maps_of(inside, name, image)[..., 0]
        found = inside_figures.hottest(looking_inside.over_picture(inside, name, maps)[0])
        assert np.abs(np.subtract(found, (row, column))).max() <= furthest


def test_layers_of_unknown_reach_are_spread_evenly():
    @keras.saving.register_keras_serializable("tests")
    class Half(layers.Layer):
        def call(self, inputs):
            return inputs[:, ::2, ::2]

    inside = looking_inside.open_up(small(layers.Conv2D(1, 1), Half(name="half"), shape=(8, 4, 1)))
    rows, columns = looking_inside.middles(inside, "half")
    assert rows.tolist() == [0.5, 2.5, 4.5, 6.5] and columns.tolist() == [0.5, 2.5]


def test_saliency_of_a_linear_network_is_the_size_of_its_weights():
    model = small(shape=(5, 4, 3), classes=2)
    kernel = model.layers[-1].get_weights()[0].reshape(5, 4, 3, 2)
    inside, images = looking_inside.open_up(model), pictures(2, (5, 4, 3))
    heat = looking_inside.saliency(inside, images, np.array([1, 0]))
    assert np.allclose(heat[0], np.abs(kernel[..., 1]).max(axis=-1), rtol=1e-5)
    assert np.allclose(heat[1], np.abs(kernel[..., 0]).max(axis=-1), rtol=1e-5)


def test_saliency_does_not_vanish_where_the_network_is_sure():
    model = small(shape=(5, 4, 1), classes=2)
    kernel = np.tile([1.0, -1.0], (20, 1))
    model.layers[-1].set_weights([kernel, np.array([200.0, 0.0])])
    inside, image = looking_inside.open_up(model), pictures(1, (5, 4, 1))
    assert looking_inside.predict(inside, image).max() == 1
    assert np.allclose(looking_inside.saliency(inside, image), 1)


def test_what_the_network_says_is_what_is_explained_by_default():
    inside, images = looking_inside.open_up(build("compact", (28, 28, 1), 4)), pictures(5)
    said = looking_inside.predict(inside, images).argmax(axis=1)
    for method in (looking_inside.grad_cam, looking_inside.saliency, looking_inside.occlusion):
        assert np.allclose(method(inside, images), method(inside, images, said))
        other = method(inside, images, (said + 1) % 4)
        assert not np.allclose(method(inside, images), other)


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 2), (3, 3)])
def test_occlusion_of_a_network_that_sees_one_pixel_is_0_where_no_square_hides_it(size, stride):
    model = small(shape=(9, 9, 1), classes=2)
    kernel = np.zeros((81, 2))
    kernel[4 * 9 + 5, 0] = 0.01
    model.layers[-1].set_weights([kernel, np.zeros(2)])
    image = np.full((1, 9, 9, 1), 100, np.uint8)
    image[0, 4, 5] = 250
    inside = looking_inside.open_up(model)
    heat = looking_inside.occlusion(inside, image, np.array([0]), size, stride)[0]
    masks = looking_inside.squares(9, 9, size, stride)
    hides = masks[:, 4, 5]
    assert np.array_equal(heat != 0, masks[hides].any(axis=0))
    # From a logit of 2.5 to one of 1, for the rim is 100; the other class's is 0.
    fall = 1 / (1 + np.exp(-2.5)) - 1 / (1 + np.exp(-1))
    assert heat[4, 5] == pytest.approx(fall, rel=1e-4)
    assert np.allclose(heat, fall * masks[hides].sum(axis=0) / masks.sum(axis=0), rtol=1e-4)
    turned = looking_inside.occlusion(inside, image, np.array([1]), size, stride)[0]
    assert np.allclose(turned, -heat, atol=1e-6)


@settings(max_examples=50)
@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_the_squares_are_squares_and_cover_every_pixel(height, width, data):
    size = data.draw(st.integers(1, min(height, width)))
    stride = data.draw(st.integers(1, size))
    masks = looking_inside.squares(height, width, size, stride)
    assert masks.any(axis=0).all() and (masks.sum(axis=(1, 2)) == size**2).all()
    assert len(np.unique(masks.reshape(len(masks), -1), axis=0)) == len(masks)


def test_the_background_is_the_rims_most_usual_colour():
    image = np.zeros((7, 5, 3), np.uint8)
    image[...] = (10, 20, 30)
    image[1:6, 1:4] = 255
    image[0, 0] = 255
    assert looking_inside.background(image).tolist() == [10, 20, 30]


def test_the_most_exciting_pictures_are_those_that_brute_force_finds(monkeypatch):
    monkeypatch.setattr(looking_inside, "pictures_at_once", lambda shape: 7)
    inside, images = looking_inside.open_up(averaging([0, 1], count=4)), pictures(20, (6, 6, 1))
    indices, peaks = looking_inside.most_exciting(inside, "maps", images, 5)
    assert indices.shape == peaks.shape == (4, 5)
    kernel, bias = inside.network.get_layer("maps").get_weights()
    for number in range(4):
        padded = np.pad(images[..., 0].astype(float), ((0, 0), (1, 1), (1, 1)))
        best = [
            max(
                0,
                max(
                    (picture[r : r + 3, c : c + 3] * kernel[..., 0, number]).sum() + bias[number]
                    for r in range(6)
                    for c in range(6)
                ),
            )
            for picture in padded
        ]
        order = np.argsort(-np.array(best), kind="stable")
        assert indices[number].tolist() == order[:5].tolist()
        assert np.allclose(peaks[number], sorted(best, reverse=True)[:5], rtol=1e-4)
    assert looking_inside.most_exciting(inside, "maps", images, 99)[0].shape == (4, 20)


def test_the_nearest_is_the_picture_itself_and_the_others_are_brute_forces():
    features = RNG.normal(size=(40, 6)).astype(np.float32)
    indices, distances = looking_inside.nearest(features, features[:7], 40)
    assert indices[:, 0].tolist() == list(range(7))
    assert np.allclose(distances[:, 0], 0, atol=1e-5)
    expected = cosine_distances(features[:7], features)
    assert np.allclose(distances, np.sort(expected, axis=1), atol=1e-5)
    longer, _ = looking_inside.nearest(features, 3 * features[:7], 5)
    assert np.array_equal(longer, indices[:, :5])  # the direction counts, not the length
    for count in (0, 41):
        with pytest.raises(LabError, match="from 1 to 40"):
            looking_inside.nearest(features, features, count)


@pytest.mark.parametrize("count", [4, 31])
def test_few_points_are_mapped_too_and_clusters_stay_apart(count):
    centres = 50 * (np.arange(count) % 2)[:, None]
    points = (RNG.normal(size=(count, 5)) + centres).astype(np.float32)
    found = looking_inside.flat_maps(points, 1)
    assert list(found) == ["PCA", "t-SNE"]
    assert all(places.shape == (count, 2) for places in found.values())
    order = found["PCA"][:, 0] > found["PCA"][:, 0].mean()
    assert len(set(order[::2])) == len(set(order[1::2])) == 1 and order[0] != order[1]


def test_the_same_seed_gives_the_same_map():
    points = RNG.normal(size=(9, 3)).astype(np.float32)
    one, again = (looking_inside.flat_maps(points, 1)["t-SNE"] for _ in range(2))
    assert np.array_equal(one, again)


def test_one_feature_is_enough_and_no_spread_is_not():
    found = looking_inside.flat_maps(np.arange(9, dtype=np.float32)[:, None], 1)
    assert all(np.isfinite(places).all() for places in found.values())
    with pytest.raises(LabError, match="are the same"):
        looking_inside.flat_maps(np.ones((9, 3), np.float32), 1)
    for count in (3, 2001):
        with pytest.raises(LabError, match=r"4 to 2,000"):
            looking_inside.flat_maps(np.zeros((count, 3), np.float32), 1)


def test_likeness_is_spearmans_rank_correlation():
    first, second = RNG.integers(0, 9, (3, 5, 4)), RNG.normal(size=(3, 5, 4))
    expected = [spearmanr(first[n].ravel(), second[n].ravel()).statistic for n in range(3)]
    assert np.allclose(looking_inside.likeness(first, second), expected)
    assert np.allclose(looking_inside.likeness(second, 3 * second + 1), 1)
    assert np.isnan(looking_inside.likeness(np.ones((1, 5, 4)), second[:1])).all()


def test_the_untrained_twin_has_new_weights_which_the_seed_decides():
    model = build("reference", (28, 28, 1), 10)
    one, same, other = (looking_inside.untrained(model, seed) for seed in (1, 1, 2))
    kernels = [network.get_weights()[0] for network in (model, one, same, other)]
    assert np.array_equal(kernels[1], kernels[2])
    assert not any(np.allclose(kernels[1], kernels[number]) for number in (0, 3))
    assert one.count_params() == model.count_params()


class Hidden(keras.Model):
    def call(self, inputs):
        return inputs


def two_inputs():
    one, other = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    return keras.Model([one, other], layers.Flatten()(layers.Add()([one, other])))


def without_weights():
    begin = keras.Input((4, 4, 1))
    return keras.Model(begin, layers.Flatten()(begin))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Hidden, "is a Hidden, whose layers are hidden"),
        (two_inputs, "must have one input"),
        (lambda: keras.Sequential([layers.Flatten(), layers.Dense(2)]), "keras.Input"),
        (lambda: keras.Sequential([keras.Input((9,)), layers.Dense(2)]), r"takes \(9,\)"),
        (lambda: small(classes=2, activation="sigmoid"), "ends with 'sigmoid'"),
        (lambda: small(classes=1, activation=None), r"shape \(1,\)"),
        (
            lambda: keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 1)]),
            r"shape \(4, 4, 2\)",
        ),
        (without_weights, "no dense and no convolutional layer"),
    ],
)
def test_what_cannot_be_opened_is_refused(make, message):
    with pytest.raises(LabError, match=message):
        looking_inside.open_up(make())


def test_a_network_without_convolutions_has_no_maps_but_the_rest():
    inside, images = looking_inside.open_up(small()), pictures(2, (6, 6, 1))
    assert inside.stages == []
    with pytest.raises(LabError, match="no feature maps"):
        looking_inside.grad_cam(inside, images)
    with pytest.raises(LabError, match="no filters"):
        _ = inside.filters
    assert looking_inside.saliency(inside, images).shape == (2, 6, 6)
    assert looking_inside.occlusion(inside, images).shape == (2, 6, 6)


def test_a_layer_or_a_square_that_does_not_fit_is_refused():
    inside, images = looking_inside.open_up(averaging([0, 1])), pictures(1, (6, 6, 1))
    with pytest.raises(LabError, match="one with maps: maps"):
        looking_inside.grad_cam(inside, images, name="conv5")
    for size, stride in ((7, 1), (0, 1), (2, 0), (2, 3)):
        with pytest.raises(LabError, match="from 1 to 6"):
            looking_inside.occlusion(inside, images, size=size, stride=stride)


GREY, COLOUR = pictures(6, (8, 8, 1)), pictures(5, (9, 5, 3))
HEAT = RNG.normal(size=(6, 8, 8)).astype(np.float32)
NAMES = ["a rather long class name", *"123456789"]
POINTS = {name: RNG.normal(size=(200, 2)) for name in ("PCA", "t-SNE")}
FIGURES = {
    "heat": lambda: inside_figures.heat_maps(
        GREY, ["is 3,\nsays 5"] * 6, {"Grad-CAM": np.abs(HEAT), "occlusion": HEAT}, "Heat"
    ),
    "heat in colour": lambda: inside_figures.heat_maps(
        COLOUR, [""] * 5, {"convolution4_normalise": np.ones((5, 9, 5), np.float32)}, "Heat"
    ),
    "one picture": lambda: inside_figures.heat_maps(
        GREY[:1], ["a 7"], {"Grad-CAM": HEAT[:1], "saliency": 0 * HEAT[:1]}, "One picture" * 5
    ),
    "exciting": lambda: inside_figures.exciting(
        {f"map {n}": (GREY, np.abs(HEAT), np.arange(6.0)) for n in (3, 14)}, "Exciting"
    ),
    "neighbours": lambda: inside_figures.neighbours(
        COLOUR[:2],
        ["is 3,\nsays 5", "is 4"],
        COLOUR[None, :3].repeat(2, axis=0),
        np.array([[0, 1, 2], [3, 4, 5]]),
        np.full((2, 3), 0.1234),
        NAMES,
        "Neighbours",
    ),
    "features": lambda: inside_figures.feature_map(
        POINTS, np.arange(200) % 10, np.arange(200) % 9, NAMES, "Features"
    ),
    "many classes": lambda: inside_figures.feature_map(
        {"PCA": POINTS["PCA"]},
        np.arange(200) % 47,
        np.arange(200) % 47,
        [str(n) for n in range(47)],
        "Features",
    ),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_the_figures_are_described_and_nothing_is_clipped(make):
    check_figure(make)


def test_the_alternative_texts_tell_what_is_seen():
    heat = np.zeros((1, 8, 8), np.float32)
    heat[0, 3, 6] = 1
    maps = {"Grad-CAM": heat, "saliency": 0 * heat, "occlusion": 0 * heat + 2}
    alt = inside_figures.heat_maps(GREY[:1], ["a 7"], maps, "Heat").alt
    assert "Grad-CAM is hottest in row 3, column 6" in alt
    assert "saliency is all 0" in alt and "occlusion is all the same" in alt
    assert "200 pictures of 10 classes" in FIGURES["features"]().alt
    assert "is 4: 3, 4, 5" in FIGURES["neighbours"]().alt
    assert "map 3 reaches 0.00" in FIGURES["exciting"]().alt


def test_heat_tints_a_picture_by_its_sign_and_strength():
    grey = np.full((1, 3, 1), 100, np.uint8)
    warm = inside_figures.warmed(grey, np.array([[2.0, 0.0, -1.0]])).astype(int)
    assert warm.shape == (1, 3, 3) and warm[0, 1].tolist() == [120] * 3
    assert warm[0, 0, 0] > 180 > 100 > warm[0, 0, 2] and warm[0, 2, 2] > 130 > warm[0, 2, 0]


def test_the_explainer_shows_the_chosen_picture_and_class():
    asked = []

    def heats(image, wanted):
        asked.append((int(image[0, 0, 0, 0]), None if wanted is None else wanted.tolist()))
        return {"Grad-CAM": HEAT[:1]}

    images = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    shown = explainer.explain_answers(images, list("abcd"), ["cat", "dog"], heats)
    assert "Picture 1: what speaks for what it says" in shown.draw().alt
    shown.controls["picture"].value = 3
    shown.controls["class"].index = 2
    asked.clear()
    assert "Picture 3: what speaks for dog" in shown.draw().alt
    assert asked == [(2, [1])]


def test_captions_say_what_it_is_and_what_is_said():
    captions = inside_figures.answers(np.array([1, 0]), np.array([1, 2]), NAMES)
    assert captions == ["is 1\nsays 1", "is a rather…\nsays 2"]
