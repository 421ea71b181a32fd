"""What images are compared with, and how stored images are read for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.metrics.costs import slab_planes
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

    from pipeline.storage.acquisition import Acquisition

Array = NDArray[Any]


def frame_slabs(
    images: "zarr.Array[Any]", frame: int, marker: Path
) -> Iterator[tuple[slice, Array]]:
    """Yield one frame of stored images in slabs of whole chunks along z.

    Each comes with its slice along z and has at most about two million voxels; `marker` is that of
    the images.

    Raises
    ------
    DataError
        If a voxel is NaN or infinite.
    """
    depth = images.shape[1]
    step = slab_planes(images.shape[1:], images.chunks[1])
    for first in range(0, depth, step):
        where = slice(first, min(first + step, depth))
        try:
            slab = np.asarray(images[frame, where])
        except DAMAGE as error:
            raise DataError(f"{marker}: damaged ({error}); {remake(marker)}") from None
        _require_finite(slab, f"{marker}: frame {frame}", first)
        yield where, slab


def reference_image(raw: "Acquisition", frames: range, shape: Sequence[int]) -> Array | None:
    """Return what an image made of ``frames`` is compared with.

    One frame is compared with its stored reference. Several frames joined into one image are
    compared with the mean of their references' magnitudes, since their phases need not agree. On
    another matrix the reference is brought to it by `fourier_resampled`.

    Returns
    -------
    ndarray or None
        ``[z, y, x]``, complex for one frame and real for several; None where the dataset has no
        reference.

    Raises
    ------
    DataError
        If the reference is NaN or infinite somewhere.
    """
    total: Array | None = None
    for frame in frames:
        stored = raw.reference(slice(frame, frame + 1))
        if stored is None or not len(stored):
            return None
        _require_finite(stored[0], f"{raw.marker}: reference frame {frame}", 0)
        one = fourier_resampled(stored[0], as_volume(shape))
        if len(frames) == 1:
            return one
        magnitude = np.abs(one) / len(frames)
        total = magnitude if total is None else total + magnitude
    return total


def fourier_resampled(volume: Array, shape: Sequence[int]) -> Array:
    """Bring a volume to another matrix over the same field of view.

    Crops or zero-fills its centred spectrum axis by axis, which is exact for band-limited
    volumes and is what measuring at the other resolution would have seen; values keep their
    scale. Both matrices are ``(z, y, x)``.
    """
    from scipy import fft

    factors = [new / old for old, new in zip(volume.shape, shape, strict=True)]
    for axis in sorted(range(volume.ndim), key=lambda axis: factors[axis]):  # what shrinks, first
        old, new = volume.shape[axis], shape[axis]
        if old == new:
            continue
        spectrum = fft.fftshift(fft.fft(fft.ifftshift(volume, axis), axis=axis), axis)
        first = old // 2 - new // 2
        kept = spectrum.take(range(max(first, 0), min(first + new, old)), axis)
        width = [(0, 0)] * volume.ndim
        width[axis] = (max(-first, 0), max(first + new - old, 0))
        spectrum = np.pad(kept, width) if new > old else kept
        volume = fft.fftshift(fft.ifft(fft.ifftshift(spectrum, axis), axis=axis), axis) * (
            new / old
        )
    return volume


def _require_finite(values: Array, who: str, first: int) -> None:
    if not np.isfinite(values).all():
        z, y, x = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{who}: NaN or infinite at voxel (z, y, x) = ({first + z}, {y}, {x}); "
            "run the stage that made it again, and look at its input"
        )
