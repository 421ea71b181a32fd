"""What `ingest` needs. Pure."""

from pipeline.engine import processes
from pipeline.engine.needs import Need

_TILE = 64 * 2**20
"""Size of the tiles that it copies."""


def ingest_memory() -> Need:
    """Return what `ingest` needs, whatever the size of the acquisition: one tile at a time."""
    return Need(
        {
            "process": processes.INGEST,
            "tile as read, in double precision": 2 * _TILE,
            "tile as stored, its magnitudes and checks": 2 * _TILE,
        }
    )
