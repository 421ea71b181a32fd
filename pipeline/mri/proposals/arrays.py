"""NumPy, HDF5 and MATLAB files, whose arrays say neither what they are nor what their axes mean."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.base import nearest
from pipeline.errors import ConfigError, DataError
from pipeline.formats.array_files import ArrayFile, open_file
from pipeline.formats.proposal import Held, Proposal, Told, unknown
from pipeline.mri.proposals.roles import Role, roles
from pipeline.mri.proposals.trajectory import (
    SPATIAL,
    Draft,
    Opened,
    Sizes,
    propose_trajectory,
)

_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat")
_MOST_COILS = 256


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe arrays by their names, sizes and values."""
    files = [file for path in paths for file in _files(path)]
    if not files:
        return None
    with ExitStack() as stack:
        opened = {file: open_file(file, stack, "init") for file in files}
        arrays = _arrays(opened)
        held = [Held.of(name, array) for name, (array, _, _) in arrays.items()]
        grid = bool({*SPATIAL} & {*told.axes.get("kspace", ())})
        found = roles(held, told.names, grid=grid)
        _check_axes(told, found)
        source = files[0] if len(files) == 1 else files[0].parent
        proposal = Proposal("mri", "arrays", source.name, str(source.parent), held)
        entries: dict[str, dict[str, Any]] = {}
        for name, role in found.items():
            entries[name] = _entry(role, arrays, several=len(files) > 1)
            proposal.say(f"arrays.{name}", role.reason, guess=role.guess)
        draft = Draft(proposal, told, found, entries, arrays)
        if grid:
            measured = _grid(draft)
            spatial = {axis: measured[axis] for axis in SPATIAL if axis in measured}
        else:
            axes, dimensions = propose_trajectory(draft)
            measured = _kspace_axes(draft, axes)
            spatial = dict(zip(SPATIAL[-dimensions:], proposal.settings["shape"], strict=True))
        _others(draft, measured, spatial)
    proposal.settings["arrays"] = entries
    if told.voxel_size is not None:
        proposal.settings["voxel_size"] = list(told.voxel_size)
    elif "voxel_size" not in proposal.settings:
        proposal.say("voxel_size", "not in the file; 1 mm is written into images", guess=True)
    return proposal


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    return [path]


def _arrays(opened: Mapping[Path, ArrayFile]) -> Opened:
    found = {}
    for path, file in opened.items():
        for name in file.names:
            try:
                array = file.array(name, "init")
            except DataError:  # text, structures
                continue
            if array.shape and 0 not in array.shape and np.dtype(array.dtype).kind in "fciu":
                known = name if len(opened) == 1 else f"{path.stem}/{name}"
                found[known] = (array, path, name)
    return found


def _entry(role: Role, arrays: Opened, *, several: bool) -> dict[str, Any]:
    """Return how a mapping names an array: by its file too, where there are several."""
    stored = dict(role.settings)
    for key in ("name", "real", "imag"):
        if key in stored:
            stored[key] = arrays[stored[key]][2]
    if "components" in stored:
        stored["components"] = [arrays[name][2] for name in stored["components"]]
    file = {"file": arrays[role.held.name][1].name} if several else {}
    return {**file, **stored}


def _check_axes(told: Told, found: Mapping[str, Role]) -> None:
    """Raise `ConfigError` where axes are told of no array, or more or fewer than it has."""
    for name, axes in told.axes.items():
        if name not in found:
            raise ConfigError(f"init: --axes: no array is `{name}`{nearest(name, list(found))}")
        role = found[name]
        components = name == "trajectory" and not (role.components or role.complex)
        if len(axes) != len(role.shape) or axes.count("axis") != components:
            which = ", of which `axis` are the components" if components else ""
            raise unknown(
                f"{name} has axes of {role.shape}{which}, and --axes names {', '.join(axes)}",
                f"a name for each, --axes {name}=...",
            )


def _grid(draft: Draft) -> dict[str, int]:
    """Set the axes of Cartesian k-space, as told; return their sizes."""
    if draft.told.units or draft.told.order or draft.told.shape:
        raise ConfigError(
            "init: k-space that is a grid has no units or order, and is the matrix; "
            "leave out --units, --order and --shape"
        )
    names, shape = draft.told.axes["kspace"], draft.found["kspace"].shape
    draft.entries["kspace"]["axes"] = list(names)
    draft.proposal.settings["trajectory"] = {"kind": "cartesian"}
    draft.proposal.say(
        "trajectory.kind", "k-space has axes of the image: what is zero there was not measured"
    )
    return {name: size for name, size in zip(names, shape, strict=True) if name != "1"}


def _kspace_axes(draft: Draft, known: Sizes) -> dict[str, int]:
    """Set the axes of k-space; return their sizes."""
    shape, told = draft.found["kspace"].shape, draft.told.axes.get("kspace")
    names = list(told) if told is not None else _matched_axes(draft, shape, known)
    rest = [axis for axis, name in enumerate(names) if not name]
    coils = _coils(draft, shape, rest)
    for axis in rest:
        names[axis] = "1" if shape[axis] == 1 else "coil" if axis == coils else "frame"
    if len([axis for axis in rest if shape[axis] > 1]) > 2:
        raise unknown(
            f"k-space has the axes {shape}, of which more than coils and frames are not the "
            "trajectory's",
            "--axes kspace=...",
        )
    draft.entries["kspace"]["axes"] = names
    if told is None and rest:
        several = len([axis for axis in rest if shape[axis] > 1]) > 1
        alike = len({size for size in shape if size > 1}) < sum(size > 1 for size in shape)
        draft.proposal.say(
            "arrays.kspace.axes",
            "sizes of readouts and samples are the trajectory's; "
            + (f"the {shape[coils]} are taken for coils" if coils is not None else "no coils"),
            guess=several or alike or (coils is not None and shape[coils] > 64),
        )
    return {name: size for name, size in zip(names, shape, strict=True) if name != "1"}


def _matched_axes(draft: Draft, shape: tuple[int, ...], known: Sizes) -> list[str]:
    """Return names for the axes that are the trajectory's; empty for the rest.

    Either of the two may join readouts and samples.
    """
    settings, by_name = draft.proposal.settings, {name: size for size, name in known}
    length = settings.get("samples_per_readout")
    ways = [known]
    if length is not None:
        joined = by_name["readout sample"]
        ways.append([(joined // length, "readout"), (length, "sample")])
    elif {"readout", "sample"} <= set(by_name):
        both = by_name["readout"] * by_name["sample"]
        frames = [pair for pair in known if pair[1] == "frame"]
        ways.append([*frames, (both, "readout sample")])
    for way in ways:
        names = _matched(shape, way)
        if names is not None:
            if "readout sample" in names:
                settings["samples_per_readout"] = length or by_name["sample"]
            return names
    raise unknown(
        f"k-space has the axes {shape} and the trajectory {dict(by_name)}, which do not fit",
        "--axes kspace=coil,readout,sample",
    )


def _coils(draft: Draft, shape: tuple[int, ...], rest: Sequence[int]) -> int | None:
    """Return which of the axes that are left has the coils."""
    long = [axis for axis in rest if 1 < shape[axis] <= _MOST_COILS]
    if "sensitivities" in draft.found:
        sizes = draft.found["sensitivities"].shape
        by_maps = [axis for axis in long if shape[axis] in sizes]
        long = by_maps or long
    return long[-1] if long else None


def _others(draft: Draft, measured: Mapping[str, int], spatial: Mapping[str, int]) -> None:
    wanted = {
        "weights": ("frame", "readout", "sample"),
        "noise": ("coil", "sample"),
        "sensitivities": ("coil", *spatial),
        "reference": ("frame", *spatial),
    }
    for name, axes in wanted.items():
        if name not in draft.found:
            continue
        shape = draft.found[name].shape
        told = draft.told.axes.get(name)
        names = list(told) if told is not None else _in_order(
            shape, {axis: {**measured, **spatial}.get(axis) for axis in axes},
            free="sample" if name == "noise" else "",
        )  # fmt: skip
        if names is None:
            del draft.entries[name]
            draft.proposal.say(
                f"arrays.{name}",
                f"{draft.found[name].held.name} of shape {shape} does not fit and is left "
                f"out; --axes {name}=... takes it",
                guess=True,
            )
            continue
        draft.entries[name]["axes"] = names


def _matched(shape: tuple[int, ...], known: Sizes) -> list[str] | None:
    """Return names for the axes whose sizes are known; empty for the rest.

    Of several axes of a size, frames are the first and what is within them the last.
    """
    names = [""] * len(shape)
    for size, name in reversed(known):
        fitting = [axis for axis, extent in enumerate(shape) if extent == size and not names[axis]]
        if fitting:
            names[fitting[0 if name == "frame" else -1]] = name
        elif name != "frame":
            return None
    return names


def _in_order(
    shape: tuple[int, ...], sizes: Mapping[str, int | None], free: str
) -> list[str] | None:
    """Return names for axes that follow each other in some order; None where sizes do not fit."""
    names, left = [], dict(sizes)
    for extent in shape:
        fitting = [axis for axis, size in left.items() if size == extent]
        if extent == 1 and not fitting:
            names.append("1")
        elif fitting:
            names.append(fitting[0])
            del left[fitting[0]]
        elif free in left:
            names.append(free)
            del left[free]
        else:
            return None
    missing = [axis for axis, size in left.items() if (size or 1) > 1 and axis != "frame"]
    return None if missing else names
