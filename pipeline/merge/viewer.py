"""A small copy of the magnitude, as a script for the page `viewer.html`.

A page that is opened from disk may load scripts from beside it, and no other files.
"""

import base64
import gzip
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.geometry.orientation import ras_affine
from pipeline.merge.coarser import Coarser, level_factors
from pipeline.merge.outputs import Merged, Output
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE

_MOST_VOXELS = 2**21
"""In all frames of the copy, two bytes each, which hardly compress: a person waits for them."""

_WHITE_PERCENTILE = 99.5
_HEAD_MM = 200.0
_FLOOR_DB, _DARKEST_DB = -90.0, -50.0
"""Radar: the least level that the copy holds, and what is drawn black at first."""


def copied_frames(shape: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
    """Return how the copy of images ``[frame, z, y, x]`` is reduced.

    First by which factor along each axis, then the frames that it has: all, or as many as fit,
    evenly spaced from the first to the last.
    """
    voxels = 0
    factors: tuple[int, ...] = ()
    for factors in level_factors(shape):
        voxels = math.prod(size // factor for size, factor in zip(shape, factors, strict=True))
        if voxels <= _MOST_VOXELS:
            break
    count = min(shape[0], max(1, _MOST_VOXELS * shape[0] // voxels))
    return factors, [round(at * (shape[0] - 1) / max(1, count - 1)) for at in range(count)]


def write_viewer(path: Path, merged: Merged) -> None:
    """Write the magnitude of images at lower resolution; of radar in dB of the brightest voxel.

    The script calls ``kronufft`` with one object: whose images these are, ``window`` (the values
    that are black and white), ``unit``, ``along`` (what an image is: a frame or a coefficient),
    ``frames`` (numbers of those that it holds), ``oriented``, and ``nifti`` (a gzipped NIfTI-1 of
    16-bit integers, in base64).
    """
    values, frames, affine = _reduced(merged)
    peak = float(values.max())
    if merged.kind == "rf":
        least = 10 ** (_FLOOR_DB / 20)
        values = 20 * np.log10(np.maximum(values / (peak or 1.0), least))
        slope, unit, window = 0.01, "dB", (_DARKEST_DB, 0.0)
        # As large as a head, which is what NiiVue is made for: it fails on metres.
        affine[:3] *= _HEAD_MM / np.abs(affine[:3, :3] @ values.shape[:0:-1]).max()
    else:
        slope, unit = peak / np.iinfo(np.int16).max or 1.0, ""
        window = (0.0, float(np.percentile(values, _WHITE_PERCENTILE)) or 1.0)
        if not merged.oriented:  # nobody knows where up is: drawn as in the report, y downwards
            affine[1] *= -1
    told = {
        "dataset": merged.dataset,
        "reconstruction": merged.reconstruction,
        "window": window,
        "unit": unit,
        "along": merged.along,
        "frames": frames,
        "oriented": merged.oriented,
        "nifti": base64.b64encode(_nifti(values, slope, affine)).decode(),
    }
    path.write_text(f"kronufft({json.dumps(told)});\n", encoding="utf-8")


def _reduced(merged: Merged) -> tuple[NDArray[np.float32], list[int], NDArray[np.float64]]:
    """Return the values of the copy, its frames, and its affine in NIfTI's terms."""
    images = merged.images
    factors, frames = copied_frames(images.shape)
    coarser = Coarser(images, factors)
    values = np.empty((len(frames), *coarser.shape[1:]), np.float32)
    rows = max(1, images.chunks[1] // factors[1])
    for place, frame in enumerate(frames):
        for first in range(0, values.shape[1], rows):
            part = slice(first, first + rows)
            where = (slice(frame, frame + 1), part, slice(None), slice(None))
            values[place, part] = coarser[where][0]
    boxes = np.diag([*factors[1:], 1.0])
    boxes[:3, 3] = [(factor - 1) / 2 for factor in factors[1:]]
    return values, frames, ras_affine(merged.affine @ boxes)


def _nifti(values: NDArray[np.float32], slope: float, affine: NDArray[np.float64]) -> bytes:
    """Return values ``[frame, z, y, x]`` as gzipped NIfTI-1, rounded to multiples of ``slope``."""
    import nibabel

    header = nibabel.Nifti1Header()
    shape = values.shape if len(values) > 1 else values.shape[1:]
    header.set_data_shape(shape[::-1])
    header.set_data_dtype(np.int16)
    header.set_sform(affine, code="aligned")
    # NiiVue draws planes by these.
    header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), 1.0)[: len(shape)])
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, 0.0)
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, buffer, mtime=0) as file:
        header.write_to(file)
        for frame in values:
            file.write(np.rint(frame / slope).astype("<i2").data)
    return buffer.getvalue()


def _needs(images: Images, threads: int) -> dict[str, int]:
    factors, frames = copied_frames(images.shape)
    sizes = zip(images.shape[1:], factors[1:], strict=True)
    copy = len(frames) * math.prod(size // factor for size, factor in sizes)
    rows = max(images.chunk[1], factors[1])
    slab = rows * math.prod(images.shape[2:]) * images.itemsize
    return {
        "viewer: a row of chunks": slab * 3 // 2 + min(slab, CHUNKS_AT_ONCE * CHUNK_BYTES),
        # Of a voxel: single precision, a copy to order, compressed, as text, and joined.
        "viewer: the copy": 16 * copy,
    }


OUTPUT = Output(
    about="Magnitude at lower resolution, for the page viewer.html",
    encoding="text/javascript",
    write=write_viewer,
    needs=_needs,
)
