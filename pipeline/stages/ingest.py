"""`ingest`: bring an acquisition of any format into `raw.zarr`, and refuse bad data."""

from importlib import import_module
from pathlib import Path

from pipeline.config.sources import IngestSettings, reader_module
from pipeline.engine import processes
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.files import why_unreadable
from pipeline.formats.content import store_content
from pipeline.kinds import part_of
from pipeline.storage.claims import note_input, source_checksum
from pipeline.storage.layout import TILE_BYTES
from pipeline.storage.receipts import Receipt


def ingest_memory() -> Need:
    """Return what ingesting needs, whatever the size of the acquisition: one tile at a time."""
    return Need(
        {
            "process": processes.INGEST,
            "tile as read, in double precision": 2 * TILE_BYTES,
            "tile as stored, its magnitudes and checks": 2 * TILE_BYTES,
        }
    )


def ingest(*, settings: IngestSettings, dataset: str, raw: Path, receipt: Path) -> None:
    """Stream a source, or a simulation, into raw.zarr.

    Memory does not grow with the acquisition.

    Raises
    ------
    ConfigError
        If settings are missing or do not fit the source.
    DataError
        If the source is missing, unreadable, empty, contradictory, not finite, or in other units.
    """
    with Receipt(receipt, "ingest", settings=settings, dataset=dataset) as record:
        for file in settings.files():
            if reason := why_unreadable(file, folder=True):
                raise DataError(f"{dataset}: {file}: {reason}; check `source` and `data_root`")
            try:
                note_input(file, source_checksum)
            except OSError as error:
                raise DataError(f"{dataset}: {file}: not readable ({error.strerror})") from None
        reader = import_module(reader_module(settings.kind, settings.format))
        with reader.open_source(settings, dataset) as acquisition:
            content = part_of(settings.kind, "ingest").content_of(acquisition, settings, dataset)
            store_content(content, raw, dataset, record)
        record.record(format=settings.format)
