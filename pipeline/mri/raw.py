"""`raw.zarr`: one acquisition in the project's own layout.

======================  =========  =========================================================
array                   dtype      axes
======================  =========  =========================================================
kspace                  complex64  frame, coil, readout, sample
trajectory              float32    frame or 1, readout, sample, axis          [rad/voxel]
weights (optional)      float32    frame or 1, readout, sample
noise (optional)        complex64  coil, sample
sensitivities (opt.)    complex64  coil, z, y, x
reference (optional)    complex64  frame or 1, z, y, x
======================  =========  =========================================================

Attributes: ``kind`` ("mri"), ``shape`` (image matrix, ``(y, x)`` or ``(z, y, x)``), ``voxel_size``
(per image axis [m]), ``affine`` (4 x 4, from voxel index ``(z, y, x)`` to position [m]), ``source``
and ``provenance``, and ``pattern`` (of what kind the readouts are, see
`pipeline.mri.readouts.sampling_pattern`).

Measurements do not compress, so they are stored as they are, with a checksum. Missing chunks read
as NaN and are therefore met at once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.mri.readouts import Pattern
from pipeline.storage.blocks import image_codecs
from pipeline.storage.chunks import CHUNK_BYTES
from pipeline.storage.publish import open_published
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

AXES: Mapping[str, tuple[str, ...]] = {
    "kspace": ("frame", "coil", "readout", "sample"),
    "trajectory": ("frame", "readout", "sample", "axis"),
    "weights": ("frame", "readout", "sample"),
    "noise": ("coil", "sample"),
    "sensitivities": ("coil", "z", "y", "x"),
    "reference": ("frame", "z", "y", "x"),
}
"""Axes of each array."""

REAL_ARRAYS = ("trajectory", "weights")
"""Arrays that are float32; the others are complex64."""

ALL = slice(None)

_TILE_BYTES = 64 * 2**20


def array_dtype(name: str) -> np.dtype[Any]:
    """Return the stored dtype of the array ``name``."""
    return np.dtype(np.float32 if name in REAL_ARRAYS else np.complex64)


def chunk_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return chunks of about 8 MiB: one frame, one coil, and as many readouts as fit."""
    left = CHUNK_BYTES // array_dtype(name).itemsize
    chunks: list[int] = []
    for axis, size in zip(reversed(AXES[name]), reversed(shape), strict=True):
        chunks.append(1 if axis in ("frame", "coil") else min(size, max(1, left)))
        left //= chunks[-1]
    return tuple(reversed(chunks))


def tiles(name: str, shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield selections that cover an array, each of whole chunks and of 64 MiB at most.

    Coils are taken together as far as they fit, because a source computes or stores them together.
    """
    edges = list(chunk_shape(name, shape))
    if "coil" in AXES[name]:
        bytes_per_chunk = math.prod(edges) * array_dtype(name).itemsize
        coil = AXES[name].index("coil")
        edges[coil] = min(shape[coil], max(1, _TILE_BYTES // bytes_per_chunk))
    counts = [math.ceil(size / edge) for size, edge in zip(shape, edges, strict=True)]
    for position in np.ndindex(*counts):
        yield tuple(
            slice(index * edge, min((index + 1) * edge, size))
            for index, edge, size in zip(position, edges, shape, strict=True)
        )


def write_attributes(
    group: "zarr.Group",
    *,
    shape: Sequence[int],
    voxel_size: Sequence[float],
    affine: NDArray[np.float64],
    source: str,
    provenance: Mapping[str, Any],
) -> None:
    """Say in the store what it holds; see the module's docstring for the meaning of each."""
    group.attrs.update(
        {
            "kind": "mri",
            "shape": list(shape),
            "voxel_size": list(voxel_size),
            "affine": np.asarray(affine, dtype=np.float64).tolist(),
            "source": source,
            "provenance": dict(provenance),
        }
    )


def create_array(group: "zarr.Group", name: str, shape: Sequence[int]) -> "zarr.Array[Any]":
    """Create the empty array ``name`` of an acquisition.

    Parameters
    ----------
    group
        Store under construction.
    name
        One of `AXES`.
    shape
        Sizes of its axes.
    """
    from zarr.codecs import Crc32cCodec

    dtype = array_dtype(name)
    is_image = name in ("sensitivities", "reference")
    return group.create_array(
        name,
        shape=tuple(shape),
        chunks=chunk_shape(name, shape),
        dtype=dtype,
        compressors=image_codecs(dtype) if is_image else [Crc32cCodec()],
        dimension_names=AXES[name],
        fill_value=dtype.type(np.nan),
    )


class RawData:
    """An ingested acquisition, read piece by piece.

    Attributes
    ----------
    marker : Path
        JSON marker of the store.
    shape : tuple of int
        Image matrix, ``(y, x)`` or ``(z, y, x)``.
    voxel_size : tuple of float
        Per image axis [m].
    affine : ndarray
        float64 ``(4, 4)``, from voxel index ``(z, y, x)`` to position [m].
    frames, coils, readouts, samples : int
        Sizes of the k-space array.
    arrays : set of str
        Names of the arrays that are there.
    own_trajectory : bool
        Whether each frame has a trajectory of its own.
    own_weights : bool
        Whether each frame has density weights of its own.
    pattern : {"radial", "stack-of-stars", "other"} or None
        Of what kind the readouts are; None where nobody has looked.
    """

    kind = "mri"

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        self.marker = marker
        self._stored: dict[str, Any] = {
            name: array for name, array in group.arrays() if name in AXES
        }
        self.arrays: Set[str] = set(self._stored)
        attributes: dict[str, Any] = dict(group.attrs)
        try:
            self.shape = tuple(int(size) for size in attributes["shape"])
            self.voxel_size = tuple(float(size) for size in attributes["voxel_size"])
            self.affine = np.asarray(attributes["affine"], dtype=np.float64)
            self.frames, self.coils, self.readouts, self.samples = self._stored["kspace"].shape
            self.own_trajectory = self._stored["trajectory"].shape[0] > 1
            self.own_weights = "weights" in self.arrays and self._stored["weights"].shape[0] > 1
            self.pattern: Pattern | None = attributes.get("pattern")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{marker}: its store is not a complete acquisition ({error!r}); run `ingest` again"
            ) from None

    @classmethod
    def open(cls, marker: Path) -> Self:
        """Open the acquisition that ``marker`` stands for.

        Raises
        ------
        DataError
            If marker or store is missing or incomplete, or they do not belong together.
        """
        return cls(open_published(marker), marker)

    def kspace(
        self, frame: int, coils: slice = ALL, readouts: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return samples of one frame, complex64 ``[coil, readout, sample]``."""
        return self._read("kspace", (frame, coils, readouts))

    def trajectory(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32]:
        """Return the trajectory of one frame, float32 ``[readout, sample, axis]`` [rad/voxel].

        Within ``[-pi, pi)`` up to the rounding of pi to single precision.
        """
        return self._read("trajectory", (self._own_or_shared("trajectory", frame), readouts))

    def readouts_of(self, frame: int) -> "StoredReadouts":
        """Return the trajectory of one frame, to be read some readouts at a time."""
        return StoredReadouts(self, frame)

    def weights(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32] | None:
        """Return the source's density weights of one frame, float32 ``[readout, sample]``."""
        if "weights" not in self.arrays:
            return None
        return self._read("weights", (self._own_or_shared("weights", frame), readouts))

    def noise(self) -> NDArray[np.complex64] | None:
        """Return the noise measured without signal, complex64 ``[coil, sample]``."""
        return self._read("noise", ()) if "noise" in self.arrays else None

    def sensitivities(self, coils: slice = ALL) -> NDArray[np.complex64] | None:
        """Return the source's coil maps, complex64 ``[coil, z, y, x]``; 2D maps have z = 1."""
        return self._read("sensitivities", (coils,)) if "sensitivities" in self.arrays else None

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

    def _own_or_shared(self, name: str, frame: int) -> int:
        return frame if self._stored[name].shape[0] > 1 else 0

    def _read(self, name: str, selection: tuple[int | slice, ...]) -> NDArray[Any]:
        try:
            values = np.asarray(self._stored[name][selection])
        except DAMAGE as error:
            raise DataError(
                f"{self.marker}: `{name}` {selection} is not readable ({error}); "
                f"{remake(self.marker)}"
            ) from None
        # NaN survives a sum, which is cheaper than looking at each value.
        if np.isnan(values.sum(dtype=np.promote_types(values.dtype, np.float64))):
            raise DataError(
                f"{self.marker}: `{name}` {selection} has missing chunks; {remake(self.marker)}"
            )
        return values


def open_group(group: "zarr.Group", marker: Path) -> RawData:
    """Return the acquisition of an open store; see `pipeline.kinds.open_raw`."""
    return RawData(group, marker)


class StoredReadouts:
    """The trajectory of one frame on disk, ``[readout, sample, axis]`` [rad/voxel]."""

    def __init__(self, raw: RawData, frame: int) -> None:
        self._raw, self._frame = raw, frame
        self.shape = (raw.readouts, raw.samples, len(raw.shape))

    def __getitem__(self, readouts: slice) -> NDArray[np.float32]:
        return self._raw.trajectory(self._frame, readouts)
