"""What error each NUFFT library reaches, and what it has to be asked for.

Here nothing is transformed and torch is not loaded: a machine that only plans needs no more.
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol

from pipeline.errors import ConfigError

Backend = Literal["ducc0", "finufft", "cufinufft", "triton", "torchkbnufft"]
BACKENDS: tuple[Backend, ...] = ("ducc0", "finufft", "cufinufft", "triton", "torchkbnufft")

PerAxis = float | Sequence[float] | None

_SINGLE = 8
"""Bytes of a complex number in single precision."""

LEAST_ASKED = 3e-6
"""What libraries are asked for at least in single precision, which reaches no more."""


class Precision(Protocol):
    """A complex type of torch or NumPy."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number: 8 or 16."""


def smallest_tolerance(backend: Backend, shape: Sequence[int], dtype: Precision) -> float:
    """Return the smallest relative error that a backend reaches.

    In single precision all but ducc0 and triton round the coordinates to float32 before they scale
    them, so that their error grows with the matrix: 6e-8 a voxel was measured. torchkbnufft reads
    its kernel from a table, which takes seconds to fill for 1e-5 and minutes beyond.
    """
    single = dtype.itemsize == _SINGLE
    if backend == "ducc0":
        return 1e-6 if single else 1e-12
    if backend == "triton":
        return 3e-6 if single else 1e-12
    rounding = max(1e-5, 1e-7 * max(shape)) if single else 1e-11
    return max(rounding, 1e-5) if backend == "torchkbnufft" else rounding


def choose_oversampling(
    backend: Backend, tolerance: float, dtype: Precision, dimensions: int
) -> float:
    """Return the ratio of grid to matrix that a backend uses where the user sets none.

    The least at which the backend has a kernel for the tolerance: in 3D that is also the fastest,
    or nearly so, and the grid is most of the memory. FINUFFT's kernels at 1.25 reach an error of
    2.5e-5 in single precision and 2e-10 in double. On GPUs grids are transformed fast, and
    triton has a kernel for 1e-3 of 5 points per axis at 2 and at 1.75, but of 7 at 1.25.
    """
    single = dtype.itemsize == _SINGLE
    if backend == "ducc0":
        from ducc0.nufft import bestEpsilon

        for factor in (1.5, 1.75, 2.0):
            low, high = ducc0_window(factor)
            if ducc0_accuracy(tolerance, dtype) >= bestEpsilon(
                ndim=dimensions, singleprec=single, sigma_min=low, sigma_max=high
            ):
                return factor
        return 2.4
    if backend in ("finufft", "cufinufft"):
        return 1.25 if tolerance >= (1e-4 if single else 1e-8) else 2.0
    return 1.75 if backend == "triton" and tolerance >= 1e-3 else 2.0


def ducc0_accuracy(tolerance: float, dtype: Precision) -> float:
    """Return the ``epsilon`` at which ducc0's relative l2 error stays below `tolerance`.

    Measured: up to 0.4 of epsilon for white noise, 1.0 for a constant image. In single precision
    `LEAST_ASKED` gives an error of 3e-7, so there is no need to ask for less.
    """
    return max(tolerance, LEAST_ASKED) if dtype.itemsize == _SINGLE else tolerance


def ducc0_window(factor: float) -> tuple[float, float]:
    """Return the oversampling that ducc0 may choose from its table of kernels.

    The table has an entry every 0.05. With more than one to choose from, ducc0 would choose by the
    number of samples: parts of a measurement would not add up to the whole but for the tolerance.
    """
    return max(1.19, factor - 0.026), factor + 0.026


def finufft_accuracy(tolerance: float) -> float:
    """Return the ``eps`` at which FINUFFT's relative l2 error stays below `tolerance`.

    Measured: up to 2.2 times eps for white noise, 3 for a constant image; a lone voxel in the very
    corner, where the kernel is corrected most, comes to 8.
    """
    return tolerance / 5.0


def kaiser_bessel_width(tolerance: float, oversampling: float) -> int:
    """Return the width of the Kaiser-Bessel kernel, in grid points, for half of `tolerance`."""
    decay = math.pi * math.sqrt(1.0 - 1.0 / oversampling)
    return max(2, math.ceil(math.log(16.0 / tolerance) / decay))


def kaiser_bessel_shape(width: float, oversampling: float) -> float:
    """Return the shape parameter beta of Beatty et al. (2005), equation 5."""
    return math.pi * math.sqrt(max((width * (1.0 - 0.5 / oversampling)) ** 2 - 0.8, 0.1))


def per_axis(value: float | Sequence[float], dimensions: int) -> tuple[float, ...]:
    """Return one number for each axis."""
    if isinstance(value, int | float):
        return (float(value),) * dimensions
    if len(value) != dimensions:
        raise ConfigError(
            f"NUFFT: found {len(value)} numbers {tuple(value)} for {dimensions} image axes; "
            "give one number or one for each axis."
        )
    return tuple(float(number) for number in value)
