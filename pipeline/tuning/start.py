"""What a job takes before and after its work: a real one, of an image of a few voxels."""

import io
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.config.base import canonical_json
from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import load_config
from pipeline.errors import DeviceError
from pipeline.run import run
from pipeline.storage.publish import read_json

_SHAPE = (16, 14)
_RUNS = 3
_CONFIG: dict[str, Any] = {
    "memory": {"shards": 1},
    "sources": {
        "tune": {
            "shape": _SHAPE,
            "simulation": {
                "trajectory": "golden-radial", "readouts": 24, "samples": 32, "coils": 2
            },
        }
    },
    "reconstructions": {"start": {"algorithm": "cg-sense", "iterations": 2}},
}  # fmt: skip
_DATASET = Dataset(
    dataset="tune",
    kind="mri",
    format="simulation",
    source="shepp-logan",
    reconstructions=("start",),
)


def start_seconds(device: str, threads: int) -> float:
    """Return the wall time, without imports, of a job that has next to nothing to do [s].

    Raises `DeviceError` if the job fails.
    """
    config = load_config({**_CONFIG, "compute": {"device": device, "threads": threads}})
    settings = stage_settings(config, _DATASET, "reconstruct", "start")
    with tempfile.TemporaryDirectory(prefix="kronufft-tune-") as name:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            files = run(config, _DATASET, "start", Path(name), until="plan")
        receipt = files.receipt("reconstruct-0000")
        arguments: list[object] = [
            *("--settings", canonical_json(settings)),
            *("--dataset", files.dataset, "--reconstruction", "start", "--block", "0000"),
            *("--raw", files.raw, "--calibration", files.calibration, "--plan", files.plan),
            *("--shares", files.shares, "--image", files.block("0000"), "--receipt", receipt),
            *("--device", device, "--threads", threads),
        ]
        found = []
        for _ in range(_RUNS):
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", "reconstruct", *map(str, arguments)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise DeviceError(f"tune: a job of {_SHAPE} voxels failed: {done.stderr.strip()}")
            found.append(float(read_json(receipt)["seconds"]))
        return min(found)
