"""What the instruments of a phase history add to each pulse, told by a target at a known place.

The phase is that of the sum over all frequencies, once the path over the target is taken away.
Channels of antennas that stand still are pulses too, and each may have cables of its own.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.pieces import pieces
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.wavefronts import unit_phasor
from pipeline.rf.raw import RfRawData

_SAMPLES_AT_ONCE = 2**18
SAMPLE_BYTES = 88
"""Bytes of a sample that is compared with the target: as read, as expected, and products."""
_MOST_NEEDED, _ABOVE_NOISE = 0.5, 3
"""Coherence below which nothing like the target was found: three times that of noise, or half."""


def samples_at_once(pulses: int, frequencies: int) -> int:
    """Return how many samples are compared together."""
    return min(pulses, max(1, _SAMPLES_AT_ONCE // frequencies)) * frequencies


def target_phases(
    raw: RfRawData, position: tuple[float, ...], dataset: str
) -> tuple[NDArray[np.float64], float]:
    """Return the phases that are to be taken away, float64 ``[frame, pulse]`` [rad].

    And the coherence: the modulus of the sum over frequencies, over the sum of moduli, as the mean
    of all pulses. `DataError` if nothing stands out at the position.
    """
    place = np.zeros(3)
    place[: len(position)] = position
    k = wavenumbers(raw.frequencies, raw.scene.speed)
    sums = np.empty((raw.frames, raw.pulses), np.complex128)
    moduli = np.empty((raw.frames, raw.pulses))
    for frame in range(raw.frames):
        for some in pieces(raw.pulses, max(1, _SAMPLES_AT_ONCE // len(k))):
            paths = raw.paths(frame, some)
            excess = paths.path_differences(place)[:, None]
            expected = unit_phasor(paths.wavenumbers(k, raw.scene.speed) * excess)
            measured = raw.target_measurements(frame, some)
            sums[frame, some] = np.sum(measured * expected.conj(), axis=1)
            moduli[frame, some] = np.sum(np.abs(measured), axis=1, dtype=np.float64)
    coherence = float(np.mean(np.abs(sums) / np.maximum(moduli, np.finfo(float).tiny)))
    needed = min(_MOST_NEEDED, _ABOVE_NOISE / np.sqrt(len(k)))
    if coherence < needed:
        raise DataError(
            f"{dataset}: no scatterer stands out at the reference target {position} m: its "
            f"frequencies agree to {coherence:.2f}, at least {needed:.2f} is needed; check the "
            "position, and which measurement is `y_target`"
        )
    return np.angle(sums), coherence
