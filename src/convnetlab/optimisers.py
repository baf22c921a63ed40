"""Optimisers in NumPy, a line or two each: to explain them, and equal to Keras's.

Sources, in the order of `STEPS`: Robbins and Monro (1951); Polyak (1964); Nesterov (1983), in the
form of Bengio, Boulanger-Lewandowski and Pascanu (2013), equation 7; Kingma and Ba (2015),
algorithm 1, with its constant moved outside the bias correction, as in the paper's section 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEEPNESS = 20.0  # how many times more the valley bends across than along
START = (-4.0, 1.5)
SECOND_MOMENTUM, TINY = 0.999, 1e-7  # Adam's beta 2 and epsilon, as in Keras


@dataclass
class State:
    """What an optimiser remembers of earlier steps.

    Attributes:
        count: steps taken.
        first: the velocity, or Adam's running mean of gradients.
        second: Adam's running mean of squared gradients.
    """

    count: int = 0
    first: Any = 0.0
    second: Any = 0.0


def sgd(state: State, gradient: Floats, rate: float, momentum: float) -> Floats:
    """Return a step of plain gradient descent; it has no momentum."""
    return -rate * gradient


def with_momentum(state: State, gradient: Floats, rate: float, momentum: float) -> Floats:
    """Return the new velocity, which is the step."""
    state.first = momentum * state.first - rate * gradient
    return np.asarray(state.first)


def nesterov(state: State, gradient: Floats, rate: float, momentum: float) -> Floats:
    """Return a step that looks ahead along the new velocity."""
    state.first = momentum * state.first - rate * gradient
    return np.asarray(momentum * state.first - rate * gradient)


def adam(state: State, gradient: Floats, rate: float, momentum: float) -> Floats:
    """Return a step that is as long in a flat direction as in a steep one; `momentum` is beta 1."""
    state.count += 1
    state.first = momentum * state.first + (1 - momentum) * gradient
    state.second = SECOND_MOMENTUM * state.second + (1 - SECOND_MOMENTUM) * gradient**2
    correction = np.sqrt(1 - SECOND_MOMENTUM**state.count) / (1 - momentum**state.count)
    return np.asarray(-rate * correction * state.first / (np.sqrt(state.second) + TINY))


STEPS: dict[str, Callable[[State, Floats, float, float], Floats]] = {
    "SGD": sgd,
    "momentum": with_momentum,
    "Nesterov": nesterov,
    "Adam": adam,
}


def walk(
    name: str,
    learning_rate: float,
    momentum: float = 0.9,
    steps: int = 40,
    start: tuple[float, float] = START,
) -> Floats:
    """Return the weights after 0, 1, 2, … steps down the valley, (steps + 1, 2).

    Args:
        name: one of `STEPS`.
        learning_rate: more than 0.
        momentum: 0..1, 1 excluded; Adam's beta 1.
        steps: how many to take.
        start: the two weights at the beginning.

    >>> walk("SGD", 0.05, steps=1).round(3).tolist()
    [[-4.0, 1.5], [-3.8, 0.0]]
    """
    state, path = State(), [np.array(start, np.float64)]
    for _ in range(steps):
        step = STEPS[name](state, valley_gradient(path[-1]), learning_rate, momentum)
        path.append(path[-1] + step)
    return np.array(path)


def valley(weights: Floats) -> Floats:
    """Return the loss of weights (..., 2): a long valley, (along² + 20 · across²) / 2."""
    return np.asarray((weights[..., 0] ** 2 + STEEPNESS * weights[..., 1] ** 2) / 2)


def valley_gradient(weights: Floats) -> Floats:
    """Return the valley's gradient at weights (..., 2), of the same shape."""
    return np.asarray(weights * np.array([1.0, STEEPNESS]))
