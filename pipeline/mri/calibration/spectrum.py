"""Signal and noise at each spatial frequency, from the samples themselves.

The mean square of samples at a distance ``|k|`` from the centre is the signal's power and the
noise's. Images have edges, whose power falls with a power of ``|k|`` [1]_ [2]_: that law is fitted
where there is clearly more than noise, and says what to expect where there is not.

References
----------
.. [1] D. J. Field, "Relations between the statistics of natural images and the response properties
   of cortical cells", J. Opt. Soc. Am. A 4, 2379-2394 (1987).
.. [2] M. Fuderer, "The information content of MR images", IEEE Trans. Med. Imaging 7, 368-380
   (1988).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.mri.calibration import density
from pipeline.mri.calibration.noise import extracts, needs_of_extracts
from pipeline.mri.corrected import CorrectedData, coil_pieces
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import CalibrationArrays, store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "spectrum"

_SHELLS = 24
_CLEAR = 0.5
"""Power of the signal over that of the noise, above which the law is fitted: noise is known to a
fifth."""
_SAMPLE_BYTES = 100
"""Position, radius, weight, power, shell, and what sums of them take."""
_FEWEST = 3
"""Shells that the law is fitted to."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``power law``, or ``none`` without density weights: what noise becomes is unknown."""
    return NONE if density.method(job, raw) == NONE else "power law"


def needs(job: Calibrating) -> list[Need]:
    """Return what the samples of one coil and their positions need."""
    return needs_of_extracts(job, NAME, _SAMPLE_BYTES)


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return nothing: it needs no more than noise."""
    return []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write ``spectrum``, unless there is too little signal."""
    found = CalibrationArrays(group, raw.marker)
    with receipt.phase(NAME):
        shells = measured_shells(CorrectedData(raw, found), found)
        law = fitted_law(shells)
        if law is None:
            return {NAME: NONE}
        signal = np.exp(np.polyval(law, np.log(shells.radius)))
        # The innermost shell is the whole object, not its edges.
        signal[0] = max(shells.power[0], signal[0])
        rows = (shells.radius, signal, np.full_like(signal, shells.noise), shells.weight)
        store_array(group, NAME, np.stack(rows), ("quantity", "shell"))
    receipt.record(signal_exponent=round(float(law[0]), 2))
    return {}


@dataclass(frozen=True)
class Shells:
    """Means over shells of k-space that have samples, from the innermost; float64."""

    radius: NDArray[np.float64]
    """[rad/m]"""
    power: NDArray[np.float64]
    """Of the signal of a sample, summed over coils."""
    noise: float
    """Likewise of the noise."""
    weight: NDArray[np.float64]
    """Sum of squares of density weights over their sum: what weighting makes of noise."""


def measured_shells(data: RawData, found: CalibrationArrays) -> Shells:
    """Return what some of the samples tell; those of weight zero do not count."""
    parts = extracts(data)
    radius, weights = [], []
    for frame, some in parts:
        k = data.trajectory(frame, some) / np.asarray(data.voxel_size, np.float32)
        radius.append(np.linalg.norm(k, axis=-1).ravel())
        weights.append(np.asarray(found.weights(frame, some), np.float64).ravel())
    power = np.zeros(sum(map(len, radius)))
    for coils in coil_pieces(data):
        read = [data.kspace(frame, coils, some) for frame, some in parts]
        for row in range(coils.stop - coils.start):
            power += np.concatenate([np.abs(part[row].ravel()) ** 2 for part in read])
    levels = np.asarray(found.noise_level(), np.float64)
    r, w = np.concatenate(radius), np.concatenate(weights)
    shell = np.minimum(_SHELLS * r / max(r.max(), 1e-30), _SHELLS - 1).astype(np.intp)
    shell[w <= 0] = _SHELLS

    def sums(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(shell, values, _SHELLS + 1)[:_SHELLS][there], np.float64)

    there = np.bincount(shell, minlength=_SHELLS + 1)[:_SHELLS] > 0
    samples, noise = sums(np.ones(len(r))), float(np.sum(levels**2))
    least = r.max() / (2 * _SHELLS)  # the centre alone is a shell of some size too
    return Shells(
        np.maximum(sums(r) / samples, least),
        sums(power) / samples - noise,
        noise,
        sums(w**2) / sums(w),
    )


def fitted_law(shells: Shells) -> NDArray[np.float64] | None:
    """Return exponent and log amplitude of the signal's power; None with too little of it."""
    radius, power = shells.radius[1:], shells.power[1:]
    clear = (power > _CLEAR * shells.noise) & (power > 0)
    if np.count_nonzero(clear) < _FEWEST:
        return None
    return np.asarray(np.polyfit(np.log(radius[clear]), np.log(power[clear]), 1))
