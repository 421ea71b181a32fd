"""The pieces in which a convolution is computed, and the memory that they take. Pure."""

import math
from dataclasses import dataclass

_HOST_CACHE = 2**20
"""Bytes that one worker transforms at a time: a usual second-level cache."""

_HOST_TILE = 2**24
"""Bytes of small images that are worth doing together, so that workers seldom wait."""

APART = 16
"""Numbers between rows: rows that are a power of two apart would meet in one set of the cache.

Transforms along rows of 512 numbers are three times slower without.
"""

_DEVICE_SLAB = 2**27
"""Bytes transformed at a time on an accelerator: enough to fill it, little beside a volume."""

_DEVICE_TILE = 2**28
"""Bytes of small images that are worth doing together there, so that it seldom waits for work."""


@dataclass(frozen=True)
class Tiling:
    """The pieces in which a convolution is computed; a pure function of the shapes."""

    shape: tuple[int, ...]
    padded: tuple[int, ...]
    """Axes of the spectrum."""
    itemsize: int
    """Bytes of a complex number."""
    host: bool
    """Whether the pieces should fit a CPU's cache, rather than fill an accelerator."""
    piece_bytes: int | None = None
    """Size of a piece; chosen by `host` if `None`."""

    @property
    def budget(self) -> int:
        """Bytes transformed at a time."""
        return self.piece_bytes or (_HOST_CACHE if self.host else _DEVICE_SLAB)

    @property
    def row(self) -> int:
        """Voxels of one plane, or of one row in 2D."""
        return math.prod(self.shape[1:])

    @property
    def stride(self) -> int:
        """Distance between planes of ``t``."""
        return self.row + APART

    @property
    def image_bytes(self) -> int:
        """Bytes of ``t`` for one image."""
        return self.padded[0] * self.stride * self.itemsize

    def columns(self, images: int = 1) -> int:
        """Columns transformed at a time, for so many images at once."""
        fitting = self.budget // (self.padded[0] * self.itemsize * images)
        return min(self.row, max(16, fitting // 16 * 16))

    def planes(self, images: int = 1) -> int:
        """Planes transformed at a time, for so many images at once."""
        plane = math.prod(self.padded[1:]) * self.itemsize * images
        return min(self.padded[0], max(1, self.budget // plane))

    def frames(self, frames: int, coils: int) -> int:
        """Frames done together, when `coils` coils of each are."""
        return min(frames, max(1, self._together // (coils * self.image_bytes)))

    def coils_at_once(self, coils: int) -> int:
        """Coils that are done together where nobody asks for a number."""
        return min(coils, max(1, self._together // self.image_bytes))

    @property
    def _together(self) -> int:
        """Bytes of small images that are done together."""
        return _HOST_TILE if self.host else _DEVICE_TILE

    def workspace_bytes(self, coils: int, frames: int, threads: int) -> int:
        """Bytes beside spectrum, input and output, with so many coils done together."""
        images = coils * self.frames(frames, coils)
        total = images * self.image_bytes
        if self.host:  # and of each worker its buffers, what the FFT library and the allocator keep
            columns = (self.padded[0] + self.shape[0]) * self.columns()
            slab = self.planes() * math.prod(self.padded[1:-1]) * (self.padded[-1] + APART)
            return total + threads * ((columns + 4 * slab) * self.itemsize + 2**22)
        # Padded copy, transform and torch's contiguous copy of one piece.
        columns = self.columns(images) * self.padded[0] * self.itemsize * images
        planes = self.planes(images) * math.prod(self.padded[1:]) * self.itemsize * images
        return total + 4 * max(columns, planes)
