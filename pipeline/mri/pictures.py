"""Pictures of MRI images: planes in grey, as of any images."""

from pipeline.mri.raw import RawData
from pipeline.report.figures import Series


def series(acquisition: RawData, planes: Series) -> Series:
    """Return the images of an acquisition as they are shown."""
    return planes
