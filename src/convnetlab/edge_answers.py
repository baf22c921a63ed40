"""What Keras and the variants of a network on the edge say of the same test pictures."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convnetlab.datasets import Dataset
from convnetlab.evaluation import accuracy_interval

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

KERAS = "Keras"  # its row in the tables


def answers(ask: Callable[[Pixels], Floats], data: Dataset, indices: Integers) -> Floats:
    """Return what is said of test pictures, (N, classes), a few of which are in memory at a time.

    Args:
        ask: answers one picture (H, W, C).
        data: where the pictures are.
        indices: which, (N,).
    """
    from convnetlab.streams import pictures_at_once

    step = pictures_at_once(data.image_shape)
    chunks = (indices[start : start + step] for start in range(0, len(indices), step))
    return np.stack([ask(image) for chunk in chunks for image in data.test_batch(chunk)])


def judged(said: Mapping[str, Floats], truth: Integers, sizes: Mapping[str, int]) -> pd.DataFrame:
    """Return the table of `Deployed`.

    Args:
        said: probabilities (N, classes) by name, Keras's under `KERAS`.
        truth: the true classes, (N,).
        sizes: the files' bytes by name, of which some may have said nothing.
    """
    table = pd.DataFrame({"bytes": sizes})
    table["of float32"] = table["bytes"] / sizes.get("float32", np.nan)
    of_keras = said[KERAS].argmax(axis=1)
    for name, probabilities in said.items():
        answer = probabilities.argmax(axis=1)
        right, changed = int((answer == truth).sum()), int((answer != of_keras).sum())
        table.loc[name, "accuracy"] = right / len(truth)
        table.loc[name, ["low", "high"]] = accuracy_interval(right, len(truth))
        table.loc[name, "agreement"] = 1 - changed / len(truth)
        table.loc[name, "changed"] = changed
    return table.astype({"changed": "Int64"}).rename_axis("network")


def changes(
    said: Mapping[str, Floats], indices: Integers, truth: Integers, data: Dataset
) -> pd.DataFrame:
    """Return the answers that are not Keras's, a row each.

    Columns: `variant`; `index` of the test picture; `truth`, `keras` and `says` (classes' names);
    `keras confidence` and `confidence` (0..1); `file`, where the pictures have one.
    """
    of_keras, rows = said[KERAS].argmax(axis=1), []
    for variant, probabilities in said.items():
        answer = probabilities.argmax(axis=1)
        for place in np.flatnonzero(answer != of_keras):
            row: dict[str, object] = {"variant": variant, "index": int(indices[place])}
            numbers = {"truth": truth[place], "keras": of_keras[place], "says": answer[place]}
            row |= {name: data.classes[number] for name, number in numbers.items()}
            row["keras confidence"] = float(said[KERAS][place].max())
            row["confidence"] = float(probabilities[place].max())
            if data.test_files:
                row["file"] = data.test_files[indices[place]]
            rows.append(row)
    columns = ["variant", "index", "truth", "keras", "says", "keras confidence", "confidence"]
    return pd.DataFrame(rows, columns=[*columns, "file"] if data.test_files else columns)
