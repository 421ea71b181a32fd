"""Arrays of an acquisition whose samples are read by the numbers of readouts."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.lazy import Derived, Selection
from pipeline.pieces import pieces

_PIECE_BYTES = 16 * 2**20
"""Readouts that are read at a time."""
_FINISHED = 5
"""Copies of such a piece while its oversampling is taken away, in single precision."""


class ReadoutSource(Protocol):
    """A file that lists readouts one by one."""

    @property
    def held_bytes(self) -> int:
        """Memory of the library that reads it, beside what is read."""

    @property
    def copies(self) -> int:
        """Copies of what is read that reading it takes, itself among them."""

    def samples(self, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Return readouts by their numbers, complex64 ``[readout, coil, sample]``."""


class Progression(NamedTuple):
    """Numbers at equal distances."""

    start: int
    length: int
    step: int

    @property
    def selection(self) -> slice:
        """The numbers, as a slice of all of them."""
        return slice(self.start, self.start + (self.length - 1) * self.step + 1, self.step)


def progressions(rows: NDArray[np.int64]) -> Iterator[Progression]:
    """Cut increasing numbers into few progressions: each is read at one go."""
    at = 0
    while at < len(rows):
        step = int(rows[at + 1] - rows[at]) if at + 1 < len(rows) else 1
        differs = np.flatnonzero(np.diff(rows[at:]) != step)
        length = int(differs[0]) + 1 if len(differs) else len(rows) - at
        yield Progression(int(rows[at]), length, step)
        at += length


@dataclass(frozen=True)
class Readouts:
    """The readouts of an acquisition, and what becomes of each as it is read."""

    source: ReadoutSource
    rows: NDArray[np.int64]
    """``[frame, readout]``: their numbers in the file."""
    coils: int
    listed: slice
    """Samples that are taken of those that the file lists."""
    samples: int
    """Of a readout once it is read."""
    reverse: NDArray[np.bool_] | None = None
    """Which of all readouts are to be turned round; none where that is `None`."""
    finish: Callable[[NDArray[np.complex64]], NDArray[np.complex64]] | None = None
    """What is done to samples ``[..., sample]``."""

    def kspace(self) -> Derived:
        """Return the samples, ``[frame, coil, readout, sample]``."""
        frames, readouts = self.rows.shape
        shape = (frames, self.coils, readouts, self.samples)
        # A readout is listed with all its coils.
        chunks = (1, self.coils, 1, self.samples)
        return Derived(shape, np.dtype(np.complex64), chunks, self._read, self._needs)

    @property
    def _at_once(self) -> int:
        """Readouts that are read at a time."""
        return max(1, _PIECE_BYTES // self._readout_bytes)

    @property
    def _readout_bytes(self) -> int:
        """Bytes of one as it is listed."""
        return 8 * self.coils * int(self.listed.stop)

    def _needs(self, extent: Sequence[int]) -> int:
        at_once = min(self._at_once, extent[2])
        turned = 2 if self.reverse is not None else 1
        copies = max(self.source.copies, turned if self.finish is None else _FINISHED)
        piece = copies * at_once * self._readout_bytes
        return math.prod(extent) * 8 + piece + self.source.held_bytes

    def _read(self, selection: Selection) -> NDArray[np.complex64]:
        sizes = (self.rows.shape[0], self.coils, self.rows.shape[1], self.samples)
        frames, coils, readouts, samples = (
            range(*part.indices(size)) for part, size in zip(selection, sizes, strict=True)
        )
        part = np.empty((len(frames), len(coils), len(readouts), len(samples)), np.complex64)
        for index, frame in enumerate(frames):
            rows = self.rows[frame, readouts.start : readouts.stop]
            for some in pieces(len(rows), self._at_once):
                order = np.argsort(rows[some])
                read = self.source.samples(rows[some][order])
                read = read[:, coils.start : coils.stop, self.listed]
                if self.reverse is not None and (turned := self.reverse[rows[some][order]]).any():
                    read[turned] = read[turned][..., ::-1]
                if self.finish is not None:
                    read = self.finish(read)
                places = np.arange(some.start, some.stop)[order]
                part[index][:, places] = read[..., samples.start : samples.stop].swapaxes(0, 1)
        return part


def placed(
    rows: NDArray[np.int64],
    samples: int,
    dimensions: int,
    place: Callable[[NDArray[np.int64]], NDArray[np.floating]],
) -> Derived:
    """Return a trajectory ``[frame, readout, sample, axis]``.

    ``place`` returns where readouts ``rows[frame, some]`` were sampled, ``[readout, sample, axis]``
    [rad/voxel].
    """
    frames, readouts = rows.shape

    def compute(selection: Selection) -> NDArray[np.float64]:
        first, second, *rest = selection
        found = [np.asarray(place(some[second]), np.float64)[:, *rest] for some in rows[first]]
        return np.stack(found)

    def needs(extent: Sequence[int]) -> int:
        return 8 * extent[1] * samples * dimensions * (extent[0] + 3)

    shape = (frames, readouts, samples, dimensions)
    return Derived(shape, np.dtype(np.float64), (1, 1, samples, dimensions), compute, needs)
