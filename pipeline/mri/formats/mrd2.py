"""ISMRMRD streams (MRD version 2, yardl) by mrd-python.

A stream is read once, from its begin to its end, from a file or, as it arrives, from standard
input: samples go into a file of their own as they come, from which they are read again as they are
asked for. What is no acquisition, such as waveforms and images, is left alone.
"""

import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import STANDARD_INPUT, IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError, DependencyError, KronufftError, words_of
from pipeline.formats.lazy import describe_files, existing_source
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.formats.encoding_space import EncodingSpace, Space
from pipeline.mri.formats.listed import listed_acquisition
from pipeline.mri.formats.listed_source import ListedSource, Place, require_room
from pipeline.mri.formats.mrd_flags import is_reverse, roles
from pipeline.mri.formats.readout_table import COUNTERS, LINES, ReadoutTable
from pipeline.progress import track

_HEAD = np.dtype(
    [
        ("flags", "u8"),
        ("encoding", "i4"),
        *((name, "i4") for name in (*LINES, *COUNTERS)),
        ("coils", "i4"),
        ("samples", "i4"),
        ("before", "i4"),
        ("after", "i4"),
        ("centre", "i4"),
        ("components", "i4"),
        ("data", "i8"),  # where its samples and its trajectory begin in their files [byte]
        ("traj", "i8"),
        ("dwell", "f8"),
        ("position", "f4", 3),
        ("slice_dir", "f4", 3),
        ("phase_dir", "f4", 3),
        ("read_dir", "f4", 3),
    ]
)
_AT_ONCE = 4096
"""Readouts whose memory is asked for together."""
_STEP_BYTES = 2**24
"""Between two words on progress."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open a stream; ``details.readouts`` and ``details.trajectory`` say what to take of it."""
    arrives = settings.source == STANDARD_INPUT
    path = None if arrives else existing_source(settings, dataset)
    if arrives and (sys.stdin is None or sys.stdin.isatty()):
        found = "closed" if sys.stdin is None else "a terminal"
        raise ConfigError(f"{dataset}: standard input is {found}; pipe a stream into the command")
    with ExitStack() as stack:
        raw = _Passing() if path is None else path.open("rb", buffering=0)
        size = None if path is None else path.stat().st_size
        buffered = io.BufferedReader(stack.enter_context(raw))
        who = f"{dataset}: {'standard input' if path is None else path}"
        stream = MrdStream(
            buffered, size, dataset, who, budget, stack, incomplete=settings.details.incomplete
        )
        files = [raw.told()] if isinstance(raw, _Passing) else describe_files([Path(str(path))])
        provenance = {"format": "mrd2", "files": files, **stream.told}
        yield listed_acquisition(stream, settings, dataset, budget, provenance)


class _Passing(io.RawIOBase):
    """Standard input, and what can be told of the bytes that have passed."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._bytes, self._digest = 0, hashlib.sha256()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at least one byte."""
        view = memoryview(buffer).cast("B")
        read = os.readv(self._input, [view])
        self._bytes += read
        self._digest.update(view[:read])
        return read

    def told(self) -> dict[str, Any]:
        """Return how many bytes have passed, and their checksum: nobody can read them again."""
        checksum = f"sha256:{self._digest.hexdigest()}"
        return {"file": STANDARD_INPUT, "bytes": self._bytes, "checksum": checksum}


class MrdStream(ListedSource):
    """A stream that has been read.

    Raises
    ------
    DependencyError
        If mrd-python is not installed.
    DataError
        If it is none, or damaged, or cut off and not to be read ``incomplete``.
    """

    held_bytes = 0
    copies = 2

    def __init__(
        self,
        stream: BinaryIO,
        size: int | None,
        dataset: str,
        who: str,
        budget: Budget,
        stack: ExitStack,
        *,
        incomplete: bool,
    ) -> None:
        self._who = who
        try:
            import mrd
        except ImportError:
            raise DependencyError(
                f"{dataset}: ISMRMRD streams need mrd-python, which is not installed; "
                "`pip install 'kronufft[scanners]'`"
            ) from None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kronufft-")))
        self._files = {name: stack.enter_context((folder / name).open("w+b"))
                       for name in ("data", "traj")}  # fmt: skip
        self.told: dict[str, Any] = {}
        try:
            reader = stack.enter_context(_closing(mrd.BinaryMrdReader(stream)))
            header = reader.read_header()
            if header is None:
                raise DataError(f"{self._who} has no header; export it again")
            self.encodings = [_encoding(each) for each in header.encoding]
        except KronufftError:
            raise
        except Exception as error:  # on other files mrd-python raises what it likes
            raise DataError(f"{self._who} is no readable MRD stream ({words_of(error)})") from None
        self._heads, fault = self._spooled(reader, size, budget)
        if fault is not None:
            count = len(self._heads)
            if not incomplete or not count:
                again, there = (
                    ("send", "in `details` of `kronufft ingest`")
                    if size is None
                    else ("copy", f"in `sources.{dataset}`")
                )
                raise DataError(
                    f"{self._who} is cut off or damaged after {count} whole readouts "
                    f"({words_of(fault)}); {again} it again, or go on with these: set "
                    f"`readouts: {{incomplete: true}}` {there}"
                ) from None
            self.told["whole_readouts"] = count
        components = np.unique(self._heads["components"][roles(self._heads["flags"]) == 0])
        self.components = int(components[0]) if len(components) == 1 else 0
        system = header.acquisition_system_information
        self.noise_bandwidth = getattr(system, "relative_receiver_noise_bandwidth", None)
        self.table = self._table()

    def samples(self, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Return readouts by their increasing numbers, complex64 ``[readout, coil, sample]``."""
        shape = (int(self.table.coils[rows[0]]), int(self.table.samples[rows[0]]))
        return self._read("data", rows, np.dtype((np.complex64, shape)))

    def trajectory(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored trajectory of readouts, ``[readout, sample, component]``."""
        shape = (self.components, int(self.table.samples[rows[0]]))
        return self._read("traj", rows, np.dtype((np.float32, shape))).swapaxes(1, 2)

    def place(self, row: int) -> Place:
        """Return where a readout was measured."""
        head = self._heads[row]
        position = np.asarray(head["position"], np.float64) * 1e-3
        directions = (head["slice_dir"], head["phase_dir"], head["read_dir"])
        return Place(position, directions, float(head["dwell"]) or None)

    def _spooled(
        self, reader: Any, size: int | None, budget: Budget
    ) -> tuple[NDArray[Any], Exception | None]:
        """Keep the samples of all acquisitions; return their headers, and what ended them early."""
        from mrd import StreamItem

        blocks: list[NDArray[Any]] = []
        rows: list[tuple[Any, ...]] = []
        fault: Exception | None = None
        done = 0
        steps = None if size is None else max(1, size // _STEP_BYTES)
        with track(f"{self._who}: parts of {_STEP_BYTES // 2**20} MiB", steps) as advance:
            try:
                for item in reader.read_data():
                    if not isinstance(item, StreamItem.Acquisition):
                        continue
                    rows.append(self._taken(item.value))
                    if len(rows) == _AT_ONCE:
                        require_room(_AT_ONCE, budget)
                        blocks.append(np.array(rows, _HEAD))
                        rows.clear()
                    for _ in range(done, self._files["data"].tell() // _STEP_BYTES):
                        advance()
                        done += 1
            except KronufftError:
                raise
            except Exception as error:  # on damaged streams mrd-python raises what it likes
                fault = error
        require_room(len(rows), budget)
        return np.concatenate([*blocks, np.array(rows, _HEAD)]), fault

    def _taken(self, found: Any) -> tuple[Any, ...]:
        """Write the samples of an acquisition; return what the table needs of its header."""
        head, places = found.head, []
        values = {"data": (found.data, np.complex64), "traj": (found.trajectory, np.float32)}
        for name, (array, dtype) in values.items():
            places.append(self._files[name].tell())
            self._files[name].write(np.ascontiguousarray(array, dtype).tobytes())
        coils, samples = found.data.shape
        components, along = found.trajectory.shape if found.trajectory.size else (0, samples)
        if along != samples:
            raise DataError(
                f"{self._who}: a readout of {samples} samples has a trajectory of {along}; export "
                "it again"
            )
        dwell = getattr(head, "sample_time_ns", None)
        seconds = dwell * 1e-9 if dwell else (getattr(head, "sample_time_us", None) or 0) * 1e-6
        return (
            int(head.flags), head.encoding_space_ref or 0,
            *(getattr(head.idx, name) or 0 for name in (*LINES, *COUNTERS)),
            coils, samples, head.discard_pre or 0, head.discard_post or 0,
            samples // 2 if head.center_sample is None else head.center_sample,
            components, *places, seconds,
            *(tuple(each) for each in (head.position, head.slice_dir, head.phase_dir,
                                       head.read_dir)),
        )  # fmt: skip

    def _read(self, name: str, rows: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return values of readouts, which lie one after the other in a file of their own."""
        file: BinaryIO = self._files[name]
        file.flush()
        base, shape = dtype.subdtype or (dtype, ())
        found = np.empty((len(rows), *shape), base)
        places = self._heads[name][rows]
        breaks = np.flatnonzero(np.diff(places) != dtype.itemsize) + 1
        for run in np.split(np.arange(len(rows)), breaks):
            file.seek(int(places[run[0]]))
            content = file.read(len(run) * dtype.itemsize)
            found[run] = np.frombuffer(content, base).reshape(len(run), *shape)
        return found

    def _table(self) -> ReadoutTable:
        heads = self._heads
        return ReadoutTable(
            role=roles(heads["flags"]),
            encoding=heads["encoding"],
            counters={name: heads[name] for name in (*LINES, *COUNTERS)},
            coils=heads["coils"],
            samples=heads["samples"],
            discarded=np.stack([heads["before"], heads["after"]], axis=-1),
            centre=heads["centre"],
            reverse=is_reverse(heads["flags"]),
        )


@contextmanager
def _closing(reader: Any) -> Iterator[Any]:
    """Close a reader that may complain of what it has not read."""
    try:
        yield reader
    finally:
        with suppress(Exception):
            reader.close()


def _encoding(found: Any) -> EncodingSpace:
    """Return what one encoding of the header tells."""
    spaces = []
    for each in (found.encoded_space, found.recon_space):
        matrix, view = each.matrix_size, each.field_of_view_mm
        spaces.append(
            Space(
                (int(matrix.z), int(matrix.y), int(matrix.x)),
                (view.z * 1e-3, view.y * 1e-3, view.x * 1e-3),
            )
        )
    limits = {
        name: getattr(found.encoding_limits, name.replace("encode", "encoding"), None)
        for name in (*LINES, *COUNTERS)
    }
    known = {name: limit for name, limit in limits.items() if limit is not None}
    return EncodingSpace(
        encoded=spaces[0],
        image=spaces[1],
        trajectory=found.trajectory.name.lower(),
        centres={name: int(known[name].center) for name in LINES if name in known},
        announced={name: int(limit.maximum) for name, limit in known.items()},
    )
