"""Numbers of readouts, and places of samples along a straight one."""

import numpy as np
from numpy.typing import NDArray

ALL = slice(None)


def numbers(readouts: int, frame: int, selection: slice) -> NDArray[np.float64]:
    """Return the numbers of some readouts of a frame, counted through all frames."""
    return frame * readouts + np.arange(readouts, dtype=np.float64)[selection]


def spoke(samples: int, *, from_centre: bool = False) -> NDArray[np.float64]:
    """Return the distances from the centre of uniform samples in ``[-pi, pi)``.

    Sample ``samples // 2`` is the centre, or with ``from_centre`` the first one.
    """
    if from_centre:
        return np.pi * (np.arange(samples) / samples)
    return np.pi * (2 * (np.arange(samples) - samples // 2) / samples)
