"""What the instruments of pairs add, told by a target at a known place.

It is found by a matched search: the delay is the one at which all frequencies add up, so that no
phase is ever unwrapped [1]_. What the numbers mean stands in `pipeline.rf.model.instruments`.

References
----------
.. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", Prentice Hall
   (1993), section 7.10.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.config.calibration import ReferenceTargetSettings
from pipeline.errors import DataError
from pipeline.pieces import pieces
from pipeline.rf.geometry.antenna_pattern import AntennaPattern
from pipeline.rf.geometry.antennas import Pair, green, wavenumbers
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import unit_phasor
from pipeline.rf.model.instruments import PairCorrection, by_elements, element_product
from pipeline.rf.raw import RfRawData

_FINER_THAN_BAND = 8
"""Steps of the search for the delay within the reciprocal of the band."""
_LEAST_COHERENCE = 0.5
"""Of the frequencies at the best delay; below it, nothing like the target was found."""
_TILE_SAMPLES = 2**22
"""Measurements that are compared with the target together."""
SAMPLE_BYTES = 88
"""Bytes a measurement of a tile: as read, the target, the instrument, and products; measured."""


def target_response(
    antennas: Pair,
    frequencies: ArrayLike,
    position: NDArray[np.float64],
    scene: Scene,
    weights: NDArray[np.complex128] | None,
    pattern: AntennaPattern | None = None,
) -> NDArray[np.complex128]:
    """Return what a pair measures of a point scatterer of amplitude 1 at ``position``.

    complex128 ``[freq, m1, m2]``. Paths are exact; the scatterer is isotropic. The weights,
    ``[freq]``, are what the pair's centre measures of a scatterer in the scene's centre; None for
    path loss and phase of free space. The pattern is that of all antennas.
    """
    k = wavenumbers(frequencies, scene.speed)
    legs = [np.linalg.norm(position - array, axis=1) for array in (antennas.tx, antennas.rx)]
    if weights is None:
        fields = [green(k[:, None], leg) for leg in legs]
        scale = np.full(len(k), antennas.gain, complex)
    else:
        ranges = [np.linalg.norm(scene.centre - array) for array in antennas.centres]
        fields = [
            unit_phasor(k[:, None] * (leg - range_)) * (range_ / leg)
            for leg, range_ in zip(legs, ranges, strict=True)
        ]
        scale = weights
    if pattern is not None:
        fields = [
            field * pattern.amplitudes(array, position[None], scene.centre)[:, 0]
            for field, array in zip(fields, (antennas.tx, antennas.rx), strict=True)
        ]
    return np.stack(
        [
            element_product(antennas, tx, rx) * factor
            for tx, rx, factor in zip(*fields, scale, strict=True)
        ]
    )


@dataclass(frozen=True)
class DelayFit:
    """Phase and delay of a response that is known at some frequencies.

    The coherence is the modulus of its sum over frequencies at that delay, over the sum of moduli.
    """

    delay: float  # s
    phase: float  # rad, at frequency 0
    coherence: float


def fit_delay(
    response: NDArray[np.complex128], frequencies: NDArray[np.float64], *, largest: float | None
) -> DelayFit:
    """Fit ``exp(j (phase - 2 pi f delay))`` to a response, ``[freq]``, by matched search.

    ``largest`` is the longest delay to look for, of either sign [s]; None for half of what the
    smallest step of frequency tells apart.
    """
    from scipy.optimize import minimize_scalar

    # Phases are counted from the middle of the band, where they hardly depend on the delay.
    middle = (frequencies[0] + frequencies[-1]) / 2
    offsets = frequencies - middle
    delay = 0.0
    if len(frequencies) > 1:
        reach = 0.5 / np.diff(frequencies).min() if largest is None else largest
        step = 1 / (_FINER_THAN_BAND * np.ptp(frequencies))
        delays = np.arange(-np.floor(reach / step), np.floor(reach / step) + 1) * step

        def power(tried: float) -> float:
            return float(np.abs(np.sum(response * np.exp(2j * np.pi * offsets * tried))) ** 2)

        best = float(delays[int(np.argmax([power(tried) for tried in delays]))])
        found = minimize_scalar(
            lambda tried: -power(best + tried * step) / power(best),
            bounds=(-1, 1),
            method="bounded",
            options={"xatol": 1e-6},
        )
        delay = best + float(found.x) * step
    total = np.sum(response * np.exp(2j * np.pi * offsets * delay))
    phase = float(np.angle(total)) + 2 * np.pi * float(np.remainder(middle * delay, 1.0))
    return DelayFit(
        delay=delay,
        phase=float(np.remainder(phase + np.pi, 2 * np.pi) - np.pi),
        coherence=float(np.abs(total) / max(np.sum(np.abs(response)), np.finfo(float).tiny)),
    )


def fit_elements(
    measured: NDArray[np.complex128], who: str
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], float]:
    """Split responses, ``[tx, rx]``, into a gain of each element: the nearest product.

    Responses, complex128, are relative to what they should be. The gains ``[element]`` of
    transmitters and receivers are each of root mean square 1, and of a mean that is real and
    positive: what all elements have in common is the pair's, and its modulus is returned third.
    """
    left, values, right = np.linalg.svd(measured)
    gains = [left[:, 0], right[0]]
    means = [gain.mean() for gain in gains]
    if values[0] == 0 or min(map(abs, means)) < 1e-6:
        raise DataError(
            f"{who}: the reference target does not tell the gains of its elements; leave "
            "`element_gains` out"
        )
    tx, rx = (
        gain * (np.sqrt(len(gain)) * abs(mean) / mean)
        for gain, mean in zip(gains, means, strict=True)
    )
    return tx, rx, float(values[0] / np.sqrt(measured.size))


def frequencies_together(rows: tuple[int, ...]) -> int:
    """Return of how many frequencies a pair's ``rows`` measurements are looked at together."""
    return max(1, _TILE_SAMPLES // math.prod(rows))


class SeenTarget:
    """The reference target as one pair measured it; `DataError` if the pair has no positions."""

    def __init__(
        self, raw: RfRawData, pair: int, target: ReferenceTargetSettings, dataset: str
    ) -> None:
        self._raw, self._pair, self._target = raw, pair, target
        self._who = f"{dataset}: pair {pair}"
        antennas = raw.antennas(pair)
        if antennas is None:
            raise DataError(f"{self._who} has no positions, which a reference target needs")
        self._antennas = antennas
        self._position = np.zeros(3)
        self._position[: len(target.position)] = target.position
        if raw.pattern is not None and not all(
            raw.pattern.amplitudes(array, self._position[None], raw.scene.centre).all()
            for array in (antennas.tx, antennas.rx)
        ):
            raise DataError(
                f"{self._who}: by their `antenna` pattern, elements do not see the reference "
                f"target {target.position} m; give a target before all of them"
            )

    def correction(self) -> tuple[PairCorrection, dict[str, float]]:
        """Return what the instrument adds, and for the record how well the target was seen.

        `DataError` if nothing stands out at its place, or if that does not tell gains of elements.
        """
        target, frames = self._target, self._raw.frames
        phase = np.zeros(frames)
        delay, coherence = 0.0, 1.0
        for frame in range(frames):
            response = self._mean_response(frame)
            if frame == 0:
                fit = fit_delay(response, self._raw.frequencies, largest=target.largest_delay)
                delay = fit.delay
            else:  # cables do not change from frame to frame, clocks do
                cycles = np.remainder(self._raw.frequencies * delay, 1.0)
                turned = response * np.exp(2j * np.pi * cycles)
                fit = fit_delay(turned, self._raw.frequencies, largest=0.0)
            phase[frame] = fit.phase
            coherence = min(coherence, fit.coherence)
        if coherence < _LEAST_COHERENCE:
            raise DataError(
                f"{self._who}: no scatterer stands out at the reference target {target.position} "
                f"m: its frequencies agree to {coherence:.2f}, at least {_LEAST_COHERENCE} is "
                "needed; check the position, or raise `largest_delay`"
            )
        elements = self._element_responses(PairCorrection(phase, delay))
        gain_tx = gain_rx = None
        common = float(np.abs(elements.mean()))
        if target.element_gains:
            gain_tx, gain_rx, common = fit_elements(elements, self._who)
        if target.amplitude is not None:
            gain_tx = np.ones(len(self._antennas.tx), complex) if gain_tx is None else gain_tx
            gain_tx = gain_tx * (common / target.amplitude)
        found = PairCorrection(phase, delay, gain_tx, gain_rx)
        scale = common if target.amplitude is None else target.amplitude
        return found, {"coherence": coherence, "residual": self._residual(found, scale)}

    def _tiles(
        self, frame: int
    ) -> Iterator[tuple[slice, NDArray[np.complex64], NDArray[np.complex128]]]:
        """Yield some frequencies, what was measured, and what a target of amplitude 1 gives."""
        raw = self._raw
        weights = raw.weights(self._pair)
        together = frequencies_together(raw.measurement_shape(self._pair))
        for band in pieces(len(raw.frequencies), together):
            values = raw.measurements(frame, self._pair, band)
            expected = target_response(
                self._antennas,
                raw.frequencies[band],
                self._position,
                raw.scene,
                None if weights is None else weights[band],
                raw.pattern,
            )
            yield band, values, expected

    def _mean_response(self, frame: int) -> NDArray[np.complex128]:
        """Return what the whole pair measured of what it should, complex128 ``[freq]``."""
        response = np.empty(len(self._raw.frequencies), np.complex128)
        for band, values, expected in self._tiles(frame):
            response[band] = np.sum(np.conj(expected) * values, axis=(1, 2)) / np.sum(
                np.abs(expected) ** 2, axis=(1, 2)
            )
        return response

    def _corrected(
        self, correction: PairCorrection, band: slice, values: NDArray[np.complex64]
    ) -> NDArray[np.complex128]:
        response = correction.response(0, self._raw.frequencies[band], self._antennas)
        return np.asarray(values / response)

    def _element_responses(self, correction: PairCorrection) -> NDArray[np.complex128]:
        """Return what each transmitter and receiver, ``[tx, rx]``, measured of what they should."""
        total = np.zeros(self._antennas.measurement_shape, np.complex128)
        power = np.zeros(self._antennas.measurement_shape)
        for band, values, expected in self._tiles(0):
            total += np.sum(np.conj(expected) * self._corrected(correction, band, values), axis=0)
            power += np.sum(np.abs(expected) ** 2, axis=0)
        return by_elements(self._antennas, total / power)

    def _residual(self, correction: PairCorrection, scale: float) -> float:
        """Return how much of the corrected measurements is not the target, relative l2."""
        wrong = energy = 0.0
        for band, values, expected in self._tiles(0):
            clean = self._corrected(correction, band, values)
            wrong += float(np.sum(np.abs(clean - expected * scale) ** 2))
            energy += float(np.sum(np.abs(clean) ** 2))
        return math.sqrt(wrong / energy)
