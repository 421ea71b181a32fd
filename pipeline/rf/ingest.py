"""What `ingest` asks of RF data: pairs that fit their antennas, and nothing that is all zero."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.content import Content
from pipeline.formats.lazy import LazyArray, ResidentArray
from pipeline.formats.mapping import Stacked
from pipeline.geometry.axes import as_volume
from pipeline.rf.arrays import GAINS, PAIRS, PULSES
from pipeline.rf.formats.acquisition import (
    PairsAcquisition,
    PairSource,
    PulsesAcquisition,
    RfAcquisition,
)
from pipeline.rf.geometry.antennas import checked_frequencies
from pipeline.rf.geometry.scene import Scene

if TYPE_CHECKING:
    import zarr


def content_of(acquisition: RfAcquisition, settings: IngestSettings, dataset: str) -> Content:
    """Return what the store of an acquisition is to hold.

    Parameters
    ----------
    acquisition
        As its source presents it.
    settings, dataset
        Of the job.

    Raises
    ------
    DataError
        If frequencies are not in Hz, or positions and measurements of a pair disagree.
    """
    if isinstance(acquisition, PulsesAcquisition):
        return _pulses(acquisition, settings, dataset)
    return _pairs(acquisition, settings.source, dataset)


def _pulses(acquisition: PulsesAcquisition, settings: IngestSettings, dataset: str) -> Content:
    frequencies = checked_frequencies(acquisition.frequencies, dataset)
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
    frequencies = checked_frequencies(acquisition.frequencies, dataset)
    arrays: dict[str, LazyArray] = _resident({"frequencies": frequencies, **acquisition.arrays})
    if "phase" in arrays:  # frames may share it, and then it may have no axis of them
        arrays["phase"] = ResidentArray(np.atleast_2d(acquisition.arrays["phase"]))
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
    for name in GAINS:
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
