"""Detections in an image, and how they compare with where targets are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError


@dataclass(frozen=True)
class DetectionScore:
    """Detections against a list of true targets."""

    targets: int
    detected: int  # targets with a detection of their own within the tolerance
    false_alarms: int  # detections that belong to no target


def constant_false_alarm_rate(
    image: NDArray[Any], probability: float, *, guard: int = 2, training: int = 6
) -> NDArray[np.bool_]:
    """Return where an image exceeds a threshold that follows the noise around each voxel.

    Cell averaging [1]_: the mean power of the training cells, which surround a voxel beyond its
    guard cells, times the factor that gives the probability of a false alarm in a voxel for complex
    normal noise in which voxels are independent. Voxels that are wider apart than the image
    resolves; neighbours that are not independent raise the rate. ``guard`` and ``training`` count
    the voxels on each side, on each axis. Towards the edges fewer cells are averaged. `DataError`
    if there is no probability or no training cell.

    References
    ----------
    .. [1] H. M. Finn, R. S. Johnson, "Adaptive detection mode with threshold control as a function
       of spatially sampled clutter-level estimates", RCA Review 29, 414-464 (1968).
    """
    if not 0 < probability < 1 or guard < 0 or training < 1:
        raise DataError(
            f"detection: probability {probability}, {guard} guard and {training} training cells; "
            "expected a probability between 0 and 1 and at least one training cell"
        )
    power = np.abs(image).astype(np.float64) ** 2
    ones = np.ones_like(power)
    inner, outer = 2 * guard + 1, 2 * (guard + training) + 1
    cells = _box_sum(ones, outer) - _box_sum(ones, inner)
    if cells.min() < 0.5:
        raise DataError(
            f"detection: an image of shape {image.shape} has voxels without a training cell beyond "
            f"{guard} guard cells; use fewer"
        )
    noise = (_box_sum(power, outer) - _box_sum(power, inner)) / cells
    factor = cells * (probability ** (-1 / cells) - 1)
    exceeds: NDArray[np.bool_] = power > factor * noise
    return exceeds


def local_maxima(image: NDArray[Any], where: NDArray[np.bool_] | float) -> NDArray[np.int64]:
    """Return the voxels that exceed all their neighbours, the strongest first.

    int64 ``[detection, axis]``; a plateau counts once. ``where`` tells the voxels that count, or
    the magnitude that they must exceed.
    """
    from scipy.ndimage import label, maximum_filter

    magnitude = np.abs(image)
    mask = magnitude > where if isinstance(where, float | int) else where
    neighbours = np.ones((3,) * image.ndim)
    highest = (magnitude == maximum_filter(magnitude, footprint=neighbours, mode="nearest")) & mask
    labels, _ = label(highest & (magnitude > 0), structure=neighbours)
    flat = labels.ravel()
    _, first = np.unique(flat[flat > 0], return_index=True)
    indices = np.flatnonzero(flat > 0)[first]
    indices = indices[np.argsort(-magnitude.ravel()[indices], kind="stable")]
    return np.stack(np.unravel_index(indices, image.shape), axis=1).astype(np.int64)


def score_detections(
    detections: ArrayLike, targets: ArrayLike, *, tolerance: float
) -> DetectionScore:
    """Compare detections with true targets, each of which can explain one detection.

    Both are voxel indices, ``[detection, axis]`` and ``[target, axis]``; targets may lie between
    voxels, and the tolerance is the largest distance of a detection [voxel]. As many targets are
    detected as is possible at all.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import KDTree

    found = np.asarray(detections, dtype=np.float64)
    true = np.asarray(targets, dtype=np.float64)
    matched = 0
    if found.size and true.size:
        if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1]:
            raise DataError(
                f"detection: detections of shape {found.shape} and targets of shape {true.shape}; "
                "expected one index per image axis in each row"
            )
        near = KDTree(true).query_ball_tree(KDTree(found), tolerance)
        columns = np.concatenate([np.array(row, dtype=np.int32) for row in near])
        pointers = np.cumsum([0, *map(len, near)]).astype(np.int32)
        graph = csr_array(
            (np.ones(len(columns), dtype=np.int8), columns, pointers), shape=(len(true), len(found))
        )
        matched = int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))
    return DetectionScore(len(true), matched, len(found) - matched)


def _box_sum(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return sums over boxes of ``side`` voxels about each voxel, nothing beyond the edges."""
    from scipy.ndimage import uniform_filter

    mean = uniform_filter(values, side, mode="constant")
    return np.asarray(mean * float(side) ** values.ndim)
