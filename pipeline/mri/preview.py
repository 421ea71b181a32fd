"""A quick picture of an acquisition: its centre of k-space, gridded on a small matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.transforms import NufftSettings
from pipeline.mri.formats.acquisition import MriAcquisition

_READ_BYTES = 2**28
_COILS = 16
_BLOCKS = 32


def preview(acquisition: MriAcquisition, most: int = 128) -> NDArray[np.float32]:
    """Return the root sum of squares of gridded coil images of the first frame.

    Of all coils up to 16, and of so many readouts as are read in moments: in a few blocks that are
    spread evenly, since a chunk of a file is unpacked as a whole.

    Parameters
    ----------
    acquisition
        As its reader opened it.
    most
        Voxels along the longest axis.

    Returns
    -------
    ndarray
        float32 ``(*shape)``, of a matrix no larger than ``most``.
    """
    import torch

    from pipeline.operators.nufft import NUFFT
    from pipeline.operators.pipe_menon import pipe_menon_weights

    kspace, trajectory = (acquisition.arrays[name] for name in ("kspace", "trajectory"))
    _, coils, readouts, samples = kspace.shape
    coils = min(coils, _COILS)
    blocks = _blocks(readouts, max(1, _READ_BYTES // (coils * samples * 8)))
    first = slice(0, 1)
    shape = acquisition.shape
    small = tuple(max(2, round(size * min(1.0, most / max(shape)))) for size in shape)
    points, values = [], []
    for some in blocks:
        k = trajectory[first, some, slice(0, samples), slice(0, len(shape))][0]
        k = np.asarray(k, np.float32) * np.divide(shape, small).astype(np.float32)
        inside = (np.abs(k) < np.pi).all(axis=-1)
        points.append(k[inside])
        values.append(kspace[first, slice(0, coils), some, slice(0, samples)][0][:, inside])
    k = np.concatenate(points)
    weights = pipe_menon_weights(k, small, iterations=5, nufft=NufftSettings(tolerance=1e-2))
    transform = NUFFT(small, torch.from_numpy(np.ascontiguousarray(k.T)), tolerance=1e-2)
    measured = torch.from_numpy(np.concatenate(values, axis=1).astype(np.complex64))
    images = transform.adjoint(measured * torch.from_numpy(weights))
    combined: NDArray[np.float32] = torch.linalg.vector_norm(images, dim=0).numpy()
    return combined


def _blocks(readouts: int, most: int) -> list[slice]:
    """Return blocks of readouts, ``most`` of them together."""
    if readouts <= most:
        return [slice(0, readouts)]
    count = min(_BLOCKS, most)
    length = most // count
    starts = np.linspace(0, readouts - length, count).astype(int).tolist()
    return [slice(start, start + length) for start in starts]


def draw_preview(path: Path, acquisition: MriAcquisition, title: str) -> None:
    """Write a PNG of the planes through the middle, with the names of their axes."""
    from matplotlib.figure import Figure

    image = preview(acquisition)
    volume = image.reshape((1,) * (3 - image.ndim) + image.shape)
    planes: Sequence[tuple[NDArray[np.float32], str, str]] = [
        (volume[volume.shape[0] // 2], "x", "y"),
        (volume[:, volume.shape[1] // 2], "x", "z"),
        (volume[:, :, volume.shape[2] // 2], "y", "z"),
    ][: 3 if volume.shape[0] > 1 else 1]
    figure = Figure(figsize=(4 * len(planes), 4.4), layout="constrained")
    white = float(np.percentile(image, 99.8)) or 1.0
    for axes, (plane, across, down) in zip(
        np.atleast_1d(figure.subplots(1, len(planes))), planes, strict=True
    ):
        axes.imshow(plane, cmap="gray", vmin=0, vmax=white)
        axes.set_xlabel(f"{across} [voxel] →")
        axes.set_ylabel(f"← {down} [voxel]")
    figure.suptitle(f"{title}: gridded", fontsize=9)
    figure.savefig(path, dpi=100)
