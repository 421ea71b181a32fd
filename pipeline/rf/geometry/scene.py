"""The grid of an RF image: where its voxels are."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume, voxel_positions
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT

_SHORTEST, _FARTHEST = 1e-12, 1e12  # m: beyond, float64 has no digits left for a phase


@dataclass(frozen=True)
class Scene:
    """A uniform grid of voxels.

    Scene axis ``d`` runs along coordinate ``d`` of the positions of antennas and voxels, and voxel
    ``n`` of an axis with ``N`` voxels lies ``(n - N // 2) * spacing`` from the origin. So arrays of
    the scene's shape are ``[x, y]`` or ``[x, y, z]``; stored images are ``[z, y, x]`` like all
    others, which `to_volumes` and `from_volumes` bring about.

    Parameters
    ----------
    shape
        Voxels of each axis, 2 or 3 of them. A scene of two axes lies in the plane through the
        origin.
    spacing
        Distance of neighbouring voxels on each axis [m].
    origin
        Position of voxel ``N // 2`` of all axes [m]; a missing third coordinate is 0.
    range
        If given, the first two axes are direction cosines (their spacing is dimensionless) seen by
        an observer at this distance [m] from the origin, who looks along the third coordinate; a
        third axis is the distance beyond the origin's [m]. `None`: all axes are Cartesian.
    speed
        Of waves in the medium, between all antennas and voxels [m/s].

    Raises
    ------
    DataError
        If sizes, spacing, origin or range are not what is said here.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    range: float | None = None
    speed: float = SPEED_OF_LIGHT

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        spacing = tuple(float(step) for step in self.spacing)
        origin = tuple(float(x) for x in self.origin) + (0.0,) * (3 - len(self.origin))
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise DataError(f"scene: found shape {shape}; it needs 2 or 3 axes of 1 voxel or more.")
        if len(spacing) != len(shape) or not all(_SHORTEST < s < _FARTHEST for s in spacing):
            raise DataError(
                f"scene: found spacing {spacing}; it needs {len(shape)} positive numbers [m], "
                f"one per axis, between {_SHORTEST:g} and {_FARTHEST:g}."
            )
        if len(origin) != 3 or not all(abs(x) < _FARTHEST for x in origin):
            raise DataError(
                f"scene: found origin {origin}; it needs 2 or 3 coordinates below "
                f"{_FARTHEST:g} [m]."
            )
        if self.range is not None and not 0 < self.range < _FARTHEST:
            raise DataError(
                f"scene: found range {self.range}; it must be positive and below {_FARTHEST:g} [m]."
            )
        if not 0 < self.speed <= SPEED_OF_LIGHT:
            raise DataError(
                f"scene: found a wave speed of {self.speed} m/s; it must be positive, and at most "
                f"{SPEED_OF_LIGHT:g}, that in vacuum."
            )
        for name, value in (("shape", shape), ("spacing", spacing), ("origin", origin)):
            object.__setattr__(self, name, value)
        if self.range is not None and self._largest_cosine() >= 1:
            raise DataError(
                f"scene: shape {shape} at spacing {spacing} reaches direction cosines of "
                f"{self._largest_cosine():.3g}; they must stay below 1."
            )

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def volume(self) -> tuple[int, int, int]:
        """The shape of an image as it is stored, ``(z, y, x)``; of two axes ``(1, y, x)``."""
        return as_volume(self.shape[::-1])

    def to_volumes(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return images ``[..., *shape]`` as they are stored, ``[..., z, y, x]``, not copied."""
        turned = _last_axes_reversed(images, len(self.shape))
        return turned.reshape(*images.shape[: images.ndim - len(self.shape)], *self.volume)

    def from_volumes(self, volumes: NDArray[Any]) -> NDArray[Any]:
        """Return stored images ``[..., z, y, x]`` as ``[..., *shape]``: inverts `to_volumes`."""
        images = volumes.reshape(*volumes.shape[:-3], *self.shape[::-1])
        return _last_axes_reversed(images, len(self.shape))

    @property
    def centre(self) -> NDArray[np.float64]:
        """The origin as an array, float64 ``(3,)`` [m]."""
        return np.asarray(self.origin)

    def offsets(self, axis: int) -> NDArray[np.float64]:
        """Return the voxels of one axis relative to the origin, float64 ``(N,)`` [m]."""
        return voxel_positions(self.shape[axis]) * self.spacing[axis]

    def positions(self, voxels: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float64]:
        """Return where voxels are, float64 ``(voxel, 3)`` [m].

        All of them, or those of flat indices in C order, or of a slice of them.
        """
        flat = np.arange(*voxels.indices(self.voxels)) if isinstance(voxels, slice) else voxels
        offsets = np.zeros((flat.size, 3))
        for axis, index in enumerate(np.unravel_index(flat, self.shape)):
            offsets[:, axis] = self.offsets(axis)[index]
        if self.range is None:
            return self.centre + offsets
        cosines = offsets[:, :2]
        forward = np.sqrt(1 - np.sum(cosines**2, axis=1))
        directions = np.column_stack([cosines, forward])
        observer = self.centre - [0.0, 0.0, self.range]
        return np.asarray(observer + (self.range + offsets[:, 2:]) * directions)

    def voxels_at(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where positions lie between the voxels: the inverse of `positions`.

        Of ``(point, 3)`` [m] the indices, float64 ``(point, axis)``, within the scene or not. Of a
        scene of two axes only the first two coordinates count.
        """
        offsets = positions - self.centre
        if self.range is not None:
            sight = offsets + np.array([0.0, 0.0, self.range])
            distance = np.linalg.norm(sight, axis=1, keepdims=True)
            offsets = np.concatenate([sight[:, :2] / distance, distance - self.range], axis=1)
        axes = len(self.shape)
        return np.asarray(offsets[:, :axes] / self.spacing + np.array(self.shape) // 2)

    def _largest_cosine(self) -> float:
        first, second = (np.abs(self.offsets(axis)).max() for axis in (0, 1))
        return float(np.hypot(first, second))


def _last_axes_reversed(array: NDArray[Any], axes: int) -> NDArray[Any]:
    first = array.ndim - axes
    return array.transpose(*range(first), *reversed(range(first, array.ndim)))
