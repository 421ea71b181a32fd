"""Frames of axes that stand at a place on the Earth, which is given Earth-centred, Earth-fixed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class EarthFrame:
    """A right-handed frame: where its origin lies, and where its axes lead."""

    origin: NDArray[np.float64]  # (3,), WGS 84, Earth-centred, Earth-fixed [m]
    axes: NDArray[np.float64]  # (3, 3): unit vectors along x, y and z, one a row

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Self:
        """Return what `attributes` were made of."""
        return cls(np.array(attributes["origin"]), np.array(attributes["axes"]))

    @property
    def attributes(self) -> dict[str, Any]:
        """The frame as JSON values."""
        return {"origin": self.origin.tolist(), "axes": self.axes.tolist()}

    def local(self, places: ArrayLike) -> NDArray[np.float64]:
        """Return places on the Earth ``[..., 3]`` in this frame [m]."""
        return np.asarray((np.asarray(places) - self.origin) @ self.axes.T)

    def on_earth(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Return positions ``[..., 3]`` of this frame as places on the Earth: inverts `local`."""
        return np.asarray(np.asarray(positions) @ self.axes + self.origin)
