"""RF data in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.content import require_agreement
from pipeline.formats.lazy import LazyArray, describe_files, existing_source, whole
from pipeline.formats.mapped_files import MappedFiles
from pipeline.rf.arrays import BY_ELEMENTS, CLOCKS, GAINS, PAIR_SOURCE, PULSE_SOURCE, SHARED
from pipeline.rf.formats.acquisition import (
    PairsAcquisition,
    PairSource,
    PulsesAcquisition,
    RfAcquisition,
    scene_of,
)
from pipeline.rf.formats.layout import Interleaved, OfPair, factors_of
from pipeline.rf.geometry.antennas import Pair, checked_frequencies
from pipeline.storage.layout import ArrayTable


@contextmanager
def open_source(settings: IngestSettings, dataset: str) -> Iterator[RfAcquisition]:
    """Open RF arrays of any files.

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
        fields = dict((PULSE_SOURCE if "transmitter" in mapping else PAIR_SOURCE).fields)
        self.by_elements = bool(
            {"tx", "rx"} & {axis for entry in mapping["y"].axes for axis in entry.split()}
        )
        if self.by_elements:
            fields["y"] = BY_ELEMENTS
        foreign = [name for name in mapping if name not in fields]
        if foreign:
            raise ConfigError(
                f"{dataset}: `arrays` names {', '.join(foreign)}, which does not go with the rest; "
                f"known are {', '.join(fields)}"
            )
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        self.arrays = {
            name: files.mapped(name, array, fields[name].axes, f"{dataset}: {name}")
            for name, array in mapping.items()
        }
        self.frequencies = checked_frequencies(self._whole("frequencies"), dataset)
        self.provenance = {"format": "arrays", "files": describe_files(list(files.paths))}
        require_agreement(self.arrays, ArrayTable(fields), {}, dataset, shared=("frame", "pair"))

    def pairs(self) -> PairsAcquisition:
        """Return pairs of antenna arrays."""
        measured = self.arrays["y"]
        positions = {name: self._whole(name) for name in ("tx", "rx") if name in self.arrays}
        given = {
            name: self._whole(name)
            for name in self.arrays
            if name.startswith(("A", "kappa", "rowphase"))
        }
        gains = {name: self._whole(name) for name in GAINS if name in self.arrays}
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
        corrections = {name: self._whole(name) for name in CLOCKS if name in self.arrays}
        return PairsAcquisition(
            scene=self.scene,
            frequencies=self.frequencies,
            pairs=pairs,
            arrays=self._shared() | corrections,
            provenance=self.provenance,
        )

    def pulses(self) -> PulsesAcquisition:
        """Return a phase history, frame by frame."""
        sent = self._whole("transmitter")
        received = self._whole("receiver") if "receiver" in self.arrays else sent
        # Without a reference the phases are those of the whole way.
        paths = (
            self._whole("reference_path")
            if "reference_path" in self.arrays
            else np.zeros(sent.shape[:2])
        )
        positions = {"transmitter": sent, "receiver": received, "reference_path": paths}
        return PulsesAcquisition(
            scene=self.scene,
            frequencies=self.frequencies,
            measurements=self.arrays["y"],
            arrays=positions | self._shared(),
            provenance=self.provenance,
        )

    def _whole(self, name: str) -> NDArray[Any]:
        return whole(self.arrays[name])

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
