"""Phase history of the AFRL Gotcha collections: MATLAB files of about one degree of azimuth each.

A file holds a structure ``data`` with the fields ``fp`` (phase history, frequency by pulse),
``freq`` [Hz], the antenna's position ``x``, ``y``, ``z`` and its range ``r0`` to the scene's centre
[m] [1]_. Some files add an autofocus solution ``af``, a phase [rad] and a range [m] of each pulse,
which is applied when asked for: ``exp(j phase - 2 j k range)``. Its signs are stated nowhere; with
all but these and their opposites the image of pass 1 is lost, and with the opposites it is dimmer.

References
----------
.. [1] C. H. Casteel et al., "A challenge problem for 2D/3D imaging of targets from a volumetric
   data set in an urban environment", Proc. SPIE 6568, 65680D (2007).
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, words_of
from pipeline.formats.lazy import Selection, describe_files, part_bytes
from pipeline.formats.matlab import matrices
from pipeline.rf.formats.acquisition import PhaseHistory, RfAcquisition, scene_of
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import checked_frequencies

_POSITION_FIELDS = ("x", "y", "z", "r0")
_POLARISATION = re.compile(r"_(HH|HV|VH|VV)\b", re.IGNORECASE)

# Single precision numbers of 10 km are 1 mm apart, and each of the four has its own rounding.
_ROUNDINGS = 4
_UNREADABLE = (OSError, ValueError, LookupError, zlib.error)
_COPIES = 4
"""Of a file while it is read: both parts of its numbers, their sum, and that in our order."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
    """Open the files of a collection; the settings give the image's grid."""
    scene = scene_of(settings, dataset)
    corrected = settings.details.own_autofocus
    files = gotcha_files(Path(settings.source))
    history = read_gotcha(files, dataset, budget, corrected=corrected)
    yield RfAcquisition.of_pulses(scene, history)


def gotcha_files(source: Path) -> list[Path]:
    """Return the files of a source: itself, or all ``.mat`` files of a folder in order of name."""
    return sorted(source.glob("*.mat")) if source.is_dir() else [source]


def is_gotcha(path: Path) -> bool:
    """Whether a file holds a structure with the fields of this format."""
    if path.suffix != ".mat":
        return False
    try:  # a large array of this name is not read
        if not any(each.name == "data" and each.structure for each in matrices(path)):
            return False
        _structure(path, str(path))
    except (DataError, *_UNREADABLE):
        return False
    return True


def read_gotcha(
    files: Sequence[Path], dataset: str, budget: Budget, *, corrected: bool = False
) -> PhaseHistory:
    """Read positions and frequencies of files that are joined, in order, into one phase history.

    The measurements stay in the files, one of which at a time is in memory. One antenna sends and
    receives. A reference range that is the antenna's distance but for its single precision, which
    would be worth 0.2 rad at 10 GHz and 10 km, is replaced by the distance. ``corrected`` applies
    the files' own autofocus.

    `DataError` if a file is unreadable or truncated, lacks a field, has fields that disagree, holds
    NaN or only zeros somewhere, or does not fit the files before it.
    """
    if not files:
        raise DataError(f"{dataset}: there are no files of type mat in its source")
    _require_one_polarisation(files, dataset)
    largest = max(_loading_bytes(path) for path in files)
    budget.require({"the largest of its files": largest})
    frequencies = _GotchaFile.read(files[0], dataset, corrected).frequencies
    paths = []
    for path in files:
        content = _GotchaFile.read(path, dataset, corrected)
        if not np.array_equal(frequencies, content.frequencies):
            raise DataError(
                f"{dataset}: {path} has {_span(content.frequencies)}, but {files[0]} has "
                f"{_span(frequencies)}; join only files that share their frequencies"
            )
        paths.append(content.paths)
    return PhaseHistory(
        frequencies=frequencies,
        paths=AntennaPaths.joined(paths),
        measurements=_JoinedPulses(
            tuple(files), tuple(map(len, paths)), len(frequencies), dataset, largest, corrected
        ),
        provenance={"format": "gotcha", "files": describe_files(list(files))},
        who=dataset,
    )


def _require_one_polarisation(files: Sequence[Path], dataset: str) -> None:
    """Refuse files whose names tell that they are of several polarisations."""
    found: dict[str, Path] = {}
    for path in files:
        if match := _POLARISATION.search(path.stem):
            found.setdefault(match.group(1).upper(), path)
    if len(found) > 1:
        names = ", ".join(f"{name} ({path.name})" for name, path in found.items())
        raise DataError(
            f"{dataset}: its files are of several polarisations: {names}; make each a dataset of "
            "its own"
        )


def _span(frequencies: NDArray[np.float64]) -> str:
    low, high = frequencies[0] / 1e9, frequencies[-1] / 1e9
    return f"{len(frequencies)} frequencies from {low:.6g} to {high:.6g} GHz"


@dataclass(frozen=True)
class _JoinedPulses:
    """The measurements of several files, a `LazyArray` ``[pulse, freq]``."""

    files: tuple[Path, ...]
    pulses: tuple[int, ...]
    frequencies: int
    dataset: str
    loading_bytes: int
    corrected: bool

    @property
    def chunks(self) -> tuple[int, ...]:
        return max(self.pulses), self.frequencies

    def reading_bytes(self, extent: Sequence[int]) -> int:
        return self.loading_bytes + 2 * part_bytes(self, extent)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.complex64)

    @property
    def shape(self) -> tuple[int, ...]:
        return sum(self.pulses), self.frequencies

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        wanted, frequencies = selection
        first, last, _ = wanted.indices(self.shape[0])
        parts, start = [], 0
        for path, count in zip(self.files, self.pulses, strict=True):
            inside = slice(max(first - start, 0), min(last - start, count))
            if inside.start < inside.stop:
                content = _GotchaFile.read(path, self.dataset, self.corrected)
                parts.append(content.measurements[inside, frequencies])
            start += count
        if not parts:
            return np.empty(self.shape, self.dtype)[selection]
        return np.concatenate(parts)


@dataclass(frozen=True)
class _GotchaFile:
    """What one file holds."""

    frequencies: NDArray[np.float64]
    paths: AntennaPaths
    measurements: NDArray[np.complex64]

    @classmethod
    def read(cls, path: Path, dataset: str, corrected: bool) -> "_GotchaFile":
        who = f"{dataset}: {path}"
        fields = _structure(path, who)
        frequencies = checked_frequencies(_vector(fields, "freq", who), f"{who}: `freq`")
        x, y, z, reference = (_vector(fields, name, who) for name in _POSITION_FIELDS)
        sizes = {name: len(_vector(fields, name, who)) for name in _POSITION_FIELDS}
        expected = (len(frequencies), sizes["x"])
        measured = np.asarray(fields["fp"])
        # One frequency or one pulse leaves a vector, because MATLAB has no vectors.
        if measured.ndim < 2 and measured.size == np.prod(expected):
            measured = measured.reshape(expected)
        if len(set(sizes.values())) > 1 or measured.shape != expected:
            raise DataError(
                f"{who}: `fp` has the shape {measured.shape}, but `freq` has {expected[0]} values "
                f"and the positions have {sizes}; expected (frequency, pulse)"
            )
        if measured.dtype.kind not in "fc":
            raise DataError(f"{who}: `fp` is of type {measured.dtype}; expected complex numbers")
        _require_measured(measured, frequencies, who)
        positions = np.stack([x, y, z], axis=1)
        reference = _unrounded(reference, positions)
        if corrected:
            phase, range_ = _autofocus(fields, len(x), who)
            measured = measured * np.exp(1j * phase).astype(np.complex64)
            reference = reference + range_
        try:
            paths = AntennaPaths(positions, positions, 2 * reference)
        except DataError as error:
            raise DataError(f"{who}: {error}") from None
        return cls(frequencies, paths, measured.T.astype(np.complex64))


def _loading_bytes(path: Path) -> int:
    """Return the peak memory while a file is read: its structure whole, and copies [byte]."""
    try:
        size = sum(matrix.size for matrix in matrices(path) if matrix.name == "data")
    except _UNREADABLE:  # what is wrong is told by who reads it
        size = 0
    return _COPIES * size


def _require_measured(measured: NDArray[Any], frequencies: NDArray[np.float64], who: str) -> None:
    """Refuse a file of which a pulse or a frequency was not measured; `who` names it."""
    bad = np.argwhere(~np.isfinite(measured))
    if len(bad):
        index, pulse = bad[0]
        raise DataError(
            f"{who}: pulse {pulse} at {frequencies[index] / 1e9:.6g} GHz (index {index}) is "
            f"{measured[index, pulse]}, and {len(bad) - 1} others are NaN or infinite; leave them "
            "out or correct them in the source"
        )
    for axis, what in ((0, "pulse"), (1, "frequency")):
        empty = np.flatnonzero(~measured.any(axis=axis))
        if empty.size:
            raise DataError(
                f"{who}: {what} {empty[0]} is zero throughout, as are {len(empty) - 1} others of "
                f"{measured.shape[1 - axis]}; leave them out"
            )


def _structure(path: Path, who: str) -> dict[str, Any]:
    """Return the fields of the structure ``data``."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    # What the reader makes of a damaged file is documented nowhere.
    damage = (
        OSError, ValueError, TypeError, ArithmeticError, LookupError, MemoryError, MatReadError,
        zlib.error,
    )  # fmt: skip

    if not path.is_file():
        raise DataError(f"{who}: no such file")
    try:
        found = loadmat(
            path, variable_names=["data"], squeeze_me=True, struct_as_record=False, appendmat=False
        )
    except NotImplementedError:
        raise DataError(f"{who} is of MATLAB version 7.3; save it again with `-v7`") from None
    except damage as error:
        raise DataError(f"{who} is truncated or no MATLAB file ({words_of(error)})") from None
    data = found.get("data")
    fields = {name: getattr(data, name) for name in getattr(data, "_fieldnames", ())}
    missing = [name for name in ("fp", "freq", *_POSITION_FIELDS) if name not in fields]
    if missing:
        raise DataError(
            f"{who}: no field {', '.join(missing)} in a structure `data`, found "
            f"{', '.join(fields) or 'none'}; expected a Gotcha phase history"
        )
    return fields


def _vector(fields: dict[str, Any], name: str, who: str) -> NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(fields[name]))
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise DataError(
            f"{who}: `{name}` is {values.dtype} of shape {values.shape}; expected real numbers "
            "along one axis"
        )
    return values.astype(np.float64)


def _autofocus(
    fields: dict[str, Any], pulses: int, who: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the file's own corrections of each pulse: a phase [rad] and a range [m]."""
    own = getattr(fields.get("af"), "__dict__", {})
    names = ("ph_correct", "r_correct")
    found = [_vector(own, name, f"{who}: `af`") for name in names if name in own]
    if len(found) < 2 or any(
        len(values) != pulses or not np.isfinite(values).all() for values in found
    ):
        raise DataError(
            f"{who}: `own_autofocus` needs a finite `ph_correct` and `r_correct` of each of "
            f"{pulses} pulses in a structure `af`; leave it out"
        )
    return found[0], found[1]


def _unrounded(
    reference: NDArray[np.float64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the reference ranges, in full precision where they are the antenna's distances."""
    distance = np.linalg.norm(positions, axis=1)
    rounding = _ROUNDINGS * np.finfo(np.float32).eps * distance
    same: bool = bool(np.all(np.abs(reference - distance) <= rounding))
    return distance if same else reference
