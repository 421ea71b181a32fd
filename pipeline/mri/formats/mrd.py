"""ISMRMRD files (MRD version 1, HDF5) [1]_.

A file holds, in one group, an XML header and a list of readouts, each with a header of its own, its
samples of all coils, and its trajectory. The image is ``sum_k kspace(k) exp(+j k.r)``, as ours.

References
----------
.. [1] S. J. Inati et al., "ISMRM Raw data format: A proposed standard for MRI raw datasets", Magn.
   Reson. Med. 77, 411-421 (2017).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, KronufftError, words_of
from pipeline.formats.array_files import whole_chunks
from pipeline.formats.lazy import describe_files, existing_source
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.formats.hdf5_file import (
    REFERENCE,
    Heap,
    lies_apart,
    open_hdf5,
    stored_text,
    whole_rows,
)
from pipeline.mri.formats.listed import listed_acquisition
from pipeline.mri.formats.listed_source import ListedSource, Place, require_room
from pipeline.mri.formats.mrd_flags import is_compressed, is_reverse, roles
from pipeline.mri.formats.mrd_header import parse_header
from pipeline.mri.formats.readout_arrays import progressions
from pipeline.mri.formats.readout_table import COUNTERS, LINES, ReadoutTable
from pipeline.pieces import pieces

if TYPE_CHECKING:
    import h5py

_HEADERS_AT_ONCE = 256
_LISTS_AT_ONCE = 32
"""Readouts whose lists HDF5 reads together, all of each."""
_VALUES = ("traj", "data")
"""Columns of varying length."""
_HDF5_CACHE = 2**21
_HDF5_BYTES = 32 * 2**20
"""HDF5 caches where values lie, and keeps some of what it frees; twice a small file at most."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open an ISMRMRD file; ``details.readouts`` and ``details.trajectory`` say what to take."""
    path = existing_source(settings, dataset)
    with ExitStack() as stack:
        file = MrdFile(path, dataset, budget, stack, incomplete=settings.details.incomplete)
        provenance = {"format": "mrd", "files": describe_files([path]), **file.told}
        acquisition = listed_acquisition(file, settings, dataset, budget, provenance)
        yield replace(acquisition, header=file.header)


class MrdFile(ListedSource):
    """An open ISMRMRD file.

    Raises
    ------
    DataError
        If it is none, or damaged, or cut off and not to be read ``incomplete``.
    """

    @property
    def copies(self) -> int:
        """Copies of what is read: of lists that HDF5 reads, there is its own of the last ones."""
        return 1 if self._as_it_lies else 2

    @property
    def held_bytes(self) -> int:
        """What HDF5 keeps."""
        return min(_HDF5_BYTES, 2 * self._size)

    def __init__(
        self, path: Path, dataset: str, budget: Budget, stack: ExitStack, *, incomplete: bool
    ) -> None:
        self._who = f"{dataset}: {path}"
        self._size = path.stat().st_size
        with _understood(self._who):
            file, cut_off = _opened(path, self._who, stack)
            _bound_cache(file)
            group = _group(file, self._who)
            self._stored: h5py.Dataset = group["data"]
            self._as_it_lies = lies_apart(self._stored, _VALUES)
            self._heap = Heap(path, stack)
            self.told: dict[str, Any] = {}
            count = int(self._stored.shape[0])
            if cut_off:
                whole = whole_rows(self._stored, path, _VALUES)
                if not incomplete or not whole:
                    raise DataError(
                        f"{self._who} is cut off: {whole} of its {count} readouts are whole; copy "
                        "it again, or go on with these: set "
                        f"`sources.{dataset}.readouts.incomplete: true`"
                    )
                self.told["whole_readouts"], count = [whole, count], whole
            elif not whole_chunks(self._stored):
                raise ValueError("its list of readouts has gaps")
            require_room(count, budget)
            text = stored_text(group["xml"], path)
            header = parse_header(text, self._who)
            self.header = text.decode(errors="replace")
            self.encodings, self.noise_bandwidth = header.encodings, header.noise_bandwidth
            self.table, self.components = self._table(count)

    def samples(self, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Return readouts by their increasing numbers, complex64 ``[readout, coil, sample]``."""
        coils, samples = int(self.table.coils[rows[0]]), int(self.table.samples[rows[0]])
        read = self._values("data", rows, 2 * coils * samples)
        return read.view(np.complex64).reshape(len(rows), coils, samples)

    def trajectory(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored trajectory of readouts, ``[readout, sample, component]``."""
        samples = int(self.table.samples[rows[0]])
        read = self._values("traj", rows, self.components * samples)
        return read.reshape(len(rows), samples, self.components)

    def place(self, row: int) -> Place:
        """Return where a readout was measured."""
        with _understood(self._who):
            head = self._rows(slice(row, row + 1))["head"][0]
            position = np.asarray(head["position"], np.float64) * 1e-3
            directions = (head["slice_dir"], head["phase_dir"], head["read_dir"])
            dwell = float(head["sample_time_us"]) * 1e-6
        return Place(position, directions, dwell if dwell > 0 else None)

    def _rows(self, some: slice) -> NDArray[Any]:
        """Return headers of some readouts, and what they say of each list of values."""
        kind, names = self._stored.id.get_type(), ("head", *_VALUES)
        places = [kind.get_member_offset(kind.get_member_index(name.encode())) for name in names]
        types = [self._stored.dtype["head"], *(REFERENCE for _ in _VALUES)]
        layout = np.dtype({"names": names, "formats": types, "offsets": places})
        rows = np.empty(some.stop - some.start, layout)
        if not self._as_it_lies:
            for part in pieces(len(rows), _LISTS_AT_ONCE):
                read = self._read(slice(some.start + part.start, some.start + part.stop))
                rows["head"][part] = read["head"]
                for name in _VALUES:
                    rows[name]["count"][part] = [values.size for values in read[name]]
            return rows
        # HDF5 would read all samples beside them, and not free them.
        try:
            for index, row in enumerate(range(some.start, some.stop)):
                _, chunk = self._stored.id.read_direct_chunk((row,))
                rows[index] = np.frombuffer(chunk, layout, 1)[0]
        except Exception as error:  # on damaged files HDF5 raises what it likes
            raise self._unreadable(some, error) from None
        return rows

    def _read(self, selection: slice) -> NDArray[Any]:
        """Return headers and values of some readouts: HDF5 2.0 never frees what is left out."""
        try:
            part: NDArray[Any] = self._stored[selection]
        except Exception as error:  # as above
            raise self._unreadable(selection, error) from None
        return part

    def _unreadable(self, some: slice, error: Exception) -> DataError:
        return DataError(
            f"{self._who}: readouts {some.start} to {some.stop - 1} are not readable "
            f"({words_of(error)}); copy or export the file again"
        )

    def _values(self, name: str, rows: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """Return ``data`` or ``traj`` of readouts, float32 ``[readout, length]``."""
        if self._beyond[rows].any():  # HDF5 would make room for all of them
            raise DataError(
                f"{self._who}: readout {rows[self._beyond[rows]][0]} says that it has more numbers "
                "than its header tells; export the file again"
            )
        found = np.empty((len(rows), length), np.float32)
        if self._as_it_lies:
            references = self._lists[name][rows]
            self._require_length(name, rows, references["count"], length)
            if length:
                try:
                    self._heap.read_into(found, references)
                except OSError as error:
                    raise self._unreadable(slice(int(rows[0]), int(rows[-1]) + 1), error) from None
            return found
        for part in pieces(len(rows), _LISTS_AT_ONCE):
            at = part.start
            for run in progressions(rows[part]):
                lists = self._read(run.selection)[name]
                some = slice(at, at + run.length)
                self._require_length(name, rows[some], np.array([len(v) for v in lists]), length)
                found[some] = np.stack(list(lists))
                at += run.length
        return found

    def _require_length(
        self, name: str, rows: NDArray[np.int64], counts: NDArray[np.integer], length: int
    ) -> None:
        """Refuse lists of another length than the headers tell."""
        if (wrong := np.flatnonzero(counts != length)).size:
            raise DataError(
                f"{self._who}: readout {rows[wrong[0]]} has {counts[wrong[0]]} numbers in "
                f"`{name}`, but its header tells {length}; export the file again"
            )

    def _table(self, count: int) -> tuple[ReadoutTable, int]:
        """Return what all headers tell, and the components of the trajectory."""
        counters = {name: np.empty(count, np.int32) for name in (*LINES, *COUNTERS)}
        one = {
            name: np.empty(count, np.int32)
            for name in (
                *("encoding_space_ref", "active_channels", "number_of_samples"),
                *("center_sample", "discard_pre", "discard_post", "trajectory_dimensions"),
            )
        }
        flags = np.empty(count, np.uint64)
        self._beyond = np.empty(count, bool)
        self._lists = {name: np.empty(count, REFERENCE) for name in _VALUES}
        for some in pieces(count, _HEADERS_AT_ONCE):
            rows = self._rows(some)
            heads = rows["head"]
            told = heads["number_of_samples"].astype(np.int64)
            self._beyond[some] = (rows["data"]["count"] > 2 * told * heads["active_channels"]) | (
                rows["traj"]["count"] > told * heads["trajectory_dimensions"]
            )
            for name, lists in self._lists.items():
                lists[some] = rows[name]
            flags[some] = heads["flags"]
            for name, values in one.items():
                values[some] = heads[name]
            for name, values in counters.items():
                values[some] = heads["idx"][name]
        role = roles(flags)
        imaged = role == 0
        if is_compressed(flags[imaged]).any():
            raise DataError(f"{self._who}: its samples are compressed; decompress the file")
        components = np.unique(one["trajectory_dimensions"][imaged])
        if len(components) > 1:
            raise DataError(
                f"{self._who}: readouts have trajectories of {', '.join(map(str, components))} "
                "components; export the file again, with one trajectory"
            )
        table = ReadoutTable(
            role=role,
            encoding=one["encoding_space_ref"],
            counters=counters,
            coils=one["active_channels"],
            samples=one["number_of_samples"],
            discarded=np.stack([one["discard_pre"], one["discard_post"]], axis=-1),
            centre=one["center_sample"],
            reverse=is_reverse(flags),
        )
        return table, int(components[0]) if len(components) else 0


@contextmanager
def _understood(who: str) -> Iterator[None]:
    """Name the file in whatever HDF5 raises where it is damaged."""
    try:
        yield
    except KronufftError:
        raise
    except Exception as error:
        raise DataError(f"{who} is damaged ({words_of(error)}); copy or export it again") from None


def _bound_cache(file: "h5py.File") -> None:
    """Let HDF5 keep no more of where values lie than it needs for some readouts."""
    config = file.id.get_mdc_config()
    config.set_initial_size, config.initial_size = True, _HDF5_CACHE
    config.min_size = config.max_size = _HDF5_CACHE
    file.id.set_mdc_config(config)


def _opened(path: Path, who: str, stack: ExitStack) -> tuple["h5py.File", bool]:
    """Open a file; tell whether it is cut off."""
    try:
        return open_hdf5(path, stack)
    except OSError as error:
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
        if start == _SIGNATURE:
            raise DataError(f"{who} is damaged ({error}); copy it again") from None
        raise DataError(
            f"{who} is no ISMRMRD file, which is HDF5; it begins with {start!r}"
        ) from None


def _group(file: "h5py.File", who: str) -> "h5py.Group":
    """Return the group that holds an acquisition: usually ``dataset``."""
    import h5py

    groups = [item for item in file.values() if isinstance(item, h5py.Group)]
    for group in groups:
        if "data" in group and "xml" in group:
            names = group["data"].dtype.names or ()
            if {"head", "traj", "data"} <= set(names) and group["data"].ndim == 1:
                return group
    held = ", ".join(list(file)[:8]) or "nothing"
    raise DataError(
        f"{who} is HDF5, but no ISMRMRD: no group has `xml` and a list of readouts `data`; it "
        f"holds {held}. The format for HDF5 files of arrays is `arrays`"
    )
