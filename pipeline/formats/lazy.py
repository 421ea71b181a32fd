"""Arrays that are read, converted or computed only where they are asked for."""

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

    Its axes are those that the table of its kind of data lists for its name.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that `read` returns."""

    def read(self, selection: Selection) -> NDArray[Any]:
        """Return the part that ``selection``, one slice of step 1 per axis, covers."""


@dataclass(frozen=True)
class ResidentArray:
    """A `LazyArray` in memory, for what is small."""

    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    def read(self, selection: Selection) -> NDArray[Any]:
        """Return the values in ``selection``."""
        part: NDArray[Any] = self.values[selection]
        return part


def whole(array: LazyArray) -> NDArray[Any]:
    """Return all values of an array."""
    return array.read((slice(None),) * len(array.shape))


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
