"""What is known of RF data when defaults are chosen."""

from pipeline.config.equations import Known
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration


def known(data: RfRawData, calibration: Calibration) -> Known:
    """Return what the data state; see `pipeline.config.equations.decided`."""
    noise, density = data.noise_std() is not None, calibration.density != "none"
    axes = sum(size > 1 for size in data.shape)
    return Known("rf", density=density, noise=noise, axes=axes)
