"""What `kronufft check` asks of a reconstruction of RF data, before anything is copied."""

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.chain import Calibrating
from pipeline.rf.calibration import instruments
from pipeline.rf.combinations import require_possible


def check_settings(settings: AlgorithmSettings, job: Calibrating, who: str) -> None:
    """Refuse settings that an acquisition does not allow, nor what will be calibrated of it.

    Raises
    ------
    DataError, PlanError
        As the plan would.
    """
    said = job.settings.instruments.coherent if job.settings.instruments else None
    coherent = job.acquired.coherent if said is None else said
    estimated = job.methods[instruments.NAME] == instruments.TARGET
    require_possible(
        settings,
        who,
        pairs=job.acquired.pairs,
        coherent=coherent or estimated,
        exact_only=job.acquired.exact_only,
    )
