"""The candidates that `convnetlab bench --select` ranks on validation pictures.

The recipe `sprint` is the fastest of its candidates whose accuracy is `AHEAD` of the listing's;
`best` is the most accurate of its own that takes at most `SHARE` of the listing's time. All is
measured in one sitting, accuracies on the same 10,000 validation pictures. The table is
`data/results/selection.csv`.
"""

from dataclasses import dataclass
from typing import Any

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
SHARE = 0.95  # for a machine's whims

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
}


def sprint(**changes: Any) -> Candidate:
    """Return a candidate that differs from `SPRINT` in some fields."""
    return Candidate("sprint", Trial("one-cycle", changes=SPRINT | changes), 2)


def best(**changes: Any) -> Candidate:
    """Return a candidate that differs from `BEST` in some fields."""
    return Candidate("best", Trial("one-cycle", changes=BEST | changes), 1)


CANDIDATES = {
    "listing": Candidate("yardstick", Trial("listing"), 1),
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
