"""Parallel slices among the readouts of a file: which frames are of which, and where they lie."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.mri.formats.listed_source import Place

_UNEVEN = 0.01
"""Of the distance of slices, by which one may lie beside its place; headers have few digits."""


@dataclass(frozen=True)
class ParallelSlices:
    """Frames in the order of slices along their normal."""

    rows: NDArray[np.int64]
    """``[frame, readout]``: all frames of the first slice, then those of the second ..."""
    count: int
    distance: float | None
    """From a slice to the next along their normal [m]; None of a single one, or if not told."""


def parallel_slices(
    rows: NDArray[np.int64],
    slices: NDArray[np.int32],
    place: Callable[[int], Place],
    dataset: str,
) -> ParallelSlices:
    """Bring the frames of slices into the order of their places.

    ``slices`` tells the slice of each frame ``rows[frame]``, and ``place`` where a readout lies.

    Raises
    ------
    DataError
        If slices have different numbers of frames, or are not parallel and evenly spaced.
    """
    numbers, counts = np.unique(slices, return_counts=True)
    if len(numbers) == 1:
        return ParallelSlices(rows, 1, None)
    choose = f"choose one with `sources.{dataset}.readouts.select: {{slice: ...}}`"
    if np.any(counts != counts[0]):
        raise DataError(
            f"{dataset}: slices have {counts.min()} to {counts.max()} frames; expected as many "
            f"of each: {choose}"
        )
    groups = [rows[slices == number] for number in numbers]
    places = [place(int(group[0, 0])) for group in groups]
    normals = np.stack([each.directions[0] for each in places])
    if not normals.any():  # the file does not tell
        return ParallelSlices(np.concatenate(groups), len(groups), None)
    heights = np.array([each.position @ normals[0] for each in places])
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    # Moved within their own plane, they would not lie above each other.
    aside = [each.position - places[0].position for each in places]
    across = max(float(np.linalg.norm(move - (move @ normals[0]) * normals[0])) for move in aside)
    step = float(steps.mean())
    if (
        np.abs(normals - normals[0]).max() > _UNEVEN
        or step <= 0
        or np.abs(steps - step).max() > _UNEVEN * step
        or across > _UNEVEN * step
    ):
        raise DataError(
            f"{dataset}: its {len(groups)} slices are not parallel, above each other and evenly "
            f"spaced (steps of {1e3 * steps.min():.4g} to {1e3 * steps.max():.4g} mm); {choose}"
        )
    return ParallelSlices(np.concatenate([groups[n] for n in order]), len(groups), step)
