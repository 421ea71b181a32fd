"""Plane waves with the curvature of each pair's wavefronts held as a phase at each voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz, toeplitz_workspace_bytes
from pipeline.rf.geometry.scene import Scene

_SLAB = 2**20
"""Voxels whose paths are computed at a time."""


def curvature_paths(
    scene: Scene,
    antennas: Sequence[NDArray[np.float64]],
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Return what plane waves lack of the paths over each voxel, on a device.

    The same as `pipeline.rf.geometry.wavefronts.voxel_path`, made from positions where it is used.

    Parameters
    ----------
    scene
        Grid of the image, Cartesian.
    antennas
        A transmitter and a receiver, ``(3,)`` each [m].

    Returns
    -------
    Tensor
        float64 of the scene's shape [m]; 0 at the origin of the scene.
    """
    offsets = [
        torch.from_numpy(scene.offsets(axis))
        .to(device)
        .view(-1, *(1,) * (len(scene.shape) - 1 - axis))
        for axis in range(len(scene.shape))
    ]
    total = torch.zeros(scene.shape, dtype=torch.float64, device=device)
    planes = max(1, _SLAB // math.prod(scene.shape[1:]))
    for start in range(0, scene.shape[0], planes):
        slab = slice(start, start + planes)
        here = [offsets[0][slab], *offsets[1:]]
        for antenna in antennas:
            sight = scene.centre - antenna
            range_ = float(np.linalg.norm(sight))
            along = total.new_zeros(())
            squares = total.new_zeros(())
            for offset, component in zip(here, sight, strict=False):
                along = along + offset * float(component / range_)
                squares = squares + offset**2
            # |x - s| - R - along without the cancellation of large, nearly equal numbers
            squares = squares - along**2
            along += range_
            total[slab] += squares / ((squares + along**2).sqrt() + along)
    return total


def path_phases(paths: torch.Tensor, wavenumbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return ``exp(-j k path)``, complex ``(k, *shape)``, of float64 paths [m] and ``k`` [rad/m].

    One wavenumber at a time is in double precision.
    """
    result = torch.empty(len(wavenumbers), *paths.shape, dtype=dtype, device=paths.device)
    one = paths.new_ones(())
    for phase, wavenumber in zip(result, wavenumbers, strict=True):
        phase.copy_(torch.polar(one, paths * -wavenumber))
    return result


class VoxelPhaseSum(LinearOperator):
    """``sum_p D_p^H T_p D_p``: the normal operator of pairs with a voxel phase each.

    Parameters
    ----------
    phases
        ``D_p``: complex tensor of shape ``(pair, *shape)``, dimensionless, usually
        ``exp(-j phase)`` of the path length that plane waves neglect, at the centre frequency. Its
        magnitude may vary too.
    toeplitz
        ``T_p``: normal operators of the pairs, in place of the frames of a `Toeplitz`, as built
        from `pipeline.rf.model.plane_wave.plane_wave_spectrum` with ``separate=True``.

    Notes
    -----
    Maps ``(..., *shape)`` to the same; self-adjoint. One kernel is applied at a time, its phase
    multiplied and its result added inside the transforms, so that the memory beside the operator's
    own data is that of a single convolution. The cost is that of one convolution for each pair,
    whatever the number of frequencies and antennas.
    """

    def __init__(self, phases: torch.Tensor, toeplitz: Toeplitz) -> None:
        expected = (*toeplitz.frames, *toeplitz.shape)
        fits = tuple(phases.shape) == expected and len(toeplitz.frames) == 1
        if not fits or toeplitz.coils is not None:
            raise ShapeError(
                f"VoxelPhaseSum: found phases of shape {tuple(phases.shape)} and {toeplitz!r}; "
                "needed are (pair, *shape) for both."
            )
        if (phases.dtype, phases.device) != (toeplitz.dtype, toeplitz.device):
            raise ShapeError(
                f"VoxelPhaseSum: found phases of {phases.dtype} on {phases.device}, but kernels of "
                f"{toeplitz.dtype} on {toeplitz.device}; convert or move one of them."
            )
        shape = toeplitz.shape
        super().__init__(shape, shape, dtype=toeplitz.dtype, device=toeplitz.device)
        self.phases = phases.detach().resolve_conj().resolve_neg().contiguous()
        self.toeplitz = toeplitz

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        images = x.detach().resolve_conj().resolve_neg().contiguous().view(-1, *self.domain)
        result = torch.empty_like(images)
        for image, total in zip(images, result, strict=True):
            self.toeplitz.convolution.combine_kernels(image, self.phases, out=total)
        return result.view(x.shape)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._forward(y)

    def workspace_bytes(self, batch: int = 1) -> int:
        """Return the bytes that one convolution needs besides operator, input and output."""
        return toeplitz_workspace_bytes(
            self.domain,
            1,
            itemsize=self.itemsize,
            threads=self.toeplitz.threads,
            host=self.toeplitz.convolution.tiling.host,
        )
