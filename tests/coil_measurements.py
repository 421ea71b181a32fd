"""Exact multi-coil k-space of the Shepp-Logan phantom, and its coil images of low resolution."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config.transforms import NufftSettings
from pipeline.mri.calibration.centre import CentreGrid, centre_images
from pipeline.mri.calibration.radial_density import radial_weights
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan, voxel_average


@dataclass
class Measurement:
    """Analytic multi-coil k-space, read as `RawData` is."""

    shape: tuple[int, ...]
    trajectories: list[np.ndarray]
    signals: list[np.ndarray]

    def __post_init__(self):
        self.frames = len(self.signals)
        self.coils, self.readouts, self.samples = self.signals[0].shape
        self.own_trajectory = len(self.trajectories) > 1

    def trajectory(self, frame, readouts=slice(None)):
        return self.trajectories[frame if self.own_trajectory else 0][readouts].astype("float32")

    def kspace(self, frame, coils, readouts):
        return self.signals[frame][coils, readouts]


def measure(shape, trajectories, *, coils, noise=0.01) -> Measurement:
    array = coils_around(shape, coils)
    random = np.random.default_rng(6)
    signals = []
    for trajectory in trajectories:
        points = trajectory.reshape(-1, len(shape))
        signal = fourier_transform(
            shepp_logan(len(shape)), shape, points, array.shifts, array.coefficients
        )
        deviation = noise * np.sqrt(np.mean(np.abs(signal) ** 2) / 2)
        signal += deviation * (random.normal(size=(2, *signal.shape)).T @ [1, 1j]).T
        signals.append(signal.reshape(coils, *trajectory.shape[:2]).astype("complex64"))
    return Measurement(shape, list(trajectories), signals)


def low_resolution(
    measured: Measurement, width: int = 24, device: str = "cpu", *, box: bool = False
) -> torch.Tensor:
    return centre_images(
        measured,
        lambda frame: radial_weights(measured.trajectory(frame)).__getitem__,
        CentreGrid(measured.shape, width, box=box),
        nufft=NufftSettings(),
        device=device,
        threads=2,
        who="random",
    )


def true_maps(shape, coils) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps of unit norm, ``(coil, *shape)``, and where the object is."""
    maps = coils_around(shape, coils).maps()
    inside = voxel_average(shepp_logan(len(shape)), shape, supersampling=2) > 0.05
    return maps / np.linalg.norm(maps, axis=0), inside
