"""What frequencies and measurements must be like before they are stored."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError

_LOWEST, _HIGHEST = 1e6, 1e13  # Hz; beyond, a value is in another unit


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
        are not in Hz.
    """
    values = np.asarray(frequencies, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise DataError(
            f"{who}: the frequencies have the shape {values.shape}; expected one axis with at "
            "least one value [Hz]"
        )
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"{who}: frequency {index} is {values[index]}; expected a value in Hz")
    falling = np.flatnonzero(np.diff(values) <= 0)
    if falling.size:
        first = int(falling[0])
        raise DataError(
            f"{who}: the frequencies do not increase: {values[first]:.9g} Hz is followed by "
            f"{values[first + 1]:.9g} Hz at index {first + 1}; sort them together with the data"
        )
    low, high = values[0], values[-1]
    if not (low >= _LOWEST and high <= _HIGHEST):
        found = f"{who}: the frequencies reach from {low:.6g} to {high:.6g}, taken as Hz. "
        if low > 0 and high < 1e3:
            raise DataError(found + "They look like GHz: multiply them by 1e9")
        if low > 0 and high < 1e6:
            raise DataError(found + "They look like MHz: multiply them by 1e6")
        raise DataError(found + f"Expected {_LOWEST:g} to {_HIGHEST:g} Hz")
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
