"""Magnitude images as gzipped NIfTI-1, written as a stream.

References
----------
.. [1] The NIfTI-1 header, `nifti1.h`, "3D image (volume) orientation and location in space".
"""

import gzip
import itertools
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.engine.needs import CHUNKS_AT_ONCE
from pipeline.errors import DataError
from pipeline.geometry.orientation import ras_affine
from pipeline.merge.outputs import Merged, Output
from pipeline.storage.chunks import CHUNK_BYTES

if TYPE_CHECKING:
    import zarr

_LARGEST_AXIS = np.iinfo(np.int16).max
_DESCRIPTION_BYTES = 79


def _check(shape: tuple[int, ...]) -> None:
    """Raise `DataError` if NIfTI-1, with its 16-bit sizes, cannot hold images of ``shape``."""
    if max(shape) > _LARGEST_AXIS:
        raise DataError(
            f"images of shape {shape} (frame, z, y, x) do not fit NIfTI-1, whose axes have at most "
            f"{_LARGEST_AXIS} entries; set `output.nifti: false`"
        )


def _needs(images: Images, threads: int) -> dict[str, int]:
    """Return what is held of one row of chunks: its values, and half as much of magnitudes."""
    row = images.chunk[0] * images.chunk[1] * math.prod(images.shape[2:]) * images.itemsize
    return {
        "NIfTI: a row of chunks": row * 3 // 2,
        "NIfTI: chunks as read": min(row, CHUNKS_AT_ONCE * CHUNK_BYTES),
    }


def write_nifti(path: Path, merged: Merged) -> None:
    """Write the magnitude of images.

    Axes are x, y, z, and t where there are several frames, as float32. The file is compressed
    while it is written: no more than one row of the image's chunks is in memory.

    Positions of a patient are those of the scanner (code 1 of qform and sform). Others are only
    shared by the images of a dataset: sform says "aligned" (2), and qform "unknown" (0), so that
    no reader takes left for known [1]_.
    """
    import nibabel

    affine, duration = ras_affine(merged.affine), merged.duration
    frames, *volume = merged.images.shape
    header = nibabel.Nifti1Header()
    header.set_data_shape((*reversed(volume), frames) if frames > 1 else tuple(reversed(volume)))
    header.set_data_dtype(np.float32)
    header.set_qform(affine, code="scanner" if merged.oriented else "unknown")
    header.set_sform(affine, code="scanner" if merged.oriented else "aligned")
    header.set_xyzt_units("mm", "sec" if duration else "unknown")
    if frames > 1 and duration:
        header.set_zooms((*header.get_zooms()[:3], duration))
    header.set_slope_inter(1.0, 0.0)
    description = f"kronufft {version('kronufft')} {merged.title}"
    header["descrip"] = description.encode("ascii", "replace")[:_DESCRIPTION_BYTES]
    # A fixed time stamp, so that equal images give equal files. Noise hardly compresses: more than
    # level 1 costs time and gains nothing.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as file:
        header.write_to(file)
        for slab in image_slabs(merged.images):
            file.write(np.abs(slab).astype("<f4", copy=False).data)


def image_slabs(image: "zarr.Array[Any]") -> Iterator[NDArray[np.complexfloating]]:
    """Yield contiguous parts of ``image`` in C order, which is NIfTI's order for x, y, z, t.

    The chunks of stored images cut an axis only where the axes before have chunks of one.
    """
    frames, planes = (
        [slice(start, start + length) for start in range(0, size, length)]
        for size, length in zip(image.shape[:2], image.chunks[:2], strict=True)
    )
    for frame, plane in itertools.product(frames, planes):
        yield np.asarray(image[frame, plane])


OUTPUT = Output("magnitude.nii.gz", write=write_nifti, needs=_needs, check=_check)
