"""Every figure has a title, an alternative text and nothing that sticks out."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from convnetlab import diagrams, figures, kernels, optimisers

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (12, 28, 28, 1)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (7, 9, 5, 3)).astype(np.uint8)
LABELS = np.arange(12) % 10
NAMES = ["a rather long class name", *"123456789"]
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.5, 0.2, 0.1], "accuracy": [0.8, 0.9, 0.95]})

FIGURES = {
    "grid": lambda: figures.image_grid(PICTURES, LABELS, NAMES, "Grid"),
    "grid with mistakes": lambda: figures.image_grid(
        PICTURES, LABELS, NAMES, "Grid", LABELS[::-1], np.full(12, 0.5, np.float32)
    ),
    "grid of colours": lambda: figures.image_grid(COLOURS, LABELS[:7], NAMES, "Grid"),
    "empty grid": lambda: figures.image_grid(PICTURES[:0], LABELS[:0], NAMES, "Grid"),
    "numbers": lambda: figures.picture_numbers(PICTURES[0], "Numbers"),
    "five side by side": lambda: figures.side_by_side(
        {f"{n}: a 2, 42%": PICTURES[n] for n in range(5)}, "Pictures of nothing, and what is said"
    ),
    "side by side": lambda: figures.side_by_side({"a": PICTURES[0], "b": COLOURS[0]}, "Sizes"),
    "four maps": lambda: figures.feature_maps(
        {
            name: RNG.normal(size=(26, 26))
            for name in ("edges", "ReLU", "max pooling", "mean pooling")
        },
        "A feature map, bent and pooled",
    ),
    "maps": lambda: figures.feature_maps({"edges": np.zeros((3, 3), np.float32)}, "Feature maps"),
    "curves": lambda: figures.curves(HISTORY, "Curves"),
    "validated": lambda: figures.curves(
        HISTORY.assign(val_loss=[0.4, 0.3, 0.3], val_accuracy=[0.8, 0.85, 0.85]), "Curves"
    ),
    "one epoch": lambda: figures.curves(HISTORY[:1], "Curves"),
    "recipes": lambda: figures.recipes(
        pd.DataFrame(
            {
                "train_seconds": [80.0, 0.01],
                "accuracy_mean": [0.987, 0.969],
                "accuracy_low": [0.985, 0.965],
                "accuracy_high": [0.989, 0.972],
                "speedup": [1.0, 8000.0],
            },
            index=["listing", "nearest neighbours"],
        ),
        "Recipes",
    ),
    "descent": lambda: diagrams.descent(np.array([1.0, 0.5]), "Descent"),
    "rows": lambda: figures.image_rows({"one": PICTURES[:3], "another": PICTURES[:3]}, "Rows"),
    "range test": lambda: figures.range_test(
        pd.DataFrame({"learning_rate": [0.01, 0.1, 1], "loss": [2, 1, 9], "smoothed": [2, 1, 4]}),
        0.01,
        "Range test",
    ),
    "schedules": lambda: figures.schedules(
        pd.DataFrame({"constant": [0.1] * 4, "cosine": [0.1, 0.07, 0.03, 0]}),
        pd.DataFrame({"constant": [2.0, 1.5], "cosine": [2.0, 1.4]}, index=[1, 2]),
        "Schedules",
    ),
    "remedies": lambda: figures.remedies(
        pd.concat(
            [HISTORY.assign(remedy=name, val_loss=[0.4, 0.3, 0.5]) for name in ("none", "dropout")]
        ),
        "Remedies",
    ),
    "unlabelled": lambda: figures.unlabelled_curves(
        pd.concat(
            [
                HISTORY.assign(curve=letter, val_loss=[1, 2, 3], val_accuracy=0.5)
                for letter in "ABCDE"
            ]
        ),
        "Five curves",
    ),
    "confusion": lambda: figures.confusion(np.eye(10, dtype=int), NAMES, "Confusion"),
    "filters": lambda: figures.filters(RNG.normal(size=(3, 3, 1, 32)).astype("f"), "Filters"),
}


PICTURE = PICTURES[0, :, :, 0] / np.float32(255)
NETWORKS = pd.DataFrame(
    {
        "year": [1998, 2014],
        "idea": ["convolution, pooling, dense layers", "only 3×3, but deep"],
        "depth": [5, 16],
        "parameters": [61_706, 138_357_544],
        "multiply-adds": [416_520, 15_470_264_320],
    },
    index=["LeNet-5", "VGG-16"],
)
MASK = np.zeros((9, 5), bool)
MASK[2:6, 1:4] = True

DIAGRAMS = {
    "step": lambda: diagrams.convolution_step(PICTURE, kernels.make("blur"), 300),
    "wide step": lambda: diagrams.convolution_step(
        PICTURE, kernels.make("outline", 7), 0, 4, 3, 1, -12.5, "a kernel with a rather long name"
    ),
    "dilated step": lambda: diagrams.convolution_step(
        PICTURE, kernels.make("emboss"), 10, padding=1, dilation_rate=3
    ),
    "nothing to draw": lambda: diagrams.sentence("This cannot be computed", "kernel 9, picture 4"),
    "receptive field": lambda: diagrams.receptive_field(PICTURE, [(3, 1, 1)] * 5, "Seen"),
    "strided field": lambda: diagrams.receptive_field(PICTURE, [(5, 2, 1)] * 4, "Seen"),
    "filter": lambda: diagrams.filter_over_channels(
        RNG.random((32, 32, 3)).astype("f"), RNG.normal(size=(5, 5, 3)).astype("f"), 0.1
    ),
    "dilations": lambda: diagrams.dilations(),
    "kinds": lambda: diagrams.kinds(),
    "blocks": lambda: diagrams.blocks(),
    "to scale": lambda: diagrams.to_scale(
        {"input": (224, 224, 3), "block 5": (7, 7, 512), "dense": (4096,), "classes": (1000,)},
        "A network, to scale",
    ),
    "small, to scale": lambda: diagrams.to_scale({"input": (8, 8, 1), "classes": (10,)}, "Small"),
    "optimiser": lambda: diagrams.optimiser_path(optimisers.walk("Adam", 0.2), "Adam, rate 0.2"),
    "flown off": lambda: diagrams.optimiser_path(optimisers.walk("SGD", 1.0), "SGD, rate 1"),
    "timeline": lambda: diagrams.timeline(NETWORKS, "Networks"),
    "beyond": lambda: diagrams.beyond_classification(COLOURS[0], MASK),
}


def overlapping(figure):
    """Titles that lie on the figure's own title, or on each other."""
    texts = [axes.title for axes in figure.axes if axes.get_title()]
    texts += [figure._suptitle] if figure._suptitle else []
    boxes = [text.get_window_extent() for text in texts]
    return [
        (texts[one].get_text(), texts[other].get_text())
        for one in range(len(boxes))
        for other in range(one)
        if boxes[one].overlaps(boxes[other])
    ]


@pytest.mark.parametrize("make", [*FIGURES.values(), *DIAGRAMS.values()], ids=[*FIGURES, *DIAGRAMS])
def test_a_figure_is_described_and_nothing_is_clipped(make):
    figure = make()
    assert len(figure.alt) > 10
    titles = [axes.get_title() for axes in figure.axes]
    assert figure.get_suptitle() or any(titles)
    picture = Image.open(io.BytesIO(figure.png))
    assert picture.info["Description"] == figure.alt
    # White all around: what is clipped would reach the border.
    pixels = np.asarray(picture.convert("L"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 255).all()
    assert not overlapping(figure)
    bundle, metadata = figure._repr_mimebundle_()
    assert bundle["text/plain"] == metadata["image/png"]["alt"] == figure.alt
