"""Signals of tissues over the images of a series, by their relaxation times.

References
----------
.. [1] M. Weigel, "Extended phase graphs: dephasing, RF pulses, and echoes - pure and simple", J.
   Magn. Reson. Imaging 41, 266-295 (2015).
.. [2] Y. Jiang, D. Ma, N. Seiberlich, V. Gulani, M. A. Griswold, "MR fingerprinting using fast
   imaging with steady state precession (FISP) with spiral readout", Magn. Reson. Med. 74,
   1621-1631 (2015).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.config.series import SeriesSettings

_RELAXATION_TIMES = 200
_STEP = 0.05
"""Between neighbouring times of a dictionary of T1 and T2, relative."""
_CONFIGURATIONS = 50
"""Of dephased magnetisation; what has dephased more often hardly comes back as an echo."""

Floats = NDArray[np.float64]


def signals_of(settings: SeriesSettings) -> tuple[Floats, Mapping[str, Floats]]:
    """Return signals of the settings' model, ``(image, entry)``, and the times they are of [s].

    The times are ``(entry,)`` by the name of what relaxes: ``T1``, ``T2``.
    """
    if settings.basis == "fingerprinting":
        t1, t2 = _pairs(settings)
        return fingerprints(settings, t1, t2), {"T1": t1, "T2": t2}
    times = np.geomspace(*settings.relaxation_times, _RELAXATION_TIMES)
    if settings.basis == "flip-angles":
        # Ernst's steady state, of a spoiled gradient echo.
        angles = np.deg2rad(np.asarray(settings.flip_angles))[:, None]
        left = np.exp(-(settings.repetition_time or 0) / times)
        return np.sin(angles) * (1 - left) / (1 - np.cos(angles) * left), {"T1": times}
    decayed = np.exp(-np.asarray(settings.times)[:, None] / times)
    if settings.basis == "t1-recovery":
        return 1 - 2 * decayed, {"T1": times}
    return decayed, {"T2": times}


def signal_bytes(settings: SeriesSettings, images: int) -> int:
    """Return the bytes that making the signals takes: they themselves, and a phase graph."""
    if settings.basis != "fingerprinting":
        return 8 * _RELAXATION_TIMES * images
    return 8 * len(_pairs(settings)[0]) * (images + 10 * _CONFIGURATIONS)


def fingerprints(settings: SeriesSettings, t1: Floats, t2: Floats) -> Floats:
    """Return signals right after each pulse of a spoiled (FISP) sequence [2]_, ``(image, entry)``.

    By an extended phase graph [1]_ of pulses about one axis, between which a gradient dephases by
    one turn; ``t1``, ``t2`` are ``(entry,)`` [s]. An echo time only scales them.
    """
    angles = np.deg2rad(np.asarray(settings.flip_angles))
    intervals = np.broadcast_to(np.asarray(settings.repetition_times), angles.shape)
    # F+, F- and Z of all configurations are real where pulses are about one axis.
    plus, minus, along = np.zeros((3, _CONFIGURATIONS, len(t1)))
    along[0] = 1.0
    if settings.inversion_time is not None:
        along[0] = 1 - 2 * np.exp(-settings.inversion_time / t1)
    signals = np.empty((len(angles), len(t1)))
    for number, (angle, interval) in enumerate(zip(angles, intervals, strict=True)):
        stays, turns, sine = np.cos(angle / 2) ** 2, np.sin(angle / 2) ** 2, np.sin(angle)
        transverse = sine / 2 * (plus + minus)
        plus, minus = (
            stays * plus - turns * minus + sine * along,
            stays * minus - turns * plus + sine * along,
        )
        along = np.cos(angle) * along - transverse
        signals[number] = plus[0]
        decay = np.exp(-interval / t2)
        plus[1:], minus[:-1] = plus[:-1] * decay, minus[1:] * decay
        minus[-1] = 0
        plus[0] = minus[0]
        recovers = np.exp(-interval / t1)
        along *= recovers
        along[0] += 1 - recovers
    return signals


def _pairs(settings: SeriesSettings) -> tuple[Floats, Floats]:
    """Return T1 and T2 of all entries, of which T2 is not the longer one."""
    t1, t2 = (
        np.geomspace(*ends, 1 + int(np.ceil(np.log(ends[1] / ends[0]) / _STEP)))
        for ends in (settings.relaxation_times, settings.t2_times)
    )
    first, second = (each.ravel() for each in np.meshgrid(t1, t2, indexing="ij"))
    return first[second <= first], second[second <= first]
