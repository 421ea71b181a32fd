"""RF data in Zarr: the project's own `raw.zarr`, and stores of the same layout by other programs.

Beside what `pipeline.rf.arrays` says, these may hold the scene's attributes in a group ``scene``
(``shape``, ``spacing_m``, ``origin_m``, ``time_sign``), the true image as ``truth`` ``[frame, x,
y]`` or with z, positions as ``tx_pos`` and ``rx_pos``, factors as ``kappa1`` [rad/m] and
``rowphase1`` (complex, or a phase [rad]), and what the instruments add as ``calib/phase``,
``calib/delay``, ``calib/gain_tx`` and ``calib/gain_rx``. With the attribute ``time_sign`` of -1 or
``"-"`` all complex numbers are conjugated.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.lazy import LazyArray, describe_files, elementwise
from pipeline.formats.zarr_arrays import ZarrArray, opened_zarr, understood, zarr_source
from pipeline.rf.arrays import CLOCKS, GAINS, MEASURED_PULSES, OF_PULSES, PATHS, SHARED
from pipeline.rf.formats.acquisition import RfAcquisition, resident
from pipeline.rf.formats.layout import factors_of, without_last
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene

if TYPE_CHECKING:
    import zarr

_OTHER_NAMES = {"tx_pos": "tx", "rx_pos": "rx"}
_TIME_SIGNS = {1: 1, -1: -1, "+": 1, "-": -1, "+1": 1, "-1": -1, "+j": 1, "-j": -1}


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
    """Open a Zarr store of RF data.

    The source is the store (a folder, or a zip file of one) or the JSON marker beside it.
    """
    source = zarr_source(settings, dataset)
    with ExitStack() as stack:
        with understood(f"{dataset}: {source}"):
            group = stack.enter_context(opened_zarr(source))
            content = _Store(group, source, budget, f"{dataset}: {source}")
            acquisition = content.pairs() if "pair" in group else content.pulses()
        yield acquisition


class _Store:
    """One store, its scene and its arrays by our names."""

    def __init__(self, group: "zarr.Group", source: Path, budget: Budget, who: str) -> None:
        self.who = who
        self._budget = budget
        self._path = source
        self._group = group
        self._attributes: dict[str, Any] = dict(group.attrs)
        if "scene" in group:
            self._attributes |= dict(self._part(group, "scene").attrs)
        if self._attributes.get("kind", "rf") != "rf":
            raise DataError(
                f"{who} has the attribute kind = {self._attributes['kind']!r}; expected 'rf'"
            )
        self.arrays = self._lazy(group)
        if "calib" in group:
            self.arrays |= self._lazy(self._part(group, "calib"))
        self.scene = self._scene()
        sign = self._attributes.get("time_sign", 1)
        if sign not in _TIME_SIGNS:
            raise DataError(f"{who}: time_sign is {sign!r}; expected +1 or -1, as in exp(+j w t)")
        self._conjugated = _TIME_SIGNS[sign] < 0
        self.frequencies = np.asarray(self._whole(self.arrays, "frequencies"), np.float64)
        self.provenance = {
            "format": "native",
            "files": [] if source.is_dir() else describe_files([source]),
            "source": self._attributes.get("source"),
            "provenance": self._attributes.get("provenance"),
        }

    def _model_error(self) -> float | None:
        error = self._attributes.get("model_error")
        if error is None or (isinstance(error, int | float) and 0 <= error < math.inf):
            return error
        raise DataError(f"{self.who}: model_error is {error!r}; expected a number, 0 or more")

    def _part(self, group: Any, name: str) -> Any:
        """Return a group in another one."""
        part = group[name]
        if not hasattr(part, "arrays"):
            raise DataError(f"{self.who}: `{part.path}` is an array; expected a group")
        return part

    def pulses(self) -> RfAcquisition:
        """Return a phase history, frame by frame."""
        names = [name for name in MEASURED_PULSES if name == "y" or name in self.arrays]
        measured = {name: self._measured(self.arrays, name) for name in names}
        positions = {name: self._whole(self.arrays, name) for name in PATHS}
        positions |= {
            name: self._whole(self.arrays, name) for name in OF_PULSES if name in self.arrays
        }
        return self._acquisition({**measured, **resident(positions)}, ())

    def pairs(self) -> RfAcquisition:
        """Return pairs of antenna arrays."""
        folder = self._part(self._group, "pair")
        found = set(folder.group_keys())
        names = [str(index) for index in range(len(found))]
        if found != set(names) or not names:
            raise DataError(
                f"{self.who}: `pair` holds {', '.join(sorted(found)) or 'nothing'}; expected 0, 1, "
                "2 ..."
            )
        clocks = {name: self._whole(self.arrays, name) for name in CLOCKS if name in self.arrays}
        if self._conjugated and "phase" in clocks:
            clocks["phase"] = -clocks["phase"]
        arrays = resident(clocks)
        if "y" in self.arrays:
            measured = self._measured(self.arrays)
            if measured.shape[1] != len(names):
                raise DataError(
                    f"{self.who}: `y` of shape {measured.shape} has {measured.shape[1]} pairs, but "
                    f"there are positions or factors of {len(names)}"
                )
            several = len(measured.shape) == 6 and measured.shape[-1] == 1
            arrays["y"] = without_last(measured) if several else measured
        pairs = []
        for index, name in enumerate(names):
            own = self._lazy(self._part(folder, name))
            if "y" not in arrays:
                if "y" not in own:
                    raise DataError(
                        f"{self.who}: pair {index} has no `y`, and there is none for all"
                    )
                arrays[f"pair/{index}/y"] = self._measured(own)
            arrays |= resident(self._of_pair(index, own), index)
            pairs.append(self._antennas(index, own, dict(folder[name].attrs)))
        return self._acquisition(arrays, pairs)

    def _acquisition(
        self, arrays: dict[str, LazyArray], pairs: Sequence[Pair | None]
    ) -> RfAcquisition:
        shared = {name: self._whole(self.arrays, name) for name in SHARED if name in self.arrays}
        if "truth" in self.arrays:
            shared["reference"] = self._truth()
        return RfAcquisition(
            scene=self.scene,
            arrays={**arrays, **resident({"frequencies": self.frequencies, **shared})},
            pairs=pairs,
            coherent=bool(self._attributes.get("coherent", True)),
            model_error=self._model_error(),
            radar=self._attributes.get("radar"),
            antenna=self._attributes.get("antenna"),
            provenance=self.provenance,
        )

    def _truth(self) -> NDArray[Any]:
        """Return the true images of other programs' stores, ``[frame, z, y, x]``."""
        truth = self._whole(self.arrays, "truth")
        if truth.shape[1:] != self.scene.shape:
            raise DataError(
                f"{self.who}: `truth` has the shape {truth.shape}; expected a frame axis and the "
                f"scene's {self.scene.shape}"
            )
        return self.scene.to_volumes(truth)

    def _antennas(
        self, index: int, arrays: Mapping[str, LazyArray], attributes: Mapping[str, Any]
    ) -> Pair | None:
        if "tx" not in arrays or "rx" not in arrays:
            return None
        grids = [
            None if attributes.get(name) is None else tuple(attributes[name])
            for name in ("tx_grid", "rx_grid")
        ]
        positions = [self._whole(arrays, name) for name in ("tx", "rx")]
        try:
            return Pair(positions[0], positions[1], grids[0], grids[1])
        except DataError as error:
            raise DataError(f"{self.who}: pair {index}: {error}") from None

    def _of_pair(self, index: int, arrays: Mapping[str, LazyArray]) -> dict[str, NDArray[Any]]:
        """Return factors and gains of a pair."""
        given = {
            name: self._whole(arrays, name)
            for name in arrays
            if name.startswith(("A", "kappa", "rowphase"))
        }
        for name, values in given.items():
            if name.startswith("rowphase") and values.dtype.kind == "c":
                given[name] = np.angle(values)
        own = factors_of(given, self.scene, f"{self.who}: pair {index}")
        for name in GAINS:
            if name in arrays:
                own[name] = self._whole(arrays, name)
            elif name in self.arrays:
                own[name] = self._whole(self.arrays, name, index)
        return own

    def _lazy(self, group: Any) -> dict[str, LazyArray]:
        return {
            _OTHER_NAMES.get(name, name): ZarrArray(
                stored, f"{self.who}/{stored.path}", complete=name in MEASURED_PULSES
            )
            for name, stored in group.arrays()
        }

    def _measured(self, arrays: Mapping[str, LazyArray], name: str = "y") -> LazyArray:
        if name not in arrays:
            raise DataError(f"{self.who} has no `{name}`; it has {', '.join(arrays) or 'nothing'}")
        measured = arrays[name]
        if len(measured.shape) < 3:
            raise DataError(f"{self.who}: `{name}` has the shape {measured.shape}; it lacks axes")
        return elementwise(np.conj, measured) if self._conjugated else measured

    def _whole(
        self, arrays: Mapping[str, LazyArray], name: str, pair: int | None = None
    ) -> NDArray[Any]:
        """Return an array, or what belongs to a pair of one that holds all pairs."""
        if name not in arrays:
            raise DataError(f"{self.who} has no `{name}`; it has {', '.join(arrays) or 'nothing'}")
        values = self._budget.whole(arrays[name], name, pair)
        return np.conj(values) if self._conjugated and values.dtype.kind == "c" else values

    def _scene(self) -> Scene:
        attributes = self._attributes
        try:
            return Scene(
                shape=tuple(attributes["shape"]),
                spacing=tuple(attributes.get("spacing", attributes.get("spacing_m", ()))),
                origin=tuple(attributes.get("origin", attributes.get("origin_m", (0, 0, 0)))),
                range=attributes.get("range"),
                speed=attributes.get("speed", SPEED_OF_LIGHT),
            )
        except KeyError as error:
            raise DataError(f"{self.who} lacks a usable attribute: there is no {error}") from None
        except (TypeError, ValueError, OverflowError):
            names = ("shape", "spacing", "spacing_m", "origin", "origin_m", "range", "speed")
            found = ", ".join(f"{n} = {attributes[n]!r}" for n in names if n in attributes)
            raise DataError(
                f"{self.who} lacks a usable attribute of the scene: {found}; expected numbers"
            ) from None
        except DataError as error:
            raise DataError(f"{self.who}: {error}") from None
