"""What the values of a trajectory tell: the axis of samples, units, and the matrix it was for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLOSE = 0.02  # to the largest value that units allow
_STRAIGHT = 0.2  # mean second over mean first difference of a straight readout
_JUMP = 8.0  # usual steps that lie between the end of a readout and the next one's beginning


@dataclass(frozen=True)
class Guessed:
    """A value, why, and whether it is a guess."""

    value: Any
    reason: str
    guess: bool = False


def bending(points: NDArray[Any], axis: int) -> float:
    """Return how much the path along an axis bends: second over first differences.

    ``points`` are real ``[..., component]``. A straight readout has 0.
    """
    if points.shape[axis] < 3:
        return math.inf
    first = np.diff(points, axis=axis)
    second = np.diff(first, axis=axis)
    steps = np.linalg.norm(first, axis=-1).mean()
    return float(np.linalg.norm(second, axis=-1).mean() / steps) if steps else math.inf


def readout_length(points: NDArray[Any]) -> int | None:
    """Return after how many samples ``[sample, component]`` the next readout begins, if it does."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    usual = float(np.median(steps))
    jumps = np.flatnonzero(steps > _JUMP * usual) + 1 if usual else np.empty(0, int)
    if not len(jumps):
        return None
    length = int(jumps[0])
    regular = len(points) % length == 0 and np.array_equal(
        jumps, np.arange(length, len(points), length)
    )
    return length if regular else None


def units_of(largest: float, samples: int) -> Guessed | None:
    """Return units and scale of a trajectory by its largest component, or None if none fit.

    ``samples`` are those of a readout.
    """
    near = (
        (0.5, "cycles_per_voxel", 1.0, "half a cycle per voxel is the most that a matrix can show"),
        (math.pi, "rad_per_voxel", 1.0, "pi is the most that a matrix can show"),
        (1.0, "cycles_per_voxel", 0.5, "it seems to be normalised to 1: halved"),
    )
    for most, units, scale, why in near:
        if most * (1 - 5 * _CLOSE) <= largest <= most * (1 + _CLOSE):
            return Guessed((units, scale), f"it reaches {largest:.4g}, and {why}", scale != 1)
    if largest < 0.5:
        return Guessed(
            ("cycles_per_voxel", 1.0),
            f"it reaches {largest:.4g}: {largest / 0.5:.0%} of what the matrix could show",
            guess=True,
        )
    if largest <= math.pi:
        return Guessed(
            ("rad_per_voxel", 1.0),
            f"it reaches {largest:.4g}: {largest / math.pi:.0%} of what the matrix could show",
            guess=True,
        )
    if largest >= 4 and samples / (2 * largest) >= 0.4:
        # Readouts across all of k-space would be too coarse: if not, k may well count per metre.
        coarse = samples < 2 * largest * (1 - _CLOSE)
        return Guessed(
            ("cycles_per_fov", 1.0),
            f"it reaches {largest:.6g}, half a matrix of {2 * math.ceil(largest)}"
            + (", unless it is in cycles_per_m" if coarse else ""),
            guess=coarse,
        )
    return None


def matrix_of(points: NDArray[Any], units: str, scale: float, axes: int) -> Guessed:
    """Return the image matrix that a trajectory ``[readout, sample, component]`` was made for."""
    reach = scale * np.abs(points).reshape(-1, points.shape[-1]).max(axis=0)
    if units == "cycles_per_fov":
        shape = [2 * math.ceil(value * (1 - 1e-6)) for value in reach]
        return Guessed(shape, "twice the largest |k|, in cycles per field of view")
    per_cycle = 1.0 if units == "cycles_per_voxel" else 2 * math.pi
    readouts, samples, _ = points.shape
    if samples > 2 and bending(points, 1) < _STRAIGHT:
        step = float(np.median(np.linalg.norm(np.diff(points, axis=1), axis=-1)))
        seen = per_cycle / (scale * step)
        size = 2 * max(1, round(seen / 4))
        why = (
            f"readouts see {seen:.0f} voxels without aliasing, and are usually sampled twice as "
            "densely as needed"
        )
    else:
        covered = readouts * samples
        size = 2 * max(1, round((covered * (4 if axes == 2 else 6) / math.pi) ** (1 / axes) / 2))
        why = f"as many voxels across as {covered} samples could resolve at best"
    return Guessed([size] * axes, why, guess=True)


def likely_axes(points: NDArray[Any], among: Sequence[int]) -> tuple[int, bool]:
    """Return along which of some axes of ``[..., component]`` samples follow; whether clearly."""
    bends = sorted((bending(points, axis), -axis) for axis in among)
    clear = len(bends) == 1 or bends[0][0] < 0.5 * bends[1][0]
    return -bends[0][1], clear
