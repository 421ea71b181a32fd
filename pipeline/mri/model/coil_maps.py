"""Coil maps where they are needed: on the device for the whole job, or a few coils at a time.

There may be several sets of them, each with an image of its own: maps are then several tensors.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.job import BlockJob
from pipeline.engine.stream import Arrays
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration.coilmaps import resampled_maps
from pipeline.operators.base import LinearOperator
from pipeline.operators.sense import StreamedSenseNormal, sense_normal
from pipeline.pieces import pieces
from pipeline.storage.calibration import Calibration


class CoilMaps:
    """Coil maps on the matrix of a reconstruction, on the device or streamed as the plan says.

    Of parallel slices, all images of the job are of one: ``number``.
    """

    def __init__(
        self,
        job: BlockJob,
        calibration: Calibration,
        shape: tuple[int, ...],
        coils: int,
        number: int | None = None,
    ) -> None:
        self._planes = slice(None) if number is None else slice(number, number + 1)
        self.streamed = not job.row.resident
        self.sets = calibration.map_sets
        self._job, self._calibration, self._shape, self._coils = job, calibration, shape, coils
        self._all: list[Tensor] = []
        if self.streamed:
            return
        with job.phase("prepare"):
            for which in range(self.sets):
                stored = torch.from_numpy(self._read(slice(None), which)).to(job.device)
                self._all += self.prepared([stored])

    def read(self, coils: slice) -> Arrays:
        """Read some coils' maps as they are stored, of each set ``[coil, z, y, x]``."""
        return tuple(self._read(coils, number) for number in range(self.sets))

    def _read(self, coils: slice, number: int) -> NDArray[np.complex64]:
        stored = self._calibration.sensitivities(coils, self._planes, number)
        if stored is None:
            raise ValueError("the calibration has no coil maps")
        return stored

    def prepared(self, stored: Sequence[Tensor]) -> list[Tensor]:
        """Return stored maps on the device as the job needs them, each ``(coil, *shape)``."""
        dtype, volume = self._job.complex, as_volume(self._shape)
        return [
            resampled_maps(maps.to(dtype), volume).reshape(len(maps), *self._shape)
            for maps in stored
        ]

    def of(self, coils: slice) -> list[Tensor]:
        """Return maps that stay on the device, of each set ``(coil, *shape)``."""
        if self.streamed:
            raise ValueError("the coil maps are streamed")
        return [maps[coils] for maps in self._all]

    def batches(self) -> Iterator[list[Tensor]]:
        """Yield the maps of all coils, as many at a time as the plan has in work."""
        if not self.streamed:
            yield self._all
            return
        coils = pieces(self._coils, self._job.tiles.channels)
        for stored in self._job.stream(partial(self.read, some) for some in coils):
            yield self.prepared(stored)

    def normal(self, one_coil: LinearOperator, coil_batch: int | None) -> LinearOperator:
        """Return ``sum_c conj(S_c) G (S_c x)``, where ``one_coil`` is ``G``.

        ``coil_batch`` coils are done together where the maps stay on the device; None leaves it to
        the operator.
        """
        if self.streamed:
            return StreamedSenseNormal(one_coil, self._shape, self.batches, self.sets)
        return sense_normal(one_coil, self._all, coil_batch)

    def sum_of_squares(self) -> Tensor:
        """Return ``sum_c |S_c|^2``, of all sets, real ``(*shape)``."""
        total = torch.zeros(self._shape, dtype=self._job.real, device=self._job.device)
        for one in itertools.chain.from_iterable(itertools.chain.from_iterable(self.batches())):
            total += one.abs().square_()
        return total

    def mean_sum_of_squares(self) -> float:
        """Return the mean of ``sum_c |S_c|^2``, over voxels as they are received."""
        squares = self.sum_of_squares().double()
        total = float(squares.sum())
        return float(squares.square().sum()) / total if total else 1.0

    def mean_squares(self) -> Tensor:
        """Return each coil's squared sensitivity, averaged over the image: float64 ``(coil,)``.

        Of the first set: further ones are zero but where places fall on each other.
        """
        return torch.cat(
            [
                maps.abs().square().flatten(1).mean(1, dtype=torch.float64)
                for maps, *_ in self.batches()
            ]
        )
