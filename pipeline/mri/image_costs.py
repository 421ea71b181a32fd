"""What measuring and drawing MRI images takes beyond what all images do. Pure."""

from pipeline.engine.images import Images
from pipeline.storage.acquired import Acquired


def measuring(acquired: Acquired, images: Images) -> list[dict[str, int]]:
    """Return what measuring takes, by phase and by what it is for [byte]."""
    return []


def drawn_voxels(images: Images) -> int:
    """Return the voxels held to draw an image: the largest plane, with the chunks it cuts."""
    return images.voxels * images.chunk[1] // images.shape[1]
