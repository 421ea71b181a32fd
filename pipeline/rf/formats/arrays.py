"""RF data in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.content import require_agreement
from pipeline.formats.lazy import LazyArray, describe_files, existing_source
from pipeline.formats.mapped_files import MappedFiles
from pipeline.formats.touchstone import LIBRARY_BYTES, is_touchstone
from pipeline.rf.arrays import (
    BY_ELEMENTS,
    CLOCKS,
    GAINS,
    MEASURED_PULSES,
    OF_PULSES,
    PAIR_SOURCE,
    PULSE_SOURCE,
    SHARED,
)
from pipeline.rf.formats.acquisition import RfAcquisition, resident, scene_of
from pipeline.rf.formats.layout import Interleaved, factors_of, without_last
from pipeline.rf.geometry.antennas import Pair, checked_frequencies
from pipeline.storage.layout import ArrayTable


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
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
        content = _Arrays(settings, dataset, mapping, budget, stack)
        yield content.pulses() if "transmitter" in mapping else content.pairs()


class _Arrays:
    """The mapped arrays of a dataset."""

    def __init__(
        self,
        settings: IngestSettings,
        dataset: str,
        mapping: Mapping[str, ArraySettings],
        budget: Budget,
        stack: ExitStack,
    ) -> None:
        self.dataset = dataset
        self.budget = budget
        self.details = settings.details
        self.scene = scene_of(settings, dataset)
        pulses = "transmitter" in mapping
        fields = dict((PULSE_SOURCE if pulses else PAIR_SOURCE).fields)
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
        self._refuse_unused(mapping)
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        self.arrays = {
            name: files.mapped(name, array, fields[name].axes, f"{dataset}: {name}")
            for name, array in mapping.items()
        }
        if any(map(is_touchstone, files.paths)):
            budget.load(LIBRARY_BYTES)
        self.frequencies = checked_frequencies(self._whole("frequencies"), dataset)
        self.provenance = {"format": "arrays", "files": describe_files(list(files.paths))}
        sizes = {"pair": (1, "a phase history is one pair")} if pulses else {}
        shared = ("frame", "pair")
        require_agreement(self.arrays, ArrayTable(fields), sizes, dataset, shared=shared)

    def _refuse_unused(self, mapping: Mapping[str, ArraySettings]) -> None:
        """Raise `ConfigError` where a setting would change nothing."""
        for name, array in mapping.items():
            for key in ("axis_order", "units"):
                if getattr(array, key) != ArraySettings.model_fields[key].default:
                    raise ConfigError(
                        f"{self.dataset}: arrays.{name} has {key}, which is for trajectories of "
                        "MRI; leave it out, and give `scale` for another unit"
                    )
        for grid, elements in (("tx_grid", "tx"), ("rx_grid", "rx")):
            if getattr(self.details, grid) is not None and elements not in mapping:
                raise ConfigError(
                    f"{self.dataset}: sources.{self.dataset}.{grid} says how the elements of "
                    f"`{elements}` stand, but `arrays` has no `{elements}`; leave it out"
                )

    def pairs(self) -> RfAcquisition:
        """Return pairs of antenna arrays."""
        count = self.arrays["y"].shape[1]
        arrays = self._shared((*SHARED, *CLOCKS))
        factors = [n for n in self.arrays if n.startswith(("A", "kappa", "rowphase"))]
        for index in range(count):
            given = {name: self._own(name, index) for name in factors}
            gains = {name: self._own(name, index) for name in GAINS if name in self.arrays}
            made = factors_of(given, self.scene, f"{self.dataset}: pair {index}")
            arrays |= resident(made | gains, index)
        pairs = [self._antennas(index) for index in range(count)]
        return self._acquisition(arrays | {"y": self._measured(pairs[0])}, pairs)

    def _antennas(self, index: int) -> Pair | None:
        known = {"tx", "rx"} & set(self.arrays)
        if not known:
            return None
        if len(known) == 1:
            raise ConfigError(f"{self.dataset}: `arrays` has one of tx and rx; give both")
        try:
            return Pair(
                self._own("tx", index),
                self._own("rx", index),
                self.details.tx_grid,
                self.details.rx_grid,
            )
        except DataError as error:
            raise DataError(f"{self.dataset}: pair {index}: {error}") from None

    def _measured(self, antennas: Pair | None) -> LazyArray:
        """Return what pairs measured, all of which have as many elements."""
        measured = self.arrays["y"]
        if not self.by_elements:
            return without_last(measured) if measured.shape[-1] == 1 else measured
        if antennas is None:
            raise ConfigError(
                f"{self.dataset}: the axes of `y` are tx and rx, but there are no "
                "positions; call them m1 and m2, in the order of the factors' rows"
            )
        return Interleaved(measured, antennas, self.dataset)

    def pulses(self) -> RfAcquisition:
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
        arrays = self._shared((*SHARED, *OF_PULSES)) | resident(positions)
        measured = {name: self.arrays[name] for name in MEASURED_PULSES if name in self.arrays}
        return self._acquisition(arrays | measured, ())

    def _acquisition(
        self, arrays: dict[str, LazyArray], pairs: Sequence[Pair | None]
    ) -> RfAcquisition:
        return RfAcquisition(
            scene=self.scene,
            arrays=arrays | resident({"frequencies": self.frequencies}),
            pairs=pairs,
            provenance=self.provenance,
        )

    def _whole(self, name: str) -> NDArray[Any]:
        return self.budget.whole(self.arrays[name], name)

    def _own(self, name: str, pair: int) -> NDArray[Any]:
        """Return what belongs to a pair, where pairs may share it."""
        array = self.arrays[name]
        return self.budget.whole(array, name, pair if array.shape[0] > 1 else 0)

    def _shared(self, names: Sequence[str]) -> dict[str, LazyArray]:
        found = {name: self._whole(name) for name in names if name in self.arrays}
        pairs = 1 if "transmitter" in self.arrays else self.arrays["y"].shape[1]
        for name in ("weights", "noise_std"):
            if name in found:  # one for all pairs
                found[name] = np.broadcast_to(found[name], (pairs, *found[name].shape[1:]))
        return resident(found)
