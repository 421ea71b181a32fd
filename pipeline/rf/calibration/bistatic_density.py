"""Density of a two-dimensional bistatic rotation: transmitters and receivers on a circle.

At one frequency the wave vectors ``kappa = k (uhat_t + uhat_r)`` of all angles of transmitter and
receiver fill a disk, and the area that a pair stands for is the Jacobian of the angles [1]_,

    d kappa_x d kappa_y = k^2 |sin(theta_r - theta_t)| d theta_t d theta_r.

Other frequencies fill other disks, whose densities add where they overlap. With
``|kappa| = 2 k_f cos(beta_f / 2)`` at each frequency ``f``, a sample's weight is thus

    w(kappa) = 1 / sum_f 1 / (k_f^2 |sin beta_f|),

over the frequencies that reach ``kappa`` with the bistatic angles that were measured. Of a single
frequency it is the Jacobian itself. Without it the middle of the disk, where most samples lie,
blurs the image.

References
----------
.. [1] A. J. Devaney, "A filtered backpropagation algorithm for diffraction tomography", Ultrasonic
   Imaging 4, 336-350 (1982).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.scene import Scene

_ROUND = 0.05
"""How far the antennas may leave their circles, relative to the radius."""
_EVEN = 0.01
"""How far steps of angle may differ, relative to their median."""

SAMPLE_BYTES = 8 + 5 * 8 + 4
"""Bytes a measurement while weights are made: in double precision, temporaries, and as stored."""


def is_bistatic_rotation(scene: Scene, paths: AntennaPaths) -> bool:
    """Return whether antennas circle a scene of two axes, in its plane and by even steps.

    There is a pulse for each transmitter and receiver that were heard together. Transmitters must
    go once round. Receivers may leave out one sector about each transmitter.
    """
    if len(scene.shape) != 2 or scene.range is not None or paths.own_bands:
        return False
    for antennas in (paths.transmitter, paths.receiver):
        offsets = antennas - scene.centre
        radius = np.linalg.norm(offsets, axis=1)
        in_plane = np.abs(offsets[:, 2]).max() <= 1e-6 * radius.mean()
        if np.ptp(radius) > _ROUND * radius.mean() or not in_plane:
            return False
    transmitters, receivers = _angles(scene, paths)
    rounded = transmitters.round(6)
    views = np.unique(rounded)
    return _even_steps(views, gaps=0) and all(
        _even_steps(receivers[rounded == view], gaps=1) for view in views
    )


def bistatic_weights(
    scene: Scene, paths: AntennaPaths, frequencies: ArrayLike
) -> NDArray[np.float32]:
    """Return the density weights of a bistatic rotation, float32 ``[pulse, freq]``, of mean 1.

    Frequencies increase [Hz]; `is_bistatic_rotation` holds for scene and paths.
    """
    k = wavenumbers(frequencies, scene.speed)
    transmitters, receivers = _angles(scene, paths)
    reach = np.abs(np.cos((receivers - transmitters) / 2))  # |kappa| / 2 k
    # Where the sine vanishes, a sample still stands for half a step to both sides.
    of_first = receivers[transmitters.round(6) == transmitters[0].round(6)]
    edge = float(np.median(_gaps(of_first))) / 8
    farthest, nearest = reach.max() * (1 + 1e-9), reach.min() * (1 - 1e-9)
    weights = np.empty((len(paths), len(k)))
    for index, own in enumerate(k):
        there = own * reach[:, None] / k  # |kappa| / 2 k_f at every frequency
        covered = (there <= farthest) & (there >= nearest)
        along = np.clip(there, edge, 1)
        sine = 2 * along * np.maximum(np.sqrt(1 - along**2), edge)
        weights[:, index] = 1 / np.sum(covered / (k**2 * sine), axis=1)
    return np.asarray(weights / weights.mean(), np.float32)


def _angles(scene: Scene, paths: AntennaPaths) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where transmitters and receivers stand, seen from the scene's centre [rad]."""
    transmitters, receivers = (
        np.arctan2(*(antennas - scene.centre)[:, 1::-1].T)
        for antennas in (paths.transmitter, paths.receiver)
    )
    return transmitters, receivers


def _gaps(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the steps between neighbouring angles, all the way round [rad]."""
    turned = np.sort(np.remainder(angles, 2 * np.pi))
    return np.diff(turned, append=turned[0] + 2 * np.pi)


def _even_steps(angles: NDArray[np.float64], *, gaps: int) -> bool:
    """Return whether angles go round by even steps, but for some gaps."""
    if len(angles) < 3:
        return False
    steps = np.sort(_gaps(angles))
    kept = steps[: len(steps) - gaps]
    return bool(kept[0] > 1e-5 and np.ptp(kept) <= _EVEN * np.median(kept))
