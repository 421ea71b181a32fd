"""A body that breathes as it is measured: no more is told than when readouts were taken."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from acquisitions import config_of, dataset_in
from breathing_truth import error_of, true_image
from calibrating import calibrated_in
from planned_jobs import run_jobs
from stage_runs import files_in

from pipeline.config.base import canonical_json
from pipeline.config.datasets import stage_settings
from pipeline.config.sources import IngestSettings
from pipeline.mri.formats.simulation import SimulatedScan
from pipeline.stages.ingest import ingest
from pipeline.storage.archives import open_archive
from pipeline.storage.publish import read_json
from pipeline.storage.solver_state import state_path

SHAPE = (24, 24, 24)
SIMULATION = {
    **{"trajectory": "kooshball", "readouts": 3600, "samples": 48, "coils": 4},
    **{"repetition_time": 0.01, "snr_db": 30},
}
BINNED = {
    **{"algorithm": "fista", "penalty": "llr", "sparsity": 0.3, "iterations": 24},
    **{"frames_per_image": "bins", "series": {"basis": "frames"}, "deterministic": True},
    "calibration": {"binning": {}},
}


def images_in(path):
    with open_archive(path) as group:
        return group["image"][:]


@pytest.mark.slow
def test_breathing_is_found_and_its_states_are_sharp(tmp_path, record_property):
    details = {"shape": SHAPE, "simulation": SIMULATION}
    settings = IngestSettings.model_validate(
        {"kind": "mri", "format": "simulation", "source": "breathing", "details": details}
    )
    ingest(
        settings=settings, dataset="scan", raw=tmp_path / "raw.json", receipt=tmp_path / "i.json"
    )
    found = calibrated_in(tmp_path, binning={"bins": 8, "overlap": 0.1}, consistency=False)
    depths = SimulatedScan(settings.details.simulation, SHAPE, "breathing").depths(0, slice(None))
    correlation = np.corrcoef(found.array("navigator/signal").ravel(), depths)[0, 1]
    record_property("correlation", float(correlation))
    assert correlation >= 0.95

    ((row, receipt),) = run_jobs(tmp_path, {"algorithm": "cg-sense", "frames_per_image": "all"})
    assert receipt["peak_host_bytes"] / 1e6 <= row.host_mb
    (joined,) = images_in(files_in(tmp_path).block("0000"))
    ((row, receipt),) = run_jobs(tmp_path, BINNED)
    measured = receipt["peak_host_bytes"] / 1e6
    assert measured <= row.host_mb <= 1.2 * measured
    binned = images_in(files_in(tmp_path).block("0000"))
    errors = []
    for number in range(8):
        truth = true_image(SHAPE, np.average(depths, weights=found.bin(number).ravel()))
        errors.append([error_of(each, truth) for each in (binned[number], joined)])
    of_bins, of_joined = np.mean(errors, axis=0)
    record_property("errors", f"{of_bins:.4f} {of_joined:.4f}")
    assert of_bins <= 0.5 * of_joined

    again = resumed(tmp_path)
    np.testing.assert_array_equal(again, binned)


def resumed(folder):
    """Return the images of a job that was killed and went on."""
    files, image = files_in(folder), folder / "again.zip"
    settings = stage_settings(config_of(**BINNED), dataset_in(folder), "reconstruct", "test")
    names = {"raw": files.raw, "calibration": files.calibration, "plan": files.plan}
    names |= {"image": image, "receipt": folder / "again.json", "shares": files.shares}
    names |= {"dataset": files.dataset, "reconstruction": "test", "block": "0000"}
    names |= {"settings": canonical_json(settings), "checkpoint-seconds": 0.05}
    arguments = [str(part) for name, value in names.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "pipeline", "reconstruct", *arguments]
    command += ["--device", "cpu", "--threads", "2"]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not state_path(image).exists() and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    subprocess.run(command, capture_output=True, check=True)
    assert read_json(folder / "again.json")["resumed_at"]["iteration"] > 0
    return images_in(image)
