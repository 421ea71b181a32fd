"""What transforms should give: the defining sums in float64, for a few samples and voxels."""

import math

import torch
from torch import Tensor

from pipeline.engine.canary import exact_samples
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.nufft import NUFFT

_SAMPLES_AT_ONCE = 2**16
_SAMPLES = 2**14
"""Samples on which errors are measured, chosen at random."""
_KNOWN = 48
"""Samples, and voxels, whose exact sums are computed."""


def exact_voxels(
    data: Tensor, trajectory: Tensor, shape: tuple[int, ...], voxels: Tensor
) -> Tensor:
    """Evaluate `exact_lags` at some voxels, given by their flat indices ``(voxel,)``."""
    indices = torch.unravel_index(voxels, shape)
    positions = torch.stack(
        [
            torch.from_numpy(voxel_positions(size))[index]
            for index, size in zip(indices, shape, strict=True)
        ]
    )
    return exact_lags(data, trajectory, positions)


def exact_lags(data: Tensor, trajectory: Tensor, positions: Tensor) -> Tensor:
    """Evaluate ``sum_m data[m] exp(+j k_m.r)`` in float64, as complex128 ``(..., position)``.

    Data are ``(..., sample)``, trajectories ``(axis, sample)`` [rad/voxel], positions
    ``(axis, position)`` [voxel].
    """
    total = torch.zeros(*data.shape[:-1], positions.shape[1], dtype=torch.complex128)
    for start in range(0, data.shape[-1], _SAMPLES_AT_ONCE):
        part = slice(start, start + _SAMPLES_AT_ONCE)
        phases = trajectory[:, part].to(torch.float64).T @ positions.to(torch.float64)
        total += data[..., part].to(torch.complex128) @ torch.polar(torch.ones_like(phases), phases)
    return total


class ErrorProbe:
    """Images and samples with known transforms, to measure errors with.

    Errors of transforms depend on the image: white noise is the usual case, a constant image and a
    single voxel in the corner, where gridding kernels are corrected most, are the worst ones known.
    Of the trajectory, ``(axis, sample)`` [rad/voxel], a random subset is used, on the CPU: float64
    but rounded to float32, so that every precision gets the same one.
    """

    def __init__(self, shape: tuple[int, ...], trajectory: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(trajectory.shape[1], generator=generator)[:_SAMPLES]
        self.shape = shape
        self.trajectory = trajectory[:, chosen].to("cpu", torch.float32).to(torch.float64)
        corner = torch.zeros(shape, dtype=torch.complex64)
        corner[(0,) * len(shape)] = 1
        noise = torch.randn(shape, dtype=torch.complex64, generator=generator)
        self.images = (noise, torch.ones_like(noise), corner)
        self.data = torch.randn(len(chosen), dtype=torch.complex64, generator=generator)
        # Already at random, so the first ones are as good as any.
        self._samples = [exact_samples(image, self.trajectory[:, :_KNOWN]) for image in self.images]
        self._places = torch.randperm(math.prod(shape), generator=generator)[:_KNOWN]
        self._voxels = exact_voxels(self.data, self.trajectory, shape, self._places)

    def errors(self, transform: NUFFT) -> tuple[float, float]:
        """Return the largest relative errors of a transform of one coil and of its adjoint."""
        device, dtype = transform.device, transform.dtype
        forward = 0.0
        for image, exact in zip(self.images, self._samples, strict=True):
            found = transform(image.to(device, dtype)).cpu()
            forward = max(forward, _error(found, found[: len(exact)], exact))
        back = transform.adjoint(self.data.to(device, dtype)).cpu().ravel()
        return forward, _error(back, back[self._places], self._voxels)


def _error(whole: Tensor, found: Tensor, exact: Tensor) -> float:
    """Return the root mean square of the differences, relative to that of the whole."""
    difference = (found.to(torch.complex128) - exact).abs().square().mean()
    return float((difference / whole.to(torch.complex128).abs().square().mean()).sqrt())
