"""HDF5 files that are cut off or damaged, as far as the HDF5 library does not meet it.

Values of varying length lie in collections of objects, the global heap [1]_. From an object of no
size HDF5 2.0 never returns, and it makes room for as many values as a damaged list asks for.

References
----------
.. [1] The HDF Group, "HDF5 File Format Specification", version 3.0, III.E (global heap).
"""

import io
import os
import re
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.formats.mrd_header import LONGEST_HEADER

if TYPE_CHECKING:
    import h5py

_TOLD = re.compile(r"truncated file: eof = \d+, .*stored_eof = (\d+)")
_COLLECTION = b"GCOL"
_HEAD = 16
"""Bytes before the objects of a collection, and before the values of an object."""
_LAST = 2**62
"""Address beyond which no file reaches; an undefined one is the largest number."""


def open_hdf5(path: Path, stack: ExitStack) -> tuple["h5py.File", bool]:
    """Open a file; tell whether it is cut off: what is missing then reads as zeros.

    Raises
    ------
    OSError
        If HDF5 cannot open it.
    """
    import h5py

    try:
        file = stack.enter_context(_File(path))
        return stack.enter_context(h5py.File(file, "r")), False
    except OSError as error:
        if (told := _TOLD.search(str(error))) is None:
            raise
        padded = stack.enter_context(_File(path, int(told.group(1))))
        return stack.enter_context(h5py.File(padded, "r")), True


class _File(io.RawIOBase):
    """A file that checks collections of objects as HDF5 reads them.

    It reads as zeros from its end up to the size that it should have: HDF5 refuses to open it
    otherwise. What is read as zeros is no part of a file that HDF5 or the checks of values accept.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self._file = path.open("rb")
        self._size = path.stat().st_size if size is None else size

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
        if view[: len(_COLLECTION)] == _COLLECTION:
            _objects(self._file.fileno(), place)
        wanted = max(read, min(len(view), self._size - place))
        if read < wanted:
            view[read:wanted] = bytes(wanted - read)
            self._file.seek(place + wanted)
        return wanted

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _collection_end(file: int, address: int) -> int | None:
    """Return where the collection of objects at an address ends; None if there is none."""
    if address > _LAST:
        return None
    head = os.pread(file, _HEAD, address)
    if len(head) < _HEAD or not head.startswith(_COLLECTION):
        return None
    (length,) = struct.unpack_from("<Q", head, 8)
    return int(address + length)


def _objects(file: int, address: int) -> dict[int, tuple[int, int]]:
    """Return where each object of a collection lies, and its size, by number.

    Raises
    ------
    OSError
        If they are not one after the other to the end of the collection.
    """
    end = _collection_end(file, address) or 0
    found, at = {}, address + _HEAD
    while at + _HEAD <= end:
        head = os.pread(file, _HEAD, at)
        if len(head) < _HEAD:
            break
        index, size = struct.unpack("<H6xQ", head)
        found[index] = at + _HEAD, size
        # The last one, of number 0, is the room that is left, and counts its own head.
        at += _HEAD + -(-size // 8) * 8 if index else size or end
    if at > end:
        raise OSError(f"values of varying length at byte {address} do not end where they should")
    return found


REFERENCE = np.dtype([("count", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""What a row has of values of varying length: how many, their collection, and their number in it.
"""


def lies_apart(stored: "h5py.Dataset", names: tuple[str, ...]) -> bool:
    """Tell whether each row of a list is stored as it is, with float32 lists in these columns.

    And whether addresses count from the file's begin: they do not behind a user block.
    """
    import h5py

    lists = [h5py.check_vlen_dtype(stored.dtype[name]) for name in names]
    plain = not stored.id.get_create_plist().get_nfilters() and stored.chunks == (1,)
    absolute = not stored.file.userblock_size
    return plain and absolute and all(each == np.dtype("<f4") for each in lists)


class Heap:
    """Values of varying length, read where they lie: HDF5 would copy them, one list at a time."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(path.open("rb", buffering=0))

    def read_into(self, out: NDArray[np.float32], references: NDArray[np.void]) -> None:
        """Read the values of each `REFERENCE` into a row of ``out``, which are as many.

        Raises
        ------
        OSError
            If they do not lie there.
        """
        file, collection = self._file.fileno(), -1
        for row, address, index in zip(
            out, references["address"].tolist(), references["index"].tolist(), strict=True
        ):
            if address != collection:
                objects, collection = _objects(file, address), address
            place, size = objects.get(index, (0, 0))
            if size < row.nbytes or os.preadv(file, [row], place) < row.nbytes:
                raise OSError(f"values of varying length at byte {address} are not all there")


def stored_text(stored: "h5py.Dataset", path: Path) -> bytes:
    """Return the first text of a dataset.

    Raises
    ------
    ValueError
        If it is said to be longer than any header.
    """
    place = stored.id.get_offset()
    if stored.dtype.kind == "O" and place is not None:
        with path.open("rb") as file:
            file.seek(place)
            length = int.from_bytes(file.read(4), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"a text of {length} bytes")
    value = stored[()] if stored.shape == () else stored[0]
    return value.encode() if isinstance(value, str) else bytes(value)


def whole_rows(stored: "h5py.Dataset", path: Path, names: tuple[str, ...]) -> int:
    """Return how many rows of a list, from its begin, are there with their values.

    ``names`` are the columns of varying length.
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
            ends = [_collection_end(file.fileno(), at) or size + 1 for count, at in found if count]
            if not any(chunk) or any(end > size for end in ends):
                break
            rows += 1
    return rows
