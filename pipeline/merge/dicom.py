"""Magnitude images as multi-frame DICOM, written as a stream.

Pixels are 16-bit integers; ``value = pixel * slope``, with one slope for all images of a
reconstruction, so that they can be compared. The brightest voxel has the largest pixel: values are
off by 1/131070 of it at most. Identifiers are made from the content: equal images have the same.
"""

import hashlib
import math
import struct
from pathlib import Path

import numpy as np

from pipeline.engine.images import Images
from pipeline.errors import DataError
from pipeline.merge.dicom_header import LARGEST_PIXEL, dicom_header
from pipeline.merge.outputs import Merged, Output, not_of_patients
from pipeline.merge.slabs import image_slabs, slab_bytes

_LARGEST_AXIS = 2**16 - 1
_LARGEST_FILE = 2**32 - 2
_PLANES_A_FILE = 1024
_PLANE_BYTES = 20_000
"""What a plane's own attributes take while a file is written; measured."""
_PIXEL_DATA = struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OW", 0)


def write_dicom(path: Path, merged: Merged) -> None:
    """Write the magnitude of images into a folder, some whole images to a file.

    The planes of a file follow each other image by image, along z.
    """
    path.mkdir()
    largest, digest = _survey(merged)
    slope = largest / LARGEST_PIXEL or 1.0
    each = _images_a_file(merged.images.shape)
    count = merged.images.shape[0]
    for number, first in enumerate(range(0, count, each), start=1):
        frames = range(first, min(first + each, count))
        header = dicom_header(merged, frames, slope, digest, number)
        with (path / f"{number:04d}.dcm").open("wb") as file:
            header.save_as(file, enforce_file_format=True)
            file.write(_PIXEL_DATA)
            file.write(struct.pack("<I", 2 * len(frames) * math.prod(merged.images.shape[1:])))
            for slab in image_slabs(merged.images, frames):
                pixels = np.abs(slab)
                pixels /= slope
                file.write(np.rint(pixels, out=pixels).astype("<u2").data)


def _survey(merged: Merged) -> tuple[float, str]:
    """Return the largest magnitude, and what stands for all of them."""
    largest, digest = 0.0, hashlib.sha256()
    for slab in image_slabs(merged.images):
        magnitude = np.abs(slab)
        largest = max(largest, float(magnitude.max()))
        digest.update(magnitude.data)
    return largest, digest.hexdigest()


def _images_a_file(shape: tuple[int, ...]) -> int:
    return max(1, min(_PLANES_A_FILE // shape[1], _LARGEST_FILE // (2 * math.prod(shape[1:]))))


def _check(shape: tuple[int, ...]) -> None:
    """Raise `DataError` if one image of ``shape`` does not fit a file."""
    if max(shape[2:]) > _LARGEST_AXIS or 2 * math.prod(shape[1:]) > _LARGEST_FILE:
        raise DataError(
            f"images of shape {shape} (frame, z, y, x) do not fit DICOM, whose planes have at most "
            f"{_LARGEST_AXIS} rows and columns, and whose files hold less than 4 GiB; set "
            "`output.dicom: false`"
        )


def _needs(images: Images, threads: int) -> dict[str, int]:
    """Return what is held of one row of chunks, and of the attributes of a file's planes."""
    planes = images.shape[1] * min(images.shape[0], _images_a_file(images.shape))
    return {
        "DICOM: a row of chunks": slab_bytes(images, 4),
        "DICOM: attributes of planes": planes * _PLANE_BYTES,
    }


OUTPUT = Output(
    about="Magnitude, multi-frame DICOM",
    encoding="application/dicom",
    write=write_dicom,
    needs=_needs,
    check=_check,
    folder=True,
    unsuited=not_of_patients,
)
