"""Arrays in MATLAB files of version 5, read piece by piece [1]_.

SciPy reads an array whole, and needs three times its size where it is complex.

References
----------
.. [1] The MathWorks, "MAT-File Format", chapter 1 (Level 5 MAT-Files).
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.formats.derived import joined_parts
from pipeline.formats.flat_file import FlatFile
from pipeline.formats.lazy import LazyArray
from pipeline.formats.unpacked import BLOCK_BYTES, Unpacked, unpack_file

HEADER = 128
"""Bytes before the first element; the last two tell the order of bytes."""

_ENDIAN: dict[bytes, Literal["<", ">"]] = {b"IM": "<", b"MI": ">"}

_MATRIX, _PACKED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
"""Types of data elements."""
_ARRAYS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
           15: "u8"}  # fmt: skip
"""Classes of arrays of numbers."""
_OTHERS = {1: "a cell array", 2: "a structure", 3: "an object", 4: "text", 5: "a sparse matrix"}
_COMPLEX = 0x800
_HEAD = 4096  # more than flags, sizes and a name take


@dataclass(frozen=True)
class Matrix:
    """An element of a file that holds an array, or anything else that MATLAB has."""

    path: Path
    endian: Literal["<", ">"]
    start: int
    """Where the element begins, or what it is packed into [byte]."""
    packed: int | None
    """Bytes of the packed element."""
    size: int
    """Bytes of the element, unpacked."""
    kind: int
    complex: bool
    shape: tuple[int, ...]
    name: str
    values: int
    """Where the real part begins, from the start of the element [byte]."""

    @property
    def structure(self) -> bool:
        """Whether it is a structure."""
        return _OTHERS.get(self.kind) == "a structure"

    def array(self, folder: Path) -> LazyArray:
        """Return the array; it is unpacked to ``folder`` if need be.

        Raises
        ------
        ValueError
            If it is no array of numbers.
        """
        if self.kind not in _ARRAYS:
            raise ValueError(f"it is {_OTHERS.get(self.kind, 'of a kind of its own')}, not numbers")
        dtype = np.dtype(self.endian + _ARRAYS[self.kind])
        parts = _Parts(self, folder)
        real = Unpacked(self.shape, dtype, "F", lambda: parts.files[0])
        if not self.complex:
            return real
        return joined_parts(real, Unpacked(self.shape, dtype, "F", lambda: parts.files[1]), "")


@dataclass(frozen=True)
class _Parts:
    """Real and imaginary part of a matrix as they lie in a file."""

    matrix: Matrix
    folder: Path

    @cached_property
    def files(self) -> list[FlatFile]:
        matrix = self.matrix
        path, place = matrix.path, matrix.start
        if matrix.packed is not None:
            path, place = self.folder / f"{matrix.start}.mat", 0
            unpack_file(_unpacked(matrix), path, matrix.size + 8)
        place += matrix.values
        found = []
        with path.open("rb") as file:
            for _ in range(1 + matrix.complex):
                file.seek(place)
                type_, size, data = _tag(file.read(8), matrix.endian)
                dtype = np.dtype(matrix.endian + _STORED[type_])
                flat = FlatFile(matrix.shape, dtype, "F", path, place + data)
                if size != math.prod(matrix.shape) * dtype.itemsize:
                    raise ValueError(f"{size} bytes of {dtype} are no array {matrix.shape}")
                found.append(flat)
                place += _length(data, size)
        return found


def matrices(path: Path) -> Iterator[Matrix]:
    """Yield the elements of a file; nothing but their headers is read.

    Raises
    ------
    ValueError
        If the file is damaged.
    zlib.error
        The same.
    """
    end = path.stat().st_size
    start = HEADER
    with path.open("rb") as file:
        endian = _ENDIAN[file.read(HEADER)[-2:]]
        while start < end:
            file.seek(start)
            type_, size, _ = _tag(file.read(8), endian)
            if start + 8 + size > end:
                raise ValueError(f"it is truncated: it has {end} bytes of {start + 8 + size}")
            packed = size if type_ == _PACKED else None
            if packed is None:
                file.seek(start)
                head = file.read(_HEAD)
            else:
                head = zlib.decompressobj().decompress(file.read(min(size, _HEAD)), _HEAD)
            yield _matrix(head, path, endian, start + 8 * (packed is not None), packed)
            start += 8 + size


def _matrix(
    head: bytes, path: Path, endian: Literal["<", ">"], start: int, packed: int | None
) -> Matrix:
    """Return what the beginning of an element tells."""
    type_, size, place = _tag(head, endian)
    if type_ != _MATRIX:
        raise ValueError(f"it holds an element of the type {type_} at byte {start}")
    parts = []
    for _ in range(3):  # flags, sizes, name
        _, length, data = _tag(head[place:], endian)
        parts.append(head[place + data : place + data + length])
        place += _length(data, length)
    flags = int(np.frombuffer(parts[0], endian + "u4")[0])
    shape = np.frombuffer(parts[1], endian + "i4").tolist()
    return Matrix(
        path, endian, start, packed, size, flags & 0xFF, bool(flags & _COMPLEX), tuple(shape),
        parts[2].decode("latin-1"), place,
    )  # fmt: skip


def is_matlab(start: bytes) -> bool:
    """Tell whether a file that begins so is of version 5."""
    return start[HEADER - 2 : HEADER] in _ENDIAN


def _tag(head: bytes, endian: str) -> tuple[int, int, int]:
    """Return type and bytes of a data element, and where its data begin."""
    if len(head) < 8:
        raise ValueError("it is truncated")
    first, second = np.frombuffer(head[:8], endian + "u4").tolist()
    if first >> 16:  # up to four bytes stand in the tag itself
        return first & 0xFFFF, first >> 16, 4
    return first, second, 8


def _length(data: int, size: int) -> int:
    """Return the bytes from the begin of an element to that of the next."""
    return 8 if data == 4 else data + -(-size // 8) * 8


def _unpacked(matrix: Matrix) -> Iterator[bytes]:
    unpacking = zlib.decompressobj()
    with matrix.path.open("rb") as file:
        file.seek(matrix.start)
        left = matrix.packed or 0
        while left and not unpacking.eof:
            packed = file.read(min(left, BLOCK_BYTES))
            left -= len(packed)
            while packed and not unpacking.eof:
                yield unpacking.decompress(packed, BLOCK_BYTES)
                packed = unpacking.unconsumed_tail
    if not unpacking.eof:
        raise ValueError("its packed values end early")
