"""Checkpoints of a training: one file a finished epoch, from which a stopped training goes on.

A file is an uncompressed NumPy archive (`.npz`): every variable of the network and of its
optimiser, the best weights so far, and a JSON text with the history. Its zip format carries a
checksum of each array, so a file that was cut short or damaged is noticed when it is read.
"""

import contextlib
import json
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convnetlab.errors import LabError
from convnetlab.handoff import write_atomically

Arrays = list[NDArray[Any]]

BEST = "best.keras"  # beside the checkpoints: the best network of a training that was stopped
KEPT = 2  # the newest, and the one before it, should the newest be damaged


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        history: the measures of each finished epoch: `epoch` (from 1), `loss`, `accuracy`, ….
        seconds: wall time of the finished epochs, without validation.
        variables: of the network and its optimiser, after the last finished epoch.
        best: the network's weights after its best epoch: the one of the lowest validation loss,
            or the last where there is no validation.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    variables: Arrays = field(default_factory=list)
    best: Arrays = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, that `best` is of; 0 before there is any."""
        losses = [row["val_loss"] for row in self.history if "val_loss" in row]
        losses = [loss if math.isfinite(loss) else math.inf for loss in losses]
        return int(np.argmin(losses)) + 1 if losses else self.epoch


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Take the folder, and what tells this training from all others."""
        self.folder = folder
        self.fingerprint = fingerprint

    def latest(self) -> Progress | None:
        """Return the newest good checkpoint of this training, or None.

        Each newer file that is damaged, or of another training, is named in a warning.
        """
        for leftover in self.folder.glob(".*.npz"):  # of a write that was killed
            with contextlib.suppress(OSError):
                leftover.unlink()
        for path in sorted(self.folder.glob("epoch-*.npz"), reverse=True):
            try:
                return self.read(path)
            except LabError as error:
                warnings.warn(f"{error} It is left out.", stacklevel=2)
        return None

    def read(self, path: Path) -> Progress:
        """Return what a checkpoint holds.

        Raises:
            LabError: it is damaged, no checkpoint, or of another training.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                about = json.loads(archive["about"].item())
                arrays = {name: archive[name] for name in archive.files}
            if about["fingerprint"] == self.fingerprint:
                return Progress(
                    about["history"],
                    about["seconds"],
                    [arrays[f"variable {n}"] for n in range(about["variables"])],
                    [arrays[f"best {n}"] for n in range(about["best"])],
                )
        except Exception as error:  # damage shows in many ways, from zlib to the parser
            raise LabError(
                f"{path} is damaged, or no checkpoint ({error or type(error).__name__})."
            ) from None
        raise LabError(
            f"{path} belongs to another training: recipe, seed, data, network or its first weights "
            "differ."
        )

    def write(self, progress: Progress) -> Path:
        """Write a checkpoint atomically, and remove those that it makes superfluous.

        Raises:
            LabError: it cannot be written, such as on a full disk. The ones before it stay.
        """
        path = self.folder / f"epoch-{progress.epoch:04}.npz"
        about = {
            "fingerprint": self.fingerprint,
            "history": progress.history,
            "seconds": progress.seconds,
            "variables": len(progress.variables),
            "best": len(progress.best),
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
        arrays |= {f"variable {n}": array for n, array in enumerate(progress.variables)}
        arrays |= {f"best {n}": array for n, array in enumerate(progress.best)}
        write_atomically(path, lambda file: np.savez(file, **arrays))
        others = sorted(self.folder.glob("epoch-*.npz"))
        kept = others[max(0, others.index(path) - KEPT + 1) : others.index(path) + 1]
        for other in set(others) - set(kept):
            other.unlink()
        return path

    def remove(self) -> None:
        """Remove the checkpoints, and their folder if nothing else is in it."""
        for pattern in ("epoch-*.npz", ".*.npz", BEST):
            for path in self.folder.glob(pattern):
                path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
