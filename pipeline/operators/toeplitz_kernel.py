"""The kernel of a Toeplitz operator, from an adjoint NUFFT of the weights."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_accuracy import choose_oversampling
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.toeplitz_memory import kernel_box, kernel_pieces

_CHUNK = 2**18
"""Samples whose phases are computed at a time."""


def half_kernel(
    shape: tuple[int, ...],
    padded: tuple[int, ...],
    trajectory: Tensor,
    weights: Tensor,
    *,
    tolerance: float,
    backend: str,
    dtype: torch.dtype,
    threads: int | None,
    deterministic: bool,
) -> Tensor:
    """Return the conjugate kernel, FFT order, last axis from 0 to half of the padded length."""
    library = choose_backend(
        shape,
        trajectory.device.type,
        backend,
        tolerance=tolerance,
        dtype=dtype,
        deterministic=deterministic,
    )
    oversampling = choose_oversampling(library, tolerance, dtype, len(shape))
    pieces = kernel_pieces(shape, oversampling, dtype.itemsize)
    box = kernel_box(shape, pieces)
    # The inverse transform of the conjugate kernel is the spectrum, so all phases are negative.
    nufft = NUFFT(
        box,
        -trajectory,
        tolerance=tolerance,
        backend=library,
        dtype=dtype,
        threads=threads,
        deterministic=deterministic,
    )
    half = torch.zeros((*padded[:-1], padded[-1] // 2 + 1), dtype=dtype, device=trajectory.device)
    corners = (range(1 - n, n, b) for n, b in zip(shape[:-1], box[:-1], strict=True))
    for corner in itertools.product(*corners, (0,)):
        kernel = nufft.adjoint(_shifted(weights, trajectory, corner, box, dtype))
        places = []
        for axis, (start, size) in enumerate(zip(corner[:-1], shape[:-1], strict=True)):
            kernel = kernel.narrow(axis, 0, min(kernel.shape[axis], size - start))
            indices = torch.arange(start, start + kernel.shape[axis], device=half.device)
            places.append(indices % padded[axis])
        found = half[..., : shape[-1]]
        if places:
            found.index_put_(torch.meshgrid(*places, indexing="ij"), kernel)
        else:  # an image of one axis
            found.copy_(kernel)
    return half


def _shifted(
    weights: Tensor,
    trajectory: Tensor,
    corner: Sequence[int],
    box: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    """Return the weights with the phases that move the kernel's box to its corner.

    A NUFFT's indices begin at ``-(N // 2)``. Phases are formed in double precision, and in chunks,
    because there may be many samples.
    """
    shift = torch.tensor(
        [start + size // 2 for start, size in zip(corner, box, strict=True)],
        dtype=torch.float64,
        device=trajectory.device,
    )
    samples = torch.empty(weights.shape, dtype=dtype, device=weights.device)
    for start in range(0, len(weights), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        phases = -(shift @ trajectory[:, chunk].to(torch.float64))
        samples[chunk] = torch.polar(weights[chunk].to(torch.float64), phases)
    return samples
