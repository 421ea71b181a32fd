"""`ingest`: bring an acquisition of any format into `raw.zarr`, and refuse bad data."""

from pathlib import Path

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.files import why_unreadable
from pipeline.formats.content import store_content
from pipeline.host_memory import return_freed_memory
from pipeline.opened_source import opened_source
from pipeline.storage.claims import note_input, source_checksum
from pipeline.storage.receipts import Receipt


def ingest(
    *, settings: IngestSettings, dataset: str, raw: Path, receipt: Path, ingest_mb: int = 600
) -> None:
    """Stream a source, or a simulation, into raw.zarr.

    Memory does not grow with the acquisition, but with what has to be read of it at once.

    Parameters
    ----------
    ingest_mb
        Limit of resident memory [MB].

    Raises
    ------
    PlanError
        If what has to be read at once, such as a compressed chunk, does not fit the limit: before
        it is read, with the arithmetic.
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
        budget = Budget(dataset, ingest_mb)
        return_freed_memory()
        with opened_source(settings, dataset, budget, raw) as source:
            record.record(
                predicted_host_bytes=source.need.host_bytes, limit_host_bytes=budget.limit_bytes
            )
            store_content(source.content, source.extents, raw, dataset, record)
        record.record(format=settings.format)
