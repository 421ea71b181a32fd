"""What `ingest` asks of RF data: pairs that fit their antennas, and nothing that is all zero."""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.content import Content
from pipeline.formats.lazy import LazyArray, ResidentArray, Selection
from pipeline.formats.mapping import Stacked
from pipeline.geometry.axes import as_volume
from pipeline.rf.arrays import CORRECTIONS, PAIRS, PULSES
from pipeline.rf.calibration.pair_correction import PairCorrection
from pipeline.rf.calibration.pair_instruments import PairInstruments
from pipeline.rf.checks import require_frequencies
from pipeline.rf.formats.acquisition import (
    PairsAcquisition,
    PairSource,
    PulsesAcquisition,
    RfAcquisition,
)
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr


def content_of(
    acquisition: RfAcquisition, settings: IngestSettings, dataset: str, record: Receipt
) -> Content:
    """Return what the store of an acquisition is to hold.

    Parameters
    ----------
    acquisition
        As its source presents it.
    settings, dataset, record
        Of the job.

    Raises
    ------
    ConfigError
        If settings of pairs are given for a phase history.
    DataError
        If frequencies are not in Hz, or positions and measurements of a pair disagree.
    """
    if isinstance(acquisition, PulsesAcquisition):
        return _pulses(acquisition, settings, dataset)
    acquisition = _without_instruments(acquisition, settings, dataset, record)
    return _pairs(acquisition, settings.source, dataset)


def _pulses(acquisition: PulsesAcquisition, settings: IngestSettings, dataset: str) -> Content:
    for name in ("pair_correction", "reference_target", "coherent"):
        if getattr(settings.details, name) is not None:
            raise ConfigError(
                f"{dataset}: sources.{dataset}.{name} is for pairs of antenna arrays, but this is "
                "a phase history; leave it out"
            )
    frequencies = require_frequencies(acquisition.frequencies, dataset)
    measured = acquisition.measurements
    arrays = {"frequencies": frequencies, **acquisition.arrays}
    return Content(
        table=PULSES,
        attributes={
            **_attributes(acquisition, measured.shape[0], settings.source),
            "coherent": True,
            "model_error": None,
            "layout": "phase-history",
        },
        arrays={"y": measured, **_resident(arrays)},
        sizes=_sizes(acquisition.scene) | {"pair": (1, "pulses count as those of one pair")},
        measured=(("frame", "pulse"), ("frame", "freq")),
        labels=_in_ghz(frequencies),
    )


def _pairs(acquisition: PairsAcquisition, source: str, dataset: str) -> Content:
    frequencies = require_frequencies(acquisition.frequencies, dataset)
    arrays: dict[str, LazyArray] = _resident({"frequencies": frequencies, **acquisition.arrays})
    measured = [pair.measurements for pair in acquisition.pairs]
    for index, pair in enumerate(acquisition.pairs):
        _check_pair(pair, f"{dataset}: pair {index}")
        own = dict(pair.arrays)
        if pair.antennas is not None:
            own |= {"tx": pair.antennas.tx, "rx": pair.antennas.rx}
        arrays |= {f"pair/{index}/{name}": array for name, array in _resident(own).items()}
    sizes = _sizes(acquisition.scene)
    if len({each.shape for each in measured}) == 1:
        together: dict[str, LazyArray] = {"y": Stacked(measured, axis=1)}
    else:
        together = {f"pair/{index}/y": each for index, each in enumerate(measured)}
        sizes |= {
            "frame": (acquisition.frames, f"pair 0 has {acquisition.frames}"),
            "pair": (len(measured), f"there are {len(measured)} pairs"),
            "freq": (len(frequencies), f"there are {len(frequencies)} frequencies"),
        }
    rows = [each.shape[2:] for each in measured]
    return Content(
        table=PAIRS,
        attributes={
            **_attributes(acquisition, acquisition.frames, source),
            "coherent": acquisition.coherent,
            "model_error": acquisition.model_error,
            "layout": "pairs",
            "pairs": len(measured),
            "rows": [max(along) for along in zip_longest(*rows, fillvalue=1)],
        },
        arrays=arrays | together,
        sizes=sizes,
        measured=(("frame", "pair", "freq"),),
        labels=_in_ghz(frequencies),
        finish=lambda group: _note_grids(group, acquisition.pairs),
    )


def _attributes(acquisition: RfAcquisition, frames: int, source: str) -> dict[str, Any]:
    scene = acquisition.scene
    return {
        "kind": "rf",
        "frames": frames,
        "shape": list(scene.shape),
        "spacing": list(scene.spacing),
        "origin": list(scene.origin),
        "range": scene.range,
        "source": source,
        "provenance": dict(acquisition.provenance),
    }


def _sizes(scene: Scene) -> dict[str, tuple[int, str]]:
    """Return the lengths of axes that the scene tells."""
    told = f"the scene has the shape {scene.shape}"
    volume = dict(zip("zyx", as_volume(scene.shape), strict=True))
    axes = {f"n{axis}": size for axis, size in enumerate(scene.shape, start=1)}
    return {axis: (size, told) for axis, size in (volume | axes).items()} | {
        "coordinate": (3, "positions have 3 coordinates")
    }


def _in_ghz(frequencies: NDArray[np.float64]) -> dict[str, Callable[[int], str]]:
    return {"freq": lambda index: f"{frequencies[index] / 1e9:.6g} GHz"}


def _resident(arrays: dict[str, Any]) -> dict[str, LazyArray]:
    return {name: ResidentArray(np.asarray(values)) for name, values in arrays.items()}


def _note_grids(group: "zarr.Group", pairs: Sequence[PairSource]) -> None:
    for index, pair in enumerate(pairs):
        own = group.require_group(f"pair/{index}")
        if pair.antennas is not None:
            tx_grid, rx_grid = pair.antennas.grids
            own.attrs.update({"tx_grid": list(tx_grid), "rx_grid": list(rx_grid)})


def _check_pair(pair: PairSource, who: str) -> None:
    """Raise `DataError` if measurements, positions and gains of a pair do not fit together."""
    if pair.antennas is None and not any(name.startswith(("A", "kappa")) for name in pair.arrays):
        raise DataError(f"{who} has neither positions (tx, rx) nor factors; give one of them")
    if pair.antennas is not None:
        if pair.antennas.paired:
            raise DataError(f"{who}: its antennas are paired one by one; store a phase history")
        pair.antennas.check_measurement(pair.measurements.shape[2:4], who)
    for name in ("gain_tx", "gain_rx"):
        gains = pair.arrays.get(name)
        if gains is None:
            continue
        if pair.antennas is None:
            raise DataError(
                f"{who} has {name}, but no positions to tell which element is which; multiply "
                "the gains into the factors"
            )
        elements = len(getattr(pair.antennas, name.removeprefix("gain_")))
        if gains.shape != (elements,) or not gains.all():
            raise DataError(
                f"{who}: {name} of shape {gains.shape} for {elements} elements; expected one gain "
                "other than zero each"
            )


# Until `calibrate` does it: what the instruments of pairs add is taken away here.
def _without_instruments(
    acquisition: PairsAcquisition, settings: IngestSettings, dataset: str, record: Receipt
) -> PairsAcquisition:
    measured = PairInstruments(acquisition, settings.details, dataset, record)
    corrections, found = measured.corrections()
    record.record(**found)
    pairs = [
        dataclasses.replace(
            pair,
            measurements=(
                pair.measurements
                if corrections is None
                else _Corrected(measured, index, corrections[index])
            ),
            arrays={name: own for name, own in pair.arrays.items() if name not in CORRECTIONS},
        )
        for index, pair in enumerate(acquisition.pairs)
    ]
    return dataclasses.replace(
        acquisition,
        pairs=pairs,
        arrays={
            name: values for name, values in acquisition.arrays.items() if name not in CORRECTIONS
        },
        coherent=measured.coherent,
        provenance={**acquisition.provenance, **found},
    )


class _Corrected:
    """What a pair measured, without what its instrument adds."""

    def __init__(
        self, instruments: PairInstruments, index: int, correction: PairCorrection
    ) -> None:
        self._instruments = instruments
        self._index = index
        self._correction = correction
        self._measured = instruments.acquisition.pairs[index].measurements
        self.shape = self._measured.shape
        self.dtype = np.dtype(np.complex128)

    def read(self, selection: Selection) -> NDArray[Any]:
        """Return the values in ``selection``, all of a frequency."""
        frames, band = selection[0], selection[1]
        values = self._measured.read((frames, band, *(slice(None),) * (len(self.shape) - 2)))
        clean = [
            self._instruments.corrected(self._index, frame, band, each, self._correction)
            for frame, each in zip(range(frames.start, frames.stop), values, strict=True)
        ]
        return np.stack(clean)[(slice(None), slice(None), *selection[2:])]
