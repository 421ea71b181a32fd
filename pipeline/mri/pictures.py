"""Pictures of MRI images: planes in grey, as of any images."""

from pipeline.mri.calibration_pictures import shown_calibration
from pipeline.mri.raw import RawData
from pipeline.report.figures import Series

__all__ = ["series", "shown_calibration"]


def series(acquisition: RawData, planes: Series) -> Series:
    """Return the images of an acquisition as they are shown."""
    return planes
