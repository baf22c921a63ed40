"""The candidates that `convnetlab bench --select` ranks on validation pictures.

The recipe `sprint` is the fastest of its candidates whose accuracy is `AHEAD` of the listing's;
`best` is the most accurate of its own that takes at most `SHARE` of the listing's time; `one-cycle`
is within `EQUAL` of its most accurate one, with less smoothing: the loss that students watch is
then nearer to the cross-entropy that they know. All is measured in one sitting, accuracies on the
same 10,000 validation pictures. The table is `data/results/selection.csv`.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from convnetlab.trials import Trial


@dataclass(frozen=True)
class Candidate:
    """A recipe to try.

    Attributes:
        goal: `sprint`, `best`, or `yardstick`.
        trial: what to train; its seed and pictures are set by the selection.
        seeds: how many runs it gets.
    """

    goal: str
    trial: Trial
    seeds: int


AHEAD = 0.003  # the sheet's listing is what it must not lose to by chance
EQUAL = 0.0005
SHARE = 0.9  # for a machine's whims

# Copies of two recipes on purpose: those may change, what was ranked may not.
SPRINT: dict[str, Any] = {
    "architecture": "strided",
    "learning_rate": 0.4,
    "batch_size": 192,
    "epochs": 2,
    "schedule": "one-cycle",
    "warm_up": 0.15,
    "nesterov": True,
    "label_smoothing": 0.05,
}
BEST: dict[str, Any] = {
    "architecture": "minivgg",
    "learning_rate": 0.5,
    "batch_size": 256,
    "epochs": 6,
    "schedule": "one-cycle",
    "warm_up": 0.2,
    "nesterov": True,
    "augmentation": "affine",
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
}
# The lab sheet's network, with a modern schedule.
ONE_CYCLE: dict[str, Any] = {
    "learning_rate": 0.2,
    "batch_size": 128,
    "epochs": 3,
    "warm_up": 0.15,
    "label_smoothing": 0.05,
}


def one_cycle(**changes: Any) -> Candidate:
    """Return a candidate that differs from `ONE_CYCLE` in some fields."""
    return Candidate("one-cycle", Trial("one-cycle", changes=ONE_CYCLE | changes), 2)


def sprint(**changes: Any) -> Candidate:
    """Return a candidate that differs from `SPRINT` in some fields."""
    return Candidate("sprint", Trial("one-cycle", changes=SPRINT | changes), 2)


def best(**changes: Any) -> Candidate:
    """Return a candidate that differs from `BEST` in some fields."""
    return Candidate("best", Trial("one-cycle", changes=BEST | changes), 1)


CANDIDATES = {
    "listing": Candidate("yardstick", Trial("listing"), 1),
    "one-cycle": one_cycle(),
    "one-cycle, smoothing 0.1": one_cycle(label_smoothing=0.1),
    "one-cycle, no smoothing": one_cycle(label_smoothing=0.0),
    "one-cycle, no smoothing, 4 epochs": one_cycle(label_smoothing=0.0, epochs=4),
    "one-cycle, no smoothing, warm-up 0.3": one_cycle(label_smoothing=0.0, warm_up=0.3),
    "strided": sprint(),
    "strided, 1 epoch": sprint(epochs=1),
    "strided, batch 128": sprint(batch_size=128, learning_rate=0.3),
    "strided, batch 256": sprint(batch_size=256, learning_rate=0.5),
    "strided, 3 epochs, batch 256": sprint(epochs=3, batch_size=256),
    "strided, no smoothing": sprint(label_smoothing=0.0),
    "strided, Adam": sprint(optimiser="adam", learning_rate=0.003),
    "compact": sprint(architecture="compact"),
    "reference": sprint(architecture="reference"),
    "minivgg": best(),
    "minivgg, batch 128": best(batch_size=128, learning_rate=0.3),
    "minivgg, no augmentation": best(augmentation="none"),
    "minivgg, smoothing 0.1": best(label_smoothing=0.1),
    "minivgg, no weight decay": best(weight_decay=0.0),
    "lenet5, 12 epochs": best(architecture="lenet5", epochs=12),
}


def winners(table: pd.DataFrame) -> dict[str, str]:
    """Return which candidate each recipe is to be, by the rule above.

    Args:
        table: a row a candidate, by name: its goal, `for`; `train_seconds`; `accuracy_mean`.
    """
    goals = ("yardstick", "one-cycle", "sprint", "best")
    yardstick, mild, fast, patient = (table[table["for"] == goal] for goal in goals)
    listing = yardstick.iloc[0]
    mild = mild[mild["accuracy_mean"] >= mild["accuracy_mean"].max() - EQUAL]
    fast = fast[fast["accuracy_mean"] >= listing["accuracy_mean"] + AHEAD]
    patient = patient[patient["train_seconds"] <= SHARE * listing["train_seconds"]]
    found = {
        "one-cycle": min(
            map(str, mild.index), key=lambda name: CANDIDATES[name].trial.recipe.label_smoothing
        )
    }
    # Where none fulfils the condition, there is no winner.
    found |= {"sprint": str(fast["train_seconds"].idxmin())} if len(fast) else {}
    return found | ({"best": str(patient["accuracy_mean"].idxmax())} if len(patient) else {})
