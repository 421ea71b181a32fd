"""Non-Cartesian trajectories from formulas.

Each generator returns the trajectory of one frame as float64 ``[readout, sample, axis]`` in
rad/voxel within ``[-pi, pi)``, in the conventions of `pipeline.geometry.axes`. Readouts are
numbered through all frames: frame ``f`` continues where frame ``f - 1`` ended, so that the frames
of a dynamic series are sampled differently and may be joined. ``readouts`` are those of each frame;
generators take the ``selection`` of them that is wanted, so that a long trajectory can be made
piece by piece.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GOLDEN_ANGLE = np.pi * (np.sqrt(5) - 1) / 2
"""Angle between successive spokes [1]_ [rad]: 111.246 degrees.

References
----------
.. [1] S. Winkelmann et al., "An optimal radial profile order based on the golden ratio for
   time-resolved MRI", IEEE Trans. Med. Imaging 26, 68-76 (2007).
"""

# Root of x**3 + x = 1. It and its square are the golden means of two dimensions.
_GOLDEN_MEAN_2D = 0.6823278038280193

ALL = slice(None)


def golden_radial(
    readouts: int, samples: int, *, frame: int = 0, selection: slice = ALL
) -> NDArray[np.float64]:
    """Return 2D spokes through the centre, each turned by the golden angle against the last.

    Sample ``samples // 2`` of each is the centre.
    """
    angles = GOLDEN_ANGLE * _numbers(readouts, frame, selection)
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return directions[:, None, :] * _spoke(samples)[:, None]


def spiral(
    readouts: int,
    samples: int,
    *,
    turns: float | None = None,
    exponent: float = 1.0,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 2D spirals from the centre outwards, each turned by the golden angle [1]_ [2]_.

    The radius is ``pi u**exponent`` at the angle ``2 pi turns u`` for ``0 <= u < 1``: exponent 1 is
    Archimedes' spiral, and more samples the centre more densely. There are by default as many turns
    as make the samples on an Archimedean curve as far apart as the curves of a frame are. Samples
    are equally spaced along the curve; the first is the centre.

    References
    ----------
    .. [1] G. H. Glover, "Simple analytic spiral k-space algorithm", Magn. Reson. Med. 42, 412-415
       (1999).
    .. [2] D. Kim, S. Adalsteinsson, D. M. Spielman, "Simple analytic variable density spiral
       design", Magn. Reson. Med. 50, 214-219 (2003).
    """
    if turns is None:
        # An arm of t turns is about pi**2 t long and pi / (t readouts) from the next.
        turns = float(np.sqrt(samples / (np.pi * readouts)))
    fine = np.linspace(0.0, 1.0, 16 * samples + 1)
    curve = np.pi * fine**exponent * np.exp(2j * np.pi * turns * fine)
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(curve)))])
    # The end point is left out: there |k| is pi, which is not in the range.
    parameter = np.interp(np.arange(samples) / samples * length[-1], length, fine)
    arm = np.pi * parameter**exponent * np.exp(2j * np.pi * turns * parameter)
    turned = np.exp(1j * GOLDEN_ANGLE * _numbers(readouts, frame, selection))[:, None] * arm
    return np.stack([turned.imag, turned.real], axis=-1)


def kooshball(
    readouts: int, samples: int, *, frame: int = 0, selection: slice = ALL
) -> NDArray[np.float64]:
    """Return 3D spokes through the centre, spread by the two-dimensional golden means [1]_.

    Sample ``samples // 2`` of each is the centre.

    References
    ----------
    .. [1] R. W. Chan, E. A. Ramsay, C. H. Cunningham, D. B. Plewes, "Temporal stability of
       adaptive 3D radial MRI using multidimensional golden means", Magn. Reson. Med. 61, 354-363
       (2009).
    """
    numbers = _numbers(readouts, frame, selection)
    height = numbers * _GOLDEN_MEAN_2D**2 % 1.0  # a spoke has two ends: half the sphere is enough
    azimuth = 2 * np.pi * (numbers * _GOLDEN_MEAN_2D % 1.0)
    radius = np.sqrt(1 - height**2)
    directions = np.stack([height, radius * np.sin(azimuth), radius * np.cos(azimuth)], axis=-1)
    return directions[:, None, :] * _spoke(samples)[:, None]


def stack_of_stars(
    readouts: int, samples: int, partitions: int, *, frame: int = 0, selection: slice = ALL
) -> NDArray[np.float64]:
    """Return golden-angle spokes in (y, x), repeated on uniform partitions along z [1]_.

    All partitions of one spoke are read before the spoke is turned: readout number ``spoke *
    partitions + partition``, where ``readouts`` counts the spokes of each frame and partition.
    Partition ``partitions // 2`` and sample ``samples // 2`` are the centre.

    References
    ----------
    .. [1] L. Feng et al., "Golden-angle radial sparse parallel MRI (GRASP)", Magn. Reson. Med. 72,
       707-717 (2014).
    """
    numbers = np.arange(readouts * partitions)[selection]
    angles = GOLDEN_ANGLE * (frame * readouts + numbers // partitions)
    trajectory = np.empty((numbers.size, samples, 3))
    trajectory[..., 0] = _spoke(partitions)[numbers % partitions, None]
    trajectory[..., 1] = np.sin(angles)[:, None] * _spoke(samples)
    trajectory[..., 2] = np.cos(angles)[:, None] * _spoke(samples)
    return trajectory


def _numbers(readouts: int, frame: int, selection: slice) -> NDArray[np.float64]:
    return frame * readouts + np.arange(readouts, dtype=np.float64)[selection]


def _spoke(samples: int) -> NDArray[np.float64]:
    """Return the distances from the centre of uniform samples in ``[-pi, pi)``."""
    return np.pi * (2 * (np.arange(samples) - samples // 2) / samples)


def wrapped(trajectory: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a trajectory in single precision, within ``[-pi, pi)`` [rad/voxel].

    It may leave ``[-pi, pi]`` by rounding. On voxel positions, which are integers, k and k + 2 pi
    are the same, so that the upper edge, pi, is moved to the lower one. Rounding to single
    precision can move a value that was just inside to just outside, so this comes after it.
    """
    single = np.array(trajectory, dtype=np.float32)
    turn = np.float32(2 * np.pi)
    single[single >= np.float32(np.pi)] -= turn
    single[single < np.float32(-np.pi)] += turn
    return single


def resampled(
    trajectory: NDArray[np.floating], from_shape: Sequence[int], to_shape: Sequence[int]
) -> NDArray[np.floating]:
    """Return a trajectory ``[..., axis]`` for another matrix over the same field of view.

    From rad per voxel of ``from_shape`` to rad per voxel of ``to_shape``; both are in the order of
    the trajectory's components. On a coarser matrix the outer part of the result lies outside
    ``[-pi, pi)``: that resolution cannot be had there.
    """
    if not trajectory.shape[-1] == len(from_shape) == len(to_shape):
        raise ValueError(
            f"a trajectory of {trajectory.shape[-1]} components cannot go from matrix "
            f"{tuple(from_shape)} to {tuple(to_shape)}"
        )
    ratio = np.asarray(from_shape, dtype=np.float64) / np.asarray(to_shape, dtype=np.float64)
    return trajectory * ratio.astype(trajectory.dtype)
