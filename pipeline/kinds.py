"""The kinds of data: which reader and which measurement a raw store asks for."""

from pathlib import Path

from pipeline.engine.block import Measurement
from pipeline.engine.job import BlockJob
from pipeline.errors import DataError
from pipeline.mri.model.measurement import MriMeasurement
from pipeline.mri.raw import RawData
from pipeline.rf.model.pairs import PairsMeasurement
from pipeline.rf.model.pulses import PhaseHistoryMeasurement
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import open_published

Acquisition = RawData | RfRawData


def open_raw(marker: Path) -> Acquisition:
    """Return the acquisition that ``marker`` stands for.

    Raises
    ------
    DataError
        If marker or store is missing or incomplete, or its kind is unknown.
    """
    group = open_published(marker)
    match group.attrs.get("kind"):
        case "mri":
            return RawData(group, marker)
        case "rf":
            return RfRawData(group, marker)
        case other:
            raise DataError(f"{marker}: its store has kind = {other!r}; run `ingest` again")


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
