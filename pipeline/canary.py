"""Checks of under a second that precede each reconstruction.

A wrong driver, a broken package or a mistaken setting shows here, on the device and in the
precision of the job, and not in an image that somebody believes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import CanaryError
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.base import LinearOperator

_SAMPLES = 16384
_EXACT_SAMPLES = 8
# Ten times what rounding and the tolerance leave: a canary is there for wrong arithmetic, which is
# wrong by far more.
_MARGIN = 10.0


@dataclass(frozen=True)
class Canary:
    """What the checks found, both relative."""

    adjoint_error: float
    """``|<A x, y> - <x, A^H y>|`` over ``||A x|| ||y||``."""
    forward_error: float
    """Distance of ``A x`` from the exact sum at a few samples, over the exact sum's norm."""


def exact_samples(image: Tensor, trajectory: Tensor) -> Tensor:
    """Evaluate ``sum_r image[r] exp(-j k.r)`` in float64, axis by axis.

    Parameters
    ----------
    image
        complex, ``(*shape)``.
    trajectory
        real, ``(axis, sample)`` [rad/voxel].

    Returns
    -------
    Tensor
        complex128, ``(sample,)``.
    """
    phases = [
        torch.exp(-1j * component[:, None] * torch.from_numpy(voxel_positions(size)).to(component))
        for component, size in zip(trajectory.to(torch.float64), image.shape, strict=True)
    ]
    # The first axis for all samples in one product, the others sample by sample.
    partial: Tensor = torch.tensordot(phases[0], image.to(torch.complex128), dims=1)
    for phase in phases[1:]:
        partial = torch.einsum("sn,sn...->s...", phase, partial)
    return partial


def check_operator(
    build: Callable[[Tensor], LinearOperator], trajectory: Tensor, tolerance: float, who: str
) -> Canary:
    """Check the operator that ``build`` makes of a part of the trajectory.

    Parameters
    ----------
    build
        Makes the job's operator, one coil, for a trajectory of shape ``(axis, sample)``.
    trajectory
        real, ``(axis, sample)`` [rad/voxel], on the device of the job.
    tolerance
        Relative error that the operator was asked for.
    who
        Dataset and block, for the message of an error.

    Raises
    ------
    CanaryError
        If an error is more than ten times what tolerance and precision allow.
    """
    generator = torch.Generator().manual_seed(0)
    count = trajectory.shape[-1]
    chosen = torch.randperm(count, generator=generator)[:_SAMPLES].to(trajectory.device)
    part = trajectory[:, chosen].contiguous()
    operator = build(part)
    dtype = torch.complex64 if trajectory.dtype == torch.float32 else torch.complex128
    image, data = (
        torch.randn(*shape, dtype=dtype, generator=generator).to(trajectory.device)
        for shape in (operator.domain, operator.codomain)
    )
    forward = operator(image)
    left = torch.sum(data.conj().to(torch.complex128) * forward)
    right = torch.sum(operator.adjoint(data).conj().to(torch.complex128) * image)
    scale = torch.linalg.vector_norm(forward) * torch.linalg.vector_norm(data)
    adjoint_error = float((left - right).abs() / scale)

    exact = exact_samples(image, part[:, :_EXACT_SAMPLES])
    difference = forward[:_EXACT_SAMPLES] - exact
    # Relative to the whole of the samples: a single one may be small by chance.
    typical = torch.linalg.vector_norm(forward) / forward.numel() ** 0.5 * exact.numel() ** 0.5
    forward_error = float(torch.linalg.vector_norm(difference) / typical)

    rounding = float(torch.finfo(trajectory.dtype).eps)
    allowed = _MARGIN * (tolerance + 100 * rounding)
    for name, found in (("adjoint", adjoint_error), ("forward", forward_error)):
        if not found <= allowed:
            raise CanaryError(
                f"{who}: the {name} check of {type(operator).__name__} on {trajectory.device} "
                f"found a relative error of {found:.1e}; allowed is {allowed:.1e}. The device, its "
                "driver or a package computes wrongly: try another nufft.backend or "
                "compute.device, and report it"
            )
    return Canary(adjoint_error, forward_error)
