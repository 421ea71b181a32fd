"""Units that trajectories come in."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trajectories import Units


def to_rad_per_voxel(
    units: str, shape: Sequence[int], voxel_size: Sequence[float]
) -> NDArray[np.float64]:
    """Return the factor on each component that turns ``units`` into rad/voxel.

    They are one of `pipeline.config.trajectories.Units`; ``voxel_size`` is per axis of the image
    matrix [m].
    """
    counts, sizes = np.asarray(shape, np.float64), np.asarray(voxel_size, np.float64)
    factors = {
        "rad_per_voxel": np.ones_like(counts),
        "cycles_per_voxel": np.full_like(counts, 2 * np.pi),
        "cycles_per_fov": 2 * np.pi / counts,
        "rad_per_m": sizes,
        "cycles_per_m": 2 * np.pi * sizes,
    }
    return factors[units]


def likely_units(
    extent: NDArray[np.float64], shape: Sequence[int], voxel_size: Sequence[float]
) -> str | None:
    """Return the units in which a trajectory would fill k-space best, and at least a third.

    They are one of `pipeline.config.trajectories.Units`, or ``"degrees"``, which is none of
    them, or None. ``extent`` is the largest magnitude of each component, as stored.
    """
    known: tuple[str, ...] = get_args(Units)
    reach = {
        units: float(np.max(extent * to_rad_per_voxel(units, shape, voxel_size))) for units in known
    }
    reach["degrees"] = float(np.max(extent)) * np.pi / 180
    possible = [units for units, k in reach.items() if np.pi / 3 <= k <= np.pi * 1.01]
    return min(possible, key=lambda units: abs(reach[units] - np.pi), default=None)
