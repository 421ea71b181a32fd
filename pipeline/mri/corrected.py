"""An acquisition as its calibration corrects it: mixed coils, moved trajectory.

The samples on disk stay as they were acquired. What `calibrate` finds is applied to each piece of
them as it is read: see docs/calibration.md.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.raw import ALL, RawData
from pipeline.mri.readout_axis import WORKING_BYTES, ReadoutAxis
from pipeline.mri.readouts import Pattern
from pipeline.pieces import pieces
from pipeline.storage.calibration import CalibrationArrays

_READ_BYTES = 32 * 2**20
"""Samples of coils that are read together to be mixed, where one coil's are not more."""
SLAB = 2**20
"""Samples of a coil that are read together where some readouts are chosen, about a chunk."""


class CorrectedData(RawData):
    """Acquired data, and what has been found of them so far; read as `RawData` is.

    ``coils`` are virtual ones where the calibration mixes coils.
    """

    def __init__(self, raw: RawData, found: CalibrationArrays) -> None:
        # The stores that are open already, not opened once more.
        vars(self).update(vars(raw))
        self.acquired = raw
        self._found = found
        self._mixing = found.mixing()
        self._acquired_coils = raw.coils
        self._along: ReadoutAxis | None = None
        if self._mixing is not None:
            self.coils = self._mixing.shape[-2]
            if self._mixing.ndim == 3:
                self._along = ReadoutAxis.of(raw)
                assert self._along is not None

    @property
    def mixes(self) -> bool:
        """Whether coils are virtual ones."""
        return self._mixing is not None

    def read_kspace(
        self, out: NDArray[np.complex64], frame: int, coils: slice, readouts: slice
    ) -> None:
        """Write samples of one frame into ``out``, complex64 ``[coil, sample]``.

        All coils are read for any of the virtual ones, some at a time.
        """
        if self._mixing is None:
            super().read_kspace(out, frame, coils, readouts)
        else:
            self._mix(self._mixing[..., coils, :], out, frame, readouts)
        phase = self._found.phase(frame, readouts)
        if phase is not None:
            out *= np.exp(-1j * phase).astype(np.complex64).ravel()

    def kspace(
        self, frame: int, coils: slice = ALL, readouts: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return samples of one frame, complex64 ``[coil, readout, sample]``."""
        rows = len(range(*readouts.indices(self.readouts)))
        samples = np.empty(
            (len(range(*coils.indices(self.coils))), rows * self.samples), np.complex64
        )
        self.read_kspace(samples, frame, coils, readouts)
        return samples.reshape(-1, rows, self.samples)

    def _mix(
        self,
        matrix: NDArray[np.complex64],
        out: NDArray[np.complex64],
        frame: int,
        readouts: slice,
    ) -> None:
        import torch

        target, along = torch.from_numpy(out), self._along
        lines = target.view(len(out), -1, self.samples)
        if along is not None:
            matrix = along.by_position(matrix)
        for coils in pieces(self._acquired_coils, coils_at_once(out.shape[1])):
            read = torch.from_numpy(RawData.kspace(self, frame, coils, readouts))
            part = torch.from_numpy(np.ascontiguousarray(matrix[..., coils]))
            if along is None:
                target.addmm_(part, read.view(len(read), -1), beta=0 if coils.start == 0 else 1)
            else:
                along.add_mixed(lines, part, read, first=coils.start == 0)
        if along is not None:
            along.end_mixing(lines)

    def trajectory(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32]:
        """Return the trajectory of one frame, float32 ``[readout, sample, axis]`` [rad/voxel].

        Where it was corrected it may leave ``[-pi, pi)`` by what it was moved.
        """
        corrected = self._found.trajectory(frame, readouts)
        return RawData.trajectory(self, frame, readouts) if corrected is None else corrected

    def noise_levels(self, covariance: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Return the deviation of each coil's noise, given the covariance of acquired coils."""
        if self._mixing is not None:
            covariance = self._mixing @ covariance @ self._mixing.conj().swapaxes(-1, -2)
        powers = np.diagonal(covariance, axis1=-2, axis2=-1).real
        # Where each position is mixed differently, a sample has the mean of them all.
        return np.asarray(np.sqrt(powers.reshape(-1, self.coils).mean(axis=0)))

    def sensitivities(
        self, coils: slice = ALL, planes: slice = ALL, number: int = 0
    ) -> NDArray[np.complex64] | None:
        """Return a set of the source's maps, of virtual coils, complex64 ``[coil, z, y, x]``."""
        if self._mixing is None:
            return super().sensitivities(coils, planes, number)
        maps = super().sensitivities(ALL, planes, number)
        if maps is None:
            return None
        matrix = self._mixing[..., coils, :]
        if self._along is None:
            return np.tensordot(matrix, maps, axes=1)
        axis = 3 - len(self.shape) + self._along.axis
        if axis == 0:
            matrix = matrix[planes]
        # Positions first, as the matrices have them.
        there = np.moveaxis(maps, 1 + axis, 0)
        mixed = matrix @ there.reshape(*there.shape[:2], -1)
        return np.moveaxis(mixed.reshape(*mixed.shape[:2], *there.shape[2:]), 0, 1 + axis)


def chosen_readouts(data: RawData, frame: int, rows: NDArray[np.intp]) -> NDArray[np.complex64]:
    """Return some readouts of a frame, in order, complex64 ``[coil, row, sample]``.

    All readouts are read, `SLAB` samples at a time.
    """
    samples = np.empty((data.coils, len(rows), data.samples), np.complex64)
    slabs = pieces(data.readouts, max(1, SLAB // data.samples))
    for coils, part in itertools.product(coil_pieces(data), slabs):
        some = slice(*np.searchsorted(rows, (part.start, part.stop)))
        if some.start < some.stop:
            samples[coils, some] = data.kspace(frame, coils, part)[:, rows[some] - part.start]
    return samples


def lies_on_grid(pattern: Pattern | None, found: CalibrationArrays | None) -> bool:
    """Tell whether all samples lie on the image's own grid of frequencies, as corrected."""
    moved = found is not None and "trajectory" in found.arrays
    return pattern == "cartesian" and not moved


def sampled_alike(data: RawData, found: CalibrationArrays, *, timed: bool) -> bool:
    """Tell whether all frames have the same places and weights and, where they count, times."""
    own_times = timed and data.own_times
    return not (data.own_trajectory or found.own_weights or own_times)


def coil_pieces(data: RawData) -> list[slice]:
    """Return which coils to read together: one by one, or all where each is mixed from all."""
    mixes = isinstance(data, CorrectedData) and data.mixes
    return pieces(data.coils, data.coils if mixes else 1)


def coils_at_once(samples: int) -> int:
    """Return of how many coils so many samples are read together to be mixed."""
    return max(1, _READ_BYTES // (8 * samples))


def mixing_bytes(coils: int, samples: int) -> int:
    """Return what mixing takes beside its result, of so many samples of each of ``coils``."""
    return 8 * samples * min(coils, coils_at_once(samples)) + WORKING_BYTES if coils else 0
