"""Coil maps, copied from the source or estimated from the centre of k-space."""

import itertools
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration import compression, density
from pipeline.mri.calibration.centre import (
    CentreGrid,
    box_shape,
    centre_images,
    centre_of_kspace,
    coils_together,
    slab_readouts,
)
from pipeline.mri.calibration.espirit import (
    eigenproblem,
    espirit_bytes,
    espirit_maps,
    patch_width,
    trust,
)
from pipeline.mri.calibration.walsh import covariance_bytes, walsh_maps
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import SAMPLES_AT_A_TIME
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.nufft_memory import nufft_workspace_bytes
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.storage.calibration import (
    MAP_BYTES,
    CalibrationArrays,
    create_sensitivities,
    map_chunks,
)
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr
    from torch import Tensor

NAME = "coil_maps"

Places = list[NDArray[np.float64]]
"""Along z, y and x, fractional indices into the coarse grid."""
Found = Callable[[Places], "tuple[Tensor, Tensor | None]"]
"""Returns maps ``(set, coil, z, y, x)`` and, of ESPIRiT, eigenvalues ``(set, z, y, x)``."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``source``, ``espirit``, ``walsh`` or ``none``; see `pipeline.engine.chain.Step`."""
    wanted, in_source = job.settings.calibration.coil_maps, "sensitivities" in job.acquired.arrays
    if wanted == "source" and not in_source:
        raise DataError(
            f"{job.dataset}: calibration.coil_maps is source, but the source has no coil "
            "maps; set it to auto or espirit, or name `sensitivities` in the dataset's arrays"
        )
    if wanted == "source" or (wanted == "auto" and in_source):
        return "source"
    coils = compression.most_coils(job)
    if wanted == NONE or coils == 1:
        return NONE
    if wanted == "walsh":
        return "walsh"
    _require_coils(job, coils)
    return "espirit"


def _require_coils(job: Calibrating, coils: int) -> None:
    """Refuse more sets of maps than there are coils, which have no more that is independent."""
    sets = job.settings.calibration.espirit.sets
    if sets > coils:
        raise DataError(
            f"{job.dataset}: calibration.espirit.sets is {sets}, and there are {coils} coils; "
            "take fewer sets, or more virtual coils"
        )


def _grid(job: Calibrating) -> CentreGrid:
    """Return the coarse grid that maps are estimated on."""
    width = job.settings.calibration.calibration_width
    return CentreGrid(job.acquired.shape, width, box=job.methods[NAME] == "espirit")


def map_sets(job: Calibrating) -> int:
    """Return how many sets of maps there will be."""
    if job.methods[NAME] == "source":
        return math.prod(job.acquired.arrays["sensitivities"][4:])
    return job.settings.calibration.espirit.sets if job.methods[NAME] == "espirit" else 1


def _patch_width(job: Calibrating) -> int:
    """Return the extent of ESPIRiT's patches."""
    chosen = job.settings.calibration.espirit.width
    return patch_width(len(job.acquired.shape)) if chosen == "auto" else chosen


def needs(job: Calibrating) -> list[Need]:
    """Return what copying needs, or gridding the centre, its covariances, and interpolation."""
    acquired, on_device = job.acquired, job.on_device
    coils = compression.most_coils(job)
    if job.methods[NAME] == "source":
        volume = (acquired.arrays["sensitivities"][1], *as_volume(acquired.shape)[1:])
        planes = 8 * map_chunks(volume)[0] * math.prod(volume[1:])
        geometric = job.methods[compression.NAME] == "geometric"
        # Of the source, packed and unpacked: they are larger than those of the copy.
        chunks = 2 * min(CHUNKS_AT_ONCE, acquired.coils) * min(CHUNK_BYTES, 8 * math.prod(volume))
        return [
            Need(
                {
                    # Mixed at each position, they are put in another order.
                    "planes of the maps": planes * ((1 + geometric) * acquired.coils + 2 * coils),
                    "chunks of the maps": chunks,
                }
            )
        ]
    calibration, nufft = job.settings.calibration, job.settings.nufft
    axes = len(acquired.shape)
    centre = _grid(job)
    grid = centre.shape
    voxels = math.prod(grid)
    images = 8 * coils * voxels

    mixed = coils if compression.mixed_bytes(job, 1) else 0
    slab = min(slab_readouts(axes, acquired.samples, mixed), acquired.readouts) * acquired.samples
    tile = min(coils, coils_together(slab))
    width = math.sqrt(axes) * (calibration.calibration_width + 4) if centre.box else 0
    width = max(width, calibration.calibration_width)
    inside = int(slab * compression.share_in_centre(acquired, width))
    transform, resident = nufft_workspace_bytes(
        grid,
        inside,
        tile,
        backend=choose_backend(
            grid,
            "cuda" if on_device else "cpu",
            nufft.backend,
            tolerance=nufft.tolerance,
            dtype=np.dtype(np.complex64),
            elsewhere=True,
        ),
        tolerance=nufft.tolerance,
        itemsize=8,
        threads=job.threads,
        workers=job.threads if not on_device else 1,
        oversampling=nufft.oversampling,
    )
    on_grid = {"coil maps: coil images": images}
    at_once = min(slab, SAMPLES_AT_A_TIME)
    trajectory = {"coil maps: trajectory": 4 * axes * slab}
    tapering = {**trajectory, "coil maps: taper": 8 * slab + 16 * (axes + 1) * at_once}
    tapered = {"coil maps: taper": 9 * slab}
    placing = {**trajectory, **tapered, "coil maps: points of the centre": 20 * axes * inside}
    # As they are stored, and times the taper.
    weighting = {**tapered, "coil maps: weights": 12 * slab}
    samples = 8 * tile * (slab + 2 * inside) + 24 * inside + compression.mixed_bytes(job, slab)
    gridding = {**tapered, "coil maps: samples": samples}
    transformed = {"coil maps: transform": resident, **on_grid}
    transforming = {"coil maps: transform": transform + 8 * tile * voxels, **on_grid}
    phases = []
    if job.methods[density.NAME] == NONE:  # then weights are held for one frame after the other
        phases = density.weights_needs(job, density.computed_method(acquired.pattern))
        kept = {"density: weights held": density.held_bytes(acquired)}
        tapering, placing, weighting, gridding = (
            {**parts, **kept} for parts in (tapering, placing, weighting, gridding)
        )
    volume = as_volume(acquired.shape)
    # As interpolated, its squares, and divided by their root; then in chunks as they are written.
    slab_of_maps = (map_chunks(volume)[0], *volume[1:])
    full = 8 * coils * math.prod(slab_of_maps)
    chunked = {"chunks of the maps": 2 * min(full, CHUNKS_AT_ONCE * MAP_BYTES)}
    writing = {"coil maps: planes of the maps": 3 * full, **on_grid}
    if (sets := map_sets(job)) > 1:  # found where they are wanted, and of no coarse grid
        *_, solving = espirit_bytes(box_shape(centre), slab_of_maps, coils, _patch_width(job))
        writing = {"coil maps: planes of the maps": (sets + 2) * full, **solving}
    # Each phase by what the host holds, and what is held where the transforms are.
    both = [
        *(({**tapered, **phase.host}, {**transformed, **phase.device}) for phase in phases),
        (tapering, on_grid),
        (placing, {"coil maps: transform": transform, **on_grid}),
        (weighting, transformed),
        (gridding, transforming),
        *(({}, parts) for parts in _estimating(job, coils)),
        (chunked, writing),
    ]
    if on_device:
        both[-1] = ({"coil maps: planes of the maps": full, **chunked}, writing)
        return [Need(host, device) for host, device in both]
    return [Need({**host, **device}) for host, device in both]


def _estimating(job: Calibrating, coils: int) -> list[dict[str, int]]:
    """Return what maps need where they are found from images of the centre, by phase."""
    grid = _grid(job)
    voxels = math.prod(grid.shape)
    images = 8 * coils * voxels
    if job.methods[NAME] == "walsh":
        covariances = covariance_bytes(grid.shape, coils)
        return [{"coil maps: coil images": 3 * images, "coil maps: covariances": covariances}]
    region = box_shape(grid)
    # The centre itself, and maps with their eigenvalues.
    kept = {"coil maps: coil images": 8 * coils * math.prod(region) + images + 4 * voxels}
    phases = espirit_bytes(region, as_volume(grid.shape), coils, _patch_width(job))
    if map_sets(job) > 1:
        phases.pop()
    return [{"coil maps: coil images": 4 * images}, *({**kept, **parts} for parts in phases)]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the settings that would make the estimate of maps need less memory."""
    names = (*need.host, *need.device)
    if not any(name.startswith(("coil maps", "ESPIRiT")) for name in names):
        return []
    width = job.settings.calibration.calibration_width
    espirit = any(name.startswith("ESPIRiT") for name in names)
    return [
        *(["calibration.virtual_coils: fewer"] if espirit else []),
        *(["a smaller calibration.espirit.width"] if espirit and _patch_width(job) > 3 else []),
        *(["a smaller calibration.calibration_width"] if width > 8 else []),
        "calibration.coil_maps: source, with maps in the dataset's arrays",
    ]


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the maps on the dataset's matrix, of parallel slices those of each slice."""
    receipt.record(coils=raw.coils)
    data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
    if job.methods[NAME] == "source":
        with receipt.phase("copy_maps"):
            depth = job.acquired.arrays["sensitivities"][1]
            sets = (raw.map_sets,) if raw.map_sets > 1 else ()
            volume = (data.coils, depth, *as_volume(raw.shape)[1:])
            stored = create_sensitivities(group, (*sets, *volume))
            for number, planes in itertools.product(
                range(raw.map_sets), pieces(depth, stored.chunks[-3])
            ):
                of_set = (number,) if sets else ()
                maps = data.sensitivities(planes=planes, number=number)
                stored[(*of_set, slice(None), planes)] = np.asarray(maps)
        receipt.record(map_sets=raw.map_sets)
        return {}
    shape = as_volume(raw.shape) if raw.slices == 1 else (raw.slices, *raw.shape[-2:])
    sets = (map_sets(job),) if map_sets(job) > 1 else ()
    if sets:
        _require_coils(job, data.coils)  # compressed to a share of the energy they may be few
        receipt.record(map_sets=sets[0])
    stored = create_sensitivities(group, (*sets, data.coils, *shape), apart=raw.slices > 1)
    each = raw.frames // raw.slices
    for number in range(raw.slices):
        frames = range(number * each, (number + 1) * each)
        _estimate(data, group, job, receipt, frames, stored, number)
    return {}


def _estimate(
    data: CorrectedData,
    group: "zarr.Group",
    job: Calibrating,
    receipt: Receipt,
    frames: range,
    stored: "zarr.Array[Any]",
    first_plane: int,
) -> None:
    """Write the maps that some frames tell, from a plane of ``stored`` on."""
    grid, how = _grid(job), job.methods[NAME]
    with receipt.phase("centre"):
        images = _centre_images(data, group, grid, job, frames)
    found: Found
    with receipt.phase(how):
        if how == "walsh":
            found = _interpolated(walsh_maps(images))
        else:
            size = images.shape[1:]
            region = centre_of_kspace(images, grid)
            del images
            width, threshold = _patch_width(job), job.settings.calibration.espirit.threshold
            if (sets := map_sets(job)) > 1:
                problem = eigenproblem(region, width=width, threshold=threshold)
                found = partial(problem.at, grid=size, sets=sets)
            else:
                found = _interpolated(*espirit_maps(region, size, width=width, threshold=threshold))
    with receipt.phase("interpolate"):
        _write_maps(data, stored, first_plane, grid, found, job)


def _centre_images(
    raw: RawData, group: "zarr.Group", grid: CentreGrid, job: Calibrating, frames: range
) -> "Tensor":
    """Return coil images of low resolution, of some frames together."""
    stored: Any = group.get("weights")
    how = "source" if stored is not None else density.computed_method(density.pattern_of(raw))

    # Asked for slab after slab, of one frame or of frames that share their density.
    @lru_cache(maxsize=1)
    def computed(frame: int) -> density.Weights:
        return density.frame_weights(raw, how, frame, job)

    def weights(frame: int) -> density.Weights:
        if stored is None:
            return computed(frame if raw.own_trajectory else 0)
        row = frame if stored.shape[0] > 1 else 0
        return lambda readouts: np.asarray(stored[row, readouts])

    return centre_images(
        raw,
        weights,
        grid,
        nufft=job.settings.nufft,
        device=job.device,
        threads=job.threads,
        who=job.dataset,
        frames=frames,
    )


def _interpolated(maps: "Tensor", eigenvalues: "Tensor | None" = None) -> Found:
    """Return what tells one set of maps, and eigenvalues, from those on the coarse grid."""
    from pipeline.mri.calibration.coilmaps import interpolated, unit_norm

    def found(where: Places) -> "tuple[Tensor, Tensor | None]":
        values = None if eigenvalues is None else interpolated(eigenvalues[None], where)
        return unit_norm(interpolated(maps, where))[None], values

    return found


def _write_maps(
    raw: RawData,
    stored: "zarr.Array[Any]",
    first_plane: int,
    grid: CentreGrid,
    found: Found,
    job: Calibrating,
) -> None:
    """Write maps on the full matrix, some planes of all coils at a time.

    They are zero, or small, where the eigenvalues are smaller than the settings ask for.
    """
    volume, chosen = as_volume(raw.shape), job.settings.calibration.espirit
    planes, rows, columns = grid.coordinates
    with track(f"{job.dataset}: planes of coil maps", volume[0]) as advance:
        for slab in pieces(volume[0], stored.chunks[-3]):
            maps, eigenvalues = found([planes[slab], rows, columns])
            if eigenvalues is not None and (chosen.crop or chosen.soft):
                maps *= trust(eigenvalues, chosen.crop, soft=chosen.soft)[:, None]
            place = slice(first_plane + slab.start, first_plane + slab.stop)
            stored[..., place, :, :] = (maps if stored.ndim == 5 else maps[0]).cpu().numpy()
            advance(slab.stop - slab.start)
