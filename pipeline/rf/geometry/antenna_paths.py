"""Where the antennas are while each pulse is sent and received.

Positions are in metres about the scene's centre; component ``d`` belongs to scene axis ``d``. With
time dependence ``exp(+j w t)``, pulse ``p`` measures at frequency ``f``

    y(p, f) = sum_x c(x) exp(-j k d_p(x)),    k = 2 pi f / c0,

where ``d_p(x) = |x - transmitter_p| + |x - receiver_p| - reference_path_p`` is how much longer the
path over ``x`` is than the one to which the receiver has referred its phases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError

SPEED_OF_LIGHT = 299_792_458.0
"""In vacuum [m/s]."""

PULSE_BYTES = 7 * 8 * 3
"""Bytes a pulse while positions are looked at: both antennas, and temporaries."""


@dataclass(frozen=True)
class AntennaPaths:
    """Antenna positions and reference paths of a phase history, which may be sliced.

    Transmitters and receivers are the same positions if one antenna does both. The reference path
    runs from transmitter over the reference point to receiver. `DataError` if the shapes disagree
    or a value is not finite.
    """

    transmitter: NDArray[np.float64]  # [pulse, 3], m
    receiver: NDArray[np.float64]  # [pulse, 3], m
    reference_path: NDArray[np.float64]  # [pulse], m

    def __post_init__(self) -> None:
        pulses = len(self.reference_path)
        for name, expected in (
            ("transmitter", (pulses, 3)),
            ("receiver", (pulses, 3)),
            ("reference_path", (pulses,)),
        ):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != expected:
                raise DataError(
                    f"antenna paths: `{name}` has the shape {values.shape}, but there are "
                    f"{pulses} reference paths; expected {expected}"
                )
            if not np.isfinite(values).all():
                pulse = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise DataError(
                    f"antenna paths: `{name}` of pulse {pulse} is {values[pulse]}; leave the pulse "
                    "out or correct it in the source"
                )
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.reference_path)

    def __getitem__(self, pulses: slice) -> Self:
        return type(self)(
            self.transmitter[pulses], self.receiver[pulses], self.reference_path[pulses]
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the pulses of all ``parts``, one after the other."""
        return cls(
            np.concatenate([part.transmitter for part in parts]),
            np.concatenate([part.receiver for part in parts]),
            np.concatenate([part.reference_path for part in parts]),
        )

    def path_differences(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return by how much the path over each point exceeds the reference path.

        Of positions ``[..., 3]`` [m], float64 ``[pulse, ...]`` [m].
        """
        x = np.asarray(points, dtype=np.float64)
        pulses = (len(self), *(1,) * (x.ndim - 1))
        difference = np.zeros((len(self), *x.shape[:-1])) - self.reference_path.reshape(pulses)
        for antenna in (self.transmitter, self.receiver):
            difference += np.linalg.norm(x - antenna.reshape(*pulses, 3), axis=-1)
        return difference

    def gradients(self, point: ArrayLike) -> NDArray[np.float64]:
        """Return the gradient of the path differences at a point ``(3,)`` [m].

        float64 ``[pulse, 3]``, dimensionless: the sum of the unit vectors from both antennas to the
        point. The wave vector of pulse ``p`` for plane waves about the point is ``k`` times this.
        """
        gradient = np.zeros((len(self), 3))
        for antenna in (self.transmitter, self.receiver):
            leg = np.asarray(point, dtype=np.float64) - antenna
            gradient += leg / np.linalg.norm(leg, axis=1, keepdims=True)
        return gradient
