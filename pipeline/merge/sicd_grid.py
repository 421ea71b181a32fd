"""How an image ``[y, x]`` of a radar over the Earth lies in the rows and columns of a SICD."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.storage.radar import RadarCollection


@dataclass(frozen=True, eq=False)
class SicdGrid:
    """Rows lead away from the radar, and rows, columns and up are right-handed.

    Spatial frequencies are cycles per metre; those of the image lie in a band about ``centre``.
    """

    transposed: bool
    """Whether rows of the SICD are along x, rather than along y."""
    signs: NDArray[np.int64]
    """(2,): whether rows and columns run like the axes of the image, 1, or against them, -1."""
    shape: tuple[int, int]
    """Rows and columns."""
    spacing: NDArray[np.float64]
    """(2,) [m]."""
    directions: NDArray[np.float64]
    """(2, 3): in which rows and columns grow, in the frame of the scene."""
    first: NDArray[np.float64]
    """(3,): position of the first pixel, in the frame of the scene [m]."""
    centre: NDArray[np.float64]
    """(2,) [1/m]."""
    width: NDArray[np.float64]
    """(2,) [1/m]."""

    @classmethod
    def of(
        cls, affine: NDArray[np.float64], shape: tuple[int, ...], radar: RadarCollection
    ) -> "SicdGrid":
        """Return the grid of images ``(frame, 1, y, x)`` with an affine as of `Merged`."""
        rows_x = np.stack([affine[2::-1, axis] for axis in (1, 2)])  # along y and x, as x, y, z
        spacing = np.linalg.norm(rows_x, axis=1)
        axes = rows_x / spacing[:, None]
        corner = affine[2::-1, 3]
        sizes = np.array(shape[2:])
        middle = len(radar.times) // 2
        antenna = (radar.transmitter[middle] + radar.receiver[middle]) / 2
        away = axes @ (corner + (sizes // 2) @ rows_x - antenna)
        transposed = bool(abs(away[1]) > abs(away[0]))
        order = [1, 0] if transposed else [0, 1]
        row, column = axes[order]
        signs = np.array([1 if away[order[0]] >= 0 else -1, 1])
        if np.cross(signs[0] * row, column)[2] < 0:
            signs[1] = -1
        last = np.where(signs < 0, sizes[order] - 1, 0)
        # Along an axis that is turned round, the least wave number is the greatest.
        ends = radar.band / (2 * np.pi) @ (axes[order] * signs[:, None]).T
        return cls(
            transposed=transposed,
            signs=signs,
            shape=(int(sizes[order[0]]), int(sizes[order[1]])),
            spacing=spacing[order],
            directions=axes[order] * signs[:, None],
            first=corner + last @ rows_x[order],
            centre=ends.mean(axis=0),
            width=np.abs(ends[1] - ends[0]),
        )

    @property
    def middle(self) -> tuple[int, int]:
        """Row and column that phases and the place on the Earth are told of (SCP)."""
        return self.shape[0] // 2, self.shape[1] // 2

    def position(self, row: float, column: float) -> NDArray[np.float64]:
        """Return where a pixel lies in the frame of the scene, ``(3,)`` [m]."""
        return np.asarray(self.first + (np.array([row, column]) * self.spacing) @ self.directions)
