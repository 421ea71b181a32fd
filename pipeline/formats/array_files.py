"""Files that hold arrays by name: NumPy, HDF5, MATLAB, Touchstone and text.

Files are untrusted: nothing in them is unpickled or evaluated, and sizes are checked against the
bytes that are there.
"""

import math
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, KronufftError, words_of
from pipeline.formats import matlab
from pipeline.formats.flat_file import FlatFile, FlatLayout
from pipeline.formats.lazy import Derived, InMemory, LazyArray, part_bytes
from pipeline.formats.number_table import is_text, read_table
from pipeline.formats.touchstone import MATRIX, is_touchstone, read_touchstone
from pipeline.formats.unpacked import BLOCK_BYTES, Unpacked, unpack_file

if TYPE_CHECKING:
    import h5py

_NPY, _ZIP, _HDF5 = b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_HDF5_CHUNK_CACHE = 2**20
"""Of each array. A tile takes whole chunks, so that few are wanted twice."""


class ArrayFile:
    """The arrays of one file, by name; ``load`` reads as little of one as the format allows."""

    def __init__(
        self,
        path: Path,
        names: list[str],
        load: Callable[[str], LazyArray],
        main: str | None = None,
    ) -> None:
        self.path = path
        self.names = names
        self._load = load
        self._main = names[0] if len(names) == 1 else main

    @classmethod
    def resident(cls, path: Path, arrays: Mapping[str, NDArray[Any]], main: str) -> Self:
        """Return a file whose arrays are in memory; ``main`` is taken where none is named."""
        return cls(path, list(arrays), lambda name: InMemory(arrays[name]), main)

    def array(self, name: str | None, who: str) -> LazyArray:
        """Return the array ``name``, or the only or main one if it is None; it holds numbers."""
        name = self._main if name is None else name
        if name is None:
            raise DataError(
                f"{who}: {self.path} holds {len(self.names)} arrays "
                f"({', '.join(self.names[:20])}); set `name`"
            )
        # HDF5 paths may begin with a slash; other names are looked up as they are.
        found = name if name in self.names else name.strip("/")
        if found not in self.names:
            held = ", ".join(self.names[:20]) or "nothing"
            raise DataError(f"{who}: {self.path} holds no array `{name}`; it holds {held}")
        try:
            stored = self._load(found)
        except Exception as error:  # on damaged files each library raises what it likes
            raise DataError(
                f"{who}: array `{name}` of {self.path} is not readable ({words_of(error)})"
            ) from None
        if np.dtype(stored.dtype).kind not in "fciub":
            raise DataError(
                f"{who}: array `{name}` of {self.path} holds {stored.dtype}; expected numbers"
            )
        return stored


def open_file(path: Path, stack: ExitStack, who: str) -> ArrayFile:
    """Open NumPy, HDF5, MATLAB or text files by what they begin with, whatever their suffix.

    Touchstone alone is told from other text by it. ``stack`` closes what was opened; ``who``,
    dataset and array, begins the message of an error.

    Raises
    ------
    DataError
        If the file is missing, damaged, or none of these.
    """
    try:
        with path.open("rb") as file:
            start = file.read(matlab.HEADER)
            file.seek(512)
            after_header = file.read(len(_HDF5))
        if start.startswith(_HDF5) or after_header == _HDF5:
            return _open_hdf5(path, stack)
        if start.startswith(_ZIP):
            return _open_npz(path, stack)
        if start.startswith(_NPY):
            return ArrayFile(path, [path.stem], lambda name: _npy_file(path))
        if matlab.is_matlab(start):
            return _open_matlab(path, stack)
        if is_touchstone(path):
            return ArrayFile.resident(path, read_touchstone(path), MATRIX)
        if is_text(start):
            table, columns = read_table(path)
            named = {column: table[:, index] for index, column in enumerate(columns)}
            return ArrayFile.resident(path, named | {path.stem: table}, path.stem)
    except KronufftError:
        raise
    except Exception as error:  # on damaged files each library raises what it likes
        raise DataError(f"{who}: {path} is not readable ({words_of(error)})") from None
    raise DataError(
        f"{who}: {path} is neither NumPy (.npy, .npz), HDF5, MATLAB nor text; it begins with "
        f"{start[:8]!r}"
    )


class Hdf5Array:
    """A `LazyArray` in an HDF5 file."""

    def __init__(self, stored: "h5py.Dataset") -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype
        self.chunks: tuple[int, ...] = (
            stored.chunks or FlatLayout(self.shape, self.dtype, "C").chunks
        )
        # Other chunks than those that are packed are read into their place.
        filtered = stored.chunks is not None and stored.id.get_create_plist().get_nfilters() > 0
        self._decoding = 2 * part_bytes(self, self.chunks) if filtered else 0

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is read: with a chunk, packed and unpacked [byte]."""
        return part_bytes(self, extent) + self._decoding + _HDF5_CHUNK_CACHE

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        part: NDArray[Any] = self._stored[selection]
        return part


class _Hdf5Field:
    """A `LazyArray` of one field of a compound type, whose own axes follow those of the rows."""

    def __init__(self, stored: "h5py.Dataset", name: str) -> None:
        self._rows, self._name = Hdf5Array(stored), name
        self._field = stored.fields(name)
        base, own = stored.dtype[name].base, stored.dtype[name].shape
        self.dtype: np.dtype[Any] = base
        self.shape = (*self._rows.shape, *own)
        self.chunks = (*self._rows.chunks, *own)

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is read: all of each field, and a chunk [byte]."""
        axes = len(self._rows.shape)
        whole = (*extent[:axes], *self.shape[axes:])
        return part_bytes(self, whole) + self._rows.reading_bytes((0,) * axes)

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        axes = len(self._rows.shape)
        read: NDArray[Any] = self._field[selection[:axes]]
        return read[(slice(None),) * axes + tuple(selection[axes:])]


_PAIRS = (("real", "imag"), ("r", "i"), ("re", "im"))


def _fields(dtype: np.dtype[Any]) -> list[str]:
    """Return the fields of a compound type that hold numbers; none of a complex number."""
    if dtype.names is None or dtype.names in _PAIRS:
        return []
    bases = {name: dtype[name].base for name in dtype.names}
    return [name for name, base in bases.items() if base.kind in "iufc" or base.names in _PAIRS]


def _complex_of_pairs(pairs: LazyArray) -> Derived:
    """Return a complex array that HDF5 holds as pairs, which is how MATLAB writes it."""
    real, imag = (pairs.dtype[name] for name in pairs.dtype.names or ())
    dtype = np.result_type(real, imag, np.complex64)
    same = np.dtype([(name, np.zeros((), dtype).real.dtype) for name in pairs.dtype.names or ()])

    def compute(selection: tuple[slice, ...]) -> NDArray[Any]:
        return pairs[selection].astype(same, copy=False).view(dtype)

    def needs(extent: Sequence[int]) -> int:
        read = part_bytes(pairs, extent)
        converted = 0 if pairs.dtype == same else math.prod(extent) * dtype.itemsize
        return max(pairs.reading_bytes(extent), read + converted)

    return Derived(pairs.shape, dtype, pairs.chunks, compute, needs)


def _open_hdf5(path: Path, stack: ExitStack) -> ArrayFile:
    import h5py

    file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=_HDF5_CHUNK_CACHE))
    places: dict[str, tuple[str, str | None]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            fields = _fields(item.dtype)
            places.update({f"{name}/{field}": (name, field) for field in fields})
            if not fields:
                places[name] = name, None

    file.visititems(visit)

    def load(name: str) -> LazyArray:
        place, field = places[name]
        stored = file[place]
        if stored.shape is None:
            raise ValueError("it is empty")
        if stored.external or stored.is_virtual:
            raise ValueError("its values lie in other files; copy them into this one")
        _require_written(stored)
        array = Hdf5Array(stored) if field is None else _Hdf5Field(stored, field)
        return _complex_of_pairs(array) if array.dtype.names in _PAIRS else array

    return ArrayFile(path, list(places), load)


def whole_chunks(stored: "h5py.Dataset") -> bool:
    """Tell whether chunks that are not packed have their size: HDF5 2.0 does not fill the rest."""
    if stored.chunks is None or stored.id.get_create_plist().get_nfilters():
        return True
    size = math.prod(stored.chunks) * stored.id.get_type().get_size()

    def wrong(chunk: Any) -> bool | None:
        return (chunk.size != size or not chunk.byte_offset) or None

    return stored.id.chunk_iter(wrong) is None


def _require_written(stored: "h5py.Dataset") -> None:
    """Refuse values that were never written: as zeros, a coil would be lost unnoticed."""
    import h5py

    missing = ""
    if stored.chunks is not None:
        grid = zip(stored.shape, stored.chunks, strict=True)
        expected = math.prod(-(-size // edge) for size, edge in grid)
        if (found := stored.id.get_num_chunks()) < expected:
            missing = f"{expected - found} of its {expected} chunks were"
        elif not whole_chunks(stored):
            raise ValueError("the list of its chunks is damaged; copy or export the file again")
    elif stored.size and stored.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS:
        missing = "its values were" if stored.id.get_offset() is None else ""
    if missing:
        raise ValueError(f"{missing} never written; write them, as zeros if zeros are meant")


def _open_npz(path: Path, stack: ExitStack) -> ArrayFile:
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = {
        member.filename.removesuffix(".npy"): member
        for member in archive.infolist()
        if member.filename.endswith(".npy")
    }
    folder = _folder(stack)

    def load(name: str) -> LazyArray:
        member = members[name]
        unpacked = folder / f"{list(members).index(name)}.npy"
        with archive.open(member) as packed:
            shape, fortran_order, dtype = _npy_header(packed)
            held = member.file_size - packed.tell()
        needed = math.prod(shape) * dtype.itemsize
        if needed != held:
            raise ValueError(f"the array {shape} needs {needed} bytes, there are {held}")

        def unpack() -> FlatFile:
            # To read all of a member compares it with its checksum.
            with archive.open(member) as packed:
                blocks = iter(lambda: packed.read(BLOCK_BYTES), b"")
                if member.compress_type == zipfile.ZIP_STORED:
                    for _ in blocks:
                        pass
                    return _npy_file(path, _start_of(path, member))
                unpack_file(blocks, unpacked, member.file_size)
            return _npy_file(unpacked)

        return Unpacked(shape, dtype, "F" if fortran_order else "C", unpack)

    return ArrayFile(path, list(members), load)


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of an uncompressed member begin: after its own header in the file."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return member.header_offset + 30 + name + extra


def _npy_file(path: Path, start: int = 0) -> FlatFile:
    """Return the array whose NumPy header begins at byte ``start`` of a file."""
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran_order, dtype = _npy_header(file)
        return FlatFile(shape, dtype, "F" if fortran_order else "C", path, file.tell())


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
    except ValueError as error:
        raise ValueError(f"its header is damaged: {str(error).partition(':')[0]}") from None
    if header[2].hasobject:
        raise ValueError("it holds Python objects, which are not read from data files")
    return header


def _open_matlab(path: Path, stack: ExitStack) -> ArrayFile:
    found = {matrix.name: matrix for matrix in matlab.matrices(path)}
    folder = _folder(stack)
    return ArrayFile(path, list(found), lambda name: found[name].array(folder))


def _folder(stack: ExitStack) -> Path:
    """Return a folder to unpack to, which goes with what was opened."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kronufft-")))
