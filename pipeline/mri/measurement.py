"""MRI data as normal equations."""

from pipeline.engine.accumulation import Measurement
from pipeline.engine.job import BlockJob
from pipeline.mri.model.measurement import MriMeasurement
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import Calibration


def measurement_of(job: BlockJob, data: RawData, calibration: Calibration) -> Measurement:
    """Return what sums up the data of a job as normal equations."""
    return MriMeasurement(job, data, calibration)
