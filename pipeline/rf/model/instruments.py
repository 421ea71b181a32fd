"""What the instrument of each pair adds to its measurements, and measurements without it.

With time dependence ``exp(+j w t)``, a pair whose clock is off by ``phase``, whose cables add
``delay``, and whose elements have the gains ``g`` measures at frequency ``f``

    g_tx g_rx exp(j (phase - 2 pi f delay))

times what it should.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pieces import pieces
from pipeline.rf.arrays import GAINS
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import CalibrationArrays

ALL = slice(None)

_PIECE = 2**14
"""Measurements that are corrected together."""


@dataclass(frozen=True, eq=False)
class PairCorrection:
    """The instrument of one pair; gains that are None are ones."""

    phase: NDArray[np.float64]  # [frame], rad
    delay: float = 0.0  # s
    gain_tx: NDArray[np.complex128] | None = None  # [element]
    gain_rx: NDArray[np.complex128] | None = None  # [element]

    def clock(self, frame: int, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return what clock and cables do at some frequencies [Hz], complex128 ``[freq]``."""
        cycles = np.remainder(frequencies * self.delay, 1.0)
        return np.asarray(np.exp(1j * (self.phase[frame] - 2 * np.pi * cycles)))

    def gains(self, antennas: Pair | None, rows: slice = ALL) -> NDArray[np.complex128] | None:
        """Return what the elements do, complex128 ``[m1, m2]`` of some ``m1``; None for nothing."""
        if antennas is None or (self.gain_tx is None and self.gain_rx is None):
            return None
        return element_product(antennas, self.gain_tx, self.gain_rx, rows)

    def response(
        self, frame: int, frequencies: NDArray[np.float64], antennas: Pair | None
    ) -> NDArray[np.complex128]:
        """Return what the measurements were multiplied by, complex128 ``[freq, m1, m2]``.

        The antennas may be None where elements have no gains.
        """
        clock, gains = self.clock(frame, frequencies)[:, None, None], self.gains(antennas)
        return clock if gains is None else np.asarray(clock * gains)

    def record(self) -> dict[str, Any]:
        """Return the correction as JSON values; gains as pairs of real and imaginary part."""
        found: dict[str, Any] = {"phase_rad": self.phase.tolist(), "delay_s": self.delay}
        for name in GAINS:
            gains = getattr(self, name)
            if gains is not None:
                found[name] = np.stack([gains.real, gains.imag], axis=-1).tolist()
        return found


class CorrectedPairs:
    """Measurements of pairs without what their instruments add, as far as calibration found it."""

    def __init__(self, raw: RfRawData, calibration: CalibrationArrays) -> None:
        self._raw = raw
        self._calibration = calibration
        self._phase, self._delay = (calibration.array(name) for name in ("phase", "delay"))
        # Tiles come pair by pair.
        self._of_pair = lru_cache(maxsize=1)(self._read_pair)

    def measurements(self, frame: int, pair: int, frequencies: slice) -> NDArray[np.complex64]:
        """Return what one pair should have measured, complex64 ``[freq, m1, m2(, m3)]``."""
        values = self._raw.measurements(frame, pair, frequencies)
        if self._phase is None:
            return values
        correction, antennas = self._of_pair(pair)
        clock = correction.clock(frame, self._raw.frequencies[frequencies])[:, None, None]
        # In pieces: quotients in double precision take several times what is read.
        for rows in pieces(values.shape[1], max(1, _PIECE // math.prod(values.shape[2:]))):
            gains = correction.gains(antennas, rows)
            for one in pieces(len(values), 1):
                response = clock[one] if gains is None else clock[one] * gains
                part = values[one, rows]
                part[...] = part / response.reshape(*response.shape, *(1,) * (values.ndim - 3))
        return values

    def _read_pair(self, pair: int) -> tuple[PairCorrection, Pair | None]:
        assert self._phase is not None  # measurements has looked
        assert self._delay is not None  # it is written together with the phase
        tx, rx = (self._calibration.array(f"pair/{pair}/{name}") for name in GAINS)
        correction = PairCorrection(self._phase[:, pair], float(self._delay[pair]), tx, rx)
        return correction, self._raw.antennas(pair)


def element_product(
    antennas: Pair,
    transmitters: NDArray[np.complex128] | None,
    receivers: NDArray[np.complex128] | None,
    rows: slice = ALL,
) -> NDArray[np.complex128]:
    """Return the product of one number a transmitter and one a receiver, ``[m1, m2]``.

    Of all ``m1``, or of those in ``rows``.
    """
    (t1, t2), (r1, r2) = antennas.grids
    tx = np.ones(len(antennas.tx), complex) if transmitters is None else transmitters
    rx = np.ones(len(antennas.rx), complex) if receivers is None else receivers
    first, second = np.divmod(np.arange(t1 * r1)[rows], r1)
    product = tx.reshape(t1, t2)[first, :, None] * rx.reshape(r1, r2)[second, None, :]
    return np.asarray(product.reshape(len(first), t2 * r2))


def by_elements(antennas: Pair, measured: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return measurements ``[m1, m2]`` as ``[tx, rx]``: `element_product` undone."""
    (t1, t2), (r1, r2) = antennas.grids
    split = measured.reshape(t1, r1, t2, r2).swapaxes(1, 2)
    return np.asarray(split.reshape(len(antennas.tx), len(antennas.rx)))
