"""Measured scattering of the Institut Fresnel's database, second part: text files ``.exp``.

Inhomogeneous cylinders were lit by one antenna and observed by another on a circle of 1.67 m [1]_.
A row holds view, receiver, frequency [GHz] and real and imaginary parts of the field with and
without the target. Receiver ``n`` stands at ``n - 1`` degrees, the transmitter of view ``v`` at
``(v - 1) / views`` of a turn; receivers within 60 degrees of it do not measure. The file's time
dependence is ``exp(+j w t)``: the phase of the incident field falls with distance.

References
----------
.. [1] J.-M. Geffrin, P. Sabouroux, C. Eyraud, "Free space experimental scattering database
   continuation: experimental set-up and measurement precision", Inverse Problems 21, S117-S130
   (2005).
.. [2] W. C. Chew, "Waves and Fields in Inhomogeneous Media", IEEE Press (1995), chapters 2 and 9.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine import processes
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.lazy import InMemory, describe_files
from pipeline.rf.formats.acquisition import PhaseHistory, RfAcquisition, scene_of
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import checked_frequencies, green, wavenumbers

RADIUS = 1.67
"""Distance of both antennas from the centre [m]."""

_COLUMNS = 7
_COPIES = 6
"""Of a table while it is read, of the bytes of its text: as numbers, sorted, and as fields."""
_COUNTS = {
    "frequencies": r"Number of frequencies\s*:\s*(\d+)",
    "views": r"Number of views\s*:\s*(\d+)",
    "receivers": r"Number of receivers\s*:\s*(\d+)",
}


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
    """Open a file of the database; the settings give the image's grid."""
    scene = scene_of(settings, dataset)
    history = read_fresnel(Path(settings.source), dataset, budget)
    yield RfAcquisition.of_pulses(scene, history)


def is_fresnel(path: Path) -> bool:
    """Whether a file has the header of this format."""
    if path.suffix != ".exp":
        return False
    try:
        _header(path, str(path))
    except DataError:
        return False
    return True


def read_fresnel(path: Path, dataset: str, budget: Budget) -> PhaseHistory:
    """Read the scattered field of a file, in units of a small cylinder at the centre.

    The scattered field is what the target adds to the incident one. It is divided by the incident
    field at the receiver opposite the transmitter, which takes away gain and phase of the
    instrument, and by what a cylinder of contrast ``epsilon_r - 1`` times area 1 m^2 at the centre
    would give by first Born approximation in two dimensions,

        k^2 g(R)^2 / g(2 R),    g(R) = -(j / 4) H0^(2)(k R).

    So an image is contrast times area, real and positive for a dielectric [2]_, and all frequencies
    see the target alike. There is one pulse for each view and receiver, in the plane of the first
    two axes; views follow each other, receivers within a view in the order of their numbers.

    `DataError` if the file is missing or truncated, or a measurement is missing, doubled, NaN or
    zero.
    """
    who = f"{dataset}: {path}"
    budget.load(processes.SCIPY)
    if path.is_file():
        budget.require({"a table, read whole": _COPIES * path.stat().st_size})
    counts, header = _header(path, who)
    rows = _rows(path, who)
    expected = counts["frequencies"] * counts["views"] * counts["receivers"]
    if len(rows) != expected:
        raise DataError(
            f"{who} has {len(rows)} rows, but its header tells of {counts['views']} views of "
            f"{counts['receivers']} receivers at {counts['frequencies']} frequencies, {expected} "
            "rows; it is truncated or edited"
        )
    frequencies, column = np.unique(rows[:, 2], return_inverse=True)
    frequencies = checked_frequencies(frequencies * 1e9, who)
    pairs, row = np.unique(rows[:, :2], axis=0, return_inverse=True)
    if (
        len(pairs) * len(frequencies) != expected
        or len(np.unique(row * len(frequencies) + column)) != expected
    ):
        raise DataError(
            f"{who}: its {expected} rows tell of {len(pairs)} pairs of view and receiver and "
            f"{len(frequencies)} frequencies; expected each pair at each frequency once"
        )
    fields = np.empty((len(pairs), len(frequencies), 4))
    fields[row, column] = rows[:, 3:]
    total, incident = fields[..., 0] + 1j * fields[..., 1], fields[..., 2] + 1j * fields[..., 3]
    view, receiver = pairs.astype(np.int64).T
    _require_measured(total, incident, view, receiver, frequencies, who)
    turn = (view - 1) * 360 // counts["views"]
    reference = _opposite(incident, view, receiver, turn, who)
    k = wavenumbers(frequencies)
    across = green(k, np.float64(2 * RADIUS), dimensions=2)
    reference = reference * (k**2 * green(k, np.float64(RADIUS), dimensions=2) ** 2 / across)
    return PhaseHistory(
        frequencies=frequencies,
        paths=AntennaPaths(
            transmitter=_on_circle(turn),
            receiver=_on_circle(receiver - 1),
            reference_path=np.full(len(pairs), 2 * RADIUS),
        ),
        measurements=InMemory(((total - incident) / reference).astype(np.complex64)),
        provenance={"format": "fresnel", "files": describe_files([path]), "header": header},
        who=dataset,
    )


def _header(path: Path, who: str) -> tuple[dict[str, int], list[str]]:
    """Return the counts that the header tells, and its lines."""
    try:
        with path.open(encoding="latin-1") as file:
            lines = [line.strip("#\r\n ") for line in file if line.startswith("#")]
    except OSError as error:
        raise DataError(f"{who} is not readable ({error})") from None
    counts = {}
    for name, pattern in _COUNTS.items():
        match = re.search(pattern, "\n".join(lines))
        if match is None:
            raise DataError(
                f"{who}: no number of {name} in its header; expected a file of the second part of "
                "the Institut Fresnel's database"
            )
        counts[name] = int(match.group(1))
    return counts, [line for line in lines if line]


def _rows(path: Path, who: str) -> NDArray[np.float64]:
    """Return the table, float64 ``[row, column]``."""
    try:
        rows = np.loadtxt(path, encoding="latin-1", ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{who} is truncated or edited: {error}") from None
    if rows.shape[1] != _COLUMNS:
        raise DataError(f"{who} has {rows.shape[1]} columns; expected {_COLUMNS}")
    return rows


def _require_measured(
    total: NDArray[np.complex128],
    incident: NDArray[np.complex128],
    view: NDArray[np.int64],
    receiver: NDArray[np.int64],
    frequencies: NDArray[np.float64],
    who: str,
) -> None:
    """Refuse a field that is NaN or zero, naming view, receiver and frequency."""
    for name, field in (("total", total), ("incident", incident)):
        bad = np.argwhere(~np.isfinite(field) | (field == 0))
        if len(bad):
            pair, index = bad[0]
            raise DataError(
                f"{who}: the {name} field of view {view[pair]}, receiver {receiver[pair]} at "
                f"{frequencies[index] / 1e9:g} GHz is {field[pair, index]:g}, and "
                f"{len(bad) - 1} others are zero or not finite; correct them in the source"
            )


def _opposite(
    incident: NDArray[np.complex128],
    view: NDArray[np.int64],
    receiver: NDArray[np.int64],
    turn: NDArray[np.int64],
    who: str,
) -> NDArray[np.complex128]:
    """Return, for each pair, the incident field at the receiver opposite its transmitter."""
    found = np.flatnonzero((receiver - 1 - turn) % 360 == 180)
    position = {int(view[pair]): pair for pair in found}
    missing = sorted(set(view.tolist()) - set(position))
    if missing:
        raise DataError(
            f"{who}: view {missing[0]} has no receiver opposite its transmitter, whose incident "
            "field the others are divided by"
        )
    return incident[[position[int(number)] for number in view]]


def _on_circle(degrees: NDArray[np.int64]) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return RADIUS * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
