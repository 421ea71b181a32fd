"""Arrays that are read, converted or computed only where they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError

Selection = tuple[slice, ...]


class LazyArray(Protocol):
    """An array that is read, converted or computed only where it is asked for.

    A NumPy array is one in memory. Its axes are those that the table of its kind of data lists for
    its name.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __getitem__(self, selection: Selection, /) -> NDArray[Any]:
        """Return the part that ``selection``, one slice of step 1 per axis, covers."""


@dataclass(frozen=True)
class Derived:
    """A `LazyArray` whose values come from a function of the selection."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    compute: Callable[[Selection], NDArray[Any]]

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        return self.compute(selection)


def elementwise(function: Callable[[NDArray[Any]], NDArray[Any]], array: LazyArray) -> Derived:
    """Return a function of each value of an array."""
    dtype = function(np.empty(0, array.dtype)).dtype
    return Derived(array.shape, dtype, lambda selection: function(array[selection]))


def whole(array: LazyArray) -> NDArray[Any]:
    """Return all values of an array."""
    return array[(slice(None),) * len(array.shape)]


def existing_source(settings: IngestSettings, dataset: str) -> Path:
    """Return the path of a dataset's source, which must exist."""
    source = Path(settings.source)
    if not source.exists():
        raise DataError(
            f"{dataset}: no such file or folder: {source}; a source is relative to `data_root`"
        )
    return source


def describe_files(files: list[Path]) -> list[dict[str, Any]]:
    """Return name and size [byte] of each file, for the provenance."""
    return [{"file": str(file), "bytes": file.stat().st_size} for file in files]
