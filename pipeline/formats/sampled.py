"""The tests of `ingest` on headers and samples of a source, without a copy of it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.content import Content, Extent, require_finite
from pipeline.formats.lazy import part_bytes
from pipeline.storage.layout import tiles
from pipeline.storage.receipts import Receipt

_WHOLE_BYTES = 2**26
"""An array up to this size is looked at as a whole."""
_TILES = 3
"""Of a larger one so many tiles are read, spread over it."""


def check_samples(
    content: Content, extents: Mapping[str, Extent], dataset: str, record: Receipt
) -> list[str]:
    """Test the values of small arrays, and samples of large ones.

    Parameters
    ----------
    extents
        The tiles of `pipeline.formats.content.planned_tiles`, for which there is memory.

    Returns
    -------
    list of str
        The paths of the arrays of which only samples were looked at.

    Raises
    ------
    DataError
        As `ingest` would.
    """
    partly = []
    for path, extent in extents.items():
        array, expected = content.arrays[path], content.table[path]
        check = content.checks[path](array.shape) if path in content.checks else None
        parts = list(tiles(array.shape, extent))
        if part_bytes(array, array.shape) > _WHOLE_BYTES and len(parts) > _TILES:
            partly.append(path)
            parts = [parts[at * (len(parts) - 1) // (_TILES - 1)] for at in range(_TILES)]
        for tile in parts:
            with np.errstate(over="ignore"):  # an overflow is infinite, and found below
                values: NDArray[np.generic] = array[tile].astype(expected.dtype, copy=False)
            require_finite(content, path, values, tile, dataset)
            if check is not None:
                check.passed(values, tile)
        if check is not None and path not in partly:
            check.finish(record)
    return partly
