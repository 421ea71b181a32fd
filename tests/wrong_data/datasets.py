"""Acquisitions of analytic phantoms in memory, to be spoilt and read as `RawData` is."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from acquisitions import write_attributes

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.formats.lazy import whole
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.simulation import open_source
from pipeline.storage.publish import published_store


@dataclass(frozen=True)
class Dataset:
    """One acquisition."""

    shape: tuple[int, ...]
    k: np.ndarray
    """``(frame, readout, sample, axis)`` [rad/voxel]."""
    y: np.ndarray
    """``(frame, coil, readout, sample)``."""
    maps: np.ndarray
    """``(coil, *shape)``."""

    @property
    def sizes(self):
        return dict(zip(("frames", "coils", "readouts", "samples"), self.y.shape, strict=True))

    def __getattr__(self, name):
        return self.sizes[name]

    @property
    def own_trajectory(self):
        return len(self.k) > 1

    def trajectory(self, frame, readouts):
        return self.k[frame, readouts].astype("float32")

    def kspace(self, frame, coils, readouts):
        return self.y[frame, coils, readouts].astype("complex64")

    def but(self, **changes):
        """Return the dataset with arrays changed by functions."""
        changed = {name: change(getattr(self, name)) for name, change in changes.items()}
        return replace(self, **changed)

    def write(self, marker: Path, *, with_maps: bool) -> None:
        """Write ``raw``, with or without coil maps."""
        arrays = {"trajectory": self.k, "kspace": self.y}
        if with_maps:
            arrays["sensitivities"] = volumes(self.maps)
        with published_store(marker) as group:
            write_attributes(group, self.shape, (1e-3,) * len(self.shape))
            for name, values in arrays.items():
                stored = ARRAYS.create(group, name, values.shape)
                stored[...] = values.astype(stored.dtype)


def volumes(maps):
    return maps.reshape(len(maps), *(1,) * (4 - maps.ndim), *maps.shape[1:])


def measure(shape=(50, 53), **simulation) -> Dataset:
    """Simulate the exact k-space of a random object, with noise."""
    told = {
        "trajectory": "golden-radial", "readouts": 21, "samples": 104, "coils": 5, "snr_db": 30.0,
        **simulation,
    }  # fmt: skip
    settings = IngestSettings.model_validate(
        {
            "kind": "mri", "format": "simulation", "source": "ellipses",
            "details": {"shape": shape, "simulation": told},
        }
    )  # fmt: skip
    with open_source(settings, "scan", Budget("scan", 600)) as scan:
        k, y, maps = (
            whole(scan.arrays[name]) for name in ("trajectory", "kspace", "sensitivities")
        )
    return Dataset(tuple(shape), k, y, maps.reshape(-1, *shape))
