"""What `report` needs, from the sizes of images. Pure; temporaries were measured."""

import math

from pipeline.engine import processes
from pipeline.engine.images import Images
from pipeline.engine.needs import Need
from pipeline.storage.acquired import Acquired


def report_memory(acquired: Acquired, images: Images, *, drawn: int) -> Need:
    """Predict the peak memory of `report`, which shows one image of each reconstruction in turn.

    For one of them; `drawn` are the voxels of an image that are held to draw it.
    """
    parts = {"process": processes.DRAWINGS, "images": 24 * drawn}
    if "reference" in acquired.arrays:
        resampled = acquired.volume() != images.shape[1:]
        matrix = max(images.voxels, math.prod(acquired.shape))
        parts["reference"] = (32 if resampled else 16) * matrix
    return Need(parts)
