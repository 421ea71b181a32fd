"""Where the antennas are while each pulse is sent and received.

Positions are in metres about the scene's centre; component ``d`` belongs to scene axis ``d``. With
time dependence ``exp(+j w t)``, pulse ``p`` measures at frequency ``f``

    y(p, f) = sum_x c(x) exp(-j k d_p(x)),    k = 2 pi f / c0,

where ``d_p(x) = |x - transmitter_p| + |x - receiver_p| - reference_path_p`` is how much longer the
path over ``x`` is than the one to which the receiver has referred its phases. Where pulses have
bands of their own, ``f`` is ``scale_p`` times the frequency that all are counted by, and
``shift_p``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError

SPEED_OF_LIGHT = 299_792_458.0
"""In vacuum [m/s]."""

FARTHEST = 1e12
"""Of an antenna [m]: beyond, double precision does not tell a path to a tenth of a millimetre."""

PULSE_BYTES = 7 * 8 * 3
"""Bytes a pulse while positions are looked at: both antennas, and temporaries."""


@dataclass(frozen=True)
class AntennaPaths:
    """Antenna positions and reference paths of a phase history, which may be sliced.

    Transmitters and receivers are the same positions if one antenna does both. The reference path
    runs from transmitter over the reference point to receiver. Scale and shift of the frequencies
    are given where pulses have bands of their own. `DataError` if the shapes disagree, a value is
    not finite, or an antenna stands farther away than double precision can tell.
    """

    transmitter: NDArray[np.float64]  # [pulse, 3], m
    receiver: NDArray[np.float64]  # [pulse, 3], m
    reference_path: NDArray[np.float64]  # [pulse], m
    frequency_scale: NDArray[np.float64] | None = None  # [pulse]
    frequency_shift: NDArray[np.float64] | None = None  # [pulse], Hz

    def __post_init__(self) -> None:
        pulses = len(self.reference_path)
        for name, expected in (
            ("transmitter", (pulses, 3)),
            ("receiver", (pulses, 3)),
            ("reference_path", (pulses,)),
            ("frequency_scale", (pulses,)),
            ("frequency_shift", (pulses,)),
        ):
            if getattr(self, name) is None:
                continue
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != expected:
                raise DataError(
                    f"antenna paths: `{name}` has the shape {values.shape}, but there are "
                    f"{pulses} reference paths; expected {expected}"
                )
            most = FARTHEST if name in ("transmitter", "receiver") else np.finfo(np.float64).max
            allowed = np.abs(values) <= most
            if not allowed.all():
                pulse = int(np.argwhere(~allowed)[0, 0])
                raise DataError(
                    f"antenna paths: `{name}` of pulse {pulse} is {values[pulse]}, allowed are "
                    f"numbers up to {most:.3g}; leave the pulse out or correct it in the source"
                )
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.reference_path)

    def __getitem__(self, pulses: slice | NDArray[np.intp]) -> Self:
        whole = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{n: v[pulses] for n, v in whole.items() if v is not None})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the pulses of all ``parts``, one after the other."""
        columns = {each.name: [getattr(part, each.name) for part in parts] for each in fields(cls)}
        joined = {n: np.concatenate(v) for n, v in columns.items() if v[0] is not None}
        return cls(**joined)

    @property
    def own_bands(self) -> bool:
        """Whether each pulse has a band of its own."""
        return self.frequency_scale is not None or self.frequency_shift is not None

    def bands(self, speed: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what wavenumbers of each pulse are scaled by, and shifted by then.

        float64 ``[pulse]`` and ``[pulse]`` [rad/m], at a wave speed [m/s].
        """
        scale, shift = self.frequency_scale, self.frequency_shift
        one, none = np.ones(len(self)), np.zeros(len(self))
        return (
            one if scale is None else scale,
            none if shift is None else 2 * np.pi * shift / speed,
        )

    def wavenumbers(self, k: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
        """Return the wavenumbers of pulses, of those that all are counted by ``(freq,)`` [rad/m].

        float64 ``[pulse, freq]``, or ``[1, freq]`` where all have the same.
        """
        if not self.own_bands:
            return k[None]
        scale, shift = self.bands(speed)
        return np.asarray(scale[:, None] * k + shift[:, None])

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

    def ranges(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the product of both legs to points ``(point, 3)`` [m]: ``[pulse, point]`` [m2]."""
        legs = (points - each[:, None] for each in (self.transmitter, self.receiver))
        first, second = (np.linalg.norm(leg, axis=-1) for leg in legs)
        return np.asarray(first * second)

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
