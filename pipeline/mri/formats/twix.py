"""Siemens raw data (twix, `.dat`) of VB, and of VD, VE and XA, by twixtools [1]_.

Headers and their layout are twixtools'. Samples are read here, many readouts at a time. Noise is
taken from any measurement of the file. Phase corrections, navigators and calibration lines of their
own are left out; ramp sampling of EPI is not regridded; what a sequence writes into free
parameters is its own affair. The image is ``sum_k kspace(k) exp(+j k.r)``; read and phase direction
are those of the gradients with the opposite sign, as twixtools has it.

References
----------
.. [1] pehses/twixtools.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, DependencyError, words_of
from pipeline.formats.lazy import describe_files, existing_source
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.formats.encoding_space import EncodingSpace, Space
from pipeline.mri.formats.listed import listed_acquisition
from pipeline.mri.formats.listed_source import ListedSource, Place, require_room
from pipeline.mri.formats.readout_table import ROLES, ReadoutTable
from pipeline.progress import track

_COUNTERS: Mapping[str, str] = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
    "segment": "Seg",
}
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "other": ("RTFEEDBACK", "HPFEEDBACK", "REFPHASESTABSCAN", "PHASESTABSCAN", "CT_NORMALIZE",
              "noname60"),
    "calibration": ("PATREFSCAN", "SLICE_ACCEL_REFSCAN"),
    "navigator": ("PHASCOR", "SLICE_ACCEL_PHASCOR", "PACE"),
    "dummy": ("RETRO_DUMMYSCAN",),
    "noise": ("NOISEADJSCAN",),
}  # fmt: skip
"""What a readout is for that has one of these flags; later ones come before earlier ones."""
_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "blade"}
_LIBRARY_BYTES = 77 * 10**6
"""Of twixtools, which loads SciPy and matplotlib; measured."""
_WALKED = 2**24
"""Bytes of a file between two words on progress."""


@contextlib.contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open a file; ``details.readouts`` and ``details.trajectory`` say what to take of it."""
    path = existing_source(settings, dataset)
    file = TwixFile(path, dataset, budget, incomplete=settings.details.incomplete)
    provenance = {"format": "twix", "files": describe_files([path]), **file.told}
    yield listed_acquisition(file, settings, dataset, budget, provenance)


class TwixFile(ListedSource):
    """A file of one or several measurements; the default is the last.

    Raises
    ------
    DependencyError
        If twixtools is not installed.
    DataError
        If the file is none, or damaged, or cut off and not to be read ``incomplete``.
    """

    components = 0
    held_bytes = 0
    copies = 2

    def __init__(self, path: Path, dataset: str, budget: Budget, *, incomplete: bool) -> None:
        self._path, self._who = path, f"{dataset}: {path}"
        try:
            import twixtools
            from twixtools import hdr_def, helpers, mdh_def
        except ImportError:
            raise DependencyError(
                f"{dataset}: Siemens files need twixtools, which is not installed; "
                "`pip install 'kronufft[scanners]'`"
            ) from None
        budget.load(_LIBRARY_BYTES)
        self._flags: Mapping[str, int] = mdh_def.mask_dict
        self.told: dict[str, Any] = {}
        try:
            with path.open("rb") as file:
                extended, _ = helpers.idea_version_check(file)
                with contextlib.redirect_stdout(sys.stderr):  # where it prints what it wonders at
                    scans = twixtools.read_twix(
                        str(path), parse_data=False, parse_pmu=False, parse_geometry=False,
                        verbose=False,
                    )  # fmt: skip
                places = [(0, path.stat().st_size)]
                if extended:
                    file.seek(0)
                    raid = np.fromfile(file, hdr_def.MultiRaidFileHeader, 1)[0]
                    entries = raid["entry"][: raid["hdr"]["count_"]]
                    places = [(int(each["off_"]), int(each["len_"])) for each in entries]
                self._spaces = [_space(scan["hdr"], self._who) for scan in scans]
                header = mdh_def.Scan_header if extended else mdh_def.VB17_header
                self._head: np.dtype[Any] = np.dtype(header)
                channel = ctypes.sizeof(mdh_def.Channel_header)
                self._before = (
                    (self._head.itemsize, channel) if extended else (0, self._head.itemsize)
                )
                found = [
                    self._walk(file, begin + len(scan["hdr_str"]), begin + length, budget)
                    for scan, (begin, length) in zip(scans, places, strict=True)
                ]
        except (DataError, MemoryError):
            raise
        except Exception as error:  # on other files each part raises what it likes
            raise DataError(
                f"{self._who} is not readable as Siemens raw data ({words_of(error)})"
            ) from None
        whole = all(complete for *_, complete in found)
        count = sum(len(heads) for heads, *_ in found)
        if not whole:
            if not incomplete or not count:
                raise DataError(
                    f"{self._who} is cut off: {count} readouts are whole; copy it again, or go on "
                    f"with these: `sources.{dataset}.readouts.incomplete: true`"
                )
            self.told["whole_readouts"] = count
        self._heads = np.concatenate([heads for heads, *_ in found])
        self._offsets = np.concatenate([offsets for _, offsets, _ in found])
        self.table = self._table(np.repeat(range(len(found)), [len(heads) for heads, *_ in found]))
        self.encodings = [space for space, _ in self._spaces]
        self.default_encoding = len(scans) - 1
        self.noise_bandwidth = None

    def samples(self, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Return readouts by their increasing numbers, complex64 ``[readout, coil, sample]``."""
        coils, samples = int(self.table.coils[rows[0]]), int(self.table.samples[rows[0]])
        before, each = self._before
        channel = np.dtype([("head", f"V{each}"), ("samples", "<c8", samples)])
        block = np.dtype([("head", f"V{before}"), ("channels", channel, coils)])
        found = np.empty((len(rows), coils, samples), np.complex64)
        offsets = self._offsets[rows]
        runs = np.split(
            np.arange(len(rows)), np.flatnonzero(np.diff(offsets) != block.itemsize) + 1
        )
        with self._path.open("rb") as file:
            for run in runs:
                file.seek(int(offsets[run[0]]))
                read = np.fromfile(file, block, len(run))
                if len(read) < len(run):
                    raise DataError(f"{self._who}: it ends within readout {rows[run[0]]}")
                found[run] = read["channels"]["samples"]
        return found

    def place(self, row: int) -> Place:
        """Return where a readout was measured."""
        told = self._heads[row]["SliceData"]
        position = np.array([told["SlicePos"][axis] for axis in ("Sag", "Cor", "Tra")], np.float64)
        phase, read, normal = _rotation(np.asarray(told["Quaternion"], np.float64)).T
        _, dwell = self._spaces[int(self.table.encoding[row])]
        return Place(position * 1e-3, (normal, -phase, -read), dwell)

    def _walk(
        self, file: BinaryIO, begin: int, end: int, budget: Budget
    ) -> tuple[NDArray[Any], NDArray[np.int64], bool]:
        """Return headers and places of all readouts, and whether the measurement is whole."""
        size = self._path.stat().st_size
        heads: list[bytes] = []
        offsets: list[int] = []
        at, whole = begin, False
        before, each = self._before
        with track(f"{self._who}: headers", max(1, (end - begin) // _WALKED)) as advance:
            while at + self._head.itemsize <= min(end, size):
                file.seek(at)
                raw = file.read(self._head.itemsize)
                head = np.frombuffer(raw, self._head)[0]
                flags = int(head["EvalInfoMask"])
                if flags >> self._flags["ACQEND"] & 1:
                    whole = True
                    break
                length = int(head["FlagsAndDMALength"]) % 2**25
                if not flags >> self._flags["SYNCDATA"] & 1:
                    # The stored length is wrong where a bit for packing is set.
                    blocks = each + 8 * int(head["SamplesInScan"])
                    length = before + int(head["UsedChannels"]) * blocks
                    if at + length > size:
                        break
                    if not heads:
                        require_room(2 * (end - begin) // max(1, length), budget)
                    heads.append(raw)
                    offsets.append(at)
                if length <= 0:
                    raise DataError(f"{self._who}: a block of no bytes at byte {at}; it is damaged")
                if at // _WALKED != (at + length) // _WALKED:
                    advance()
                at += length
        found = np.frombuffer(b"".join(heads), self._head)
        return found, np.array(offsets, np.int64), whole

    def _table(self, scan: NDArray[np.int64]) -> ReadoutTable:
        heads = self._heads
        flags = heads["EvalInfoMask"]

        def has(*names: str) -> NDArray[np.bool_]:
            mask = np.uint64(sum(1 << self._flags[name] for name in names))
            return np.asarray((flags & mask) != 0)

        role = np.zeros(len(heads), np.int8)
        for name, flagged in _FLAGS.items():
            role[has(*flagged)] = ROLES.index(name)
        role[has("PATREFANDIMASCAN") & (role == ROLES.index("calibration"))] = 0
        cut = np.stack([heads["CutOff"]["Pre"], heads["CutOff"]["Post"]], axis=-1)
        return ReadoutTable(
            role=role,
            encoding=scan.astype(np.int32),
            counters={
                name: heads["Counter"][stored].astype(np.int32)
                for name, stored in _COUNTERS.items()
            },
            coils=heads["UsedChannels"].astype(np.int32),
            samples=heads["SamplesInScan"].astype(np.int32),
            discarded=cut.astype(np.int32),
            centre=heads["CenterCol"].astype(np.int32),
            reverse=has("REFLECT"),
            line_centres={
                "kspace_encode_step_1": heads["CenterLin"].astype(np.int32),
                "kspace_encode_step_2": heads["CenterPar"].astype(np.int32),
            },
        )


def _space(header: Mapping[str, Any], who: str) -> tuple[EncodingSpace, float | None]:
    """Return what the header of a measurement tells, and the time between samples [s]."""
    protocol, measured = header["MeasYaps"], header["Meas"]
    kspace, cut = protocol["sKSpace"], protocol["sSliceArray"]["asSlice"][0]
    base = int(kspace["lBaseResolution"])
    matrix = (
        _whole(measured.get("i3DFTLength"), 1),
        _whole(measured.get("iPEFTLength"), int(kspace["lPhaseEncodingLines"])),
        _whole(measured.get("iRoFTLength"), 2 * base),
    )
    view = tuple(1e-3 * float(cut[key]) for key in ("dThickness", "dPhaseFOV", "dReadoutFOV"))
    more = [float(kspace.get(key) or 0.0) for key in ("dSliceOversamplingForDialog",
                                                      "dPhaseOversamplingForDialog")]  # fmt: skip
    partitions = 1 if matrix[0] == 1 else round(matrix[0] / (1 + more[0]))
    image = Space((partitions, round(matrix[1] / (1 + more[1])), base), (view[0], view[1], view[2]))
    encoded = Space(
        matrix, (view[0] * (1 + more[0]), view[1] * (1 + more[1]), view[2] * matrix[2] / base)
    )
    if min(*matrix, base) < 1:
        raise DataError(f"{who}: its header has the matrix {matrix} (z, y, x), base {base}")
    times = protocol.get("sRXSPEC", {}).get("alDwellTime") or [0]
    kind = _TRAJECTORIES.get(int(kspace.get("ucTrajectory") or 0), "other")
    return EncodingSpace(encoded, image, kind), (float(times[0]) * 1e-9 or None)


def _whole(value: Any, default: int) -> int:
    return int(float(value)) if value else default


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation of a unit quaternion, the scalar first, as a matrix."""
    r, i, j, k = quaternion / max(float(np.linalg.norm(quaternion)), 1e-30)
    return np.array(
        [
            [1 - 2 * (j**2 + k**2), 2 * (i * j - k * r), 2 * (i * k + j * r)],
            [2 * (i * j + k * r), 1 - 2 * (i**2 + k**2), 2 * (j * k - i * r)],
            [2 * (i * k - j * r), 2 * (j * k + i * r), 1 - 2 * (i**2 + j**2)],
        ]
    )
