"""A field map through the stages: refusals at the door, and an EPI whose true map is known."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from acquisitions import write_acquisition
from scipy.ndimage import map_coordinates

from pipeline.config.calibration import CalibrateSettings, CalibrationSettings
from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.config.transforms import NufftSettings
from pipeline.errors import DataError
from pipeline.in_process import run
from pipeline.stages.calibrate import calibrate
from pipeline.storage.publish import open_published, read_json

DATA = os.environ.get("KRONUFFT_DATA", "")
SHAPE, READOUTS, SAMPLES = (8, 9), 5, 7


def calibrated(folder, frames=1, **given):
    settings = given.pop("settings", {})
    write_acquisition(
        folder, shape=SHAPE, coils=1, readouts=READOUTS, samples=SAMPLES, frames=frames, **given
    )
    chosen = CalibrationSettings(
        coil_maps="none", density="none", consistency=False, whitening="none", **settings
    )
    calibrate(
        settings=CalibrateSettings(calibration=chosen, nufft=NufftSettings()),
        dataset="scan",
        raw=folder / "raw.json",
        calibration=folder / "calibration.json",
        receipt=folder / "receipt.json",
        device="cpu",
    )
    return read_json(folder / "receipt.json")


def field(frames=1, largest=50.0):
    return np.random.default_rng(1).uniform(-largest, largest, (frames, 1, *SHAPE))


def times(last=0.01):
    return np.linspace(0, last, READOUTS * SAMPLES).reshape(1, READOUTS, SAMPLES)


def test_what_was_found_is_told(tmp_path):
    told = calibrated(tmp_path, field_map=field(), times=times())
    assert told["off_resonance"] == "source"
    assert told["sample_times_s"] == pytest.approx([0, 0.01])
    assert told["field_map_hz"] == pytest.approx([-50, 50], abs=3)
    for of in told["off_resonance_segments"].values():
        assert 1 < of["segments"] < 20
        assert of["error"] <= 1e-3


def test_a_map_without_times_is_left_out_unless_it_is_asked_for(tmp_path):
    assert calibrated(tmp_path / "a", field_map=field())["off_resonance"] == "none"
    with pytest.raises(DataError, match="the source has no times of its samples; set it to none"):
        calibrated(tmp_path / "b", field_map=field(), settings={"off_resonance": "source"})
    with pytest.raises(DataError, match="has no map of off-resonance or relaxation"):
        calibrated(tmp_path / "c", times=times(), settings={"off_resonance": "source"})


def test_maps_of_frames_and_wrong_units_are_refused(tmp_path):
    with pytest.raises(DataError, match="`field_map` has 2 frames; expected one map"):
        calibrated(tmp_path / "a", frames=2, field_map=field(2), times=times())
    with pytest.raises(DataError, match=r"turns 493 times .* Check the units of both, Hz and s"):
        calibrated(tmp_path / "b", field_map=field(), times=times(10.0))


@pytest.mark.skipif(not DATA, reason="KRONUFFT_DATA does not name a folder with measured data")
def test_an_epi_with_its_true_field_map(tmp_path):
    """Simulated by JEMRIS, with the object: 46 turns between the first sample and the last."""
    size, voxel, echo = 100, 2.3, 0.1
    folder = Path(DATA) / "jemris-epi-b0"
    with h5py.File(folder / "signals.h5") as file:
        signal, when = file["signal/channels/00"][:], file["signal/times"][:] * 1e-3
    with h5py.File(folder / "brain_susceptibility.h5") as file:
        density, _, rate, _, turning = np.moveaxis(file["sample/data"][:], -1, 0)
    # Voxels of 2.3 mm of an object of 1 mm, both around the same middle.
    lines = [(np.arange(size) - size // 2) * voxel + (n - 1) / 2 for n in density.shape]
    parts = [
        np.meshgrid(lines[0] + y, lines[1] + x, indexing="ij")
        for y in (-0.7, 0, 0.7)
        for x in (-0.7, 0, 0.7)
    ]
    truth, turning = (
        np.mean([map_coordinates(values, part, order=1) for part in parts], axis=0)
        for values in (density * np.exp(-100 * rate), turning)
    )
    steps = np.arange(-size // 2, size // 2)
    k = np.stack(np.meshgrid(-steps, steps, indexing="ij"), axis=-1)
    k[1::2] = k[1::2, ::-1]  # every second line runs back
    np.savez(
        tmp_path / "epi.npz",
        kspace=(signal[:, 0] + 1j * signal[:, 1]).reshape(size, size),
        trajectory=k / size,
        times=(when - echo).reshape(size, size),
        field_map=turning / (2 * np.pi),
    )
    axes = {
        "kspace": ["readout", "sample"],
        "trajectory": ["readout", "sample", "axis"],
        "times": ["readout", "sample"],
        "field_map": ["y", "x"],
    }
    arrays = {name: {"name": name, "axes": each} for name, each in axes.items()}
    arrays["trajectory"]["units"] = "cycles_per_voxel"
    found = {}
    for effect in ("auto", "none"):
        config = load_config(
            {
                "sources": {"epi": {"shape": [size, size], "arrays": arrays}},
                "calibration": {"density": "none", "off_resonance": effect},
                "reconstructions": {
                    "r": {
                        "algorithm": "cg-sense",
                        "iterations": 10,
                        "weights": "none",
                        "regularization": 0.01,
                    }
                },
            }
        )
        dataset = Dataset(
            dataset="epi", kind="mri", format="arrays",
            source=str(tmp_path / "epi.npz"), reconstructions=("r",),
        )  # fmt: skip
        files = run(config, dataset, "r", tmp_path / effect, until="merge")
        image = np.abs(open_published(files.image)["image"][0, 0])
        found[effect] = np.corrcoef(image.ravel(), truth.ravel())[0, 1]
    assert found["auto"] > 0.75
    assert found["none"] < 0.6
