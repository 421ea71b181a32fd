"""Small acquisitions and calibrations on disk, filled with truly complex random numbers."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import Config, load_config
from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.geometry.axes import as_volume, centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.storage.calibration import create_sensitivities, create_weights, store_array
from pipeline.storage.publish import published_store

DEVICE = os.environ.get("KRONUFFT_TEST_DEVICE", "cpu")
"""Where stages compute that a test runs without saying where: ``cpu`` or ``cuda``."""


def complex_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    parts = generator.standard_normal((2, *shape), dtype=np.float32)
    return parts[0] + 1j * parts[1]


def write_attributes(group: Any, shape: Sequence[int], voxel_size: Sequence[float]) -> None:
    """Say of a store what `ingest` says of MRI data."""
    group.attrs.update(
        {
            "kind": "mri",
            "shape": list(shape),
            "voxel_size": list(voxel_size),
            "affine": centred_affine(shape, voxel_size).tolist(),
            "source": "made up",
            "provenance": {},
        }
    )


def write_acquisition(
    folder: Path,
    *,
    shape: tuple[int, ...],
    coils: int,
    readouts: int,
    samples: int,
    frames: int = 1,
    own_trajectory: bool = True,
    maps: bool = True,
    sets: int = 1,
    seed: int = 0,
    measured: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    spectrum: np.ndarray | None = None,
    **given: np.ndarray,
) -> dict[str, Path]:
    """Write ``raw`` and ``calibration`` below ``folder``; return the paths of their markers.

    Random numbers are measured unless `measured` says what is, and so are ``trajectory``,
    ``weights`` and ``sensitivities`` unless they are given.
    """
    generator = np.random.default_rng(seed)
    raw, calibration = folder / "raw.json", folder / "calibration.json"
    trajectories = frames if own_trajectory else 1
    with published_store(raw) as group:
        write_attributes(group, shape, (0.001,) * len(shape))
        kspace = ARRAYS.create(group, "kspace", (frames, coils, readouts, samples))
        for frame in range(frames):
            for coil in range(coils):
                drawn = complex_normal(generator, (readouts, samples))
                kspace[frame, coil] = drawn if measured is None else measured[frame, coil]
        if noise is not None:
            ARRAYS.create(group, "noise", noise.shape)[:] = noise
        trajectory = ARRAYS.create(
            group, "trajectory", (trajectories, readouts, samples, len(shape))
        )
        for frame in range(trajectories):
            trajectory[frame] = generator.uniform(
                -np.pi, np.pi, (readouts, samples, len(shape))
            ).astype(np.float32)
        if "trajectory" in given:
            trajectory[:] = given["trajectory"]
        signals = {"basis", "dictionary", "parameters"}
        for name in given.keys() & {"times", "field_map", "relaxation", *signals}:
            ARRAYS.create(group, name, given[name].shape)[:] = given[name]
    with published_store(calibration) as group:
        group.attrs.update({"coil_maps": "source" if maps else "none", "density": "source"})
        weights = generator.uniform(0.5, 1.5, (trajectories, readouts, samples))
        create_weights(group, weights.shape)[:] = given.get("weights", weights).astype(np.float32)
        if noise is not None:
            group.attrs["noise"] = "measured"
            levels = np.sqrt(np.mean(np.abs(noise) ** 2, axis=1, dtype=np.float64))
            store_array(group, "noise_level", levels.astype(np.float32), ("coil",))
        if spectrum is not None:
            store_array(group, "spectrum", spectrum, ("quantity", "shell"))
        if "bins" in given:
            store_array(group, "bins", given["bins"], ("bin", "frame", "readout"))
        if maps:
            drawn = [complex_normal(generator, as_volume(shape)) for _ in range(sets * coils)]
            of_sets = (*((sets,) if sets > 1 else ()), coils, *as_volume(shape))
            stored = create_sensitivities(group, of_sets)
            stored[:] = given.get("sensitivities", np.reshape(drawn, of_sets))
    return {"raw": raw, "calibration": calibration}


def config_of(
    *,
    device: str = DEVICE,
    threads: int = 2,
    precision: str = "single",
    deterministic: bool = False,
    host_mb: int | str = "auto",
    device_mb: int | str = "auto",
    shards: int | str = "auto",
    tolerance: float = 1e-3,
    backend: str = "auto",
    tuning: Path | None = None,
    converged: float | None = None,
    calibration: dict[str, Any] | None = None,
    **reconstruction: Any,
) -> Config:
    """Return a config with one reconstruction, ``test``.

    `tolerance` is that of the NUFFT, `converged` that of the reconstruction. Nothing is
    `deterministic` on a device.
    """
    if converged is not None:
        reconstruction["tolerance"] = converged
    return load_config(
        {
            "compute": {
                "device": device,
                "threads": threads,
                "precision": precision,
                "deterministic": deterministic and device == "cpu",
            },
            "memory": {"host_mb": host_mb, "device_mb": device_mb, "shards": shards},
            "calibration": calibration or {},
            "nufft": {
                "tolerance": tolerance,
                "backend": backend,
                "tuning": None if tuning is None else str(tuning),
            },
            "reconstructions": {"test": reconstruction},
        }
    )


def dataset_in(folder: Path, kind: str = "mri") -> Dataset:
    """Return the row of a dataset whose files are in a folder of its name."""
    return Dataset(
        dataset=folder.name, kind=kind, format="native", source="", reconstructions=("test",)
    )


def reconstruction_settings(**settings: Any) -> tuple[PlanSettings, ReconstructSettings]:
    """Return the settings of `plan` and of `reconstruct` for the same reconstruction."""
    of = partial(stage_settings, config_of(**settings), dataset_in(Path("random")))
    return of("plan", "test"), of("reconstruct", "test")
