"""Which readouts an image is made of, and what each of them counts: whole frames, or bins."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.config.equations import image_count
from pipeline.mri.corrected import SLAB
from pipeline.pieces import pieces
from pipeline.storage.calibration import Calibration

Number = TypeVar("Number", bound=np.generic)


class Sizes(Protocol):
    """What is asked of a measurement."""

    @property
    def frames(self) -> int:
        """Frames that were measured."""

    @property
    def readouts(self) -> int:
        """Readouts of a frame."""

    @property
    def samples(self) -> int:
        """Samples of a readout."""


@dataclass(frozen=True)
class Piece:
    """Some readouts of one frame that belong to an image."""

    frame: int
    span: slice
    """Readouts of the frame that are read together."""
    chosen: NDArray[np.intp] | None
    """Those of them that are meant, by their place in the span; `None` for all."""
    counts: NDArray[np.float32] | float
    """What each readout counts, so that an image's are worth one frame."""

    @property
    def readouts(self) -> int:
        """How many readouts are meant."""
        return self.span.stop - self.span.start if self.chosen is None else len(self.chosen)

    def of(self, values: NDArray[Number], axis: int = 0) -> NDArray[Number]:
        """Return the readouts that are meant, of all that were read along an axis."""
        return values if self.chosen is None else values.take(self.chosen, axis)


class FrameGroups:
    """Images that join whole frames, one after the other; the last may join fewer."""

    def __init__(self, raw: Sizes, joined: int) -> None:
        self._raw, self._joined = raw, min(joined, raw.frames)
        self.images = image_count(raw.frames, joined)
        self.readouts = raw.readouts * self._joined
        """Of an image, at most."""
        self.frames_per_image = float(self._joined)
        self.even = raw.frames % self._joined == 0
        """Whether all images are made of the same readouts of as many frames."""

    def frames(self, image: int) -> range:
        """Return the frames that an image is made of."""
        start = image * self._joined
        return range(start, min(start + self._joined, self._raw.frames))

    def alike(self, images: range) -> bool:
        """Tell whether some images have the same kernel, which those before them may have made."""
        return len(self.frames(images[-1])) == self._joined or len(images) == 1

    def pieces(self, image: int, readouts: range, most: int) -> Iterator[Piece]:
        """Yield some readouts of an image, at most so many samples of a coil at a time."""
        frames, each = self.frames(image), self._raw.readouts
        for index, frame in enumerate(frames):
            first = max(readouts.start - index * each, 0)
            last = min(readouts.stop - index * each, each)
            for part in pieces(max(last - first, 0), max(1, most // self._raw.samples)):
                span = slice(first + part.start, first + part.stop)
                yield Piece(frame, span, None, 1 / len(frames))


class Bins:
    """Images of bins, of which each readout of each frame may be a part; see `Calibration.bin`."""

    even = False

    def __init__(self, raw: Sizes, calibration: Calibration) -> None:
        self._raw, self._calibration = raw, calibration
        self.images = calibration.bins
        self._of_bin: dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]] = {}
        self.readouts, total = 0, 0.0
        """Of an image, at most."""
        for image in range(self.images):  # one at a time: together they may be as large as a shard
            weights = calibration.bin(image)
            self.readouts = max(self.readouts, int(np.count_nonzero(weights)))
            total += float(weights.sum(dtype=np.float64))
        self.frames_per_image = total / self.images / raw.readouts

    def frames(self, image: int) -> range:
        """Return the frames that an image is made of."""
        return range(self._raw.frames)

    def alike(self, images: range) -> bool:
        """Tell whether some images are made of the same readouts; a bin is of its own."""
        return False

    def pieces(self, image: int, readouts: range, most: int = SLAB) -> Iterator[Piece]:
        """Yield some readouts of an image, of at most a slab of a frame each."""
        part = slice(readouts.start, readouts.stop)
        rows, counts = self._rows(image)
        rows, counts = rows[part], counts[part]
        frames, inside = np.divmod(rows, self._raw.readouts)
        slabs = inside // max(1, SLAB // self._raw.samples)
        ends = np.flatnonzero((np.diff(frames) != 0) | (np.diff(slabs) != 0)) + 1
        for some in np.split(np.arange(len(rows)), ends):
            if len(some):
                first, last = inside[some[0]], inside[some[-1]]
                whole = last - first + 1 == len(some)
                yield Piece(
                    int(frames[some[0]]),
                    slice(int(first), int(last) + 1),
                    None if whole else inside[some] - first,
                    counts[some],
                )

    def _rows(self, image: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the numbers of an image's readouts, frame after frame, and what they count."""
        if image not in self._of_bin:
            weights = self._calibration.bin(image).ravel()
            rows = np.flatnonzero(weights)
            scale = self._raw.readouts / weights.sum(dtype=np.float64)
            self._of_bin[image] = rows, (weights[rows] * scale).astype(np.float32)
        return self._of_bin[image]


def image_readouts(
    raw: Sizes, frames_per_image: int | Literal["all", "bins"], calibration: Calibration | None
) -> FrameGroups | Bins:
    """Return what images are made of.

    Raises
    ------
    ConfigError
        If they are bins, and the calibration has none.
    """
    if frames_per_image == "bins":
        image_count(raw.frames, "bins", 0 if calibration is None else calibration.bins)
        assert calibration is not None
        return Bins(raw, calibration)
    return FrameGroups(raw, raw.frames if frames_per_image == "all" else frames_per_image)
