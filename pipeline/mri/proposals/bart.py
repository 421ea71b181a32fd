"""BART's files, whose dimensions say what the axes are; which file is what, their sizes tell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.formats.flat_file import FlatFile
from pipeline.formats.proposal import Held, Proposal, Told, unknown
from pipeline.mri.formats.bart import open_cfl

_COMPONENTS, _COIL = 3, 3
"""Size of dimension 0 of a trajectory; number of the coils' dimension."""


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe a folder of ``.cfl`` files, or those that are named."""
    files = [file for path in paths for file in _files(path)]
    if not files:
        return None
    if told.units or told.order or told.axes:
        raise ConfigError("init: BART fixes axes, units and order; leave these options out")
    folder = files[0].parent
    bases = sorted({file.name.rpartition(".")[0] for file in files})
    opened = {base: open_cfl(folder / base) for base in bases}
    held = [Held.of(base, array) for base, array in opened.items()]
    found = Proposal("mri", "bart", ".", str(folder), held)
    sizes = {base: tuple(reversed(array.shape)) for base, array in opened.items()}

    trajectory = told.names.get("trajectory") or _first(
        base for base, size in sizes.items() if size[0] == _COMPONENTS and _real(opened[base])
    )
    if trajectory is None:
        raise unknown("no file has three components along dimension 0", "--array trajectory=BASE")
    samples = sizes[trajectory][1:3]
    kspace = told.names.get("kspace") or _first(
        base for base, size in sizes.items() if size[0] == 1 and size[1:3] == samples
    )
    if kspace is None:
        raise unknown(
            f"no file has the {samples} samples and readouts of {trajectory} along its dimensions "
            "1 and 2",
            "--array kspace=BASE",
        )
    names = {"kspace": kspace, "trajectory": trajectory}
    found.say("bart.trajectory", "three real components along dimension 0")
    found.say("bart.kspace", "its samples and readouts are the trajectory's")
    coils = _size(sizes[kspace], _COIL)
    maps = told.names.get("sensitivities") or _first(
        base
        for base, size in sizes.items()
        if base not in names.values() and size[0] > 1 and _size(size, _COIL) == coils > 1
    )
    if maps is not None:
        names["sensitivities"] = maps
        found.say("bart.sensitivities", f"an image for each of the {coils} coils", guess=True)
    found.settings["bart"] = names
    _matrix(found, told, opened[trajectory], None if maps is None else sizes[maps])
    return found


def _matrix(
    found: Proposal, told: Told, trajectory: FlatFile, maps: tuple[int, ...] | None
) -> None:
    values = trajectory[tuple(slice(None) for _ in trajectory.shape)].real
    reach = abs(values.reshape(-1, _COMPONENTS)).max(axis=0)[::-1]  # z, y, x
    axes = 3 if reach[0] else 2
    if told.shape is not None:
        shape, why = list(told.shape), "as told"
    elif maps is not None:
        shape, why = list(maps[axes - 1 :: -1]), "of the coil maps"
    else:
        shape = [2 * round(float(k)) for k in reach[-axes:]]
        why = "twice the largest |k|, which BART counts in cycles per field of view"
    found.settings["shape"] = shape
    found.say("shape", why, guess=told.shape is None and maps is None)
    if told.voxel_size is not None:
        found.settings["voxel_size"] = list(told.voxel_size)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.cfl"))
    if path.suffix in (".cfl", ".hdr"):
        return [path]
    base = path.with_name(path.name + ".cfl")
    return [base] if base.is_file() else []


def _real(array: FlatFile) -> bool:
    part = array[(slice(0, 1),) * (len(array.shape) - 3) + (slice(None),) * 3]
    return not part.imag.any()


def _size(sizes: tuple[int, ...], dimension: int) -> int:
    return sizes[dimension] if dimension < len(sizes) else 1


def _first(names: Any) -> str | None:
    return next(iter(names), None)
