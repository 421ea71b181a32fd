"""What a job takes before and after its work: a real one, of an image of a few voxels."""

import io
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.algorithms.least_squares import CgSenseSettings
from pipeline.config.base import canonical_json
from pipeline.config.calibration import CalibrateSettings, CalibrationSettings
from pipeline.config.planning import MemorySettings, PlanSettings
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.config.sources import IngestSettings, SimulationSettings, SourceSettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import DeviceError
from pipeline.stages.calibrate import calibrate
from pipeline.stages.ingest import ingest
from pipeline.stages.plan import plan
from pipeline.storage.publish import read_json

_SHAPE = (16, 14)
_RUNS = 3


def start_seconds(device: str, threads: int) -> float:
    """Return the wall time, without imports, of a job that has next to nothing to do [s].

    Parameters
    ----------
    device
        Torch's name.
    threads
        CPU threads.

    Raises
    ------
    DeviceError
        If the job fails.
    """
    with tempfile.TemporaryDirectory(prefix="kronufft-tune-") as name:
        folder = Path(name)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            settings = _plan_a_job(folder, device, threads)
        raw, calibration = folder / "raw.json", folder / "calibration.json"
        receipt = folder / "receipt.json"
        arguments: list[object] = [
            *("--settings", canonical_json(settings)),
            *("--dataset", "tune", "--reconstruction", "start", "--block", "0000"),
            *("--raw", raw, "--calibration", calibration, "--plan", folder / "plan.tsv"),
            *("--shares", folder, "--image", folder / "image.zarr.zip", "--receipt", receipt),
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


def _plan_a_job(folder: Path, device: str, threads: int) -> ReconstructSettings:
    """Write raw data, calibration and plan of an image of a few voxels."""
    raw, calibration = folder / "raw.json", folder / "calibration.json"
    simulation = SimulationSettings(trajectory="golden-radial", readouts=24, samples=32, coils=2)
    ingest(
        settings=IngestSettings(
            kind="mri",
            format="simulation",
            source="shepp-logan",
            details=SourceSettings(shape=_SHAPE, simulation=simulation),
        ),
        dataset="tune",
        raw=raw,
        receipt=folder / "ingest-receipt.json",
    )
    nufft = NufftSettings()
    calibrate(
        settings=CalibrateSettings(calibration=CalibrationSettings(), nufft=nufft),
        dataset="tune",
        raw=raw,
        calibration=calibration,
        receipt=folder / "calibrate-receipt.json",
        device="cpu",
        threads=threads,
    )
    common: dict[str, Any] = {
        "reconstruction": CgSenseSettings(algorithm="cg-sense", iterations=2),
        "nufft": nufft,
        "precision": "single",
        "deterministic": False,
    }
    plan(
        settings=PlanSettings(**common, memory=MemorySettings(shards=1)),
        dataset="tune",
        reconstruction="start",
        raw=raw,
        calibration=calibration,
        plan=folder / "plan.tsv",
        receipt=folder / "plan-receipt.json",
        device=device,
        threads=threads,
    )
    return ReconstructSettings(**common)
