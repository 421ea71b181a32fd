"""Arrays that a mapping finds in files, whatever kind of data they are."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.array_files import ArrayFile, open_file
from pipeline.formats.lazy import LazyArray
from pipeline.formats.mapping import (
    Rearranged,
    joined_components,
    joined_parts,
    real_and_imaginary,
    scaled,
)


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
        path = _path_of(self._source, array, who)
        if path not in self._files:
            self._files[path] = open_file(path, self._stack, who)
        details = self._settings.details
        joined = {"sample": details.samples_per_readout, "readout": details.readouts_per_frame}
        lengths = {axis: length for axis, length in joined.items() if length is not None}

        def part(stored_name: str | None) -> LazyArray:
            return Rearranged(
                self._files[path].array(stored_name, who), array.axes, axes, lengths, who
            )

        mapped: LazyArray
        if array.components is not None:
            mapped = joined_components([part(component) for component in array.components], who)
        elif array.real is not None:
            mapped = joined_parts(part(array.real), part(array.imag), who)
        else:
            mapped = part(array.name)
        if name == "trajectory" and mapped.dtype.kind == "c" and mapped.shape[-1] == 1:
            mapped = real_and_imaginary(mapped)
        if array.scale != 1.0 or array.conjugate:
            mapped = scaled(mapped, array.scale, conjugate=array.conjugate)
        return mapped


def _path_of(source: Path, array: ArraySettings, who: str) -> Path:
    if source.is_dir():
        if array.file is None:
            raise ConfigError(f"{who}: the source {source} is a folder; set `file`")
        path = source / array.file
        if not path.is_file():
            raise DataError(f"{who}: no such file: {path}")
        return path
    if array.file is not None:
        raise ConfigError(f"{who}: `file` is set, but the source {source} is itself a file")
    return source
