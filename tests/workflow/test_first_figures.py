"""All figures of a GPU, taken in small where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import first_figures

PROGRAMME = Path(first_figures.__file__).parent / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_of_a_gpu_is_taken_in_small(tmp_path):
    command = [sys.executable, str(PROGRAMME), "gpu", "--device", "cpu", "--miniature"]
    command += ["--output", str(tmp_path)]
    taken = first_figures.Record(tmp_path / "figures.jsonl")
    for name in ("tests", "sanitizer", "stages"):  # which run by themselves
        taken.add(name, status="done")
    subprocess.run(command, check=True)
    record = first_figures.Record(tmp_path / "figures.jsonl")
    names = [step.name for step in first_figures.steps("cpu", True, tmp_path)]
    assert {record.status(name) for name in names} == {"done"}, (
        tmp_path / "figures.md"
    ).read_text()
    rows = record.rows
    assert all(
        row["error"] < row["tolerance"] for row in rows if "tolerance" in row and "error" in row
    )
    assert all(0 < row["least"] < row["passes"] for row in rows if "passes" in row)
    assert all(row["measured_mb"] for row in record.of("memory")[1:-1])
    (halved,) = (row for row in rows if "halved" in row)
    assert halved["halved"]
    assert halved["from an undisturbed CPU"] < 1e-5
    # What was taken is not taken again.
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert again.count("\n") == 1
