"""Coil compression: few virtual coils that hold almost all of what many coils measured.

The virtual coils are the strongest principal components of the coils, over the centre of k-space of
all frames [1]_ [2]_, or at each position along Cartesian readouts
(`pipeline.mri.calibration.geometric`). They are orthonormal combinations, so white noise stays
white.

References
----------
.. [1] M. Buehrer, K. P. Pruessmann, P. Boesiger, S. Kozerke, "Array compression for MRI with large
   coil arrays", Magn. Reson. Med. 57, 1131-1139 (2007).
.. [2] F. Huang, S. Vijayakumar, Y. Li, S. Hertel, G. R. Duensing, "A software channel compression
   technique for faster reconstruction with many channels", Magn. Reson. Imaging 26, 133-141 (2008).
"""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration import whitening
from pipeline.mri.calibration.geometric import aligned, covariances_along, lines_at_once
from pipeline.mri.corrected import mixing_bytes
from pipeline.mri.raw import RawData
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import CalibrationArrays, store_array
from pipeline.storage.chunks import CHUNK_BYTES
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "compression"

_SLAB = 2**18
"""Samples of each coil that are read together."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``svd``, ``geometric`` or ``none``; see `pipeline.engine.chain.Step`."""
    wanted, coils = job.settings.calibration.virtual_coils, job.acquired.coils
    if wanted == "all" or coils in (1, wanted):
        return NONE
    if wanted > coils:
        raise DataError(
            f"{job.dataset}: calibration.virtual_coils is {wanted}, but there are {coils} coils; "
            "set it to fewer, or to all"
        )
    how = job.settings.calibration.compression
    if how == "geometric" and job.acquired.pattern not in (None, "cartesian"):
        raise DataError(
            f"{job.dataset}: calibration.compression is geometric, which needs Cartesian samples, "
            f"but these are of the pattern {job.acquired.pattern}; set it to svd"
        )
    if how == "geometric" and job.settings.calibration.girf is not None:
        raise DataError(
            f"{job.dataset}: calibration.compression is geometric, which needs samples on the grid "
            "of the matrix, and calibration.girf moves them; set it to svd"
        )
    return how


def most_coils(job: Calibrating) -> int:
    """Return how many virtual coils there are at most: what later steps have to reckon with."""
    wanted, coils = job.settings.calibration.virtual_coils, job.acquired.coils
    return min(wanted, coils) if isinstance(wanted, int) else coils


def mixed_bytes(job: Calibrating, samples: int) -> int:
    """Return what mixing takes of so many samples of each coil; 0 where coils stay as acquired."""
    steps = (job.methods.get(name, NONE) for name in (whitening.NAME, NAME))
    if set(steps) == {NONE}:
        return 0
    matrices = 2 * 8 * _positions(job) * job.acquired.coils * most_coils(job)
    return mixing_bytes(job.acquired.coils, samples) + matrices


def _positions(job: Calibrating) -> int:
    """Return at how many positions along readouts, at the most, coils are mixed differently."""
    return max(job.acquired.shape) if job.methods.get(NAME) == "geometric" else 1


def needs(job: Calibrating) -> list[Need]:
    """Return what a slab of all coils needs, and the samples of it that count."""
    acquired = job.acquired
    samples = min(acquired.readouts, _readouts(acquired.samples)) * acquired.samples
    axes = len(acquired.shape)
    width = job.settings.calibration.calibration_width
    inside = int(samples * share_in_centre(acquired, width))
    if job.methods[NAME] == "geometric":
        inside = min(samples, lines_at_once(acquired.shape, width) * acquired.samples)
    # As read, and for its product; at each position, transformed and in another order too.
    each = 40 if job.methods[NAME] == "geometric" else 24
    return [
        Need(
            {
                "compression: trajectory": (12 * axes + 24) * samples,
                "compression: samples": each * acquired.coils * inside + 24 * samples,
                "compression: chunks": 2 * CHUNK_BYTES,
                "compression: covariance": 96 * acquired.coils**2 * _positions(job),
            }
        )
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that does without, where it needs most."""
    return ["calibration.virtual_coils: all"] if "compression: samples" in need.host else []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write ``compression``, and the energy of all principal components."""
    wanted = job.settings.calibration.virtual_coils
    width, geometric = job.settings.calibration.calibration_width, job.methods[NAME] == "geometric"
    with receipt.phase("compression"):
        if geometric:
            covariances = covariances_along(raw, width, _readouts(raw.samples), job.dataset)
        else:
            covariances = signal_covariance(raw, width, job.dataset)[None]
        # Of the coils as they are mixed by now: not of mixed samples, for which all are read again.
        mixing = CalibrationArrays(group, raw.marker).mixing()
        if mixing is not None:
            covariances = mixing @ covariances @ mixing.conj().T
        energies, components = principal_components(covariances)
        energy = energies.sum(axis=0) / energies.sum()
        count = wanted if isinstance(wanted, int) else _enough(energy, float(wanted))
        kept = aligned(components[:, :count], int(np.argmax(energies.sum(axis=1))))
        axes: tuple[str, ...] = ("voxel", "virtual_coil", "coil")
        if not geometric:
            kept, axes = kept[0], axes[1:]
        store_array(group, NAME, kept.astype(np.complex64), axes)
        store_array(group, "coil_energy", energy, ("component",))
    found = {"virtual_coils": count, "energy_kept": float(energy[:count].sum())}
    receipt.record(**found)
    return found


def principal_components(
    covariances: NDArray[np.complex128],
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return energies, falling, and the combinations of coils that have them.

    Of covariances ``(position, coil, coil)``, float64 ``(position, coil)``, and complex128
    ``(position, component, coil)`` to multiply coils with.
    """
    values, vectors = np.linalg.eigh(covariances)
    components = vectors[..., ::-1].conj().swapaxes(-1, -2)
    # An eigenvector has any phase, another one in each library: its largest entry becomes real.
    at = np.abs(components).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(components, at, axis=-1)
    return np.maximum(values[..., ::-1], 0), components * np.exp(-1j * np.angle(largest))


def signal_covariance(data: RawData, width: int, who: str) -> NDArray[np.complex128]:
    """Return ``sum y y^H`` of the coils over the centre of k-space, complex128 ``(coil, coil)``.

    The centre has a diameter of ``width`` Cartesian samples. All its cells count alike, however
    often they were sampled: so energies are those of an image of low resolution.

    Raises
    ------
    DataError
        If nothing was measured there.
    """
    counts = np.zeros((width + 2,) * len(data.shape), np.intp)
    frames = range(data.frames if data.own_trajectory else 1)
    slabs = pieces(data.readouts, _readouts(data.samples))
    for frame, slab in itertools.product(frames, slabs):
        for _, cells in _centre(data, frame, slab, width):
            np.add.at(counts, cells, 1)
    total = np.zeros((data.coils, data.coils), np.complex128)
    with track(f"{who}: covariance of the coils", data.frames * len(slabs)) as advance:
        for frame, slab in itertools.product(range(data.frames), slabs):
            for inside, cells in _centre(data, frame, slab, width):
                samples = np.empty((data.coils, np.count_nonzero(inside)), np.complex64)
                _read_inside(data, frame, slab, inside, samples)
                samples /= np.sqrt(counts[cells]).astype(np.float32)
                total += samples @ samples.conj().T
            advance()
    if not total.any():
        raise DataError(
            f"{who}: no samples within {width} / 2 Cartesian samples of the centre of k-space, "
            "which coils are compressed by; raise calibration.calibration_width or set "
            "calibration.virtual_coils to all"
        )
    return total


def _centre(
    data: RawData, frame: int, slab: slice, width: int
) -> Iterator[tuple[NDArray[np.bool_], tuple[NDArray[np.intp], ...]]]:
    """Yield which samples of some readouts lie in the centre, and the cells they are in, if any."""
    cycles = data.cycles(frame, slab)
    inside = np.linalg.norm(cycles, axis=-1) <= width / 2
    if inside.any():
        cells = np.rint(cycles[inside]).astype(np.intp) + (width + 2) // 2
        yield inside, tuple(np.clip(cells, 0, width + 1).T)


def _read_inside(
    data: RawData,
    frame: int,
    slab: slice,
    inside: NDArray[np.bool_],
    out: NDArray[np.complex64],
) -> None:
    """Write the samples of the centre into ``out``, complex64 ``[coil, sample]``."""
    for coil in range(data.coils):
        out[coil] = data.kspace(frame, slice(coil, coil + 1), slab)[0, inside]


def _enough(energy: NDArray[np.float64], share: float) -> int:
    return min(len(energy), int(np.searchsorted(np.cumsum(energy), share)) + 1)


def _readouts(samples: int) -> int:
    return max(1, _SLAB // samples)


def share_in_centre(acquired: Acquired, width: float) -> float:
    """Return the share of samples that lie in the centre: as of spokes, or twice that."""
    spread = 1 if acquired.pattern in ("radial", "stack-of-stars") else 2
    return min(1.0, spread * width / min(acquired.shape))
