"""The calibration of RF data: its steps, in order."""

from pipeline.engine.chain import Step
from pipeline.rf.calibration import autofocus, consistency, density, instruments, model_error

STEPS: tuple[Step, ...] = (instruments, model_error, autofocus, density, consistency)
