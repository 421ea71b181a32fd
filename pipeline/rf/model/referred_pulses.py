"""Pulses of a phase history as they are read: phases from the origin on, and density weights."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.engine.job import BlockJob
from pipeline.engine.stream import Arrays
from pipeline.errors import DataError
from pipeline.pieces import pieces
from pipeline.rf.arrays import PHASES
from pipeline.rf.geometry.antenna_pattern import seen_squares
from pipeline.rf.geometry.phase_history import SubAperture
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration

_AT_A_TIME = 2**18
"""Weights that are summed together."""


class ReferredPulses:
    """Measurements of pulses and frequencies, with density weights where there are some."""

    def __init__(self, job: BlockJob, raw: RfRawData, calibration: Calibration) -> None:
        self._job, self._raw, self._calibration = job, raw, calibration
        self.real = np.float32 if job.real == torch.float32 else np.float64
        self._phases = calibration.array(PHASES)
        self.weighted = job.settings.weights == "density" and "weights" in calibration.arrays

    def read(self, frame: int, tile: SubAperture) -> Arrays:
        """Return samples, complex ``[pulse, freq]``, and their weights if there are some, real."""
        stored = self._raw.pulse_measurements(frame, tile.pulses, tile.band)
        referred = np.conj(tile.weights()) * stored
        if self._phases is not None:  # of autofocus
            referred *= np.exp(-1j * self._phases[frame, tile.pulses])[:, None]
        if not np.isfinite(referred.view(np.float64)).all():
            raise DataError(f"{self._job.who}: pulses {tile.pulses} are not finite")
        samples = referred.astype(np.result_type(self.real, np.complex64), copy=False)
        return (samples, self.density(frame, tile)) if self.weighted else (samples,)

    def density(self, frame: int, tile: SubAperture) -> NDArray[np.floating]:
        """Return the density weights of a tile, real ``[pulse, freq]``."""
        found = self._calibration.weights(frame, tile.pulses, tile.band)
        assert found is not None  # weighted
        return found.astype(self.real, copy=False)

    def moments(self, frame: int) -> tuple[float, float]:
        """Return the sums of a frame's weights and of their squares: of ones where there are none.

        Squares count as far as antennas see the scene's origin.
        """
        raw = self._raw
        seen = seen_squares(raw.pattern, raw.paths(frame), raw.scene.centre)
        if not self.weighted:
            count = len(raw.frequencies)
            return float(raw.pulses * count), float(seen.sum() * count)
        total = squares = 0.0
        for some in pieces(raw.pulses, max(1, _AT_A_TIME // len(raw.frequencies))):
            found = self._calibration.weights(frame, some)
            assert found is not None  # weighted
            total += float(found.sum(dtype=np.float64))
            squares += float(seen[some] @ np.square(found, dtype=np.float64).sum(1))
        return total, squares
