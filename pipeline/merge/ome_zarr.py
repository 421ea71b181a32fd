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
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.geometry.orientation import anatomical_directions
from pipeline.merge.chunks import store_chunks, storing_bytes
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.slices import StoredImages
from pipeline.storage.chunks import CHUNK_BYTES, image_chunks, image_codecs

# Viewers fetch whole chunks: small ones come up fast. They also bound the memory of a task, which
# reads eight of the finer level for one of its own.
_CHUNK_BYTES = 2**20
# An axis is halved while it is longer, so thin volumes keep their slices.
_COARSEST = 64
_AXES = ("t", "z", "y", "x")


def level_factors(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return by how much each level of a pyramid is coarser than images ``[frame, z, y, x]``.

    Factors per axis are powers of two; the first are all 1. An odd last voxel is left out.
    """
    factors = [(1,) * len(shape)]
    sizes = tuple(shape)
    while max(sizes[1:]) > _COARSEST:
        halved = (1, *(2 if size > _COARSEST else 1 for size in sizes[1:]))
        sizes = tuple(size // half for size, half in zip(sizes, halved, strict=True))
        factors.append(tuple(a * b for a, b in zip(factors[-1], halved, strict=True)))
    return factors


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
            dimension_names=_AXES,
            compressors=image_codecs(np.dtype("float32")),
        )
        before = levels[max(level - 1, 0)]
        source = _Coarser(
            previous, [now // then for now, then in zip(factors, before, strict=True)]
        )
        store_chunks(source, target, threads=merged.threads)
        previous = target
    group.attrs.update(
        {
            "ome": _metadata(levels, merged),
            "affine": merged.affine.tolist(),
            "oriented": merged.oriented,
        }
    )


class _Coarser:
    """The mean magnitude over boxes of ``[frame, z, y, x]`` voxels, computed as it is read."""

    dtype = np.dtype("float32")
    ndim = len(_AXES)

    def __init__(self, array: StoredImages, factors: Sequence[int]) -> None:
        self.array = array
        self.factors = tuple(factors)
        self.shape = tuple(
            size // factor for size, factor in zip(array.shape, self.factors, strict=True)
        )

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[np.float32]:
        fine: list[slice] = []
        boxes: list[int] = []
        for part, size, factor in zip(selection, self.shape, self.factors, strict=True):
            start, stop, _ = part.indices(size)
            fine.append(slice(start * factor, stop * factor))
            boxes += [stop - start, factor]
        magnitude = np.abs(np.asarray(self.array[tuple(fine)])).astype(self.dtype, copy=False)
        mean: NDArray[np.float32] = magnitude.reshape(boxes).mean(axis=(1, 3, 5, 7))
        return mean


def _metadata(levels: Sequence[tuple[int, ...]], merged: Merged) -> dict[str, Any]:
    """Return the OME attributes; positions are those of voxel centres."""
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    sizes = np.asarray(merged.voxel_size)
    # Of the first voxel, seen along the image's own axes.
    first = np.linalg.solve(merged.affine[:3, :3] / sizes, merged.affine[:3, 3])
    origin = [0.0, *(1e3 * first).tolist()]
    steps = [merged.duration or 1.0, *(1e3 * sizes).tolist()]
    time = {"unit": "second"} if merged.duration else {}
    space: list[dict[str, Any]] = [{"unit": "millimeter"} for _ in _AXES[1:]]
    if merged.oriented:
        for axis, leads in zip(space, anatomical_directions(merged.affine), strict=True):
            axis["orientation"] = {"type": "anatomical", "value": leads}
    multiscale = Multiscale(
        name=merged.title,
        type="mean",
        axes=(
            Axis(name="t", type="time", **time),
            *(
                Axis(name=name, type="space", **more)
                for name, more in zip(_AXES[1:], space, strict=True)
            ),
        ),
        datasets=tuple(
            Dataset.build(
                path=str(level),
                scale=[step * factor for step, factor in zip(steps, factors, strict=True)],
                translation=[
                    place + step * (factor - 1) / 2
                    for place, step, factor in zip(origin, steps, factors, strict=True)
                ],
            )
            for level, factors in enumerate(levels)
        ),
    )
    attributes: dict[str, Any] = ImageAttrs(version="0.5", multiscales=[multiscale]).model_dump(
        mode="json", exclude_none=True
    )
    return attributes


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
