"""The hidden tests of the four stages: what a student's functions are asked when they are graded.

For each exercise: the right answers, by the package's own function wherever it has one, and groups
of inputs. A group's name is what the student is told of it. A typical misconception loses at least
one group; what is right in part keeps the others. `convnetlab start` and `release` leave this file
out. An id is that of the cell with the solution.
"""

import numpy as np
import pandas as pd

from convnetlab import calibration, convolution, evaluation, optimisers, preprocess
from convnetlab.grading.hidden import Exercise, of_type, within

# ----------------------------------------------------------------- stage 1: load and pre-process


def some_paths(rng, above, by_class=False):
    """Return the paths of nine files of three or four classes in one of the folders `above`."""
    words = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"]
    names = rng.choice(words, rng.integers(3, 5), replace=False)
    classes = np.concatenate([names, rng.choice(names, 9 - len(names))])
    # No file's name is in the order of its class.
    files = rng.permutation([f"{number}.jpg" for number in range(10, 19)])
    paths = [f"{rng.choice(above)}/{name}/{file}" for name, file in zip(classes, files, strict=True)]
    if by_class:
        return (sorted(paths, key=lambda path: path.split("/")[-2]),)
    first, other = sorted(paths, key=lambda path: path.split("/")[-2])[:: len(paths) - 1]
    rest = [path for path in paths if path not in (first, other)]
    return ([other, *rng.permutation(rest).tolist(), first],)  # the last class comes first


def labels_of(paths):
    return np.unique([path.split("/")[-2] for path in paths], return_inverse=True)[1]


def majority(rng, agree=True, among=6, absent=False):
    """Return training and test labels; `agree`: the commonest class is the same in both."""
    classes = rng.choice(among, 4, replace=False)
    counts = rng.permutation([2, 3, 4, 6])
    train = rng.permutation(np.repeat(classes, counts))
    commonest = classes[counts.argmax()]
    others = classes[classes != commonest]
    test_counts = [0 if absent else 7 if agree else 2, 1 if agree else 5, 1, 3]
    test = np.repeat([commonest, *others], test_counts)
    return train, rng.permutation(test)


def majority_accuracy(train, test):
    return float((test == np.bincount(train).argmax()).mean())


def labels_and_classes(rng, kind):
    classes = int(rng.integers(4, 9))
    if kind == "one":
        return rng.integers(0, classes - 1, 1), classes
    if kind == "missing":
        return rng.integers(0, classes - 2, 7), classes
    return rng.permutation(np.append(np.arange(classes), rng.integers(0, classes, 3))), classes


def grey(rng, brightest, square=True):
    side = int(rng.integers(3, 6))
    picture = rng.integers(1, brightest, (side, side if square else side + 2), dtype=np.uint8)
    picture[0, -1], picture[-1, 0] = brightest, 0
    return (picture,)


def prepare(picture):
    return preprocess.normalise(picture)[np.newaxis, ..., np.newaxis]


def twice(rng, kind, channels=1):
    """Return training and test pictures; some of the latter are copies, some are new."""
    train = rng.integers(0, 256, (5, 3, 4, channels), dtype=np.uint8)
    new = rng.integers(0, 256, (4, 3, 4, channels), dtype=np.uint8)
    if kind == "mirrored":  # the same pixels, in another order
        test = np.concatenate([train[:2, :, ::-1], new[:1], train[3:]])
    elif kind == "same place":
        test = np.where(np.array([0, 1, 0, 1])[:, None, None, None], train[:4], new)
        return train, test
    else:
        test = np.concatenate([new[:3], train[:2]])
    return train, test[rng.permutation(len(test))] if kind == "mirrored" else test


def unseen(train, test):
    return np.array([not (train == picture).all(axis=(1, 2, 3)).any() for picture in test])


STAGE_1 = {
    "labels-of": Exercise(
        name="labels_of",
        answer=labels_of,
        groups={
            "files sorted by class": lambda rng: some_paths(rng, ["train"], by_class=True),
            "files in any order": lambda rng: some_paths(rng, ["train"]),
            "files in train and test": lambda rng: some_paths(rng, ["train", "test"]),
            "folders above folders": lambda rng: some_paths(rng, ["my/old/photos", "b/train"]),
        },
        alike=of_type("iu"),
    ),
    "wrapped-sum": Exercise(
        name="wrapped_sum",
        answer=int((np.array([200], np.uint8) + np.array([100], np.uint8))[0]),
    ),
    "majority-accuracy": Exercise(
        name="majority_accuracy",
        answer=majority_accuracy,
        groups={
            "one class leads in training and test": lambda rng: majority(rng),
            "another class leads in the test": lambda rng: majority(rng, agree=False),
            "labels with gaps between them": lambda rng: majority(rng, agree=False, among=40),
            "the commonest class is not in the test": lambda rng: majority(rng, absent=True),
        },
    ),
    "one-hot": Exercise(
        name="one_hot",
        answer=preprocess.one_hot,
        groups={
            "every class occurs": lambda rng: labels_and_classes(rng, "all"),
            "the last classes do not occur": lambda rng: labels_and_classes(rng, "missing"),
            "a single label": lambda rng: labels_and_classes(rng, "one"),
            "float32": lambda rng: labels_and_classes(rng, "all"),
        },
        alike_in={"float32": of_type("float32")},
        forbidden=("preprocess.one_hot",),
    ),
    "prepare": Exercise(
        name="prepare",
        answer=prepare,
        groups={
            "pictures with white in them": lambda rng: grey(rng, 255),
            "dim pictures": lambda rng: grey(rng, int(rng.integers(40, 200))),
            "pictures that are not square": lambda rng: grey(rng, 255, square=False),
            "float32": lambda rng: grey(rng, 255),
        },
        alike_in={"float32": of_type("float32")},
        forbidden=("preprocess.normalise", "preprocess.add_channel_axis"),
    ),
    "unseen": Exercise(
        name="unseen",
        answer=unseen,
        groups={
            "copies at the same place": lambda rng: twice(rng, "same place"),
            "copies at another place": lambda rng: twice(rng, "moved"),
            "mirrored pictures, which are new": lambda rng: twice(rng, "mirrored"),
            "colour pictures": lambda rng: twice(rng, "moved", channels=3),
        },
    ),
}

# ------------------------------------------------------------------------- stage 2: architecture


def image_and_kernel(rng, image, kernel):
    """Return whole numbers, so that rounding decides nothing; no kernel looks the same turned."""
    numbers = rng.permutation(np.arange(1.0, np.prod(kernel) + 1)) - 2
    return rng.integers(-5, 10, image).astype(float), numbers.reshape(kernel)


def places(rng, stride=1, padding=0, left_over=0):
    k = int(rng.integers(2, 6))
    steps = int(rng.integers(3, 9))
    n = k - 2 * padding + steps * stride + left_over
    return n, k, stride, padding


def a_map(rng, rows, columns, lowest=1):
    numbers = rng.permutation(np.arange(lowest, lowest + rows * columns))
    return (numbers.reshape(rows, columns).astype(float),)


def below_zero(rng):
    rows, columns = 2 * rng.integers(2, 4, 2)
    return a_map(rng, int(rows), int(columns), lowest=-int(rows * columns))


def max_pool(map):
    return convolution.max_pool2d(map[np.newaxis, ..., np.newaxis])[0, ..., 0]


def differences(image, kernel, down, right, frame):
    one = convolution.convolve2d(np.roll(image, (down, right), axis=(0, 1)), kernel)
    other = np.roll(convolution.convolve2d(image, kernel), (down, right), axis=(0, 1))
    return (one - other)[frame:-frame, frame:-frame]


def shift_gap(image, kernel, down, right, frame):
    return float(np.abs(differences(image, kernel, down, right, frame)).max())


def shift(rng, thin, sign=1, direction=1):
    """Return arguments of `shift_gap`; if the frame is thin, the largest difference has the sign."""
    while True:
        image, kernel = image_and_kernel(rng, (14, 12), (3, 3))
        down, right = (int(step) * direction for step in rng.integers(2, 4, 2))
        frame = 1 if thin else 3
        found = differences(image, kernel, down, right, frame)
        if thin and found.max() == -found.min():
            continue
        if thin and (found.max() > -found.min()) != (sign > 0):
            image = -image
        return image, kernel, down, right, frame


def audited():
    size = convolution.output_size(28, 3)
    flattened = convolution.output_size(size, 2, stride=2) ** 2 * 32
    first = convolution.parameters(3, 3, 1, 32)
    last = convolution.dense_parameters(100, 10)
    without_pooling = first + convolution.dense_parameters(size * size * 32, 100) + last
    return flattened, convolution.dense_parameters(flattened, 100), without_pooling


STAGE_2 = {
    "convolve": Exercise(
        name="convolve",
        answer=convolution.convolve2d,
        groups={
            "square pictures and kernels": lambda rng: image_and_kernel(rng, (6, 6), (3, 3)),
            "pictures that are not square": lambda rng: image_and_kernel(rng, (5, 8), (2, 2)),
            "kernels that are not square": lambda rng: image_and_kernel(rng, (7, 7), (2, 4)),
            "kernels as large as the picture": lambda rng: image_and_kernel(rng, (4, 3), (4, 3)),
        },
        forbidden=(
            "convolution.convolve2d",
            "convolution.true_convolve2d",
            "convolution.conv2d",
        ),
    ),
    "output-size": Exercise(
        name="output_size",
        answer=convolution.output_size,
        groups={
            "stride 1, no padding": lambda rng: places(rng)[:2],
            "padding": lambda rng: places(rng, padding=int(rng.integers(1, 3))),
            "a stride whose last step fits": lambda rng: places(rng, stride=int(rng.integers(2, 5))),
            "a stride that leaves pixels over": lambda rng: places(
                rng, stride=4, left_over=int(rng.integers(1, 4))
            ),
        },
        forbidden=("convolution.output_size",),
    ),
    "eight-filters": Exercise(
        name="eight_filters",
        answer=(*[convolution.output_size(32, 5)] * 2, 8, convolution.parameters(5, 5, 3, 8)),
        parts={"the shape of the output": slice(0, 3), "the parameters": 3},
    ),
    "max-pool": Exercise(
        name="max_pool",
        answer=max_pool,
        groups={
            "square maps, all blocks full": lambda rng: a_map(rng, *[2 * int(rng.integers(2, 4))] * 2),
            "maps that are not square": lambda rng: a_map(rng, 4, 2 * int(rng.integers(3, 6))),
            "a row or a column left over": lambda rng: a_map(rng, 7, 5),
            "negative numbers only": below_zero,
        },
        forbidden=("convolution.max_pool2d",),
    ),
    "shift-gap": Exercise(
        name="shift_gap",
        answer=shift_gap,
        groups={
            "inside a frame that is wide enough": lambda rng: shift(rng, thin=False),
            "a thin frame, the largest difference positive": lambda rng: shift(rng, thin=True),
            "a thin frame, the largest difference negative": lambda rng: shift(rng, True, sign=-1),
            "shifts up and to the left": lambda rng: shift(rng, True, rng.choice([-1, 1]), direction=-1),
        },
        alike=within(1e-4, 1e-4),  # the package's convolution has float32's precision
    ),
    "audit": Exercise(
        name="audit",
        answer=audited(),
        parts={
            "the flattened numbers": 0,
            "the hidden layer's parameters": 1,
            "the parameters without pooling": 2,
        },
    ),
}

# -------------------------------------------------------------------------------- stage 3: train


def answers(rng, pictures, right=True, hardly=False):
    """Return probabilities and labels; `right`: the truth is what is called most probable."""
    rows = rng.dirichlet(np.full(4, 2.0), pictures) * 0.9 + 0.025
    if hardly:
        # Not so little that a tiny number, added for safety, would count.
        rows[:, 0] = 10.0 ** -rng.integers(2, 4, pictures)
        return rows / rows.sum(axis=1, keepdims=True), np.zeros(pictures, int)
    labels = rows.argmax(axis=1) if right else rows.argsort(axis=1)[:, rng.integers(0, 3)]
    return rows, labels


def two_classes(rng):
    first = rng.uniform(0.1, 0.9, 6)
    return np.stack([first, 1 - first], axis=1), rng.permutation([0, 0, 1, 1, 1, 0])


def one_step(rng, velocity=0, momentum=0.9):
    """Return arguments of `momentum_step`; the velocity has the sign of the step, or the other."""
    gradient = float(rng.choice([-1, 1]) * rng.uniform(1, 5))
    speed = float(-np.sign(gradient) * velocity * rng.uniform(0.2, 0.8))
    rate = float(rng.choice([0.01, 0.05, 0.2]))
    return float(rng.uniform(-3, 3)), speed, gradient, rate, momentum


def momentum_step(weight, velocity, gradient, learning_rate, momentum):
    state = optimisers.State(first=velocity)
    step = float(optimisers.with_momentum(state, gradient, learning_rate, momentum))
    return weight + step, step


def batches(rng, rest):
    size, count = int(rng.integers(8, 65)), int(rng.integers(1, 30))
    return size * count + (int(rng.integers(1, size)) if rest else 0), size


def epochs(rng, kind):
    """Return the losses of eight epochs; the training loss always falls."""
    training = np.sort(rng.uniform(0.01, 0.6, 8))[::-1].copy()
    if kind == "falls":
        return training, training + 0.1
    if kind == "rises":
        return training, np.sort(rng.uniform(0.3, 0.9, 8))
    low = int(rng.integers(3, 6))
    validation = 0.3 + 0.05 * np.abs(np.arange(8) - low) + rng.uniform(0, 0.01, 8)
    if kind == "twice":
        validation[low - 2] -= 0.08  # a first dip, less deep than the second
    return training, validation


def best_epoch(training_loss, validation_loss):
    return int(np.argmin(validation_loss)) + 1


STAGE_3 = {
    "cross-entropy": Exercise(
        name="cross_entropy",
        answer=evaluation.cross_entropy,
        groups={
            "a single picture": lambda rng: answers(rng, 1, right=False),
            "pictures that are all called right": lambda rng: answers(rng, 5),
            "pictures that are called wrong": lambda rng: answers(rng, 6, right=False),
            "hardly any probability for the truth": lambda rng: answers(rng, 3, hardly=True),
        },
        forbidden=("evaluation.cross_entropy", "evaluation.picture_losses"),
    ),
    "untrained-loss": Exercise(
        name="untrained_loss",
        answer=evaluation.cross_entropy(np.full((1, 10), 0.1), np.array([0])),
        alike=within(0, 0.006),  # two decimals, rounded either way
    ),
    "score-gradient": Exercise(
        name="score_gradient",
        answer=evaluation.score_gradient,
        groups={
            "a single picture": lambda rng: answers(rng, 1),
            "pictures that are called right": lambda rng: answers(rng, 5),
            "pictures that are called wrong": lambda rng: answers(rng, 6, right=False),
            "two classes": two_classes,
        },
        forbidden=("evaluation.score_gradient",),
    ),
    "momentum-step": Exercise(
        name="momentum_step",
        answer=momentum_step,
        groups={
            "from rest": lambda rng: one_step(rng),
            "without momentum": lambda rng: one_step(rng, velocity=1, momentum=0.0),
            "on in the same direction": lambda rng: one_step(rng, velocity=1),
            "against the velocity": lambda rng: one_step(rng, velocity=-1),
        },
        forbidden=("optimisers.with_momentum",),
    ),
    "steps": Exercise(
        name="steps_per_epoch",
        answer=lambda images, batch_size: len(range(0, images, batch_size)),
        groups={
            "batches that are all full": lambda rng: batches(rng, rest=False),
            "a last, smaller batch": lambda rng: batches(rng, rest=True),
        },
        draws=4,
        forbidden=("training.steps_per_epoch", "streams.steps_per_epoch"),
    ),
    "best-epoch": Exercise(
        name="best_epoch",
        answer=best_epoch,
        groups={
            "the loss falls, then rises": lambda rng: epochs(rng, "bends"),
            "it rises and falls lower still": lambda rng: epochs(rng, "twice"),
            "it falls to the end": lambda rng: epochs(rng, "falls"),
            "it rises from the first epoch on": lambda rng: epochs(rng, "rises"),
        },
    ),
}

# ----------------------------------------------------------------------------- stage 4: evaluate


def right_of(rng, low, high, share=None):
    n = int(rng.integers(low, high))
    return (round(n * rng.uniform(0.6, 0.9)) if share is None else n * share), n


def pairs(rng, kind):
    """Return true classes, called classes and their number; no matrix is symmetric."""
    classes = 2 if kind == "two" else int(rng.integers(4, 7))
    matrix = np.tril(rng.random((classes, classes)) < 0.5)
    matrix[1:, 0] = True
    matrix[-1] = matrix[:, -1] = kind != "absent"  # whether the last class is, and is called
    matrix[0, -1] = False
    found = np.flatnonzero(matrix)
    if kind in ("again", "two"):
        found = np.append(found, rng.choice(found, 9))
    truth, called = np.divmod(rng.permutation(found), classes)
    return truth, called, classes


def a_matrix(rng, kind):
    """Return a confusion matrix of four classes, of which the third may be a special one."""
    matrix = rng.integers(1, 8, (4, 4)) + np.diag(rng.integers(5, 40, 4))
    if kind in ("never called", "nowhere"):
        matrix[:, 2] = 0
    if kind in ("no pictures", "nowhere"):
        matrix[2] = 0
    return (matrix,)


def macro_f1(matrix):
    counted = np.repeat(np.arange(matrix.size), matrix.ravel())
    return evaluation.f1_scores(counted, len(matrix))[0]


def mistakes(rng, kind):
    """Return arguments of `find_mistakes`: no two answers are equally sure; the surest is right."""
    truth = rng.integers(0, 5, 12)
    wrong = np.sort(rng.choice(np.arange(1, 12), 1 if kind == "one" else 6, replace=False))
    predicted = truth.copy()
    predicted[wrong] = (truth[wrong] + rng.integers(1, 5, len(wrong))) % 5
    confidence = rng.permutation(np.arange(30, 99))[:12] / 100
    order = np.sort(confidence[wrong])
    if kind == "falling":
        confidence[wrong] = order[::-1]
    elif kind != "one":
        confidence[wrong] = np.roll(order, 2)
    confidence[0] = 0.995
    return truth, predicted, confidence, 10 if kind == "all" else 3


def find_mistakes(truth, predicted, confidence, count):
    columns = {"truth": truth, "predicted": predicted, "confidence": confidence}
    return evaluation.most_confident_mistakes(pd.DataFrame(columns), count).index.to_numpy()


def refusal(rng, kind):
    """Return arguments of `threshold`: several thresholds fit, or none does."""
    while True:
        confidence = rng.permutation(np.arange(30, 100))[:12] / 100
        if kind == "ties":
            confidence = rng.choice(confidence[:5], 12)
        right = rng.random(12) < confidence
        wanted = float(rng.choice([0.5, 0.62, 0.75, 0.83]))
        table = calibration.coverage(confidence, right)
        fits = table["accuracy"].to_numpy() >= wanted
        falls_once = (np.diff(fits.astype(int)) != 0).sum() == 1 and fits[0]
        if kind == "none" and not fits.any() and right.any():
            return confidence, right, wanted
        if kind == "simple" and falls_once and 2 <= fits.sum() <= 8:
            return confidence, right, wanted
        if kind in ("again", "ties") and not falls_once and fits.sum() >= 2 and not fits.all():
            return confidence, right, wanted


STAGE_4 = {
    "interval": Exercise(
        name="interval",
        answer=evaluation.accuracy_interval,
        groups={
            "a huge test set": lambda rng: right_of(rng, 300_000, 1_000_000),
            "few pictures": lambda rng: right_of(rng, 20, 60),
            "all of them right": lambda rng: right_of(rng, 5, 80, share=1),
            "none of them right": lambda rng: right_of(rng, 5, 80, share=0),
        },
        alike=within(0, 1e-4),  # z is 1.96 in the exercise, and exact in SciPy
        forbidden=("evaluation.accuracy_interval",),
    ),
    "confusion-matrix": Exercise(
        name="confusion_matrix",
        answer=evaluation.confusion_matrix,
        groups={
            "no pair occurs twice": lambda rng: pairs(rng, "once"),
            "pairs that occur again": lambda rng: pairs(rng, "again"),
            "a class that does not occur": lambda rng: pairs(rng, "absent"),
            "two classes": lambda rng: pairs(rng, "two"),
        },
        forbidden=("evaluation.confusion_matrix",),
    ),
    "macro-f1": Exercise(
        name="macro_f1",
        answer=macro_f1,
        groups={
            "every class is found": lambda rng: a_matrix(rng, "plain"),
            "a class that is never named": lambda rng: a_matrix(rng, "never called"),
            "a class without pictures that is named": lambda rng: a_matrix(rng, "no pictures"),
            "a class that is nowhere": lambda rng: a_matrix(rng, "nowhere"),
        },
        forbidden=("evaluation.f1_scores", "evaluation.per_class"),
    ),
    "find-mistakes": Exercise(
        name="find_mistakes",
        answer=find_mistakes,
        groups={
            "a single mistake": lambda rng: mistakes(rng, "one"),
            "mistakes that come surest first": lambda rng: mistakes(rng, "falling"),
            "mistakes in any order": lambda rng: mistakes(rng, "any"),
            "more asked for than there are": lambda rng: mistakes(rng, "all"),
        },
        forbidden=("evaluation.most_confident_mistakes",),
    ),
    "threshold": Exercise(
        name="threshold",
        answer=calibration.refusal_threshold,
        groups={
            "the accuracy falls below what is wanted once": lambda rng: refusal(rng, "simple"),
            "it falls and rises again": lambda rng: refusal(rng, "again"),
            "answers that are equally sure": lambda rng: refusal(rng, "ties"),
            "no threshold reaches it": lambda rng: refusal(rng, "none"),
        },
        forbidden=("calibration.refusal_threshold", "calibration.coverage"),
    ),
}

EXERCISES = STAGE_1 | STAGE_2 | STAGE_3 | STAGE_4
