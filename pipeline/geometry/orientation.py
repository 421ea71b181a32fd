"""Where an image lies in the patient.

Positions of a store are ``(z, y, x)`` along superior, anterior, right (RAS, in reverse). NIfTI
tells them along right, anterior, superior (RAS), scanners and DICOM along left, posterior, superior
(LPS) [1]_. They are converted here and nowhere else.

References
----------
.. [1] DICOM PS3.3, C.7.6.2.1.1, "Image position and image orientation".
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.geometry.axes import as_volume

_LPS_TO_STORED = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""From left, posterior, superior to superior, anterior, right."""
_SKEW = 1e-3
"""Directions may differ from unit vectors at right angles by so much: headers have few digits."""
_TOWARDS = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
"""What the axes of RAS begin and end with."""


def patient_affine(
    shape: Sequence[int],
    voxel_size: Sequence[float],
    *,
    position: ArrayLike,
    directions: Sequence[ArrayLike],
) -> NDArray[np.float64] | None:
    """Return the affine of an image whose voxel ``N // 2`` of each axis lies at ``position``.

    Parameters
    ----------
    shape
        Of the image, ``(z, y, x)`` or ``(y, x)``.
    voxel_size
        ``(z, y, x)`` [m]; of a 2D image the first is the thickness of the slice.
    position
        Along left, posterior, superior [m].
    directions
        In which z, y and x grow: unit vectors along left, posterior, superior.

    Returns
    -------
    NDArray or None
        float64 ``(4, 4)``, from index ``(z, y, x)`` to position ``(z, y, x)`` [m]; None where the
        directions are not three unit vectors at right angles.
    """
    axes = np.asarray(directions, np.float64)
    if not np.allclose(axes @ axes.T, np.eye(3), atol=_SKEW):
        return None
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_STORED @ axes.T * np.asarray(voxel_size, np.float64)
    centre = np.array([size // 2 for size in as_volume(shape)], np.float64)
    affine[:3, 3] = _LPS_TO_STORED @ np.asarray(position, np.float64) - affine[:3, :3] @ centre
    return affine


def ras_affine(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a stored affine in NIfTI's terms, float64 ``(4, 4)``.

    From voxel indices (z, y, x) to positions (z, y, x) [m] becomes from indices (x, y, z) to right,
    anterior, superior [mm].
    """
    backwards = [2, 1, 0, 3]
    turned = np.asarray(affine, dtype=np.float64)[np.ix_(backwards, backwards)]
    turned[:3] *= 1e3
    return turned


def lps_affine(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a stored affine in DICOM's terms, float64 ``(4, 4)``.

    From indices (x, y, z) to left, posterior, superior [mm].
    """
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras_affine(affine)


def anatomical_directions(affine: NDArray[np.floating]) -> tuple[str, str, str]:
    """Return where z, y and x lead most nearly, such as ``left-to-right``; each way once."""
    directions = ras_affine(affine)[:3, 2::-1].T
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    axes = range(3)
    ways = max(permutations(axes), key=lambda each: np.abs(directions[axes, each]).sum())
    z, y, x = (
        "-to-".join(_TOWARDS[way][:: 1 if directions[axis, way] > 0 else -1])
        for axis, way in zip(axes, ways, strict=True)
    )
    return z, y, x
