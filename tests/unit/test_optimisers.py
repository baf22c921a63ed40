"""The optimisers that are explained are those of Keras, step by step."""

import numpy as np
import pytest

from convnetlab import optimisers
from convnetlab.backend import keras

RNG = np.random.default_rng(0)
SETTINGS = [
    (name, float(rate), float(momentum))
    for name in optimisers.STEPS
    for rate, momentum in zip(10 ** RNG.uniform(-3, -1.2, 6), RNG.uniform(0, 0.95, 6), strict=True)
]


def theirs(name, rate, momentum):
    if name == "Adam":
        return keras.optimizers.Adam(rate, beta_1=momentum)
    return keras.optimizers.SGD(rate, 0.0 if name == "SGD" else momentum, name == "Nesterov")


@pytest.mark.parametrize(("name", "rate", "momentum"), SETTINGS)
def test_every_step_is_kerass(name, rate, momentum):
    start = (float(RNG.uniform(-4, 4)), float(RNG.uniform(-2, 2)))
    path = optimisers.walk(name, rate, momentum, 12, start)
    optimiser, weights = theirs(name, rate, momentum), keras.Variable(np.array(start, "float32"))
    for expected in path:
        found = weights.numpy()
        assert np.allclose(expected, found, rtol=2e-3, atol=2e-4 * max(1, np.abs(path).max()))
        gradient = optimisers.valley_gradient(found.astype(np.float64))
        optimiser.apply([keras.ops.convert_to_tensor(gradient.astype("float32"))], [weights])


def test_the_gradient_is_the_valleys_slope():
    for weights in RNG.normal(size=(20, 2)):
        slope = [
            (optimisers.valley(weights + step) - optimisers.valley(weights - step)) / 2e-5
            for step in 1e-5 * np.eye(2)
        ]
        assert np.allclose(slope, optimisers.valley_gradient(weights), atol=1e-4)


def test_plain_steps_fly_off_where_the_rate_is_too_large_for_the_steep_direction():
    edge = 2 / optimisers.STEEPNESS
    losses = [optimisers.valley(optimisers.walk("SGD", rate)) for rate in (0.9 * edge, 1.1 * edge)]
    assert losses[0][-1] < losses[0][0] < losses[1][-1]
