"""Where and when a Pulseq sequence (`.seq`) samples k-space [1]_, by pypulseq [2]_.

k-space is the integral of the gradients since the last excitation, and a refocusing pulse turns its
sign; so it does with the phase that voxels of different frequencies have, which is what times
count.

References
----------
.. [1] K. J. Layton et al., "Pulseq: a rapid and hardware-independent pulse sequence prototyping
   framework", Magn. Reson. Med. 77, 1544-1552 (2017).
.. [2] K. S. Ravi, S. Geethanath, J. T. Vaughan, "PyPulseq: a Python package for MRI pulse sequence
   design", J. Open Source Softw. 4, 1725 (2019).
"""

import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trajectories import TrajectorySettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, DependencyError, words_of
from pipeline.formats.lazy import InMemory
from pipeline.mri.formats.units import to_rad_per_voxel

_LIBRARY = 90 * 2**20
"""pypulseq, and the parts of matplotlib and SciPy that it imports [byte]."""
_READING = 16
"""Bytes held of each byte of a sequence that is read."""
_SAMPLE_BYTES, _POINT_BYTES = 105, 95
"""While k-space is computed: of each sample, and of each time that gradients have of their own."""
_OLDEST = (1, 2)
_VERSION = re.compile(r"^\[VERSION\]\s+major\s+(\d+)\s+minor\s+(\d+)", re.MULTILINE)
_STILL = 1e-3
"""Of the reach of k-space, by which it may move along an axis that the image does not have."""


@dataclass(frozen=True)
class SequenceReadouts:
    """The readouts of a sequence that have the wanted number of samples."""

    k: NDArray[np.float32]
    """``[readout, sample, gradient axis x, y, z]`` [cycles/m]."""
    times: NDArray[np.float32]
    """``[readout, sample]`` [s]."""
    dwell_time: float
    """Between samples [s]."""
    settings: TrajectorySettings
    who: str

    @property
    def count(self) -> int:
        """Number of readouts."""
        return len(self.k)

    def arrays(
        self,
        shape: Sequence[int],
        voxel_size: Sequence[float],
        numbers: NDArray[np.int64],
        measured: slice = slice(None),
    ) -> dict[str, InMemory]:
        """Return trajectory [rad/voxel] and times of readouts ``numbers[frame, readout]``.

        Frames that are sampled alike are given once. In 2D a constant along the slice is left out.

        Raises
        ------
        DataError
            If a 2D image would leave out an axis along which samples move.
        """
        names = ("z", "y", "x")[-len(shape) :]
        order = [self.settings.axis_order.index(name) for name in names]
        left = next((axis for axis in range(3) if axis not in order), None)
        played, times = self.k[numbers][:, :, measured], self.times[numbers][:, :, measured]
        k = played[..., order]
        if left is not None and np.ptp(played[..., left]) > _STILL * np.abs(k).max():
            raise DataError(
                f"{self.who}: the samples of {self.settings.file} move along gradient "
                f"{'xyz'[left]}, which is none of the image {tuple(shape)}; check `shape` and "
                "`trajectory.axis_order`"
            )
        k *= to_rad_per_voxel("cycles_per_m", shape, voxel_size)
        if all(np.array_equal(k[0], one) for one in k[1:]):
            k = k[:1]
        if all(np.array_equal(times[0], one) for one in times[1:]):
            times = times[:1]
        return {"trajectory": InMemory(k), "times": InMemory(times)}


def sequence_readouts(
    settings: TrajectorySettings, samples: int, budget: Budget, dataset: str
) -> SequenceReadouts:
    """Return the readouts of ``settings.file`` that have so many samples.

    Raises
    ------
    DependencyError
        If pypulseq is not installed.
    DataError
        If the file is no sequence of a known version, or has no such readouts.
    PlanError
        If there is no memory for it.
    """
    path, who = Path(settings.file or ""), f"{dataset}: {settings.file}"
    budget.load(_LIBRARY)
    reading = {"sequence": _READING * path.stat().st_size}
    budget.require(reading)
    sequence, kinds, points = _read(path, who, dataset)
    counts = np.array([int(each[0]) for each in kinds], np.int64)
    wanted = counts == samples
    if not wanted.any():
        has = ", ".join(map(str, np.unique(counts).tolist())) or "no"
        raise DataError(
            f"{who} has readouts of {has} samples, but those of the data have {samples}; name the "
            "sequence that was played"
        )
    computing = _SAMPLE_BYTES * int(counts.sum()) + _POINT_BYTES * points
    budget.require({**reading, "its k-space": computing})
    budget.hold(3 * 16 * samples * int(wanted.sum()))
    try:
        # pypulseq counts a delay of the samples, not of the gradients.
        found, _, excitations, refocusing, at = sequence.calculate_kspace(-settings.delay)
    except Exception as error:  # of what it was not made for, pypulseq raises what it likes
        raise DataError(f"{who}: pypulseq finds no k-space of it ({words_of(error)})") from None
    kept = np.repeat(wanted, counts)
    return SequenceReadouts(
        k=found.T[kept].astype(np.float32).reshape(-1, samples, 3),
        times=_times(at[kept], excitations, refocusing).reshape(-1, samples),
        dwell_time=float(kinds[int(wanted.argmax())][1]),
        settings=settings,
        who=dataset,
    )


def _read(path: Path, who: str, dataset: str) -> tuple[Any, list[Any], int]:
    """Return a sequence, what it tells of each of its readouts, and `_gradient_points`."""
    try:
        import pypulseq
    except ImportError:
        raise DependencyError(
            f"{dataset}: Pulseq sequences need pypulseq, which is not installed; "
            "`pip install 'kronufft[scanners]'`"
        ) from None
    sequence: Any = pypulseq.Sequence()
    newest = (int(sequence.version_major), int(sequence.version_minor))
    text = path.read_text(errors="replace")
    told = _VERSION.search(text)
    if told is None:
        raise DataError(f"{who} is no Pulseq sequence: it has no section [VERSION]")
    version = (int(told[1]), int(told[2]))
    if not _OLDEST <= version <= newest:
        raise DataError(
            f"{who} is of Pulseq {version[0]}.{version[1]}; known are {_OLDEST[0]}.{_OLDEST[1]} to "
            f"{newest[0]}.{newest[1]}: write it again, in one of these"
        )
    with tempfile.TemporaryDirectory(prefix="kronufft-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions, which are known, and of default rasters
        copy = Path(folder) / "sequence.seq"
        copy.write_text(text + "\n\n")  # or pypulseq reads on for ever where a section is cut off
        try:
            # `None`: what pulses are for is guessed where files do not tell, before version 1.5.
            sequence.read(str(copy), detect_rf_use=None, remove_duplicates=False)
            cut_off = [n for n, shape in sequence.shape_library.data.items() if not _whole(shape)]
            events = [block[5] for block in sequence.block_events.values() if block[5]]
            kinds = [sequence.adc_library.data[int(number)] for number in events]
            points = _gradient_points(sequence)
        except Exception as error:  # as above
            raise DataError(
                f"{who} is not readable as a Pulseq sequence ({words_of(error)})"
            ) from None
    if cut_off:
        raise DataError(f"{who} is cut off in the shape {cut_off[0]}; copy it again")
    return sequence, kinds, points


def _whole(shape: Sequence[float]) -> bool:
    """Tell whether a shape, its number of samples and these, is complete.

    Differences of samples are stored: of equal ones two, and how many more there are.
    """
    count, *values = shape
    if len(values) == count:
        return True
    at, found = 0, 0
    while at < len(values):
        if at + 2 < len(values) and values[at] == values[at + 1]:
            found += 2 + int(values[at + 2])
            at += 3
        else:
            found += 1
            at += 1
    return found == int(count)


def _gradient_points(sequence: Any) -> int:
    """Return about how many times all gradients have of their own: on their ramps, all of them."""
    raster, library = float(sequence.grad_raster_time), sequence.grad_library
    points = {0: 0}
    for number, told in library.data.items():
        if library.type[number] == "t":  # amplitude, rise, flat, fall, delay
            points[number] = 8 + int((told[1] + told[3]) / raster)
        else:
            points[number] = 2 * int(sequence.shape_library.data[told[3]][0])
    blocks = sequence.block_events.values()
    return sum(points[int(number)] for block in blocks for number in block[2:5])


def _times(
    at: NDArray[np.float64], excitations: Sequence[float], refocusing: Sequence[float]
) -> NDArray[np.float32]:
    """Return times since voxels of different frequencies had one phase: negative before an echo."""
    pulses = sorted([(time, False) for time in excitations] + [(time, True) for time in refocusing])
    edges, origin = [-np.inf], [0.0]
    for time, refocuses in pulses:
        edges.append(time)
        origin.append(2 * time - origin[-1] if refocuses else time)
    since = np.asarray(origin)[np.searchsorted(edges, at, side="right") - 1]
    return np.asarray(at - since, np.float32)


def numbers_in_sequence(
    sequence: SequenceReadouts,
    rows: NDArray[np.int64],
    alike: NDArray[np.bool_],
    imaged: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return which readout of a sequence each of ``rows[frame, readout]`` is, in its order.

    ``alike`` tells of each readout of the file whether it is as long as those, ``imaged`` whether
    it was measured for the image. The sequence may or may not have the others.

    Raises
    ------
    DataError
        If the sequence has another number of readouts.
    """
    repeat = sequence.settings.repeat
    if repeat and rows.shape[1] == sequence.count:
        return np.arange(sequence.count)[None]
    for listed in (alike, alike & imaged):
        if not repeat and listed.sum() == sequence.count:
            return np.asarray((np.cumsum(listed) - 1)[rows], np.int64)
    where = f"a frame {rows.shape[1]}" if repeat else f"the file {int(alike.sum())}"
    raise DataError(
        f"{sequence.who}: {sequence.settings.file} has {sequence.count} readouts of "
        f"{sequence.times.shape[1]} samples, but {where}; name the sequence that was played, or "
        "set `trajectory.repeat` where each frame repeats it"
    )
