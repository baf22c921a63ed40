"""Parameters from the command line: names, types, owners."""

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnetlab import notebooks
from convnetlab.errors import LabError

DEFAULTS = {
    "01_load_preprocess": {"run": "lab", "dataset": "mnist", "seed": 1, "share": 0.1, "fast": True},
    "02_architecture": {"run": "lab", "seed": 1},
    "03_train": {"run": "lab", "recipe": "one-cycle", "epochs": 0},
    "04_evaluate": {"run": "lab"},
}


def choose(*given, first=1):
    return notebooks.choose_parameters(given, DEFAULTS, first)


def test_values_take_the_defaults_types():
    chosen = choose(("seed", "7"), ("share", "1"), ("dataset", "001"), ("fast", "False"))
    assert chosen == {"seed": 7, "share": 1.0, "dataset": "001", "fast": False}
    assert isinstance(chosen["share"], float) and isinstance(chosen["dataset"], str)


@given(st.integers())
def test_every_integer_is_accepted_as_int_and_as_float(value):
    assert notebooks.typed("seed", str(value), 1) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed", "1.5", "seed is '1.5', expected a whole number"),
        ("seed", "", "expected a whole number"),
        ("seed", "True", "expected a whole number"),
        ("share", "a lot", "share is 'a lot', expected a number"),
        ("share", "nan", "expected a number"),
        ("share", "inf", "expected a number"),
        ("fast", "1", "expected true or false"),
        ("sead", "1", "no parameter 'sead'. Did you mean seed"),
        ("xyzzy", "1", "The parameters are: dataset, epochs, fast, recipe, seed, share"),
        ("run", "x", "--run NAME"),
    ],
)
def test_bad_names_and_values_are_refused(name, text, message):
    with pytest.raises(LabError, match=message):
        choose((name, text))


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(LabError, match="seed is given twice"):
        choose(("seed", "1"), ("seed", "2"))


def test_a_parameter_of_an_earlier_stage_is_refused_with_from():
    with pytest.raises(LabError, match=r"seed belongs to stage 1 \(01_load_preprocess\)"):
        choose(("seed", "5"), first=3)
    assert choose(("epochs", "5"), first=3) == {"epochs": 5}


@pytest.mark.parametrize("source", ["x = None", "x = [1]", "x = y", "x: int = 1", "print(1)"])
def test_a_parameters_cell_holds_flat_literals_only(source):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    )
    with pytest.raises(LabError, match="expected name = literal"):
        notebooks.parameters(notebook)


def test_exactly_one_parameters_cell_is_needed():
    with pytest.raises(LabError, match="0 cells tagged 'parameters', expected one"):
        notebooks.parameters(nbformat.v4.new_notebook())
