"""What `ingest` and the stages after the reconstruction need, from the sizes of images. Pure.

Without torch. Temporaries that a formula cannot name were measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.equations import EquationSettings, image_count, image_shape
from pipeline.engine.needs import CHUNKS_AT_ONCE, Need, largest
from pipeline.geometry.axes import as_volume
from pipeline.storage.acquired import Acquired
from pipeline.storage.blocks import image_chunks
from pipeline.storage.chunks import CHUNK_BYTES

_PROCESS_BYTES = 118 * 10**6
"""The interpreter, NumPy, Zarr and dask."""
_PROCESS_BYTES_WITH_TABLES = 200 * 10**6
"""With pandas and pyarrow, which are loaded at the end; SciPy, where targets are looked for."""
_PROCESS_BYTES_WITH_TORCH = 285 * 10**6
"""With torch, which simulations and checks of positions need."""
_INGEST_TILE = 64 * 2**20
"""Size of the tiles that `ingest` copies."""
_PROCESS_BYTES_WITH_DRAWINGS = 280 * 10**6
"""With pandas and matplotlib."""
_RECEIPT_BYTES = 40_000
"""Of a job's receipt once it is read."""
_ROW_BYTES = 4_000
"""Of the row of an image in the table."""
_CHUNK_COPIES = 3
"""A chunk as it was decoded, joined, and compressed."""
_SLAB_VOXELS = 2**21
"""Voxels that are compared together; see `pipeline.metrics.references.frame_slabs`."""
_COMPARED = 31
"""Bytes a voxel of a slab besides the two that are compared: widened, and their magnitudes."""
_SIMILARITY = 110
"""Bytes a pixel of a slice while its structural similarity is taken."""
_ERRORS, _DETECTION = 56, 64
"""Bytes a voxel of an RF image while its error is taken, and while detections are looked for."""
_WAVES = 2**20
"""Measurements at most whose wave vectors are looked at."""


@dataclass(frozen=True)
class Images:
    """The images of one reconstruction.

    Attributes
    ----------
    shape
        ``(frame, z, y, x)``.
    itemsize
        Bytes of a value: 8 or 16.
    """

    shape: tuple[int, ...]
    itemsize: int

    @classmethod
    def of(cls, acquired: Acquired, settings: EquationSettings, *, double: bool) -> "Images":
        """Return the images that a reconstruction makes of an acquisition."""
        count = image_count(acquired.frames, settings.frames_per_image)
        shape = as_volume(image_shape(acquired.shape, settings))
        return cls((count, *shape), 16 if double else 8)

    @property
    def voxels(self) -> int:
        """Of one image."""
        return math.prod(self.shape[1:])

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of the chunks that they are stored in."""
        return image_chunks(self.shape, self.itemsize)


def ingest_memory() -> Need:
    """Return what `ingest` needs, whatever the size of the acquisition: one tile at a time."""
    return Need(
        {
            "process": _PROCESS_BYTES_WITH_TORCH,
            "tile as read, in double precision": 2 * _INGEST_TILE,
            "tile as stored, its magnitudes and checks": 2 * _INGEST_TILE,
        }
    )


def merge_memory(images: Images, *, threads: int, jobs: int, nifti: bool = True) -> Need:
    """Predict the peak memory of `merge`.

    Parameters
    ----------
    images
        To be joined.
    threads
        Chunks in work at a time.
    jobs
        Of the plan, whose receipts are read.
    nifti
        Whether NIfTI is written, one row of chunks after the other.
    """
    at_once = min(threads, math.prod(map(_pieces, images.shape, images.chunk)))
    chunk = math.prod(images.chunk) * images.itemsize
    slab = images.chunk[0] * images.chunk[1] * math.prod(images.shape[2:]) * images.itemsize
    parts = largest(
        [
            # A chunk of the pyramid is computed from at most two of the images.
            {"chunks in work": at_once * _CHUNK_COPIES * max(chunk, min(CHUNK_BYTES, 2 * chunk))},
            {
                "NIfTI: a row of chunks": nifti * slab * 3 // 2,
                "NIfTI: chunks as read": nifti * min(slab, CHUNKS_AT_ONCE * CHUNK_BYTES),
            },
        ]
    )
    return Need({"process": _PROCESS_BYTES, "receipts": _RECEIPT_BYTES * jobs, **parts})


def measure_memory(acquired: Acquired, images: Images, *, jobs: int) -> Need:
    """Predict the peak memory of `measure`.

    Parameters
    ----------
    acquired
        The acquisition, with or without reference.
    images
        To be measured, one slab of planes after the other.
    jobs
        Of the plan, whose receipts are read.
    """
    tables = {"receipts": _RECEIPT_BYTES * jobs, "rows": _ROW_BYTES * images.shape[0]}
    plane = math.prod(images.shape[2:])
    planes = min(images.shape[1], max(images.chunk[1], _SLAB_VOXELS // plane))
    slab = planes * plane
    phases = [{"slab of the image": (images.itemsize + _COMPARED) * slab}]
    reference = 0
    if "reference" in acquired.arrays:
        stored = math.prod(acquired.shape)
        reference = 8 * images.voxels
        held = {"reference": reference, "slab of the image": (images.itemsize + 8) * slab}
        phases = [
            {**held, "slab: widened": _COMPARED * slab},
            {**held, "slab: magnitudes": 16 * slab, "similarity": _SIMILARITY * plane},
            {
                "reference": 8 * stored,
                "chunks as read": min(8 * stored, CHUNKS_AT_ONCE * CHUNK_BYTES),
            },
        ]
        if stored != images.voxels or as_volume(acquired.shape) != images.shape[1:]:
            phases.append({"reference, resampled": 32 * max(stored, images.voxels)})
    if acquired.kind == "rf":
        measured = {"image": images.itemsize * images.voxels, "reference": reference}
        waves = {"wave vectors": 80 * min(_WAVES, _measurements(acquired))}
        phases += [
            {**measured, **waves, "detection": _DETECTION * images.voxels},
            {**measured, **waves, "error": bool(reference) * _ERRORS * images.voxels},
        ]
    most = largest(phases)
    if _PROCESS_BYTES + sum(most.values()) < _PROCESS_BYTES_WITH_TABLES:
        return Need({"process": _PROCESS_BYTES_WITH_TABLES, **tables})
    return Need({"process": _PROCESS_BYTES, **tables, **most})


def report_memory(series: Sequence[tuple[Acquired, Images]]) -> Need:
    """Predict the peak memory of `report`, which shows one image of each reconstruction.

    Parameters
    ----------
    series
        The acquisition and the images of each reconstruction.
    """
    shown = []
    for acquired, images in series:
        compared = "reference" in acquired.arrays
        largest_matrix = max(images.voxels, math.prod(acquired.shape))
        resampled = as_volume(acquired.shape) != images.shape[1:]
        planes = 12 * images.voxels if acquired.kind == "rf" else 12 * _largest_plane(images)
        shown.append(
            {
                "images": 2 * planes,
                "reference": compared * (32 if resampled else 16) * largest_matrix,
            }
        )
    return Need({"process": _PROCESS_BYTES_WITH_DRAWINGS, **largest(shown)})


def _largest_plane(images: Images) -> int:
    """Return the pixels of the largest plane; of stored chunks, a row is read for it."""
    return images.voxels * images.chunk[1] // images.shape[1]


def _pieces(size: int, length: int) -> int:
    return -(-size // length)


def _measurements(acquired: Acquired) -> int:
    sizes = acquired.arrays.get("y", (1, _WAVES))
    return math.prod(sizes[1:])
