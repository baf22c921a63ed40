"""The README's tour with one's own images, command by command."""

import json
import os
import re
import shlex
import subprocess
import sys


def test_the_tour_of_own_images(root, tmp_path):
    text = (root / "README.md").read_text("utf-8")
    section = text.partition("## Bring your own images")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    ended = {}
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[0] == ".venv/bin/convnetlab"
        ended[line] = subprocess.run(
            [sys.executable, "-m", "convnetlab", *words[1:]],
            cwd=tmp_path,
            env={**os.environ, "CONVNETLAB_RUNS": str(tmp_path / "runs")},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    codes = {line: finished.returncode for line, finished in ended.items()}
    spoilt = next(line for line in codes if line.endswith("check work/flawed"))
    assert codes.pop(spoilt) == 1
    assert "✗ nearly the same picture in two parts" in ended[spoilt].stdout
    assert set(codes.values()) == {0}, [finished.stderr for finished in ended.values()]
    assert list(ended.values())[-1].stdout.count("star (") >= 20
    # Twenty pictures a class: guessing gives a quarter.
    accuracy = json.loads((tmp_path / "runs" / "shapes" / "metrics.json").read_text())["accuracy"]
    assert 0.5 < accuracy <= 1
