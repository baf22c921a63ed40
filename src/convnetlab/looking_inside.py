"""What a network's answer is sensitive to, what excites its maps, what it finds alike.

All of it works on a copy that `open_up` makes of a network, of whatever layers: the layers are
found by what they are, never by their names. **Maps** are what a layer gives that keeps rows and
columns; the **features** are the numbers that go into the last layer with weights, the **head**;
the **logits** are what comes out of that before softmax makes probabilities of them.

A heat map shows what the answer is sensitive to. It is no proof of a reason: see `likeness`, which
holds it against the heat map of a network that has learnt nothing.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab import inspection
from convnetlab.backend import keras, tf
from convnetlab.errors import LabError
from convnetlab.streams import pictures_at_once

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Tensor = Any  # Keras's and TensorFlow's

layers = keras.layers
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
HEADS = (layers.Dense, layers.Conv2D)

LARGE = 64  # pixels: the shorter side of a picture that squares are moved over in larger steps
MOST_POINTS, FEWEST_POINTS = 2_000, 4  # of a map of the features
COMPONENTS, PERPLEXITY = 50, 30.0  # what t-SNE is given, and how many neighbours it minds


@dataclass(frozen=True)
class Inside:
    """A network laid open, as `open_up` does.

    Attributes:
        network: raw pixels (N, H, W, C) to logits (N, classes); none of its layers is a network.
        head: its last layer with weights.
    """

    network: keras.Model
    head: keras.Layer

    @functools.cached_property
    def map_layers(self) -> dict[str, tuple[int, int, int]]:
        """Layers that give maps, from the first convolution on: (height, width, maps) by name."""
        before = self.network.layers[: self.network.layers.index(self.head)]
        kinds = [isinstance(layer, CONVOLUTIONS) for layer in before]
        found = before[kinds.index(True) :] if any(kinds) else []
        shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in found}
        return {name: shape for name, shape in shapes.items() if len(shape) == 3}

    @property
    def stages(self) -> list[str]:
        """Those of `map_layers` that are the last with maps of their size."""
        return [name for name in inspection.stages(self.network) if name in self.map_layers]

    @property
    def last_maps(self) -> str:
        """The last layer whose maps have more than one place, or else the last one with maps.

        Raises:
            LabError: no layer makes maps.
        """
        if not self.map_layers:
            raise LabError(
                "This network has no convolution before its last layer, so it has no feature maps. "
                "Look at its saliency and occlusion instead."
            )
        names = list(self.map_layers)
        wide = [name for name, (height, width, _) in self.map_layers.items() if height * width > 1]
        return (wide or names)[-1]

    @property
    def filters(self) -> Floats:
        """The kernels of the first convolution, (height, width, channels, filters).

        Raises:
            LabError: there is none.
        """
        for layer in self.network.layers:
            if isinstance(layer, CONVOLUTIONS):
                return np.asarray(layer.get_weights()[0], np.float32)
        raise LabError("This network has no convolution, so it has no filters to show.")


def open_up(model: keras.Model) -> Inside:
    """Copy a network, with its weights, into a form whose every layer can be looked at.

    Networks within the network are unpacked, outputs after the first are left off, and the softmax
    at the end is taken off: its gradients vanish where the network is sure (`slopes`).

    Args:
        model: Sequential or functional, built here or loaded from a file; it is not changed. Takes
            raw pixels (N, H, W, C); its first output is probabilities or logits (N, classes).

    Raises:
        LabError: it is of another kind, or its input or its first output is not such.
    """
    check(model)
    picture = keras.Input(model.inputs[0].shape[1:], name="picture")
    copies: dict[int, tuple[keras.Layer, keras.Layer]] = {}
    output = keras.tree.flatten(call_copies(model, picture, copies))[0]
    for layer, copy in copies.values():
        if getattr(layer, "weights", None):
            copy.set_weights(layer.get_weights())
    network = keras.Model(picture, without_softmax(keras.Model(picture, output)), name=model.name)
    if len(network.output.shape) != 2 or network.output.shape[1] < 2:
        raise LabError(
            f"The network's first output has the shape {tuple(network.output.shape[1:])}; it must "
            "have a number a class, of two classes or more."
        )
    heads = [layer for layer in network.layers if isinstance(layer, HEADS)]
    if not heads:
        raise LabError("The network has no dense and no convolutional layer: it has no features.")
    return Inside(network, heads[-1])


def check(model: keras.Model) -> None:
    """Refuse a network that cannot be taken apart.

    Raises:
        LabError: it is neither Sequential nor functional, or takes no pictures of one size.
    """
    if not is_graph(model):
        raise LabError(
            f"The network is a {type(model).__name__}, whose layers are hidden in its code. It "
            "must be a Sequential or a functional model."
        )
    if not model.built or len(model.inputs) != 1:
        raise LabError("The network must have one input. Begin it with keras.Input((H, W, C)).")
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or None in shape:
        raise LabError(f"The network takes {shape}; it must take pictures of one size, (H, W, C).")


def is_graph(layer: keras.Layer) -> bool:
    """Tell whether a layer is a network whose layers can be had: Sequential or functional."""
    return isinstance(layer, keras.Sequential) or hasattr(layer, "_run_through_graph")


def call_copies(
    model: keras.Model,
    inputs: Tensor,
    copies: dict[int, tuple[keras.Layer, keras.Layer]],
    prefix: str = "",
) -> Tensor:
    """Send a symbolic tensor through copies of a network's layers; return what comes out.

    `layer.output` is of no use for this: it belongs to the first network that the layer was called
    in, which need not be this one.

    Args:
        model: whose layers.
        inputs: what goes in.
        copies: gets each layer with its copy, by id.
        prefix: goes before the copies' names, for networks within a network.
    """

    def call(layer: keras.Layer, *given: Tensor, **more: Any) -> Tensor:
        if is_graph(layer):
            return call_copies(layer, given[0], copies, f"{prefix}{layer.name}.")
        if id(layer) not in copies:
            settings = layer.get_config()
            if "name" in settings:
                settings["name"] = prefix + layer.name
            copies[id(layer)] = layer, type(layer).from_config(settings)
        return copies[id(layer)][1](*given, **more)

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = call(layer, inputs)
        return inputs
    # What keras.models.clone_model does; that one keeps networks within the network closed.
    return model._run_through_graph(inputs, operation_fn=lambda layer: layer, call_fn=call)


def without_softmax(network: keras.Model) -> Tensor:
    """Return a network's output before its softmax, if it has one.

    Raises:
        LabError: it ends with another activation.
    """
    last = network.operations[-1]
    if type(last).__name__ == "Softmax":  # a layer, or an operation
        return last.input
    activation = getattr(last, "activation", None)
    if activation in (None, keras.activations.linear):
        return network.output
    if activation is not keras.activations.softmax:
        raise LabError(
            f"The network ends with {getattr(activation, '__name__', activation)!r}; it must end "
            "with softmax, or with logits."
        )
    linear = type(last).from_config({**last.get_config(), "activation": "linear"})
    output = linear(last.input)
    linear.set_weights(last.get_weights())
    return output


def untrained(model: keras.Model, seed: int) -> keras.Model:
    """Return the same network with new random weights, which the seed decides."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def in_chunks(function: Callable[[Pixels], Tensor], images: Pixels) -> Floats:
    """Return what a function makes of pictures, a chunk at a time, float32."""
    parts = [np.asarray(function(chunk)) for chunk in chunks(images)]
    return np.concatenate(parts, dtype=np.float32)


def chunks(images: Pixels) -> list[Pixels]:
    """Return pictures (N, H, W, C) in as many parts as memory asks for; one, if there are none."""
    count = pictures_at_once(images.shape[1:])
    return [images[start : start + count] for start in range(0, max(1, len(images)), count)]


def predict(inside: Inside, images: Pixels) -> Floats:
    """Return the probabilities, (N, classes), of pictures (N, H, W, C)."""
    return in_chunks(lambda chunk: tf.nn.softmax(inside.network(chunk, training=False)), images)


def probe(inside: Inside, name: str) -> keras.Model:
    """Return a network from pictures to the maps of the layer `name` and the logits.

    Raises:
        LabError: no such layer gives maps.
    """
    if name not in inside.map_layers:
        raise LabError(
            f"The layer is {name!r}; it must be one with maps: {', '.join(inside.map_layers)}."
        )
    maps = inside.network.get_layer(name).output
    return keras.Model(inside.network.inputs[0], [maps, inside.network.output])


def maps_of(inside: Inside, name: str, images: Pixels) -> Floats:
    """Return the maps of the layer `name`, (N, h, w, maps), of pictures (N, H, W, C)."""
    looking = probe(inside, name)
    return in_chunks(lambda chunk: looking(chunk, training=False)[0], images)


def strongest_maps(inside: Inside, image: Pixels, count: int) -> dict[str, tuple[Integers, Floats]]:
    """Return, by stage, the numbers of the maps (h, w) that answer most strongly, and the maps.

    Args:
        inside: the network.
        image: one picture, (H, W, C).
        count: maps a stage; fewer where there are fewer.

    Returns:
        Numbers, (count,), and maps, (count, h, w), the strongest first: with the largest number
        anywhere.
    """
    found, outputs = {}, inspection.layer_outputs(inside.network, image[None])
    for name in inside.stages:
        maps = outputs[name][0]
        chosen = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:count]
        found[name] = (chosen, np.moveaxis(maps[..., chosen], -1, 0))
    return found


def slopes(
    inside: Inside, images: Pixels, wanted: Integers | None, name: str | None
) -> tuple[Floats, Floats]:
    """Return the gradient of each picture's logit, and what it was taken by.

    Of the logit, not of the probability p: the softmax has the slope p·(1 − p), and even the
    logarithm of p has 1 − p. Where the network is sure these are next to 0, or exactly 0 in
    float32, and the heat map would be empty just where an explanation is wanted.

    Args:
        inside: the network.
        images: (N, H, W, C).
        wanted: whose logit, (N,); None for what the network says.
        name: the layer whose maps it is taken by; None for the pixels.

    Returns:
        Pixels or maps, (N, h, w, c), and the gradients, of the same shape.
    """
    looking = probe(inside, name) if name else None
    parts, start = [], 0
    for chunk in chunks(images):
        asked = None if wanted is None else wanted[start : start + len(chunk)]
        parts.append(slopes_of_chunk(inside, looking, chunk, asked))
        start += len(chunk)
    looked_at, gradients = (np.concatenate(each) for each in zip(*parts, strict=True))
    return looked_at, gradients


def slopes_of_chunk(
    inside: Inside, looking: keras.Model | None, images: Pixels, wanted: Integers | None
) -> tuple[Floats, Floats]:
    """Return what `slopes` does, for as many pictures as go through a network at once.

    Args:
        inside: the network.
        looking: the `probe` of the layer whose maps it is taken by; None for the pixels.
        images: (N, H, W, C).
        wanted: whose logit, (N,); None for what the network says.
    """
    pixels = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        if looking:
            looked_at, logits = looking(pixels, training=False)
        else:
            looked_at, logits = pixels, inside.network(pixels, training=False)
        chosen = tf.argmax(logits, axis=1) if wanted is None else wanted
        # No picture's logit depends on another picture, so one gradient of the sum has them all.
        score = tf.reduce_sum(tf.gather(logits, chosen, axis=1, batch_dims=1))
    gradients = tape.gradient(score, looked_at, unconnected_gradients="zero")
    return np.asarray(looked_at), np.asarray(gradients)


def saliency(inside: Inside, images: Pixels, wanted: Integers | None = None) -> Floats:
    """Return how much a logit changes with each pixel, logits a grey level, (N, H, W), 0 or more.

    The largest absolute gradient of a pixel's channels.

    Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
    classification models and saliency maps" (2014), section 3.

    Args:
        inside: the network.
        images: (N, H, W, C).
        wanted: whose logit, (N,); None for what the network says.
    """
    changes: Floats = np.abs(slopes(inside, images, wanted, None)[1]).max(axis=-1)
    return changes


def weigh_maps(maps: Floats, gradients: Floats) -> Floats:
    """Return maps added up, each weighted with its mean gradient, what is negative set to 0.

    Args:
        maps: (N, h, w, maps).
        gradients: of a logit by them, of the same shape.

    >>> maps, gradients = np.ones((1, 2, 2, 2)), np.zeros((1, 2, 2, 2))
    >>> gradients[0, 0, 0] = 4, -2
    >>> weigh_maps(maps, gradients).tolist()
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    weights = gradients.mean(axis=(1, 2))
    evidence: Floats = np.einsum("nhwc,nc->nhw", maps, weights)
    return np.maximum(evidence, 0)


def grad_cam(
    inside: Inside, images: Pixels, wanted: Integers | None = None, name: str | None = None
) -> Floats:
    """Return where a layer's maps speak for a class, over the picture, (N, H, W), 0 or more.

    A map of a single place has one number for the whole picture: Grad-CAM is then uniform.

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization" (2017), section 3. There the map is stretched over the picture; here each unit
    stands in the middle of what it sees (`over_picture`).

    Args:
        inside: the network.
        images: (N, H, W, C).
        wanted: which class, (N,); None for what the network says.
        name: the layer, one of `Inside.map_layers`; None for `Inside.last_maps`.

    Raises:
        LabError: there are no maps, or no such layer has any.
    """
    name = name or inside.last_maps
    return over_picture(inside, name, weigh_maps(*slopes(inside, images, wanted, name)))


def over_picture(inside: Inside, name: str, maps: Floats) -> Floats:
    """Return maps (N, h, w) of a layer enlarged to the picture's size, (N, H, W).

    Each unit is put in the middle of the pixels that it sees; between units it is interpolated
    linearly, and beyond the outermost it stays. Stretching alone would shift the maps of a network
    that pads small pictures, as most networks here do.
    """
    rows, columns = (
        weights_of_units(places, side)
        for places, side in zip(
            middles(inside, name), inside.network.inputs[0].shape[1:3], strict=True
        )
    )
    enlarged: Floats = np.einsum("yh,nhw,xw->nyx", rows, maps, columns).astype(np.float32)
    return enlarged


def weights_of_units(places: Doubles, side: int) -> Doubles:
    """Return the share of each unit in each of `side` pixels, (side, units), units at `places`."""
    ones = np.eye(len(places))
    return np.stack([np.interp(np.arange(side), places, one) for one in ones], axis=1)


def middles(inside: Inside, name: str) -> tuple[Doubles, Doubles]:
    """Return the row and the column in the middle of what each unit sees, (h,) and (w,)."""
    units, picture = inside.map_layers[name][:2], inside.network.inputs[0].shape[1:3]
    try:
        field: Any = inspection.receptive_fields(inside.network).set_index("layer").loc[name]
    except (ValueError, KeyError):  # branches or layers that it does not know: spread them evenly
        steps = tuple(side / count for side, count in zip(picture, units, strict=True))
        field = {"start": (0, 0), "size": steps, "stride": steps}
    firsts = [
        start + (size - 1) / 2 for start, size in zip(field["start"], field["size"], strict=True)
    ]
    rows, columns = (
        first + step * np.arange(count, dtype=float)
        for first, step, count in zip(firsts, field["stride"], units, strict=True)
    )
    return rows, columns


def occlusion(
    inside: Inside,
    images: Pixels,
    wanted: Integers | None = None,
    size: int | None = None,
    stride: int | None = None,
) -> Floats:
    """Return how much a class's probability falls when a pixel is hidden, (N, H, W), −1..1.

    A square of the picture's `background` hides one part after another. A pixel gets the mean over
    the squares that lie on it; below 0, hiding it makes the network surer.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014),
    section 4.2, where the square is grey.

    Args:
        inside: the network.
        images: (N, H, W, C).
        wanted: which class, (N,); None for what the network says.
        size: the square's side, in pixels; None for a quarter of the picture's shorter side.
        stride: how far it moves; None for a third of its side, or half of it in pictures of more
            than 64 pixels, where more places would take minutes and show no more.

    Raises:
        LabError: the square does not fit into the picture, or leaves pixels out as it moves.
    """
    height, width = images.shape[1:3]
    size = max(1, round(min(height, width) / 4)) if size is None else size
    steps = 2 if min(height, width) > LARGE else 3
    stride = max(1, size // steps) if stride is None else stride
    if not 1 <= stride <= size <= min(height, width):
        raise LabError(
            f"size is {size} and stride {stride}; the pictures are {height} × {width}: size must "
            f"be from 1 to {min(height, width)}, and stride from 1 to size."
        )
    masks = squares(height, width, size, stride)
    before = predict(inside, images)
    chosen = before.argmax(axis=1) if wanted is None else wanted
    heat = np.empty(images.shape[:3], np.float32)
    for number, (image, which) in enumerate(zip(images, chosen, strict=True)):
        hidden = np.where(masks[..., None], background(image), image)
        falls = before[number, which] - predict(inside, hidden)[:, which]
        heat[number] = np.tensordot(falls, masks, 1) / masks.sum(axis=0)
    return heat


def squares(height: int, width: int, size: int, stride: int) -> NDArray[np.bool_]:
    """Return every place of a square as a mask, (places, H, W); together they cover every pixel."""
    tops, lefts = ([*range(0, side - size, stride), side - size] for side in (height, width))
    masks = np.zeros((len(tops) * len(lefts), height, width), bool)
    corners = [(top, left) for top in tops for left in lefts]
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + size, left : left + size] = True
    return masks


def background(image: Pixels) -> Pixels:
    """Return the colour of a picture's (H, W, C) rim, (C,): the median of its outermost pixels."""
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.asarray(np.median(rim, axis=0), np.uint8)


def most_exciting(inside: Inside, name: str, images: Pixels, count: int) -> tuple[Integers, Floats]:
    """Return which pictures make each map of a layer largest anywhere.

    Source: Zeiler and Fergus (2014), figure 2.

    Args:
        inside: the network.
        name: the layer, one of `Inside.map_layers`.
        images: (N, H, W, C).
        count: how many; fewer where there are fewer.

    Returns:
        Their places among `images` and the map's largest numbers, both (maps, count), the
        largest first.
    """
    looking = probe(inside, name)
    peaks = in_chunks(
        lambda chunk: tf.reduce_max(looking(chunk, training=False)[0], (1, 2)), images
    )
    order = np.argsort(-peaks, axis=0, kind="stable")[:count]
    return order.T, np.take_along_axis(peaks, order, axis=0).T


def features_of(inside: Inside, images: Pixels) -> Floats:
    """Return what goes into the head, (N, features), for pictures (N, H, W, C)."""
    features = keras.Model(inside.network.inputs[0], inside.head.input)
    found = in_chunks(lambda chunk: features(chunk, training=False), images)
    return found.reshape(len(found), -1)


def flat_maps(features: Floats, seed: int) -> dict[str, Floats]:
    """Lay points of many dimensions out in two, by PCA and by t-SNE.

    PCA looks from the side from which the points are spread most. t-SNE (van der Maaten and Hinton,
    2008) keeps neighbours together: near is alike, but far means little, and neither have the axes
    a meaning. It gets the first 50 components of PCA. Both are scikit-learn's.

    Args:
        features: (N, F).
        seed: of t-SNE.

    Returns:
        By name, (N, 2).

    Raises:
        LabError: there are too few or too many points, or they are all the same.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count = len(features)
    if not FEWEST_POINTS <= count <= MOST_POINTS:
        raise LabError(
            f"There are {count} points; a map takes {FEWEST_POINTS} to {MOST_POINTS:,}. "
            "Give more pictures, or fewer."
        )
    if not features.std(axis=0).any():
        raise LabError("The features of all pictures are the same: there is nothing to map.")
    wide = np.pad(features, ((0, 0), (0, max(0, 2 - features.shape[1]))))  # two dimensions or more
    components = PCA(min(COMPONENTS, *wide.shape), random_state=seed).fit_transform(wide)
    # Each point minds about so many neighbours; there must be three times as many others.
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    embedding = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    # On a busy machine its threads would wait for each other.
    with threadpool_limits(1):
        return {"PCA": components[:, :2], "t-SNE": embedding.fit_transform(components)}


def nearest(features: Floats, queries: Floats, count: int) -> tuple[Integers, Floats]:
    """Return the points whose direction is most like each query's: the smallest cosine distance.

    1 − cosine of the angle: 0 for the same direction, 1 for a right angle, or where all is 0.

    Args:
        features: the points, (N, F).
        queries: (Q, F).
        count: how many for each.

    Returns:
        Their places among the points, and their distances, both (Q, count), the nearest first.

    Raises:
        LabError: there are not so many points.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= count <= len(features):
        raise LabError(f"count is {count}; it must be from 1 to {len(features)}, the points given.")
    found = NearestNeighbors(n_neighbors=count, metric="cosine").fit(features).kneighbors(queries)
    return found[1], found[0].astype(np.float32)


def likeness(first: Floats, second: Floats) -> Doubles:
    """Return how alike heat maps (N, H, W) of the same pictures are, (N,): rank correlations.

    1: the same order of pixels, 0: no relation. Not a number where a heat map is uniform.

    Where the heat map of a trained network is much like that of an untrained one, it shows the
    picture (its edges) rather than what was learnt. Source: Adebayo et al., "Sanity checks for
    saliency maps" (2018), section 3.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(heat.reshape(len(heat), -1), axis=1) for heat in (first, second)]
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    sizes = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    sums = (one * other).sum(axis=1)
    found: Doubles = np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0)
    return found
