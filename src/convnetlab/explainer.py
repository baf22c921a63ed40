"""Explainers with sliders: a picture that Jupyter redraws whenever one of them moves.

The picture is an ordinary output, so it stays where no kernel runs: in a saved notebook, on a page,
in a headless run.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import display
from numpy.typing import NDArray

from convnetlab import (
    convolution,
    diagrams,
    evaluation,
    figures,
    inside_figures,
    kernels,
    optimisers,
)
from convnetlab.figures import LabFigure

Floats = NDArray[np.float32]
Learnt = Mapping[str, tuple[Floats, float]]  # kernel (h, w) and bias, by name
Heats = Callable[[NDArray[np.uint8], NDArray[np.int64] | None], Mapping[str, Floats]]
SAID = "what it says"
EVERY, PAGE = "any class", 15  # of the gallery: the menus' first option; pictures a page


class Explainer:
    """Sliders and the picture that they move.

    Attributes:
        controls: the sliders and menus, by name.
        draw: draws the picture for the controls' present values.
    """

    def __init__(self, controls: dict[str, Any], draw: Callable[[], LabFigure]) -> None:
        """Take the controls, and what draws the picture from their values."""
        self.controls = controls
        self.draw = draw

    def _ipython_display_(self) -> None:
        """Show the controls, and the picture below them."""
        columns = widgets.Layout(grid_template_columns="repeat(2, 24em)")
        display(widgets.GridBox(list(self.controls.values()), layout=columns))  # type: ignore[no-untyped-call]
        shown = display(self.draw(), display_id=True)  # type: ignore[no-untyped-call]
        for name, control in self.controls.items():
            if name != "play":  # it moves the slider beside it
                control.observe(lambda _: shown.update(self.draw()), "value")


def slider(name: str, low: int, high: int, value: int) -> Any:
    """Return a slider over whole numbers."""
    return widgets.IntSlider(value, low, high, description=name, style={"description_width": "8em"})


def menu(name: str, options: list[str]) -> Any:
    """Return a menu; its first option is chosen."""
    return widgets.Dropdown(options=options, description=name, style={"description_width": "8em"})


def explain_convolution(image: Floats, learnt: Learnt | None = None) -> Explainer:
    """Return an explainer of one convolution: window, products, sum, and the output filling up.

    Args:
        image: (H, W), 0..1.
        learnt: kernels of a trained network with their biases, by name; they come first in the
            menu, and keep their size. Else there are the kernels made by hand.
    """
    learnt = learnt or {}
    names = [*learnt, *kernels.NAMES]
    if not learnt:  # an edge kernel says more at first sight than a blur
        names.sort(key=lambda name: name != "vertical edges")
    controls = {
        "kernel": menu("kernel", names),
        "place": slider("window's place", 0, image.size - 1, 0),
        "size": slider("kernel size", 2, 7, 3),
        "stride": slider("stride", 1, 4, 1),
        "padding": slider("padding", 0, 3, 0),
        "dilation": slider("dilation rate", 1, 3, 1),
    }
    steps = widgets.Play(min=0, max=image.size - 1, interval=500, description="slide")
    widgets.link((steps, "value"), (controls["place"], "value"))
    controls["play"] = steps

    def chosen() -> tuple[Floats, float]:
        name = controls["kernel"].value
        return learnt.get(name) or (kernels.make(name, controls["size"].value), 0.0)

    def places() -> int:
        geometry = [controls[name].value for name in ("stride", "padding", "dilation")]
        sides = zip(image.shape, chosen()[0].shape, strict=True)
        counts = [convolution.output_size(side, kernel, *geometry) for side, kernel in sides]
        return counts[0] * counts[1]

    def draw() -> LabFigure:
        name = controls["kernel"].value
        controls["size"].disabled = name in learnt
        kernel, bias = chosen()
        stride, rate = controls["stride"].value, controls["dilation"].value
        try:
            last = places() - 1
            place = min(controls["place"].value, last)
            figure = diagrams.convolution_step(
                image, kernel, place, stride, controls["padding"].value, rate, bias, name
            )
        except ValueError as error:
            return diagrams.sentence("This cannot be computed", str(error))
        steps.max = controls["place"].max = last
        return figure

    # Begin where there is something to see.
    with contextlib.suppress(ValueError):  # a kernel may be larger than a tiny picture
        kernel, _ = chosen()
        output = convolution.conv2d(image[None, :, :, None], kernel[:, :, None, None])
        controls["place"].value = int(np.abs(output).argmax())
    return Explainer(controls, draw)


def explain_receptive_field(image: Floats) -> Explainer:
    """Return an explainer of how much one unit sees after some layers of equal convolutions.

    Args:
        image: (H, W), 0..1.
    """
    controls = {
        "layers": slider("layers", 1, 5, 3),
        "size": slider("kernel size", 2, 5, 3),
        "stride": slider("stride", 1, 2, 1),
        "dilation": menu("dilation rate", ["1 everywhere", "1, 2, 4, … (doubled)"]),
    }

    def draw() -> LabFigure:
        doubled = controls["dilation"].index == 1
        size, stride = controls["size"].value, controls["stride"].value
        stack = [
            (size, stride, 2**depth if doubled else 1) for depth in range(controls["layers"].value)
        ]
        return diagrams.receptive_field(image, stack, "What one unit sees of the picture")

    return Explainer(controls, draw)


def explain_descent(walk: Callable[[float], NDArray[np.float64]]) -> Explainer:
    """Return an explainer of the learning rate: one slider, and the walk down a parabola.

    Args:
        walk: returns the weights after 0, 1, 2, … steps with a learning rate, (steps + 1,).
    """
    style = {"description_width": "8em"}
    rate = widgets.FloatSlider(
        0.1, min=0.01, max=1.1, step=0.01, description="learning rate", style=style
    )

    def draw() -> LabFigure:
        return diagrams.descent(
            walk(rate.value), f"Gradient descent, learning rate {rate.value:.2f}"
        )

    return Explainer({"learning_rate": rate}, draw)


def explain_optimisers() -> Explainer:
    """Return an explainer of how optimisers walk down a long, narrow valley."""
    style = {"description_width": "8em"}
    rate = widgets.FloatLogSlider(
        10**-1.7, min=-3, max=0, step=0.1, description="learning rate", readout_format=".3f"
    )
    momentum = widgets.FloatSlider(0.9, min=0, max=0.99, step=0.01, description="momentum")
    controls = {
        "optimiser": menu("optimiser", list(optimisers.STEPS)),
        "learning_rate": rate,
        "momentum": momentum,
        "steps": slider("steps", 1, 100, 40),
    }
    for control in (rate, momentum):
        control.style = style

    def draw() -> LabFigure:
        name = controls["optimiser"].value
        momentum.disabled = name == "SGD"
        path = optimisers.walk(name, rate.value, momentum.value, controls["steps"].value)
        kept = "" if name == "SGD" else f", momentum {momentum.value:.2f}"
        title = f"{name}, learning rate {rate.value:.3f}{kept}"
        return diagrams.optimiser_path(path, title)

    return Explainer(controls, draw)


def explain_mistakes(
    predictions: pd.DataFrame,
    fetch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    classes: Sequence[str],
) -> Explainer:
    """Return a gallery of a model's mistakes, the surest first, with a menu for either class.

    Args:
        predictions: as `evaluation.predictions_table` makes it.
        fetch: gives the pictures of some indices, such as `Dataset.test_batch`.
        classes: the classes' names.
    """
    mistakes = evaluation.most_confident_mistakes(predictions, len(predictions))
    controls = {
        "is": menu("is", [EVERY, *classes]),
        "called": menu("is called", [EVERY, *classes]),
        "page": slider("page", 1, 1, 1),
    }

    def chosen() -> pd.DataFrame:
        rows = mistakes
        for name, column in {"is": "truth", "called": "predicted"}.items():
            place = controls[name].index
            rows = rows[rows[column] == place - 1] if place else rows
        return rows

    def draw() -> LabFigure:
        rows, page = chosen(), controls["page"]
        page.max = max(1, -(-len(rows) // PAGE))
        if rows.empty:
            return diagrams.sentence("No such mistake", "There is none among the test pictures.")
        start = PAGE * (page.value - 1)
        shown = rows.iloc[start : start + PAGE]
        title = f"Mistakes {start + 1} to {start + len(shown)} of {len(rows)}, the surest first"
        pictures = fetch(shown["index"].to_numpy(np.int64))
        return figures.prediction_grid(pictures, shown, classes, title)

    return Explainer(controls, draw)


def explain_answers(
    images: NDArray[np.uint8], captions: Sequence[str], classes: Sequence[str], heats: Heats
) -> Explainer:
    """Return an explainer of a network's answers: a slider for the picture, a menu for the class.

    Args:
        images: (N, H, W, C).
        captions: of the pictures.
        classes: the classes' names.
        heats: makes heat maps (1, H, W), by method, of one picture (1, H, W, C) for a class (1,),
            or for None, which is what the network says.
    """
    controls = {
        "picture": slider("picture", 1, len(images), 1),
        "class": menu("what speaks for", [SAID, *classes]),
    }

    def draw() -> LabFigure:
        number, chosen = controls["picture"].value - 1, controls["class"].index
        image = images[[number]]
        found = heats(image, np.array([chosen - 1]) if chosen else None)
        title = f"Picture {number + 1}: what speaks for {controls['class'].value}"
        return inside_figures.heat_maps(image, captions[number : number + 1], found, title)

    return Explainer(controls, draw)
