"""The command line as a user meets it: in a process of its own."""

import os
import subprocess
import sys

import pytest


def run(*arguments, **settings):
    return subprocess.run(
        [sys.executable, "-m", "convnetlab", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        **settings,
    )


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["run", "--help"], ["sweep", "-h"], ["--version"]]
)
def test_help_loads_no_tensorflow(arguments):
    program = (
        "import sys, runpy; sys.argv = ['convnetlab', *sys.argv[1:]]\n"
        "try: runpy.run_module('convnetlab', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pandas', 'matplotlib', 'dask'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "convnetlab" in finished.stdout + finished.stderr


def test_what_must_not_load_tensorflow_does_not():
    modules = "datasets convolution kernels figures diagrams explainer preprocess paths handoff"
    modules += " errors recipes evaluation"
    program = f"import sys; from convnetlab import {modules.replace(' ', ', ')}\n"
    program += "datasets.load('digits'); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-p", "sead", "1"], "Did you mean seed"),
        (["run", "-p", "seed", "one"], "Parameter seed is 'one', expected a whole number"),
        (["run", "--run", "../x"], "run is '../x'"),
        (["run", "--from", "3", "-p", "dataset", "digits"], "belongs to stage 1"),
        (["run", "--run", "none", "--from", "2"], "Run the notebook 01_load_preprocess first"),
        (["run", "--smoke", "--from", "2"], "--smoke decides"),
        (["run", "--run", "none", "--from", "further"], "01_load_preprocess first"),
        (["run", "--from", "further", "-p", "recipe", "listing"], "begins at the side trips"),
        (["start", "notebooks"], "the lab's own notebooks"),
        (["sweep", "-g", "sead", "0..2"], "Did you mean seed"),
        (["compare", "lab"], "compare needs two runs or more"),
        (["run", "--from", "4", "-p", "other", "nothing"], "There is no run 'nothing'"),
        (["sweep", "-g", "seed", "1,2", "--workers", "0"], "--workers is 0"),
        (["edge", "nothing"], "There is no run 'nothing'"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_plain_sentences(arguments, message, root, tmp_path):
    runs = tmp_path / "runs"
    finished = run(*arguments, cwd=root, env={**os.environ, "CONVNETLAB_RUNS": str(runs)})
    assert finished.returncode == 1
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not finished.stdout
    assert not runs.exists(), "nothing is made before a parameter is accepted"


def test_debug_shows_the_traceback(root):
    finished = run("--debug", "run", "-p", "seed", "one", cwd=root)
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr and "LabError" in finished.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--from", "5"], ["run", "-p", "seed"]])
def test_wrong_usage_has_exit_code_2(arguments):
    assert run(*arguments).returncode == 2


def test_start_makes_a_copy_and_refuses_a_second(tmp_path, root):
    finished = run("start", str(tmp_path / "mine"), cwd=root)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count(".ipynb") >= 4
    again = run("start", str(tmp_path / "mine"), cwd=root)
    assert again.returncode == 1
    assert "answers" in again.stderr
    assert run("start", str(tmp_path / "mine"), "--update", cwd=root).returncode == 0


def test_doctor_finds_this_environment_healthy(root):
    finished = run("doctor", cwd=root)
    assert finished.returncode == 0, finished.stdout
    for name in ("Python", "packages", "data", "kernel", "memory", "disk"):
        assert f"✓ {name}: " in finished.stdout


def test_doctor_names_what_is_wrong(tmp_path, root):
    (tmp_path / "mnist").mkdir()
    environment = {**os.environ, "CONVNETLAB_DATA": str(tmp_path)}
    finished = run("doctor", cwd=root, env=environment)
    assert finished.returncode == 1
    assert "✗ data: " in finished.stdout and "train-images-idx3-ubyte" in finished.stdout
    assert "✓ kernel: " in finished.stdout, "the other checks go on"
