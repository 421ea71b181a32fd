"""Zarr stores in the project's own layout, which say everything themselves."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError, DataError
from pipeline.formats.proposal import Held, Proposal, Told, refuse_names
from pipeline.formats.zarr_arrays import ZarrArray, opened_zarr
from pipeline.mri.arrays import ARRAYS


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe a store, its zip file, or the marker beside it."""
    (path, *others) = paths
    if others or not _is_store(path):
        return None
    store = path.with_suffix(".zarr") if path.suffix == ".json" else path
    with opened_zarr(store) as group:
        kind = group.attrs.get("kind")
        if kind != "mri":
            raise DataError(
                f"{path}: a Zarr store with kind = {kind!r}; `kronufft init` knows those of `mri`"
            )
        held = [
            Held.of(name, ZarrArray(array, name))
            for name, array in group.arrays()
            if name in ARRAYS
        ]
    refuse_names(told, "native")
    if told.units or told.order or told.shape:
        raise ConfigError("init: a store says its own matrix, units and order; leave these out")
    found = Proposal("mri", "native", path.name, str(path.parent), held)
    found.say("format", "a Zarr store that says its own axes, units and matrix")
    if told.voxel_size is not None:
        found.settings["voxel_size"] = list(told.voxel_size)
    return found


def _is_store(path: Path) -> bool:
    return (
        (path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup")))
        or path.name.endswith((".zarr", ".zarr.zip"))
        or (path.suffix == ".json" and path.with_suffix(".zarr").is_dir())
    )
