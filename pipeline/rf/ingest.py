"""What `ingest` asks of RF data: pairs that fit their antennas, and nothing that is all zero."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.base import validate
from pipeline.config.scenes import AntennaSettings
from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.checks import Check, Found, Labels, Largest, NotNegative, NotZero
from pipeline.formats.content import Content, Sizes
from pipeline.formats.derived import stacked
from pipeline.formats.faults import Measured, warn_of_levels
from pipeline.formats.lazy import LazyArray, whole
from pipeline.formats.measurement import Measurement
from pipeline.rf.arrays import GAINS, PAIRS, PULSES
from pipeline.rf.formats.acquisition import RfAcquisition, resident
from pipeline.rf.geometry.antenna_paths import FARTHEST
from pipeline.rf.geometry.antenna_pattern import AntennaPattern, seen_squares
from pipeline.rf.geometry.antennas import Pair, centre_wavenumber, checked_frequencies
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr


_APART, _FAR_AWAY = 100, 20_000
"""Wavelengths between neighbouring elements above which positions may be in another unit, and
above which they are too far apart for it: such antennas stand where waves are plane."""


def content_of(
    acquisition: RfAcquisition, settings: IngestSettings, dataset: str, budget: Budget
) -> Content:
    """Return what the store of an acquisition is to hold.

    What it looks at has been read, within the budget, where the source was opened.
    `DataError` if frequencies are not in Hz, or positions and measurements of a pair disagree.
    """
    scene = acquisition.scene
    frequencies = checked_frequencies(whole(acquisition.arrays["frequencies"]), dataset)
    common: dict[str, Any] = {
        "kind": "rf",
        "shape": list(scene.shape),
        "axes": "xyz",
        "spacing": list(scene.spacing),
        "origin": list(scene.origin),
        "range": scene.range,
        "speed": scene.speed,
        "coherent": acquisition.coherent,
        "model_error": acquisition.model_error,
        "radar": acquisition.radar,
        "antenna": _antenna(acquisition, settings, dataset),
        "source": settings.source,
        "provenance": dict(acquisition.provenance),
    }
    make = _pairs if acquisition.pairs else _pulses
    labels = {"freq": lambda at: f"{frequencies[at] / 1e9:.6g} GHz"}
    return make(acquisition, common, _sizes(scene), labels, dataset)


def _antenna(
    acquisition: RfAcquisition, settings: IngestSettings, dataset: str
) -> dict[str, Any] | None:
    """Return path loss and pattern of the settings, or as the source has them.

    `DataError` if they do not go with the antennas, `ConfigError` if the source's are not such.
    """
    given = settings.details.antenna
    if given is None:
        if acquisition.antenna is None:
            return None
        who = f"{dataset}: attribute `antenna` of {settings.source}"
        given = validate(AntennaSettings, acquisition.antenna, who)
    told = given.model_dump(mode="json")
    if given.path_loss and acquisition.pairs:
        raise DataError(
            f"{dataset}: `antenna.path_loss` is for phase histories: pairs of arrays always have "
            "it with the model exact; leave it out"
        )
    known = [paths_of_pair(pair) for pair in acquisition.pairs if pair is not None]
    if acquisition.scene.range is not None or len(known) < len(acquisition.pairs):
        raise DataError(
            f"{dataset}: `antenna` needs a scene in metres and positions (tx, rx) of all pairs; "
            "give them, or leave it out"
        )
    pattern, centre = AntennaPattern.of(told), acquisition.scene.centre
    for paths in known if acquisition.pairs else [acquisition.paths()]:
        with np.errstate(invalid="ignore"):
            squares = seen_squares(pattern, paths, centre)
        if np.isnan(squares).any():
            raise DataError(
                f"{dataset}: an antenna stands where it looks, or in the scene's origin {centre}, "
                "so its `antenna` pattern has no direction; give another `aim`, or `direction`"
            )
        if not squares.any():
            raise DataError(
                f"{dataset}: with this `antenna` no antenna sees the scene's origin {centre}; "
                "check `aim` and `direction`, and the angles of `pattern`"
            )
    return told


def _pulses(
    acquisition: RfAcquisition,
    common: dict[str, Any],
    sizes: Sizes,
    labels: Labels,
    dataset: str,
) -> Content:
    return Content(
        table=PULSES,
        attributes={
            **common,
            "frames": acquisition.arrays["y"].shape[0],
            "layout": "phase-history",
        },
        arrays=acquisition.arrays,
        sizes={**sizes, "pair": (1, "pulses count as those of one pair")},
        checks={
            "y": partial(_measured_pulses, dataset, labels),
            "weights": partial(NotZero, f"{dataset}: weights", ()),
            "y_target": partial(NotZero, f"{dataset}: y_target", ()),
            "transmitter": partial(_NotFarthest, f"{dataset}: transmitter"),
            "receiver": partial(_NotFarthest, f"{dataset}: receiver"),
            "frequency_scale": partial(
                NotNegative, f"{dataset}: values of frequency_scale", ("frame", "pulse")
            ),
        },
        labels=labels,
    )


class _NotFarthest(Largest):
    """Refuses positions farther away than paths to them are known."""

    def __init__(self, who: str, shape: tuple[int, ...]) -> None:
        super().__init__(shape, ())
        self._who = who

    def finish(self, record: Receipt) -> Found:
        """Refuse what is too far."""
        if self.values > FARTHEST:
            raise DataError(
                f"{self._who} reaches {self.values:.3g} m; allowed are numbers up to "
                f"{FARTHEST:.0e}: correct it in the source, or use `scale`"
            )
        return {}


def _pairs(
    acquisition: RfAcquisition,
    common: dict[str, Any],
    sizes: Sizes,
    labels: Labels,
    dataset: str,
) -> Content:
    arrays, pairs = dict(acquisition.arrays), acquisition.pairs
    if "phase" in arrays:  # frames may share it, and then it may have no axis of them
        arrays |= resident({"phase": np.atleast_2d(whole(arrays["phase"]))})
    if "y" not in arrays:
        measured = [arrays[f"pair/{index}/y"] for index in range(len(pairs))]
        if len({each.shape for each in measured}) == 1:
            arrays = {path: each for path, each in arrays.items() if not path.endswith("/y")}
            arrays["y"] = stacked(measured, axis=1)
    if "y" in arrays:
        frames, rows = arrays["y"].shape[0], [arrays["y"].shape[3:]] * len(pairs)
    else:
        frames, rows = measured[0].shape[0], [each.shape[2:] for each in measured]
        count = arrays["frequencies"].shape[0]
        sizes = {
            **sizes,
            "frame": (frames, f"pair 0 has {frames}"),
            "pair": (len(pairs), f"there are {len(pairs)} pairs"),
            "freq": (count, f"there are {count} frequencies"),
        }
    for index, antennas in enumerate(pairs):
        _check_pair(index, antennas, arrays, rows[index], f"{dataset}: pair {index}")
        if antennas is not None:
            arrays |= resident({"tx": antennas.tx, "rx": antennas.rx}, index)

    def finish(group: "zarr.Group", found: Mapping[str, Found], record: Receipt) -> None:
        _note_grids(group, pairs)
        k = centre_wavenumber(whole(arrays["frequencies"]), common["speed"])
        _warn_of_spacing(pairs, 2 * math.pi / k, dataset, record)
        if "y" not in arrays:  # else they are compared where they are copied
            levels = [found[f"pair/{index}/y"]["level"] for index in range(len(pairs))]
            warn_of_levels(f"{dataset}: y: ", "pair", np.array(levels), record)

    checks: dict[str, Callable[[tuple[int, ...]], Check]] = {
        path: partial(NotZero, f"{dataset}: {path}", ())
        for path in arrays
        if path == "weights" or "/A" in path
    }
    for path in arrays:
        if PAIRS[path].measured:
            axes = PAIRS[path].axes
            checks[path] = partial(_measured_pairs, f"{dataset}: {path}", axes, labels)
    return Content(
        table=PAIRS,
        attributes={
            **common,
            "frames": frames,
            "layout": "pairs",
            "pairs": len(pairs),
            "rows": [max(along) for along in zip_longest(*rows, fillvalue=1)],
        },
        arrays=arrays,
        sizes=sizes,
        checks=checks,
        labels=labels,
        finish=finish,
    )


def _measured_pulses(dataset: str, labels: Labels, shape: tuple[int, ...]) -> Measured:
    return Measured(
        Measurement(
            who=f"{dataset}: y",
            axes=PULSES["y"].axes,
            shape=shape,
            line="freq",
            lines="pulses",
            alike=("pulse",),
            channel="frame",
            apart=("frame", "pulse"),
            compared=(("frame",), ("pulse",), ("freq",)),
            needed=(("frame", "pulse"), ("frame", "freq")),
            may_repeat=("pulse",),
            labels=labels,
        )
    )


def _measured_pairs(
    who: str, axes: tuple[str, ...], labels: Labels, shape: tuple[int, ...]
) -> Measured:
    """Return what looks at the measurements of all pairs, or of one."""
    pairs = tuple(axis for axis in axes if axis == "pair")
    elements = tuple(axis for axis in axes[: len(shape)] if axis.startswith("m"))
    return Measured(
        Measurement(
            who=who,
            axes=axes[: len(shape)],
            shape=shape,
            line="freq",
            lines="paths",
            alike=elements,
            channel="pair" if pairs else "frame",
            apart=("frame", *pairs),
            compared=(("frame",), *([pairs] if pairs else []), *((*pairs, m) for m in elements)),
            needed=(("frame", *pairs, "freq"),),
            labels=labels,
        )
    )


def _sizes(scene: Scene) -> Sizes:
    """Return the lengths of axes that the scene tells."""
    told = f"the scene has the shape {scene.shape}"
    volume = dict(zip("zyx", scene.volume, strict=True))
    axes = {f"n{axis}": size for axis, size in enumerate(scene.shape, start=1)}
    return {axis: (size, told) for axis, size in (volume | axes).items()} | {
        "coordinate": (3, "positions have 3 coordinates")
    }


def _warn_of_spacing(
    pairs: Sequence[Pair | None], wavelength: float, dataset: str, record: Receipt
) -> None:
    """Warn of the first pair whose elements lie as far apart as in another unit of length."""
    for index, antennas in enumerate(pairs):
        for positions in () if antennas is None else (antennas.tx, antennas.rx):
            if len(positions) < 3:
                continue
            steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
            apart = float(np.median(steps)) / wavelength
            if _APART < apart < _FAR_AWAY:
                record.warn(
                    f"{dataset}: elements of pair {index} are {apart:.0f} wavelengths apart, where "
                    f"arrays have up to about ten; positions are in metres: if these are in "
                    "millimetres, set `scale: 0.001` with tx and rx"
                )
                return


def _note_grids(group: "zarr.Group", pairs: Sequence[Pair | None]) -> None:
    for index, antennas in enumerate(pairs):
        own = group.require_group(f"pair/{index}")
        if antennas is not None:
            tx_grid, rx_grid = antennas.grids
            own.attrs.update({"tx_grid": list(tx_grid), "rx_grid": list(rx_grid)})


def _check_pair(
    index: int,
    antennas: Pair | None,
    arrays: Mapping[str, LazyArray],
    rows: tuple[int, ...],
    who: str,
) -> None:
    """Raise `DataError` if measurements, positions and gains of a pair do not fit together."""
    if antennas is None and not {f"pair/{index}/A1", f"pair/{index}/kappa1"} & set(arrays):
        raise DataError(f"{who} has neither positions (tx, rx) nor factors; give one of them")
    if antennas is not None:
        if antennas.paired:
            raise DataError(f"{who}: its antennas are paired one by one; store a phase history")
        antennas.check_measurement(rows[:2], who)
    for name in GAINS:
        gains = arrays.get(f"pair/{index}/{name}")
        if gains is None:
            continue
        if antennas is None:
            raise DataError(
                f"{who} has {name}, but no positions to tell which element is which; multiply "
                "the gains into the factors"
            )
        elements = len(getattr(antennas, name.removeprefix("gain_")))
        if gains.shape != (elements,) or not whole(gains).all():
            raise DataError(
                f"{who}: {name} of shape {gains.shape} for {elements} elements; expected one gain "
                "other than zero each"
            )
