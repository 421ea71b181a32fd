"""Magnitude images as gzipped NIfTI-1, written as a stream.

References
----------
.. [1] The NIfTI-1 header, `nifti1.h`, "3D image (volume) orientation and location in space".
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.engine.images import Images
from pipeline.errors import DataError
from pipeline.geometry.orientation import ras_affine
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.slabs import image_slabs, slab_bytes

_LARGEST_AXIS = np.iinfo(np.int16).max
_DESCRIPTION_BYTES = 79


def _check(shape: tuple[int, ...]) -> None:
    require_sizes(shape, "output.nifti")


def _needs(images: Images, threads: int) -> dict[str, int]:
    return {"NIfTI: a row of chunks": slab_bytes(images, 3)}


def require_sizes(shape: tuple[int, ...], setting: str) -> None:
    """Raise `DataError` if NIfTI-1, with its 16-bit sizes, cannot hold images of ``shape``.

    ``setting`` is what asked for them.
    """
    if max(shape) > _LARGEST_AXIS:
        raise DataError(
            f"images of shape {shape}, (frame,) z, y, x, do not fit NIfTI-1, whose axes have at "
            f"most {_LARGEST_AXIS} entries; set `{setting}: false`"
        )


def write_nifti(path: Path, merged: Merged, some: range | None = None) -> None:
    """Write the magnitude of images, or of some of them, a row of their chunks at a time."""
    with opened_nifti(path, merged, len(some or range(merged.images.shape[0]))) as file:
        for slab in image_slabs(merged.images, some):
            file.write(np.abs(slab).astype("<f4", copy=False).data)


@contextmanager
def opened_nifti(path: Path, merged: Merged, frames: int) -> Iterator[gzip.GzipFile]:
    """Yield a file to write float32 values of so many frames to, in the order of the images.

    Axes are x, y, z, and t where there are several frames. The file is compressed while it is
    written.

    Positions of a patient are those of the scanner (code 1 of qform and sform). Others are only
    shared by the images of a dataset: sform says "aligned" (2), and qform "unknown" (0), so that
    no reader takes left for known [1]_.
    """
    import nibabel

    affine, duration = ras_affine(merged.affine), merged.duration
    volume = merged.images.shape[1:]
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
        yield file


OUTPUT = Output(
    about="Magnitude, NIfTI-1",
    encoding="application/gzip",
    write=write_nifti,
    needs=_needs,
    check=_check,
    checksums=True,
)
