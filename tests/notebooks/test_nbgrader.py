"""nbgrader itself makes an assignment of the notebooks, as they are and as students get them."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.apps import NbGraderAPI
from test_source import NOTEBOOKS, grader
from traitlets.config import Config

from convnetlab import student


@pytest.mark.parametrize("make", [lambda source: source, student.student_copy])
def test_nbgrader_has_nothing_to_say(make, tmp_path, monkeypatch):
    # Its database is made by a program that it looks for on the path.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    folder = tmp_path / "source" / "convnetlab"
    folder.mkdir(parents=True)
    for name, source in NOTEBOOKS.items():
        nbformat.write(make(source), folder / f"{name}.ipynb")
    config = Config()
    config.CourseDirectory.root = str(tmp_path)
    done = NbGraderAPI(config=config).generate_assignment("convnetlab")
    assert done["success"], done
    lines = done["log"].splitlines()
    assert lines and [line for line in lines if not line.startswith("[INFO]")] == []
    for name, source in NOTEBOOKS.items():
        released = nbformat.read(tmp_path / "release" / "convnetlab" / f"{name}.ipynb", 4)
        nbformat.validate(released)
        assert "SOLUTION" not in str(released)
        points = [[grader(cell).get("points") for cell in nb.cells] for nb in (released, source)]
        assert points[0] == points[1]
