"""What a network with good weights makes of pictures, and a last layer for other classes.

The **features** of a picture are the numbers that reach a network's last layer. With weights from
ImageNet they say what is seen: textures, parts, things. For new classes only the last layer is
missing, and that is a linear classifier. Logistic regression finds its weights at once, without
steps or a learning rate; so few pictures and seconds will do.

Source: Kornblith, Shlens and Le, "Do better ImageNet models transfer better?" (2019), where
logistic regression on features is compared with fine-tuning.
"""

import contextlib
import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.backend import keras
from convnetlab.datasets import Dataset
from convnetlab.handoff import write_atomically
from convnetlab.paths import is_headless
from convnetlab.preprocess import stratified_subset
from convnetlab.streams import batches

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Part = tuple[Integers, Integers]  # indices and labels

CACHE = "features.npz"  # beside the checkpoints
PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0)  # C of the logistic regression: less is smoother
FOLDS = 5
CHOSEN_ON = 1_000  # pictures, at most, that the choice among them takes
ROUNDS = 300
QUIET = 0.3  # of the median standard deviation: by less than that no feature is divided
ABSENT = 20.0  # how far below all others the score of a class without pictures lies


def freeze(model: keras.Model, all_but_last: bool) -> None:
    """Say what training may change.

    Batch normalisation always keeps its running figures, scales and shifts, which were taken from
    a million photographs; those of a few small batches would be worse. (A layer of batch
    normalisation that is not to be trained is in inference mode, says Keras.)

    Args:
        model: the network.
        all_but_last: freeze all layers but the last; else batch normalisation only.
    """
    for layer in model.layers[:-1]:
        fixed = all_but_last or isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not fixed


def fit_head(
    model: keras.Model,
    dataset: Dataset,
    learn: Part,
    held_out: Part | None,
    class_weights: str,
    seed: int,
    cache: Path | None = None,
) -> dict[str, float]:
    """Set the last layer's weights by logistic regression on the features, in place.

    The features are standardised over the training pictures: mean 0, standard deviation 1, or less
    (see `linear_model`). That is then worked into the weights, so that the model is an ordinary
    one, and needs no features but its own. The penalty is chosen by cross-validation among the
    training pictures.

    Args:
        model: ends in a dense softmax layer.
        dataset: where the pictures are.
        learn: indices and labels of the training pictures, (N,) each.
        held_out: those of the validation pictures, if any.
        class_weights: `none` or `balanced`; see `Recipe`.
        seed: decides the folds.
        cache: a file in which the features are kept for the next time.

    Returns:
        `loss` and `accuracy` on the training pictures, `val_…` of both on the validation pictures.
        Every picture counts the same in them.
    """
    every = np.concatenate([learn[0], held_out[0]]) if held_out else learn[0]
    seen = features(model, dataset, every, cache)
    count, head = len(learn[0]), model.layers[-1]
    kernel, bias = logistic_regression(seen[:count], learn[1], head.units, class_weights, seed)
    head.set_weights([kernel, bias])
    scores = seen @ kernel + bias
    found = measures(scores[:count], learn[1])
    if held_out:
        validated = measures(scores[count:], held_out[1])
        found |= {f"val_{name}": value for name, value in validated.items()}
    return found


def features(
    model: keras.Model, dataset: Dataset, indices: Integers, cache: Path | None = None
) -> Floats:
    """Return what reaches a network's last layer, float32 (N, F), for learning pictures.

    Args:
        model: takes raw pixels.
        dataset: where the pictures are.
        indices: which pictures, (N,); the rows are in their order.
        cache: a file from which they are taken, if it holds just these; else it is written.
    """
    base = keras.Model(model.inputs[0], model.layers[-1].input)
    key = fingerprint(base, dataset, indices)
    if cache and cache.is_file():
        # Whatever is wrong with it: it is made anew.
        with contextlib.suppress(Exception), np.load(cache, allow_pickle=False) as archive:
            if archive["key"].item() == key:
                return np.asarray(archive["features"], np.float32)
    print(f"Features of {len(indices):,} pictures: each is looked at once.", flush=True)
    base.compile(jit_compile=False)  # to compile for XLA takes minutes
    stream = batches(dataset.train_batch, indices, np.zeros_like(indices))
    found: Floats = base.predict(stream, verbose=0 if is_headless() else 1)
    if cache:
        write_atomically(cache, lambda path: np.savez(path, key=np.array(key), features=found))
    return found


def fingerprint(base: keras.Model, dataset: Dataset, indices: Integers) -> str:
    """Return a text that tells these features from all others; arguments as for `features`."""
    digest = hashlib.sha256(dataset.content_hash().encode())
    for array in (indices, *base.get_weights()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def logistic_regression(
    seen: Floats, labels: Integers, classes: int, class_weights: str, seed: int
) -> tuple[Floats, Floats]:
    """Return the kernel (F, classes) and the biases (classes,) of a softmax layer for features.

    Args:
        seen: features (N, F).
        labels: their classes, (N,), two or more different ones.
        classes: how many classes the layer tells apart; one without pictures is never chosen.
        class_weights: `none` or `balanced`.
        seed: decides the folds of the cross-validation.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    model = linear_model(class_weights)
    # Several threads spend more time on waiting for each other than such small sums take.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last rounds change little
        model.set_params(logisticregression__C=best_penalty(model, seen, labels, seed))
        model.fit(seen, labels)
    scaler, linear = model[0], model[-1]
    slopes, offsets = linear.coef_, linear.intercept_
    if len(linear.classes_) == 2:  # of two classes, scikit-learn keeps one score: their difference
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.array([-1, 1]) * offsets / 2
    slopes = slopes / scaler.scale_
    offsets = offsets - slopes @ scaler.mean_
    kernel = np.zeros((seen.shape[1], classes), np.float32)
    bias = np.full(classes, (seen @ slopes.T + offsets).min() - ABSENT, np.float32)
    kernel[:, linear.classes_], bias[linear.classes_] = slopes.T, offsets
    return kernel, bias


def linear_model(class_weights: str) -> Any:
    """Return scikit-learn's logistic regression on standardised features, not fitted yet.

    A feature that hardly ever speaks in the training pictures is not stretched as far as the others
    (`QUIET`). It would otherwise shout in the first picture in which it speaks, and its weight be
    so large that among whole numbers of eight bits (`edge`) nearly all others become 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    class Standardiser(StandardScaler):  # type: ignore[misc]
        def fit(self, seen: Floats, labels: Any = None, sample_weight: Any = None) -> Any:
            super().fit(seen, labels, sample_weight)
            if (varies := self.var_ > 0).any():
                least = QUIET * np.median(np.sqrt(self.var_[varies]))
                self.scale_ = np.sqrt(np.maximum(self.var_, least**2))
            return self

    weights = None if class_weights == "none" else class_weights
    return make_pipeline(Standardiser(), LogisticRegression(max_iter=ROUNDS, class_weight=weights))


def best_penalty(model: Any, seen: Floats, labels: Integers, seed: int) -> float:
    """Return which of `PENALTIES` has the lowest cross-entropy on pictures left out in turn.

    The middle one where a class has a single picture: there is nothing to leave out.
    """
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    chosen = stratified_subset(labels, CHOSEN_ON, seed) if len(labels) > CHOSEN_ON else slice(None)
    seen, labels = seen[chosen], labels[chosen]
    folds = min(FOLDS, *np.unique(labels, return_counts=True)[1])
    if folds < 2:
        return PENALTIES[len(PENALTIES) // 2]
    search = GridSearchCV(
        model,
        {"logisticregression__C": PENALTIES},
        scoring="neg_log_loss",
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        refit=False,
    )
    search.fit(seen, labels)
    return float(search.best_params_["logisticregression__C"])


def measures(scores: Floats, labels: Integers) -> dict[str, float]:
    """Return the cross-entropy, in nats, and the accuracy, 0..1, of scores (N, classes)."""
    from scipy.special import log_softmax

    truth = log_softmax(scores.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    accuracy = float((scores.argmax(axis=1) == labels).mean())
    return {"loss": float(-truth.mean()), "accuracy": accuracy}


def balanced(labels: Integers) -> dict[int, float]:
    """Return how much a picture of each class counts, so that all classes count the same.

    >>> balanced(np.array([0, 0, 0, 1]))
    {0: 0.6666666666666666, 1: 2.0}
    """
    classes, counts = np.unique(labels, return_counts=True)
    weights = len(labels) / (len(classes) * counts)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))
