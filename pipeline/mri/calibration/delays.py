"""Gradient delays of radial readouts, from the places where spokes cross (RING) [1]_.

Gradients that lag behind shift a spoke of direction ``n`` by ``S n``, with a symmetric matrix ``S``
[2]_. The shifted spokes no longer cross in the centre of k-space. Where two of them cross, they
have measured the same samples: so the crossing can be found on either, ``a_i`` and ``a_j`` along
their nominal lines, and

    S n_i + a_i n_i = S n_j + a_j n_j

for many pairs of spokes gives ``S`` by least squares. The trajectory is then moved by ``S n``.

References
----------
.. [1] S. Rosenzweig, H. C. M. Holme, M. Uecker, "Simple auto-calibrated gradient delay estimation
   from few spokes using radial intersections (RING)", Magn. Reson. Med. 81, 1898-1906 (2019).
.. [2] A. Moussavi, M. Untenberger, M. Uecker, J. Frahm, "Correction of gradient-induced phase
   errors in radial MRI", Magn. Reson. Med. 71, 308-312 (2014).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.compression import mixed_bytes, most_coils
from pipeline.mri.calibration.moved import write_trajectory, writing_bytes
from pipeline.mri.corrected import SLAB, CorrectedData, chosen_readouts
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import readout_slabs
from pipeline.storage.calibration import CalibrationArrays, store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "delays"

_SPOKES = 120
"""Spokes that are looked at."""
_LEAST_SPOKES, _LEAST_SAMPLES = 3, 16
_PARTNERS = 3
"""Spokes that each is crossed with: those most perpendicular to it."""
_REACH = 3.0
"""Along spokes from their centres, within which crossings are looked for [sample]."""
_STEP = 0.1
"""Of the first search [sample]."""
_REFINEMENTS = 10
_LARGEST = 2.0
"""Delay that can be right [sample]."""
_UNSURE = 0.3
"""What crossings may miss each other by, as a median, for the delays to be believed [sample]."""
_UNEVEN = 0.02
"""Of the distance of two samples, that it may differ from the others."""


@dataclass(frozen=True)
class Delays:
    """What gradients do to spokes in a plane."""

    shift: NDArray[np.float64]
    """The symmetric matrix ``S``, ``(2, 2)`` [sample]."""
    missed: float
    """Median distance by which corrected spokes miss their crossings [sample]."""
    crossings: int


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``ring`` or ``none``; see `pipeline.engine.chain.Step`."""
    if job.settings.calibration.delays == NONE:
        return NONE
    axes, pattern = len(job.acquired.shape), job.acquired.pattern
    known = {2: "radial", 3: "stack-of-stars"}
    if pattern not in (None, known[axes]):
        raise DataError(
            f"{job.dataset}: calibration.delays is ring, which is for 2D radial readouts and "
            f"stacks of stars, and these are {axes}D and of the pattern "
            f"{pattern}; set it to none"
        )
    return "ring"


def needs(job: Calibrating) -> list[Need]:
    """Return what a slab of readouts, the spokes that are looked at and their moving need."""
    acquired, coils = job.acquired, most_coils(job)
    slab = min(max(SLAB, acquired.samples), acquired.readouts * acquired.samples)
    together = coils if mixed_bytes(job, slab) else 1
    spokes = _SPOKES * acquired.samples
    return [
        Need(
            {
                "delays: slab of readouts": 8 * together * slab + mixed_bytes(job, slab),
                "delays: spokes": spokes * (24 * coils + 40) + 48 * acquired.samples**2,
            }
        ),
        Need({"delays: trajectory": writing_bytes(acquired)}),
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that does without, where it needs most."""
    delays = any(name.startswith("delays") for name in need.host)
    return ["calibration.delays: none"] if delays else []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Find the delays, and write the moved trajectory if they can be believed."""
    data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
    with receipt.phase("delays"):
        k, y = _spokes(data)
        found = gradient_delays(k, y, data.shape[-2:], job.dataset)
        told = {
            "gradient_delays": {
                f"{'yx'[row]}{'yx'[column]}": round(float(found.shift[row, column]), 4)
                for row, column in ((0, 0), (1, 1), (0, 1))
            },
            "crossings_missed_by": round(found.missed, 4),
        }
        receipt.record(**told)
        store_array(group, "gradient_delays", found.shift, ("axis", "direction"))
        if np.abs(found.shift).max() > _LARGEST or found.missed > _UNSURE:
            receipt.warn(
                f"{job.dataset}: gradient delays of {np.abs(found.shift).max():.2f} samples, where "
                f"spokes miss their crossings by {found.missed:.2f}, cannot be right and are not "
                "corrected; set calibration.delays to none, or check that all spokes see the same "
                "object"
            )
            return told

        def moved(k: NDArray[np.float32]) -> NDArray[np.float32]:
            directions, _, step = _lines(k[..., -2:], job.dataset)
            shifted = k.copy()
            shifted[..., -2:] += (step * directions @ found.shift)[:, None]
            return shifted

        write_trajectory(data, group, moved, job.dataset)
    return told


def gradient_delays(
    k: NDArray[np.floating],
    y: NDArray[np.complexfloating],
    matrix: tuple[int, ...],
    who: str = "spokes",
) -> Delays:
    """Estimate how spokes in a plane are shifted.

    Parameters
    ----------
    k
        Nominal trajectory ``[spoke, sample, 2]`` [rad/voxel]: uniform samples through the centre.
    y
        Samples, complex ``[coil, spoke, sample]``.
    matrix
        Image matrix in the plane, beyond which there is no object.
    who
        Begins the message of an error.

    Raises
    ------
    DataError
        If spokes are not sampled uniformly, or there are fewer than three.
    """
    if len(k) < _LEAST_SPOKES or k.shape[1] < _LEAST_SAMPLES:
        raise DataError(
            f"{who}: {len(k)} spokes of {k.shape[1]} samples do not tell gradient delays, "
            f"{_LEAST_SPOKES} of {_LEAST_SAMPLES} may; set calibration.delays to none"
        )
    directions, positions, step = _lines(k, who)
    places, projections = _projections(y, positions, step, 0.75 * max(matrix))
    pairs = _crossing_pairs(directions)
    along = _crossings(places * step, projections, pairs)
    one, other = directions[pairs[:, 0]], directions[pairs[:, 1]]
    # a_i n_i - a_j n_j = S (n_j - n_i), for the entries yy, xx and yx of S.
    wanted = along[:, :1] * one - along[:, 1:] * other
    apart = other - one
    zero = np.zeros(len(pairs))
    system = np.stack(
        [
            np.stack([apart[:, 0], zero, apart[:, 1]], axis=-1),
            np.stack([zero, apart[:, 1], apart[:, 0]], axis=-1),
        ],
        axis=1,
    )
    shift, missed = _robust_solution(system, wanted)
    yy, xx, yx = shift
    return Delays(np.array([[yy, yx], [yx, xx]]), missed, len(pairs))


def _spokes(data: RawData) -> tuple[NDArray[np.float32], NDArray[np.complex64]]:
    """Read spokes spread over some frames: in the plane through the centre of a stack of stars."""
    trajectories, samples, count = [], [], 0
    for frame in range(data.frames):
        readouts = data.readouts_of(frame)
        slabs = readout_slabs(readouts)
        rows = np.arange(data.readouts)
        if len(data.shape) == 3:
            height = np.abs(np.concatenate([readouts[slab][:, 0, 0] for slab in slabs]))
            rows = np.flatnonzero(height <= height.min() + 1e-4)
        wanted = min(len(rows), _SPOKES - count)
        rows = rows[np.linspace(0, len(rows) - 1, wanted).round().astype(np.intp)]
        for slab in slabs:
            within = rows[(rows >= slab.start) & (rows < slab.stop)] - slab.start
            trajectories.append(readouts[slab][within][..., -2:].astype(np.float32))
        samples.append(chosen_readouts(data, frame, rows))
        count += len(rows)
        if count >= _SPOKES or not data.own_trajectory:
            break
    return np.concatenate(trajectories), np.concatenate(samples, axis=1)


def _lines(
    k: NDArray[np.floating], who: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return directions ``(spoke, 2)``, positions along a spoke and their distance [rad/voxel].

    Positions are those that all spokes share, relative to the point nearest the centre.
    """
    # Without the ends: pi is stored as -pi, so that one of them may lie on the other side.
    points = np.asarray(k, np.float64)[:, 1:-1]
    whole = points[:, -1] - points[:, 0]
    directions = whole / np.linalg.norm(whole, axis=-1, keepdims=True)
    along = np.einsum("rsa,ra->rs", points, directions)
    positions = np.median(along, axis=0)
    steps = np.diff(along, axis=1)
    step = float(np.median(steps))
    if np.abs(steps - step).max() > _UNEVEN * step or np.ptp(along, axis=0).max() > 0.5 * step:
        raise DataError(
            f"{who}: calibration.delays is ring, but spokes are not sampled uniformly and alike; "
            "set it to none"
        )
    ends = [positions[:1] - step, positions, positions[-1:] + step]
    return directions, np.concatenate(ends), step


def _projections(
    y: NDArray[np.complexfloating], positions: NDArray[np.float64], step: float, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return places across the object and the projection of each spoke onto its line.

    Places are in voxels, projections complex ``(spoke, coil, place)``: their sum times ``exp(-j a
    x)`` is what a spoke would have measured at ``a``, without the noise of what lies beyond the
    object.
    """
    count = positions.size
    places = (np.arange(count) - count // 2) * (2 * np.pi / (step * count))
    places = places[np.abs(places) <= min(reach, 0.9 * np.pi / step)]
    transform = np.exp(1j * np.outer(positions, places)) / count
    return places, np.asarray(np.moveaxis(y, 1, 0) @ transform)


def _crossing_pairs(directions: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return pairs of spokes, each with those most perpendicular to it, ``(pair, 2)``."""
    parallel = np.abs(directions @ directions.T)
    partners = np.argsort(parallel, axis=1, kind="stable")[:, :_PARTNERS]
    pairs = np.stack([np.repeat(np.arange(len(directions)), partners.shape[1]), partners.ravel()])
    return np.asarray(np.unique(np.sort(pairs, axis=0), axis=1).T)


def _crossings(
    phases: NDArray[np.float64],
    projections: NDArray[np.complex128],
    pairs: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return where along both spokes of each pair their samples agree best, ``(pair, 2)`` [sample].

    ``phases`` are those that a place has from a sample to the next [rad].
    """
    line = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    near = projections @ np.exp(-1j * np.outer(phases, line))  # (spoke, coil, position)
    energy = np.sum(np.abs(near) ** 2, axis=1)
    found = np.empty((len(pairs), 2))
    for row, (one, other) in enumerate(pairs):
        agreement = 2 * (near[one].conj().T @ near[other]).real
        difference = energy[one][:, None] + energy[other] - agreement
        found[row] = line[list(np.unravel_index(np.argmin(difference), difference.shape))]
    # Newton's method on the squared difference, without second derivatives of the samples.
    first, second = projections[pairs[:, 0]], projections[pairs[:, 1]]
    for _ in range(_REFINEMENTS):
        turns = np.exp(-1j * found[..., None] * phases)
        values = [
            np.einsum("pcx,px->pc", part, turns[:, i]) for i, part in enumerate((first, second))
        ]
        slopes = [
            np.einsum("pcx,px->pc", part, -1j * phases * turns[:, i])
            for i, part in enumerate((first, second))
        ]
        difference = values[0] - values[1]
        slope = np.stack([slopes[0], -slopes[1]], axis=-1)
        gram = np.einsum("pci,pcj->pij", slope.conj(), slope).real
        gram += 1e-9 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(2)
        against = np.einsum("pci,pc->pi", slope.conj(), difference).real
        change = np.linalg.solve(gram, against[..., None])[..., 0]
        found = np.clip(found - np.clip(change, -_STEP, _STEP), -_REACH, _REACH)
    return found


def _robust_solution(
    system: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Solve ``system (pair, 2, 3)``, with pairs that do not fit the others counting less.

    Also return the median distance that is left.
    """
    weights = np.ones(len(system))
    for _ in range(5):
        roots = np.sqrt(weights)[:, None]
        solution = np.linalg.lstsq(
            (system * roots[..., None]).reshape(-1, 3), (wanted * roots).ravel(), rcond=None
        )[0]
        left = np.linalg.norm(system @ solution - wanted, axis=1)
        usual = max(float(np.median(left)), 1e-6)
        weights = 1 / np.maximum(1, left / (2 * usual))
    return np.asarray(solution, np.float64), float(np.median(left))
