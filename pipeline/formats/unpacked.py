"""Arrays that lie packed in a file as a whole: unpacked to disk, where parts can be read."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.formats.flat_file import FlatFile, FlatLayout

BLOCK_BYTES = 2**20
"""What is unpacked at a time."""


@dataclass(frozen=True)
class Unpacked(FlatLayout):
    """A `LazyArray` of which only the header is read before its values are asked for."""

    unpack: Callable[[], FlatFile]
    """Called once; its values may be of a smaller type."""

    @cached_property
    def _file(self) -> FlatFile:
        return self.unpack()

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        return self._file[selection].astype(self.dtype, copy=False)


def unpack_file(blocks: Iterable[bytes], path: Path, size: int) -> None:
    """Write blocks that are ``size`` bytes together to a file.

    Raises
    ------
    OSError
        If the disk is too small.
    ValueError
        If there are more or less than that.
    """
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(
            f"unpacked it takes {size / 1e6:.0f} MB, and {path.parent} has {free / 1e6:.0f} free; "
            "set TMPDIR"
        )
    written = 0
    with path.open("wb") as file:
        for block in blocks:
            written += file.write(block)
            if written > size:
                break
    if written != size:
        raise ValueError(f"unpacked it is {written} bytes or more; its header says {size}")
