"""Fourier sums evaluated directly in double precision: the truth for every NUFFT."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def random_trajectory(
    shape: Sequence[int],
    samples: int,
    *,
    frames: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    seed: int = 3,
) -> torch.Tensor:
    """Return samples anywhere in k-space, ``(*frames, axis, sample)`` [rad/voxel]."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(*frames, len(shape), samples, generator=generator, dtype=torch.float64)
    return ((2 * uniform - 1) * torch.pi).to(dtype)


def phases(shape: Sequence[int], trajectory: NDArray) -> list[NDArray]:
    """Return ``exp(-j k r)`` for each axis, ``(sample, voxel)``; trajectory ``(axis, sample)``."""
    return [
        np.exp(-1j * np.outer(k.astype(np.float64), np.arange(n) - n // 2))
        for k, n in zip(trajectory, shape, strict=True)
    ]


def exact_forward(image: NDArray, trajectory: NDArray) -> NDArray:
    """Return ``sum_r image[r] exp(-j k.r)`` for each sample."""
    first, *others = phases(image.shape, trajectory)
    result = np.tensordot(first, image.astype(np.complex128), axes=1)
    for factor in others:
        result = np.einsum("mn,mn...->m...", factor, result)
    return result


def exact_adjoint(samples: NDArray, trajectory: NDArray, shape: Sequence[int]) -> NDArray:
    """Return ``sum_m samples[m] exp(+j k_m.r)`` for each voxel."""
    conjugates = [factor.conj() for factor in phases(shape, trajectory)]
    letters = "abc"[: len(shape)]
    subscripts = ",".join("m" + letter for letter in letters)
    return np.einsum(f"m,{subscripts}->{letters}", samples, *conjugates, optimize=True)


def dense_matrix(shape: Sequence[int], trajectory: NDArray) -> NDArray:
    """Return the matrix of the Fourier sum, ``(sample, voxel)``."""
    result = np.ones((trajectory.shape[1], 1))
    for factor in phases(shape, trajectory):
        result = np.einsum("ma,mb->mab", result, factor).reshape(len(result), -1)
    return result


def back_projection(
    measured: NDArray, wavenumbers: NDArray, antennas: NDArray, points: NDArray
) -> NDArray:
    """Return the mean of ``measured exp(+j k d)`` for each point, by exact paths.

    One antenna sends and receives; ``d`` is by how much the way to the point and back exceeds that
    to the origin. ``measured`` is ``(pulse, freq)``, ``antennas`` ``(pulse, 3)``, ``points``
    ``(point, 3)``.
    """
    image = np.zeros(len(points), np.complex128)
    for values, antenna in zip(measured, antennas, strict=True):
        excess = 2 * (np.linalg.norm(points - antenna, axis=1) - np.linalg.norm(antenna))
        image += values @ np.exp(1j * np.outer(wavenumbers, excess))
    return image / measured.size


def relative_error(found: NDArray, truth: NDArray) -> float:
    """Return the relative l2 error of `found`."""
    return float(np.linalg.norm(np.asarray(found) - truth) / np.linalg.norm(truth))
