"""RF scenes with known images that several tests share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.formats import simulation
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene


@dataclass(frozen=True)
class RfScene:
    """A simulated measurement.

    `data` is complex128 ``[pair, freq, m1, m2]``, `truth` complex128 of the scene's shape and
    `noise_deviation` the standard deviation of the complex noise.
    """

    scene: Scene
    pairs: tuple[Pair, ...]
    frequencies: NDArray[np.float64]
    truth: NDArray[np.complex128]
    data: NDArray[np.complex128]
    noise_deviation: float


def rf6(seed: int = 0, **settings) -> RfScene:
    """Return six pairs in front of 40 points, at 20 dB; see `simulation.rf6`.

    Level W is right to -60 dB here. Published normalised mean square errors of five seeds: matched
    filter +2.5 to +2.9 dB, Tikhonov -4.1 to -5.0, FISTA with ``lam = sigma sqrt(d ln Q)`` -31.5 to
    -32.3 in 129 to 141 iterations. Debiased FISTA and OMP find the true support, so that they give
    least squares on it, which scatters with the noise: -41.7 dB on average over 24 seeds, with a
    deviation of 0.6 dB; published is -41.8 to -43.9.
    """
    return simulated(simulation.rf6(seed, **settings))


def simulated(points: simulation.PointScene) -> RfScene:
    """Return the measurement of a scene whose pairs have equal shapes."""
    data = np.stack([points.measurement(pair) for pair in range(len(points.pairs))])
    return RfScene(
        points.scene,
        points.pairs,
        points.frequencies,
        points.truth(),
        data,
        points.noise_deviation,
    )


def mills_cross(
    elements: tuple[int, int], aperture: float, range_: float, aspect: tuple[float, float] = (0, 0)
) -> Pair:
    """Return transmitters along axis 1 and receivers along axis 2, at `range_` below the origin.

    Both arrays are centred where direction cosines ``aspect`` see the origin.
    """
    towards = np.array([*aspect, np.sqrt(1 - aspect[0] ** 2 - aspect[1] ** 2)])
    tx, rx = (np.tile(-range_ * towards, (count, 1)) for count in elements)
    tx[:, 0] += np.linspace(-aperture / 2, aperture / 2, elements[0])
    rx[:, 1] += np.linspace(-aperture / 2, aperture / 2, elements[1])
    return Pair(tx, rx)


def planar(
    tx_grid: tuple[int, int], rx_grid: tuple[int, int], pitch: float, centres: NDArray
) -> Pair:
    """Return two planar arrays, parallel to the first two axes, about ``centres`` ``(2, 3)``."""
    arrays = []
    for grid, centre in zip((tx_grid, rx_grid), centres, strict=True):
        offsets = np.moveaxis(np.indices(grid), 0, -1).reshape(-1, 2) - (np.array(grid) - 1) / 2
        arrays.append(np.column_stack([offsets * pitch, np.zeros(len(offsets))]) + centre)
    return Pair(*arrays, tx_grid=tx_grid, rx_grid=rx_grid)
