"""What transforms are measured for: the sizes and the trajectory of an acquisition."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.kinds import open_raw
from pipeline.mri.generators.radial import golden_radial, kooshball, stack_of_stars
from pipeline.mri.generators.winding import spiral
from pipeline.mri.raw import RawData

Trajectory = Literal["radial", "spiral", "stack-of-stars", "random"]

_CPU = torch.device("cpu")
_FRAMES = 16
"""Frames whose trajectories are kept: enough to fill a batch."""


@dataclass(frozen=True)
class TunedAcquisition:
    """An acquisition as far as it decides what transforms cost, and what a job would compute on."""

    shape: tuple[int, ...]
    coils: int
    frames: int
    trajectories: torch.Tensor
    """float32 ``[frame, axis, sample]`` [rad/voxel]: of the first frames, or of all if `shared`."""
    shared: bool
    source: str
    """Where the samples lie: a file, or the kind of trajectory."""
    raw: Path | None = None
    """Marker of the data, if there are any."""
    device: torch.device = _CPU
    threads: int = 1

    @property
    def samples(self) -> int:
        """Samples of one frame."""
        return self.trajectories.shape[-1]

    def trajectory(self, frames: int) -> torch.Tensor:
        """Return the samples of so many frames, ``([frame,] axis, sample)``."""
        if self.shared or frames == 1:
            return self.trajectories[0]
        return self.trajectories[:frames]


def stored_acquisition(raw: Path) -> TunedAcquisition:
    """Return the acquisition that a marker stands for.

    Raises
    ------
    DataError
        If it is missing or damaged, or not of MRI: pairs of antenna arrays have factors instead of
        non-uniform transforms.
    """
    data = open_raw(raw)
    if not isinstance(data, RawData):
        raise DataError(f"{raw}: found RF data; tune measures transforms of MRI data")
    kept = min(data.frames, _FRAMES) if data.own_trajectory else 1
    points = np.stack([data.trajectory(frame) for frame in range(kept)])
    return TunedAcquisition(
        data.shape,
        data.coils,
        data.frames,
        _as_tensor(points),
        shared=not data.own_trajectory,
        source=str(raw),
        raw=raw,
    )


def imagined_acquisition(
    shape: tuple[int, ...],
    *,
    coils: int,
    samples: int,
    frames: int,
    trajectory: Trajectory,
) -> TunedAcquisition:
    """Return an acquisition of given sizes, each frame with a trajectory of its own.

    Samples of a frame are rounded up to whole readouts of twice the matrix. ``radial`` is
    golden-angle radial in 2D and a kooshball in 3D.

    Raises
    ------
    ConfigError
        If the kind of trajectory does not have so many axes.
    """
    length = min(samples, 2 * shape[-1])
    readouts = math.ceil(samples / length)
    axes = len(shape)
    if (trajectory, axes) in (("spiral", 3), ("stack-of-stars", 2)):
        allowed = "radial, stack-of-stars and random" if axes == 3 else "radial, spiral and random"
        raise ConfigError(
            f"--trajectory: found {trajectory} for an image of {axes} axes; allowed are {allowed}"
        )
    generator = np.random.default_rng(0)

    def points(frame: int) -> NDArray[np.floating]:
        if trajectory == "random":
            return generator.uniform(-np.pi, np.pi, (readouts, length, axes))
        if trajectory == "spiral":
            return spiral(readouts, length, frame=frame)
        if trajectory == "stack-of-stars":
            spokes = math.ceil(readouts / shape[0])
            return stack_of_stars(spokes, length, partitions=shape[0], frame=frame)
        make = golden_radial if axes == 2 else kooshball
        return make(readouts, length, frame=frame)

    return TunedAcquisition(
        shape,
        coils,
        frames,
        _as_tensor(np.stack([points(frame) for frame in range(min(frames, _FRAMES))])),
        shared=False,
        source=trajectory,
    )


def _as_tensor(points: NDArray[np.floating]) -> torch.Tensor:
    """Return ``[frame, readout, sample, axis]`` as ``[frame, axis, sample]``."""
    flat = points.reshape(len(points), -1, points.shape[-1])
    return torch.from_numpy(np.ascontiguousarray(flat.transpose(0, 2, 1), dtype=np.float32))
