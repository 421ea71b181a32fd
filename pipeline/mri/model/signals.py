"""Signals of tissues over the images of a series, by their relaxation times."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.config.series import SeriesSettings

_RELAXATION_TIMES = 200

Floats = NDArray[np.float64]


def signals_of(settings: SeriesSettings) -> tuple[Floats, Mapping[str, Floats]]:
    """Return signals of the settings' model, ``(image, entry)``, and the times they are of [s].

    The times are ``(entry,)`` by the name of what relaxes: ``T1``, ``T2``.
    """
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
