"""A coarse image, fitted to the centre of k-space by least squares: how well data fit together.

Torch is imported where an image is fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.calibration.mistakes import Samples

_VOXELS = {2: 24, 3: 16}
"""Of the grid along an axis, or up to twice as many."""
_COVERED = 0.4
"""Part of the cells of k-space within the centre that has to be sampled."""
_FREEDOM = 0.8
"""Unknowns for each sample, above which nothing can be said."""
_ITERATIONS = 6
_REGULARIZATION = 1e-3
"""Relative to the diagonal of the normal operator."""
_NOISE_ALONE = 0.95
"""Part of the data's norm that is noise, above which nothing can be said."""
_UNSURE = 1.1
"""Noise may be larger than its estimate by this factor."""
_RANGES = 8
"""Ranges of readouts whose misfits are told."""


@dataclass(frozen=True)
class CoarseGrid:
    """Every ``strides``-th voxel of a matrix, such that the voxel ``N // 2`` is among them."""

    strides: tuple[int, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, matrix: Sequence[int]) -> "CoarseGrid":
        """Return the grid that is used for images of ``matrix``."""
        strides = tuple(max(1, size // _VOXELS[len(matrix)]) for size in matrix)
        below = [size // 2 // stride for size, stride in zip(matrix, strides, strict=True)]
        above = [(size - 1) // 2 // stride for size, stride in zip(matrix, strides, strict=True)]
        start = (
            size // 2 - count * stride
            for size, count, stride in zip(matrix, below, strides, strict=True)
        )
        shape = (low + high + 1 for low, high in zip(below, above, strict=True))
        return cls(strides, tuple(start), tuple(shape))

    def points(self, trajectory: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a trajectory ``[..., axis]`` of the matrix in rad per voxel of the grid."""
        return trajectory * np.asarray(self.strides, trajectory.dtype)

    def radius(self, k: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ``|k|`` [rad per voxel of the grid] relative to what two voxels resolve."""
        return np.asarray(np.linalg.norm(k, axis=-1) / (np.pi / 2))

    def cells(self, k: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return the number of cycles per field of view along each axis, rounded."""
        return np.asarray(np.rint(k * np.divide(self.shape, 2 * np.pi)), np.intp)


@dataclass(frozen=True)
class Fit:
    """How well the data fit; norms are relative to those of the data, coils count alike."""

    misfit: float
    """Corrected for the freedom of the image: noise leaves as much of itself as `noise` says."""
    noise: float
    """What noise alone leaves."""
    coils: NDArray[np.floating]
    """Of each coil."""
    readouts: NDArray[np.floating]
    """Squared residual and data of each readout, ``[2, readout]``."""

    def by_range(self) -> list[float]:
        """Return the misfit of each range of readouts."""
        ranges = np.array_split(self.readouts, min(_RANGES, self.readouts.shape[1]), axis=1)
        sums = [part.sum(axis=1) for part in ranges]
        return [math.sqrt(left / whole) if whole else 0.0 for left, whole in sums]

    @property
    def excess(self) -> float:
        """Misfit of the signal: beyond the noise, relative to the data without it."""
        if self.noise > _NOISE_ALONE:
            return 0.0
        beyond = self.misfit**2 - (_UNSURE * self.noise) ** 2
        return math.sqrt(max(beyond, 0.0) / (1 - self.noise**2))


def fitted(data: Samples, *, grid: CoarseGrid, device: str, threads: int) -> Fit | None:
    """Fit a coarse image to the centre of k-space; None where there are too few samples.

    Samples weigh such that all cells of k-space count alike, and coils alike, unless they see less
    than half of the coils do.
    """
    import torch

    from pipeline.operators.base import Diagonal
    from pipeline.operators.nufft import NUFFT
    from pipeline.operators.sense import SenseNormal
    from pipeline.solvers.cg import conjugate_gradient
    from pipeline.solvers.normal import NormalEquations

    coils_of_all, inside = len(data.y), _in_centre(grid.points(data.k), grid)
    points = grid.points(data.k)[inside]
    cells, counts = np.unique(grid.cells(points), axis=0, return_inverse=True, return_counts=True)[
        1:
    ]
    weights = 1 / counts[cells.ravel()]
    energy = np.sum(weights * np.abs(data.y[:, inside]) ** 2, axis=1)
    coils = np.flatnonzero(energy)
    # An image can have one value for each cell that was sampled.
    images = 1 if data.maps is not None else coils.size
    freedom = images * len(counts) / max(1, coils.size * len(points))
    if not coils.size or freedom > _FREEDOM:
        return None
    data, energy = data.of_coils(coils), energy[coils]
    scale = 1 / np.sqrt(np.maximum(energy, np.median(energy)))
    samples = data.y[:, inside] * scale[:, None]

    def tensor(values: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device, dtype)

    transform = NUFFT(
        grid.shape,
        tensor(points.T, torch.float32),
        threads=threads,
        deterministic=device == "cpu",
    )
    weigh = Diagonal(tensor(weights, torch.complex64), transform.codomain)
    normal = transform.H @ weigh @ transform
    measured = tensor(samples, torch.complex64)
    back = transform.adjoint(weigh.forward(measured))
    diagonal = float(weights.sum())
    maps = None
    if data.maps is not None:
        maps = tensor(data.maps * _along_coils(scale, data.maps), torch.complex64)
        back = (maps.conj() * back).sum(0)
        diagonal *= float(maps.abs().square().sum(0).mean())
        normal = SenseNormal(normal, maps, len(maps))
    image = conjugate_gradient(
        NormalEquations(back, normal),
        regularization=_REGULARIZATION * diagonal,
        iterations=_ITERATIONS,
        image_axes=len(grid.shape),
    ).image
    residual = transform.forward(image if maps is None else image * maps) - measured
    left = weights * residual.abs().square().cpu().numpy().astype(np.float64)
    whole = weights * np.abs(samples) ** 2
    noise = np.sum((data.noise * scale) ** 2) * weights.sum()
    readout = np.nonzero(inside)[0]
    by_coil = np.zeros(coils_of_all)
    by_coil[coils] = np.sqrt(left.sum(axis=1) / whole.sum(axis=1))
    return Fit(
        misfit=math.sqrt(left.sum() / whole.sum() / (1 - freedom)),
        noise=min(1.0, math.sqrt(noise / whole.sum())),
        coils=by_coil,
        readouts=np.stack(
            [
                np.bincount(readout, one.sum(axis=0), minlength=data.k.shape[0])
                for one in (left, whole)
            ]
        ),
    )


def _in_centre(k: NDArray[np.floating], grid: CoarseGrid) -> NDArray[np.bool_]:
    """Return which samples lie in the centre: as far out as k-space is sampled densely enough."""
    radius = grid.radius(k)
    inside = radius <= 1
    cells = np.unique(grid.cells(k[inside]), axis=0)
    every = np.stack(
        np.meshgrid(
            *[np.arange(-(size // 4), size // 4 + 1) for size in grid.shape], indexing="ij"
        ),
        axis=-1,
    ).reshape(-1, len(grid.shape))
    rings = [grid.radius(2 * np.pi * one / grid.shape) for one in (cells, every)]
    for reach in np.arange(1.0, 0.3, -0.1):
        hit, wanted = (np.count_nonzero(ring <= reach) for ring in rings)
        if hit >= _COVERED * wanted:
            break
    return np.asarray(inside & (radius <= reach))


def _along_coils(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(-1, *[1] * (like.ndim - 1))
