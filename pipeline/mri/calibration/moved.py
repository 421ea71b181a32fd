"""Corrected trajectories: written into the calibration, for all who read the data after it.

Several steps may move a trajectory; each moves what the one before has left.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.corrected import CorrectedData
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import create_samples
from pipeline.storage.chunks import image_chunks

if TYPE_CHECKING:
    import zarr


def write_trajectory(
    data: CorrectedData,
    group: "zarr.Group",
    moved: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    who: str,
) -> None:
    """Write what ``moved`` makes of the trajectory ``[readout, sample, axis]``, in whole readouts.

    ``data`` was opened before.
    """
    stored: Any = group.get("trajectory")
    if stored is None:
        stored = create_samples(group, "trajectory", (*_sizes(data), len(data.shape)))
    _write(stored, data, moved, f"{who}: trajectory")


def write_sample_phase(
    data: CorrectedData,
    group: "zarr.Group",
    phase: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    who: str,
) -> None:
    """Write the phases ``[readout, sample]`` [rad] that samples of a trajectory have got."""
    stored = create_samples(group, "sample_phase", _sizes(data))
    _write(stored, data, phase, f"{who}: phases of samples")


def _sizes(data: CorrectedData) -> tuple[int, int, int]:
    return (data.frames if data.own_trajectory else 1, data.readouts, data.samples)


def _write(
    stored: Any,
    data: CorrectedData,
    made: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    what: str,
) -> None:
    slabs = pieces(data.readouts, stored.chunks[1])
    with track(what, stored.shape[0] * len(slabs)) as advance:
        for frame, slab in itertools.product(range(stored.shape[0]), slabs):
            stored[frame, slab] = made(data.trajectory(frame, slab))
            advance()


def writing_bytes(acquired: Acquired) -> int:
    """Return what `write_trajectory` holds: a chunk as read, as moved and as written, and more."""
    axes = len(acquired.shape)
    rows = image_chunks((acquired.readouts, acquired.samples), 4 * axes)[0]
    return 4 * axes * rows * acquired.samples * 8
