"""The part of `ingest` for RF data: correct the pairs' instruments, and copy piece by piece."""

from pathlib import Path

import numpy as np

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.progress import track
from pipeline.rf.calibration.pair_instruments import PairInstruments
from pipeline.rf.formats.acquisition import PairsAcquisition, PulsesAcquisition
from pipeline.rf.formats.sources import open_rf
from pipeline.rf.raw import PAIR_AXES, PATH_AXES
from pipeline.rf.writer import RfRawWriter
from pipeline.storage.publish import published_store
from pipeline.storage.receipts import Receipt

_TILE_BYTES = 2**26
ALL = slice(None)


def ingest_rf(settings: IngestSettings, dataset: str, raw: Path, record: Receipt) -> None:
    """Check an RF acquisition and copy it; see `pipeline.stages.ingest.ingest`."""
    with open_rf(settings, dataset) as acquisition:
        if isinstance(acquisition, PulsesAcquisition):
            _ingest_pulses(acquisition, settings, dataset, raw, record)
        else:
            _ingest_pairs(acquisition, settings, dataset, raw, record)


def _ingest_pulses(
    acquisition: PulsesAcquisition,
    settings: IngestSettings,
    dataset: str,
    raw: Path,
    record: Receipt,
) -> None:
    """Copy the pulses of a phase history, some at a time."""
    _refuse_corrections(settings, dataset)
    frames = acquisition.frames
    first = frames[0]
    pulses = len(first.paths)
    at_once = max(1, _TILE_BYTES // (16 * len(first.frequencies)))
    steps = pulses * len(frames)
    with published_store(raw) as group, track(f"{dataset}: pulses", steps) as advance:
        writer = RfRawWriter(
            group,
            dataset=dataset,
            scene=acquisition.scene,
            frequencies=first.frequencies,
            frames=len(frames),
            source=settings.source,
            provenance=first.provenance,
        )
        shared = all(
            np.array_equal(getattr(history.paths, name), getattr(first.paths, name))
            for history in frames[1:]
            for name in PATH_AXES
        )
        writer.create_phase_history(
            first.paths if shared else [history.paths for history in frames]
        )
        for frame, history in enumerate(frames):
            for start in range(0, pulses, at_once):
                part = slice(start, min(start + at_once, pulses))
                with record.phase("read"):
                    values = history.measurements.read((part, ALL))
                with record.phase("write"):
                    writer.write_pulses(frame, values, first_pulse=start)
                record.count_bytes("read", values.nbytes)
                advance(part.stop - part.start)
        for name, values in acquisition.arrays.items():
            writer.write_array(name, values)
    record.record(
        format=settings.format,
        shape=list(acquisition.scene.shape),
        arrays={"y": [len(frames), pulses, len(first.frequencies)]},
    )


def _refuse_corrections(settings: IngestSettings, dataset: str) -> None:
    details = settings.details
    for name in ("pair_correction", "reference_target", "coherent"):
        if getattr(details, name) is not None:
            raise ConfigError(
                f"{dataset}: sources.{dataset}.{name} is for pairs of antenna arrays, but this is "
                "a phase history; leave it out"
            )


def _ingest_pairs(
    acquisition: PairsAcquisition,
    settings: IngestSettings,
    dataset: str,
    raw: Path,
    record: Receipt,
) -> None:
    """Copy the measurements of pairs, some frequencies at a time."""
    measured = PairInstruments(acquisition, settings.details, dataset, record)
    corrections, found = measured.corrections()
    frames = acquisition.frames
    sizes = [pair.measurements.shape[2:] for pair in acquisition.pairs]
    with published_store(raw) as group, track(f"{dataset}: pairs", len(sizes)) as advance:
        writer = RfRawWriter(
            group,
            dataset=dataset,
            scene=acquisition.scene,
            frequencies=measured.frequencies,
            frames=frames,
            coherent=measured.coherent,
            model_error=acquisition.model_error,
            source=settings.source,
            provenance={**acquisition.provenance, **found},
        )
        writer.create_pairs(sizes, [pair.antennas for pair in acquisition.pairs])
        for index, pair in enumerate(acquisition.pairs):
            for name, values in pair.arrays.items():
                if name in PAIR_AXES:
                    writer.write_pair_array(index, name, values)
            for frame in range(frames):
                for band, values in measured.tiles(index, frame):
                    if corrections is not None:
                        correction = corrections[index]
                        clean = measured.corrected(index, frame, band, values, correction)
                    else:
                        clean = values
                    with record.phase("write"):
                        writer.write_measurements(frame, index, clean, first_frequency=band.start)
            advance()
        for name, values in acquisition.arrays.items():
            if name not in ("phase", "delay"):
                writer.write_array(name, values)
    record.record(
        format=settings.format,
        shape=list(acquisition.scene.shape),
        arrays={"y": [frames, len(sizes), len(measured.frequencies), *sizes[0]]},
        **found,
    )
