"""The calibration of MRI data: its steps, in order."""

from pipeline.engine.chain import Step
from pipeline.mri.calibration import density, noise, sensitivities

STEPS: tuple[Step, ...] = (noise, density, sensitivities)
