"""Checks of under a second that precede each reconstruction.

A wrong driver, a broken package or a mistaken setting shows here, on the device and in the
precision of the job, and not in an image that somebody believes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.engine.needs import CANARY_SAMPLES
from pipeline.errors import CanaryError
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.base import LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.operators.inner import inner_product

_EXACT_SAMPLES = 8
# Ten times what rounding and the tolerance leave: a canary is there for wrong arithmetic, which is
# wrong by far more.
_MARGIN = 10.0


@dataclass(frozen=True)
class Canary:
    """What the checks found; errors are relative."""

    backend: str
    """Library that computed the transforms."""
    adjoint_error: float
    """``|Re <A x, y> - Re <x, A^H y>|`` over ``||A x|| ||y||``."""
    forward_error: float
    """Distance of ``A x`` from the exact sum at a few samples, over the exact sum's norm."""


def exact_samples(image: Tensor, trajectory: Tensor) -> Tensor:
    """Evaluate ``sum_r image[r] exp(-j k.r)`` in float64, axis by axis.

    From a complex image ``(*shape)`` and a real trajectory ``(axis, sample)`` [rad/voxel] to
    complex128 ``(sample,)``.
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
    build: Callable[[Tensor], FourierTransform], trajectory: Tensor, tolerance: float, who: str
) -> Canary:
    """Check the transform that ``build`` makes, on a part of the trajectory.

    It is real, ``(axis, sample)`` or ``(image, axis, sample)`` [rad/voxel], on the job's device.

    Raises
    ------
    CanaryError
        If an error is more than ten times what the tolerance, for which the transform was asked,
        and precision allow.
    """
    generator = torch.Generator().manual_seed(0)
    images = 1 if trajectory.ndim == 2 else trajectory.shape[0]
    count = max(_EXACT_SAMPLES, CANARY_SAMPLES // images)
    chosen = torch.randperm(trajectory.shape[-1], generator=generator)[:count]
    part = trajectory[..., chosen.to(trajectory.device)].contiguous()
    operator = build(part)

    def exact(image: Tensor) -> tuple[Tensor, Tensor]:  # of the first image
        first = part.reshape(images, -1, part.shape[-1])[0, :, :_EXACT_SAMPLES]
        values = exact_samples(image.reshape(images, *operator.shape)[0], first)
        return torch.arange(len(values), device=values.device), values

    return check_exact(operator, exact, backend=operator.backend, tolerance=tolerance, who=who)


def check_exact(
    operator: LinearOperator,
    exact: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    backend: str,
    tolerance: float,
    who: str,
    voxels: int | None = None,
) -> Canary:
    """Check any operator that has a dtype and a device.

    ``exact`` returns for an image flat indices of some measurements, and their exact sums. Where
    these take long, all but about so many ``voxels`` of the image are zero.

    Raises
    ------
    CanaryError
        As `check_operator`.
    """
    assert operator.dtype is not None
    assert operator.device is not None
    generator = torch.Generator().manual_seed(0)
    image, data = (
        torch.randn(*shape, dtype=operator.dtype, generator=generator).to(operator.device)
        for shape in (operator.domain, operator.codomain)
    )
    if voxels is not None and voxels < image.numel():
        left_out = torch.rand(image.shape, generator=generator) * image.numel() > voxels
        image[left_out.to(image.device)] = 0
    forward = operator(image)
    left = inner_product(data, forward, data.ndim)
    right = inner_product(operator.adjoint(data), image, image.ndim)
    sizes = [inner_product(values, values, values.ndim).sqrt() for values in (forward, data)]
    adjoint_error = float((left - right).abs() / (sizes[0] * sizes[1]))

    where, values = exact(image)
    found = forward.reshape(-1)[where]
    # Relative to the whole of the samples: a single one may be small by chance.
    typical = sizes[0] * (len(values) / forward.numel()) ** 0.5
    forward_error = float(torch.linalg.vector_norm(found - values) / typical)

    rounding = float(torch.finfo(operator.dtype).eps)
    allowed = _MARGIN * (tolerance + 100 * rounding)
    for name, error in (("adjoint", adjoint_error), ("forward", forward_error)):
        if not error <= allowed:
            raise CanaryError(
                f"{who}: the {name} check of {backend} on {operator.device} found a "
                f"relative error of {error:.1e}; allowed is {allowed:.1e}. The device, its driver "
                "or a package computes wrongly: try another nufft.backend or compute.device, and "
                "report it"
            )
    return Canary(backend, adjoint_error, forward_error)
