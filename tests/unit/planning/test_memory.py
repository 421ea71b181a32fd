"""Memory is a contract: measured <= predicted <= limit, in fresh processes."""

import subprocess
import sys

import pytest
from acquisitions import reconstruction_settings, write_acquisition

from pipeline.config.base import canonical_json
from pipeline.planning.table import read_plan
from pipeline.storage.publish import read_json

CASES = {
    "2d series": (
        {"shape": (160, 144), "coils": 6, "readouts": 40, "samples": 256, "frames": 30},
        {"algorithm": "cg-sense", "iterations": 3},
    ),
    "2d shared trajectory": (
        {
            "shape": (128, 96),
            "coils": 9,
            "readouts": 60,
            "samples": 192,
            "frames": 20,
            "own_trajectory": False,
        },
        {"algorithm": "cg-sense", "iterations": 3},
    ),
    "3d": (
        {"shape": (96, 80, 88), "coils": 6, "readouts": 2000, "samples": 128},
        {"algorithm": "cg-sense", "iterations": 2},
    ),
    "3d many samples": (
        {"shape": (48, 40, 44), "coils": 4, "readouts": 8000, "samples": 256},
        {"algorithm": "cg-sense", "iterations": 2},
    ),
    "3d explicit": (
        {"shape": (80, 64, 72), "coils": 4, "readouts": 1500, "samples": 128},
        {"algorithm": "cg-sense", "iterations": 1, "normal": "explicit"},
    ),
    "3d double": (
        {"shape": (64, 72, 56), "coils": 5, "readouts": 1500, "samples": 128},
        {"algorithm": "cg-sense", "iterations": 2, "precision": "double", "tolerance": 1e-7},
    ),
    "3d deterministic": (
        {"shape": (72, 64, 80), "coils": 5, "readouts": 1500, "samples": 128},
        {"algorithm": "cg-sense", "iterations": 1, "deterministic": True},
    ),
    "3d gridding": (
        {"shape": (128, 112, 120), "coils": 3, "readouts": 2000, "samples": 200},
        {"algorithm": "gridding"},
    ),
}


def run_job(folder, acquisition, settings):
    """Plan, reconstruct the first block in a process of its own; return its plan and receipt."""
    write_acquisition(folder, **acquisition)
    planned, chosen = reconstruction_settings(**settings)
    common = [
        *("--dataset", "random", "--reconstruction", "test", "--device", "cpu", "--threads", "2"),
        *("--raw", str(folder / "raw.json"), "--calibration", str(folder / "calibration.json")),
        *("--plan", str(folder / "plan.tsv")),
    ]

    def command(stage, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", stage, *common, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    receipt = folder / "plan.json"
    command("plan", "--settings", canonical_json(planned), "--receipt", str(receipt))
    row = read_plan(folder / "plan.tsv").blocks["0000"]
    receipt = folder / "receipt.json"
    command(
        "reconstruct",
        *("--settings", canonical_json(chosen), "--block", "0000"),
        *("--image", str(folder / "0000.zarr.zip"), "--receipt", str(receipt)),
    )
    return row, read_json(receipt)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_measured_is_below_predicted_is_below_the_limit(tmp_path, case, record_property):
    row, receipt = run_job(tmp_path, *CASES[case])
    measured = receipt["peak_host_bytes"] / 1e6
    record_property("measured_mb", measured)
    record_property("predicted_mb", row.host_mb)
    assert measured <= row.host_mb <= row.limit_host_mb
    # Not by reserving too much: a job that could run must not be refused.
    assert row.host_mb <= 1.25 * measured
