"""Phases of pulses, from what each adds to some voxels about bright places of the image.

All take contributions, complex ``[pulse, voxel]``, and return float64 ``[pulse]`` [rad] and the
last change of a phase [rad]. A linear trend of phases moves the image and sharpens nothing, so a
shift across range may remain.

References
----------
.. [1] J. N. Ash, "An autofocus method for backprojection imagery in synthetic aperture radar", IEEE
   Geosci. Remote Sens. Lett. 9, 104-108 (2012).
.. [2] T. J. Kragh, A. A. Kharbouch, "Monotonic iterative algorithm for minimum-entropy autofocus",
   Proc. Adaptive Sensor Array Processing Workshop, MIT Lincoln Laboratory (2006).
.. [3] D. E. Wahl, P. H. Eichel, D. C. Ghiglia, C. V. Jakowatz, "Phase gradient autofocus - a robust
   tool for high resolution SAR phase correction", IEEE Trans. Aerosp. Electron. Syst. 30, 827-835
   (1994).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SWEEPS = 40
_STILL = 0.01
"""Change of all phases below which they have converged [rad]."""
_BRIGHTEST, _NARROWER, _NARROWEST = 0.02, 0.7, 1 / 32
"""Of the voxels; of the window from one sweep to the next, and of it in the end."""

Contributions = NDArray[np.complexfloating]
Phases = tuple[NDArray[np.float64], float]


def sharpest_phases(contributions: Contributions, advance: Any = lambda done: None) -> Phases:
    """Raise ``sum |sum_p exp(-j phi_p) B_p|^4`` [1]_.

    As a function of one phase it is a constant and two harmonics, whose maximum is found to
    rounding.
    """
    angles = np.linspace(-np.pi, np.pi, 64, endpoint=False)

    def best(others: NDArray[np.complex128], own: Contributions) -> float:
        cross = np.conj(others) * own
        first = 4 * np.sum((np.abs(others) ** 2 + np.abs(own) ** 2) * cross)
        second = 2 * np.sum(cross**2)
        value = np.real(first * np.exp(-1j * angles) + second * np.exp(-2j * angles))
        found = float(angles[value.argmax()])
        for _ in range(4):  # Newton's method, from the best of 64 angles
            once, twice = first * np.exp(-1j * found), second * np.exp(-2j * found)
            curvature = float(np.real(-once - 4 * twice))
            if curvature >= 0:
                break
            found -= float(np.real(-1j * (once + 2 * twice))) / curvature
        return found

    return _one_by_one(contributions, best, advance)


def least_entropy_phases(contributions: Contributions, advance: Any = lambda done: None) -> Phases:
    """Lower the entropy of the image's power [2]_.

    What its change weighs the power of a voxel by is its logarithm, relative to that of voxels that
    the power comes from: of a background where pulses add up by chance.
    """
    background = float(np.mean(np.sum(np.abs(contributions) ** 2, axis=0)))

    def best(others: NDArray[np.complex128], own: Contributions) -> float:
        power = np.abs(others) ** 2 + np.abs(own) ** 2
        weights = np.log(np.maximum(power / background, 1e-12))
        return float(np.angle(np.sum(weights * np.conj(others) * own)))

    return _one_by_one(contributions, best, advance)


def _one_by_one(
    contributions: Contributions,
    best: Callable[[NDArray[np.complex128], Contributions], float],
    advance: Any,
) -> Phases:
    """Set each phase to the best for what the others add up to, in turn, until they are still."""
    phases = np.zeros(len(contributions))
    image = contributions.sum(0).astype(np.complex128)
    change = math.inf
    for sweep in range(SWEEPS):
        change = 0.0
        for pulse, own in enumerate(contributions):
            others = image - np.exp(-1j * phases[pulse]) * own
            found = best(others, own)
            change = max(change, abs(float(np.angle(np.exp(1j * (found - phases[pulse]))))))
            phases[pulse] = found
            image = others + np.exp(-1j * found) * own
        advance(1)
        if change < _STILL:
            advance(SWEEPS - 1 - sweep)
            break
    return phases, change


def gradient_phases(contributions: Contributions, advance: Any = lambda done: None) -> Phases:
    """Add up the phase gradient of the brightest voxels [3]_, over and over.

    What pulses add to a voxel in focus is constant, but for the error of their phases and for what
    is elsewhere; that turns from pulse to pulse, and a window takes away ever more of it.
    """
    count = len(contributions)
    phases, pulses = np.zeros(count), np.arange(count)
    turns = np.abs(np.fft.fftfreq(count)) * count
    power = np.sum(np.abs(contributions) ** 4, axis=0)  # at first no image is in focus
    for sweep in range(SWEEPS):
        focused = contributions * np.exp(-1j * phases).astype(np.complex64)[:, None]
        if sweep:
            power = np.abs(focused.sum(0)) ** 2
        brightest = focused[:, np.argsort(-power)[: max(1, int(_BRIGHTEST * len(power)))]]
        del focused  # as large as all contributions, and made anew
        window = turns <= max(count * _NARROWEST, count / 2 * _NARROWER**sweep)
        inside = np.fft.ifft(np.fft.fft(brightest, axis=0) * window[:, None], axis=0)
        steps = np.angle(np.sum(np.conj(inside[:-1]) * inside[1:], axis=1))
        error = np.append(0.0, np.cumsum(steps))
        error -= np.polyval(np.polyfit(pulses, error, 1), pulses)
        phases += error
        advance(1)
    return phases, float(np.abs(error).max())


METHODS: Mapping[str, Callable[..., Phases]] = {
    "sharpness": sharpest_phases,
    "entropy": least_entropy_phases,
    "phase-gradient": gradient_phases,
}
"""By the name of the setting."""
