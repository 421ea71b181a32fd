"""Open an ingested acquisition, of whichever kind it is."""

from pathlib import Path

from pipeline.errors import DataError
from pipeline.storage.publish import open_published
from pipeline.storage.raw import RawData
from pipeline.storage.rf_raw import RfRawData

Acquisition = RawData | RfRawData


def open_raw(marker: Path) -> Acquisition:
    """Return the acquisition that ``marker`` stands for.

    Raises
    ------
    DataError
        If marker or store is missing or incomplete, or its kind is unknown.
    """
    group = open_published(marker)
    match group.attrs.get("kind"):
        case "mri":
            return RawData(group, marker)
        case "rf":
            return RfRawData(group, marker)
        case other:
            raise DataError(f"{marker}: its store has kind = {other!r}; run `ingest` again")
