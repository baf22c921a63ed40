"""The notebooks end to end, through nbval."""

import os
import subprocess
import sys

from convnetlab import notebooks
from convnetlab.paths import STAGES, side_trips


def test_nbval_finds_the_recorded_outputs(root, tmp_path):
    """As committed, in order; only cells tagged `nbval-check-output` are compared."""
    stages = [str(root / "notebooks" / f"{stage}.ipynb") for stage in (*STAGES, *side_trips())]
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q", "--tb=short"]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *stages],
        env={
            **os.environ,
            "CONVNETLAB_RUNS": str(tmp_path),
            "CONVNETLAB_SMOKE": "1",
            "CONVNETLAB_HEADLESS": "1",
        },
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    cells = sum(cell.cell_type == "code" for path in stages for cell in notebooks.read(path).cells)
    assert f"{cells} passed" in finished.stdout
