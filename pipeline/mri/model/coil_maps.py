"""Coil maps where they are needed: on the device for the whole job, or a few coils at a time."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from pipeline.engine.job import BlockJob
from pipeline.engine.stream import Arrays
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration.coilmaps import resampled_maps
from pipeline.operators.base import LinearOperator
from pipeline.operators.sense import SenseNormal, StreamedSenseNormal
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
        self._job, self._calibration, self._shape, self._coils = job, calibration, shape, coils
        self._all: Tensor | None = None
        if not self.streamed:
            with job.phase("prepare"):
                (stored,) = self.read(slice(None))
                self._all = self.prepared(torch.from_numpy(stored).to(job.device))

    def read(self, coils: slice) -> Arrays:
        """Read some coils' maps as they are stored, ``[coil, z, y, x]``."""
        stored = self._calibration.sensitivities(coils, self._planes)
        if stored is None:
            raise ValueError("the calibration has no coil maps")
        return (stored,)

    def prepared(self, stored: Tensor) -> Tensor:
        """Return stored maps on the device as the job needs them, ``(coil, *shape)``."""
        maps = resampled_maps(stored.to(self._job.complex), as_volume(self._shape))
        return maps.reshape(len(stored), *self._shape)

    def of(self, coils: slice) -> Tensor:
        """Return maps that stay on the device, ``(coil, *shape)``."""
        if self._all is None:
            raise ValueError("the coil maps are streamed")
        return self._all[coils]

    def batches(self) -> Iterator[Tensor]:
        """Yield the maps of all coils, as many at a time as the plan has in work."""
        if self._all is not None:
            yield self._all
            return
        coils = pieces(self._coils, self._job.tiles.channels)
        for (stored,) in self._job.stream(partial(self.read, some) for some in coils):
            yield self.prepared(stored)

    def normal(self, one_coil: LinearOperator, coil_batch: int | None) -> LinearOperator:
        """Return ``sum_c conj(S_c) G (S_c x)``, where ``one_coil`` is ``G``.

        ``coil_batch`` coils are done together where the maps stay on the device; None leaves it to
        the operator.
        """
        if self._all is None:
            return StreamedSenseNormal(one_coil, self._shape, self.batches)
        return SenseNormal(one_coil, self._all, coil_batch)

    def sum_of_squares(self) -> Tensor:
        """Return ``sum_c |S_c|^2``, real ``(*shape)``."""
        total = torch.zeros(self._shape, dtype=self._job.real, device=self._job.device)
        for maps in self.batches():
            for one in maps:
                total += one.abs().square_()
        return total

    def mean_sum_of_squares(self) -> float:
        """Return the mean of ``sum_c |S_c|^2``, over voxels as they are received."""
        squares = self.sum_of_squares().double()
        total = float(squares.sum())
        return float(squares.square().sum()) / total if total else 1.0

    def mean_squares(self) -> Tensor:
        """Return each coil's squared sensitivity, averaged over the image: float64 ``(coil,)``."""
        return torch.cat(
            [maps.abs().square().flatten(1).mean(1, dtype=torch.float64) for maps in self.batches()]
        )
