"""The libraries that compute NUFFTs, behind one interface.

A `Plan` belongs to one trajectory. It maps ``(transforms, *shape)`` to ``(transforms, sample)`` and
back, on tensors of one dtype and device. What is true of all of them:

- They are asked for the relative l2 error that the user wants, with the margin that their own
  accuracy parameter needs (measured against the exact sum in 2D and 3D: white noise, a constant
  image, a single voxel in the corner).
- forward and adjoint share kernel and grid, so they are each other's transpose to rounding.
"""

import atexit
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.operators.nufft_accuracy import (
    Backend,
    PerAxis,
    choose_oversampling,
    ducc0_accuracy,
    ducc0_window,
    finufft_accuracy,
    kaiser_bessel_shape,
    kaiser_bessel_width,
    per_axis,
)

_SMALL = 2.0**-30
"""Of the largest of some samples: below, ducc0 gets them enlarged."""

_COUNTABLE = 2**31 - 1
"""What cuFINUFFT counts to, which stores sizes in 32 bits."""


@dataclass(eq=False)
class Plan(ABC):
    """NUFFTs of one trajectory. Not to be called from two threads at once."""

    shape: tuple[int, ...]
    trajectory: Tensor
    """Real, ``(axis, sample)`` [rad/voxel]."""
    tolerance: float
    """Relative l2 error allowed in each transform."""
    dtype: torch.dtype
    """complex64 or complex128."""
    threads: int
    """Of one transform, on the CPU."""
    group: int = 1
    """Transforms that are best done in one call."""
    oversampling: PerAxis = None
    """As of `pipeline.operators.nufft.NUFFT`, like the next."""
    kernel_width: PerAxis = None

    def __post_init__(self) -> None:
        self.trajectory = self.trajectory.to(self.dtype.to_real())
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Sort the points and fill the tables, as far as that can be done before the data."""

    @abstractmethod
    def forward(self, images: Tensor, samples: Tensor) -> None:
        """Fill `samples` ``(transforms, sample)`` from `images` ``(transforms, *shape)``."""

    @abstractmethod
    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        """Fill `images` ``(transforms, *shape)`` from `samples` ``(transforms, sample)``."""

    def _groups(self, *arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yield those transforms of all arrays that are done in one call."""
        return zip(*(torch.split(array, self.group) for array in arrays), strict=True)


def one_oversampling(plan: Plan, backend: Backend) -> float:
    """Return the oversampling as one number, for the backends that know nothing finer."""
    if plan.kernel_width is not None:
        raise ConfigError(
            f"NUFFT backend {backend} chooses its kernel width from the tolerance, found "
            f"kernel_width {plan.kernel_width}; leave it out or use the backend torchkbnufft."
        )
    if plan.oversampling is None:
        return choose_oversampling(backend, plan.tolerance, plan.dtype, len(plan.shape))
    if not isinstance(plan.oversampling, int | float):
        raise ConfigError(
            f"NUFFT backend {backend} takes one oversampling for all axes, found "
            f"{plan.oversampling}; give one number or use the backend torchkbnufft."
        )
    return float(plan.oversampling)


class _Ducc0Plan(Plan):
    """ducc0: points are sorted once, one plan serves both directions.

    References
    ----------
    .. [1] M. Reinecke, DUCC, https://gitlab.mpcdf.mpg.de/mtr/ducc
    """

    def _prepare(self) -> None:
        from ducc0.nufft import plan

        factor = one_oversampling(self, "ducc0")
        low, high = ducc0_window(factor)
        try:
            self._plan = plan(
                nu2u=True,
                coord=self.trajectory.T.contiguous().numpy(),
                grid_shape=self.shape,
                epsilon=ducc0_accuracy(self.tolerance, self.dtype),
                nthreads=self.threads,
                sigma_min=low,
                sigma_max=high,
            )
        except RuntimeError as error:
            raise ConfigError(
                f"NUFFT backend ducc0 has no kernel for tolerance {self.tolerance:g} at "
                f"oversampling {factor:g}; raise one of the two (oversampling is at most 2.4)."
            ) from error

    def forward(self, images: Tensor, samples: Tensor) -> None:
        self._plan.u2nu(forward=True, grid=images.numpy(), out=samples.numpy())

    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        # Samples whose squares are zero in their precision are left out, without a word.
        largest = float(torch.linalg.vector_norm(torch.view_as_real(samples), math.inf))
        power = 1.0
        if 0 < largest < _SMALL:
            power = 2.0 ** min(-math.frexp(largest)[1], 100)
            samples = samples * power
        self._plan.nu2u(forward=False, points=samples.numpy(), out=images.numpy())
        if power != 1:
            images.mul_(1 / power)


class _FinufftPlan(Plan):
    """FINUFFT: one plan for groups of equally many transforms, and one for what remains.

    References
    ----------
    .. [1] A. H. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier
       transform library based on an 'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41,
       C479-C504 (2019).
    """

    def _prepare(self) -> None:
        self._options = {
            "eps": finufft_accuracy(self.tolerance),
            "dtype": str(self.dtype).removeprefix("torch."),
            "upsampfac": one_oversampling(self, "finufft"),
            "nthreads": self.threads,
        }
        self._coordinates = [axis.contiguous().numpy() for axis in self.trajectory]
        self._plans: dict[int, Any] = {}

    def forward(self, images: Tensor, samples: Tensor) -> None:
        for image, sample in self._groups(images, samples):
            self._plan(len(image)).execute_adjoint(image.numpy(), out=sample.numpy())

    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        for sample, image in self._groups(samples, images):
            self._plan(len(image)).execute(sample.numpy(), out=image.numpy())

    def _plan(self, transforms: int) -> Any:
        if transforms not in self._plans:
            from finufft import Plan as Finufft

            plan = Finufft(1, self.shape, transforms, isign=1, **self._options)
            plan.setpts(*self._coordinates)
            self._plans[transforms] = plan
        return self._plans[transforms]


class _CufinufftPlan(Plan):
    """cuFINUFFT: plans of both directions, made when first used, on torch's current stream.

    References
    ----------
    .. [1] Y.-H. Shih, G. Wright, J. Andén, J. Blaschke, A. H. Barnett, "cuFINUFFT: a load-balanced
       GPU library for general-purpose nonuniform FFTs", IEEE IPDPS Workshops, 688-697 (2021).
    """

    def _prepare(self) -> None:
        factor = one_oversampling(self, "cufinufft")
        if math.prod(math.ceil(factor * size) for size in self.shape) > _COUNTABLE:
            raise ConfigError(
                f"NUFFT backend cufinufft: found the matrix {self.shape} at oversampling "
                f"{factor:g}, allowed are grids below 2^31 points; use a smaller matrix or "
                "oversampling, or another backend."
            )
        # Strengths of a call are counted in 32 bits, too.
        self.group = min(self.group, max(1, _COUNTABLE // max(1, self.trajectory.shape[1])))
        self._device = self.trajectory.device
        self._stream = torch.cuda.current_stream(self._device)
        self._options = {
            "eps": finufft_accuracy(self.tolerance),
            "dtype": str(self.dtype).removeprefix("torch."),
            "upsampfac": factor,
            # Polynomials of its kernel are tabulated for these two alone.
            "gpu_kerevalmeth": int(factor in (1.25, 2.0)),
            "gpu_device_id": self._device.index or 0,
            "gpu_stream": self._stream.cuda_stream,
        }
        self._coordinates = [axis.contiguous() for axis in self.trajectory]
        self._plans: dict[tuple[int, int], Any] = {}

    def forward(self, images: Tensor, samples: Tensor) -> None:
        self._execute(2, images, samples)

    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        self._execute(1, samples, images)

    def _execute(self, kind: int, source: Tensor, target: Tensor) -> None:
        # The plans are bound to the stream that was current when they were made.
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        for some, result in self._groups(source, target):
            self._plan(kind, len(some)).execute(some, out=result)
        current.wait_stream(self._stream)
        if current != self._stream:
            source.record_stream(self._stream)
            target.record_stream(self._stream)

    def _plan(self, kind: int, transforms: int) -> Any:
        key = (kind, transforms)
        if key not in self._plans:
            # It allocates beside torch, which keeps what it has freed unless it is told not to.
            torch.cuda.empty_cache()
            from cufinufft import Plan as Cufinufft

            sign = 1 if kind == 1 else -1
            try:
                plan = Cufinufft(kind, self.shape, transforms, isign=sign, **self._options)
                plan.setpts(*self._coordinates)
            except RuntimeError as error:  # which does not tell why
                raise torch.OutOfMemoryError(f"cufinufft: {error}") from None
            self._plans[key] = plan
        return self._plans[key]


class _TorchKbNufftPlan(Plan):
    """torchkbnufft: Kaiser-Bessel interpolation from a table, pure torch, any device.

    References
    ----------
    .. [1] M. J. Muckley, R. Stern, T. Murrell, F. Knoll, "TorchKbNufft: a high-level,
       hardware-agnostic non-uniform fast Fourier transform", ISMRM Workshop on Data Sampling &
       Image Reconstruction (2020).
    .. [2] P. J. Beatty, D. G. Nishimura, J. M. Pauly, "Rapid gridding reconstruction with a minimal
       oversampling ratio", IEEE Trans. Med. Imaging 24, 799-808 (2005).
    """

    def _prepare(self) -> None:
        with warnings.catch_warnings():  # of torch.jit, which it is written in
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)  # since torch 2.14
            from torchkbnufft import KbNufft, KbNufftAdjoint
        _rest_before_exit()
        factors = per_axis(self.oversampling or 2.0, len(self.shape))
        grid = tuple(math.ceil(f * n / 2) * 2 for f, n in zip(factors, self.shape, strict=True))
        ratios = [g / n for g, n in zip(grid, self.shape, strict=True)]
        if self.kernel_width is None:
            widths = [kaiser_bessel_width(self.tolerance, ratio) for ratio in ratios]
        else:
            widths = [int(width) for width in per_axis(self.kernel_width, len(self.shape))]
        # One shape parameter, relative to the width, serves all axes: the most cautious one.
        shape_parameter = min(
            kaiser_bessel_shape(width, ratio) / width
            for width, ratio in zip(widths, ratios, strict=True)
        )
        options = {
            "im_size": self.shape,
            "grid_size": grid,
            "numpoints": tuple(widths),
            # The table is read at its nearest entry: an error of 0.9 over its density.
            "table_oversamp": 2 ** max(10, math.ceil(math.log2(1.8 / self.tolerance))),
            "kbwidth": shape_parameter,
            "dtype": self.dtype,
            "device": self.trajectory.device,
        }
        self._forward, self._adjoint = KbNufft(**options), KbNufftAdjoint(**options)

    def forward(self, images: Tensor, samples: Tensor) -> None:
        samples.copy_(self._forward(images[None], self.trajectory)[0])

    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        images.copy_(self._adjoint(samples[None], self.trajectory)[0])


PLANS: dict[Backend, type[Plan]] = {
    "ducc0": _Ducc0Plan,
    "finufft": _FinufftPlan,
    "cufinufft": _CufinufftPlan,
    "torchkbnufft": _TorchKbNufftPlan,
}


def plan_class(backend: Backend) -> type[Plan]:
    """Return the plans of a backend; Triton is imported for its own alone."""
    if backend == "triton":
        from pipeline.operators.nufft_triton import TritonPlan

        return TritonPlan
    return PLANS[backend]


@cache
def _rest_before_exit() -> None:
    """Let torch's inter-op threads come to rest before the interpreter ends.

    torchkbnufft forks its work to them, and a process that ends within microseconds of its last
    transform aborts.
    """
    atexit.register(time.sleep, 0.2)
