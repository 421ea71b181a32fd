"""RF acquisitions on disk from pairs of antenna arrays, and the jobs on them in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from acquisitions import complex_normal
from calibrating import calibrated_in
from stage_runs import reconstructed

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.formats.content import planned_tiles, store_content
from pipeline.formats.lazy import InMemory
from pipeline.geometry.axes import as_volume
from pipeline.rf.formats.acquisition import PhaseHistory, RfAcquisition, resident
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.ingest import content_of
from pipeline.rf.raw import RfRawData
from pipeline.storage.receipts import Receipt


def store(
    marker: Path, acquisition: RfAcquisition, dataset: str = "scan", **details: Any
) -> RfRawData:
    """Do what `ingest` does with an acquisition that a source presents."""
    settings = IngestSettings.model_validate(
        {"kind": "rf", "format": "native", "source": "made up", "details": details}
    )
    record = Receipt(marker.with_name("ingest.json"), "ingest")
    content = content_of(acquisition, settings, dataset, Budget(dataset, 600))
    extents = planned_tiles(content, marker, dataset, lambda parts: True)
    store_content(content, extents, marker, dataset, record)
    return RfRawData.open(marker)


def pulses(
    scene: Scene,
    frequencies: np.ndarray,
    paths: AntennaPaths,
    measured: np.ndarray,
    **arrays: np.ndarray,
) -> RfAcquisition:
    """Return a phase history of one frame that measured ``[pulse, freq]``."""
    history = PhaseHistory(frequencies, paths, InMemory(measured))
    return RfAcquisition.of_pulses(scene, history, arrays)


def pairs_acquisition(
    scene: Scene,
    frequencies: np.ndarray,
    measured: Sequence[np.ndarray],
    pairs: Sequence[Pair | None],
    own: Sequence[dict[str, np.ndarray]] = (),
    shared: dict[str, np.ndarray] | None = None,
    **more: Any,
) -> RfAcquisition:
    """Return pairs that measured ``[frame, freq, m1, m2]``; arrays are of each or of all."""
    arrays = resident({"frequencies": frequencies, **(shared or {})})
    for index, values in enumerate(measured):
        arrays |= resident({"y": values, **(own[index] if own else {})}, index)
    return RfAcquisition(scene, arrays, pairs, **more)


def write_pairs(
    folder: Path,
    scene: Scene,
    pairs: Sequence[Pair],
    frequencies: np.ndarray,
    *,
    frames: int = 1,
    positions: bool = True,
    stored: dict[str, list[np.ndarray]] | None = None,
    weights: np.ndarray | None = None,
    measured: Sequence[np.ndarray] | None = None,
    noise_std: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    **details: Any,
) -> list[np.ndarray]:
    """Write ``raw`` and ``calibration``; return what each pair measured, ``(frame, freq, m1, m2)``.

    Random numbers are measured unless `measured` says what is. `stored` are arrays of each pair.
    """
    generator = np.random.default_rng(7)
    if measured is None:
        shapes = [(frames, len(frequencies), *pair.measurement_shape) for pair in pairs]
        measured = [complex_normal(generator, shape) for shape in shapes]
    shared = {"weights": weights, "noise_std": noise_std, "reference": reference}
    own = [{name: arrays[n] for name, arrays in (stored or {}).items()} for n in range(len(pairs))]
    acquisition = pairs_acquisition(
        scene,
        frequencies,
        measured,
        pairs if positions else [None] * len(pairs),
        own,
        {name: values for name, values in shared.items() if values is not None},
    )
    store(folder / "raw.json", acquisition, "pairs", **details)
    calibrated_in(folder, dataset="pairs")
    return [values.astype(np.complex64).astype(np.complex128) for values in measured]


def reconstructed_rf(folder: Path, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Do as `reconstructed`, and return images of the scene: ``(image, 1, x, y)`` or with z."""
    volumes, receipt = reconstructed(folder, kind="rf", **settings)
    raw = RfRawData.open(folder / "raw.json")
    return raw.from_volumes(volumes).reshape(len(volumes), *as_volume(raw.shape)), receipt
