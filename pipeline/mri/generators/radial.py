"""Spokes through the centre of k-space, or from it."""

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.generators.numbering import ALL, numbers, spoke

GOLDEN_ANGLE = np.pi * (np.sqrt(5) - 1) / 2
"""Angle between successive spokes [1]_ [rad]: 111.246 degrees.

References
----------
.. [1] S. Winkelmann et al., "An optimal radial profile order based on the golden ratio for
   time-resolved MRI", IEEE Trans. Med. Imaging 26, 68-76 (2007).
"""

# Root of x**3 + x = 1. It and its square are the golden means of two dimensions.
_GOLDEN_MEAN_2D = 0.6823278038280193
_PHYLLOTAXIS_ANGLE = np.pi * (3 - np.sqrt(5))  # 137.508 degrees


def golden_angle(order: int) -> float:
    """Return the golden angle of an order: ``pi / (golden ratio + order - 1)`` [1]_ [rad].

    Order 1 is the golden angle; larger ones, which turn less between spokes, are the tiny ones.

    References
    ----------
    .. [1] S. Wundrak et al., "Golden ratio sparse MRI using tiny golden angles", Magn. Reson. Med.
       75, 2372-2378 (2016), equation 2.
    """
    return float(np.pi / ((1 + np.sqrt(5)) / 2 + order - 1))


def golden_radial(
    readouts: int,
    samples: int,
    *,
    tiny_golden: int = 1,
    from_centre: bool = False,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 2D spokes, each turned by the golden angle of order ``tiny_golden`` to the last.

    Sample ``samples // 2`` of each is the centre, or the first one with ``from_centre``. A spoke
    from the centre turns by twice the angle, so that they fill the circle.
    """
    step = golden_angle(tiny_golden) * (2 if from_centre else 1)
    return _in_plane(step * numbers(readouts, frame, selection), samples, from_centre)


def linear_radial(
    readouts: int,
    samples: int,
    *,
    from_centre: bool = False,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 2D spokes at even angles: over half a turn, or with ``from_centre`` over a whole one.

    Each frame has the same.
    """
    whole = 2 * np.pi if from_centre else np.pi
    return _in_plane(whole / readouts * numbers(readouts, 0, selection), samples, from_centre)


def stack_of_stars(
    readouts: int,
    samples: int,
    partitions: int,
    *,
    tiny_golden: int = 1,
    from_centre: bool = False,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return golden-angle spokes in (y, x), repeated on uniform partitions along z [1]_.

    All partitions of one spoke are read before the spoke is turned: readout number ``spoke *
    partitions + partition``, where ``readouts`` counts the spokes of each frame and partition.
    Partition ``partitions // 2`` is the centre; for the rest see `golden_radial`.

    References
    ----------
    .. [1] L. Feng et al., "Golden-angle radial sparse parallel MRI (GRASP)", Magn. Reson. Med. 72,
       707-717 (2014).
    """
    number = np.arange(readouts * partitions)[selection]
    step = golden_angle(tiny_golden) * (2 if from_centre else 1)
    trajectory = np.empty((number.size, samples, 3))
    trajectory[..., 0] = spoke(partitions)[number % partitions, None]
    angles = step * np.asarray(frame * readouts + number // partitions, np.float64)
    trajectory[..., 1:] = _in_plane(angles, samples, from_centre)
    return trajectory


def kooshball(
    readouts: int,
    samples: int,
    *,
    from_centre: bool = False,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 3D spokes, spread by the two-dimensional golden means [1]_.

    Sample ``samples // 2`` of each is the centre: half the sphere is enough, as a spoke has two
    ends. With ``from_centre`` it is the first one, and spokes point everywhere.

    References
    ----------
    .. [1] R. W. Chan, E. A. Ramsay, C. H. Cunningham, D. B. Plewes, "Temporal stability of
       adaptive 3D radial MRI using multidimensional golden means", Magn. Reson. Med. 61, 354-363
       (2009).
    """
    number = numbers(readouts, frame, selection)
    height = number * _GOLDEN_MEAN_2D**2 % 1.0
    if from_centre:
        height = 2 * height - 1
    azimuth = 2 * np.pi * (number * _GOLDEN_MEAN_2D % 1.0)
    return pointing(height, azimuth)[:, None, :] * spoke(samples, from_centre=from_centre)[:, None]


def phyllotaxis(
    readouts: int,
    samples: int,
    *,
    from_centre: bool = False,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 3D spokes along a spiral from the pole to the equator, like seeds of a flower [1]_.

    The polar angle of spoke n of N is ``pi / 2 sqrt(n / N)``, its azimuth n times 137.5 degrees,
    counted through all frames. With ``from_centre`` the spiral goes on to the other pole: ``arccos
    (1 - 2 n / N)``.

    References
    ----------
    .. [1] D. Piccini, A. Littmann, S. Nielles-Vallespin, M. O. Zenge, "Spiral phyllotaxis: the
       natural way to construct a 3D radial trajectory in MRI", Magn. Reson. Med. 66, 1049-1056
       (2011), equations 1 and 2.
    """
    part = np.arange(readouts)[selection] / readouts
    height = 1 - 2 * part if from_centre else np.cos(np.pi / 2 * np.sqrt(part))
    azimuth = _PHYLLOTAXIS_ANGLE * numbers(readouts, frame, selection)
    return pointing(height, azimuth)[:, None, :] * spoke(samples, from_centre=from_centre)[:, None]


def pointing(height: NDArray[np.float64], azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors ``(z, y, x)`` of these heights over the equator and azimuths [rad]."""
    radius = np.sqrt(1 - height**2)
    return np.stack([height, radius * np.sin(azimuth), radius * np.cos(azimuth)], axis=-1)


def _in_plane(angles: NDArray[np.float64], samples: int, from_centre: bool) -> NDArray[np.float64]:
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return directions[:, None, :] * spoke(samples, from_centre=from_centre)[:, None]
