"""What an RF acquisition resolves at a point: directions of cuts, and the response to expect there.

A measurement at wavenumber ``k`` over a point samples the scene's spectrum at the wave vector
``k`` times the gradient of its path. Where those samples lie decides what a matched filter makes of
a point: the sum of their plane waves [1]_.

References
----------
.. [1] D. C. Munson, J. D. O'Brien, W. K. Jenkins, "A tomographic formulation of spotlight-mode
   synthetic aperture radar", Proc. IEEE 71, 917-925 (1983).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths

_BINS = 8192
_OFFSETS_AT_ONCE = 128
MOST_SAMPLES = 2**20

Direction = tuple[str, NDArray[np.float64]]
"""Name and unit vector of a line through a point."""


@dataclass(frozen=True, eq=False)
class WaveVectors:
    """Where the scene's spectrum is sampled, and what each sample adds to a matched filter."""

    vectors: NDArray[np.float64]  # [sample, axis of the scene], rad/m
    weights: NDArray[np.float64]  # [sample]

    def directions(self) -> tuple[Direction, ...]:
        """Return the lines along which a point's response is cut.

        In the scene's plane, or in space: *range*, towards which all wave vectors point, and
        *cross range*, which is horizontal; in space also *elevation*, at right angles to both. The
        axes of the scene where wave vectors point everywhere, as around an object, or along an
        axis.
        """
        axes = self.vectors.shape[1]
        mean = np.average(self.vectors, axis=0, weights=self.weights)
        squares = np.sum((self.vectors - mean) ** 2, axis=1)
        spread = np.sqrt(np.average(squares, weights=self.weights))
        length = np.linalg.norm(mean)
        if length <= 2 * spread or np.abs(mean).max() > 0.99 * length:
            return scene_axes(axes)
        # Away from the antennas.
        towards = mean / length
        across = np.array([-towards[1], towards[0], 0.0])[:axes]
        across /= np.linalg.norm(across)
        found = [("range", towards), ("cross range", across)]
        if axes == 3:
            found.append(("elevation", np.cross(towards, across)))
        return tuple(found)

    def response(
        self, direction: NDArray[np.float64], offsets: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Return a matched filter's response to a point along a line, relative to a carrier.

        complex128, 1 at the point, at some ``offsets`` from it [m] along a unit vector.
        """
        along = self.vectors @ direction
        if np.ptp(along) <= 0:
            return np.ones(offsets.shape, np.complex128)
        # Bins are far narrower than what a phase over the longest offset could tell apart.
        weights, edges = np.histogram(along, bins=_BINS, weights=self.weights)
        centres = (edges[:-1] + edges[1:]) / 2
        centres -= np.average(centres, weights=weights)
        kept = weights > 0
        # A long cut at once would take gigabytes.
        parts = np.array_split(offsets, -(-len(offsets) // _OFFSETS_AT_ONCE))
        sums = [np.exp(1j * np.outer(part, centres[kept])) @ weights[kept] for part in parts]
        return np.asarray(np.concatenate(sums) / weights.sum())


def scene_axes(axes: int) -> tuple[Direction, ...]:
    """Return the axes of a scene as directions."""
    return tuple(zip("xyz", np.eye(axes), strict=False))


def wave_vectors(
    paths: Sequence[AntennaPaths],
    weights: Sequence[NDArray[np.float64]],
    k: NDArray[np.float64],
    point: NDArray[np.float64],
    axes: int,
    speed: float = SPEED_OF_LIGHT,
) -> WaveVectors:
    """Return where measurements sample the spectrum of a scene of 2 or 3 axes about a point.

    Of at most a million measurements: of more, every second path, or third, and so on. There are
    the paths of each pair, one a measurement, or a single phase history; for each of them,
    ``[freq]``, what a measurement adds to the matched filter; and wavenumbers ``[freq]`` [rad/m].
    The wave speed [m/s] is needed where pulses have bands of their own.
    """
    measurements = sum(map(len, paths)) * len(k)
    step = max(1, -(-measurements // MOST_SAMPLES))
    vectors, shares = [], []
    for part, weight in zip(paths, weights, strict=True):
        some = part[::step]
        gradients = some.gradients(point)[:, :axes]
        own = some.wavenumbers(k, speed)
        vectors.append((gradients[:, None] * own[..., None]).reshape(-1, axes))
        shares.append(np.tile(weight, len(gradients)))
    return WaveVectors(np.concatenate(vectors), np.concatenate(shares))
