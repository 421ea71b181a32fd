"""What is known of MRI data when defaults are chosen."""

from pipeline.config.equations import Known
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import Calibration


def known(data: RawData, calibration: Calibration) -> Known:
    """Return what `calibrate` has found; see `pipeline.config.equations.decided`."""
    return Known(
        "mri",
        density=calibration.density != "none",
        noise="spectrum" in calibration.arrays,
        axes=sum(size > 1 for size in data.shape),
    )
