"""Arrays that are read, converted or computed only where they are asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import STANDARD_INPUT, IngestSettings
from pipeline.errors import ConfigError, DataError

Selection = tuple[slice, ...]


class LazyArray(Protocol):
    """An array that is read, converted or computed only where it is asked for.

    Its axes are those that the table of its kind of data lists for its name. It says what reading
    takes before anything is read, and one that is made of others adds up what they say.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is read or computed at once: a smaller part takes as long."""

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part of this extent is read, with the part [byte]."""

    def __getitem__(self, selection: Selection, /) -> NDArray[Any]:
        """Return the part that ``selection``, one slice of step 1 per axis, covers."""


@dataclass(frozen=True)
class Derived:
    """A `LazyArray` whose values come from a function of the selection."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    compute: Callable[[Selection], NDArray[Any]]
    needs: Callable[[Sequence[int]], int]
    """`LazyArray.reading_bytes`."""

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is computed [byte]."""
        return self.needs(extent)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        return self.compute(selection)


@dataclass(frozen=True)
class InMemory:
    """A `LazyArray` whose values are in memory already; parts of it are not copied."""

    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is read at once: any."""
        return (1,) * self.values.ndim

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return what a part takes beside the array: nothing."""
        return 0

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        part: NDArray[Any] = self.values[selection]
        return part


def part_bytes(array: LazyArray, extent: Sequence[int]) -> int:
    """Return the size of a part of an array once it is read [byte]."""
    return math.prod(extent) * np.dtype(array.dtype).itemsize


def elementwise(function: Callable[[NDArray[Any]], NDArray[Any]], array: LazyArray) -> Derived:
    """Return a function of each value of an array."""
    dtype = function(np.empty(0, array.dtype)).dtype

    def needs(extent: Sequence[int]) -> int:
        both = part_bytes(array, extent) + math.prod(extent) * dtype.itemsize
        return max(array.reading_bytes(extent), both)

    return Derived(
        array.shape, dtype, array.chunks, lambda selection: function(array[selection]), needs
    )


def whole(array: LazyArray) -> NDArray[Any]:
    """Return all values of an array."""
    return array[(slice(None),) * len(array.shape)]


def existing_source(settings: IngestSettings, dataset: str) -> Path:
    """Return the path of a dataset's source, which must exist."""
    if settings.source == STANDARD_INPUT:
        raise ConfigError(
            f"{dataset}: from standard input only streams of MRD version 2 (format mrd2) are read; "
            "write a file first"
        )
    source = Path(settings.source)
    if not source.exists():
        raise DataError(
            f"{dataset}: no such file or folder: {source}; a source is relative to `data_root`"
        )
    return source


def describe_files(files: list[Path]) -> list[dict[str, Any]]:
    """Return name and size [byte] of each file, for the provenance."""
    return [{"file": str(file), "bytes": file.stat().st_size} for file in files]
