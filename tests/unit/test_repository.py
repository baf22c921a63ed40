"""The repository itself: one list of packages, commands that exist, nothing from outside."""

import re
import shlex
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import yaml

from convnetlab import __version__

GROUPS = {"images"}  # commands that have commands of their own
ADDRESS = re.compile(r"://")


@pytest.fixture(scope="module")
def project():
    from conftest import ROOT

    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def required(project):
    return [*project["dependencies"], *chain(*project["optional-dependencies"].values())]


def test_every_dependency_has_both_bounds_and_a_user(root, project):
    lines = (root / "pyproject.toml").read_text("utf-8").splitlines()
    for requirement in required(project):
        assert ">=" in requirement and "<" in requirement, requirement
        line = next(line for line in lines if f'"{requirement}"' in line)
        assert "  # " in line, f"{requirement}: who uses it?"


def test_the_constraints_are_exact_and_fit_the_ranges(root, project):
    from packaging.requirements import Requirement

    text = (root / "constraints.txt").read_text()
    assert not ADDRESS.search(text)
    exact = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    pinned = {name_of(name): version for name, version in exact.items()}
    for line in required(project):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[name_of(requirement.name)]), line


def test_condas_environment_installs_what_pip_does(root, project):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    python, pip, through_pip = environment["dependencies"]
    assert python == f"python{project['requires-python']}".replace(" ", "")
    assert pip == "pip"
    (extras,) = re.findall(r"-e \.\[(.*)\]", " ".join(through_pip["pip"]))
    assert set(extras.split(",")) == set(project["optional-dependencies"])
    assert "-c constraints.txt" in through_pip["pip"]


def test_the_version_is_said_once(project):
    assert project["version"] == __version__


def commands(root):
    """The commands in the README's blocks for a shell."""
    text = (root / "README.md").read_text("utf-8")
    for block in re.findall(r"```(?:sh|bat)\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            line = line.partition("  #")[0].strip()
            if line:
                yield line


def test_every_command_of_the_readme_exists(root):
    found = list(commands(root))
    assert len(found) >= 10
    targets = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE)
    for command in found:
        words = shlex.split(command.replace("\\", "/"))
        if words[0] == "make":
            assert words[1] in targets, command
        elif words[0].endswith("convnetlab"):
            named = words[1:3] if words[1] in GROUPS else words[1:2]
            checked = subprocess.run(
                [sys.executable, "-m", "convnetlab", *named, "--help"],
                check=False,
                capture_output=True,
            )
            assert checked.returncode == 0, command
            options = {word for word in words if word.startswith("-")}
            for option in options:
                assert option in checked.stdout.decode("utf-8"), command
        else:
            known = {"git", "cd", "py", "conda", ".venv/Scripts/python", ".venv/Scripts/jupyter"}
            assert words[0] in known, command


def test_the_readme_shows_numbers_only_with_the_command_that_made_them(root):
    text = (root / "README.md").read_text("utf-8")
    assert "(docs/result.png)" in text and (root / "docs" / "result.png").is_file()
    for number in re.findall(r"\b0\.9\d{2,}\b", text):
        section = text[: text.index(number)].rsplit("\n## ", 1)[1]
        assert "convnetlab" in section or "make" in section, number


def test_nothing_names_a_registry_or_a_path_of_a_machine(root):
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, listed):
        path = root / name
        if path.suffix in {".gz", ".png"} or name.startswith("tests/"):
            continue
        text = path.read_text("utf-8")
        assert not re.search(r"(^|[\s\"'(=])/(home|root|Users)/", text), name
        assert not re.search(r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian", text), name


needs_make = pytest.mark.skipif(sys.platform == "win32", reason="the README has no make there")


@needs_make
@pytest.mark.parametrize("target", ["run", "test", "lab", "notebooks", "help", "results", "bench"])
def test_make_has_its_targets_and_tells_of_them(root, target):
    told = subprocess.run(
        ["make", "help"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"^make {target}\s+\w", told, re.MULTILINE)


@needs_make
def test_make_says_so_where_there_is_no_fitting_python(root, tmp_path):
    import shutil

    shutil.copy(root / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "make", "test", "echo", "rm", "mkdir", "touch", "find", "sort"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    finished = subprocess.run(
        ["make", "run"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode != 0
    assert "No Python 3.11, 3.12 or 3.13 was found" in finished.stdout + finished.stderr
    assert not (tmp_path / ".venv").exists()
