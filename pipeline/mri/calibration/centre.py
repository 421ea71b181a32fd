"""Low-resolution coil images from the centre of k-space, averaged over frames.

Torch is imported when they are made: their memory is predicted where it need not be.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config.transforms import NufftSettings
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume, voxel_positions
from pipeline.mri.calibration.density import Weights
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import readout_slabs
from pipeline.pieces import pieces
from pipeline.progress import Advance, track

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.operators.nufft import NUFFT

_BORDER = 2.0
"""Around a box, within which the window falls [Cartesian samples]."""
_READ_BYTES = 64 * 2**20
"""Trajectory or samples that are read together."""


@dataclass(frozen=True)
class CentreGrid:
    """A coarse grid over the field of view of ``matrix`` that carries the centre of k-space.

    The centre has a diameter of ``width`` Cartesian samples, or, as a ``box``, that length along
    each axis. Voxels are half the size that it
    resolves. The grid has one voxel more at either end than the field of view needs, so that each
    voxel of the full matrix lies between its voxels.
    """

    matrix: tuple[int, ...]
    width: int
    box: bool = False
    """Whether all of the centre counts alike, in a box, or the less the farther out, in a ball."""

    @property
    def cells(self) -> tuple[int, ...]:
        """Coarse voxels per field of view, along each axis."""
        return tuple(2 * min(self.width, size) for size in self.matrix)

    @property
    def shape(self) -> tuple[int, ...]:
        """Matrix of the grid."""
        return tuple(cells + 2 for cells in self.cells)

    @property
    def coordinates(self) -> list[NDArray[np.float64]]:
        """Where the full matrix lies along z, y and x, as fractional indices into the grid."""
        found = [
            voxel_positions(size) * (cells / size) + (cells + 2) // 2
            for size, cells in zip(self.matrix, self.cells, strict=True)
        ]
        return [np.zeros(1)] * (3 - len(found)) + found

    def trajectory(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return points ``[sample, axis]`` of k-space in rad per voxel of the grid."""
        return np.asarray(points, np.float64) * np.divide(self.matrix, self.cells)

    def taper(self, trajectory: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return a window over the centre, float64 ``[...]`` for points ``[..., axis]``.

        Of a ball, Hann's. Of a box, 1 within, and falling to 0 around it: what lies at its border
        is interpolated from samples on both sides.
        """
        samples = np.asarray(trajectory, np.float64) * np.asarray(self.matrix) / (2 * np.pi)
        if self.box:
            beyond = (np.abs(samples).max(axis=-1) - self.width / 2) / _BORDER
            return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0, 1)))
        radius = np.minimum(np.linalg.norm(samples, axis=-1) / (self.width / 2), 1.0)
        return np.asarray(0.5 + 0.5 * np.cos(np.pi * radius))


def centre_images(
    raw: RawData,
    weights: Callable[[int], Weights],
    grid: CentreGrid,
    *,
    nufft: NufftSettings,
    device: str,
    threads: int,
    who: str,
    frames: range | None = None,
) -> "Tensor":
    """Grid the centre of k-space of some frames together, read in parts of some 64 MB.

    ``weights`` returns the density weights of a frame, to be asked for some readouts at a time.
    ``frames`` are all by default.

    Returns
    -------
    Tensor
        complex64 ``(coil, z, y, x)`` on ``device``; 2D images have z = 1.

    Raises
    ------
    DataError
        If the centre was not measured.
    """
    import torch

    each = range(raw.frames) if frames is None else frames
    images = torch.zeros((raw.coils, *grid.shape), dtype=torch.complex64, device=device)
    mixed = raw.coils if isinstance(raw, CorrectedData) and raw.mixes else 0
    slabs = pieces(raw.readouts, slab_readouts(len(raw.shape), raw.samples, mixed))
    # Frames that share their trajectory share the transform of a slab. Those that do not are done
    # one after the other: the density of one at a time has to be known.
    groups = [range(frame, frame + 1) for frame in each] if raw.own_trajectory else [each]
    measured = np.zeros(raw.frames, dtype=bool)

    def add(frames: range, slab: slice, advance: Advance) -> None:
        """Add some readouts; what was held of them is freed before the next ones are read."""
        trajectory = raw.trajectory(frames[0], slab)
        taper = np.empty(trajectory.shape[:-1])
        for some in readout_slabs(trajectory):
            taper[some] = grid.taper(trajectory[some])
        inside = taper > 0
        transform = _transform(grid.trajectory(trajectory[inside]), grid, nufft, device, threads)
        del trajectory
        for frame in frames:
            if transform is not None:
                measured[frame] = True
                factors = (taper * weights(frame)(slab))[inside].astype(np.float32)
                on_device = torch.from_numpy(factors).to(device)
                for coils in pieces(raw.coils, coils_together(inside.size)):
                    samples = raw.kspace(frame, coils, slab)[:, inside]
                    images[coils] += transform.adjoint(
                        torch.from_numpy(samples).to(device).mul_(on_device)
                    )
            advance()

    with track(f"{who}: centre of k-space", len(each) * len(slabs)) as advance:
        for some, slab in itertools.product(groups, slabs):
            add(some, slab, advance)
    missing = [frame for frame in each if not measured[frame]]
    if missing:
        raise DataError(
            f"{who}: frame {missing[0]} has no samples within {grid.width} / 2 "
            "Cartesian samples of the centre of k-space, which coil maps are estimated "
            "from; raise calibration.calibration_width or set calibration.coil_maps to source"
        )
    return images.reshape(raw.coils, *([1] * (3 - len(grid.shape))), *grid.shape)


def _transform(
    points: NDArray[np.float64], grid: CentreGrid, nufft: NufftSettings, device: str, threads: int
) -> "NUFFT | None":
    """Return the transform to ``points`` ``[sample, axis]``; None where there are none."""
    import torch

    from pipeline.operators.nufft import NUFFT

    if not len(points):
        return None
    return NUFFT(
        grid.shape,
        torch.from_numpy(np.ascontiguousarray(points.T)).to(device, torch.float32),
        tolerance=nufft.tolerance,
        backend=nufft.backend,
        oversampling=nufft.oversampling,
        kernel_width=nufft.kernel_width,
        threads=threads,
    )


def slab_readouts(axes: int, samples: int, mixed: int = 0) -> int:
    """Return how many readouts of ``samples`` in ``axes`` dimensions are worked on together.

    Of ``mixed`` coils, each of which takes all that were acquired, as many as can be read at once.
    """
    return max(1, _READ_BYTES // (max(4 * axes, 8 * mixed) * samples))


def coils_together(samples: int) -> int:
    """Return of how many coils the ``samples`` of a slab are read together."""
    return max(1, _READ_BYTES // (8 * samples))


def centre_of_kspace(images: "Tensor", grid: CentreGrid) -> "Tensor":
    """Return the samples of a box that images ``(coil, z, y, x)`` of it stand for.

    complex ``(coil, z, y, x)``, one cycle per extent of the grid apart, k = 0 at ``N // 2``.
    """
    import torch

    axes = (1, 2, 3)
    kspace: Tensor = torch.fft.fftshift(
        torch.fft.fftn(torch.fft.ifftshift(images, dim=axes), dim=axes), dim=axes
    )
    for axis, size in enumerate(box_shape(grid), start=1):
        kspace = kspace.narrow(axis, kspace.shape[axis] // 2 - size // 2, size)
    return kspace.contiguous()


def box_shape(grid: CentreGrid) -> tuple[int, ...]:
    """Return the samples ``(z, y, x)`` of `centre_of_kspace`, an odd number along each axis."""
    sizes = [
        2 * int(min(grid.width, size) / 2 * (cells + 2) / cells) + 1
        for size, cells in zip(grid.matrix, grid.cells, strict=True)
    ]
    return as_volume(sizes)
