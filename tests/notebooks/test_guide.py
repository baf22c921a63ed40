"""The instructor's guide, command by command: from zero to grades."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="grading needs bubblewrap")


def guide(root):
    return (root / "docs" / "instructors.md").read_text("utf-8")


def ten_commands(root):
    section = guide(root).partition("## From zero to grades in ten commands")[2]
    section, _, after = section.partition("\nThen: ")
    blocks = re.findall(r"\*\*(\d+)\. .*?```sh\n(.*?)\n```", section, re.DOTALL)
    assert [int(number) for number, _ in blocks] == list(range(1, 11))
    (again,) = re.findall(r"```sh\n(.*?)\n```", after.partition("\n## ")[0], re.DOTALL)
    return [command for _, command in blocks], again


@pytest.fixture
def course(root, tmp_path, runs):
    """A folder in which the guide's commands find what they name, as in the lab's."""
    (tmp_path / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("."):
            (tmp_path / ".venv" / path.name).symlink_to(path)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    (tmp_path / ".venv" / ".ready").touch()  # installed just now
    return tmp_path


class Runs:
    """Runs commands in a folder, in a shell."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = folder / "jupyter"
        settings.mkdir()
        (settings / "jupyter_server_config.py").write_text(
            "c.ServerApp.open_browser = False\nc.ServerApp.allow_root = True\n"
            f"c.ServerApp.port = {self.port}\nc.ServerApp.port_retries = 0\n"
            "c.IdentityProvider.token = 'secret'\n"
        )
        self.settings = {
            "cwd": folder,
            "env": {**os.environ, "BROWSER": "cat %s", "JUPYTER_CONFIG_DIR": str(settings)},
            "encoding": "utf-8",
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }

    def __call__(self, command):
        finished = subprocess.run(["bash", "-c", command], check=False, **self.settings)
        assert finished.returncode == 0, (command, finished.stdout)
        return finished.stdout

    @contextlib.contextmanager
    def server(self, command):
        """Leave a command running, and give what asks it through HTTP."""
        settings = {**self.settings, "stdout": subprocess.DEVNULL, "start_new_session": True}
        process = subprocess.Popen(["bash", "-c", command], **settings)
        try:
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None and time.monotonic() < deadline
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    self.ask("/api/status")
                    break
                time.sleep(0.3)
            yield self.ask
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)

    def ask(self, path, **values):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(values).encode() if values else None,
            headers={"Authorization": "token secret", "Content-Type": "application/json"},
            method="PUT" if values else "GET",
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()


def grades(folder):
    with (folder / "grades" / "grades.csv").open(encoding="utf-8-sig") as stream:
        return {row["Student"]: row for row in csv.DictReader(stream)}


@needs_linux
def test_from_zero_to_grades_in_ten_commands(root, course):
    commands, again = ten_commands(root)
    run = Runs(course)
    setup, doctor, release, pack, sample, check, grade, report, by_hand, grade_again = commands
    run(setup)
    assert "✓ data" in run(doctor)
    assert "ready to be zipped" in run(release)
    run(pack)
    with zipfile.ZipFile(course / "handout.zip") as packed:
        assert "handout/notebooks/01_load_preprocess.ipynb" in packed.namelist()
        assert not [name for name in packed.namelist() if "hidden" in name or "grading" in name]
    run(sample)
    told = run(check)
    assert "1 by hand" in told and "wrong" not in told and "unanswered" not in told
    run(grade)
    first = grades(course)
    assert len(first) == 4
    most = float(first["ada"]["Maximum"])
    conclusion = 5
    assert float(first["ada"]["Total"]) == most - conclusion
    assert float(first["dmitri"]["Total"]) == 0
    assert "<html" in run(report)
    with run.server(by_hand) as ask:
        give_points(ask, "ada", 4)
    run(grade_again)
    second = grades(course)
    assert float(second["ada"]["Total"]) == most - 1
    assert {**second, "ada": None} == {**first, "ada": None}
    run(again)
    assert grades(course) == second


def give_points(ask, student, points):
    """Grade a conclusion as the formgrader's page does."""
    assert "formgrader" in ask("/formgrader").lower()
    handed_in = json.loads(ask("/formgrader/api/submitted_notebooks/convnetlab/04_evaluate"))
    (notebook,) = (found["id"] for found in handed_in if found["student"] == student)
    scores = json.loads(ask(f"/formgrader/api/grades?submission_id={notebook}"))
    (score,) = (found for found in scores if found["name"] == "conclusion")
    ask(f"/formgrader/api/grade/{score['id']}", manual_score=points)


def test_the_guide_links_what_is_there_and_names_commands_that_exist(root):
    text = guide(root)
    for target in re.findall(r"\]\(([\w./]+)\)", text):
        assert (root / "docs" / target).is_file(), target
    assert "(docs/instructors.md)" in (root / "README.md").read_text("utf-8")
    helps = {}
    for line in re.findall(r"`([^`\n]*convnetlab [^`\n]*)`", text):
        name = line.partition("convnetlab ")[2].split()[0]
        if name not in helps:
            helps[name] = subprocess.run(
                [sys.executable, "-m", "convnetlab", name, "--help"],
                capture_output=True,
                check=True,
                text=True,
                encoding="utf-8",
            ).stdout
    options = set(re.findall(r"`(--[a-z-]+)`", text))
    assert options and all(option in helps["grade"] for option in options)
