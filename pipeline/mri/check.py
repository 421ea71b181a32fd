"""What `kronufft check` asks of a reconstruction of MRI data, before anything is copied."""

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.chain import NONE, Calibrating
from pipeline.mri.calibration import compression, off_resonance, sensitivities
from pipeline.mri.combinations import require_possible


def check_settings(settings: AlgorithmSettings, job: Calibrating, who: str) -> None:
    """Refuse settings that an acquisition does not allow, nor what will be calibrated of it.

    Raises
    ------
    ConfigError, DataError
        As the plan would.
    """
    acquired, methods = job.acquired, job.methods
    require_possible(
        settings,
        who,
        frames=acquired.frames,
        slices=acquired.slices,
        coils=compression.most_coils(job),
        maps=methods[sensitivities.NAME] != NONE,
        sets=sensitivities.map_sets(job),
        off_resonance=methods[off_resonance.NAME] != NONE,
        signals=acquired.arrays,
    )
