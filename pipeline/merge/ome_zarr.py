"""Magnitude images at several resolutions, as OME-Zarr 0.5 for viewers.

References
----------
.. [1] J. Moore et al., "OME-Zarr: a cloud-optimized bioimaging file format with international
   community support", Histochem. Cell Biol. 160, 223-251 (2023).
.. [2] NGFF RFC-4, "Axis Anatomical Orientation".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.images import Images
from pipeline.geometry.orientation import anatomical_directions
from pipeline.merge.chunks import store_chunks, storing_bytes
from pipeline.merge.coarser import Coarser, level_factors
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.slices import StoredImages
from pipeline.storage.chunks import CHUNK_BYTES, image_chunks, image_codecs

# Viewers fetch whole chunks: small ones come up fast. They also bound the memory of a task, which
# reads eight of the finer level for one of its own.
_CHUNK_BYTES = 2**20
_SPACE = ("z", "y", "x")
_FIRST = {"frame": ("t", "time"), "coefficient": ("c", "channel")}
"""Name and type of the first axis, by what images are."""


def write_pyramid(path: Path, merged: Merged) -> None:
    """Write the magnitude of images as an OME-Zarr pyramid: a folder, which must not exist.

    Each level holds the mean over 2 voxels an axis of the level before. OME-Zarr 0.5 knows no
    rotation: of turned axes the positions are those along the image's own. Axes say where in the
    patient they lead most nearly, as proposed in [2]_, and the attributes ``affine`` and
    ``oriented`` are those of ``image.zarr``.
    """
    import zarr

    image = merged.images
    group = zarr.open_group(path, mode="w", zarr_format=3)
    levels = level_factors(image.shape)
    previous: StoredImages = image
    for level, factors in enumerate(levels):
        shape = tuple(size // factor for size, factor in zip(image.shape, factors, strict=True))
        target = group.create_array(
            str(level),
            shape=shape,
            dtype="float32",
            chunks=image_chunks(shape, 4, target_bytes=_CHUNK_BYTES),
            dimension_names=(_FIRST[merged.along][0], *_SPACE),
            compressors=image_codecs(np.dtype("float32")),
        )
        before = levels[max(level - 1, 0)]
        source = Coarser(previous, [now // then for now, then in zip(factors, before, strict=True)])
        store_chunks(source, target, threads=merged.threads)
        previous = target
    group.attrs.update(
        {
            "ome": _metadata(levels, merged),
            "affine": merged.affine.tolist(),
            "oriented": merged.oriented,
        }
    )


def _metadata(levels: Sequence[tuple[int, ...]], merged: Merged) -> dict[str, Any]:
    """Return the OME attributes; positions are those of voxel centres."""
    sizes = np.asarray(merged.voxel_size)
    # Of the first voxel, seen along the image's own axes.
    first = np.linalg.solve(merged.affine[:3, :3] / sizes, merged.affine[:3, 3])
    origin = [0.0, *(1e3 * first).tolist()]
    steps = [merged.duration or 1.0, *(1e3 * sizes).tolist()]
    time = {"unit": "second"} if merged.duration else {}
    space: list[dict[str, Any]] = [{"unit": "millimeter"} for _ in _SPACE]
    if merged.oriented:
        for axis, leads in zip(space, anatomical_directions(merged.affine), strict=True):
            axis["orientation"] = {"type": "anatomical", "value": leads}
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [step * factor for step, factor in zip(steps, factors, strict=True)],
                },
                {
                    "type": "translation",
                    "translation": [
                        place + step * (factor - 1) / 2
                        for place, step, factor in zip(origin, steps, factors, strict=True)
                    ],
                },
            ],
        }
        for level, factors in enumerate(levels)
    ]
    name, kind = _FIRST[merged.along]
    axes = [
        {"name": name, "type": kind, **time},
        *(
            {"name": each, "type": "space", **more}
            for each, more in zip(_SPACE, space, strict=True)
        ),
    ]
    multiscale = {"axes": axes, "datasets": datasets, "name": merged.title, "type": "mean"}
    return {"version": "0.5", "multiscales": [multiscale]}


def _needs(images: Images, threads: int) -> dict[str, int]:
    """Return what chunks take: one of the pyramid is computed from at most two of the images."""
    chunk = max(images.chunk_bytes, min(CHUNK_BYTES, 2 * images.chunk_bytes))
    return {"chunks in work": storing_bytes(threads, chunk)}


OUTPUT = Output(
    about="Magnitude at several resolutions, OME-Zarr",
    encoding="application/vnd+zarr",
    write=write_pyramid,
    needs=_needs,
    folder=True,
    checksums=True,
)
