"""Readouts that wind around the centre of k-space."""

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.generators.numbering import ALL, numbers, spoke
from pipeline.mri.generators.radial import GOLDEN_ANGLE, kooshball


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
    turned = np.exp(1j * GOLDEN_ANGLE * numbers(readouts, frame, selection))[:, None] * arm
    return np.stack([turned.imag, turned.real], axis=-1)


def cones(
    readouts: int,
    samples: int,
    *,
    turns: float | None = None,
    frame: int = 0,
    selection: slice = ALL,
) -> NDArray[np.float64]:
    """Return 3D spirals on cones around z, from the centre outwards at an even radial speed [1]_.

    The cones are those of the spokes of `kooshball` from the centre, and each readout begins in the
    direction of its spoke. By default it makes half a turn.

    References
    ----------
    .. [1] P. Irarrazabal, D. G. Nishimura, "Fast three dimensional magnetic resonance imaging",
       Magn. Reson. Med. 33, 656-662 (1995).
    """
    ends = kooshball(readouts, 2, from_centre=True, frame=frame, selection=selection)[:, 1]
    directions = ends / (np.pi / 2)
    radius = spoke(samples, from_centre=True)
    wound = np.exp(
        2j * (0.5 if turns is None else turns) * radius
    )  # a whole turn where the radius is pi
    around = (directions[:, 2] + 1j * directions[:, 1])[:, None] * (wound * radius)
    return np.stack([directions[:, :1] * radius, around.imag, around.real], axis=-1)
