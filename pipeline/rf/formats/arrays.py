"""RF data in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import LazyArray, describe_files, existing_source
from pipeline.formats.mapped_files import MappedFiles
from pipeline.rf.checks import require_frequencies
from pipeline.rf.formats.acquisition import (
    CORRECTIONS,
    PairsAcquisition,
    PairSource,
    PulsesAcquisition,
    RfAcquisition,
    scene_of,
)
from pipeline.rf.formats.layout import (
    BY_ELEMENTS,
    PAIR_ARRAYS,
    PULSE_ARRAYS,
    SHARED,
    Interleaved,
    OfPair,
    factors_of,
    phase_histories,
)
from pipeline.rf.geometry.antennas import Pair


@contextmanager
def open_rf_arrays(settings: IngestSettings, dataset: str) -> Iterator[RfAcquisition]:
    """Open RF arrays of any files; see `pipeline.rf.formats.sources.open_rf`.

    ``details.arrays`` says where each array lies and what its axes mean. With ``transmitter`` they
    are a phase history, else pairs of antenna arrays.
    """
    mapping: dict[str, ArraySettings] = {
        str(name): array for name, array in (settings.details.arrays or {}).items()
    }
    if not {"y", "frequencies"} <= set(mapping):
        raise ConfigError(
            f"{dataset}: the format `arrays` needs `sources.{dataset}.arrays` with at least y and "
            "frequencies"
        )
    with ExitStack() as stack:
        content = _Arrays(settings, dataset, mapping, stack)
        yield content.pulses() if "transmitter" in mapping else content.pairs()


class _Arrays:
    """The mapped arrays of a dataset."""

    def __init__(
        self,
        settings: IngestSettings,
        dataset: str,
        mapping: Mapping[str, ArraySettings],
        stack: ExitStack,
    ) -> None:
        self.dataset = dataset
        self.details = settings.details
        self.scene = scene_of(settings, dataset)
        axes = dict(PULSE_ARRAYS if "transmitter" in mapping else PAIR_ARRAYS)
        if {"tx", "rx"} & {axis for entry in mapping["y"].axes for axis in entry.split()}:
            axes["y"] = BY_ELEMENTS
        foreign = [name for name in mapping if name not in axes]
        if foreign:
            raise ConfigError(
                f"{dataset}: `arrays` names {', '.join(foreign)}, which does not go with the rest; "
                f"known are {', '.join(axes)}"
            )
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        self.arrays = {
            name: files.mapped(name, array, axes[name], f"{dataset}: {name}")
            for name, array in mapping.items()
        }
        self.by_elements = axes["y"] == BY_ELEMENTS
        self.frequencies = require_frequencies(self._whole("frequencies"), dataset)
        self.provenance = {"format": "arrays", "files": describe_files(list(files.paths))}
        self._check_shapes()

    def pairs(self) -> PairsAcquisition:
        """Return pairs of antenna arrays."""
        measured = self.arrays["y"]
        positions = {name: self._whole(name) for name in ("tx", "rx") if name in self.arrays}
        given = {
            name: self._whole(name)
            for name in self.arrays
            if name.startswith(("A", "kappa", "rowphase"))
        }
        gains = {name: self._whole(name) for name in CORRECTIONS[2:] if name in self.arrays}
        if len(positions) == 1:
            raise ConfigError(f"{self.dataset}: `arrays` has one of tx and rx; give both")
        pairs = []
        for index in range(measured.shape[1]):
            who = f"{self.dataset}: pair {index}"
            antennas = None
            if positions:
                own = [_own(positions[name], index) for name in ("tx", "rx")]
                try:
                    antennas = Pair(own[0], own[1], self.details.tx_grid, self.details.rx_grid)
                except DataError as error:
                    raise DataError(f"{who}: {error}") from None
            values: LazyArray = OfPair(measured, index)
            if self.by_elements:
                if antennas is None:
                    raise ConfigError(
                        f"{self.dataset}: the axes of `y` are tx and rx, but there are no "
                        "positions; call them m1 and m2, in the order of the factors' rows"
                    )
                values = Interleaved(values, antennas, who)
            factors = {name: _own(array, index) for name, array in given.items()}
            pairs.append(
                PairSource(
                    values,
                    antennas,
                    factors_of(factors, self.scene, who)
                    | {name: _own(array, index) for name, array in gains.items()},
                )
            )
        corrections = {name: self._whole(name) for name in CORRECTIONS[:2] if name in self.arrays}
        return PairsAcquisition(
            scene=self.scene,
            frequencies=self.frequencies,
            pairs=pairs,
            arrays=self._shared() | corrections,
            provenance=self.provenance,
        )

    def pulses(self) -> PulsesAcquisition:
        """Return a phase history, frame by frame."""
        measured = self.arrays["y"]
        sent = self._whole("transmitter")
        received = self._whole("receiver") if "receiver" in self.arrays else sent
        # Without a reference the phases are those of the whole way.
        paths = (
            self._whole("reference_path")
            if "reference_path" in self.arrays
            else np.zeros(sent.shape[:2])
        )
        frames = phase_histories(
            measured,
            (sent, received, paths),
            self.frequencies,
            provenance=self.provenance,
            who=self.dataset,
        )
        return PulsesAcquisition(self.scene, frames, self._shared())

    def _check_shapes(self) -> None:
        """Raise `DataError` if an array disagrees with the measurements about a common axis."""
        measured = self.arrays["y"]
        axes = BY_ELEMENTS if self.by_elements else PAIR_ARRAYS["y"]
        if "transmitter" in self.arrays:
            axes = PULSE_ARRAYS["y"]
        sizes = dict(zip(axes, measured.shape, strict=True))
        known = PULSE_ARRAYS if "transmitter" in self.arrays else PAIR_ARRAYS
        for name, array in self.arrays.items():
            if name == "y":
                continue
            for axis, size in zip(known[name], array.shape, strict=True):
                common = axis in ("frame", "pair", "pulse", "freq")
                if common and size not in (1, sizes[axis]):
                    raise DataError(
                        f"{self.dataset}: {name}, of shape {array.shape} "
                        f"({', '.join(known[name])}), has {size} along `{axis}`, but y, of shape "
                        f"{measured.shape} ({', '.join(axes)}), has {sizes[axis]}; check files and "
                        "settings of both"
                    )

    def _whole(self, name: str) -> NDArray[Any]:
        array = self.arrays[name]
        return array.read((slice(None),) * len(array.shape))

    def _shared(self) -> dict[str, NDArray[Any]]:
        found = {name: self._whole(name) for name in SHARED if name in self.arrays}
        pairs = self.arrays["y"].shape[1]
        for name in ("weights", "noise_std"):
            if name in found:  # one for all pairs
                found[name] = np.broadcast_to(found[name], (pairs, *found[name].shape[1:]))
        return found


def _own(values: NDArray[Any], pair: int) -> NDArray[Any]:
    """Return what belongs to a pair, where pairs may share it."""
    own: NDArray[Any] = values[pair if len(values) > 1 else 0]
    return own
