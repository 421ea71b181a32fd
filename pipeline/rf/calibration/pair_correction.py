"""What the instrument of each pair adds to its measurements, and how it is taken away.

With time dependence ``exp(+j w t)``, a pair whose clock is off by ``phase``, whose cables add
``delay``, and whose elements have the gains ``g`` measures at frequency ``f``

    g_tx g_rx exp(j (phase - 2 pi f delay))

times what it should. Where these are not known they are estimated from a target at a known place,
by a matched search: the delay is the one at which all frequencies add up, so that no phase is ever
unwrapped [1]_.

References
----------
.. [1] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", Prentice Hall
   (1993), section 7.10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antennas import Pair, green, wavenumbers
from pipeline.rf.geometry.wavefronts import unit_phasor

_FINER_THAN_BAND = 8
"""Steps of the search for the delay within the reciprocal of the band."""
LEAST_COHERENCE = 0.5
"""Of the frequencies at the best delay; below it, nothing like the target was found."""


@dataclass(frozen=True, eq=False)
class PairCorrection:
    """The instrument of one pair.

    Attributes
    ----------
    phase : ndarray
        float64 ``[frame]`` [rad].
    delay : float
        [s].
    gain_tx, gain_rx : ndarray or None
        complex128 ``[element]``; ones if None.
    """

    phase: NDArray[np.float64]
    delay: float = 0.0
    gain_tx: NDArray[np.complex128] | None = None
    gain_rx: NDArray[np.complex128] | None = None

    def response(
        self, frame: int, frequencies: NDArray[np.float64], antennas: Pair | None
    ) -> NDArray[np.complex128]:
        """Return what the measurements were multiplied by, complex128 ``[freq, m1, m2]``.

        Parameters
        ----------
        frame
            Index.
        frequencies
            ``[freq]`` [Hz].
        antennas
            The pair; it may be None where elements have no gains.
        """
        cycles = np.remainder(frequencies * self.delay, 1.0)
        clock = np.exp(1j * (self.phase[frame] - 2 * np.pi * cycles))[:, None, None]
        if antennas is None or (self.gain_tx is None and self.gain_rx is None):
            return np.asarray(clock)
        return np.asarray(clock * element_product(antennas, self.gain_tx, self.gain_rx))

    def record(self) -> dict[str, Any]:
        """Return the correction as JSON values; gains as pairs of real and imaginary part."""
        found: dict[str, Any] = {"phase_rad": self.phase.tolist(), "delay_s": self.delay}
        for name in ("gain_tx", "gain_rx"):
            gains = getattr(self, name)
            if gains is not None:
                found[name] = np.stack([gains.real, gains.imag], axis=-1).tolist()
        return found


def element_product(
    antennas: Pair,
    transmitters: NDArray[np.complex128] | None,
    receivers: NDArray[np.complex128] | None,
) -> NDArray[np.complex128]:
    """Return the product of one number a transmitter and one a receiver, ``[m1, m2]``."""
    (t1, t2), (r1, r2) = antennas.grids
    tx = np.ones(len(antennas.tx), complex) if transmitters is None else transmitters
    rx = np.ones(len(antennas.rx), complex) if receivers is None else receivers
    product = np.multiply.outer(tx.reshape(t1, t2), rx.reshape(r1, r2))
    return np.asarray(product.swapaxes(1, 2).reshape(t1 * r1, t2 * r2))


def by_elements(antennas: Pair, measured: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return measurements ``[m1, m2]`` as ``[tx, rx]``: `element_product` undone."""
    (t1, t2), (r1, r2) = antennas.grids
    split = measured.reshape(t1, r1, t2, r2).swapaxes(1, 2)
    return np.asarray(split.reshape(len(antennas.tx), len(antennas.rx)))


def target_response(
    antennas: Pair,
    frequencies: ArrayLike,
    position: NDArray[np.float64],
    centre: NDArray[np.float64],
    weights: NDArray[np.complex128] | None,
) -> NDArray[np.complex128]:
    """Return what a pair measures of a point scatterer of amplitude 1.

    complex128 ``[freq, m1, m2]``. Paths are exact; the scatterer is isotropic.

    Parameters
    ----------
    antennas
        The pair.
    frequencies
        ``[freq]`` [Hz].
    position, centre
        Of the scatterer, and of the scene, ``(3,)`` [m].
    weights
        What the pair's centre measures of a scatterer in the scene's centre, ``[freq]``; None for
        path loss and phase of free space.
    """
    k = wavenumbers(frequencies)
    legs = [np.linalg.norm(position - array, axis=1) for array in (antennas.tx, antennas.rx)]
    if weights is None:
        fields = [green(k[:, None], leg) for leg in legs]
        scale = np.full(len(k), antennas.gain, complex)
    else:
        ranges = [np.linalg.norm(centre - array) for array in antennas.centres]
        fields = [
            unit_phasor(k[:, None] * (leg - range_)) * (range_ / leg)
            for leg, range_ in zip(legs, ranges, strict=True)
        ]
        scale = weights
    return np.stack(
        [
            element_product(antennas, tx, rx) * factor
            for tx, rx, factor in zip(*fields, scale, strict=True)
        ]
    )


@dataclass(frozen=True)
class DelayFit:
    """Phase and delay of a response that is known at some frequencies.

    Attributes
    ----------
    delay : float
        [s].
    phase : float
        [rad], at frequency 0.
    coherence : float
        Modulus of the sum over frequencies at that delay, relative to the sum of moduli.
    """

    delay: float
    phase: float
    coherence: float


def fit_delay(
    response: NDArray[np.complex128], frequencies: NDArray[np.float64], *, largest: float | None
) -> DelayFit:
    """Fit ``exp(j (phase - 2 pi f delay))`` to a complex response by matched search.

    Parameters
    ----------
    response
        complex128 ``[freq]``.
    frequencies
        ``[freq]``, increasing [Hz].
    largest
        Longest delay to look for, of either sign [s]; None for half of what the smallest step of
        frequency tells apart.
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
    """Split responses of transmitters and receivers into a gain of each: the nearest product.

    Parameters
    ----------
    measured
        complex128 ``[tx, rx]``: response of each combination, relative to what it should be.
    who
        The pair; begins the message of an error.

    Returns
    -------
    gain_tx, gain_rx
        complex128 ``[element]``, each of root mean square 1, and of a mean that is real and
        positive: what all elements have in common is the pair's.
    common
        Modulus of what they have in common.
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
