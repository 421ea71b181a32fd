"""The collapse of plane-wave factors: all pairs and frequencies in one convolution.

A factor ``A[m, n] = exp(-j k_m (n - N // 2))`` on a uniform grid has a Toeplitz Gram matrix with
entries ``g[n - n']``, ``g[d] = sum_m exp(j k_m d)``. A Kronecker product of such factors has the
product of their ``g`` as its kernel, and a weighted sum over blocks has the sum

    h[d] = sum_b w_b  g_1[b][d_1]  g_2[b][d_2] ...

so that the normal operator of all blocks is one `Toeplitz` operator, whose cost does not depend on
the number of pairs, frequencies and antennas. The sum is one matrix product, with the blocks as its
inner dimension.
"""

import math
from collections.abc import Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.fourier import irfftn
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.rf.model.plane_wave_memory import blocks_at_once, half_shape, voxel_groups


def plane_wave_spectrum(
    shape: Sequence[int],
    parts: Sequence[tuple[Sequence[torch.Tensor], torch.Tensor | None]],
    *,
    dtype: torch.dtype = torch.complex64,
    threads: int | None = None,
) -> torch.Tensor:
    """Compute the spectrum of ``sum_b w_b A_b^H A_b`` for plane-wave Kronecker products.

    Kernels are formed and added in double precision, and rounded before they are transformed.
    Exponentials are computed for ``2 sqrt(N)`` voxels an axis and multiplied for the others.
    `ShapeError` if wavenumbers, weights and shape do not fit each other.

    Parameters
    ----------
    shape
        Scene axes.
    parts
        Wavenumbers and weights; parts may have different numbers of rows and of blocks.
        Wavenumbers: for each axis a real tensor ``(*blocks, M_i)`` [rad/voxel]: the rows of the
        factor are ``exp(-j wavenumber (n - N_i // 2))``. All have the same block axes, such as
        ``(pair, frequency)``, or none. Weights: real ``(*blocks,)``, the squared magnitude of a
        block's gain, over its noise variance where it has one; ones if `None`.
    dtype
        complex64 or complex128, of the operator that the spectrum is for.
    threads
        Threads of the transform on the CPU; torch's own number if not given.

    Returns
    -------
    Tensor
        Real, ``(*padded_shape(shape),)``, laid out and scaled as by
        `pipeline.operators.toeplitz.toeplitz_spectrum`.
    """
    shape = tuple(int(size) for size in shape)
    counts = [_check(shape, wavenumbers, weights) for wavenumbers, weights in parts]
    device = parts[0][0][0].device
    half = torch.zeros(half_shape(padded_shape(shape)), dtype=torch.complex128, device=device)
    for (wavenumbers, weights), blocks in zip(parts, counts, strict=True):
        if weights is None:
            each = torch.ones(math.prod(blocks), dtype=torch.float64, device=device)
        else:
            each = weights.detach().reshape(-1)
        rows = [k.detach().reshape(len(each), -1) for k in wavenumbers]
        _add_half_kernel(half, shape, rows, each)
    half = half.to(dtype)
    return irfftn(half, padded_shape(shape), threads=threads)


def plane_wave_factor(
    wavenumbers: torch.Tensor,
    size: int,
    *,
    row_phases: torch.Tensor | None = None,
    column_phases: torch.Tensor | None = None,
    dtype: torch.dtype = torch.complex64,
) -> torch.Tensor:
    """Make a factor of plane waves, ``exp(-j (k_m (n - N // 2) + r_m + c_n))``.

    Phases are formed in double precision. Exponentials are computed for ``2 sqrt(N)`` voxels a row
    and multiplied for the others, in the precision of the factor.

    Parameters
    ----------
    wavenumbers
        float64 ``(*blocks, M)`` [rad/voxel].
    size
        Voxels ``N``.
    row_phases, column_phases
        float64 ``(*blocks, M)`` and ``(*blocks, N)`` [rad]; none if not given.
    dtype
        complex64 or complex128.

    Returns
    -------
    Tensor
        ``(*blocks, M, N)``, contiguous, on the device of the wavenumbers.
    """
    fine, coarse = voxel_groups(size)
    steps = torch.arange(fine, dtype=torch.float64, device=wavenumbers.device)
    strides = fine * torch.arange(coarse, dtype=torch.float64, device=wavenumbers.device)
    starts = wavenumbers[..., None] * (strides - size // 2)
    if row_phases is not None:
        starts += row_phases[..., None]
    left = _phasors(starts).to(dtype)
    right = _phasors(wavenumbers[..., None] * steps).to(dtype)
    factor = torch.empty(*wavenumbers.shape, size, dtype=dtype, device=wavenumbers.device)
    whole = size // fine
    grouped = factor[..., : whole * fine].view(*wavenumbers.shape, whole, fine)
    torch.mul(left[..., :whole, None], right[..., None, :], out=grouped)
    if whole < coarse:
        torch.mul(
            left[..., whole:], right[..., : size - whole * fine], out=factor[..., whole * fine :]
        )
    if column_phases is not None:
        factor *= _phasors(column_phases).to(dtype)[..., None, :]
    return factor


def _add_half_kernel(
    half: torch.Tensor, shape: Sequence[int], rows: Sequence[torch.Tensor], weights: torch.Tensor
) -> None:
    """Add the conjugate kernel over the padded points, FFT order, last axis from 0 to half.

    Its inverse transform is the spectrum. Rows are ``(block, M_i)``, weights ``(block,)``.
    """
    padded = padded_shape(shape)
    at_once = blocks_at_once(shape, [k.shape[1] for k in rows], len(weights))
    for start in range(0, len(weights), at_once):
        chunk = slice(start, start + at_once)
        *others, last = (
            _conjugate_kernel(k[chunk].to(torch.float64), size, length, whole=axis < len(shape) - 1)
            for axis, (k, size, length) in enumerate(zip(rows, shape, padded, strict=True))
        )
        left = (weights[chunk, None].to(torch.float64) / math.prod(padded)).to(torch.complex128)
        if others:
            left = left * others.pop(0)
        right = last
        for kernel in reversed(others):
            right = (kernel[:, :, None] * right[:, None, :]).flatten(1)
        half.view(left.shape[1], -1).addmm_(left.T, right)


def _conjugate_kernel(
    wavenumbers: torch.Tensor, size: int, length: int, *, whole: bool
) -> torch.Tensor:
    """Return ``sum_m exp(-j k_m d)`` for each block, for ``|d| < N`` voxels.

    Of float64 wavenumbers ``(block, M)`` [rad/voxel]. The kernel is ``(block, length)`` in FFT
    order with zeros between, or without the redundant negative ``d``, ``(block, length // 2 + 1)``.
    """
    fine, coarse = voxel_groups(size)
    steps = torch.arange(fine, dtype=torch.float64, device=wavenumbers.device)
    strides = fine * torch.arange(coarse, dtype=torch.float64, device=wavenumbers.device)
    kernel = torch.bmm(
        _phasors(strides[:, None] * wavenumbers[:, None, :]),
        _phasors(wavenumbers[:, :, None] * steps),
    ).flatten(1)[:, :size]
    result = kernel.new_zeros(len(kernel), length if whole else length // 2 + 1)
    result[:, :size] = kernel
    if whole and size > 1:
        result[:, 1 - size :] = kernel[:, 1:].flip(1).conj()
    return result


def _phasors(phases: torch.Tensor) -> torch.Tensor:
    """Return ``exp(-j phase)``."""
    return torch.polar(torch.ones_like(phases), -phases)


def _check(
    shape: Sequence[int], wavenumbers: Sequence[torch.Tensor], weights: torch.Tensor | None
) -> tuple[int, ...]:
    """Return the block axes of arguments that fit each other."""
    blocks = tuple(wavenumbers[0].shape[:-1]) if wavenumbers else ()
    if len(wavenumbers) != len(shape) or any(
        k.ndim < 1 or tuple(k.shape[:-1]) != blocks or k.is_complex() for k in wavenumbers
    ):
        found = ", ".join(f"{tuple(k.shape)} {k.dtype}" for k in wavenumbers) or "none"
        raise ShapeError(
            f"plane-wave spectrum: found wavenumbers {found}; the scene {tuple(shape)} needs one "
            "real tensor (*blocks, rows) for each axis, with the same block axes."
        )
    if weights is not None and (tuple(weights.shape) != blocks or weights.is_complex()):
        raise ShapeError(
            f"plane-wave spectrum: found weights of shape {tuple(weights.shape)} and "
            f"{weights.dtype}; needed are real ones of shape {blocks}, the squared magnitude of "
            "each block's gain."
        )
    return blocks
