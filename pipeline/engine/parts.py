"""The named parts that predictions of memory are made of."""

from collections.abc import Mapping

from pipeline.engine.stream import TILES_AT_ONCE
from pipeline.engine.work import MriSizes, Work
from pipeline.storage.chunks import CHUNK_BYTES

Parts = Mapping[str, int]
"""Bytes by what they are for."""

_STORED_NUMBER = 8
"""Measurements are stored as complex64."""

POSITIONS_AT_ONCE = 2**20
"""Samples whose positions a reader brings into the form of a tile at one moment."""


def tile_bytes(work: Work) -> int:
    """Return the bytes of the samples of one tile as they are read."""
    return work.image_batch * work.channel_batch * work.tile_samples * _STORED_NUMBER


def staged_bytes(work: Work) -> dict[str, int]:
    """Return what passes through the host of a job that computes on a device."""
    parts = {}
    if work.stage != "sum":
        sizes = work.sizes
        positions = 0
        if isinstance(sizes, MriSizes):
            trajectories = 1 if sizes.shared_trajectory else work.image_batch
            positions = trajectories * work.tile_samples * 4 * (len(work.shape) + 1)
        # As read and in pinned memory; and what reading itself needs.
        parts["tiles as read"] = TILES_AT_ONCE * (tile_bytes(work) + positions) + 4 * CHUNK_BYTES
    if isinstance(work.sizes, MriSizes) and work.sizes.maps:
        parts["coil maps as read"] = maps_bytes(work)
    return parts


def maps_bytes(work: Work) -> int:
    """Return the bytes of the coil maps that are held at one moment: all, or those of two tiles."""
    sizes = work.sizes
    if not isinstance(sizes, MriSizes) or not sizes.maps:
        return 0
    coils = sizes.coils
    if not sizes.resident:
        # In double precision also as stored.
        tiles = TILES_AT_ONCE + (work.machine.itemsize > _STORED_NUMBER)
        coils = min(coils, tiles * work.channel_batch)
    return coils * work.voxel_bytes


def reading_bytes(work: Work) -> int:
    """Return what the reader needs besides the tiles: one readout range of one channel, a chunk."""
    return work.tile_samples * _STORED_NUMBER + CHUNK_BYTES
