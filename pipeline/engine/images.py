"""The images of a reconstruction by their sizes, from which later stages are planned. Pure."""

import math
from dataclasses import dataclass
from typing import Self

from pipeline.config.equations import EquationSettings, image_shape
from pipeline.storage.acquired import Acquired
from pipeline.storage.chunks import image_chunks


@dataclass(frozen=True)
class Images:
    """The images of one reconstruction."""

    shape: tuple[int, ...]
    """``(frame, z, y, x)``."""
    itemsize: int
    """Bytes of a value: 8 or 16."""

    @classmethod
    def of(
        cls, acquired: Acquired, settings: EquationSettings, count: int, *, double: bool
    ) -> Self:
        """Return so many images that a reconstruction makes of an acquisition."""
        shape = acquired.volume(image_shape(acquired.shape, settings))
        return cls((count, *shape), 16 if double else 8)

    @property
    def voxels(self) -> int:
        """Of one image."""
        return math.prod(self.shape[1:])

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of the chunks that they are stored in."""
        return image_chunks(self.shape, self.itemsize)

    @property
    def chunk_bytes(self) -> int:
        """Of a chunk in memory."""
        return math.prod(self.chunk) * self.itemsize

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        sizes = zip(self.shape, self.chunk, strict=True)
        return math.prod(-(-size // length) for size, length in sizes)
