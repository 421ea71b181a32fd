"""The kinds of data: which measurement a raw store holds."""

from pipeline.reconstruction.block import Measurement
from pipeline.reconstruction.job import BlockJob
from pipeline.reconstruction.mri import MriMeasurement
from pipeline.reconstruction.pairs import PairsMeasurement
from pipeline.reconstruction.phase_history import PhaseHistoryMeasurement
from pipeline.storage.calibration import Calibration
from pipeline.storage.open_raw import Acquisition
from pipeline.storage.raw import RawData


def measurement_of(job: BlockJob, data: Acquisition, calibration: Calibration) -> Measurement:
    """Return what turns this kind of data into normal equations.

    Parameters
    ----------
    job
        The job.
    data, calibration
        The acquisition and its calibration.

    Raises
    ------
    DataError
        If what the settings need is missing.
    """
    if isinstance(data, RawData):
        return MriMeasurement(job, data, calibration)
    if not data.pairs:
        return PhaseHistoryMeasurement(job, data, calibration)
    return PairsMeasurement(job, data)
