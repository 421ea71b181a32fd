"""Files that hold arrays by name: NumPy, HDF5 and MATLAB.

Files are untrusted: nothing in them is unpickled or evaluated, and sizes are checked against the
bytes that are there.
"""

import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.flat_file import FlatFile
from pipeline.formats.lazy import LazyArray

if TYPE_CHECKING:
    import h5py

_NPY, _ZIP, _HDF5 = b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_MATLAB_HEADER = 128
_HDF5_CHUNK_CACHE = 64 * 2**20


class ArrayFile:
    """The arrays of one file, by name; ``load`` reads as little of one as the format allows."""

    def __init__(self, path: Path, names: list[str], load: Callable[[str], LazyArray]) -> None:
        self.path = path
        self.names = names
        self._load = load

    def array(self, name: str | None, who: str) -> LazyArray:
        """Return the array ``name``, or the only one if it is None; it must hold numbers."""
        if name is None:
            if len(self.names) != 1:
                raise DataError(
                    f"{who}: {self.path} holds {len(self.names)} arrays "
                    f"({', '.join(self.names[:20])}); set `name`"
                )
            name = self.names[0]
        # HDF5 paths may begin with a slash; other names are looked up as they are.
        found = name if name in self.names else name.strip("/")
        if found not in self.names:
            held = ", ".join(self.names[:20]) or "nothing"
            raise DataError(f"{who}: {self.path} holds no array `{name}`; it holds {held}")
        try:
            stored = self._load(found)
        except Exception as error:  # on damaged files each library raises what it likes
            raise DataError(
                f"{who}: array `{name}` of {self.path} is not readable ({error})"
            ) from None
        if stored.shape is None:
            raise DataError(f"{who}: array `{name}` of {self.path} is empty")
        if np.dtype(stored.dtype).kind not in "fciub":
            raise DataError(
                f"{who}: array `{name}` of {self.path} holds {stored.dtype}; expected numbers"
            )
        return stored


def open_file(path: Path, stack: ExitStack, who: str) -> ArrayFile:
    """Open NumPy, HDF5 or MATLAB files by what they begin with, whatever their suffix.

    ``stack`` closes what was opened; ``who``, dataset and array, begins the message of an error.

    Raises
    ------
    DataError
        If the file is missing, damaged, or none of these.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MATLAB_HEADER)
            file.seek(512)
            after_header = file.read(len(_HDF5))
        if start.startswith(_HDF5) or after_header == _HDF5:
            return _open_hdf5(path, stack)
        if start.startswith(_ZIP):
            return _open_npz(path, stack)
        if start.startswith(_NPY):
            return ArrayFile(path, [path.stem], lambda name: _map_npy(path, 0))
        if start[126:128] in (b"IM", b"MI"):
            return _open_matlab(path)
    except Exception as error:  # on damaged files each library raises what it likes
        raise DataError(f"{who}: {path} is not readable ({error})") from None
    raise DataError(
        f"{who}: {path} is neither NumPy (.npy, .npz), HDF5 nor MATLAB; it begins with "
        f"{start[:8]!r}"
    )


class CompoundComplex:
    """A complex array that HDF5 holds as pairs, which is how MATLAB writes it."""

    def __init__(self, stored: "h5py.Dataset") -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = stored.shape
        real, imag = stored.dtype.names
        self._names = real, imag
        self.dtype = np.result_type(stored.dtype[real], stored.dtype[imag], np.complex64)

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        pairs = self._stored[selection]
        part = pairs[self._names[0]].astype(self.dtype)
        part.imag = pairs[self._names[1]]
        return np.asarray(part)


def _open_hdf5(path: Path, stack: ExitStack) -> ArrayFile:
    import h5py

    file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=_HDF5_CHUNK_CACHE))
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )

    def load(name: str) -> LazyArray:
        stored = file[name]
        if stored.external or stored.is_virtual:
            raise ValueError("its values lie in other files; copy them into this one")
        _require_written(stored)
        if stored.dtype.names in (("real", "imag"), ("r", "i"), ("re", "im")):
            return CompoundComplex(stored)
        found: LazyArray = stored
        return found

    return ArrayFile(path, names, load)


def _require_written(stored: "h5py.Dataset") -> None:
    """Refuse values that were never written: as zeros, a coil would be lost unnoticed."""
    import h5py

    missing = ""
    if stored.chunks is not None:
        grid = zip(stored.shape, stored.chunks, strict=True)
        expected = math.prod(-(-size // edge) for size, edge in grid)
        if (found := stored.id.get_num_chunks()) < expected:
            missing = f"{expected - found} of its {expected} chunks were"
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
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kronufft-")))

    def load(name: str) -> LazyArray:
        unpacked = folder / f"{list(members).index(name)}.npy"
        return _Packed(path, archive, members[name], unpacked)

    return ArrayFile(path, list(members), load)


class _Packed:
    """An array in a zip file, of which only the header is read before its values are asked for.

    Then all of it is read once, which compares it with its checksum, and unpacked if need be.

    Raises
    ------
    ValueError
        If the header does not fit the member's size, or the disk is too small to unpack it.
    """

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, unpacked: Path
    ) -> None:
        self._path, self._archive, self._member, self._unpacked = path, archive, member, unpacked
        with archive.open(member) as packed:
            self.shape, _, self.dtype = _npy_header(packed)
            held = member.file_size - packed.tell()
        _refuse_objects(self.dtype)
        needed = math.prod(self.shape) * self.dtype.itemsize
        if needed != held:
            raise ValueError(f"the array {self.shape} needs {needed} bytes, there are {held}")

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        return self._mapped[selection]

    @cached_property
    def _mapped(self) -> FlatFile:
        member = self._member
        if member.compress_type == zipfile.ZIP_STORED:
            with self._archive.open(member) as values:
                while values.read(2**20):
                    pass
            return _map_npy(self._path, _start_of(self._path, member))
        free = shutil.disk_usage(self._unpacked.parent).free
        if member.file_size > free:
            raise OSError(
                f"unpacked it takes {member.file_size / 1e6:.0f} MB, and {self._unpacked.parent} "
                f"has {free / 1e6:.0f} free; set TMPDIR"
            )
        with self._archive.open(member) as packed, self._unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
        return _map_npy(self._unpacked, 0)


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of an uncompressed member begin: after its own header in the file."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return member.header_offset + 30 + name + extra


def _map_npy(path: Path, start: int) -> FlatFile:
    """Map the array whose NumPy header begins at byte ``start`` of a file."""
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran_order, dtype = _npy_header(file)
        data = file.tell()
    _refuse_objects(dtype)
    return FlatFile(path, data, shape, dtype, "F" if fortran_order else "C")


def _refuse_objects(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read from data files")


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    try:
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except ValueError as error:
        raise ValueError(f"its header is damaged: {str(error).partition(':')[0]}") from None


def _open_matlab(path: Path) -> ArrayFile:
    import scipy.io

    names = [name for name, _, _ in scipy.io.whosmat(str(path))]

    def load(name: str) -> LazyArray:
        # The format is compressed as a whole and limited to 2 GiB an array: there is no reading
        # of parts.
        found: LazyArray = np.asarray(
            scipy.io.loadmat(str(path), variable_names=[name], struct_as_record=True)[name]
        )
        return found

    return ArrayFile(path, names, load)
