"""The notebooks end to end, as a student's copy without solutions."""

from kernel import Kernel

from convnetlab import notebooks, student
from convnetlab.paths import STAGES, side_trips

UNANSWERED = ("NotImplementedError", "AssertionError")


def test_a_students_copy_runs_to_its_end_unanswered(tmp_path):
    """All in one kernel: it starts in many seconds. nbval and papermill give each its own."""
    student.start(tmp_path / "work")
    settings = {"CONVNETLAB_SMOKE": "1", "CONVNETLAB_RUNS": str(tmp_path / "runs")}
    with notebooks.environment(**settings), Kernel() as kernel:
        kernel.run(f"import os; os.chdir({str(tmp_path / 'work')!r})")
        for stage in (*STAGES, *side_trips()):
            for cell in notebooks.read(tmp_path / "work" / f"{stage}.ipynb").cells:
                if cell.cell_type == "code":
                    failed, message = kernel.run(cell.source)
                    is_check = cell.metadata.get("nbgrader", {}).get("grade")
                    expected = UNANSWERED if is_check else ("",)
                    assert failed in expected, f"{stage}: {cell.id}: {failed}: {message}"
                    # Without the tag, Run All would stop there.
                    assert not failed or "raises-exception" in notebooks.tags(cell), cell.id
    assert (tmp_path / "runs" / "lab" / "metrics.json").is_file()
