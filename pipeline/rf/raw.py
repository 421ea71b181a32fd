"""`raw.zarr` of radar and wireless imaging, read pair by pair or pulse by pulse.

Two layouts, told apart by the attribute ``layout``: **pairs**, arrays of transmitters and receivers
in which every transmitter is heard by every receiver, and **phase-history**, one antenna position a
pulse, anywhere (what its measurements mean stands in `pipeline.rf.geometry.antenna_paths`). Their
arrays are those of `pipeline.rf.arrays`.

Attributes: ``kind`` ("rf"), ``layout``, ``frames``, ``rows`` (of pairs the largest measurement at
one frequency), ``shape``, ``spacing`` [m], ``origin`` [m], ``range`` and ``speed`` [m/s] of the
scene (see `pipeline.rf.geometry.scene`) and their order, ``axes`` ("xyz"), ``coherent`` (whether
the phases of different pairs can be compared), ``model_error`` (relative error of stored factors,
or null), ``radar`` (frame and details of a `RadarCollection`, or null), ``antenna`` (settings of
path loss and pattern, or null), ``source``,
``provenance``, and in each group of a pair ``tx_grid`` and ``rx_grid``. Images are ``[z, y, x]``.
``y`` holds what the instruments of the pairs add; `calibrate` finds what is taken away.

``y`` is stored as it is, with a checksum, in chunks of one frame and one pair, or a range of its
frequencies or pulses. Missing chunks read as NaN and are therefore met at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import centred_affine
from pipeline.geometry.earth import EarthFrame
from pipeline.rf.arrays import BANDS, GAINS, PATHS
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antenna_pattern import AntennaPattern
from pipeline.rf.geometry.antennas import Pair, wavenumbers
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.radar import RadarCollection

if TYPE_CHECKING:
    import zarr

Layout = Literal["pairs", "phase-history"]

ALL = slice(None)


class RfRawData(Acquisition):
    """An ingested RF acquisition; see also `Acquisition`. Only a phase history has pulses."""

    kind = "rf"

    def __init__(self, group: "zarr.Group", marker: Path) -> None:
        super().__init__(group, marker)
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
                speed=attributes["speed"],
            )
            self.shape = self.scene.shape
            self.affine = centred_affine(self.shape[::-1], self.scene.spacing[::-1])
            self.affine[:3, 3] += self.scene.origin[::-1]
            self.coherent = bool(attributes.get("coherent", True))
            self.model_error: float | None = attributes.get("model_error")
            self._radar: dict[str, Any] | None = attributes.get("radar")
            antenna: dict[str, Any] = attributes.get("antenna") or {}
            self.path_loss = bool(antenna.get("path_loss"))
            self.pattern = AntennaPattern.of(antenna)
            self.frequencies: NDArray[np.float64] = np.asarray(self._stored["frequencies"][:])
            self.pairs = self.pulses = 0
            if self.layout == "phase-history":
                self.pulses = int(self._stored["y"].shape[1])
            else:
                self.pairs = int(attributes["pairs"])
                groups: list[Any] = [group[f"pair/{index}"].attrs for index in range(self.pairs)]
                self._grids: list[Any] = [
                    [tuple(own[name]) if name in own else None for name in ("tx_grid", "rx_grid")]
                    for own in groups
                ]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{marker}: its store is not a complete RF acquisition ({error!r}); "
                "run `ingest` again"
            ) from None

    @property
    def volume(self) -> tuple[int, int, int]:
        """The shape of an image as it is stored, ``(z, y, x)``."""
        return self.scene.volume

    def to_volumes(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return images ``[..., *shape]`` as they are stored, ``[..., z, y, x]``, not copied."""
        return self.scene.to_volumes(images)

    def from_volumes(self, volumes: NDArray[Any]) -> NDArray[Any]:
        """Return stored images ``[..., z, y, x]`` as the scene's, ``[..., *shape]``."""
        return self.scene.from_volumes(volumes)

    def measurement_shape(self, pair: int) -> tuple[int, ...]:
        """Return ``(m1, m2)`` or ``(m1, m2, m3)`` of a pair."""
        own = self._stored.get(f"pair/{pair}/y")
        return tuple(self._stored["y"].shape[3:] if own is None else own.shape[2:])

    def measurements(
        self, frame: int, pair: int, frequencies: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return what one pair measured, complex64 ``[freq, m1, m2(, m3)]``."""
        if "y" in self._stored:
            return self._read("y", (frame, pair, frequencies))
        return self._read(f"pair/{pair}/y", (frame, frequencies))

    def antennas(self, pair: int) -> Pair | None:
        """Return the antennas of a pair, without gains, or None where only factors are known."""
        tx, rx = (self._optional(f"pair/{pair}/{name}", ()) for name in ("tx", "rx"))
        if tx is None or rx is None:
            return None
        tx_grid, rx_grid = self._grids[pair]
        return Pair(tx, rx, tx_grid, rx_grid)

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

    def phase(self) -> NDArray[np.float64] | None:
        """Return the known phases of the pairs' clocks, float64 ``[frame, pair]`` [rad]."""
        return self._optional("phase", ())

    def delay(self) -> NDArray[np.float64] | None:
        """Return the known delays of the pairs' cables, float64 ``[pair]`` [s]."""
        return self._optional("delay", ())

    def gains(self, pair: int) -> dict[str, NDArray[np.complex128]]:
        """Return the known ``gain_tx`` and ``gain_rx`` of a pair, complex128 ``[element]``."""
        found = {name: self._optional(f"pair/{pair}/{name}", ()) for name in GAINS}
        return {name: gains for name, gains in found.items() if gains is not None}

    def noise_std(self) -> NDArray[np.float32] | None:
        """Return the standard deviation of each pair's complex noise, float32 ``[pair]``."""
        return self._optional("noise_std", ())

    def targets(self) -> NDArray[np.float64] | None:
        """Return where scatterers are known to be, float64 ``[target, 3]`` [m]."""
        return self._optional("targets", ())

    @property
    def radar(self) -> RadarCollection | None:
        """How a radar over the Earth collected a phase history, where the source tells it."""
        told = self._radar
        if told is None or "times" not in self._stored:
            return None
        paths = self.paths(0)
        k = wavenumbers(self.frequencies, self.scene.speed)[[0, -1]]
        own = paths.wavenumbers(k, self.scene.speed)
        vectors = own[..., None] * paths.gradients(self.scene.centre)[:, None]
        frequencies = own * self.scene.speed / (2 * np.pi)
        return RadarCollection(
            frame=EarthFrame.of(told["frame"]),
            details=told["details"],
            times=self._read("times", (0,)),
            transmitter=paths.transmitter,
            receiver=paths.receiver,
            frequencies=(float(frequencies.min()), float(frequencies.max())),
            band=np.stack([vectors.min(axis=(0, 1)), vectors.max(axis=(0, 1))]),
        )

    @property
    def exact_only(self) -> bool:
        """Whether only the model `exact` knows what the antennas do to amplitudes."""
        return self.path_loss or self.pattern is not None

    @property
    def own_paths(self) -> bool:
        """Whether each frame of a phase history has antenna paths, or bands, of its own."""
        return any(self._of_frame(name, 1) for name in (*PATHS, *BANDS) if name in self.arrays)

    def paths(self, frame: int, pulses: slice = ALL) -> AntennaPaths:
        """Return where the antennas of a phase history were, of some or all pulses."""
        found = (name for name in (*PATHS, *BANDS) if name in self.arrays)
        return AntennaPaths(
            **{name: self._read(name, (self._of_frame(name, frame), pulses)) for name in found}
        )

    def pulse_measurements(
        self, frame: int, pulses: slice = ALL, frequencies: slice = ALL
    ) -> NDArray[np.complex64]:
        """Return what pulses of a phase history measured, complex64 ``[pulse, freq]``."""
        return self._read("y", (frame, pulses, frequencies))

    def target_measurements(self, frame: int, pulses: slice = ALL) -> NDArray[np.complex64]:
        """Return what pulses measured of the reference target, complex64 ``[pulse, freq]``."""
        if "y_target" not in self.arrays:
            return self.pulse_measurements(frame, pulses)
        return self._read("y_target", (self._of_frame("y_target", frame), pulses))

    def _per_axis(
        self, letter: str, pair: int, frequencies: slice
    ) -> tuple[NDArray[Any], ...] | None:
        if not self._has(letter, pair):
            return None
        return tuple(self._read(path, (frequencies,)) for path in self._paths(letter, pair))

    def _has(self, letter: str, pair: int) -> bool:
        return all(path in self._stored for path in self._paths(letter, pair))

    def _paths(self, letter: str, pair: int) -> list[str]:
        return [f"pair/{pair}/{letter}{axis + 1}" for axis in range(len(self.shape))]


def open_group(group: "zarr.Group", marker: Path) -> RfRawData:
    """Return the acquisition of an open store; see `pipeline.kinds.open_raw`."""
    return RfRawData(group, marker)
