"""The Fourier transform of images at samples that lie on the image's own grid of frequencies.

Cartesian samples are at whole numbers of cycles per field of view: one FFT and no interpolation.
Their normal operator is a circular convolution, whose spectrum is the weight of the samples at each
frequency; `pipeline.operators.toeplitz.Toeplitz` applies it without padding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.base import LinearOperator
from pipeline.operators.nufft import NUFFT


class GridFourier(LinearOperator):
    """Evaluate the Fourier transform of images at samples on the grid, each rounded to it.

    Takes and gives what `pipeline.operators.nufft.NUFFT` does, and computes the same sums.

    Parameters
    ----------
    shape
        Image axes ``(z, y, x)`` or ``(y, x)``.
    trajectory
        Real tensor of shape ``(axis, sample)``, or ``(frame, axis, sample)`` where every frame has
        its own [rad/voxel]. Its device is the operator's.
    coils
        Size of the coil axis of domain and codomain; `None` for no such axis.
    dtype
        complex64 or complex128.
    """

    backend = "fft"

    def __init__(
        self,
        shape: Sequence[int],
        trajectory: Tensor,
        *,
        coils: int | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        if trajectory.ndim not in (2, 3) or trajectory.shape[-2] != len(self.shape):
            raise ShapeError(
                f"GridFourier: found a trajectory of shape {tuple(trajectory.shape)} for the "
                f"matrix {self.shape}; allowed are (axis, sample) and (frame, axis, sample)."
            )
        frames, group = trajectory.shape[:-2], (() if coils is None else (coils,))
        super().__init__(
            (*frames, *group, *self.shape),
            (*frames, *group, trajectory.shape[-1]),
            dtype=dtype,
            device=trajectory.device,
        )
        self.coils, self._axes = coils, tuple(range(-len(self.shape), 0))
        self._index = grid_index(self.shape, trajectory).reshape(-1, trajectory.shape[-1])
        # FFTs count voxels from the first one, not from the one in the centre.
        first = torch.tensor([voxel_positions(size)[0] for size in self.shape])
        cycles = _cycles(self.shape, trajectory).movedim(-2, -1)
        turns = cycles @ (first / torch.tensor(self.shape)).to(cycles)
        self._phase = torch.exp(-2j * torch.pi * turns).to(dtype).reshape(self._index.shape)

    def _forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fftn(x.detach(), dim=self._axes).flatten(-len(self.shape))
        spectrum = spectrum.reshape(-1, len(self._index), self.coils or 1, spectrum.shape[-1])
        found = [
            part.index_select(-1, index).mul_(phase)
            for part, index, phase in zip(spectrum.unbind(1), self._index, self._phase, strict=True)
        ]
        return torch.stack(found, 1).reshape(*x.shape[: x.ndim - len(self.domain)], *self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        samples = y.detach().reshape(-1, len(self._index), self.coils or 1, y.shape[-1])
        grid = samples.new_zeros(*samples.shape[:3], *self.shape)
        for part, sample, index, phase in zip(
            grid.flatten(3).unbind(1), samples.unbind(1), self._index, self._phase, strict=True
        ):
            part.index_add_(-1, index, sample * phase.conj())
        image: Tensor = torch.fft.ifftn(grid, dim=self._axes, norm="forward")
        return image.reshape(*batch, *self.domain)


FourierTransform = NUFFT | GridFourier
"""From images to samples anywhere, or on the grid."""


def _cycles(shape: Sequence[int], trajectory: Tensor) -> Tensor:
    """Return whole cycles per field of view, float64 of the trajectory's shape."""
    sizes = torch.tensor(tuple(shape), dtype=torch.float64, device=trajectory.device)
    return torch.round(trajectory.double() * (sizes / (2 * torch.pi))[:, None])


def grid_index(shape: Sequence[int], trajectory: Tensor) -> Tensor:
    """Return where samples lie in a spectrum in FFT order, int64 ``([frame,] sample)``."""
    index = torch.zeros((), dtype=torch.int64, device=trajectory.device)
    for size, along in zip(shape, _cycles(shape, trajectory).unbind(-2), strict=True):
        index = index * size + along.long().remainder(size)
    return index


def grid_spectrum(
    shape: Sequence[int],
    trajectory: Tensor,
    weights: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.complex64,
) -> Tensor:
    """Return the spectrum of ``A^H W A``, real ``([frame,] *shape)`` in FFT order.

    Parameters are those of `pipeline.operators.toeplitz.toeplitz_spectrum`.
    """
    index = grid_index(shape, trajectory)
    if weights is None:
        weights = trajectory.new_ones(())
    counted = weights.detach().to(dtype.to_real()).expand(index.shape).reshape(-1, index.shape[-1])
    spectrum = counted.new_zeros(len(counted), math.prod(shape))
    spectrum.scatter_add_(1, index.reshape(counted.shape), counted)
    return spectrum.reshape(*index.shape[:-1], *shape)
