"""A quick picture of a phase history: back-projected onto a small grid."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.rf.formats.acquisition import RfAcquisition
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import unit_phasor

_READ_BYTES = 2**28
_MOST = 256
"""Voxels along the longest axis."""
_FLOOR_DB = -50.0


def preview(acquisition: RfAcquisition) -> tuple[NDArray[np.complex64], Scene]:
    """Return the matched filter of the first frame, in the plane of the origin, and its grid.

    Of so many pulses as are read in moments, those in the middle of the path. complex64 ``[x, y]``.
    """
    import torch

    from pipeline.rf.model.back_projection import BackProjection

    if "transmitter" not in acquisition.arrays:
        raise ConfigError("init: a quick picture is made of phase histories only; --no-picture")
    y = acquisition.arrays["y"]
    _, pulses, frequencies = y.shape
    count = min(pulses, max(1, _READ_BYTES // (8 * frequencies)))
    some = slice((pulses - count) // 2, (pulses + count) // 2)
    k = wavenumbers(acquisition.arrays["frequencies"][(slice(None),)])
    paths, whole = acquisition.paths()[some], acquisition.scene
    finer = max(1.0, max(whole.shape[:2]) / _MOST)
    scene = Scene(
        tuple(max(2, round(size / finer)) for size in whole.shape[:2]),
        tuple(step * finer for step in whole.spacing[:2]),
        whole.origin,
        speed=whole.speed,
    )
    # The operator counts phases from the scene's origin, the data from their reference.
    further = paths.path_differences(np.asarray(scene.centre))[:, None]
    referred = y[:1, some, slice(0, frequencies)][0] * unit_phasor(
        -further * paths.wavenumbers(k, scene.speed)
    )
    operator = BackProjection(scene, paths, k, tolerance=1e-2)
    image = operator.adjoint(torch.from_numpy(referred.astype(np.complex64)))
    return image.numpy(), scene


def draw_preview(path: Path, acquisition: RfAcquisition, title: str) -> None:
    """Write a PNG of the scene, x to the right and y upwards, in decibels below its peak."""
    from matplotlib.figure import Figure

    image, scene = preview(acquisition)
    magnitude = np.abs(image)
    peak = float(magnitude.max()) or 1.0
    decibels = 20 * np.log10(np.maximum(magnitude / peak, 1e-10))
    # Few scatterers stand on dark ground; a body fills the scene, and is seen above its middle.
    floor = min(max(float(np.median(decibels)), _FLOOR_DB), -1.0)
    left, right, low, high = (
        scene.origin[axis] + (side - scene.shape[axis] // 2 - 0.5) * scene.spacing[axis]
        for axis in (0, 1)
        for side in (0, scene.shape[axis])
    )
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(
        decibels.T, origin="lower", extent=(left, right, low, high), cmap="gray", vmin=floor, vmax=0
    )
    axes.set_xlabel("x [m] →")
    axes.set_ylabel("y [m] →")
    figure.colorbar(drawn, label="dB below the brightest voxel")
    figure.suptitle(f"{title}: back-projected", fontsize=9)
    figure.savefig(path, dpi=100)
