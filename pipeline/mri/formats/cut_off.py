"""HDF5 files that end early, as after a copy that was interrupted."""

import io
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

_TOLD = re.compile(r"truncated file: eof = \d+, .*stored_eof = (\d+)")


def stored_size(error: OSError) -> int | None:
    """Return the size that a file should have, by HDF5's own message; None if that is not it."""
    found = _TOLD.search(str(error))
    return int(found.group(1)) if found else None


class Padded(io.RawIOBase):
    """A file that reads as zeros from its end up to the size that it should have.

    HDF5 refuses to open it otherwise. What is read as zeros is no part of a file that HDF5 or the
    checks of values accept.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb")
        self._size = size

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that any part of it can."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, also beyond the end of what is there."""
        if whence == io.SEEK_END:
            return self._file.seek(self._size + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read values, and zeros where there are none."""
        place = self._file.tell()
        view = memoryview(buffer).cast("B")
        read = self._file.readinto(view)
        wanted = max(read, min(len(view), self._size - place))
        view[read:wanted] = bytes(wanted - read)
        self._file.seek(place + wanted)
        return wanted

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def whole_rows(stored: "h5py.Dataset", path: Path, names: tuple[str, ...]) -> int:
    """Return how many rows of a list, from its begin, are there with their values.

    ``names`` are the columns of varying length: HDF5 keeps their values elsewhere in the file, as
    collections of objects [1]_.

    References
    ----------
    .. [1] The HDF Group, "HDF5 File Format Specification", version 3.0, III.E (global heap).
    """
    kind = stored.id.get_type()
    places = [kind.get_member_offset(kind.get_member_index(name.encode())) for name in names]
    size, rows = path.stat().st_size, 0
    with path.open("rb") as file:
        for row in range(stored.shape[0]):
            try:
                _, chunk = stored.id.read_direct_chunk((row,))
            except (OSError, RuntimeError, ValueError):
                break
            # Of each: the number of values, and the address and index of the object with them.
            found = [struct.unpack_from("<IQ", chunk, place) for place in places]
            if not any(chunk) or any(count and not _whole(file, at, size) for count, at in found):
                break
            rows += 1
    return rows


def _whole(file: io.BufferedReader, address: int, size: int) -> bool:
    """Tell whether a collection of objects ends before the file does."""
    file.seek(address)
    head = file.read(16)
    if len(head) < 16 or not head.startswith(b"GCOL"):
        return False
    (length,) = struct.unpack_from("<Q", head, 8)
    return bool(address + length <= size)
