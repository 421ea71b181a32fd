"""Arrays that a mapping finds in files, whatever kind of data they are."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.config.sources import ArraySettings, IngestSettings, RowsSettings
from pipeline.errors import ConfigError, DataError
from pipeline.files import matching
from pipeline.formats.array_files import ArrayFile, open_file
from pipeline.formats.derived import (
    difference,
    joined_components,
    joined_parts,
    merged,
    real_and_imaginary,
    scaled,
    stacked,
)
from pipeline.formats.lazy import InMemory, LazyArray, whole
from pipeline.formats.rearranged import Rearranged
from pipeline.formats.touchstone import FREQUENCIES

_PULSE = "pulse"
"""The axis that may be stored as several."""


class _JoinedFiles:
    """Files of the same arrays, which are joined along a new first axis."""

    def __init__(self, files: Sequence[ArrayFile]) -> None:
        self._files = files

    def array(self, name: str | None, who: str) -> LazyArray:
        """Return what all files call ``name``; see `ArrayFile.array`."""
        parts = [file.array(name, who) for file in self._files]
        first = self._files[0]
        for file, part in zip(self._files, parts, strict=True):
            if part.shape != parts[0].shape:
                raise DataError(
                    f"{who}: {file.path} holds an array of shape {part.shape}, and {first.path} "
                    f"one of {parts[0].shape}; files that are joined must be alike"
                )
            if FREQUENCIES in file.names and name != FREQUENCIES:
                own, others = (whole(one.array(FREQUENCIES, who)) for one in (file, first))
                if not np.array_equal(own, others):
                    raise DataError(
                        f"{who}: {file.path} was measured at other frequencies than {first.path}"
                    )
        return stacked(parts, axis=0)


class MappedFiles:
    """The files that the arrays of a dataset lie in, each opened once and closed by ``stack``."""

    def __init__(self, source: Path, settings: IngestSettings, stack: ExitStack) -> None:
        self._source = source
        self._settings = settings
        self._stack = stack
        self._files: dict[Path, ArrayFile] = {}

    @property
    def paths(self) -> Iterable[Path]:
        """The files opened so far."""
        return self._files

    def mapped(self, name: str, array: ArraySettings, axes: Sequence[str], who: str) -> LazyArray:
        """Return one array of a file with our axes, and with its scale but not the units of k."""
        opened = self._opened(array.file, who)
        details = self._settings.details
        joined = {"sample": details.samples_per_readout, "readout": details.readouts_per_frame}
        lengths = {axis: length for axis, length in joined.items() if length is not None}

        def arranged(file: ArrayFile | _JoinedFiles, stored_name: str | None) -> LazyArray:
            return _arranged(file.array(stored_name, who), array.axes, axes, lengths, who)

        def part(stored_name: str | None) -> LazyArray:
            stored = arranged(opened, stored_name)
            if array.subtract is None:
                return stored
            return difference(stored, arranged(self._opened(array.subtract, who), stored_name), who)

        mapped: LazyArray
        if array.components is not None:
            mapped = joined_components([part(component) for component in array.components], who)
        elif array.real is not None:
            mapped = joined_parts(part(array.real), part(array.imag), who)
        else:
            mapped = part(array.name)
        if name == "trajectory" and mapped.dtype.kind == "c" and mapped.shape[-1] == 1:
            mapped = real_and_imaginary(mapped)
        if array.rows is not None:
            mapped = self._chosen(mapped, array.rows, axes, who)
        if array.scale != 1.0 or array.conjugate:
            mapped = scaled(mapped, array.scale, conjugate=array.conjugate)
        return mapped

    def _opened(self, name: str | None, who: str) -> ArrayFile | _JoinedFiles:
        paths = _paths_of(self._source, name, who)
        for path in paths:
            if path not in self._files:
                self._files[path] = open_file(path, self._stack, who)
        if name is None or paths == [self._source / name]:
            return self._files[paths[0]]
        return _JoinedFiles([self._files[path] for path in paths])

    def _chosen(
        self, array: LazyArray, rows: RowsSettings, axes: Sequence[str], who: str
    ) -> InMemory:
        """Return the stored positions that a table names for each pulse."""
        if "pulse" not in axes:
            raise ConfigError(f"{who}: `rows` is for positions with an axis `pulse`; leave it out")
        table = whole(self._opened(rows.file, who).array(rows.name, who))
        table = table.reshape(len(table), -1)
        positions, axis = whole(array), list(axes).index("pulse")
        if rows.column >= table.shape[1]:
            raise DataError(
                f"{who}: `rows` asks for column {rows.column}, but the table has {table.shape[1]}"
            )
        numbers = table[:, rows.column]
        chosen = numbers.real.astype(np.int64) - rows.first
        stored = positions.shape[axis]
        wrong = (chosen + rows.first != numbers) | (chosen < 0) | (chosen >= stored)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{who}: row {at} of `rows` names {numbers[at]}, but there are {stored} positions, "
                f"numbered from {rows.first} on; check `column` and `first`"
            )
        return InMemory(positions.take(chosen, axis))


def _arranged(
    stored: LazyArray,
    entries: Sequence[str],
    axes: Sequence[str],
    lengths: Mapping[str, int],
    who: str,
) -> LazyArray:
    """Return a stored array with our axes; pulses may have several, as of a scan of a plane."""
    count = list(entries).count(_PULSE)
    if count < 2:
        return Rearranged(stored, entries, axes, lengths, who)
    if _PULSE not in axes:
        raise ConfigError(f"{who}: it has no axis `{_PULSE}`; its axes are {', '.join(axes)}")
    numbered = [f"{_PULSE}{index}" for index in range(count)]
    names = iter(numbered)
    named = [next(names) if entry == _PULSE else entry for entry in entries]
    at = list(axes).index(_PULSE)
    wanted = [*axes[:at], *numbered, *axes[at + 1 :]]
    array: LazyArray = Rearranged(stored, named, wanted, lengths, who)
    for _ in range(count - 1):
        array = merged(array, at)
    return array


def _paths_of(source: Path, name: str | None, who: str) -> list[Path]:
    if source.is_dir():
        if name is None:
            raise ConfigError(f"{who}: the source {source} is a folder; set `file`")
        paths = matching(source / name)
        for path in paths:
            if not path.is_file():
                raise DataError(f"{who}: no such file: {path}")
        return paths
    if name is not None:
        raise ConfigError(f"{who}: `file` is set, but the source {source} is itself a file")
    return [source]
