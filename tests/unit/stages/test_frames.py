"""Frames that share a trajectory, but not all that their samples are: by the dense problem."""

import numpy as np
import pytest
from acquisitions import complex_normal

from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.in_process import run
from pipeline.storage.publish import open_published

SHAPE, READOUTS, SAMPLES = (8, 9), 12, 14


@pytest.mark.parametrize("apart", ["times", "weights"])
def test_frames_may_differ_in_times_and_in_weights_alone(tmp_path, apart):
    generator = np.random.default_rng(5)
    kspace = complex_normal(generator, (2, READOUTS, SAMPLES))
    k = generator.uniform(-3, 3, (READOUTS, SAMPLES, 2))
    field = generator.uniform(-60, 60, SHAPE)
    times = np.linspace(0, 0.005, READOUTS * SAMPLES) + np.array([[0], [0.01]])
    weights = generator.uniform(0.2, 1, (2, READOUTS, SAMPLES))
    per_frame = ["frame", "readout", "sample"]
    stored = {
        "kspace": (kspace, per_frame),
        "trajectory": (k, ["readout", "sample", "axis"]),
    }
    if apart == "weights":
        stored["weights"] = weights, per_frame
    else:
        stored["times"] = times.reshape(2, READOUTS, SAMPLES), per_frame
        stored["field_map"] = field, ["y", "x"]
    np.savez(tmp_path / "scan.npz", **{name: values for name, (values, _) in stored.items()})
    arrays = {name: {"name": name, "axes": axes} for name, (_, axes) in stored.items()}
    config = load_config(
        {
            "data_root": str(tmp_path),
            "compute": {"device": "cpu", "threads": 1, "precision": "double"},
            "output": {"ome_zarr": False, "nifti": False},
            "nufft": {"tolerance": 1e-6},
            "sources": {"scan": {"shape": SHAPE, "arrays": arrays}},
            "calibration": {
                "consistency": False,
                "density": "source" if apart == "weights" else "none",
                "off_resonance_error": 1e-5,
            },
            "reconstructions": {
                "r": {
                    "algorithm": "cg-sense", "iterations": 100, "regularization": 0.05,
                    "preconditioner": "none", "apodization": "none",
                }
            },
        }
    )  # fmt: skip
    row = Dataset(
        dataset="scan", kind="mri", format="arrays", source="scan.npz", reconstructions=("r",)
    )
    files = run(config, row, "r", tmp_path / "results", until="merge")
    images = open_published(files.image)["image"][:, 0]
    y, x = np.meshgrid(*[np.arange(size) - size // 2 for size in SHAPE], indexing="ij")
    fourier = np.exp(-1j * k.reshape(-1, 2) @ np.stack([y.ravel(), x.ravel()]))
    for frame, image in enumerate(images):
        encoding, w = fourier, np.ones(len(fourier))
        if apart == "weights":
            w = weights[frame].ravel()
        else:
            encoding = fourier * np.exp(-2j * np.pi * times[frame][:, None] * field.ravel())
        adjoint = encoding.conj().T * w
        system = adjoint @ encoding + 0.05 * w.sum() * np.eye(y.size)
        expected = np.linalg.solve(system, adjoint @ kspace[frame].ravel()).reshape(SHAPE)
        assert np.linalg.norm(image - expected) < 1e-3 * np.linalg.norm(expected)
