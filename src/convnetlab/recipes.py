"""How a network is trained: optimiser, learning rate, batch, epochs. A recipe is data.

Adding one is a line in `RECIPES`.
"""

from dataclasses import asdict, dataclass, replace

import pandas as pd

from convnetlab.errors import LabError


@dataclass(frozen=True)
class Recipe:
    """What stage 3 does to a network.

    Attributes:
        learning_rate: the rate, or the highest rate of the one-cycle schedule.
        schedule: `constant`, or `one-cycle`: a rise from a tenth of the rate over the first 30 %
            of the steps, then a half cosine down to 0.
        momentum: of stochastic gradient descent.
        nesterov: Nesterov's variant of momentum.
        batch_size: pictures a step.
        epochs: passes over the training pictures.
        validate: keep the validation pictures out of training, and measure on them every epoch.
        listing_input: train as the lab sheet's listing does: arrays of floats divided beforehand.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    schedule: str = "constant"
    momentum: float = 0.9
    nesterov: bool = False
    validate: bool = True
    listing_input: bool = False


# The lab sheet's listing: all learning pictures, no validation.
LISTING = Recipe(0.01, batch_size=32, epochs=10, validate=False, listing_input=True)

RECIPES = {
    "one-cycle": Recipe(0.2, batch_size=128, epochs=3, schedule="one-cycle", nesterov=True),
    "listing": LISTING,
    # The same, on fewer pictures, with the validation curve that the sheet never drew.
    "listing-validated": replace(LISTING, validate=True),
}


def choose(name: str, epochs: int = 0) -> Recipe:
    """Return the recipe `name`, with another number of epochs if `epochs` is not 0.

    Raises:
        LabError: the name is unknown, or `epochs` is negative.
    """
    if name not in RECIPES:
        raise LabError(f"recipe is {name!r}; it must be one of: {', '.join(RECIPES)}.")
    if epochs < 0:
        raise LabError(f"epochs is {epochs}; it must be 1 or more, or 0 for the recipe's own.")
    return replace(RECIPES[name], epochs=epochs or RECIPES[name].epochs)


def recipe_table() -> pd.DataFrame:
    """Return all recipes, a row each, a column a choice."""
    rows = {name: asdict(recipe) for name, recipe in RECIPES.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")
