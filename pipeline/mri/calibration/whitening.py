"""Noise pre-whitening: coils are mixed so that their noise is white and equally strong in each.

With the covariance ``Psi`` of the noise of the coils, ``W = s Psi^(-1/2)`` makes it ``s^2 I``: then
least squares weigh coils as they should [1]_, and virtual coils are ordered by their signal, not by
their noise. ``s`` is the root mean square of the coils' noise, so that images keep their size. Of
all roots the Hermitian one leaves each coil most like itself. Noise is that of a scan of it, or of
a region of the measurement.

References
----------
.. [1] K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger, "Advances in sensitivity encoding with
   arbitrary k-space trajectories", Magn. Reson. Med. 46, 638-651 (2001).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.noise_samples import (
    LEAST_EIGENVALUE,
    SAMPLES_PER_COIL,
    most_samples,
    noise_covariance,
    region_bytes,
    region_covariance,
    require_region,
)
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "whitening"


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``noise``, ``region`` or ``none``; see `pipeline.engine.chain.Step`."""
    wanted, noise = job.settings.calibration.whitening, job.acquired.arrays.get("noise")
    if job.settings.calibration.noise_region is not None:
        require_region(job)
        return NONE if wanted == "none" else "region"
    if wanted == "noise" and noise is None:
        raise DataError(
            f"{job.dataset}: calibration.whitening is noise, but the source has no noise samples; "
            "name `noise` in the dataset's arrays or a calibration.noise_region, or set it to auto"
        )
    if wanted == "noise" and noise is not None and noise[1] <= noise[0]:
        raise DataError(
            f"{job.dataset}: calibration.whitening is noise, but {noise[1]} samples of noise do "
            f"not tell the covariance of {noise[0]} coils; set it to none, or bring "
            f"{SAMPLES_PER_COIL * noise[0]} samples or more"
        )
    enough = noise is not None and noise[0] > 1 and noise[1] >= SAMPLES_PER_COIL * noise[0]
    return "noise" if wanted == "noise" or (wanted == "auto" and enough) else NONE


def needs(job: Calibrating) -> list[Need]:
    """Return what the noise of all coils needs, and its product with itself."""
    coils, reading = job.acquired.coils, {}
    if job.methods[NAME] == "region":
        samples, reading = most_samples(job), region_bytes(job)
    else:
        samples = job.acquired.arrays["noise"][1]
    held = {"whitening: noise": 24 * coils * samples, "whitening": 96 * coils**2}
    return [Need({**held, **reading})]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that does without, where it needs most."""
    return ["calibration.whitening: none"] if "whitening" in need.host else []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write ``whitening``, and the noise covariance as it was measured."""
    with receipt.phase("whitening"):
        if job.methods[NAME] == "region":
            covariance = region_covariance(raw, job, receipt)
        else:
            noise = raw.noise()
            assert noise is not None
            covariance = noise_covariance(noise)
        matrix = whitening_matrix(covariance, job.dataset)
        store_array(group, "noise_covariance", covariance.astype(np.complex64), ("coil", "coil_2"))
        store_array(group, NAME, matrix.astype(np.complex64), ("coil", "acquired_coil"))
    found = {
        "largest_noise_correlation": _largest_correlation(covariance),
        "noise_levels_apart": float(np.sqrt(_ratio(np.diag(covariance).real))),
    }
    receipt.record(**found)
    return found


def whitening_matrix(covariance: NDArray[np.complex128], who: str) -> NDArray[np.complex128]:
    """Return ``s Psi^(-1/2)`` of a covariance ``Psi``, complex128 ``(coil, coil)``.

    A coil without noise measured nothing: it is left out, as a row and a column of zeros.

    Raises
    ------
    DataError
        If coils are not independent, so that some combination of them would have no noise.
    """
    power = np.diag(covariance).real
    alive = power > 0
    if not alive.any():
        raise DataError(f"{who}: the noise samples are zero throughout; set whitening to none")
    root = np.sqrt(power[alive])
    # Of coils that are scaled to the same noise, so that a weak one is not taken for a copy.
    values, vectors = np.linalg.eigh(covariance[np.ix_(alive, alive)] / np.outer(root, root))
    if values[0] < LEAST_EIGENVALUE * values[-1]:
        raise DataError(
            f"{who}: some combination of coils has no noise, so that they cannot be whitened: are "
            "two coils the same, or are there fewer samples of noise than coils? Set "
            "calibration.whitening to none or correct the source"
        )
    values, vectors = np.linalg.eigh(covariance[np.ix_(alive, alive)])
    inverse_root = (vectors / np.sqrt(values)) @ vectors.conj().T
    matrix = np.zeros_like(covariance)
    matrix[np.ix_(alive, alive)] = np.sqrt(power[alive].mean()) * inverse_root
    return matrix


def _largest_correlation(covariance: NDArray[np.complex128]) -> float:
    """Return the largest magnitude of a correlation of two coils' noise."""
    root = np.sqrt(np.maximum(np.diag(covariance).real, np.finfo(float).tiny))
    correlation = np.abs(covariance) / np.outer(root, root)
    np.fill_diagonal(correlation, 0)
    return float(correlation.max())


def _ratio(values: NDArray[np.floating]) -> float:
    positive = values[values > 0]
    return float(positive.max() / positive.min())
