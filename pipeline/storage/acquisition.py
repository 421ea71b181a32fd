"""What the stages use of an acquisition of any kind."""

from collections.abc import Set
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Acquisition(Protocol):
    """An ingested acquisition, read piece by piece; its kind adds the rest.

    Attributes
    ----------
    marker : Path
        JSON marker of the store.
    frames : int
        Frames, each measured independently.
    arrays : set of str
        Names of the arrays that are there.
    """

    marker: Path
    frames: int
    arrays: Set[str]

    @property
    def kind(self) -> str:
        """Name of the kind, which finds its parts with `pipeline.kinds.part_of`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""

    @property
    def voxel_size(self) -> tuple[float, ...]:
        """Per image axis [m]."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """float64 ``(4, 4)``, from voxel index ``(z, y, x)`` to position [m]."""

    def reference(self, frames: slice = ..., /) -> NDArray[Any] | None:
        """Return the true images, complex64 ``[frame, z, y, x]``, where they are known."""
