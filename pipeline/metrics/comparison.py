"""An image beside its reference, read slab by slab, and what a metric of it is.

Every figure but the complex NRMSE compares **magnitudes**, after the one real factor that brings
the image closest to its reference, because the absolute scale and the phase of an MR image depend
on the receive chain. Images arrive in slabs ``[z, y, x]`` and sums are kept in float64, so memory
is that of one slab however large the volume is.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """A column of the metrics table."""

    meaning: str
    """What it holds, with its unit."""
    title: str = ""
    style: str = ""
    """Header and number format of it on the report; without a title it is not shown there."""


@dataclass(frozen=True)
class Metric:
    """What is measured of an image, one module each; `pipeline.metrics.images` lists them."""

    columns: Mapping[str, Column]
    """Of the table, by name, in their order there."""
    of: Callable[["Comparison"], Mapping[str, float]]
    """Returns their values; NaN where one is undefined."""
    compares: bool = True
    """Whether it needs a reference."""


@dataclass
class Sums:
    """Sums over an image ``a`` and its reference ``r``; those of ``r`` are 0 without one."""

    count: int = 0
    a: float = 0.0
    r: float = 0.0
    aa: float = 0.0
    rr: float = 0.0
    ar: float = 0.0
    inner: complex = 0.0
    largest_a: float = 0.0
    largest_r: float = 0.0

    def add(self, image: Array, reference: Array | None) -> None:
        """Add a slab of both."""
        a = magnitude(image)
        self.count += a.size
        self.a += float(a.sum())
        self.largest_a = max(self.largest_a, float(a.max(initial=0.0)))
        if reference is None:
            return
        if image.shape != reference.shape:
            raise ValueError(f"image {image.shape} and reference {reference.shape} differ in shape")
        r = magnitude(reference)
        self.r += float(r.sum())
        self.largest_r = max(self.largest_r, float(r.max(initial=0.0)))
        self.aa += float(np.vdot(a, a))
        self.rr += float(np.vdot(r, r))
        self.ar += float(np.vdot(a, r))
        self.inner += complex(np.vdot(image.astype(np.complex128), reference))

    @property
    def scale(self) -> float:
        """Real factor on the image's magnitude that brings it closest to the reference's."""
        return ratio(self.ar, self.aa)

    def relative_error(self, inner: float) -> float:
        """Return ``min_s ||s a - r|| / ||r||`` from an inner product; 1 for an image of zeros.

        Errors below about 1e-8 drown in rounding.
        """
        if not self.rr > 0:
            return math.nan
        explained = inner**2 / self.aa / self.rr if self.aa > 0 else 0.0
        return math.sqrt(max(0.0, 1.0 - explained))


@dataclass(frozen=True)
class Comparison:
    """An image beside its reference."""

    slabs: Callable[[], Iterable[tuple[Array, Array | None]]]
    """Called for each reading; yields pairs (image, reference) of arrays ``[z, y, x]`` that
    together are the whole volume. Without a reference the second is None."""

    @cached_property
    def sums(self) -> Sums:
        """Of the whole volume."""
        sums = Sums()
        for image, reference in self.slabs():
            sums.add(image, reference)
        return sums


def magnitude(values: Array) -> NDArray[np.float64]:
    """Return the magnitude, widened before the root.

    One rounded to single precision would cap the complex NRMSE of equal images at 1e-4.
    """
    widened: NDArray[np.float64] = np.abs(values.astype(np.promote_types(values.dtype, np.float64)))
    return widened


def ratio(numerator: float, denominator: float) -> float:
    """Return a ratio; NaN where the denominator is not positive."""
    return numerator / denominator if denominator > 0 else math.nan
