"""A student's copy, and every exercise in it: without an answer, with wrong ones, with the right.

A check must fail for the first two, with a message of its own, and nothing after it may mind.
"""

import ast
import re

import pytest
from kernel import Kernel
from test_source import NOTEBOOKS, code, grader

from convnetlab import notebooks, student
from convnetlab.paths import STAGES, side_trips

CAUSES = {
    "A": "learning rate too low",
    "B": "over-fitting",
    "C": "good",
    "D": "labels shuffled",
    "E": "learning rate too high",
}

# What a student who holds a typical misconception writes, and a word of the message that helps.
MISCONCEPTIONS = {
    "threshold": [
        (
            "threshold = lambda c, r, wanted: max((t for t in c if r[c >= t].mean() >= wanted),"
            " default=np.inf)",
            "refuses more",
        ),
        (
            "threshold = lambda c, r, wanted: min((t for t in c if r[c >= t].sum() / len(r)"
            " >= wanted), default=np.inf)",
            "infinity",
        ),
        ("threshold = lambda c, r, wanted: 0.6", "No threshold"),
        (
            "def threshold(confidence, right, wanted):\n"
            "    best = np.inf\n"
            "    for t in np.unique(confidence)[::-1]:\n"
            "        if right[confidence >= t].mean() < wanted:\n"
            "            break\n"
            "        best = t\n"
            "    return best",
            "refuses more|falls and rises",
        ),
    ],
    "wrapped-sum": [
        ("wrapped_sum = 300", "one byte"),
        ("wrapped_sum = 255", "does not stop"),
        ("wrapped_sum = 45", "got 45"),
    ],
    "leaked": [
        *[
            (f"leaked = lambda hashes, parts: {answer}", word)
            for answer, word in (
                ("np.isin(hashes, hashes[parts == 'test'])", "make way for them"),
                (
                    "(parts != 'test') & np.array([(hashes == h).sum() > 1 for h in hashes])",
                    "no leak",
                ),
                ("(parts == 'train') & np.isin(hashes, hashes[parts == 'test'])", "validation"),
                ("(parts != 'test') & ~np.isin(hashes, hashes[parts == 'test'])", "no leak"),
                ("np.flatnonzero((parts != 'test') & np.isin(hashes, hashes[4:6]))", "9 bools"),
            )
        ],
    ],
    "bars": [
        *[
            (
                "def bars(height, width, size):\n"
                f"    scale = size / {chosen}(height, width)\n"
                "    high, wide = round(height * scale), round(width * scale)\n"
                f"    return {answer}",
                word,
            )
            for chosen, answer, word in (
                ("min", "(size - high) // 2, (size - wide) // 2", "not the shorter"),
                ("max", "size - high, size - wide", "both bars together"),
                ("max", "(size - wide) // 2, (size - high) // 2", "above and below"),
                ("max", "(12, 0)", "90 × 60"),
                ("max", "((size - high) // 2, 5 if high > wide else 1)", "Expected"),
            )
        ],
        ("bars = lambda height, width, size: (12, 0) if width > height else (0, 5)", "A square"),
    ],
    "class-weights": [
        *[
            (
                "def class_weights(labels):\n"
                "    classes, counts = np.unique(labels, return_counts=True)\n"
                f"    weights = {answer}\n"
                "    return dict(zip(classes.tolist(), weights.tolist()))",
                word,
            )
            for answer, word in (
                ("counts / len(labels)", "rarer class"),
                ("1 / counts", "average 1"),
                ("len(labels) / counts", "average 1"),
                ("1 / counts**2", "as much as"),
            )
        ],
        ("class_weights = lambda l: dict(enumerate(len(l) / np.bincount(l)))", "that occur"),
        (
            "class_weights = lambda l: dict.fromkeys(range(9), 2.0) | {2: 2 / 3} if 0 in l "
            "else {2: 2 / 3, 5: 2.0}",
            "of this data",
        ),
    ],
    "labels-of": [
        *[
            (
                "def labels_of(paths):\n"
                f"    names = [{name} for p in paths]\n"
                f"    classes = {classes}\n"
                "    return np.array([classes.index(n) for n in names])",
                word,
            )
            for name, classes, word in (
                ("p.split('/')[-2]", "list(dict.fromkeys(names))", "sort their names"),
                ("p.split('/')[0]", "sorted(set(names))", "parts, not classes"),
                ("p.split('/')[-1]", "sorted(set(names))", "ant, cat, dog"),
                ("p.split('/')[-2]", "sorted(set(names), reverse=True)", "ant, cat, dog"),
                ("p.split('/')[-2]", "[0] + sorted(set(names))", "Expected"),
            )
        ],
        ("labels_of = lambda paths: [2, 0, 2, 1, 0]", "in whatever order"),
        ("labels_of = lambda paths: np.array([p.split('/')[-2] for p in paths])", "whole numbers"),
    ],
    "majority-accuracy": [
        (
            "def majority_accuracy(train_labels, test_labels):\n"
            "    return (test_labels == np.bincount(test_labels).argmax()).mean()",
            "training labels",
        ),
        (
            "majority_accuracy = lambda train, test: np.bincount(train).max() / len(train)",
            "among the training labels",
        ),
        (
            "majority_accuracy = lambda a, b: (b == np.unique(a, return_counts=True)[1].argmax())"
            ".mean()",
            "commonest label is 7",
        ),
    ],
    "one-hot": [
        ("one_hot = lambda labels, classes: np.eye(labels.max() + 1)[labels]", "all classes"),
        ("one_hot = lambda labels, classes: np.eye(classes)[labels]", "float32"),
        (
            "one_hot = lambda labels, classes: np.eye(4, dtype=np.float32)[labels % 4]",
            "not for twelve",
        ),
        ("one_hot = lambda labels, classes: np.eye(classes)[labels].T", r"\(3, 4\)"),
    ],
    "prepare": [
        ("prepare = lambda p: np.float32(p / p.max())[None, ..., None]", "maximum"),
        ("prepare = lambda p: (p / 255)[None, ..., None]", "float32"),
        ("prepare = lambda p: np.float32(p / 255)[..., None]", "shape"),
        ("prepare = lambda p: np.float32(p)[None, ..., None]", "Expected"),
        ("prepare = lambda p: np.float32(p // 255)[None, ..., None]", "Expected"),
    ],
    "unseen": [
        (
            "def unseen(train_images, test_images):\n"
            "    return np.array([i >= len(train_images) or (p != train_images[i]).any()\n"
            "                     for i, p in enumerate(test_images)])",
            "none of them",
        ),
        ("unseen = lambda train, test: np.zeros(len(test), bool)", "unseen"),
        ("unseen = lambda a, b: ~np.isin(b.sum(axis=(1, 2, 3)), a.sum(axis=(1, 2, 3)))", ""),
        (
            "unseen = lambda a, b: np.array([p.tobytes() in {q.tobytes() for q in a} for p in b])",
            "",
        ),
    ],
    "convolve": [
        ("convolve = lambda image, k: convolution.convolve2d(image, k[::-1, ::-1])", "flipped"),
        (
            "convolve = lambda image, k: convolution.convolve2d(np.pad(image, 1), k)[:, :5]",
            "stick out",
        ),
        ("convolve = lambda image, k: image[:2, :4] * k[0, 0]", "Expected"),
    ],
    "output-size": [
        (
            "output_size = lambda n, k, stride=1, padding=0: (n + 2 * padding - k) // stride",
            "first",
        ),
        (
            "output_size = lambda n, k, stride=1, padding=0:"
            " -(-(n + 2 * padding - k) // stride) + 1",
            "expected",
        ),
        ("output_size = lambda n, k, stride=1, padding=0: (n + padding - k) // stride + 1", "exp"),
    ],
    "eight-filters": [
        ("eight_filters = (28, 28, 24, 608)", "24 maps"),
        ("eight_filters = (32, 32, 8, 608)", "shape"),
        ("eight_filters = (28, 28, 8, 600)", "bias"),
        ("eight_filters = (28, 28, 8, 624)", "filter"),
        ("eight_filters = (28, 28, 8, 208)", "208"),
        ("eight_filters = ((28, 28, 8), 608)", "Expected 4 numbers"),
    ],
    "max-pool": [
        (
            "max_pool = lambda m: m[:6, :4].reshape(3, 2, 2, 2).mean(axis=(1, 3))",
            "mean",
        ),
        (
            "max_pool = lambda m: np.array([[m[r:r+2, c:c+2].max() for c in range(4)]"
            " for r in range(6)])",
            "overlap",
        ),
        (
            "max_pool = lambda m: np.maximum(m[:6, :4].reshape(3, 2, 2, 2).max(axis=(1, 3)), 0)",
            "negative",
        ),
        ("max_pool = lambda m: m[:6:2, :4:2]", "Expected"),
        ("max_pool = lambda m: m[:4, :4].reshape(2, 2, 2, 2).max(axis=(1, 3))", "shape"),
    ],
    "shift-gap": [
        (
            "def shift_gap(image, kernel, down, right, frame):\n"
            "    one = convolution.convolve2d(np.roll(image, (down, right), axis=(0, 1)), kernel)\n"
            "    other = convolution.convolve2d(image, kernel)\n"
            "    return np.abs(one - other)[frame:-frame, frame:-frame].max()",
            "shift the map as well",
        ),
        (
            "def shift_gap(image, kernel, down, right, frame):\n"
            "    one = convolution.convolve2d(np.roll(image, (down, right), axis=(0, 1)), kernel)\n"
            "    other = np.roll(convolution.convolve2d(image, kernel), (down, right), (0, 1))\n"
            "    return (one - other)[frame:-frame, frame:-frame].max()",
            "absolute",
        ),
        ("shift_gap = lambda image, kernel, down, right, frame: 0.0", "border"),
    ],
    "audit": [
        ("audit = (169, 540_900, 2_164_630)", "channel"),
        ("audit = (5408, 540_800, 2_164_630)", "bias"),
        ("audit = (5408, 540_900, 542_230)", "without it"),
        ("audit = (5408, 540_900, 2_163_300)", "Expected"),
        ("audit = (5408, '540,900', 2_164_630)", "three numbers"),
    ],
    "merge-kernels": [
        ("merge_kernels = lambda a, b: np.pad(a[:, :2] * b, ((0, 2), (0, 2)))", ""),
        (
            "def merge_kernels(first, second):\n"
            "    merged = np.zeros((5, 4))\n"
            "    for (r, c), weight in np.ndenumerate(second[::-1, ::-1]):\n"
            "        merged[r : r + 3, c : c + 3] += weight * first\n"
            "    return merged",
            "turned",
        ),
        ("merge_kernels = lambda a, b: a[:, :2] * b", "Expected"),
    ],
    "separable-share": [
        ("separable_share = lambda k, c, f: k * k * c / (k * k * c * f)", "depthwise half"),
        (
            "separable_share = lambda k, c, f: k * k * c * f / (k * k * c + c * f)",
            "upside down",
        ),
        ("separable_share = lambda k, c, f: 1 / f + 1 / k", "expected"),
    ],
    "who-suffers": [
        ("who_suffers = 'dense'", "loses nothing"),
        ("who_suffers = 'both'", "loses nothing"),
        ("who_suffers = 'neither'", "stroke"),
    ],
    "residual-block": [
        (
            "residual_block = lambda m, f, s: convolution.relu(s(convolution.relu(f(m))))",
            "shortcut is missing",
        ),
        (
            "residual_block = lambda m, f, s:"
            " convolution.relu(convolution.relu(s(convolution.relu(f(m)))) + m)",
            "before the addition",
        ),
        ("residual_block = lambda m, f, s: s(convolution.relu(f(m))) + m", "ReLU at the end"),
        ("residual_block = lambda m, f, s: convolution.relu(s(f(m)) + m)", "Expected"),
    ],
    "bottleneck": [
        ("bottleneck = (5 * 5 * 192 * 32, 1)", "one place"),
        ("bottleneck = (28 * 28 * 5 * 5 * 192 * 32, 28 * 28 * 5 * 5 * 16 * 32)", "something, too"),
        ("bottleneck = (28 * 28 * 5 * 5 * 192 * 32, 12)", "With"),
    ],
    "cross-entropy": [
        ("cross_entropy = lambda p, y: -np.log10(p[np.arange(len(y)), y]).mean()", "base 10"),
        ("cross_entropy = lambda p, y: -np.log(p[np.arange(len(y)), y]).sum()", "mean"),
        ("cross_entropy = lambda p, y: -np.log(p.max(axis=1)).mean()", "largest"),
        ("cross_entropy = lambda p, y: np.log(p[np.arange(len(y)), y]).mean()", "Expected"),
        ("cross_entropy = lambda p, y: 1 - p[np.arange(len(y)), y].mean()", "Expected"),
    ],
    "untrained-loss": [
        ("untrained_loss = 0.9", "wrong guesses"),
        ("untrained_loss = 1.0", "base 10"),
        ("untrained_loss = 0.1", "Expected"),
    ],
    "score-gradient": [
        ("score_gradient = lambda p, y: (np.eye(p.shape[1])[y] - p) / len(y)", "sign is turned"),
        ("score_gradient = lambda p, y: p - np.eye(p.shape[1])[y]", "mean over 2"),
        ("score_gradient = lambda p, y: (p - 1) / len(y)", "true class only"),
        ("score_gradient = lambda p, y: (p - np.eye(3)[y])[:1] / len(y)", "shape"),
        ("score_gradient = lambda p, y: -np.eye(p.shape[1])[y] / p / len(y)", "Expected"),
    ],
    "momentum-step": [
        (
            "def momentum_step(w, v, g, rate, m):\n    v = m * v + rate * g\n    return w + v, v",
            "uphill",
        ),
        (
            "def momentum_step(w, v, g, rate, m):\n    return w + v, m * v - rate * g",
            "old velocity",
        ),
        (
            "def momentum_step(w, v, g, rate, m):\n    v = m * v - rate * g\n    return w - v, v",
            "weight",
        ),
        ("momentum_step = lambda w, v, g, rate, m: (w - rate * g, v)", "velocity"),
    ],
    "steps": [
        ("steps_per_epoch = lambda images, batch_size: images // batch_size", "batch too"),
        ("steps_per_epoch = lambda images, batch_size: images / batch_size", "expected"),
        ("steps_per_epoch = lambda images, batch_size: images // batch_size + 1", "expected"),
    ],
    "best-epoch": [
        ("best_epoch = lambda training, validation: int(np.argmin(validation))", "counted from 0"),
        (
            "def best_epoch(training, validation):\n"
            "    return next(i for i in range(1, 9) if validation[i] > validation[i - 1])",
            "falls lower",
        ),
        ("best_epoch = lambda training, validation: int(np.argmin(training)) + 1", "by heart"),
        ("best_epoch = lambda training, validation: int(np.argmax(validation)) + 1", "lowest"),
    ],
    "interval": [
        ("interval = lambda right, n, z=1.96: (right / n, right / n)", "empty"),
        (
            "def interval(right, n, z=1.96):\n"
            "    p = right / n\n    r = z * np.sqrt(p * (1 - p) / n)\n    return p - r, p + r",
            "",
        ),
        ("interval = lambda right, n, z=1.96: (right / n - 0.02, right / n + 0.02)", ""),
    ],
    "confusion-matrix": [
        (
            "def confusion_matrix(t, p, k):\n"
            "    m = np.zeros((k, k), int)\n    np.add.at(m, (p, t), 1)\n    return m",
            "swapped",
        ),
        (
            "def confusion_matrix(t, p, k):\n"
            "    m = np.zeros((k, k), int)\n    m[t, p] += 1\n    return m",
            "counted once",
        ),
        (
            "confusion_matrix = lambda t, p, k: evaluation.confusion_matrix(t, p, 3)",
            "does not occur",
        ),
    ],
    "macro-f1": [
        ("macro_f1 = lambda m: np.trace(m) / m.sum()", "accuracy"),
        ("macro_f1 = lambda m: (2 * np.diag(m) / (m.sum(0) + m.sum(1)))[0]", "Expected"),
        (
            "def macro_f1(m):\n    p, r = np.diag(m) / m.sum(0), np.diag(m) / m.sum(1)\n"
            "    return (2 * p * r / (p + r)).mean()",
            "nan",
        ),
        ("macro_f1 = lambda m: (2 * np.diag(m) / (m.sum(0) + m.sum(1))).mean()", "third class"),
    ],
    "find-mistakes": [
        ("find_mistakes = lambda t, p, c, n: np.argsort(-c)[:n]", "is right"),
        (
            "def find_mistakes(t, p, c, n):\n"
            "    w = np.flatnonzero(t != p)\n    return w[np.argsort(c[w])][:n]",
            "least sure",
        ),
        ("find_mistakes = lambda t, p, c, n: np.argsort(-c[t != p])[:n]", ""),
        ("find_mistakes = lambda t, p, c, n: np.flatnonzero(t != p)[:n]", "sort by confidence"),
        ("find_mistakes = lambda t, p, c, n: [2, 4]", "all three"),
    ],
    "target-labels": [
        ("target_labels = lambda labels, first: labels - first", "left out"),
        ("target_labels = lambda labels, first: labels[labels >= first]", "count from 0"),
        ("target_labels = lambda labels, first: labels % first", "same label"),
        ("target_labels = lambda labels, first: np.unique(labels[labels >= first] - first)", "Exp"),
    ],
    "pick": [
        (
            "pick = lambda rows, n, seed: rows.groupby('label').sample(n, random_state=seed)",
            "a leak",
        ),
        (
            "def pick(rows, n, seed):\n"
            "    train = rows[rows['part'] == 'train']\n"
            "    return train.sample(n * train['label'].nunique(), random_state=seed)",
            "of each class",
        ),
        (
            "pick = lambda rows, n, seed: rows[rows['part'] == 'train'].groupby('label').head(n)",
            "another seed",
        ),
        (
            "pick = lambda rows, n, seed: rows[rows['part'] == 'train'].groupby('label').sample(n)",
            "same seed",
        ),
        (
            "pick = lambda rows, n, seed: rows[rows['part'] == 'train'].groupby('label')"
            ".sample(n, random_state=seed, replace=True)",
            "different pictures",
        ),
    ],
    "cut": [
        (
            "cut = lambda model, name: keras.Model(model.inputs[0], model.get_layer(name).output)",
            "the output of",
        ),
        (
            "cut = lambda model, name: keras.models.clone_model("
            "keras.Model(model.inputs[0], model.get_layer(name).input))",
            "random weights",
        ),
        ("cut = lambda model, name: model.get_layer(name).input", "Expected a model"),
    ],
    "left-to-train": [
        ("left_to_train = 541_725", "frozen ones, too|the frozen ones too"),
        ("left_to_train = 320", "those are the frozen"),
        ("left_to_train = 505", "last layer alone"),
        ("left_to_train = 541_910", "ten classes"),
        ("left_to_train = 540_900", "Expected"),
    ],
    "grad-cam": [
        *[
            (
                "def grad_cam(maps, gradients):\n"
                "    weighted = maps * gradients.mean(axis=(0, 1))\n"
                f"    return {formula}",
                word,
            )
            for formula, word in (
                ("weighted.sum(axis=-1)", "set negatives to 0"),
                ("np.abs(weighted.sum(axis=-1))", "evidence against"),
                ("np.maximum(weighted, 0).sum(axis=-1)", "first, then"),
                ("np.maximum(weighted.mean(axis=-1), 0)", "Expected"),
                ("np.maximum(weighted, 0)", "shape"),
            )
        ],
        ("grad_cam = lambda maps, g: np.maximum((maps * g).sum(axis=-1), 0)", "whole map"),
        (
            "grad_cam = lambda maps, g: np.maximum((maps * g.sum(axis=(0, 1))).sum(axis=-1), 0)",
            "its sum",
        ),
    ],
    "occlude": [
        *[
            (
                "def occlude(predict, image, size, wanted):\n"
                "    before = predict(image[None])[0]\n"
                "    sides = [side - size + 1 for side in image.shape[:2]]\n"
                "    falls = np.zeros(sides)\n"
                "    for row, column in np.ndindex(*sides):\n"
                f"        hidden = {hidden}\n"
                "        hidden[row : row + size, column : column + size] = 0\n"
                f"        after = predict({batch})[0]\n"
                f"        falls[row, column] = {fall}\n"
                "    return falls",
                word,
            )
            for hidden, batch, fall, word in (
                ("image", "hidden[None]", "before[wanted] - after[wanted]", "in a copy"),
                ("image.copy()", "hidden", "before[wanted] - after[wanted]", "batch of one"),
                ("image.copy()", "hidden[None]", "before.max() - after.max()", "largest"),
                ("image.copy()", "hidden[None]", "after[wanted] - before[wanted]", "minus after"),
                ("image.copy()", "hidden[None]", "after[wanted]", "left"),
                ("image.copy()", "hidden[None]", "before[0] - after[0]", "For class 1"),
            )
        ],
        (
            "def occlude(predict, image, size, wanted):\n"
            "    falls = np.zeros(image.shape[:2])\n"
            "    for row, column in np.ndindex(falls.shape):\n"
            "        hidden = image.copy()\n"
            "        hidden[row : row + size, column : column + size] = 0\n"
            "        pair = predict(np.stack([image, hidden]))\n"
            "        falls[row, column] = pair[0, wanted] - pair[1, wanted]\n"
            "    return falls",
            "places",
        ),
    ],
    "alike": [
        ("alike = lambda f, q, n: np.argsort(-(f @ q))[:n]", "divide by the lengths"),
        ("alike = lambda f, q, n: np.argsort(np.linalg.norm(f - q, axis=1))[:n]", "directions"),
        (
            "alike = lambda f, q, n: np.argsort(f @ q / np.linalg.norm(f, axis=1))[:n]",
            "upwards",
        ),
        (
            "alike = lambda f, q, n: np.argsort(-(f @ q) / np.linalg.norm(f, axis=1))",
            "3 rows",
        ),
        ("alike = lambda f, q, n: np.sort(-(f @ q) / np.linalg.norm(f, axis=1))[:n]", "Expected"),
    ],
    "pick-rate": [
        ("pick_rate = lambda rates, losses: np.argmin(losses)", "position"),
        ("pick_rate = lambda rates, losses: losses.min()", "lowest loss"),
        ("pick_rate = lambda rates, losses: rates[np.argmin(losses)]", "edge"),
        ("pick_rate = lambda rates, losses: rates[np.argmax(losses)] / 10", "fly off"),
        ("pick_rate = lambda rates, losses: rates[np.argmin(np.diff(losses))] / 10", "Expected"),
    ],
    "drop": [
        ("drop = lambda values, kept, rate: values * kept", "Not scaled"),
        ("drop = lambda values, kept, rate: values * kept / rate", "share dropped"),
        ("drop = lambda values, kept, rate: values * kept * (1 - rate)", "scaled down"),
        ("drop = lambda values, kept, rate: values[kept] / (1 - rate)", "shape"),
        ("drop = lambda values, kept, rate: values * ~kept / (1 - rate)", "kept is False"),
        ("drop = lambda values, kept, rate: values / (1 - rate)", "kept is False"),
    ],
    "batch-norm": [
        *[
            (
                "def batch_norm(maps, gamma, beta, epsilon):\n"
                f"    mean, variance = (f({axes}, keepdims=True) for f in (maps.mean, maps.var))\n"
                "    return gamma * (maps - mean) / np.sqrt(variance + epsilon) + beta",
                word,
            )
            for axes, word in (
                ("(1, 2)", "each picture"),
                ("0", "each pixel"),
                ("None", "all channels"),
            )
        ],
        *[
            (
                "def batch_norm(maps, gamma, beta, epsilon):\n"
                "    mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))\n"
                f"    return {formula}",
                word,
            )
            for formula, word in (
                ("gamma * (maps - mean) / (variance + epsilon) + beta", "square root"),
                ("(maps - mean) / np.sqrt(variance + epsilon)", "left out"),
                ("gamma * (maps - mean) / np.sqrt(variance) + beta", "Expected"),
                ("gamma * (maps - mean) / (np.sqrt(variance) + epsilon) + beta", "Expected"),
            )
        ],
    ],
    "two-losses": [
        ("two_losses = (0.1, 0.1)", "how sure"),
        ("two_losses = (0.51, 0.01)", "left out"),
        ("two_losses = (0.25, 0.40)", "base 10"),
        ("two_losses = (0.93, 0.58)", "Cautious"),
        ("two_losses = (0.58, 9.3)", "Sure"),
        ("two_losses = 0.58", r"\(a, b\)"),
    ],
    "five-curves": [
        ("five_curves = ['good'] * 5", "A to E"),
        ("five_curves = dict.fromkeys('ABCDE', 'too slow')", "expected one of"),
        *[
            (f"five_curves = {{**{CAUSES}, {letter!r}: {said!r}}}", f"{letter}: if it were '{said}")
            for letter, cause in CAUSES.items()
            for said in CAUSES.values()
            if said != cause
        ],
    ],
    "repaired": [
        ("repaired = broken", "one-hot"),
        *[
            (
                "def repaired(images, labels, picture):\n"
                "    order = np.random.default_rng(0).permutation(len(labels))\n"
                "    made = {'x': preprocess.normalise(images[order]), 'y': labels[order],\n"
                "            'loss': keras.losses.SparseCategoricalCrossentropy(),\n"
                "            'picture': preprocess.normalise(picture)[None]}\n"
                f"    return made | {{{fault}}}",
                word,
            )
            for fault, word in (
                ("'y': preprocess.one_hot(labels[order], 4)", "one-hot"),
                ("'x': preprocess.normalise(images), 'y': labels", "sorted"),
                ("'y': labels[np.roll(order, 1)]", "one order for both"),
                ("'x': images[order]", "0..1"),
                (
                    "'loss': keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
                    "softmax twice",
                ),
                ("'picture': preprocess.normalise(picture)", "batch of one"),
                ("'picture': picture[None]", "as in training"),
                ("'picture': preprocess.normalise(picture[None]) / 255", "as in training"),
            )
        ],
    ],
    "change-contrast": [
        *[
            (
                "change_contrast = lambda p, f:"
                f" np.rint(np.clip({mean} + f * (p - {mean}), 0, 255)).astype(np.uint8)",
                word,
            )
            for mean, word in (("0", "darker"), ("127.5", "fixed grey"), ("p.mean()", "of both"))
        ],
        *[
            (
                "def change_contrast(p, f):\n"
                "    mean = p.mean(axis=(1, 2, 3), keepdims=True)\n"
                f"    return {answer}",
                word,
            )
            for answer, word in (
                ("np.clip(mean + f * (p - mean), 0, 255)", "got float64"),
                ("(mean + f * (p - mean)).astype(int).astype(np.uint8)", "wrapped"),
                ("np.minimum(mean + f * (p - mean), 255).astype(int).astype(np.uint8)", "Expected"),
                ("np.clip(mean + f * (p - mean), 0, 255).astype(np.uint8)[0]", "shape"),
            )
        ],
    ],
    "mcnemar": [
        (
            "def mcnemar(truth, first, second):\n"
            "    a, b = first == truth, second == truth\n"
            "    m, n, k = int((a & ~b).sum()), int((b & ~a).sum()), len(truth)\n"
            f"    return {answer}",
            word,
        )
        for answer, word in (
            ("(k - b.sum(), k - a.sum(), stats.binomtest(m, m + n).pvalue)", "all mistakes"),
            ("n, m, stats.binomtest(m, m + n).pvalue", "changed places"),
            ("m, (first != second).sum() - m, 0.06", "Expected 9"),
            ("m, n, stats.binomtest(m, m + n, alternative='greater').pvalue", "one side"),
            ("m, n, comb(m + n, n) / 2 ** (m + n)", "exactly"),
            ("m, n, 2 * comb(m + n, n) / 2 ** (m + n)", "exactly"),
            ("m, n, stats.binomtest(m, (first != second).sum()).pvalue", "fair coin"),
            (
                "m, n, stats.fisher_exact([[a.sum(), k - a.sum()], [b.sum(), k - b.sum()]])[1]",
                "independent",
            ),
            ("m, n, stats.ttest_ind(a * 1.0, b * 1.0).pvalue", "fair coin"),
            (
                "m, n, 2 * sum(comb(m + n, i) for i in range(min(m, n) + 1)) / 2 ** (m + n)",
                "expected .0, 0, 1.0.",
            ),
            ("m, n, stats.binomtest(m, m + n).pvalue if m + n else 0", "got .0, 0, 0"),
        )
    ],
    "parameter-bytes": [
        (
            "def parameter_bytes(weights, biases, variant):\n"
            f"    each = {sizes}\n"
            "    return weights * each[variant][0] + biases * each[variant][1]",
            word,
        )
        for sizes, word in (
            (
                "{'float32': (32, 32), 'float16': (16, 16), 'dynamic': (8, 32), 'int8': (8, 32)}",
                "are bits",
            ),
            (
                "{'float32': (4, 4), 'float16': (2, 2), 'dynamic': (1, 1), 'int8': (1, 1)}",
                "dynamic: .* a bias takes 4",
            ),
            (
                "{'float32': (4, 4), 'float16': (2, 2), 'dynamic': (1, 4), 'int8': (1, 1)}",
                "int8: .* a bias takes 4",
            ),
            ("dict.fromkeys(('float32', 'float16', 'dynamic', 'int8'), (4, 4))", "float16: exp"),
            (
                "{'float32': (4, 4), 'float16': (2, 4), 'dynamic': (1, 4), 'int8': (1, 4)}",
                "float16: exp",
            ),
        )
    ],
    "scale-and-zero": [
        (
            "def scale_and_zero(low, high):\n"
            f"    {first}\n"
            f"    scale = (high - low) / {steps}\n"
            f"    return {answer}",
            word,
        )
        for first, steps, answer, word in (
            (
                "low, high = min(low, 0), max(high, 0)",
                256,
                "scale, round(-128 - low / scale)",
                "255 s",
            ),
            ("pass", 255, "scale, round(-128 - low / scale)", "0 is not in"),
            ("low, high = min(low, 0), max(high, 0)", 255, "scale, -128 - low / scale", "whole"),
            (
                "low, high = min(low, 0), max(high, 0)",
                255,
                "scale, round(128 + low / scale)",
                "sign",
            ),
            (
                "low, high = min(low, 0), max(high, 0)",
                255,
                "scale, round(-low / scale)",
                "begin at",
            ),
            ("low, high = -max(-low, high), max(-low, high)", 255, "scale, 0", "Expected|expected"),
        )
    ],
    "quantise": [
        (f"quantise = lambda v, s, z: {answer}", word)
        for answer, word in (
            ("np.clip(np.trunc(v / s) + z, -128, 127).astype(np.int8)", "cut off"),
            ("np.clip((v / s).astype(int) + z, -128, 127).astype(np.int8)", "cut off"),
            ("(np.rint(v / s) + z).astype(int).astype(np.int8)", "wrapped"),
            ("np.clip(np.rint(v / s), -128, 127).astype(np.int8)", "zero point"),
            ("np.clip(np.rint((v + z) / s), -128, 127).astype(np.int8)", "zero point"),
            ("np.clip(np.rint(v / s) + z, -128, 127)", "Expected int8"),
            ("np.clip(np.rint(v / s) + z, -127, 127).astype(np.int8)", "lowest"),
            ("np.clip(np.rint(v * s) + z, -128, 127).astype(np.int8)", "nearest"),
            ("np.maximum(np.rint(v / s) + z, -128).astype(int).astype(np.int8)", "highest"),
        )
    ],
    "dense-by-integers": [
        (
            "def dense_by_integers(inputs, input_zero, weights, bias, multiplier, output_zero):\n"
            "    q, w = inputs.astype(int), weights.astype(int)\n"
            f"    return {answer}",
            word,
        )
        for answer, word in (
            (
                "np.clip(np.rint((w @ q + bias) * multiplier) + output_zero, -128, 127)",
                "inputs' zero point",
            ),
            (
                "np.clip(np.rint((w @ (q - input_zero) + bias) * multiplier), -128, 127)",
                "output's zero point",
            ),
            (
                "np.clip(np.rint((w @ (q - input_zero)) * multiplier) + output_zero, -128, 127)",
                "bias is missing",
            ),
            (
                "np.clip(np.trunc((w @ (q - input_zero) + bias) * multiplier) + output_zero,"
                " -128, 127)",
                "cut off",
            ),
            (
                "(np.rint((w @ (q - input_zero) + bias) * multiplier) + output_zero)"
                ".astype(int).astype(np.int8)",
                "wrapped around",
            ),
            (
                "np.clip(np.rint((weights @ (inputs - input_zero) + bias) * multiplier)"
                " + output_zero, -128, 127)",
                "sums made of bytes",
            ),
            (
                "np.clip(np.rint((w.astype(np.int16) @ (inputs.astype(np.int16) - input_zero)"
                " + bias) * multiplier) + output_zero, -128, 127)",
                "16 bits are too few",
            ),
            (
                "np.minimum(np.rint((w @ (q - input_zero) + bias) * multiplier) + output_zero, 127)"
                ".astype(int).astype(np.int8)",
                "clip at -128",
            ),
            (
                "np.clip(np.rint((w @ (q - input_zero) + bias) * multiplier) + output_zero,"
                " output_zero, 127).astype(np.int8)",
                "no ReLU",
            ),
            (
                "np.clip(np.rint((w @ (q + 128) + bias) * multiplier) + output_zero,"
                " -128, 127).astype(np.int8)",
                "not taken as given",
            ),
            (
                "np.clip(np.rint((w @ (q - input_zero) + bias) * multiplier) - 20,"
                " -128, 127).astype(np.int8)",
                "not taken as given",
            ),
            (
                "np.clip(np.rint((w @ (q - input_zero) + bias) * multiplier) + output_zero,"
                " -128, 127)",
                "Expected int8",
            ),
            ("np.zeros((3, 4), np.int8)", "one for each row"),
        )
    ],
    "centre-of-mass": [
        *[
            (
                "def centre_of_mass(ink):\n"
                "    rows, columns = np.nonzero(ink)\n"
                f"    return {answer}",
                word,
            )
            for answer, word in (
                (
                    "(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2",
                    "middle of the box",
                ),
                ("rows.mean(), columns.mean()", "pale pixels"),
                ("ink.shape[0] / 2, ink.shape[1] / 2", "Expected row"),
            )
        ],
        *[
            (
                "def centre_of_mass(ink):\n"
                f"    ink = ink.astype({kind})\n"
                "    row = (ink.sum(axis=1) * np.arange(len(ink))).sum() / ink.sum()\n"
                "    column = (ink.sum(axis=0) * np.arange(ink.shape[1])).sum() / ink.sum()\n"
                f"    return {answer}",
                word,
            )
            for kind, answer, word in (
                ("float", "column, row", "row comes first"),
                ("float", "row + 1, column + 1", "count from 0"),
                ("float", "round(row), round(column)", "Expected row"),
            )
        ],
        (
            "def centre_of_mass(ink):\n"
            "    rows, columns = np.indices(ink.shape).astype(np.uint8)\n"
            "    return (rows * ink).sum() / ink.sum(), (columns * ink).sum() / ink.sum()",
            "Expected row|random",
        ),
    ],
    "can-tell": [
        ("can_tell = (True, True, True)", "one verdict"),
        ("can_tell = (False, False, False)", "one verdict"),
        ("can_tell = (True, False, True)", "wrong way round"),
        ("can_tell = (False, True, True)", "100 against 90"),
        ("can_tell = (True, True, False)", "30 against 20"),
        ("can_tell = True", "three answers"),
    ],
}


def generic(solution):
    """Wrong answers that fit any exercise: nothing, zeros, a constant, the identity."""
    statement = ast.parse(solution.source).body[0]
    if isinstance(statement, ast.Assign):
        name = statement.targets[0].id
        return [f"{name} = {value}" for value in ("...", "None", "0", "-1", "'?'", "(0, 0, 0, 0)")]
    name = statement.name
    like = "(lambda right: lambda *given: type_of(right(*given)))(" + name + ")"
    return [
        f"{name} = lambda *given: None",
        f"{name} = lambda *given: 0",
        f"{name} = lambda *given: 1.0",
        f"{name} = lambda *given: given[0]",
        f"type_of = lambda a: np.zeros_like(np.asarray(a)); {name} = {like}",
        f"type_of = lambda a: np.ones_like(np.asarray(a)); {name} = {like}",
        f"def {name}(*given):\n    raise NotImplementedError('unanswered')",
    ]


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """A student's copy in work/, and runs/ beside it: each stage needs what came before."""
    folder = tmp_path_factory.mktemp("student")
    student.start(folder / "work")
    return folder


def survivors(kernel, solution, check):
    """Return the wrong answers that the check lets pass, or refuses without the right words."""
    survived = []
    wrong = [(answer, "") for answer in generic(solution)] + MISCONCEPTIONS[solution.id]
    for answer, word in wrong:
        assert kernel.run(solution.source) == ("", "")
        assert kernel.run(answer)[0] == "", answer
        name, message = kernel.run(check.source)
        expected = "NotImplementedError" if "unanswered" in answer else "AssertionError"
        if name != expected or not message or not re.search(word, message):
            survived.append((solution.id, answer, name, message[:100]))
    return survived


@pytest.mark.parametrize("stage", [*STAGES, *side_trips()])
def test_a_students_copy_refuses_wrong_answers_and_runs_to_its_end(stage, students):
    """At each exercise: no answer, wrong ones, the right one; then on, without an answer."""
    source = {cell.id: cell for cell in code(NOTEBOOKS[stage.removeprefix("further/")])}
    copy = notebooks.read(students / "work" / f"{stage}.ipynb")
    settings = {"CONVNETLAB_SMOKE": "1", "CONVNETLAB_HEADLESS": "1"}
    settings["CONVNETLAB_RUNS"] = str(students / "runs")
    survived, before = [], None
    with notebooks.environment(**settings), Kernel() as kernel:
        kernel.run(f"import os; os.chdir({str(students / 'work')!r})")
        for cell in code(copy):
            failed, message = kernel.run(
                cell.source.replace('dataset = "mnist"', 'dataset = "digits"')
            )
            if not grader(cell).get("grade"):
                assert not failed, f"{stage}, {cell.id}: {failed}: {message}"
            else:
                assert failed in ("NotImplementedError", "AssertionError"), cell.id
                # Without the tag, Run All would stop there.
                assert "raises-exception" in notebooks.tags(cell), cell.id
                solution = source[before.id]
                survived += survivors(kernel, solution, cell)
                assert kernel.run(solution.source) == ("", "")
                assert kernel.run(cell.source) == ("", ""), cell.id
                kernel.run(before.source)
            before = cell
    assert not survived
