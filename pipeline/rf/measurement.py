"""RF data as normal equations: pairs of antenna arrays, or the pulses of a phase history."""

from pipeline.engine.accumulation import Measurement
from pipeline.engine.job import BlockJob
from pipeline.rf.model.explicit_pulses import ExplicitPulsesMeasurement
from pipeline.rf.model.pairs import PairsMeasurement
from pipeline.rf.model.pulses import PhaseHistoryMeasurement
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration


def measurement_of(job: BlockJob, data: RfRawData, calibration: Calibration) -> Measurement:
    """Return what sums up the data of a job as normal equations."""
    if not data.pairs:
        explicit = job.row.model in ("exact", "omega-k")
        pulses = ExplicitPulsesMeasurement if explicit else PhaseHistoryMeasurement
        return pulses(job, data, calibration)
    return PairsMeasurement(job, data, calibration)
