"""A body that breathes: ellipsoids that move with a breath that differs each time."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.formats.phantoms import Ellipsoid

_PERIODS, _DEPTHS = (3.2, 4.8), (0.75, 1.25)
"""Of a breath, the shortest and the longest [s], the shallowest and the deepest."""

# How far a breath of depth 1 moves parts along z [half field of view]; of each intensity, semi-axes
# and centre along z, y, x.
_PARTS = (
    (0.0, ((1.0, (0.82, 0.62, 0.78), (0.0, 0.0, 0.0)),  # body
           (0.5, (0.76, 0.10, 0.09), (0.0, 0.40, 0.0)))),  # spine
    (0.1, ((-0.7, (0.36, 0.40, 0.25), (-0.30, 0.0, -0.38)),  # lungs
            (-0.7, (0.36, 0.38, 0.23), (-0.28, 0.0, 0.40)))),
    (0.22, ((0.8, (0.26, 0.38, 0.36), (0.34, -0.04, -0.26)),  # liver
            (-0.5, (0.04, 0.05, 0.22), (0.34, 0.02, -0.26)),  # its vessel, and a lesion
            (0.7, (0.06, 0.07, 0.06), (0.24, -0.12, -0.14)))),
    (0.15, ((0.5, (0.18, 0.12, 0.10), (0.40, 0.22, 0.34)),)),  # kidney
)  # fmt: skip


def breathing_depths(seconds: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return how deep the breath is at some times: 0 at the end of expiration, about 1 at most."""
    drawn = np.random.default_rng(seed)
    breaths = [drawn.uniform((_PERIODS[0], _DEPTHS[0]), (_PERIODS[1], _DEPTHS[1]))]
    ends = [breaths[0][0]]
    while ends[-1] <= seconds.max():
        breaths.append(drawn.uniform((_PERIODS[0], _DEPTHS[0]), (_PERIODS[1], _DEPTHS[1])))
        ends.append(ends[-1] + breaths[-1][0])
    breath = np.searchsorted(ends, seconds, side="right")
    periods, depths = np.transpose(breaths)
    left = (np.asarray(ends)[breath] - seconds) / periods[breath]
    return np.asarray(depths[breath] * np.sin(np.pi * left) ** 4)


def breathing_body(
    shape: Sequence[int], depths: NDArray[np.float64]
) -> Iterator[tuple[list[Ellipsoid], NDArray[np.float64]]]:
    """Yield parts of the body, in 2D of a coronal slice of it, at the end of expiration.

    And by how much they have moved at each of some depths of the breath, ``(depth, axis)`` [voxel].
    """
    axes = (0, 2) if len(shape) == 2 else (0, 1, 2)
    for moves, parts in _PARTS:
        moved = np.zeros((len(depths), len(shape)))
        moved[:, 0] = moves * shape[0] / 2 * depths
        ellipsoids = [
            Ellipsoid(
                intensity,
                tuple(semi_axes[axis] for axis in axes),
                tuple(centre[axis] for axis in axes),
            )
            for intensity, semi_axes, centre in parts
        ]
        yield ellipsoids, moved
