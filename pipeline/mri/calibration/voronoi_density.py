"""Density compensation by Voronoi cells: each sample stands for what lies nearest to it [1]_.

References
----------
.. [1] V. Rasche, R. Proksa, R. Sinkus, P. Börnert, H. Eggers, "Resampling of data between arbitrary
   grids using convolution interpolation", IEEE Trans. Med. Imaging 18, 385-392 (1999).
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.pieces import pieces

_SAME_PLACE = 1e-5
"""Samples nearer to each other than this [rad/voxel] share a cell: single precision."""
_AT_ONCE = 2**20
"""Vertices times edges of the hull that are compared together."""
SAMPLE_BYTES = 1900
"""Bytes a sample while cells are computed; measured."""


def voronoi_weights(trajectory: NDArray[np.floating], who: str) -> NDArray[np.float64]:
    """Return the area of each sample's cell, float64 ``[readout, sample]``, in image units.

    k-space is a torus, on which k and k + 2 pi are the same; but cells at the rim of what was
    measured must not reach for all that was not: none counts more than the largest that lies
    wholly within the hull of the samples. Repeated samples share a cell.

    Parameters
    ----------
    trajectory
        ``[readout, sample, 2]`` [rad/voxel].
    who
        Begins the message of an error.

    Raises
    ------
    DataError
        If there are too few different samples for a cell with an area.
    """
    from scipy.spatial import ConvexHull, QhullError, Voronoi

    points = np.asarray(trajectory, np.float64).reshape(-1, 2)
    _, first, place, repeats = np.unique(
        np.round(points / _SAME_PLACE), axis=0, return_index=True, return_inverse=True,
        return_counts=True,
    )  # fmt: skip
    different = points[first]
    try:
        hull = ConvexHull(different)
        cells = Voronoi(different)
    except (QhullError, ValueError):
        raise DataError(
            f"{who}: {len(different)} different samples have no Voronoi cells; set "
            "calibration.density to another method"
        ) from None
    areas = _areas(cells.vertices, [cells.regions[region] for region in cells.point_region])
    # A vertex beyond the hull belongs to cells at the rim.
    beyond = np.zeros(len(cells.vertices), bool)
    for some in pieces(len(beyond), max(1, _AT_ONCE // len(hull.equations))):
        above = cells.vertices[some] @ hull.equations[:, :2].T + hull.equations[:, 2]
        beyond[some] = np.any(above > 1e-9, axis=1)
    inside = np.array(
        [
            -1 not in cells.regions[region] and not beyond[cells.regions[region]].any()
            for region in cells.point_region
        ]
    )
    if not inside.any():
        raise DataError(
            f"{who}: no Voronoi cell lies within the samples; set calibration.density to another "
            "method"
        )
    areas = np.minimum(areas, areas[inside].max())
    weights = areas[place.ravel()] / repeats[place.ravel()]
    return np.asarray(weights.reshape(trajectory.shape[:2]) / (2 * np.pi) ** 2)


def _areas(vertices: NDArray[np.float64], regions: list[list[int]]) -> NDArray[np.float64]:
    """Return the area of each convex cell, infinity where it is open; vertices are in order."""
    areas = np.full(len(regions), np.inf)
    lengths = np.array([len(region) if -1 not in region else 0 for region in regions])
    for length in np.unique(lengths[lengths > 2]):
        rows = np.flatnonzero(lengths == length)
        corners = vertices[np.array([regions[row] for row in rows])]
        x, y = corners[..., 1], corners[..., 0]
        crossed = x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)
        areas[rows] = np.abs(crossed.sum(axis=1)) / 2
    return areas
