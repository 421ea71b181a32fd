"""What measuring and drawing RF images takes beyond what all images do. Pure.

Temporaries were measured.
"""

import math

from pipeline.engine.images import Images
from pipeline.rf.geometry.resolution import MOST_SAMPLES
from pipeline.storage.acquired import Acquired

_DETECTION, _BRIGHTEST = 64, 8
"""Bytes a voxel while detections are looked for, and the brightest point."""
_ERRORS = 56
"""Bytes a voxel while the error of an image is taken."""
_WAVE_BYTES = 80
"""Of a measurement whose wave vector is looked at."""


def measuring(acquired: Acquired, images: Images) -> list[dict[str, int]]:
    """Return what measuring takes, by phase and by what it is for [byte]."""
    compared = "reference" in acquired.arrays
    looked_for = _DETECTION if "targets" in acquired.arrays else _BRIGHTEST
    sizes = acquired.arrays.get("y", (1, MOST_SAMPLES))
    held = {
        "image": images.itemsize * images.voxels,
        "reference": compared * 8 * images.voxels,
        "wave vectors": _WAVE_BYTES * min(MOST_SAMPLES, math.prod(sizes[1:])),
    }
    return [
        {**held, "detection": looked_for * images.voxels},
        {**held, "error": compared * _ERRORS * images.voxels},
    ]


def drawn_voxels(images: Images) -> int:
    """Return the voxels held to draw an image: all, for maxima along axes."""
    return images.voxels
