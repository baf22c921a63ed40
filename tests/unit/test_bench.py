"""The table of networks that the notebooks show, and what makes it. Nothing here is timed."""

import pandas as pd
import pytest
from conftest import ROOT

from convnetlab import bench
from convnetlab.architectures import ARCHITECTURES


@pytest.fixture(scope="module")
def recorded():
    return pd.read_csv(ROOT / "data" / "results" / "networks.csv", index_col="network")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_recorded_costs_are_those_of_the_present_networks(recorded, name):
    for column, value in bench.costs(name).items():
        if value is None:
            assert pd.isna(recorded.loc[name, column]), column
        else:
            assert recorded.loc[name, column] == value, column


def test_every_network_is_recorded_with_a_plausible_accuracy_and_its_interval(recorded):
    assert list(recorded.index) == list(ARCHITECTURES)
    assert recorded["accuracy"].between(0.9, 0.998).all()
    assert (recorded["low"] < recorded["accuracy"]).all()
    assert (recorded["accuracy"] < recorded["high"]).all()
    assert (recorded["seconds an epoch"] < 60).all()
    small = recorded.loc[["reference", "compact", "lenet5", "resnet18", "mobilenet"]]
    assert (small["accuracy"] >= 0.985).all() and (small["epochs"] <= 5).all()
