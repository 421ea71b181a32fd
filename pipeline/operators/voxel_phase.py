"""Plane waves with the curvature of each pair's wavefronts held as a phase at each voxel."""

from __future__ import annotations

import torch

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz, toeplitz_workspace_bytes


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
        from `pipeline.operators.plane_wave.plane_wave_spectrum` with ``separate=True``.

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
