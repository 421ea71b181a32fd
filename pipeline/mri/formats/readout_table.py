"""Readouts in the order in which a scanner's file lists them, and how they become frames.

Formats that list readouts one by one differ in how they are read, not in what becomes of them: each
fills a `ReadoutTable` and reads samples by the numbers of readouts.
"""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.config.readouts import ReadoutSettings
from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError

LINES = ("kspace_encode_step_1", "kspace_encode_step_2")
"""Counters of the lines of k-space: along the phase and the partition direction."""
COUNTERS = ("average", "slice", "contrast", "phase", "repetition", "set", "segment")
"""All others."""

READOUT_BYTES = 192
"""Held of each readout while readouts are sorted: its row of the table, and what sorts it."""


@dataclass(frozen=True)
class ReadoutTable:
    """What the headers of all readouts tell; each array has one value a readout."""

    role: NDArray[np.int8]
    """An index into `ROLES`."""
    encoding: NDArray[np.int32]
    counters: Mapping[str, NDArray[np.int32]]
    """By the names in `LINES` and `COUNTERS`."""
    coils: NDArray[np.int32]
    samples: NDArray[np.int32]
    """Of a coil, with those to be discarded."""
    discarded: NDArray[np.int32]
    """``[readout, 2]``: samples to leave out at the begin and at the end."""
    centre: NDArray[np.int32]
    """The sample in the centre of k-space, counted from the first one that is listed."""
    reverse: NDArray[np.bool_]
    """Whether a Cartesian readout ran from the last sample to the first, as in EPI."""
    line_centres: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    """Values of the counters in `LINES` in the centre of k-space, where headers tell them."""


ROLES = ("image", "noise", "calibration", "navigator", "dummy", "other")
"""What a readout was measured for."""
_TOLD = {
    "noise": "of noise",
    "calibration": "of a calibration alone",
    "navigator": "of navigators and phase corrections",
    "dummy": "of dummy scans",
    "other": "for feedback and coil corrections",
}


@dataclass(frozen=True)
class SortedReadouts:
    """The readouts of each frame, by their numbers in the file."""

    rows: NDArray[np.int64]
    """``[frame, readout]``."""
    coils: int
    samples: slice
    """Of those that are listed, the ones that are measured."""
    notes: tuple[str, ...]
    """What was left out and why, for people."""
    short: str | None = None
    """What of it would have been images, had it been whole."""


def sorted_readouts(
    table: ReadoutTable, settings: IngestSettings, dataset: str, *, encoding: int, by_line: bool
) -> SortedReadouts:
    """Return which readouts of an encoding space make which frame.

    Within a frame they are in the order of acquisition, or with ``by_line`` in that of their lines.

    Raises
    ------
    ConfigError
        If the settings ask for what the file does not have.
    DataError
        If there is nothing to make an image of, or if frames or readouts differ in size.
    """
    chosen_by = settings.details.readouts or ReadoutSettings()
    chosen, notes = _chosen(table, chosen_by, encoding, dataset)
    _require_alike(table, chosen, dataset)
    frames = _frames(table, chosen, chosen_by, settings.details.readouts_per_frame, dataset)
    most = max(map(len, frames))
    whole = [rows for rows in frames if len(rows) == most]
    short = None
    if len(whole) < len(frames):
        if not chosen_by.incomplete and settings.details.readouts_per_frame is None:
            counts = ", ".join(
                f"{many} of {count} readouts" for count, many in Tally(map(len, frames)).items()
            )
            raise DataError(
                f"{dataset}: frames differ in their number of readouts ({counts}); choose with "
                f"`sources.{dataset}.readouts.select`, or leave out the shorter ones with "
                "`readouts.incomplete: true`"
            )
        short = f"{len(frames) - len(whole)} frames with fewer than {most} readouts"
        notes.append(short)
    rows = np.stack(whole)
    if by_line:
        lines = [table.counters[name][rows] for name in LINES]
        rows = np.take_along_axis(rows, np.lexsort(lines, axis=1), axis=1)
    first, last = table.discarded[rows[0, 0]]
    measured = slice(int(first), int(table.samples[rows[0, 0]] - last))
    return SortedReadouts(rows, int(table.coils[rows[0, 0]]), measured, tuple(notes), short)


def missing_ends(table: ReadoutTable, announced: Mapping[str, int], encoding: int) -> Iterator[str]:
    """Yield what the header announces and no readout reaches: the scan may have ended early.

    Of lines no more is missing than lies between two of them where some are left out.
    """
    imaged = (table.role == 0) & (table.encoding == encoding)
    for name in (*LINES, *COUNTERS):
        if name not in announced or name == "segment":
            continue
        found = np.unique(table.counters[name][imaged])
        step = int(np.diff(found).max(initial=1))
        if len(found) and found[-1] + step <= announced[name]:
            yield f"{name} is {found[-1]} at most, where the header announces {announced[name]}"


def noise_rows(table: ReadoutTable, coils: int) -> NDArray[np.int64]:
    """Return the numbers of the readouts that measured the noise of so many coils."""
    is_noise = (table.role == ROLES.index("noise")) & (table.coils == coils)
    return np.flatnonzero(is_noise)


def _chosen(
    table: ReadoutTable, settings: ReadoutSettings, encoding: int, dataset: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the numbers of the readouts that were measured for the image and are wanted."""
    chosen = table.role == 0
    notes = [
        f"{count} readouts {_TOLD[ROLES[role]]}"
        for role, count in enumerate(np.bincount(table.role, minlength=len(ROLES)).tolist())
        if role and count
    ]
    there = np.unique(table.encoding[chosen]).tolist()
    if not there:
        raise DataError(
            f"{dataset}: none of its {len(table.role)} readouts is of an image "
            f"({', '.join(notes) or 'it has none'})"
        )
    if encoding not in there:
        raise ConfigError(
            f"{dataset}: no readouts of the encoding space {encoding}; the file has "
            f"{_listed(there)}: set `sources.{dataset}.readouts.encoding`"
        )
    if len(there) > 1:
        others = [each for each in there if each != encoding]
        count = int((chosen & (table.encoding != encoding)).sum())
        notes.append(f"{count} readouts of the encoding spaces {_listed(others)}")
    chosen &= table.encoding == encoding
    for name, value in settings.select.items():
        there = np.unique(table.counters[name][chosen]).tolist()
        if value not in there:
            raise ConfigError(
                f"{dataset}: no readouts with {name} {value}; there are {_listed(there)}: set "
                f"`sources.{dataset}.readouts.select.{name}`"
            )
        chosen &= table.counters[name] == value
    return np.flatnonzero(chosen), notes


def _require_alike(table: ReadoutTable, chosen: NDArray[np.int64], dataset: str) -> None:
    """Refuse readouts of different sizes: it would not be clear which are the image."""
    sizes = np.column_stack([table.coils, table.samples, table.discarded])[chosen]
    kinds, counts = np.unique(sizes, axis=0, return_counts=True)
    if len(kinds) > 1:
        usual = kinds[counts.argmax()]
        odd = int(chosen[np.any(sizes != usual, axis=1).argmax()])
        told = "; ".join(
            f"{count} readouts of {coils} coils and {samples} samples"
            + (f" (less {before} + {after})" if before or after else "")
            for (coils, samples, before, after), count in list(zip(kinds, counts, strict=True))[:4]
        )
        raise DataError(
            f"{dataset}: readouts differ in size ({told}), for the first time at readout {odd}; "
            f"choose with `sources.{dataset}.readouts` (`encoding`, `select`)"
        )
    coils, samples, before, after = (int(size) for size in kinds[0])
    if coils < 1 or samples - before - after < 1:
        raise DataError(
            f"{dataset}: readouts of {coils} coils and {samples} samples, of which {before} + "
            f"{after} are to be discarded: nothing is left"
        )


def _frames(
    table: ReadoutTable,
    chosen: NDArray[np.int64],
    settings: ReadoutSettings,
    readouts_per_frame: int | None,
    dataset: str,
) -> list[NDArray[np.int64]]:
    """Return the readouts of each frame, in the order of acquisition."""
    # Slices have maps and positions of their own: their frames stand together.
    names = sorted(settings.frames, key=lambda name: name != "slice")
    places = np.zeros((1 + len(names), len(chosen)), np.int32)
    for row, name in zip(places, names, strict=False):
        row[:] = table.counters[name][chosen]
    _, frame = np.unique(places, axis=1, return_inverse=True)
    frame = frame.ravel()
    order = np.argsort(frame, kind="stable")
    groups = np.split(chosen[order], np.flatnonzero(np.diff(frame[order])) + 1)
    if readouts_per_frame is None:
        return groups
    longest = max(map(len, groups))
    if longest < readouts_per_frame:
        raise ConfigError(
            f"{dataset}: `readouts_per_frame` is {readouts_per_frame}, but there are only "
            f"{longest} readouts to make frames of"
        )
    return [
        group[start : start + readouts_per_frame]
        for group in groups
        for start in range(0, len(group), readouts_per_frame)
    ]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (" ..." if len(values) > 8 else "")
