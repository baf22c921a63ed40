"""Transfer learning: what a network has learnt from some classes helps with others, or does not.

The classes are halved: a network is trained on the first half, the *source* (the digits 0 to 4),
and then used for the other half, the *target* (5 to 9), of which there are few labelled pictures.
Its **base** is what lies before the first dense layer: convolutions, poolings, and what makes
their maps one row of numbers, the *features*. The dense layers are the **head**; they know the
source's classes only, and are thrown away.

Three ways use the trained base: its features for a linear classifier, a new head on it, and
fine-tuning. Two are held against them: training from scratch, and the features of a base that was
never trained, for what a linear classifier reaches with those is no merit of the source. All see
the same pictures. Accuracies are measured on pictures of the target classes: the recorded ones on
test pictures. What could be chosen, `SETTINGS`, was chosen before, on validation pictures
(`compare` with `part="validation"`), for the lab sheet's network on MNIST.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab import architectures, datasets, preprocess, recipes, streams, training
from convnetlab.backend import keras, tf
from convnetlab.datasets import Dataset
from convnetlab.errors import LabError
from convnetlab.inspection import layers_of
from convnetlab.preprocess import part_of

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Say = Callable[[str], object]

SIZES = (10, 30, 100, 1_000)  # examples a class
SEEDS = (1, 2, 3, 4, 5)
FEWEST_CLASSES = 4  # two to learn from, two to carry over to
LOOKS = 10_000  # pictures that the source training looks at, at least, repetitions counted
CHUNK = 1_000  # pictures that go through a network at once, where nothing is learnt

FROM_SCRATCH, UNTRAINED = "from scratch", "untrained features"
FEATURES, NEW_HEAD, FINE_TUNED = "trained features", "new head", "fine-tuned"
METHODS = (FROM_SCRATCH, UNTRAINED, FEATURES, NEW_HEAD, FINE_TUNED)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be chosen, the same for every number of examples.

    Attributes:
        recipe: what the source is learnt with, one of `recipes.RECIPES`.
        batch_size: pictures a step on the target; fewer where there are fewer.
        steps: training steps of the new head, and again of the fine-tuning. From scratch it is
            twice as many, so that no way gets more steps than that one.
        head_rate: the highest learning rate of the new head's one-cycle schedule.
        fine_rate: that of the fine-tuning: smaller, for good weights are to be changed a little.
        scratch_rate: that of the training from scratch.
        inverse_penalty: C of the logistic regression on features.
        rounds: how many it takes at most.
    """

    recipe: str = "one-cycle"
    batch_size: int = 32
    steps: int = 300
    head_rate: float = 0.1
    fine_rate: float = 0.02
    scratch_rate: float = 0.1
    inverse_penalty: float = 0.1
    rounds: int = 50


SETTINGS = Settings()


def source_classes(classes: int) -> int:
    """Return how many classes are the source: 0 to that number, less one; the rest is the target.

    Raises:
        LabError: there are too few classes to halve.

    >>> source_classes(10)
    5
    """
    if classes < FEWEST_CLASSES:
        raise LabError(
            f"The data set has {classes} classes; to halve them takes {FEWEST_CLASSES} or more."
        )
    return classes // 2


def can_be_halved(split: pd.DataFrame, classes: int) -> bool:
    """Tell whether there are classes and training pictures enough to learn from one half.

    Args:
        split: as `preprocess.split` makes it.
        classes: of the data set.
    """
    if classes < FEWEST_CLASSES:
        return False
    labels = split.loc[split["part"] == "train", "label"]
    of_source = int((labels < source_classes(classes)).sum())
    batch = recipes.choose(SETTINGS.recipe).batch_size
    return bool(labels.value_counts().min() >= min(SIZES) and of_source >= batch)


def source_split(split: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Return the rows of a split (`preprocess.split`) whose label is one of the source's."""
    return split[split["label"] < source_classes(classes)].reset_index(drop=True)


def target_split(split: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Return the rows of a split with the target's labels, which count from 0 again."""
    first = source_classes(classes)
    rows = split[split["label"] >= first]
    return rows.assign(label=rows["label"] - first).reset_index(drop=True)


def few_examples(target: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """Return `per_class` training rows of every class, chosen at random.

    Nested: with the same seed, the rows for 10 a class are among those for 30.

    Args:
        target: rows of a split; only those of the part `train` are taken.
        per_class: how many of each class.
        seed: the same seed gives the same rows.

    Raises:
        LabError: `per_class` is less than 1, or more than a class has.
    """
    rows = target[target["part"] == "train"]
    available = int(rows["label"].value_counts().min())
    if not 1 <= per_class <= available:
        raise LabError(
            f"per_class is {per_class}; it must be from 1 to {available}, for the smallest class "
            f"has {available} training pictures."
        )
    chosen = []
    for label, members in rows.groupby("label"):
        order = np.random.default_rng([seed, int(str(label))]).permutation(len(members))
        chosen.append(members.iloc[order[:per_class]])
    return pd.concat(chosen, ignore_index=True)


def affordable(target: pd.DataFrame, sizes: Iterable[int] = SIZES) -> tuple[int, ...]:
    """Return those numbers of examples a class for which every class has training pictures.

    Raises:
        LabError: there are none.
    """
    available = int(target.loc[target["part"] == "train", "label"].value_counts().min())
    found = tuple(size for size in sizes if size <= available)
    if not found:
        raise LabError(
            f"The smallest class has {available} training pictures; it takes {min(sizes)} or more."
        )
    return found


def with_classes(model: keras.Model, classes: int) -> keras.Model:
    """Return the same network with new random weights and `classes` outputs.

    Raises:
        LabError: see `check_network`.
    """
    check_network(model)

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        settings = layer.get_config()
        if layer.name == "probabilities":
            settings["units"] = classes
        return type(layer).from_config(settings)

    return keras.models.clone_model(model, clone_function=copy_layer)


def check_network(model: keras.Model) -> None:
    """Refuse a network that has no base to cut off.

    Raises:
        LabError: it has several outputs, or its last layer is not a dense one, `probabilities`.
    """
    last = layers_of(model)[-1]
    if len(model.outputs) > 1 or last.name != "probabilities":
        raise LabError(
            f"The network {model.name!r} has {len(model.outputs)} output(s) and ends in "
            f"{last.name!r}; transfer needs one output, a dense layer named 'probabilities'."
        )


def base_of(model: keras.Model) -> keras.Model:
    """Return a network's base, which ends where its first dense layer begins; weights are shared.

    The dense layers see the whole picture at once and answer for the source's classes; what they
    make of the features is more special than the features. So all of them are cut off.

    Returns:
        A model from raw pixels, uint8 (N, H, W, C), to features, float32 (N, F).

    Raises:
        LabError: see `check_network`.
    """
    check_network(model)
    first = next(layer for layer in layers_of(model) if isinstance(layer, keras.layers.Dense))
    return keras.Model(model.inputs[0], first.input, name=f"{model.name}_base")


def pretrain(
    model: keras.Model,
    dataset: Dataset,
    split: pd.DataFrame,
    seed: int,
    epochs: int = 0,
    settings: Settings = SETTINGS,
) -> training.Trained:
    """Train a network like `model`, with new weights, on the source's classes.

    Args:
        model: the network; it is not changed.
        dataset: where the pictures are.
        split: all classes, as `preprocess.split` makes it.
        seed: decides the first weights and the order of the pictures.
        epochs: how many at least, 0 for the recipe's own number; there are more where the source
            has few pictures, so that `LOOKS` are looked at in all.
        settings: names the recipe.
    """
    classes = len(dataset.classes)
    training.set_seed(seed)
    fresh = with_classes(model, source_classes(classes))
    rows = source_split(split, classes)
    recipe = recipes.choose(settings.recipe, epochs)
    least = math.ceil(LOOKS / (rows["part"] == "train").sum())
    recipe = recipes.choose(settings.recipe, max(least, recipe.epochs))
    return training.train(fresh, dataset, rows, recipe, seed)


def outputs(model: keras.Model, dataset: Dataset, rows: pd.DataFrame) -> Floats:
    """Return what a model or a base makes of pictures, float32 (N, …), in the rows' order.

    Args:
        model: takes raw pixels.
        dataset: where the pictures are.
        rows: of one part of a split: `index`, and `part`, which tells learning from test pictures.

    Raises:
        LabError: the rows are of test and of learning pictures, or there are none.
    """
    tests = rows["part"] == "test"
    if tests.any() != tests.all() or rows.empty:
        raise LabError(
            f"There are {len(rows)} rows, {tests.sum()} of them of test pictures; give some, of "
            "test pictures only or of learning pictures only."
        )
    fetch = dataset.test_batch if tests.all() else dataset.train_batch
    indices = rows["index"].to_numpy(np.int64)
    chunks = (indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK))
    # Calling the model saves `predict`'s tracing, which takes longer than so few pictures do.
    parts = [np.asarray(model(fetch(chunk), training=False)) for chunk in chunks]
    return np.concatenate(parts, dtype=np.float32)


def accuracy(model: keras.Model, dataset: Dataset, rows: pd.DataFrame) -> float:
    """Return the share, 0..1, of the rows' pictures that a model takes for what they are."""
    predicted = outputs(model, dataset, rows).argmax(axis=1)
    return float((predicted == rows["label"].to_numpy()).mean())


def by_features(features: Floats, labels: Integers, settings: Settings = SETTINGS) -> Any:
    """Fit scikit-learn's logistic regression to features.

    They are all scaled by one number: with ten examples a class, a scale for each feature would
    blow up those that are rarely more than 0.

    Args:
        features: of the examples, (N, F).
        labels: their classes, (N,).
        settings: the penalty and the number of rounds.

    Returns:
        A scikit-learn classifier that takes features as they are (the scale is in its weights).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = max(float(features.std()), 1e-6)
    linear = LogisticRegression(C=settings.inverse_penalty, max_iter=settings.rounds, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # the last rounds change next to nothing
        linear.fit(features / scale, labels)
    linear.coef_ = linear.coef_ / scale
    return linear


def new_head(source: keras.Model, classes: int) -> keras.Model:
    """Return a network like `source` with its base, frozen, and a head with new random weights.

    The head's layers are those of the network, so that all that differs from a training from
    scratch is what the base's weights are. Frozen: training changes none of them, and batch
    normalisation keeps the running figures that it has.
    """
    model = with_classes(source, classes)
    for layer in layers_of(base_of(model)):
        layer.set_weights(source.get_layer(layer.name).get_weights())
        layer.trainable = False
    return model


def unfreeze(model: keras.Model) -> None:
    """Let training change all layers but batch normalisation, which keeps its running figures.

    A layer of batch normalisation that is not to be trained is in inference mode, says Keras: a few
    small batches would spoil figures that were taken from many.
    """
    for layer in layers_of(model):
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


def parts_table(model: keras.Model) -> pd.DataFrame:
    """Return a row for the base and one for the head: `layers`, `parameters`, and those `trained`.

    Only layers with parameters are counted; `trained` is what training may change.
    """
    base = {layer.name for layer in layers_of(base_of(model))}
    weighty = [layer for layer in layers_of(model) if layer.weights]
    found = {}
    for part, is_base in (("base", True), ("head", False)):
        members = [layer for layer in weighty if (layer.name in base) == is_base]
        weights = [weight for layer in members for weight in layer.trainable_weights]
        trained = sum(math.prod(weight.shape) for weight in weights)
        found[part] = (len(members), sum(layer.count_params() for layer in members), trained)
    columns = ["layers", "parameters", "trained"]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns).rename_axis("part")


def fit_steps(
    model: keras.Model,
    dataset: Dataset,
    rows: pd.DataFrame,
    steps: int,
    rate: float,
    seed: int,
    batch_size: int = SETTINGS.batch_size,
) -> None:
    """Train `model` in place for so many steps, however few the examples are.

    They are gone through again and again, in a new order each time, which (seed, pass) decides;
    SGD with Nesterov's momentum and the one-cycle schedule.

    Args:
        model: what may be trained in it is trained.
        dataset: where the pictures are.
        rows: the examples: `index` and `label`, learning pictures all.
        steps: how many.
        rate: the highest learning rate.
        seed: decides the orders.
        batch_size: pictures a step; fewer where there are fewer.
    """
    training.set_seed(seed)
    indices, labels = part_of(rows, "train")
    batch = min(batch_size, len(indices))
    passes = math.ceil(steps * batch / len(indices))
    orders = [np.random.default_rng([seed, p]).permutation(len(indices)) for p in range(passes)]
    order = np.concatenate(orders)[: steps * batch]
    model.compile(
        optimizer=keras.optimizers.SGD(training.OneCycle(rate, steps), 0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
        steps_per_execution=training.STEPS_PER_EXECUTION,
        jit_compile=False,
    )
    stream = streams.batches(dataset.train_batch, indices[order], labels[order], batch)
    with quiet_logger():
        model.fit(stream, shuffle=False, verbose=0)


@contextlib.contextmanager
def quiet_logger() -> Iterator[None]:
    """Keep TensorFlow from warning, meanwhile, that every new network is traced anew."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def train_head(
    source: keras.Model,
    dataset: Dataset,
    rows: pd.DataFrame,
    classes: int,
    seed: int,
    settings: Settings = SETTINGS,
) -> keras.Model:
    """Return `new_head`'s network with its head trained on the examples `rows`."""
    training.set_seed(seed)
    model = new_head(source, classes)
    fit_steps(model, dataset, rows, settings.steps, settings.head_rate, seed, settings.batch_size)
    return model


def fine_tune(
    model: keras.Model,
    dataset: Dataset,
    rows: pd.DataFrame,
    seed: int,
    settings: Settings = SETTINGS,
) -> None:
    """Unfreeze `model`, which has a trained head (`train_head`), and train all of it in place."""
    unfreeze(model)
    fit_steps(model, dataset, rows, settings.steps, settings.fine_rate, seed, settings.batch_size)


def from_scratch(
    model: keras.Model,
    dataset: Dataset,
    rows: pd.DataFrame,
    classes: int,
    seed: int,
    settings: Settings = SETTINGS,
) -> keras.Model:
    """Return a network like `model`, with new weights, trained on the examples `rows` alone."""
    training.set_seed(seed)
    fresh = with_classes(model, classes)
    steps = 2 * settings.steps
    fit_steps(fresh, dataset, rows, steps, settings.scratch_rate, seed, settings.batch_size)
    return fresh


def compare_once(
    source: keras.Model,
    dataset: Dataset,
    split: pd.DataFrame,
    sizes: Sequence[int],
    seed: int,
    part: str = "test",
    settings: Settings = SETTINGS,
) -> pd.DataFrame:
    """Use a network that has learnt the source in every way, with several numbers of examples.

    Args:
        source: as `pretrain` trains it; it is not changed.
        dataset: where the pictures are.
        split: all classes, as `preprocess.split` makes it.
        sizes: examples a class.
        seed: decides which examples, the new weights and the orders.
        part: `test`, or `validation` for whoever is still choosing.
        settings: what was chosen.

    Returns:
        A row a method and a size: `method`, `examples` (a class), `seed`, `accuracy` (0..1, on
        the target's pictures of that part), `pictures` (how many of them).

    Raises:
        LabError: a class has fewer examples than asked for.
    """
    target = target_split(split, len(dataset.classes))
    classes = len(dataset.classes) - source_classes(len(dataset.classes))
    judged = target[target["part"] == part]
    training.set_seed(seed)
    bases = {FEATURES: base_of(source), UNTRAINED: base_of(with_classes(source, classes))}
    seen = {name: outputs(base, dataset, judged) for name, base in bases.items()}
    found: list[tuple[str, int, float]] = []
    for size in sizes:
        rows = few_examples(target, size, seed)
        labels = rows["label"].to_numpy()
        for name, base in bases.items():
            linear = by_features(outputs(base, dataset, rows), labels, settings)
            found.append((name, size, float(linear.score(seen[name], judged["label"]))))
        model = train_head(source, dataset, rows, classes, seed, settings)
        found.append((NEW_HEAD, size, accuracy(model, dataset, judged)))
        fine_tune(model, dataset, rows, seed, settings)
        found.append((FINE_TUNED, size, accuracy(model, dataset, judged)))
        model = from_scratch(source, dataset, rows, classes, seed, settings)
        found.append((FROM_SCRATCH, size, accuracy(model, dataset, judged)))
    table = pd.DataFrame(found, columns=["method", "examples", "accuracy"])
    return table.assign(seed=seed, pictures=len(judged))[
        ["method", "examples", "seed", "accuracy", "pictures"]
    ]


def compare(
    model: keras.Model,
    dataset: Dataset,
    split: pd.DataFrame,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = SEEDS,
    part: str = "test",
    settings: Settings = SETTINGS,
    say: Say | None = None,
) -> pd.DataFrame:
    """Pre-train and use a network in every way, once a seed: `compare_once`'s rows for each.

    Args:
        model: the network, trained or not; only its layers count.
        dataset: where the pictures are.
        split: all classes, as `preprocess.split` makes it.
        sizes: examples a class.
        seeds: each decides everything anew: source training, examples, weights, orders.
        part: `test`, or `validation` for whoever is still choosing.
        settings: what was chosen.
        say: gets a line of progress a seed.

    Raises:
        LabError: too few classes or examples, or a network without a base.
    """
    tables = []
    for seed in seeds:
        if say:
            say(f"transfer, seed {seed}")
        source = pretrain(model, dataset, split, seed, settings=settings).model
        tables.append(compare_once(source, dataset, split, sizes, seed, part, settings))
    table = pd.concat(tables, ignore_index=True)
    kinds = pd.Categorical(table["method"], METHODS)
    table = table.assign(method=kinds).sort_values(["method", "examples", "seed"])
    return table.astype({"method": str}).reset_index(drop=True)


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return how much better than from scratch each method is, in accuracy, seed by seed.

    Both are trained on the same examples, so their difference varies less than either.

    Args:
        table: as `compare` makes it, with two seeds or more.

    Returns:
        A row a method and a size: `gain`, the mean over the seeds; `low`, `high`: its 95 %
        interval (Student's t); `pays`: whether the whole interval is above 0.

    Raises:
        LabError: there is only one seed.
    """
    from scipy.stats import t

    wide = table.pivot_table("accuracy", ["examples", "seed"], "method")
    found = []
    for method in (name for name in METHODS[1:] if name in wide):
        for examples, rows in wide.groupby("examples"):
            gain = rows[method] - rows[FROM_SCRATCH]
            if len(gain) < 2:
                raise LabError("The table has one seed; an interval takes two or more.")
            reach = t.ppf(0.975, len(gain) - 1) * gain.std() / math.sqrt(len(gain))
            low, high = gain.mean() - reach, gain.mean() + reach
            found.append((method, examples, gain.mean(), low, high, low > 0))
    columns = ["method", "examples", "gain", "low", "high", "pays"]
    return pd.DataFrame(found, columns=columns).set_index(["method", "examples"])


def study(quick: bool, say: Say | None = None) -> pd.DataFrame:
    """Compare on MNIST with the lab sheet's network: the table that the notebooks show.

    Args:
        quick: one seed and two sizes; else five seeds and all four sizes.
        say: gets a line of progress a seed.
    """
    data = datasets.load("mnist")
    split = preprocess.split(data, 0.1, 1)
    model = architectures.build("reference", data.image_shape, len(data.classes))
    sizes, seeds = (SIZES[:1], SEEDS[:1]) if quick else (SIZES, SEEDS)
    table = compare(model, data, split, sizes, seeds, say=say)
    return table.assign(accuracy=table["accuracy"].round(4))
