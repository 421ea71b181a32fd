"""Arrays that lie uncompressed in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FlatFile:
    """An array in a file, mapped anew for each read.

    A lasting map would keep every page that was ever read among the resident memory of the process.

    Raises
    ------
    ValueError
        If the shape is impossible, or the file shorter than shape and dtype need.
    """

    path: Path
    offset: int
    """Where the values begin [byte]."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"] = "C"
    """Whether the last or the first axis is the fastest."""

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise ValueError(f"its header gives the impossible shape {self.shape}")
        needed = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
        available = self.path.stat().st_size - self.offset
        if needed > available:
            raise ValueError(f"the array {self.shape} needs {needed} bytes, there are {available}")

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        if 0 in self.shape:
            return np.asarray(np.empty(self.shape, self.dtype)[selection])
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)
        part: NDArray[Any] = np.array(mapped[selection])
        return part
