"""`raw.zarr` of MRI: one acquisition in the project's own layout, read piece by piece.

Its arrays are those of `pipeline.mri.arrays`. Attributes: ``kind`` ("mri"), ``shape`` (image
matrix, ``(y, x)`` or ``(z, y, x)``), ``voxel_size`` (per image axis [m]), ``affine`` (4 x 4, from
voxel index ``(z, y, x)`` to position [m]), ``oriented`` (whether positions are along superior,
anterior, right of the patient, rather than along the axes of the image), ``frame_duration`` (from
the start of a frame to that of the next [s], or null), ``slices`` (parallel ones, whose frames
stand one slice after another), ``header`` (of an ISMRMRD source: XML, else null), ``source`` and
``provenance``, ``pattern`` (of what kind the readouts are, see
`pipeline.mri.readouts.sampling_pattern`), and where they are known the times between samples,
``dwell_time`` and that of the noise, ``noise_dwell_time``, and the time of the first sample of each
readout, ``first_sample_time`` [s].

Measurements do not compress, so they are stored as they are, with a checksum. Missing chunks read
as NaN and are therefore met at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.mri.readouts import Pattern
from pipeline.storage.acquisition import Acquisition

if TYPE_CHECKING:
    import zarr

ALL = slice(None)


class RawData(Acquisition):
    """An ingested acquisition; see also `Acquisition`.

    Each frame may have a trajectory, times and density weights of its own. ``pattern`` is of what
    kind the readouts are; None where nobody has looked.
    """

    kind = "mri"

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        super().__init__(group, marker)
        attributes: dict[str, Any] = dict(group.attrs)
        try:
            self.shape = tuple(int(size) for size in attributes["shape"])
            self.voxel_size = tuple(float(size) for size in attributes["voxel_size"])
            self.affine = np.asarray(attributes["affine"], dtype=np.float64)
            self.oriented = bool(attributes.get("oriented", False))
            self.header = attributes.get("header")
            self.slices = int(attributes.get("slices", 1))
            duration = attributes.get("frame_duration")
            self.frame_duration = None if duration is None else float(duration)
            self.frames, self.coils, self.readouts, self.samples = self._stored["kspace"].shape
            self.own_trajectory = self._stored["trajectory"].shape[0] > 1
            self.own_weights = "weights" in self.arrays and self._stored["weights"].shape[0] > 1
            maps = self._stored["sensitivities"].shape[4:] if "sensitivities" in self.arrays else ()
            self.map_sets = int(maps[0]) if maps else 1
            self.own_times = "times" in self.arrays and self._stored["times"].shape[0] > 1
            self.pattern: Pattern | None = attributes.get("pattern")
            self.dwell_time: float | None = attributes.get("dwell_time")
            self.noise_dwell_time: float | None = attributes.get("noise_dwell_time")
            self.first_sample_time: float = attributes.get("first_sample_time", 0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{marker}: its store is not a complete acquisition ({error!r}); run `ingest` again"
            ) from None

    def kspace(
        self, frame: int, coils: slice = ALL, readouts: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return samples of one frame, complex64 ``[coil, readout, sample]``."""
        return self._read("kspace", (frame, coils, readouts))

    def read_kspace(
        self, out: NDArray[np.complex64], frame: int, coils: slice, readouts: slice
    ) -> None:
        """Write samples of one frame into ``out``, complex64 ``[coil, sample]``, coil by coil.

        Samples of readouts stand one after the other.
        """
        for row, coil in zip(out, range(*coils.indices(self.coils)), strict=True):
            row[:] = self._read("kspace", (frame, coil, readouts)).ravel()

    def trajectory(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32]:
        """Return the trajectory of one frame, float32 ``[readout, sample, axis]`` [rad/voxel].

        Within ``[-pi, pi)`` up to the rounding of pi to single precision.
        """
        return self._read("trajectory", (self._of_frame("trajectory", frame), readouts))

    def cycles(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32]:
        """Return the trajectory of one frame in Cartesian samples [cycles per field of view]."""
        per_voxel = np.asarray(self.shape, np.float32) / np.float32(2 * np.pi)
        return self.trajectory(frame, readouts) * per_voxel

    def readouts_of(self, frame: int) -> "StoredReadouts":
        """Return the trajectory of one frame, to be read some readouts at a time."""
        return StoredReadouts(self, frame)

    def weights(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32] | None:
        """Return the source's density weights of one frame, float32 ``[readout, sample]``."""
        if "weights" not in self.arrays:
            return None
        return self._read("weights", (self._of_frame("weights", frame), readouts))

    def times(self, frame: int, readouts: slice = ALL) -> NDArray[np.floating]:
        """Return when samples of one frame were taken [s], ``[readout, sample]``.

        Where only the time between samples is known, those of all readouts are the same.
        """
        if "times" in self.arrays:
            return self._read("times", (self._of_frame("times", frame), readouts))
        if self.dwell_time is None:
            raise DataError(f"{self.marker}: tells no times of samples; run `ingest` again")
        times = self.first_sample_time + self.dwell_time * np.arange(self.samples)
        count = len(range(*readouts.indices(self.readouts)))
        return np.broadcast_to(times, (count, self.samples))

    def signals(self) -> dict[str, NDArray[Any]]:
        """Return what the source tells of signals over a series, by name.

        ``basis``, complex64 ``[frame, coefficient]``; ``dictionary``, complex64 ``[entry, frame]``,
        and ``parameters``, float32 ``[entry, parameter]``.
        """
        names = ("basis", "dictionary", "parameters")
        return {name: self._read(name, ()) for name in names if name in self.arrays}

    def field_map(self, planes: slice = ALL) -> NDArray[np.float32] | None:
        """Return the source's off-resonance [Hz], float32 ``[frame or 1, z, y, x]``."""
        return self._optional("field_map", (ALL, planes))

    def relaxation(self, planes: slice = ALL) -> NDArray[np.float32] | None:
        """Return the source's R2* [1/s], float32 ``[frame or 1, z, y, x]``."""
        return self._optional("relaxation", (ALL, planes))

    def noise(self) -> NDArray[np.complex64] | None:
        """Return the noise measured without signal, complex64 ``[coil, sample]``.

        Scaled to the bandwidth of the measurement where the store tells both: the power of white
        noise is inverse to the time that a sample is collected for.
        """
        noise: NDArray[np.complex64] | None = self._optional("noise", ())
        if noise is None or not (self.dwell_time and self.noise_dwell_time):
            return noise
        return noise * np.float32(np.sqrt(self.noise_dwell_time / self.dwell_time))

    def sensitivities(
        self, coils: slice = ALL, planes: slice = ALL, number: int = 0
    ) -> NDArray[np.complex64] | None:
        """Return a set of the source's maps, complex64 ``[coil, z, y, x]``; 2D maps have z = 1."""
        of_set = (number,) if self.map_sets > 1 else ()
        return self._optional("sensitivities", (coils, planes, ALL, ALL, *of_set))


def open_group(group: "zarr.Group", marker: Path) -> RawData:
    """Return the acquisition of an open store; see `pipeline.kinds.open_raw`."""
    return RawData(group, marker)


class StoredReadouts:
    """The trajectory of one frame on disk, ``[readout, sample, axis]`` [rad/voxel]."""

    def __init__(self, raw: RawData, frame: int) -> None:
        self._raw, self._frame = raw, frame
        self.shape = (raw.readouts, raw.samples, len(raw.shape))

    def __getitem__(self, readouts: slice) -> NDArray[np.float32]:
        return self._raw.trajectory(self._frame, readouts)
