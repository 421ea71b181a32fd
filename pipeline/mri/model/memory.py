"""What the MRI forward model takes in memory. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Any

from pipeline.engine.memory import reading_bytes
from pipeline.engine.needs import CANARY_SAMPLES, TILES_AT_ONCE
from pipeline.engine.rates import Rates
from pipeline.engine.transform_costs import (
    convolution_bytes,
    gridding_tile,
    kernel_bytes,
    nufft_bytes,
    product_tiling,
    spectrum_bytes,
)
from pipeline.engine.work import STORED_NUMBER, ModelCosts, Parts, Work
from pipeline.mri.calibration.segments import TABLE_BYTES
from pipeline.mri.corrected import mixing_bytes
from pipeline.mri.readouts import POSITIONS_AT_ONCE
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz_memory import matrix_normal_bytes
from pipeline.storage.chunks import CHUNK_BYTES


@dataclass(frozen=True)
class MriMemory(ModelCosts):
    """Bytes that coils take which share their samples, or their root sum of squares."""

    channels: int
    readouts: int
    """Readouts of one image, all frames that it joins."""
    samples: int
    """Samples of one readout."""
    shared_trajectory: bool
    """Whether all images have the same samples."""
    maps: bool
    sets: int = 1
    """Sets of maps, each with an image of its own."""
    explicit: bool = False
    """Whether the normal operator goes forward and back rather than through kernels."""
    segments: tuple[int, int] | None = None
    """Terms of the signal and of the normal operator, with a field map."""
    coefficients: int = 0
    """Unknowns that all images of a series are sums of; 0 where each image is its own."""
    real_basis: bool = True
    """Whether these sums have real factors."""
    signals: int = 0
    """Bytes that making a temporal basis takes."""
    mixed_from: int = 0
    """Acquired coils, all of which are read for any channel; 0 where channels are as acquired."""
    mixing: int = 0
    """Bytes of the matrices that mix them."""
    chosen_from: int = 0
    """Samples of a coil that are read for some of their readouts; 0 where all count."""
    images_together: int | None = None
    on_grid: bool = False
    resident: bool = True
    """Whether the maps of all coils stay where the job computes; else they stream."""

    batches = True
    kernel_of_first_channel = True

    def __str__(self) -> str:
        mixed = f", mixed from {self.mixed_from}," if self.mixed_from else ""
        terms = f" in {self.segments[0]} time segments" if self.segments else ""
        terms += f" of {self.coefficients} coefficients" if self.coefficients else ""
        terms += f" with {self.sets} sets of maps" if self.sets > 1 else ""
        return f"{self.channels} coils{mixed} of {self.readouts * self.samples:,} samples{terms}"

    @property
    def unknowns(self) -> int:
        """Images that are solved for in place of one."""
        return self.coefficients or self.sets

    @property
    def _terms(self) -> tuple[int, int]:
        """Terms of the signal, and kernels of the normal operator."""
        if self.coefficients:
            pairs = self.coefficients * (self.coefficients + 1) // 2
            return self.coefficients, pairs if self.real_basis else self.coefficients**2
        return self.segments or (1, 1)

    @property
    def _squares(self) -> bool:
        return self.channels > 1 and not self.maps

    @property
    def cuts_readouts(self) -> bool:
        """Whether a shard may be a range of readouts: a coil must be whole before it is squared."""
        return not self._squares

    @property
    def toeplitz(self) -> bool:
        """Whether the normal operator is a convolution with kernels."""
        return not self.explicit

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        return {"resident": self.resident}

    def kernels(self, work: Work) -> int:
        """Return the kernels of one image batch."""
        return self._trajectories(work) * self._terms[1]

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one readout in a tile, and the fewest readouts that pay."""
        return gridding_tile(work, transforms, rates)

    def held(self, work: Work) -> Parts:
        """Return the coil maps that are held at one moment: all, or those of two tiles."""
        field: dict[str, int] = {}
        if self.segments is not None:
            # The field map in double precision, relaxation in single, and tables of factors.
            field = {"field map": 12 * math.prod(work.shape) + TABLE_BYTES}
        if self.chosen_from:
            # Numbers of readouts and what they count, of all images; and those of one as stored.
            field["bins"] = (12 * work.images + 16) * self.readouts
        if not self.maps:
            return field
        coils = self.channels
        if not self.resident:
            # In double precision also as stored.
            tiles = TILES_AT_ONCE + (work.machine.itemsize > STORED_NUMBER)
            coils = min(coils, tiles * work.channel_batch)
        return {**field, "coil maps": coils * self.sets * work.voxel_bytes}

    def position_bytes(self, work: Work) -> int:
        """Return the bytes of trajectory and weights of one tile, as they pass through the host."""
        return self._trajectories(work) * work.tile_samples * 4 * (len(work.shape) + self._numbers)

    def accumulate(self, work: Work) -> list[Parts]:
        """Return what each phase needs while tiles are summed.

        While a tile is in work the next one is read, if there is one.
        """
        machine = work.machine
        double = machine.itemsize == 16
        trajectories = self._trajectories(work)
        samples = trajectories * work.tile_samples
        tile, positions = work.tile_bytes, self._positions(work, work.tile_samples)
        ranges = -(-work.readouts // work.readout_batch)
        tiles = ranges * -(-work.channels // work.channel_batch)
        working, resident = nufft_bytes(
            work, work.tile_samples, work.channel_batch, trajectories=trajectories
        )
        single = spectrum_bytes(work, 1)
        several = ranges > 1 or self._terms[1] > 1
        summed = trajectories * self._terms[1] * single if work.makes_kernels and several else 0
        next_positions = positions if ranges > 1 else 0
        reading = 3 * self.mixing  # as stored, in the order of positions, and of some coils
        if tiles > 1:
            reading += reading_bytes(work) + self._chosen_bytes(work)
            reading += mixing_bytes(self.mixed_from, self.chosen_from or work.tile_samples)
        if ranges > 1:
            # A piece of the stored trajectory, its magnitudes and what they are compared with.
            piece = min(work.tile_samples, max(POSITIONS_AT_ONCE, self.samples))
            piece = max(piece, self.chosen_from)
            stored = piece * (9 * len(work.shape) + 4) + 2 * CHUNK_BYTES
            reading = max(reading, stored)
        common = {
            "positions": positions
            + (samples * 8 * len(work.shape) if double else 0)
            + next_positions,
            "reading": 0 if machine.on_device else reading,
        }
        gridded = work.image_batch * work.channel_batch * work.voxel_bytes
        gather: dict[str, int] = {
            **common,
            "k-space tiles": (min(tiles, TILES_AT_ONCE) + 2 * double) * tile,
            "weights": samples * machine.itemsize // 2,
            "gridded coils": gridded + work.image_batch * work.voxel_bytes,
            # Before, in the place of its grids, factors are looked up; then there are the coils
            # times the conjugates of their maps.
            "NUFFT": max(working, resident + max(gridded, self._looked_up(work, samples))),
            "spectra": summed if ranges > 1 else 0,
            **self._factors(work, tile, gridded),
        }
        if self._squares and ranges > 1:
            gather["sums of coils"] = gridded
        canary: Parts = {
            **common,
            "k-space tiles": min(tiles, TILES_AT_ONCE) * tile,
            "canary": self._canary_bytes(work),
        }
        making: list[Parts] = [{"signals": self.signals}] if self.signals else []
        gathers: list[Parts] = [gather]
        if ranges == tiles == TILES_AT_ONCE:  # spectra stand beside the last of two alone
            last = {"k-space tiles": gather["k-space tiles"] - tile}
            gathers = [{**gather, "spectra": 0}, {**gather, **last}]
        if not work.makes_kernels:
            return [*making, canary, *gathers]
        kernel: Parts = {
            **common,
            "k-space tiles": tile if ranges > 1 else 0,
            "Toeplitz kernel": kernel_bytes(work, work.tile_samples),
            # Spectra of several images are made one by one and then stacked.
            "spectra": single * (1 if trajectories == 1 else 2 * trajectories) + summed,
            **self._factors(work, self._looked_up(work, samples), 0),
        }
        return [*making, canary, *gathers, kernel]

    def normal(self, work: Work) -> Parts:
        """Return what the normal operator needs while equations are solved."""
        if self.explicit:
            return self._forward_and_adjoint(work)
        together, tiling = 1, product_tiling(work)
        chosen = self.maps and (work.machine.on_device or not self.resident)
        if self.maps:
            together = work.channel_batch if chosen else tiling.coils_at_once(self.channels)
        if self.coefficients:
            # Coefficients times maps, what comes of them, and their sum.
            coils = work.channel_batch if chosen else 1
            product = matrix_normal_bytes(tiling, self.coefficients, work.machine.threads)
            images = 4 * self.coefficients * coils * work.voxel_bytes
            spectra = spectrum_bytes(work, work.kernels)
            if work.settings.single_kernel:
                circular = replace(tiling, padded=tiling.shape)
                product += matrix_normal_bytes(circular, self.coefficients, work.machine.threads)
            return {"spectra": spectra, "Toeplitz product": product, "coefficients": images}
        parts = convolution_bytes(work, together, work.image_batch)
        if self.maps and self.resident and self.sets == 1 and work.settings.single_kernel:
            parts = {**parts, "preconditioner of coils": self._preconditioner_of_coils(work)}
        if self.sets > 1:
            # Sums of images times maps, and what comes of them.
            seen = 2 * together * work.image_batch * work.voxel_bytes
            parts = {**parts, "coils of all sets": seen}
        if self.segments is None:
            return parts
        # Images times factors, what comes of them, and their sum; of coils whose maps stream too.
        images = 3 * (work.channel_batch if self.maps and not self.resident else 1) * self.sets
        return {**parts, "segments": images * work.image_batch * work.voxel_bytes + _factor(work)}

    def _preconditioner_of_coils(self, work: Work) -> int:
        """Return what a circulant preconditioner between the maps keeps beside its eigenvalues."""
        tiling = Tiling(
            work.shape, work.shape, work.machine.itemsize, host=not work.machine.on_device
        )
        frames = work.image_batch if work.kernels > 1 else 1
        coils = tiling.coils_at_once(self.channels)
        return tiling.workspace_bytes(coils, frames, work.machine.threads)

    def resting(self, work: Work) -> Parts:
        """Return what the normal operator holds from one application to the next."""
        return self._forward_and_adjoint(work, rests=True) if self.explicit else self.normal(work)

    def _chosen_bytes(self, work: Work) -> int:
        """Return what choosing readouts takes: of a coil, or of all that are mixed, and a copy."""
        return 16 * self.chosen_from * (work.channel_batch if self.mixed_from else 1)

    def _trajectories(self, work: Work) -> int:
        return 1 if self.shared_trajectory else work.image_batch

    @property
    def _numbers(self) -> int:
        """Real numbers of a sample beside its trajectory: weight, and place along tables."""
        return 2 if self.segments or self.coefficients else 1

    def _positions(self, work: Work, samples: int) -> int:
        """Return the bytes of trajectory and weights of so many samples, as they are read."""
        real = work.machine.itemsize // 2
        return self._trajectories(work) * samples * (4 * len(work.shape) + real * self._numbers)

    def _looked_up(self, work: Work, samples: int) -> int:
        """Return what factors of so many samples take as they are looked up.

        Two rows of a table, their places, and the factors.
        """
        if not (self.segments or self.coefficients):
            return 0
        return samples * (16 + 3 * work.machine.itemsize)

    def _factors(self, work: Work, samples: int, gridded: int) -> Parts:
        """Return what one term takes of weighted samples, or factors, and of gridded coils."""
        if not (self.segments or self.coefficients):
            return {}
        return {"factors": samples + gridded + (_factor(work) if self.segments else 0)}

    def _canary_bytes(self, work: Work) -> int:
        """Return what comparing a few samples with the exact sum needs.

        An image and its copy in double precision, the adjoint, the transform's grid, and an order
        of all samples to choose from.
        """
        trajectories = self._trajectories(work)
        few = min(work.tile_samples, CANARY_SAMPLES)
        working, _ = nufft_bytes(work, few, trajectories=trajectories)
        double = 16 * math.prod(work.shape)
        return double + 2 * trajectories * work.voxel_bytes + working + 8 * work.tile_samples

    def _forward_and_adjoint(self, work: Work, *, rests: bool = False) -> Parts:
        """Return what forward and adjoint need: all samples at once; or what stays in between."""
        machine, trajectories = work.machine, self._trajectories(work)
        samples = self.readouts * self.samples
        channels = work.channel_batch if self.maps else 1

        def transform(samples: int) -> tuple[int, int]:
            return nufft_bytes(work, samples, channels, trajectories=trajectories, as_coils=False)

        working, resident = transform(samples)
        positions = self._positions(work, samples)
        if machine.itemsize == 16:
            positions += trajectories * samples * 8 * len(work.shape)
        if rests:
            return {"trajectory": positions, "NUFFT": int(1.1 * resident)}
        # Times the maps, and what comes of it; of several batches also the one before.
        copies = 3 if channels < self.channels else 2
        coils = copies * work.image_batch * channels * work.voxel_bytes
        measured = 2 * work.image_batch * channels * samples * machine.itemsize
        factors: Parts = {}
        if self.segments or self.coefficients:
            one = work.image_batch * channels * self.unknowns
            weighted = one * samples * machine.itemsize
            weighted += self._looked_up(work, trajectories * samples)
            factors = self._factors(work, weighted, one * work.voxel_bytes)
        if not self.on_grid and machine.image_library(work.shape) in ("ducc0", "finufft"):
            # Points are sorted before there are images or samples; then only grids come on top.
            grids, _ = transform(0)
            working = max(working - coils - measured, int(1.1 * resident) + grids)
        parts = {"trajectory": positions, "NUFFT": working, "coils": coils, "samples": measured}
        return {**parts, **factors}


def _factor(work: Work) -> int:
    """Return what the factor of the voxels of one term takes while it is made."""
    return math.prod(work.shape) * (16 + 2 * work.machine.itemsize)
