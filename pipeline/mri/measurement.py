"""MRI: coils, density weights, and the normal equations of images from tiles of k-space."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.equations import image_shape
from pipeline.engine.accumulation import Measurement, Share
from pipeline.engine.job import BlockJob, Shard
from pipeline.engine.stream import Arrays
from pipeline.errors import DataError
from pipeline.mri.calibration.off_resonance import segment_counts
from pipeline.mri.corrected import CorrectedData, lies_on_grid, sampled_alike
from pipeline.mri.image_readouts import Piece, image_readouts
from pipeline.mri.model.basis import temporal_basis
from pipeline.mri.model.coil_maps import CoilMaps
from pipeline.mri.model.encoding import Encoding, RightHandSide, Sampling
from pipeline.mri.model.off_resonance import OffResonance
from pipeline.mri.model.subspace import Subspace
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import POSITIONS_AT_ONCE
from pipeline.mri.trajectories import resampled
from pipeline.pieces import pieces
from pipeline.storage.calibration import Calibration

_EDGE = np.pi * (1 + 1e-6)


@dataclass(frozen=True)
class _Tile:
    """Some coils of some readouts, which are on the device together."""

    coils: slice
    readouts: range
    new_readouts: bool
    """Whether the tile before was of other readouts."""
    last_of_readouts: bool
    last_of_coils: bool


class MriMeasurement:
    """An MRI acquisition as normal equations.

    `DataError` if coil maps or weights that the settings need are missing.
    """

    def __init__(self, job: BlockJob, raw: RawData, calibration: Calibration) -> None:
        self.job = job
        self.settings = job.settings
        self.raw = raw = CorrectedData(raw, calibration)
        self.calibration = calibration
        self.shape = image_shape(raw.shape, self.settings)
        self.made_of = image_readouts(raw, self.settings.frames_per_image, calibration)
        self.encoding = self._encoding()
        timed = isinstance(self.encoding, OffResonance)
        self._sampled_alike = sampled_alike(raw, calibration, timed=timed)
        if self.settings.subspace:
            # All frames tell of the same unknowns.
            self.made_of = image_readouts(raw, "all", calibration)
        self.toeplitz = self.settings.solves and self.settings.normal != "explicit"
        if self.settings.solves:
            job.receipt.record(normal="toeplitz" if self.toeplitz else "explicit")
        if self.toeplitz:
            self.encoding.transforms.require_kernels(job.device)
        self.weighted = not self.settings.solves or self.settings.weights == "density"
        self._kernels_of_all: tuple[Shard, dict[str, Tensor]] | None = None
        self._checked = False
        self.maps = self._coil_maps()
        self.by_squares = self.maps is None and raw.coils > 1
        job.receipt.record(coils=raw.coils, samples=self.made_of.readouts * raw.samples)

    def _encoding(self) -> Encoding:
        """Return what samples are of images, with the effects that the calibration knows of."""
        job, on_grid = self.job, lies_on_grid(self.raw.pattern, self.calibration)
        transforms = job.transforms(self.shape, on_grid=on_grid)
        if self.settings.series is not None and self.settings.subspace:
            images, each = self.made_of.images, len(self.made_of.frames(0))
            basis = temporal_basis(self.settings.series, images, self.raw.signals(), job.who)
            job.receipt.record(coefficients=basis.matrix.shape[1], left_by_basis=basis.left)
            keeps = self.settings.keeps_coefficients
            return Subspace(transforms, job.device, basis, each, keeps_coefficients=keeps)
        if segment_counts(self.calibration) is None:
            return Encoding(transforms, job.device)
        return OffResonance(transforms, job.device, self.calibration)

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return the share of ``shard`` in the normal equations of some images.

        Root sums of squares, of several coils without maps, cannot be cut along readouts.
        """
        job = self.job
        shared = self.share_samples(images)
        known = self._known_kernels(shard) if shared else {}
        makes_kernels = self.toeplitz and shard.is_first_of_channels() and not known
        tiles = list(self._tiles(shard))
        total = RightHandSide(
            self.encoding,
            len(images),
            job.device,
            one_coil=self.raw.coils == 1,
            sets=1 if self.maps is None else self.maps.sets,
        )
        diagonal = torch.zeros(len(images), dtype=torch.float64, device=job.device)
        kernels: dict[str, Tensor] = {}
        sampling: Sampling | None = None
        order = iter(tiles)
        for arrays in job.stream(partial(self._read, images, tile) for tile in tiles):
            tile = next(order)
            samples, *others = arrays
            del arrays
            maps = self._maps_of(tile, others)
            if tile.new_readouts or sampling is None:
                sampling = self._sampling(*others, shared=shared)
            with job.phase("right_hand_side"):
                total.add(sampling, samples.to(job.complex), maps)
                if tile.last_of_coils:
                    total.end_coils()
            del samples, others, maps
            if not tile.last_of_readouts:
                continue
            # These positions are done with; the next ones are being read.
            total.free_transform()
            if shard.is_first_of_channels():
                diagonal += sampling.weights.sum(-1, dtype=torch.float64)
                if makes_kernels:
                    with job.phase("kernel"):
                        for name, spectrum in self.encoding.kernels(sampling):
                            sums = kernels.get(name)
                            kernels[name] = spectrum if sums is None else sums.add_(spectrum)
                            del spectrum, sums
            sampling = None
        if kernels:
            axes = len(self.shape)
            known = {name: each.reshape(-1, *each.shape[-axes:]) for name, each in kernels.items()}
            if shared:
                self._kernels_of_all = (shard, known)
        return Share(total.b, total.energy, diagonal, known)

    def _coil_maps(self) -> CoilMaps | None:
        if self.calibration.coil_maps != "none":
            number = None
            if self.raw.slices > 1 and self.calibration.map_planes > 1:
                number = self._slice()
            return CoilMaps(self.job, self.calibration, self.shape, self.raw.coils, number)
        if self.settings.solves and self.raw.coils > 1:
            raise DataError(
                f"{self.job.who}: solving for images of {self.raw.coils} coils needs coil maps, "
                "and calibration.coil_maps is none; set it to auto, source or espirit"
            )
        return None

    def _slice(self) -> int:
        """Return the slice that all images of the job are of; `DataError` if there are several."""
        each = self.raw.frames // self.raw.slices
        first, count = self.job.row.first_image, self.job.row.images
        frames = [*self.made_of.frames(first), *self.made_of.frames(first + count - 1)]
        numbers = {frames[0] // each, frames[-1] // each}
        if len(numbers) > 1:
            raise DataError(
                f"{self.job.who}: its images are of {self.raw.slices} slices, each with coil maps "
                "of its own, but they are solved for together; make a dataset of each slice"
            )
        return int(numbers.pop())

    def _maps_of(self, tile: _Tile, arrays: list[Tensor]) -> list[Tensor]:
        """Return the maps of a tile's coils; those that stream are the first of ``arrays``."""
        if self.maps is None:
            return []
        if self.maps.streamed:
            return self.maps.prepared([arrays.pop(0) for _ in range(self.maps.sets)])
        return self.maps.of(tile.coils)

    def _known_kernels(self, shard: Shard) -> dict[str, Tensor]:
        """Return the kernels that an earlier batch of images made, which all share."""
        if self._kernels_of_all is None or self._kernels_of_all[0] != shard:
            return {}
        return self._kernels_of_all[1]

    def share_samples(self, images: range) -> bool:
        """Tell whether all images have the same samples; the last may join fewer frames."""
        return self._sampled_alike and self.made_of.alike(images)

    def share_kernels(self, images: range) -> bool:
        """Tell whether some images have their kernels in common."""
        return len(images) == 1 or self.share_samples(images)

    def _tiles(self, shard: Shard) -> Iterator[_Tile]:
        """Cut a shard into tiles: readouts outermost, as their transforms are costly to prepare.

        Coils without maps are squared once all readouts were added: then coils are outermost.
        """
        sizes = self.job.tiles
        coils = [shard.channels[part] for part in pieces(len(shard.channels), sizes.channels)]
        readouts = [shard.readouts[part] for part in pieces(len(shard.readouts), sizes.readouts)]
        pairs = (
            [(part, some) for some in coils for part in readouts]
            if self.by_squares
            else list(itertools.product(readouts, coils))
        )
        for index, (part, some) in enumerate(pairs):
            before = pairs[index - 1] if index else None
            after = pairs[index + 1] if index + 1 < len(pairs) else None
            yield _Tile(
                coils=slice(some.start, some.stop),
                readouts=part,
                new_readouts=before is None or before[0] != part,
                last_of_readouts=after is None or after[0] != part,
                last_of_coils=after is None or after[1] != some,
            )

    def _read(self, images: range, tile: _Tile) -> Arrays:
        """Return samples ``(image, coil, sample)``; then maps that stream; then new positions."""
        length = len(tile.readouts) * self.raw.samples
        coils = tile.coils.stop - tile.coils.start
        samples = np.zeros((len(images), coils, length), dtype=np.complex64)
        for image, found in zip(images, samples, strict=True):
            start = 0
            for piece in self.made_of.pieces(image, tile.readouts, length):
                end = start + piece.readouts * self.raw.samples
                self._read_piece(found[:, start:end], piece, tile.coils)
                start = end
        streamed = self.maps is not None and self.maps.streamed
        maps = self.maps.read(tile.coils) if self.maps is not None and streamed else ()
        positions = self.positions(images, tile.readouts) if tile.new_readouts else ()
        return (samples, *maps, *positions)

    def _read_piece(self, out: NDArray[np.complex64], piece: Piece, coils: slice) -> None:
        """Write samples of some readouts of a frame into ``out``, complex64 ``[coil, sample]``."""
        if piece.chosen is None:
            self.raw.read_kspace(out, piece.frame, coils, piece.span)
            return
        together = pieces(coils.stop - coils.start, coils.stop if self.raw.mixes else 1)
        for part in together:
            some = slice(coils.start + part.start, coils.start + part.stop)
            read = piece.of(self.raw.kspace(piece.frame, some, piece.span), axis=1)
            out[part] = read.reshape(len(read), -1)

    def positions(self, images: range, readouts: range) -> tuple[NDArray[np.generic], ...]:
        """Return trajectory ``(image, axis, sample)`` and weights ``(image, sample)``.

        And where the encoding has factors of samples, where these lie along their tables, ``(image,
        sample)``. Of the first image only where all have the same. What an image that joins fewer
        frames lacks counts nothing.
        """
        different = images[:1] if self.share_samples(images) else images
        length = len(readouts) * self.raw.samples
        real = np.float32 if self.job.real == torch.float32 else np.float64
        trajectory = np.zeros((len(different), len(self.shape), length), dtype=np.float32)
        weights = np.zeros((len(different), length), dtype=real)
        along: NDArray[np.floating] | None = None
        # Joined frames share the volume of k-space among them; on another matrix over the same
        # field of view, k in rad/voxel and with it the volume of each sample are others.
        ratio = math.prod(self.raw.shape) / math.prod(self.shape)
        for index, image in enumerate(different):
            start = 0
            for piece in self.made_of.pieces(image, readouts, POSITIONS_AT_ONCE):
                read = self.raw.trajectory(piece.frame, piece.span)
                found = resampled(piece.of(read), self.raw.shape, self.shape)
                found = found.reshape(-1, len(self.shape))
                counts = weights[index, start : start + len(found)]
                # On a smaller matrix the outer k-space is not resolved: it counts nothing.
                counts[:] = np.all(np.abs(found) <= _EDGE, axis=-1)
                # In place: what each readout counts, for all of its samples.
                by_readout = counts.reshape(-1, self.raw.samples)
                by_readout *= ratio * np.asarray(piece.counts, np.float64).reshape(-1, 1)
                if self.weighted:
                    counts *= piece.of(self._density(piece.frame, piece.span)).ravel()
                trajectory[index, :, start : start + len(found)] = found.T
                places = self.encoding.along(self.raw, piece.frame, piece.span)
                if places is not None:
                    along = np.zeros_like(weights) if along is None else along
                    along[index, start : start + len(found)] = piece.of(places).ravel()
                start += len(found)
        return (trajectory, weights) if along is None else (trajectory, weights, along)

    def _density(self, frame: int, readouts: slice) -> NDArray[np.float32]:
        density = self.calibration.weights(frame, readouts)
        if density is None:
            raise DataError(
                f"{self.job.who}: `weights: density`, which gridding always has, needs density "
                "compensation, and calibration.density is none; set it to auto"
            )
        return density

    def _sampling(self, trajectory: Tensor, *others: Tensor, shared: bool) -> Sampling:
        """Return positions as transforms take them; those of the first tile are also checked."""
        parts = [trajectory.to(self.job.real), *others]
        if shared:
            parts = [part[0] for part in parts]
        if not self._checked:
            self.job.check_arithmetic(self.encoding.transforms, parts[0])
            self._checked = True
        return Sampling(*parts)

    def whole_sampling(self, images: range) -> Sampling:
        """Return where all samples of some images lie."""
        with self.job.phase("read"):
            positions = self.positions(images, self.job.shard().readouts)
        there = (torch.from_numpy(array).to(self.job.device) for array in positions)
        return self._sampling(*there, shared=self.share_samples(images))


def measurement_of(job: BlockJob, data: RawData, calibration: Calibration) -> Measurement:
    """Return what sums up the data of a job as normal equations."""
    return MriMeasurement(job, data, calibration)
