"""An acquisition on disk, read piece by piece: what the stages use of it, whatever its kind."""

from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.storage.publish import open_published
from pipeline.storage.radar import RadarCollection
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

ALL = slice(None)


class StoredArrays:
    """The arrays of a published store by their paths, read piece by piece."""

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        self.marker = marker
        # Groups have no shape.
        self._stored: dict[str, Any] = {
            path: member
            for path, member in group.members(max_depth=None)
            if hasattr(member, "shape")
        }
        self.arrays: Set[str] = {path for path in self._stored if "/" not in path}

    @classmethod
    def open(cls, marker: Path) -> Self:
        """Open what ``marker`` stands for; `DataError` unless both are sound and a pair."""
        return cls(open_published(marker), marker)

    def _optional(self, path: str, selection: tuple[int | slice, ...]) -> NDArray[Any] | None:
        return self._read(path, selection) if path in self._stored else None

    def _of_frame(self, path: str, frame: int) -> int:
        """Return the index of a frame in an array that all frames may share."""
        return frame if self._stored[path].shape[0] > 1 else 0

    def _read(self, path: str, selection: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part of an array; `DataError` if it is damaged."""
        try:
            return np.asarray(self._stored[path][selection])
        except DAMAGE as error:
            raise DataError(
                f"{self.marker}: `{path}` {selection} is not readable ({error}); "
                f"{remake(self.marker)}"
            ) from None


class Acquisition(StoredArrays):
    """An ingested acquisition; its kind adds the rest."""

    kind: ClassVar[str]
    """Name of the kind, which finds its parts with `pipeline.kinds.part_of`."""
    frames: int
    shape: tuple[int, ...]
    """Image matrix, in the order of the kind's own model."""
    affine: NDArray[np.float64]
    """float64 ``(4, 4)``, from voxel index ``(z, y, x)`` to position [m]."""
    oriented: bool = False
    """Whether its positions are along superior, anterior, right of a patient."""
    frame_duration: float | None = None
    """From the start of a frame to that of the next [s], where that is known."""
    slices: int = 1
    """Parallel slices: the frames of the first stand before those of the second, and so on, and the
    first column of the affine leads from a slice to the next."""
    header: str | None = None
    """Of an ISMRMRD source: its header, XML."""

    @property
    def radar(self) -> RadarCollection | None:
        """How a radar over the Earth collected it, where that is known."""
        return None

    @property
    def volume(self) -> tuple[int, int, int]:
        """The image matrix as it is stored, ``(z, y, x)``."""
        return as_volume(self.shape)

    def to_volumes(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return images ``[..., *shape]`` as they are stored, ``[..., z, y, x]``, not copied."""
        first = images.ndim - len(self.shape)
        return images.reshape(*images.shape[:first], *as_volume(images.shape[first:]))

    def from_volumes(self, volumes: NDArray[Any]) -> NDArray[Any]:
        """Return stored images ``[..., z, y, x]`` in the model's order, ``[..., *shape]``."""
        return volumes.reshape(*volumes.shape[:-3], *self.shape)

    def reference(self, frames: slice = ALL) -> NDArray[np.complex64] | None:
        """Return the source's reference images, complex64 ``[frame, z, y, x]``.

        A reference that all frames share is repeated.
        """
        if "reference" not in self.arrays:
            return None
        if self._stored["reference"].shape[0] == self.frames:
            return self._read("reference", (frames,))
        shared = self._read("reference", ())
        wanted = len(range(*frames.indices(self.frames)))
        return np.broadcast_to(shared, (wanted, *shared.shape[1:]))

    def _read(self, path: str, selection: tuple[int | slice, ...]) -> NDArray[Any]:
        values = super()._read(path, selection)
        # NaN survives a sum, which is cheaper than looking at each value.
        if np.isnan(values.sum(dtype=np.promote_types(values.dtype, np.float64))):
            raise DataError(
                f"{self.marker}: `{path}` {selection} has missing chunks; {remake(self.marker)}"
            )
        return values
