"""`calibration.zarr`: what was estimated or copied before reconstruction.

======================  =========  =========================================
array                   dtype      axes
======================  =========  =========================================
sensitivities (opt.)    complex64  (set,) virtual coil, z (2D: slice), y, x
weights (optional)      float32    frame or 1, readout, sample (MRI)
                                   frame or 1, pulse, freq (phase histories)
whitening (MRI, opt.)   complex64  coil, coil
compression (opt.)      complex64  (voxel along readouts,) virtual coil, coil
trajectory (MRI, opt.)  float32    frame or 1, readout, sample, axis [rad/voxel]
sample_phase (optional) float32    frame or 1, readout, sample     [rad] (MRI)
noise_level (MRI)       float32    virtual coil: deviation of a complex sample
off_resonance/          MRI, optional: the signal's factors of time and voxel
  field_map             float32    z, y, x                              [Hz]
  relaxation            float32    z, y, x                             [1/s]
  extent                float64    limit: times of first and last sample [s]
  samples/times         float64    segment                               [s]
  samples/table         complex64  row (time), segment
  normal/times, table              the same of the normal operator; float32
bins (MRI, optional)    float32    bin, frame, readout: what each counts there
navigator/signal        float32    frame, readout (MRI, optional)
navigator/spectrum      float64    quantity, frequency: [Hz]; amplitude
navigator/heart/...     the same two, of the heart (MRI, optional)
spectrum (MRI, opt.)    float64    quantity, shell of k-space: radius [rad/m];
                                   power of signal and noise of a sample, sums
                                   over coils; what weights make of noise
phase (RF pairs, opt.)  float64    frame, pair: of the clocks          [rad]
delay (RF pairs, opt.)  float64    pair: of the cables                   [s]
pair/<p>/gain_tx, rx    complex128 element (RF pairs, optional)
======================  =========  =========================================

Virtual coils are the coils where there is neither whitening nor compression. Attributes:
``coil_maps``, ``density``, ``noise`` and ``whitening`` (the methods used), ``bins`` (of each axis
of them), ``model_errors``,
``instruments``, ``corrections`` and ``coherent`` (RF; whether phases of pairs can be compared once
what instruments add is taken away), and the ``settings``. Weights of MRI are in image units, see
`pipeline.mri.calibration.density`; those of phase histories have the mean 1.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.storage.acquisition import ALL, StoredArrays
from pipeline.storage.chunks import image_chunks, image_codecs

if TYPE_CHECKING:
    import zarr

# Maps are written plane by plane for all coils at once, so the chunks of one coil are small.
MAP_BYTES = 2 * 2**20
"""Size of the chunks of coil maps [byte]."""


def map_chunks(volume: Sequence[int]) -> tuple[int, ...]:
    """Return the chunk ``(z, y, x)`` of the map of one coil."""
    return image_chunks(volume, 8, target_bytes=MAP_BYTES)


def create_sensitivities(
    group: "zarr.Group", shape: tuple[int, ...], *, apart: bool = False
) -> "zarr.Array[Any]":
    """Create the empty array of coil maps, ``[coil, z, y, x]``, or of several sets of them.

    With planes ``apart``, each is in chunks of its own.
    """
    *before, depth, rows, columns = shape
    return group.create_array(
        "sensitivities",
        shape=shape,
        dtype="complex64",
        chunks=(*(1 for _ in before), *map_chunks((1 if apart else depth, rows, columns))),
        dimension_names=("set", "coil", "z", "y", "x")[-len(shape) :],
        compressors=image_codecs(np.dtype("complex64")),
    )


def create_weights(
    group: "zarr.Group",
    shape: tuple[int, int, int],
    axes: tuple[str, str, str] = ("frame", "readout", "sample"),
) -> "zarr.Array[Any]":
    """Create the empty array of density weights, ``[frame or 1, readout, sample]``."""
    return create_samples(group, "weights", shape, axes)


def create_samples(
    group: "zarr.Group",
    name: str,
    shape: tuple[int, ...],
    axes: tuple[str, ...] = ("frame", "readout", "sample", "axis"),
) -> "zarr.Array[Any]":
    """Create an empty float32 array ``[frame or 1, readout, sample(, axis)]``."""
    last = shape[3:]
    return group.create_array(
        name,
        shape=shape,
        dtype="float32",
        chunks=(1, *image_chunks(shape[1:3], 4 * math.prod(last)), *last),
        dimension_names=axes[: len(shape)],
        compressors=image_codecs(np.dtype("float32")),
    )


def create_map(group: "zarr.Group", path: str, volume: Sequence[int]) -> "zarr.Array[Any]":
    """Create an empty array of one real number for each voxel, ``[z, y, x]``."""
    return group.create_array(
        path,
        shape=tuple(volume),
        dtype="float32",
        chunks=image_chunks(volume, 4),
        dimension_names=("z", "y", "x"),
        compressors=image_codecs(np.dtype("float32")),
    )


def store_array(
    group: "zarr.Group", path: str, values: NDArray[Any], axes: tuple[str, ...]
) -> None:
    """Store a small array whole."""
    group.create_array(
        path, data=values, dimension_names=axes, compressors=image_codecs(values.dtype)
    )


class CalibrationArrays(StoredArrays):
    """The arrays of a calibration, read piece by piece, also while steps add to them."""

    def sensitivities(
        self, coils: slice = ALL, planes: slice = ALL, number: int = 0
    ) -> NDArray[np.complex64] | None:
        """Return a set of coil maps on the dataset's matrix, complex64 ``[coil, z, y, x]``."""
        of_set = (number,) if self.map_sets > 1 else ()
        return self._optional("sensitivities", (*of_set, coils, planes))

    @property
    def map_sets(self) -> int:
        """Sets of coil maps: several where as many places may fall on a voxel."""
        if "sensitivities" not in self.arrays:
            return 1
        *sets, _, _, _, _ = self._stored["sensitivities"].shape
        return int(sets[0]) if sets else 1

    @property
    def map_planes(self) -> int:
        """Planes of the coil maps: of a 2D acquisition one, or one for each slice."""
        return int(self._stored["sensitivities"].shape[-3])

    @property
    def own_weights(self) -> bool:
        """Whether each frame has density weights of its own."""
        return "weights" in self.arrays and self._stored["weights"].shape[0] > 1

    def weights(
        self, frame: int, readouts: slice = ALL, samples: slice = ALL
    ) -> NDArray[np.float32] | None:
        """Return density weights of one frame, float32 ``[readout, sample]``.

        Of a phase history, pulses stand for readouts and frequencies for samples.
        """
        if "weights" not in self.arrays:
            return None
        return self._read("weights", (self._of_frame("weights", frame), readouts, samples))

    def mixing(self) -> NDArray[np.complex64] | None:
        """Return what virtual coils are made of, complex64 ``[virtual coil, coil]``.

        Whitening first, then compression; None where coils stay as they are. Of geometric
        compression ``[voxel, virtual coil, coil]``, for each voxel along the readouts.
        """
        found = [
            self._read(name, ()) for name in ("compression", "whitening") if name in self.arrays
        ]
        if not found:
            return None
        return np.ascontiguousarray(found[0] if len(found) == 1 else found[0] @ found[1])

    def trajectory(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32] | None:
        """Return the corrected trajectory of a frame, float32 ``[readout, sample, axis]``.

        [rad/voxel]; None where it is the acquired one.
        """
        return self._optional_of_frame("trajectory", frame, readouts)

    def phase(self, frame: int, readouts: slice = ALL) -> NDArray[np.float32] | None:
        """Return what eddy currents add to the phase of samples, ``[readout, sample]`` [rad]."""
        return self._optional_of_frame("sample_phase", frame, readouts)

    def _optional_of_frame(self, name: str, frame: int, readouts: slice) -> NDArray[Any] | None:
        if name not in self.arrays:
            return None
        return self._read(name, (self._of_frame(name, frame), readouts))

    @property
    def bins(self) -> int:
        """Number of bins that readouts are sorted into; 0 where they are not."""
        return int(self._stored["bins"].shape[0]) if "bins" in self.arrays else 0

    def bin(self, number: int) -> NDArray[np.float32]:
        """Return what each readout counts in a bin, float32 ``[frame, readout]``."""
        return self._read("bins", (number,))

    def noise_level(self) -> NDArray[np.float32] | None:
        """Return the standard deviation of a complex sample, float32 ``[coil]``.

        0 where a coil measured nothing. ``noise`` says how it is known: ``measured`` without
        signal, of a ``region`` of the measurement, or ``estimated`` from all samples.
        """
        return self._optional("noise_level", ())

    def array(self, path: str) -> NDArray[Any] | None:
        """Return a small array whole; None where there is none."""
        return self._optional(path, ())


class Calibration(CalibrationArrays):
    """A calibration on disk, read piece by piece; attributes as of the store."""

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        super().__init__(group, marker)
        self.noise: str | None = group.attrs.get("noise")  # type: ignore[assignment]
        self.whitening: str | None = group.attrs.get("whitening")  # type: ignore[assignment]
        self.settings: Any = group.attrs.get("settings", {})
        axes: Any = group.attrs.get("bins", [])
        self.bin_axes = tuple(int(size) for size in axes)
        self.coherent = bool(group.attrs.get("coherent", True))
        try:
            self.coil_maps = str(group.attrs["coil_maps"])
            self.density = str(group.attrs["density"])
            measured: Any = group.attrs.get("model_errors", {})
            self.model_errors = {str(level): float(error) for level, error in measured.items()}
        except KeyError as error:
            raise DataError(
                f"{marker}: its store says nothing about {error}; run `calibrate` again"
            ) from None
