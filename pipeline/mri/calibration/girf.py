"""Trajectories as gradients really made them, by a gradient impulse response function [1]_ [2]_.

Gradients are linear and do not change from day to day: what a waveform becomes is its convolution
with what an impulse becomes, measured once for a scanner. As k-space is the integral of the
gradients, trajectories are filtered just so. What gradients do to the main field is a phase that
all samples of a moment have; it is taken away as samples are read.

Before and after a readout its gradients are taken to go on as they are at its ends for as long as
the response remembers; those of a readout that begins in the centre of k-space to begin with it.

References
----------
.. [1] S. J. Vannesjo, M. Haeberlin, L. Kasper, M. Pavan, B. J. Wilm, C. Barmet, K. P. Pruessmann,
   "Gradient system characterization by impulse response measurements with a dynamic field camera",
   Magn. Reson. Med. 69, 583-593 (2013).
.. [2] A. E. Campbell-Washburn, H. Xue, R. J. Lederman, A. Z. Faranesh, M. S. Hansen, "Real-time
   distortion correction of spiral and echo planar images using the gradient system impulse response
   function", Magn. Reson. Med. 75, 2278-2285 (2016).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.moved import write_sample_phase, write_trajectory, writing_bytes
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import CalibrationArrays
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "girf"

_MEMORY = 2e-3
"""What gradients were longer ago does not count [s]."""
_IN_CENTRE = 1e-3
"""Of the largest |k|: a readout that begins nearer to the centre begins there."""
_SHORTEST, _LONGEST = 1e-7, 1e-3
"""Times between samples that can be right [s]."""
_TOGETHER = 2**18
"""Values that are filtered at one moment."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``measured`` or ``none``; see `pipeline.engine.chain.Step`."""
    if job.settings.calibration.girf is None:
        return NONE
    dwell = job.acquired.dwell_time
    if dwell is None:
        raise DataError(
            f"{job.dataset}: calibration.girf needs the time between samples, which the source "
            f"does not tell; set sources.{job.dataset}.dwell_time"
        )
    if job.acquired.samples < 2 or not _SHORTEST <= dwell <= _LONGEST:
        raise DataError(
            f"{job.dataset}: calibration.girf needs readouts of two samples or more that are "
            f"{_SHORTEST:g} to {_LONGEST:g} s apart; found {job.acquired.samples}, {dwell} s apart"
        )
    return "measured"


def needs(job: Calibrating) -> list[Need]:
    """Return what the response, and filtering some readouts at a time need."""
    return [
        Need(
            {
                "GIRF: response": 64 * 2**20,
                "GIRF: filtering": 16 * 12 * (_TOGETHER + 2 * job.acquired.samples),
                "GIRF: trajectory": writing_bytes(job.acquired),
            }
        )
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return nothing: a slab at a time needs little."""
    return []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the trajectory that the response makes of the nominal one, and samples' phases."""
    settings, dwell = job.settings.calibration.girf, raw.dwell_time
    assert settings is not None
    assert dwell is not None
    data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
    with receipt.phase("girf"):
        response = Response.read(Path(settings.file), settings.raster, job.dataset)
        axes = gradient_axes(raw.affine, len(raw.shape))
        scale = np.asarray(raw.voxel_size)
        most = 0.0

        def moved(k: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal most
            physical = (k / scale) @ axes.T
            found: NDArray[np.float32] = (response.moved(physical, dwell) @ axes * scale).astype(
                np.float32
            )
            most = max(most, float(np.abs(found - k).max()))
            return found

        if response.has_main_field:
            write_sample_phase(
                data,
                group,
                lambda k: -response.phase((k / scale) @ axes.T, dwell).astype(np.float32),
                job.dataset,
            )
        write_trajectory(data, group, moved, job.dataset)
    found = {"moved_by_at_most": round(most * max(raw.shape) / (2 * np.pi), 4)}
    receipt.record(girf_moved_by_cycles_per_fov=found["moved_by_at_most"])
    return found


def gradient_axes(affine: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Return unit vectors of the image axes along the gradients (x, y, z), ``(3, dimensions)``.

    Positions of an affine are in the order (z, y, x).
    """
    columns = affine[2::-1, 3 - dimensions : 3]
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


class Response:
    """A gradient impulse response function, as its Fourier transform.

    Parameters
    ----------
    values
        complex ``(3, 3 or 4, frequency)``: of a gradient along x, y, z what becomes along x, y, z,
        dimensionless; of four outputs the first is the main field [T per T/m]. Frequency 0 is at
        ``N // 2``.
    raster
        Of the impulse response [s]: frequencies reach to half its inverse.
    """

    def __init__(self, values: NDArray[np.complexfloating], raster: float) -> None:
        self._values = values
        count = values.shape[-1]
        self._frequencies = (np.arange(count) - count // 2) / (count * raster)
        self.has_main_field = values.shape[1] == 4

    @classmethod
    def read(cls, file: Path, raster: float, who: str) -> "Response":
        """Read a response from a ``.npy`` file; `DataError` if it is none."""
        try:
            values = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{who}: {file} is not readable as a NumPy array ({error})") from None
        fits = values.ndim == 3 and values.shape[0] == 3 and values.shape[1] in (3, 4)
        if not fits or not np.isfinite(values).all():
            raise DataError(
                f"{who}: {file} has the shape {values.shape}; a gradient impulse response has "
                "finite values [input x y z, output (main field) x y z, frequency]"
            )
        at_rest = values[:, -3:, values.shape[-1] // 2]
        if np.abs(at_rest - np.eye(3)).max() > 0.2:
            raise DataError(
                f"{who}: {file} does not leave a constant gradient about as it is (found "
                f"{np.round(at_rest, 2).tolist()}); is frequency 0 in the middle, and are the axes "
                "[input, output, frequency]?"
            )
        return cls(values, raster)

    def moved(self, k: NDArray[np.floating], dwell: float) -> NDArray[np.float64]:
        """Return trajectories ``[readout, sample, (x, y, z)]`` as gradients make them."""
        return self._filtered(k, dwell, self._values[:, -3:])

    def phase(self, k: NDArray[np.floating], dwell: float) -> NDArray[np.float64]:
        """Return the phase that the main field adds ``[readout, sample]`` [rad], for k in rad/m."""
        return self._filtered(k, dwell, self._values[:, :1])[..., 0]

    def _filtered(
        self, k: NDArray[np.floating], dwell: float, values: NDArray[np.complexfloating]
    ) -> NDArray[np.float64]:
        readouts, samples, _ = k.shape
        memory = math.ceil(_MEMORY / dwell)
        count = _smooth_length(samples + 6 * memory)
        frequencies = np.fft.rfftfreq(count, dwell)
        transfer = np.stack(
            [
                np.interp(frequencies, self._frequencies, part, right=0)
                for part in values.reshape(-1, values.shape[-1])
            ]
        ).reshape(*values.shape[:2], -1)
        found = np.empty((readouts, samples, values.shape[1]))
        together = max(1, _TOGETHER // (3 * count))
        for start in range(0, readouts, together):
            some = slice(start, start + together)
            whole = _continued(np.asarray(k[some], np.float64), memory, count)
            spectrum = np.einsum("rfi,iof->rfo", np.fft.rfft(whole, axis=1), transfer)
            response = np.fft.irfft(spectrum, count, axis=1)
            found[some] = response[:, 2 * memory : 2 * memory + samples]
        return found


def _continued(k: NDArray[np.float64], memory: int, count: int) -> NDArray[np.float64]:
    """Return periodic trajectories ``[readout, count, axis]`` that hold ``k`` from ``2 memory`` on.

    Gradients stay as they are at either end for ``memory`` samples and fall to nothing in as many;
    what remains is the way back, at a gradient that begins and ends at nothing.
    """
    samples = k.shape[1]
    fall = np.concatenate([np.ones(memory), 0.5 + 0.5 * np.cos(np.pi * np.arange(memory) / memory)])
    area = np.cumsum(fall)
    radius = np.linalg.norm(k, axis=-1)
    centre_out = radius[:, 0] <= _IN_CENTRE * radius.max(axis=1)
    before, after = k[:, 1] - k[:, 0], k[:, -1] - k[:, -2]
    before[centre_out] = 0
    whole = np.empty((len(k), count, k.shape[2]))
    whole[:, : 2 * memory] = k[:, :1] - area[::-1, None] * before[:, None]
    whole[:, 2 * memory : 2 * memory + samples] = k
    end = 4 * memory + samples
    whole[:, 2 * memory + samples : end] = k[:, -1:] + area[:, None] * after[:, None]
    way = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, count - end + 1) / (count - end + 1))
    first, last = whole[:, :1], whole[:, end - 1 : end]
    whole[:, end:] = last + way[:, None] * (first - last)
    return whole


def _smooth_length(least: int) -> int:
    """Return a length of at least ``least`` whose transform is fast."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(least, real=True))
