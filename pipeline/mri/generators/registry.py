"""All generators by name, and trajectories as settings ask for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trajectories import TrajectorySettings
from pipeline.errors import ConfigError
from pipeline.mri.generators.epi import epi
from pipeline.mri.generators.numbering import ALL
from pipeline.mri.generators.radial import (
    golden_radial,
    kooshball,
    linear_radial,
    phyllotaxis,
    stack_of_stars,
)
from pipeline.mri.generators.winding import cones, spiral

GENERATORS: Mapping[str, tuple[int, Callable[..., NDArray[np.float64]], tuple[str, ...]]] = {
    "golden-radial": (2, golden_radial, ("from_centre", "tiny_golden")),
    "linear-radial": (2, linear_radial, ("from_centre",)),
    "spiral": (2, spiral, ("turns", "exponent")),
    "epi": (2, epi, ("lines",)),
    "kooshball": (3, kooshball, ("from_centre",)),
    "phyllotaxis": (3, phyllotaxis, ("from_centre",)),
    "cones": (3, cones, ("turns",)),
    "stack-of-stars": (3, stack_of_stars, ("from_centre", "tiny_golden")),
}
"""Number of axes, what generates them, and the settings that it takes."""


def partitions_of(settings: TrajectorySettings, shape: Sequence[int]) -> int:
    """Return the partitions along z: as many as voxels by default, 1 where there are none."""
    return (settings.partitions or shape[0]) if settings.kind == "stack-of-stars" else 1


@dataclass(frozen=True)
class GeneratedTrajectory:
    """The trajectory of every frame of an acquisition, from a formula.

    Raises
    ------
    ConfigError
        If the matrix has another number of axes, or readouts make no whole number of spokes or
        lines.
    """

    settings: TrajectorySettings
    shape: Sequence[int]
    """Image matrix."""
    readouts: int
    """Of a frame, over all partitions."""
    samples: int
    who: str

    def __post_init__(self) -> None:
        kind, axes = self.settings.kind, GENERATORS[self.settings.kind][0]
        if len(self.shape) != axes:
            raise ConfigError(
                f"{self.who}: the trajectory {kind} is {axes}D, but `shape` {tuple(self.shape)} "
                f"has {len(self.shape)} axes"
            )
        if self.readouts % self.partitions:
            raise ConfigError(
                f"{self.who}: {self.readouts} readouts of a frame are no whole number of spokes in "
                f"{self.partitions} partitions; set `trajectory.partitions`"
            )
        if kind == "epi" and self.samples % self.settings.lines:
            raise ConfigError(
                f"{self.who}: {self.samples} samples of a readout are no whole number in "
                f"{self.settings.lines} lines; set `trajectory.lines`"
            )

    @property
    def partitions(self) -> int:
        """Partitions along z; 1 where there are none."""
        return partitions_of(self.settings, self.shape)

    @property
    def own(self) -> bool:
        """Whether each frame has a trajectory of its own."""
        return not self.settings.repeat and self.settings.kind not in ("linear-radial", "epi")

    def __call__(self, frame: int, selection: slice = ALL) -> NDArray[np.float64]:
        """Return readouts of one frame, float64 ``[readout, sample, axis]`` [rad/voxel]."""
        return self._generate(frame=frame if self.own else 0, selection=selection)

    @cached_property
    def _generate(self) -> Callable[..., NDArray[np.float64]]:
        kind, partitions = self.settings.kind, self.partitions
        _, generate, names = GENERATORS[kind]
        options: dict[str, Any] = {name: getattr(self.settings, name) for name in names}
        sizes = [self.readouts // partitions, self.samples]
        if kind == "stack-of-stars":
            sizes.append(partitions)
        return lambda **rest: generate(*sizes, **options, **rest)
