"""The calibration of MRI data: its steps, in order."""

from pipeline.engine.chain import Step
from pipeline.mri.calibration import consistency, density, noise, sensitivities

STEPS: tuple[Step, ...] = (noise, density, sensitivities, consistency)
