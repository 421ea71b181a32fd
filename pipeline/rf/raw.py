"""`raw.zarr` of radar and wireless imaging.

Two layouts, told apart by the attribute ``layout``. **pairs**: arrays of transmitters and receivers
in which every transmitter is heard by every receiver.

=========================  ==========  ==================================================
array                      dtype       axes
=========================  ==========  ==================================================
frequencies                float64     freq                                         [Hz]
y                          complex64   frame, pair, freq, m1, m2 (, m3)
pair/<p>/y                 complex64   frame, freq, m1, m2 (, m3); instead of ``y`` where
                                       pairs differ in size
pair/<p>/tx, rx            float64     element, 3                                    [m]
pair/<p>/A1, A2, A3        complex64   freq, m_i, n_i; in place of positions
pair/<p>/kappa1, 2, 3      float64     freq, m_i; in place of factors            [rad/m]
pair/<p>/rowphase1, 2, 3   float64     freq, m_i; of the plane waves ``kappa``     [rad]
weights (optional)         complex128  pair, freq: path loss, gain and carrier phase
noise_std (optional)       float32     pair, in units of ``y``
reference (optional)       complex64   frame or 1, and the image as a volume
targets (optional)         float64     target, 3: where scatterers are known to be   [m]
=========================  ==========  ==================================================

**phase-history**: one antenna position a pulse, anywhere; what the measurements mean stands in
`pipeline.rf.geometry.antenna_paths`. In place of the pairs' arrays it has

=========================  ==========  ==================================================
y                          complex64   frame, pulse, freq
transmitter, receiver      float64     frame or 1, pulse, 3                          [m]
reference_path             float64     frame or 1, pulse                             [m]
=========================  ==========  ==================================================

Attributes: ``kind`` ("rf"), ``layout``, ``frames``, ``rows`` (of pairs the largest measurement at
one frequency), ``shape``, ``spacing`` [m], ``origin`` [m] and ``range`` of the scene (see
`pipeline.rf.geometry.scene`), ``coherent`` (whether the phases of different pairs can be compared),
``model_error`` (relative error of stored factors, or null), ``source``, ``provenance``, and in each
group of a pair ``tx_grid`` and ``rx_grid``. An image as a volume is ``(n1, n2, n3)``, or ``(1, n1,
n2)``. What the instruments of the pairs add has been taken away; the provenance says what it was.

``y`` is stored as it is, with a checksum, in chunks of one frame and one pair, or a range of its
frequencies or pulses. Missing chunks read as NaN and are therefore met at once.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.chunks import centred_affine
from pipeline.storage.publish import open_published
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

Layout = Literal["pairs", "phase-history"]

ALL = slice(None)

AXES: Mapping[str, tuple[str, ...]] = {
    "weights": ("pair", "freq"),
    "noise_std": ("pair",),
    "reference": ("frame", "z", "y", "x"),
    "targets": ("target", "coordinate"),
}
"""Axes of the optional arrays of a dataset."""

PAIR_AXES: Mapping[str, tuple[str, ...]] = {
    **{f"A{axis}": ("freq", f"m{axis}", f"n{axis}") for axis in (1, 2, 3)},
    **{f"kappa{axis}": ("freq", f"m{axis}") for axis in (1, 2, 3)},
    **{f"rowphase{axis}": ("freq", f"m{axis}") for axis in (1, 2, 3)},
}
"""Axes of the optional arrays of a pair."""

PATH_AXES: Mapping[str, tuple[str, ...]] = {
    "transmitter": ("frame", "pulse", "coordinate"),
    "receiver": ("frame", "pulse", "coordinate"),
    "reference_path": ("frame", "pulse"),
}
"""Axes of the arrays that place the pulses of a phase history."""


class RfRawData:
    """An ingested RF acquisition, read pair by pair or pulse by pulse.

    Attributes
    ----------
    marker : Path
        JSON marker of the store.
    layout : {"pairs", "phase-history"}
        How the measurements are arranged; decides which methods apply.
    scene : Scene
        Grid of the image.
    frequencies : ndarray
        float64 ``[freq]`` [Hz].
    frames, pairs, pulses : int
        Sizes; a phase history has no pairs, and only it has pulses.
    coherent : bool
        Whether the phases of different pairs can be compared.
    model_error : float or None
        Relative error of stored factors, where their source knows it.
    arrays : set of str
        Names of the dataset's arrays that are there.
    """

    kind = "rf"

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        self.marker = marker
        self._group = group
        self._stored: dict[str, Any] = dict(group.arrays())
        self.arrays: Set[str] = set(self._stored)
        attributes: dict[str, Any] = dict(group.attrs)
        try:
            if attributes["kind"] != "rf":
                raise DataError(
                    f"{marker}: its store has kind = {attributes['kind']!r}; expected 'rf'"
                )
            self.layout: Layout = attributes["layout"]
            self.frames = int(attributes["frames"])
            self.scene = Scene(
                shape=tuple(attributes["shape"]),
                spacing=tuple(attributes["spacing"]),
                origin=tuple(attributes["origin"]),
                range=attributes.get("range"),
            )
            self.coherent = bool(attributes.get("coherent", True))
            self.model_error: float | None = attributes.get("model_error")
            self.frequencies: NDArray[np.float64] = np.asarray(self._stored["frequencies"][:])
            self.pulses = 0
            self._pairs: list[dict[str, Any]] = []
            if self.layout == "phase-history":
                self.pulses = int(self._stored["y"].shape[1])
            else:
                folder = group["pair"]
                self._grids = []
                for index in range(int(attributes["pairs"])):
                    pair: Any = folder[str(index)]  # type: ignore[index]
                    self._pairs.append(dict(pair.arrays()))
                    self._grids.append((pair.attrs.get("tx_grid"), pair.attrs.get("rx_grid")))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{marker}: its store is not a complete RF acquisition ({error!r}); "
                "run `ingest` again"
            ) from None
        self.pairs = len(self._pairs)

    @classmethod
    def open(cls, marker: Path) -> Self:
        """Open the acquisition that ``marker`` stands for.

        Raises
        ------
        DataError
            If marker or store is missing or incomplete, or they do not belong together.
        """
        return cls(open_published(marker), marker)

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""
        return self.scene.shape

    @property
    def voxel_size(self) -> tuple[float, ...]:
        """Spacing of the scene, per image axis [m]."""
        return self.scene.spacing

    @property
    def affine(self) -> NDArray[np.float64]:
        """float64 ``(4, 4)``: from the index of a voxel in the volume to its position [m].

        A scene of two axes lies in the volume as ``(1, n1, n2)``, so its position is
        ``(x3, x1, x2)``.
        """
        affine = centred_affine(self.scene.shape, self.scene.spacing)
        affine[:3, 3] += np.roll(self.scene.origin, 1 if len(self.shape) == 2 else 0)
        return affine

    def measurement_shape(self, pair: int) -> tuple[int, ...]:
        """Return ``(m1, m2)`` or ``(m1, m2, m3)`` of a pair."""
        stored = self._pairs[pair].get("y")
        return tuple(self._stored["y"].shape[3:] if stored is None else stored.shape[2:])

    def measurements(
        self, frame: int, pair: int, frequencies: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return what one pair measured, complex64 ``[freq, m1, m2(, m3)]``."""
        stored = self._pairs[pair].get("y")
        if stored is None:
            return self._read(self._stored["y"], (frame, pair, frequencies))
        return self._read(stored, (frame, frequencies))

    def antennas(self, pair: int) -> Pair | None:
        """Return the antennas of a pair, without gains, or None where only factors are known."""
        stored = self._pairs[pair]
        if "tx" not in stored or "rx" not in stored:
            return None
        tx_grid, rx_grid = (None if grid is None else tuple(grid) for grid in self._grids[pair])
        return Pair(self._read(stored["tx"], ()), self._read(stored["rx"], ()), tx_grid, rx_grid)

    def has_factors(self, pair: int) -> bool:
        """Tell whether the Kronecker factors of a pair are stored."""
        return self._has("A", pair)

    def has_wave_vectors(self, pair: int) -> bool:
        """Tell whether the plane waves of a pair are stored."""
        return self._has("kappa", pair)

    def factors(
        self, pair: int, frequencies: slice = ALL
    ) -> tuple[NDArray[np.complex64], ...] | None:
        """Return the stored Kronecker factors of a pair, complex64 ``[freq, m_i, n_i]`` each."""
        return self._per_axis("A", pair, frequencies)

    def wave_vectors(
        self, pair: int, frequencies: slice = ALL
    ) -> tuple[NDArray[np.float64], ...] | None:
        """Return the stored plane waves of a pair, float64 ``[freq, m_i]`` each [rad/m].

        The factor of axis i is ``exp(-j kappa_i x_i + j rowphase_i)``, ``x_i`` from the scene's
        origin.
        """
        return self._per_axis("kappa", pair, frequencies)

    def row_phases(
        self, pair: int, frequencies: slice = ALL
    ) -> tuple[NDArray[np.float64], ...] | None:
        """Return the stored phases of the rows of plane waves, float64 ``[freq, m_i]`` [rad]."""
        return self._per_axis("rowphase", pair, frequencies)

    def weights(self, pair: int, frequencies: slice = ALL) -> NDArray[np.complex128] | None:
        """Return path loss, gain and carrier phase of a pair, complex128 ``[freq]``."""
        return self._optional("weights", (pair, frequencies))

    def noise_std(self) -> NDArray[np.float32] | None:
        """Return the standard deviation of each pair's complex noise, float32 ``[pair]``."""
        return self._optional("noise_std", ())

    def targets(self) -> NDArray[np.float64] | None:
        """Return where scatterers are known to be, float64 ``[target, 3]`` [m]."""
        return self._optional("targets", ())

    def reference(self, frames: slice = ALL) -> NDArray[np.complex64] | None:
        """Return the true image, complex64 ``[frame, z, y, x]``; repeated if frames share it."""
        if "reference" not in self.arrays:
            return None
        if self._stored["reference"].shape[0] == self.frames:
            return self._read(self._stored["reference"], (frames,))
        shared = self._read(self._stored["reference"], (0,))
        wanted = len(range(*frames.indices(self.frames)))
        return np.broadcast_to(shared, (wanted, *shared.shape))

    @property
    def own_paths(self) -> bool:
        """Whether each frame of a phase history has antenna positions of its own."""
        return bool(self._stored["reference_path"].shape[0] > 1)

    def paths(self, frame: int, pulses: slice = ALL) -> AntennaPaths:
        """Return where the antennas of a phase history were, of some or all pulses."""
        selection = (frame if self.own_paths else 0, pulses)
        return AntennaPaths(*(self._read(self._stored[name], selection) for name in PATH_AXES))

    def pulse_measurements(
        self, frame: int, pulses: slice = ALL, frequencies: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return what pulses of a phase history measured, complex64 ``[pulse, freq]``."""
        return self._read(self._stored["y"], (frame, pulses, frequencies))

    def _per_axis(
        self, letter: str, pair: int, frequencies: slice
    ) -> tuple[NDArray[Any], ...] | None:
        if not self._has(letter, pair):
            return None
        stored = self._pairs[pair]
        return tuple(self._read(stored[name], (frequencies,)) for name in self._names(letter))

    def _has(self, letter: str, pair: int) -> bool:
        return all(name in self._pairs[pair] for name in self._names(letter))

    def _names(self, letter: str) -> list[str]:
        return [f"{letter}{axis + 1}" for axis in range(len(self.shape))]

    def _optional(self, name: str, selection: tuple[int | slice, ...]) -> NDArray[Any] | None:
        return self._read(self._stored[name], selection) if name in self.arrays else None

    def _read(self, stored: "zarr.Array[Any]", selection: tuple[int | slice, ...]) -> NDArray[Any]:
        who = f"{self.marker}: `{stored.path}` {selection}"
        try:
            values = np.asarray(stored[selection])
        except DAMAGE as error:
            raise DataError(f"{who} is not readable ({error}); {remake(self.marker)}") from None
        # NaN survives a sum, which is cheaper than looking at each value.
        if np.isnan(values.sum(dtype=np.promote_types(values.dtype, np.float64))):
            raise DataError(f"{who} has missing chunks; {remake(self.marker)}")
        return values


def open_group(group: "zarr.Group", marker: Path) -> RfRawData:
    """Return the acquisition of an open store; see `pipeline.kinds.open_raw`."""
    return RfRawData(group, marker)
