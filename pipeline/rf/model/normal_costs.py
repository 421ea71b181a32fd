"""Which form of the normal operator of an RF acquisition is the fastest, from operation counts.

Iterative solvers apply ``sum_b w_b A_b^H A_b`` over all blocks ``b``, each a frequency of a pair.
There are three ways:

``collapsed``
    One convolution for all blocks. Needs plane waves on a uniform grid and no voxel phase.
``pairs``
    One convolution for each pair, between multiplications with its voxel phase. Needs plane waves,
    and a voxel phase that is the same at all frequencies of a pair.
``factors``
    Every block forward and back through its Kronecker factors. Always possible.

Nothing is built and nothing is measured here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.operators.contraction import COMPLEX_MULTIPLY_ADD, contraction_flops
from pipeline.operators.toeplitz import padded_shape

NormalForm = Literal["collapsed", "pairs", "factors"]
VoxelPhase = Literal["none", "pair", "frequency"]

_COMPLEX_MULTIPLY = 6
LATENCY = 1.2e-4
"""Seconds that calling an operator takes however small it is, its checks and dispatch."""

TILE_LATENCIES = 3.5
"""Latencies to go forward and back through the factors of a pair: two operators of two or three
small products each, weights and a sum."""

_PHASOR_FLOPS = 500
"""Cost of one complex exponential in double precision, in multiplications as fast as in GEMM."""


@dataclass(frozen=True)
class Rates:
    """Sustained rates of the machine, in single precision.

    Parameters
    ----------
    gemm, fft
        Floating-point operations a second, of matrix products and of Fourier transforms.
    bandwidth
        Bytes a second between memory and processor.
    latency
        Seconds that one application of an operator takes however small it is.
    """

    gemm: float
    fft: float
    bandwidth: float
    latency: float

    @classmethod
    def host(cls, threads: int) -> "Rates":
        """Return the rates of a CPU: what was measured on two cores of an AMD EPYC with AVX-512.

        Products of factors reach 60 to 93 Gflop/s a core, transforms 24 to 31. Only the ratio of
        these decides, and it varies less from machine to machine than they do. Small scenes
        take what calls take: 0.24 ms a convolution of 64 x 64 voxels, 0.5 ms a pair by its factors.
        """
        bandwidth = 1.0e10 * min(threads, 8)
        return cls(8.0e10 * threads, 2.6e10 * threads, bandwidth, latency=LATENCY)

    @classmethod
    def device(cls) -> "Rates":
        """Return the rates of a data-centre GPU: from data sheets, not measured."""
        return cls(4.0e13, 3.0e12, 3.0e12, latency=1.0e-4)


@dataclass(frozen=True)
class NormalCost:
    """What one form of the normal operator takes.

    Parameters
    ----------
    form
        Which one.
    flops
        Floating-point operations of one application to one image.
    seconds
        Predicted time of one application: the operations or the bytes, whichever takes longer, and
        the latency of each operator.
    setup_seconds
        Predicted time to build the kernels. Factors have none of their own, because the right-hand
        side needs them in any case.
    held_bytes
        Bytes of kernels, voxel phases and factors while iterating.
    """

    form: NormalForm
    flops: float
    seconds: float
    setup_seconds: float
    held_bytes: int

    def total_seconds(self, applications: int) -> float:
        """Return the predicted time of so many applications and the preparation [s]."""
        return self.setup_seconds + applications * self.seconds


def normal_costs(
    shape: Sequence[int],
    rows: Sequence[int],
    *,
    pairs: int,
    frequencies: int,
    rates: Rates,
    plane_waves: bool = True,
    voxel_phase: VoxelPhase = "none",
    itemsize: int = 8,
) -> tuple[NormalCost, ...]:
    """Return the costs of all forms that an acquisition permits.

    Parameters
    ----------
    shape
        Scene axes.
    rows
        Rows ``M_i`` of the factor of each axis.
    pairs, frequencies
        Number of each; their product are the blocks.
    rates
        Of the machine.
    plane_waves
        Whether the factors are plane waves on a uniform grid.
    voxel_phase
        What phases voxels have besides: ``"none"``, one for each ``"pair"``, or one for each
        ``"frequency"`` of each pair.
    itemsize
        Bytes of a complex number: 8 or 16.

    Returns
    -------
    tuple of NormalCost
        The form of fewest convolutions first; the factors, which are always possible, last.
    """
    acquisition = _Acquisition(tuple(shape), tuple(rows), pairs, frequencies, itemsize, rates)
    costs = []
    if plane_waves and voxel_phase == "none":
        costs.append(acquisition.convolutions("collapsed", 1, weighted=False))
    if plane_waves and voxel_phase != "frequency":
        costs.append(acquisition.convolutions("pairs", pairs, weighted=voxel_phase == "pair"))
    phases = {"none": 0, "pair": pairs, "frequency": pairs * frequencies}[voxel_phase]
    costs.append(acquisition.factors(phases))
    return tuple(costs)


@dataclass(frozen=True)
class _Acquisition:
    """Sizes that all forms are counted from."""

    shape: tuple[int, ...]
    rows: tuple[int, ...]
    pairs: int
    frequencies: int
    itemsize: int
    rates: Rates

    @property
    def blocks(self) -> int:
        return self.pairs * self.frequencies

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    def convolutions(self, form: NormalForm, kernels: int, *, weighted: bool) -> NormalCost:
        padded = padded_shape(self.shape)
        points = math.prod(padded)
        # Forward and back, along each axis without those lines that are zero or are cropped.
        transforms = 2 * sum(
            _fft_flops(length) * math.prod(padded[:axis]) * math.prod(self.shape[axis + 1 :])
            for axis, length in enumerate(padded)
        )
        phases = 2 * _COMPLEX_MULTIPLY * self.voxels * weighted
        # Image in and out, four passes over the array between, the phase twice, the spectrum.
        between = padded[0] * math.prod(self.shape[1:])
        numbers = (2 + 2 * weighted) * self.voxels + 4 * between + points / 2
        flops = kernels * (transforms + 2 * points + phases)
        moved = kernels * numbers * self.itemsize
        return NormalCost(
            form,
            flops,
            seconds=self._seconds(kernels, flops, self.rates.fft, moved),
            setup_seconds=self._kernel_seconds(kernels),
            held_bytes=kernels * self.itemsize * (points // 2 + self.voxels * weighted),
        )

    def factors(self, phases: int) -> NormalCost:
        flops = 2 * self.blocks * contraction_flops(self.rows, self.shape)
        flops += 2 * phases * _COMPLEX_MULTIPLY * self.voxels
        sizes = sum(m * n for m, n in zip(self.rows, self.shape, strict=True))
        held = self.blocks * sizes + phases * self.voxels
        # Factors and phases forward and back; measurements out and in. What is between stays in
        # cache.
        moved = 2 * (held + self.blocks * math.prod(self.rows) + self.voxels) * self.itemsize
        return NormalCost(
            "factors",
            flops,
            seconds=self._seconds(TILE_LATENCIES * self.pairs, flops, self.rates.gemm, moved),
            setup_seconds=0.0,
            held_bytes=held * self.itemsize,
        )

    def _seconds(self, operators: float, flops: float, rate: float, moved: float) -> float:
        computing = flops * (self.itemsize / 8) / rate
        waiting = moved / self.rates.bandwidth
        return operators * self.rates.latency + max(computing, waiting)

    def _kernel_seconds(self, kernels: int) -> float:
        """Return the time to add the kernels of all blocks, in double precision."""
        padded = padded_shape(self.shape)
        half = math.prod(padded[:-1]) * (padded[-1] // 2 + 1)
        lines = sum(m * n for m, n in zip(self.rows, self.shape, strict=True))
        phasors = sum(2 * m * math.sqrt(n) for m, n in zip(self.rows, self.shape, strict=True))
        gemm = self.blocks * (COMPLEX_MULTIPLY_ADD * (half + lines) + _PHASOR_FLOPS * phasors)
        fft = kernels * sum(_fft_flops(length) * half / length for length in padded)
        # Zeros, their sum with the kernel, the rounded copy, its transform.
        moved = kernels * 5 * 16 * half
        return 2 * gemm / self.rates.gemm + max(fft / self.rates.fft, moved / self.rates.bandwidth)


def _fft_flops(points: int) -> float:
    """Return the nominal operations of one complex transform."""
    return 5 * points * math.log2(max(points, 2))
