"""What `measure` needs, from the sizes of images. Pure; temporaries were measured.

What the code and its costs both go by stands here, so that a changed metric repeats no plan.
"""

import math
from collections.abc import Mapping, Sequence

from pipeline.engine import processes
from pipeline.engine.images import Images
from pipeline.engine.needs import Need, largest
from pipeline.storage.acquired import Acquired
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE
from pipeline.storage.receipts import RECEIPT_BYTES

_ROW_BYTES = 4_000
"""Of the row of an image in the table."""
_SLAB_VOXELS = 2**21
_ALONE = 31
"""Bytes a voxel of a slab besides itself: widened, and its magnitude."""
_COMPARED = 48
"""Of a slab with a reference: both widened and both magnitudes; for the similarity, magnitudes of
the slab before in the place of one that is widened."""
_SIMILARITY = 110
"""Bytes a pixel of a slice while its structural similarity is taken."""
_SHRUNK, _GROWN = 24, 32
"""Bytes a voxel of a reference that is brought to a smaller matrix, and to a larger one."""


def slab_planes(shape: Sequence[int], chunk_planes: int) -> int:
    """Return how many planes of an image are measured together: whole chunks of about 2**21 voxels.

    `shape` is ``(z, y, x)``.
    """
    _, height, width = shape
    return max(chunk_planes, _SLAB_VOXELS // (height * width) // chunk_planes * chunk_planes)


def measure_memory(
    acquired: Acquired, images: Images, *, jobs: int, of_kind: Sequence[Mapping[str, int]] = ()
) -> Need:
    """Predict the peak memory of `measure`, which takes one slab of planes after the other.

    `jobs` are those of the plan, whose receipts are read; `of_kind` is what the measures of this
    kind of data take, by phase and by what it is for [byte].
    """
    tables = {"receipts": RECEIPT_BYTES * jobs, "rows": _ROW_BYTES * images.shape[0]}
    plane = math.prod(images.shape[2:])
    slab = min(images.shape[1], slab_planes(images.shape[1:], images.chunk[1])) * plane
    phases: list[Mapping[str, int]] = [
        {"slab of the image": (images.itemsize + _ALONE) * slab},
        *of_kind,
    ]
    if "reference" in acquired.arrays:
        stored = math.prod(acquired.shape)
        held = {"reference": 8 * images.voxels, "slab of the image": images.itemsize * slab}
        phases += [
            {**held, "slab: compared": _COMPARED * slab},
            {**held, "slab: magnitudes": 16 * slab, "similarity": _SIMILARITY * plane},
            {
                "reference": 8 * stored,
                "chunks as read": min(8 * stored, CHUNKS_AT_ONCE * CHUNK_BYTES),
            },
        ]
        if acquired.volume() != images.shape[1:]:
            resampled = max(_SHRUNK * stored, _GROWN * images.voxels)
            phases.append({"reference, resampled": resampled})
    most = largest(phases)
    # Targets are looked for by SciPy.
    done = processes.TABLES + ("targets" in acquired.arrays) * processes.SCIPY
    if processes.MEASURE + sum(most.values()) < done:
        return Need({"process": done, **tables})
    return Need({"process": processes.MEASURE, **tables, **most})
