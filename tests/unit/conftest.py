"""What several files of unit tests learn from."""

import pytest

from convnetlab import datasets, preprocess


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def split(digits):
    return preprocess.split(digits, 0.1, 1)
