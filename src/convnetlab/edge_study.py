"""`convnetlab edge`: all variants of a run's network on the edge, measured side by side."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from convnetlab import deployment, edge
from convnetlab.datasets import load_specified
from convnetlab.deployment import Deployed
from convnetlab.handoff import Run, read_json
from convnetlab.prediction import load_model

Say = Callable[[str], object]


@dataclass(frozen=True)
class Measured:
    """What `measure` found."""

    deployed: Deployed
    table: pd.DataFrame


def measure(
    run: Run, *, float32_page: bool = False, quick: bool = False, say: Say = print
) -> Measured:
    """Write every variant of a run's network for the edge, and measure it beside Keras.

    Args:
        run: a run whose network is trained.
        float32_page: put float32 into the page, not int8.
        quick: few repeats, which say little.
        say: gets a line of progress now and then.
    """
    model = load_model(run.need("model.keras"))
    split = pd.read_csv(run.need("split.csv"))
    data = load_specified(read_json(run.need("dataset.json")), say)
    variants, page = edge.VARIANTS, float32_page
    deployed = deployment.deploy(
        run, model, data, split, variants=variants, float32_page=page, say=say
    )
    return Measured(deployed, deployed.table)
