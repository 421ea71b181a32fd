"""Antenna patterns: how much an antenna sends or hears in each direction, about its boresight.

One pattern for all antennas, both ways, at all frequencies, that depends on the angle to the
boresight alone. It is read from samples over the sine of half that angle, straight between them:
evenly spaced where a beam is narrow, and without an arc cosine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antenna_paths import AntennaPaths

_SAMPLES = 4097
"""A beam of one degree is right to 5e-4, one of ten degrees to 5e-6."""


@dataclass(frozen=True)
class AntennaPattern:
    """Amplitude by the angle to the boresight: a power of its cosine, or a table."""

    power: float | None = None
    """Nothing is sent or heard behind the antenna."""
    table: tuple[tuple[float, float], ...] = ()
    """Angles [degrees], increasing, and gains [dB] of power; nothing beyond the last angle."""
    aim: tuple[float, ...] | None = None
    """Point that antennas look at, ``(3,)`` [m]; None for the scene's origin."""
    direction: tuple[float, ...] | None = None
    """Where all look instead, ``(3,)``, of any length."""

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Self | None:
        """Return the pattern that attributes of a store tell of, or None: all alike."""
        if told is None or (told.get("power") is None and not told.get("pattern")):
            return None
        table = tuple((float(angle), float(gain)) for angle, gain in told.get("pattern") or ())
        return cls(told.get("power"), table, told.get("aim"), told.get("direction"))

    def samples(self) -> NDArray[np.float64]:
        """Return the amplitude at even steps of the sine of half the angle, from 0 to 1."""
        halves = np.linspace(0, 1, _SAMPLES)
        if self.power is not None:
            cosines = 1 - 2 * halves**2
            return np.where(cosines > 0, np.maximum(cosines, 0) ** self.power, 0.0)
        degrees = 2 * np.rad2deg(np.arcsin(halves))
        angles, gains = np.transpose(self.table)
        found = 10 ** (np.interp(degrees, angles, gains) / 20)
        return np.where(degrees <= angles[-1], found, 0.0)

    def boresights(
        self, antennas: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return where antennas look, unit vectors, of positions ``(antenna, 3)`` [m]."""
        if self.direction is not None:
            sight = np.broadcast_to(np.asarray(self.direction, np.float64), antennas.shape)
        else:
            sight = (centre if self.aim is None else np.asarray(self.aim, np.float64)) - antennas
        return np.asarray(sight / np.linalg.norm(sight, axis=1, keepdims=True))

    def both_ways(
        self, paths: AntennaPaths, points: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what is left of paths over points, ``(point, 3)`` [m]: float64 [pulse, point]."""
        sent, heard = (
            self.amplitudes(antennas, points, centre)
            for antennas in (paths.transmitter, paths.receiver)
        )
        return sent * heard

    def amplitudes(
        self,
        antennas: NDArray[np.float64],
        points: NDArray[np.float64],
        centre: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return how antennas ``(antenna, 3)`` see points ``(point, 3)``: ``[antenna, point]``."""
        away = points - antennas[:, None]
        along = np.einsum("pxi,pi->px", away, self.boresights(antennas, centre))
        halves = np.sqrt(np.clip((1 - along / np.linalg.norm(away, axis=-1)) / 2, 0, 1))
        return np.asarray(np.interp(halves, np.linspace(0, 1, _SAMPLES), self.samples()))


def seen_squares(
    pattern: AntennaPattern | None, paths: AntennaPaths, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the square of what is left of paths over the scene's origin, float64 ``[pulse]``."""
    if pattern is None:
        return np.ones(len(paths))
    return pattern.both_ways(paths, centre[None], centre)[:, 0] ** 2


def pattern_arguments(
    pattern: AntennaPattern | None,
    antennas: Sequence[NDArray[np.float64]],
    centre: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return boresights ``[pulse, leg, 3]`` and the samples; of no pattern, none."""
    if pattern is None:
        return np.zeros((len(antennas[0]), 2, 3)), np.zeros(0, np.float32)
    boresights = [pattern.boresights(each, centre) for each in antennas]
    return np.stack(boresights, axis=1), pattern.samples().astype(np.float32)
