"""What a machine sustains, and how operations are counted."""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, PositiveFloat

from pipeline.operators.toeplitz_memory import padded_shape


class Rates(BaseModel):
    """What a machine sustains with all threads of a job; `kronufft tune` measures them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spread: PositiveFloat
    """Grid points that gridding and interpolation update a second: samples times the width of the
    kernel to the power of the axes."""
    sort: PositiveFloat
    """Samples a second that are sorted before they are gridded."""
    fft: PositiveFloat
    """Operations a second of transforms of a gridding grid, ``5 n log2 n`` of a complex one."""
    toeplitz: PositiveFloat
    """Operations a second of Toeplitz products, each counted as two transforms of the padded
    array."""
    gemm: PositiveFloat
    """Operations a second of complex matrix products."""
    memory: PositiveFloat
    """Bytes a second between memory and processor, of passes over images."""
    read: PositiveFloat
    """Bytes a second from storage to the device."""
    start: PositiveFloat
    """Seconds that a job takes besides, imports excluded: opening files, canary, writing."""

    @classmethod
    def host(cls, threads: int) -> "Rates":
        """Return the rates of a CPU: what was measured on two cores of an AMD EPYC, by thread."""
        many = min(threads, 16)
        return cls(
            spread=4e9 * many,
            sort=8.5e6 * many,
            fft=1.1e10 * many,
            toeplitz=3.5e10 * many,
            gemm=8e10 * many,
            memory=4e9 * min(threads, 8),
            read=1e9,
            start=0.5,
        )

    @classmethod
    def device(cls) -> "Rates":
        """Return the rates of a data-centre GPU: from data sheets, not measured."""
        return cls(
            spread=5e11,
            sort=5e9,
            fft=1e12,
            toeplitz=1.5e12,
            gemm=2e13,
            memory=1.5e12,
            read=1.5e9,
            start=3.0,
        )


LATENCY = 1.2e-4
"""Seconds that calling an operator takes however small it is, its checks and dispatch."""


def toeplitz_flops(shape: Sequence[int]) -> float:
    """Return the operations that one Toeplitz product is counted as."""
    return 2 * fft_flops(math.prod(padded_shape(shape)))


def fft_flops(points: float) -> float:
    """Return the operations of a complex transform of so many points, all axes."""
    return 5 * points * math.log2(max(points, 2))
