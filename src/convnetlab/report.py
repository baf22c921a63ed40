"""A run's page, with its model card: one HTML file that loads nothing from outside."""

import base64
import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from convnetlab.handoff import Run, write_atomically
from convnetlab.lettering import drawable

FIGURES = {
    "03_curves": "Loss and accuracy by epoch",
    "04_grid": "Test pictures and what the model says of them",
    "04_confusion": "Which class is taken for which",
    "04_mistakes": "The mistakes of which the model was surest",
    "04_reliability": "What the model says of its own answers, and what is found",
    "04_refusal": "What refusing unsure answers costs and gains",
}
MEASURES = {
    "accuracy": "accuracy",
    "top2_accuracy": "top-2 accuracy (the truth is among its two best guesses)",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "loss": "log loss, nats",
}


def write_report(run: Run, stages: list[dict[str, Any]], parameters: dict[str, Any]) -> Path:
    """Write `report.html` into the run's folder and return its path.

    Args:
        run: a finished run.
        stages: for each stage `notebook`, `seconds` (wall), `cell_seconds`, `peak_mb` (MiB).
        parameters: what the notebooks were run with.

    Raises:
        LabError: an artefact of the run is missing, stale or damaged.
    """
    from jinja2 import Environment

    from convnetlab.deployment import page_of

    metrics = json.loads(run.need("metrics.json").read_text("utf-8"))
    architecture = json.loads(run.need("architecture.json").read_text("utf-8"))
    layers = pd.DataFrame(architecture["layers"])
    split = pd.read_csv(run.need("split.csv"))
    figures = [
        {"title": title, "data": base64.b64encode(path.read_bytes()).decode()}
        for name, title in FIGURES.items()
        if (path := run.folder / "figures" / f"{name}.png").is_file()
    ]
    data = json.loads(run.need("dataset.json").read_text("utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page itself tells
        drawn = drawable(tuple(data["classes"]))
    pairs = zip(drawn, data["classes"], strict=True)
    numbered = {
        shown: name for shown, name in pairs if shown.startswith("class ") and shown != name
    }
    template = files("convnetlab").joinpath("report.html.jinja").read_text("utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    text = page.render(
        run=run.folder.name,
        metrics=metrics,
        measures=[
            {
                "name": words,
                "value": metrics[name],
                "low": metrics.get(f"{name}_low"),
                "high": metrics.get(f"{name}_high"),
            }
            for name, words in MEASURES.items()
            if name in metrics  # older runs have fewer
        ],
        data=data,
        numbered=numbered,
        counts=split["part"].value_counts(sort=False).to_dict(),
        layers=layers.to_dict("records"),
        total=int(layers["parameters"].sum()),
        figures=figures,
        edge=edge.name if (edge := page_of(run)) else "",
        stages=stages,
        parameters=parameters,
        versions=run.record("metrics.json")["versions"],
        training=run.record("model.keras").get("notes", {}),  # older runs have none
    )
    return write_atomically(
        run.folder / "report.html", lambda path: path.write_text(text, encoding="utf-8")
    )
