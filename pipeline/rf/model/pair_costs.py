"""What the forward model of pairs of antenna arrays takes, in bytes and seconds. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.engine.memory import reading_bytes
from pipeline.engine.needs import TILES_AT_ONCE
from pipeline.engine.rates import LATENCY, Rates, toeplitz_flops
from pipeline.engine.transform_costs import convolution_bytes, spectrum_bytes
from pipeline.engine.work import STORED_NUMBER, ModelCosts, Parts, Work
from pipeline.operators.contraction import (
    COMPLEX_MULTIPLY_ADD,
    KroneckerTiling,
    contraction_flops,
    contraction_order,
    usual_tile_bytes,
)
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.rf.geometry.pair_model import PairLevel
from pipeline.rf.geometry.sub_arrays import WHOLE, Cut, model_name
from pipeline.rf.model.phased_slabs import phase_images, slab_lines
from pipeline.rf.model.plane_wave_memory import (
    plane_wave_factor_workspace_bytes,
    plane_wave_spectrum_workspace_bytes,
)

NormalForm = Literal["collapsed", "pairs", "factors"]
"""How ``sum_b w_b A_b^H A_b`` runs over all blocks ``b``, each a frequency of a pair.

``collapsed`` is one convolution for all blocks, which needs plane waves on a uniform grid and no
voxel phase. ``pairs`` is one convolution for each pair, between multiplications with its voxel
phase, which must be the same at all frequencies. ``factors`` goes forward and back through the
Kronecker factors of each block and is always possible.
"""

VoxelPhase = Literal["none", "pair", "frequency"]

_TILE_LATENCIES = 3.5
"""Latencies to go forward and back through the factors of a pair: two operators of two or three
small products each, weights and a sum."""

_COMPLEX_MULTIPLY = 6
_PHASOR_FLOPS = 500
"""Cost of one complex exponential in double precision, in multiplications as fast as in GEMM."""

_FACTOR_BYTES, _PHASE_BYTES = 40, 90
"""Memory traffic that takes as long as to make a number of a factor, and of a voxel phase."""

_PHASED_BYTES = 11
"""The same of a voxel at a frequency whose phase is its own, there and back; measured."""
_CALL, _CALLS = 7e-6, 6
"""Seconds of a call on a slab of them, measured, and how many there are beside the doublings."""
_SLABS, _STATES = 2, 3
"""Copies of a slab at all frequencies, and of what its first contraction leaves of the scene."""

_PATHS = 56
"""Bytes a voxel while its path is computed, in double precision."""


def voxel_phase_of(level: PairLevel) -> VoxelPhase:
    """Return what a level multiplies the image by before the factors."""
    phases: Mapping[PairLevel, VoxelPhase] = {"W+D(fc)": "pair", "W+D": "frequency"}
    return phases.get(level, "none")


@dataclass(frozen=True)
class PairCosts(ModelCosts):
    """Costs of pairs of antenna arrays, of one model and one form of the normal operator."""

    channels: int  # pairs
    readouts: int  # frequencies
    rows: tuple[int, ...]  # of the Kronecker factor of each axis, of the largest pair
    level: PairLevel
    form: NormalForm
    resident: bool = False  # whether all factors stay where the job computes
    reads_factors: bool = False  # whether factors are read, rather than made from positions
    coherent: bool = True  # whether all pairs see one image; else each has its own
    even: bool = True  # whether frequencies are evenly spaced
    cut: Cut = WHOLE  # of both arrays, into parts
    part_rows: tuple[int, ...] = ()  # rows of the largest part, where there are several

    def __str__(self) -> str:
        return f"{self.channels} pairs of {self.readouts} frequencies"

    @property
    def samples(self) -> int:  # type: ignore[override]
        """Samples of one pair at one frequency."""
        return math.prod(self.rows)

    @property
    def voxel_phase(self) -> VoxelPhase:
        """What the image is multiplied by before the factors."""
        return voxel_phase_of(self.level)

    @property
    def toeplitz(self) -> bool:
        """Whether the normal operator is a convolution with kernels."""
        return self.form != "factors"

    @property
    def unknowns(self) -> int:
        """Images that are solved for in place of one."""
        return 1 if self.coherent else self.channels

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        name = model_name(self.level, self.cut)
        return {"model": name, "normal": self.form, "resident": self.resident}

    def kernels(self, work: Work) -> int:
        """Return the kernels of a job's pairs."""
        return 1 if self.form == "collapsed" else work.channels * self.cut.parts

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one frequency in a tile, and the fewest that pay."""
        numbers = self._columns(work.shape)
        if self.voxel_phase == "frequency":
            numbers += _STATES * self._contracted_once(work.shape)
            numbers += 0 if self.even else math.prod(work.shape)
        return max(self.samples * STORED_NUMBER, numbers * work.machine.itemsize), 1

    def accumulate(self, work: Work) -> list[Parts]:
        """Return what each phase needs while the tiles of pairs are summed."""
        itemsize = work.machine.itemsize
        samples = work.readout_batch * self.samples
        common = {
            "unknowns of other pairs": (self.unknowns - 1) * work.voxel_bytes,
            "resident factors": self._resident_bytes(work, work.channels, work.readouts),
        }
        gather: Parts = {
            **common,
            "k-space tiles": TILES_AT_ONCE * samples * STORED_NUMBER,
            "reading": 0 if work.machine.on_device else reading_bytes(work),
            "samples": 2 * samples * itemsize,
            **self._factor_tiles(work),
        }
        if not work.makes_kernels:
            return [gather]
        together = work.channels * self.cut.parts if self.form == "collapsed" else 1
        blocks = work.readouts * together
        making = plane_wave_spectrum_workspace_bytes(
            work.shape, self._rows, blocks, itemsize=itemsize
        )
        kernel: Parts = {
            **common,
            "wavenumbers": 2 * 8 * blocks * sum(self._rows),
            "spectra": spectrum_bytes(work, work.kernels),
            "plane-wave kernel": making,
        }
        return [gather, kernel]

    def normal(self, work: Work) -> Parts:
        """Return what one application of the normal operator needs."""
        if self.toeplitz:
            phases = 0 if self.voxel_phase == "none" else work.kernels * work.voxel_bytes
            return {**convolution_bytes(work, 1), "voxel phases": phases}
        samples = work.readout_batch * self.samples * work.machine.itemsize
        return {
            "resident factors": self._resident_bytes(work, self.channels, self.readouts),
            "measured": 2 * samples,
            "images": 2 * work.unknown_bytes,
            **self._factor_tiles(work),
        }

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        rows, blocks = self._products(work.channels, work.readouts)
        read = 100 * work.channels * work.readouts * self._columns(work.shape)
        right = blocks * contraction_flops(rows, work.shape) / rates.gemm + read / rates.memory
        right += self._phased_seconds(work.shape, work.channels, work.readouts, rates) / 2
        kernel = 0.0
        if work.toeplitz:
            kernel = self._kernel_seconds(work.shape, work.channels, work.readouts, rates)
        return work.images * right, work.images * kernel

    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""
        return self.product_seconds(work.shape, rates) + self._streaming_seconds(work.shape, rates)

    def setup_seconds(self, shape: tuple[int, ...], rates: Rates) -> float:
        """Return the seconds to make the kernels of all pairs; the factors are made in any case."""
        if not self.toeplitz:
            return 0.0
        return self._kernel_seconds(shape, self.channels, self.readouts, rates)

    def product_seconds(self, shape: tuple[int, ...], rates: Rates) -> float:
        """Return the seconds of the normal operator whose kernels or factors are there."""
        pairs = self.channels * self.cut.parts
        phased = pairs if self.voxel_phase == "pair" else 0
        flops = float(2 * _COMPLEX_MULTIPLY * phased * math.prod(shape))
        if self.toeplitz:
            products = 1 if self.form == "collapsed" else pairs
            flops += products * toeplitz_flops(shape)
            return products * LATENCY + flops / rates.toeplitz
        rows, blocks = self._products(self.channels, self.readouts)
        flops += 2 * blocks * contraction_flops(rows, shape)
        phases = self._phased_seconds(shape, self.channels, self.readouts, rates)
        return pairs * _TILE_LATENCIES * LATENCY + flops / rates.gemm + phases

    def _phased_seconds(
        self, shape: tuple[int, ...], pairs: int, frequencies: int, rates: Rates
    ) -> float:
        """Return the seconds that a phase at each frequency takes, there and back, on a CPU."""
        if self.voxel_phase != "frequency":
            return 0.0
        pairs *= self.cut.parts
        lines, size = self._lines(shape)
        slabs = -(-lines // slab_lines(size, frequencies, STORED_NUMBER))
        calls = _CALLS + (2 * math.ceil(math.log2(frequencies)) if self.even else 0)
        moved = frequencies * math.prod(shape) * _PHASED_BYTES
        return pairs * (moved / rates.memory + slabs * calls * _CALL)

    def _streaming_seconds(self, shape: tuple[int, ...], rates: Rates) -> float:
        """Return the seconds to make or read factors that do not stay, for one product."""
        if self.toeplitz or self.resident:
            return 0.0
        numbers = self.channels * self.readouts * self._columns(shape)
        phases = self.channels * self._phase_images(self.readouts) * math.prod(shape)
        making = (_FACTOR_BYTES * numbers + _PHASE_BYTES * phases) / rates.memory
        making += self.channels * self.cut.parts * _TILE_LATENCIES * LATENCY
        return max(making, self.reads_factors * STORED_NUMBER * numbers / rates.read)

    def _kernel_seconds(
        self, shape: tuple[int, ...], pairs: int, frequencies: int, rates: Rates
    ) -> float:
        """Return the seconds to add up the kernels of all blocks, in double precision."""
        half = math.prod(padded_shape(shape)) / 2
        pairs *= self.cut.parts
        phasors = sum(2 * m * math.sqrt(n) for m, n in zip(self._rows, shape, strict=True))
        columns = self._columns(shape) // self.cut.parts
        made = COMPLEX_MULTIPLY_ADD * (half + columns) + _PHASOR_FLOPS * phasors
        kernels = 1 if self.form == "collapsed" else pairs
        passes = 5 * 16 * half * kernels / rates.memory
        return 2 * pairs * frequencies * made / rates.gemm + passes

    def _products(self, pairs: int, frequencies: int) -> tuple[tuple[int, ...], int]:
        """Return rows and number of Kronecker products; narrowband, rows hold the band."""
        if self.level == "N":
            return (*self.rows[:-1], frequencies), pairs
        return self._rows, pairs * self.cut.parts * frequencies

    def _phase_images(self, frequencies: int) -> int:
        """Return how many images the voxel phases of so many frequencies of a pair are made of."""
        if self.voxel_phase == "none":
            return 0
        each = self.voxel_phase == "frequency"
        images = phase_images(frequencies, even=self.even) if each else 1
        return images * self.cut.parts

    def _contracted_once(self, shape: tuple[int, ...]) -> int:
        """Return the numbers of one frequency of a part after the first contraction."""
        lines, _ = self._lines(shape)
        return lines * self._rows[contraction_order(self._rows, shape)[0]]

    def _lines(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return number and length of the lines that a part contracts first."""
        size = shape[contraction_order(self._rows, shape)[0]]
        return math.prod(shape) // size, size

    def _resident_bytes(self, work: Work, pairs: int, frequencies: int) -> int:
        """Return the bytes of factors and voxel phases that stay."""
        if not self.resident:
            return 0
        held = pairs * frequencies * self._columns(work.shape) * work.machine.itemsize
        tiles = pairs * -(-frequencies // work.readout_batch)
        return held + tiles * self._phase_images(work.readout_batch) * work.voxel_bytes

    def _factor_tiles(self, work: Work) -> Parts:
        """Return what the factors of one tile need, as made or read, and their product."""
        itemsize, frequencies = work.machine.itemsize, work.readout_batch
        numbers = self._columns(work.shape)
        made = 0 if self.resident else frequencies * numbers * itemsize
        making = max(
            plane_wave_factor_workspace_bytes(frequencies * rows, voxels, itemsize=itemsize)
            for rows, voxels in zip(self._rows, work.shape, strict=True)
        )
        if self.reads_factors:
            making = TILES_AT_ONCE * frequencies * numbers * STORED_NUMBER
        rows, blocks = self._products(1, frequencies)
        blocks //= self.cut.parts  # one after the other
        if self.voxel_phase == "frequency":
            lines, size = self._lines(work.shape)
            together = slab_lines(size, frequencies, itemsize, on_device=work.machine.on_device)
            slab = min(lines, together) * size
            states = _STATES * self._contracted_once(work.shape)
            product = frequencies * (_SLABS * slab + states) * itemsize
        else:
            tile = usual_tile_bytes(rows, work.shape, itemsize, on_device=work.machine.on_device)
            product = KroneckerTiling(
                rows, work.shape, blocks=blocks, images=1, itemsize=itemsize, tile_bytes=tile
            ).workspace_bytes
        path = _PATHS * math.prod(work.shape)
        return {
            "Kronecker factors": made + making,
            "voxel phases": self._phase_images(frequencies) * work.voxel_bytes,
            "voxel phase as made": 0 if self.voxel_phase == "none" else path,
            "Kronecker product": product + (2 + (self.cut != WHOLE)) * work.voxel_bytes,
        }

    def _columns(self, shape: tuple[int, ...]) -> int:
        """Return the numbers in the factors of one frequency of one pair."""
        numbers = sum(rows * voxels for rows, voxels in zip(self._rows, shape, strict=True))
        return self.cut.parts * numbers

    @property
    def _rows(self) -> tuple[int, ...]:
        """Rows of the factor of each axis, of the largest part."""
        return self.part_rows or self.rows
