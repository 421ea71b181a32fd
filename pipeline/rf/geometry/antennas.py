"""Antennas: positions, the pairs of arrays that measure together, frequencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import FARTHEST, SPEED_OF_LIGHT

_LOWEST_FREQUENCY = 1e6
"""Frequencies below this [Hz] are taken for GHz or MHz: at 1 MHz a wave is 300 m long."""
_HIGHEST_FREQUENCY = 1e13
"""Frequencies beyond this [Hz] are those of light, or in another unit."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A transmit array and a receive array that measure together.

    Both arrays are grids of elements along the first two scene axes, and every transmitter is
    received by every receiver: measurement ``[m1, m2]`` belongs to the transmitter ``(i1, i2)`` and
    the receiver ``(j1, j2)`` with ``m1 = i1 * rx_grid[0] + j1`` and ``m2 = i2 * rx_grid[1] + j2``.
    A linear transmit array crossed with a linear receive array thus measures ``[tx, rx]``.

    Parameters
    ----------
    tx, rx
        Positions of the elements, ``(element, 3)`` [m], in C order of their grids.
    tx_grid, rx_grid
        Elements along the first and the second scene axis. By default the transmitters lie along
        the first axis and the receivers along the second (Mills cross).
    paired
        Transmitter ``m`` is received by receiver ``m`` only, as in a phase history of pulses;
        measurements are ``[m, 0]``.
    gain
        Complex gain of the whole pair, dimensionless.

    Raises
    ------
    DataError
        If positions are not ``(element, 3)`` arrays of at most 1e12 m or do not fit the grids.
    """

    tx: NDArray[np.float64]
    rx: NDArray[np.float64]
    tx_grid: tuple[int, int] | None = None
    rx_grid: tuple[int, int] | None = None
    paired: bool = False
    gain: complex = 1.0

    def __post_init__(self) -> None:
        for name in ("tx", "rx"):
            object.__setattr__(self, name, _checked_positions(name, getattr(self, name)))
        if self.paired:
            if len(self.tx) != len(self.rx) or self.tx_grid or self.rx_grid:
                raise DataError(
                    f"pair: {len(self.tx)} transmitters and {len(self.rx)} receivers cannot be "
                    "paired one by one; that needs as many of both, and no grids."
                )
            object.__setattr__(self, "tx_grid", (len(self.tx), 1))
            object.__setattr__(self, "rx_grid", (len(self.rx), 1))
            return
        for name, alone in (("tx", (len(self.tx), 1)), ("rx", (1, len(self.rx)))):
            grid = getattr(self, f"{name}_grid") or alone
            grid = tuple(int(size) for size in grid)
            if len(grid) != 2 or math.prod(grid) != len(getattr(self, name)):
                raise DataError(
                    f"pair: {name}_grid {grid} does not hold the {len(getattr(self, name))} "
                    f"positions of {name}; it needs two sizes with that product."
                )
            object.__setattr__(self, f"{name}_grid", grid)

    @property
    def grids(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Grids of the transmitters and of the receivers."""
        assert self.tx_grid is not None  # set by __post_init__
        assert self.rx_grid is not None
        return self.tx_grid, self.rx_grid

    @property
    def measurement_shape(self) -> tuple[int, int]:
        """Measurements of each frequency, ``(m1, m2)``."""
        if self.paired:
            return len(self.tx), 1
        (t1, t2), (r1, r2) = self.grids
        return t1 * r1, t2 * r2

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean positions of the transmitters and of the receivers, ``(3,)`` each [m]."""
        return self.tx.mean(axis=0), self.rx.mean(axis=0)

    def check_measurement(self, shape: Sequence[int], name: str) -> None:
        """Raise `DataError` unless ``shape`` ends in the ``(m1, m2)`` of this pair."""
        if tuple(shape[-2:]) != self.measurement_shape:
            raise DataError(
                f"{name}: found measurements of shape {tuple(shape[-2:])}, but {len(self.tx)} "
                f"transmitters and {len(self.rx)} receivers give {self.measurement_shape}; check "
                "the positions or the axes of the data."
            )


def _checked_positions(name: str, positions: ArrayLike) -> NDArray[np.float64]:
    array = np.array(positions, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise DataError(f"pair: {name} has shape {array.shape}; it must be (element, 3) [m].")
    allowed = (np.abs(array) <= FARTHEST).all(axis=1)
    if not allowed.all():
        broken = int(np.flatnonzero(~allowed)[0])
        raise DataError(
            f"pair: {name} position {broken} is {array[broken]} m; allowed are numbers up to "
            f"{FARTHEST:.0e}."
        )
    return array


def checked_frequencies(frequencies: ArrayLike, who: str = "frequencies") -> NDArray[np.float64]:
    """Return frequencies as float64 ``(freq,)`` [Hz]; ``who`` begins the message of an error.

    `DataError` if they are not finite, positive and increasing, or look as if in another unit.
    """
    array = np.array(frequencies, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise DataError(
            f"{who}: found frequencies of shape {array.shape}; expected one axis of finite values"
        )
    if array.min() <= 0:
        raise DataError(f"{who}: found a frequency of {array.min():g} Hz; they must be positive")
    if array.max() < _LOWEST_FREQUENCY:
        raise DataError(
            f"{who}: found frequencies of {array.min():g} to {array.max():g}, which looks like GHz "
            "or MHz; give them in Hz"
        )
    if array.max() > _HIGHEST_FREQUENCY:
        raise DataError(
            f"{who}: the frequencies reach {array.max():g} Hz, beyond {_HIGHEST_FREQUENCY:g}; were "
            "they in Hz already?"
        )
    steps = np.diff(array)
    if (steps <= 0).any():
        at = int(np.flatnonzero(steps <= 0)[0])
        raise DataError(
            f"{who}: the frequency {array[at + 1]:.12g} Hz follows {array[at]:.12g} Hz (index "
            f"{at + 1}); they must increase: sort them, and the data with them"
        )
    return array


def wavenumbers(frequencies: ArrayLike, speed: float = SPEED_OF_LIGHT) -> NDArray[np.float64]:
    """Return ``k = 2 pi f / speed`` [rad/m] of checked frequencies [Hz]; by default in vacuum."""
    return 2 * np.pi * checked_frequencies(frequencies) / speed


def centre_wavenumber(frequencies: ArrayLike, speed: float = SPEED_OF_LIGHT) -> float:
    """Return the wavenumber of the middle of a band [rad/m]."""
    array = checked_frequencies(frequencies)
    return float(wavenumbers([(array[0] + array[-1]) / 2], speed)[0])


def green(
    wavenumber: NDArray[np.float64], distance: NDArray[np.float64] | np.float64, dimensions: int = 3
) -> NDArray[np.complex128]:
    """Return the outgoing free-space Green's function, time convention ``exp(+jwt)`` [1]_.

    Parameters
    ----------
    wavenumber, distance
        float64, broadcast against each other [rad/m], [m].
    dimensions
        3: ``exp(-j k R) / (4 pi R)``; 2: ``-(j / 4) H0^(2)(k R)``.

    References
    ----------
    .. [1] W. C. Chew, "Waves and Fields in Inhomogeneous Media", IEEE Press (1995), chapter 2.
    """
    if dimensions == 3:
        return np.asarray(np.exp(-1j * wavenumber * distance) / (4 * np.pi * distance))
    from scipy.special import hankel2

    return np.asarray(-0.25j * hankel2(0, wavenumber * distance))


def checked_spectrum(spectrum: ArrayLike, frequencies: int) -> NDArray[np.complex128]:
    """Return the spectrum of a waveform, finite complex128 ``(freq,)``, or raise `DataError`."""
    array = np.asarray(spectrum, dtype=np.complex128)
    if array.shape != (frequencies,) or not np.isfinite(array).all():
        raise DataError(
            f"spectrum: found shape {array.shape}; it needs {frequencies} finite values, one per "
            "frequency."
        )
    return array
