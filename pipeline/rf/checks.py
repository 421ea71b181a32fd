"""What frequencies and measurements must be like before they are stored."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antennas import checked_frequencies

_HIGHEST = 1e13  # Hz: beyond is light, or another unit


def require_frequencies(frequencies: ArrayLike, who: str) -> NDArray[np.float64]:
    """Return ``frequencies`` as float64 [Hz] if they can be a radio measurement's.

    Parameters
    ----------
    frequencies
        In the order of the data.
    who
        Begins the message of an error.

    Raises
    ------
    DataError
        If there are none, one is not finite, they do not increase, or, by the look of them, they
        are not in Hz; the message names ``who``.
    """
    try:
        values = checked_frequencies(frequencies)
    except DataError as error:
        raise DataError(f"{who}: {error}") from None
    if values[-1] > _HIGHEST:
        raise DataError(
            f"{who}: the frequencies reach {values[-1]:g} Hz, beyond {_HIGHEST:g}; were they in Hz "
            "already?"
        )
    return values


def require_measurements(
    values: NDArray[np.complexfloating],
    frequencies: NDArray[np.float64],
    who: str,
    *,
    axis: int = 0,
) -> None:
    """Refuse measurements of one pair that are NaN, infinite, or all zero at a frequency.

    Parameters
    ----------
    values
        Complex, any shape.
    frequencies
        Of ``values`` along ``axis`` [Hz].
    who
        Names the pair, begins the message of an error.
    axis
        The axis of frequencies.

    Raises
    ------
    DataError
        Naming the first frequency that is not usable.
    """
    by_frequency = np.moveaxis(values, axis, 0).reshape(len(frequencies), -1)
    finite = np.isfinite(by_frequency).all(axis=1)
    if not finite.all():
        index = int(np.flatnonzero(~finite)[0])
        bad = np.count_nonzero(~np.isfinite(by_frequency[index]))
        raise DataError(
            f"{who} at {frequencies[index] / 1e9:.6g} GHz (index {index}): {bad} of "
            f"{by_frequency.shape[1]} values are NaN or infinite; leave the frequency out or "
            "correct it in the source"
        )
    measured = by_frequency.any(axis=1)
    if not measured.all():
        index = int(np.flatnonzero(~measured)[0])
        raise DataError(
            f"{who} at {frequencies[index] / 1e9:.6g} GHz (index {index}): all "
            f"{by_frequency.shape[1]} values are zero; leave the frequency out"
        )
