"""MRI data as normal equations."""

from pipeline.engine.accumulation import Measurement
from pipeline.engine.job import BlockJob
from pipeline.mri.model.measurement import MriMeasurement
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import Calibration


def measurement_of(job: BlockJob, data: RawData, calibration: Calibration) -> Measurement:
    """Return what turns data of this kind into normal equations for a job."""
    return MriMeasurement(job, data, calibration)
