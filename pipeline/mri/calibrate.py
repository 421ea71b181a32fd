"""The calibration of MRI data: its steps, in order.

Each step sees the data as the steps before it have corrected them.
"""

from pipeline.engine.chain import Step
from pipeline.mri.calibration import (
    binning,
    compression,
    consistency,
    delays,
    density,
    girf,
    noise,
    off_resonance,
    sensitivities,
    spectrum,
    whitening,
)

STEPS: tuple[Step, ...] = (
    whitening,
    compression,
    girf,
    delays,
    binning,
    noise,
    density,
    spectrum,
    sensitivities,
    off_resonance,
    consistency,
)
