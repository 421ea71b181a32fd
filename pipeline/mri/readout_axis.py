"""Cartesian readouts that all run along one axis and sample it fully: there, each is a projection.

An inverse FFT along such readouts tells the positions along them apart, for all lines of k-space.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.raw import RawData
from pipeline.mri.trajectories import OFF_GRID
from pipeline.pieces import pieces

if TYPE_CHECKING:
    from torch import Tensor

WORKING_BYTES = 8 * 2**20
"""What mixing at each position takes beside samples and result."""


@dataclass(frozen=True)
class ReadoutAxis:
    """The axis of the image matrix that readouts run along, and the order of their samples."""

    axis: int
    order: NDArray[np.intp]
    """Of each sample, its frequency in the order of an FFT."""

    @classmethod
    def of(cls, raw: RawData) -> Self | None:
        """Return the axis of the first readout; None if it does not sample one axis fully."""
        cycles = raw.cycles(0, slice(0, 1))[0]
        moving = np.flatnonzero(np.ptp(cycles, axis=0) > OFF_GRID)
        if len(moving) != 1:
            return None
        axis = int(moving[0])
        size = raw.shape[axis]
        order = np.rint(cycles[:, axis]).astype(np.intp) % size
        on_grid = np.abs(cycles[:, axis] - np.rint(cycles[:, axis])).max() < OFF_GRID
        whole = np.array_equal(np.sort(order), np.arange(size))
        return cls(axis, order) if on_grid and whole else None

    def lines(self, raw: RawData, frame: int, readouts: slice) -> NDArray[np.floating] | None:
        """Return where readouts lie across the axis, ``[readout, other axis]`` [cycles/FOV].

        None if they do not all sample the axis, in this order.
        """
        cycles = raw.cycles(frame, readouts)
        size = raw.shape[self.axis]
        along = cycles[..., self.axis] - self.order
        across = np.delete(cycles, self.axis, axis=-1)
        # Both ends of the band are one frequency.
        missed = np.abs(along - size * np.rint(along / size)).max()
        moved = np.ptp(across, axis=1).max(initial=0.0)
        return None if max(missed, moved) > OFF_GRID else across[:, 0]

    def to_positions(self, samples: "Tensor") -> "Tensor":
        """Transform samples ``[..., sample]`` to positions, that of voxel N // 2 first."""
        import torch

        by_frequency = torch.empty_like(samples)
        by_frequency[..., torch.from_numpy(self.order).to(samples.device)] = samples
        positions: Tensor = torch.fft.ifft(by_frequency, norm="ortho")
        return positions

    def to_samples(self, positions: "Tensor") -> "Tensor":
        """Transform what `to_positions` returns back."""
        import torch

        order = torch.from_numpy(self.order).to(positions.device)
        samples: Tensor = torch.fft.fft(positions, norm="ortho")[..., order]
        return samples

    def by_position(self, by_voxel: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """Return what stands for each voxel along the axis, first, in the order of positions."""
        return np.fft.ifftshift(by_voxel, axes=0)

    def add_mixed(
        self, target: "Tensor", matrices: "Tensor", samples: "Tensor", *, first: bool
    ) -> None:
        """Add to ``target [virtual coil, readout, position]`` what some coils contribute.

        ``matrices`` are ``[position, virtual coil, coil]`` and ``samples [coil, readout, sample]``.
        The first coils' is put in its place.
        """
        for some in self._at_once(len(target) + len(samples), samples.shape[1]):
            there = self.to_positions(samples[:, some])
            mixed = (matrices @ there.permute(2, 0, 1)).permute(1, 2, 0)
            if first:
                target[:, some] = mixed
            else:
                target[:, some] += mixed

    def end_mixing(self, target: "Tensor") -> None:
        """Transform what `add_mixed` summed up to samples, in its place."""
        for some in self._at_once(len(target), target.shape[1]):
            target[:, some] = self.to_samples(target[:, some])

    def _at_once(self, coils: int, readouts: int) -> list[slice]:
        # As read, by frequency, by position and mixed.
        return pieces(readouts, max(1, WORKING_BYTES // (4 * 8 * coils * len(self.order))))
