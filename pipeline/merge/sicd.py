"""The complex image of a radar over the Earth as SICD, written by sarkit [1]_.

Rows lead away from the radar, as far as an axis of the scene does, and the image is seen from
above. Pixels are relative to the plane wave of the middle of the band (``KCtr``), as other programs
expect them.

References
----------
.. [1] NGA.STND.0024, "Sensor Independent Complex Data (SICD)", version 1.4.0 (2024).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.errors import DataError, DependencyError
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.sicd_grid import SicdGrid
from pipeline.merge.slices import StoredImages
from pipeline.pieces import pieces
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.archives import Table
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE

_LIBRARY_BYTES = 16 * 10**6
"""Of sarkit, lxml and jbpy; measured."""


def write_sicd(path: Path, merged: Merged) -> None:
    """Write the only image, complex64, a row of its chunks at a time."""
    try:
        from sarkit import sicd
    except ImportError:
        raise DependencyError(
            "`output.sicd` needs the package sarkit: `pip install 'kronufft[sar]'`, or set it to "
            "false"
        ) from None
    from pipeline.merge.sicd_metadata import metadata

    radar, images = merged.radar, merged.images
    assert radar is not None  # `Output.unsuited`
    grid = SicdGrid.of(merged.affine, images.shape, radar)
    about = metadata(grid, radar, merged.title, autofocused=_autofocused(merged))
    parts = sicd.jbp_from_nitf_metadata(about)
    together = images.chunks[3 if grid.transposed else 2]
    with path.open("wb") as file, sicd.NitfWriter(file, about, jbp_override=parts):
        first = 0
        for segment in parts["ImageSegments"]:
            file.seek(segment["Data"].get_offset())
            count = segment["subheader"]["NROWS"].value
            for some in pieces(count, together):
                file.write(_rows(images, grid, first + some.start, first + some.stop).data)
            first += count


def _autofocused(merged: Merged) -> bool:
    """Tell whether `calibrate` has found a phase of each pulse by the image itself."""
    account = merged.history().get("stages", {}).get("calibrate", {})
    settings = account.get("settings", {}).get("calibration", {})
    return bool(settings.get("autofocus", "none") != "none")


def _rows(images: StoredImages, grid: SicdGrid, start: int, stop: int) -> NDArray[np.generic]:
    """Return some rows as they are stored, big-endian."""
    rows, columns = grid.shape
    some = slice(start, stop) if grid.signs[0] > 0 else slice(rows - stop, rows - start)
    selection = (slice(None), some) if grid.transposed else (some, slice(None))
    found = np.asarray(images[(slice(0, 1), slice(0, 1), *selection)])[0, 0]
    found = (found.T if grid.transposed else found)[:: grid.signs[0], :: grid.signs[1]]
    # Turns from the reference point on, in double precision: there are many.
    turns = [
        np.remainder(k * step * (np.arange(*span) - middle), 1)
        for k, step, span, middle in zip(
            grid.centre, grid.spacing, ((start, stop), (0, columns)), grid.middle, strict=True
        )
    ]
    along, across = (np.exp(-2j * np.pi * each).astype(np.complex64) for each in turns)
    return np.ascontiguousarray(found * along[:, None] * across, ">c8")


def _check(shape: tuple[int, ...]) -> None:
    if shape[0] > 1 or shape[1] > 1:
        raise DataError(
            f"images of shape {shape}, (frame, z, y, x), do not fit SICD, which holds one plane at "
            "one time; set `output.sicd: false`"
        )


def _unsuited(acquisition: Acquisition, tables: Mapping[str, Table]) -> str:
    """Return why not, unless one platform sent and received: else SICD asks for more."""
    radar = acquisition.radar
    if radar is not None and radar.details["type"] == "MONOSTATIC":
        return ""
    return "for monostatic CPHD alone"


def _needs(images: Images, threads: int) -> dict[str, int]:
    """Return what a row of chunks takes: as read, with its phases, and as it is written."""
    row = (
        max(images.chunk[2] * images.shape[3], images.chunk[3] * images.shape[2]) * images.itemsize
    )
    return {"SICD: a row of chunks": 4 * row + min(row, CHUNKS_AT_ONCE * CHUNK_BYTES)}


OUTPUT = Output(
    about="Complex image, SICD",
    encoding="application/vnd.nitf",
    write=write_sicd,
    needs=_needs,
    resident_bytes=_LIBRARY_BYTES,
    check=_check,
    unsuited=_unsuited,
)
