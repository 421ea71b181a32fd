"""What solving for MR images takes besides their measurement: normal operator and noise."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.block import Equations
from pipeline.mri.measurement import MriMeasurement
from pipeline.mri.model.spectrum import spectrum_of
from pipeline.operators.base import LinearOperator
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram
from pipeline.solvers.spectrum import Spectrum
from pipeline.storage.archives import Table

_APART = 9.0
"""From one, of sums of squares: what `ingest` tells of; those of unscaled fields reach 4.5."""
_OUTSIDE = 1e-4
"""Of the largest sum of squares: outside the maps' masks."""


def equations_of(data: MriMeasurement) -> Equations:
    """Return the normal equations of a measurement."""
    return MriEquations(data)


class MriEquations:
    """The normal equations of an MRI acquisition."""

    def __init__(self, data: MriMeasurement) -> None:
        self.data = data
        self.stacked = data.maps is not None and data.maps.sets > 1

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of some images, whose kernels are in ``share``."""
        data, job = self.data, self.data.job
        # A CPU's caches, not its memory, decide how many coils are best convolved together.
        free = data.toeplitz and not job.device.startswith("cuda")

        def sense(one_coil: LinearOperator) -> LinearOperator:
            if data.maps is None:
                return one_coil
            return data.maps.normal(one_coil, None if free else job.tiles.channels)

        if not data.toeplitz:
            return sense(data.encoding.explicit_normal(data.whole_sampling(images)))
        if data.maps is not None and data.maps.streamed:  # once for all terms of the encoding
            return sense(data.encoding.normal(share.kernels, lambda one_coil: one_coil))
        return data.encoding.normal(share.kernels, sense)

    def exact_solver(self) -> None:
        """Return none: samples lie anywhere."""

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of some images, measured or estimated; `None` where it is not known.

        Every coil's sensitivity counts at its root mean square over the image.
        """
        data, job = self.data, self.data.job
        levels = self._levels()
        if levels is None:
            return None
        variances = levels.square()
        sensitivities = (
            torch.ones_like(variances) if data.maps is None else data.maps.mean_squares()
        )
        different = images[:1] if data.share_samples(images) else images
        squares = [
            float(np.sum(data.positions(range(each, each + 1), job.shard().readouts)[1] ** 2))
            for each in different
        ]
        in_b = torch.tensor(squares, dtype=torch.float64, device=job.device)
        return Noise(
            (in_b * (variances * sensitivities).sum()).sqrt().expand(len(images)),
            (share.diagonal * variances.sum()).sqrt(),
        )

    def left_by_noise(self, images: range, share: Share) -> Tensor | None:
        """Return the misfit of the noise that `calibrate` found, measured or estimated."""
        levels = self._levels()
        return None if levels is None else (share.diagonal * levels.square().sum()).sqrt()

    def spectrum(self, images: range, share: Share) -> Spectrum | None:
        """Return what `calibrate` found of signal and noise at each spatial frequency."""
        data = self.data
        shells = data.calibration.array("spectrum")
        if shells is None:
            return None
        shape, raw = data.shape, data.raw
        voxel = [
            step * size / other
            for step, size, other in zip(raw.voxel_size, raw.shape, shape, strict=True)
        ]
        return spectrum_of(
            shells,
            shape,
            voxel,
            share.b,
            coils=raw.coils,
            samples=math.prod(raw.shape) / data.made_of.frames_per_image,
            diagonal=float(share.diagonal.max()),
            squares=1.0 if data.maps is None else data.maps.mean_sum_of_squares(),
            weighted=data.weighted,
        )

    def _levels(self) -> Tensor | None:
        """Return the deviation of the noise of each coil, float64."""
        levels = self.data.calibration.noise_level()
        return (
            None if levels is None else torch.from_numpy(levels).double().to(self.data.job.device)
        )

    def image(self, share: Share) -> Tensor:
        """Return the density-compensated adjoint, ``(image, *shape)``.

        Maps that are not normalised leave each voxel times their sum of squares, which is taken
        away.
        """
        if self.data.by_squares:
            return share.b.sqrt()
        found = share.b if self._map_squares is None else share.b / self._map_squares
        return torch.stack([*self.images(found)]) if self.stacked else found

    def images(self, unknowns: Tensor) -> Iterator[Tensor]:
        """Yield the images that are written of a series, from its unknowns.

        Or those of several sets of maps, from one unknown image for each set: the root of the sum
        of squares over sets, which does not depend on how sets share a voxel, with the phase of the
        first.
        """
        if not self.stacked:
            yield from self.data.encoding.images(unknowns)
            return
        for sets in unknowns:
            yield torch.polar(torch.linalg.vector_norm(sets, dim=0), sets[0].angle())

    def unknowns(self, images: Tensor) -> Tensor:
        """Return the unknowns of a series, ``(1, unknown, *shape)``, from such images.

        Or an image for each set of maps, all but the first of them zero.
        """
        if not self.stacked:
            return self.data.encoding.unknowns_of(images)
        sets = 1 if self.data.maps is None else self.data.maps.sets
        found = images.new_zeros(len(images), sets, *images.shape[1:])
        found[:, 0] = images
        return found

    def tables(self) -> Mapping[str, Table]:
        """Return what tells how the images of a series are made of its unknowns."""
        return self.data.encoding.tables()

    @cached_property
    def _map_squares(self) -> Tensor | None:
        """Sums of squares of maps that are not normalised, no smaller than within their masks."""
        data = self.data
        if data.maps is None:
            return None
        squares = data.maps.sum_of_squares()
        normalised = _normalised(squares)
        data.job.receipt.record(normalised_maps=normalised)
        return None if normalised else squares.clamp(min=_OUTSIDE * float(squares.max()))


def _normalised(squares: Tensor) -> bool:
    """Tell whether the median of sums of squares, and their 95 %, are of the size of one."""
    inside = squares > _OUTSIDE * float(squares.max())
    small, large, voxels = (
        int((inside & some).sum()) for some in (squares < 1 / _APART, squares > _APART, inside)
    )
    return small <= 0.5 * voxels and large <= 0.05 * voxels
