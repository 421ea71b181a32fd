"""What the trajectory among arrays is: its axes, units, components, and the matrix it was for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.formats.lazy import LazyArray
from pipeline.formats.proposal import Proposal, Told, unknown
from pipeline.mri.proposals.roles import Role
from pipeline.mri.proposals.sampling import likely_axes, matrix_of, readout_length, units_of

_READ_BYTES = 2**28
"""Of a trajectory, at most: what follows is taken to be like it."""
SPATIAL = ("z", "y", "x")

Sizes = Sequence[tuple[int, str]]
"""Length and name of axes, as stored."""

Opened = Mapping[str, tuple[LazyArray, Path, str]]
"""An array, its file and its name there, by a name that no other has."""


@dataclass(frozen=True)
class Draft:
    """A proposal on the way, and what it is made from."""

    proposal: Proposal
    told: Told
    found: Mapping[str, Role]
    entries: dict[str, dict[str, Any]]
    """The arrays of the settings, by our name."""
    arrays: Opened


def propose_trajectory(draft: Draft) -> tuple[Sizes, int]:
    """Fill in all that is said of the trajectory, and the matrix.

    Returns
    -------
    tuple
        The axes that k-space must match, and the number of image axes.
    """
    role = draft.found["trajectory"]
    stored = _component_axis(draft, role)
    points = _points(draft, role, stored)  # [*axes, component]
    axes, readouts = _sampling_axes(draft, points, stored)
    dimensions = points.shape[-1]
    _component_order(draft, role, dimensions)
    _units_and_matrix(draft, readouts, dimensions)
    return axes, dimensions


def _component_axis(draft: Draft, role: Role) -> int | None:
    """Return which stored axis has the components; None where they are stored apart."""
    if role.components or role.complex:
        return None
    if "trajectory" in draft.told.axes:
        return draft.told.axes["trajectory"].index("axis")
    allowed = (2, 3) if draft.told.shape is None else (len(draft.told.shape),)
    possible = [axis for axis, size in enumerate(role.shape) if size in allowed]
    measured = draft.found["kspace"].shape
    fitting = [
        axis for axis in possible if {*role.shape[:axis], *role.shape[axis + 1 :]} <= {1, *measured}
    ]
    ends = [axis for axis in fitting or possible if axis in (0, len(role.shape) - 1)]
    if not possible:
        raise unknown(
            f"no axis of the trajectory, of shape {role.shape}, can be its components",
            "--axes trajectory=readout,sample,axis",
        )
    return (ends or fitting or possible)[-1]


def _points(draft: Draft, role: Role, component: int | None) -> NDArray[np.float64]:
    """Return the trajectory as float64 ``[*axes, component]``, or its first part."""
    names = role.settings.get("components") or [role.held.name]
    parts = []
    for name in names:
        array = draft.arrays[name][0]
        size = math.prod(array.shape) * np.dtype(array.dtype).itemsize
        rows = array.shape[0]
        most = rows if component == 0 else max(1, min(rows, rows * _READ_BYTES // size))
        parts.append(array[(slice(0, most), *(slice(0, n) for n in array.shape[1:]))])
    if role.complex:
        return np.stack([parts[0].real, parts[0].imag], axis=-1).astype(np.float64)
    if component is None:
        return np.stack(parts, axis=-1).astype(np.float64)
    return np.moveaxis(np.asarray(parts[0], np.float64), component, -1)


def _sampling_axes(
    draft: Draft, points: NDArray[np.float64], component: int | None
) -> tuple[Sizes, NDArray[np.float64]]:
    """Return what the axes of k-space must match, by size, and readouts ``[readout, sample]``.

    Sets the trajectory's axes.
    """
    told = draft.told.axes.get("trajectory")
    extents = points.shape[:-1]
    if told is not None:
        names = [name for name in told if name != "axis"]
    else:
        names = _named_axes(draft, points, extents)
    written = list(names)
    if component is not None:
        written.insert(component, "axis")
    draft.entries["trajectory"]["axes"] = written
    sizes = [pair for pair in zip(extents, names, strict=True) if pair[1] != "1"]
    flat = points[tuple(0 if name in ("frame", "1") else slice(None) for name in names)]
    kept = [name for name in names if name not in ("frame", "1")]
    if kept == ["sample", "readout"]:
        flat = flat.swapaxes(0, 1)
    if flat.ndim == 2:
        length = draft.proposal.settings.get("samples_per_readout", len(flat))
        flat = flat.reshape(-1, length, flat.shape[-1])
    return sizes, flat


def _named_axes(draft: Draft, points: NDArray[np.float64], extents: tuple[int, ...]) -> list[str]:
    long = [axis for axis, size in enumerate(extents) if size > 1]
    names = ["1"] * len(extents)
    if not long or len(long) > 3:
        raise unknown(
            f"a trajectory with axes of {extents} beside its components",
            "--axes trajectory=readout,sample,axis",
        )
    if len(long) == 1:
        flat = points.reshape(-1, points.shape[-1])
        length = readout_length(flat)
        names[long[0]] = "sample" if length is None else "readout sample"
        if length is not None:
            draft.proposal.settings["samples_per_readout"] = length
            draft.proposal.say(
                "samples_per_readout", f"the trajectory jumps after every {length} samples"
            )
        return names
    sample, clear = likely_axes(points, long)
    rest = [axis for axis in long if axis != sample]
    readout = min(rest, key=lambda axis: abs(axis - sample))
    for axis in rest:
        names[axis] = "frame"
    names[sample], names[readout] = "sample", "readout"
    draft.proposal.say(
        "arrays.trajectory.axes",
        f"along the axis of {extents[sample]} it bends least, so these are samples; readouts "
        f"are the axis of {extents[readout]} next to it",
        guess=not clear or len(rest) > 1,
    )
    return names


def _units_and_matrix(draft: Draft, readouts: NDArray[np.float64], dimensions: int) -> None:
    told, entry = draft.told, draft.entries["trajectory"]
    largest = float(np.abs(readouts).max(initial=0.0))
    if told.units is not None:
        units, scale = told.units, 1.0
        draft.proposal.say("arrays.trajectory.units", "as told")
    else:
        found = units_of(largest, readouts.shape[1])
        if found is None:
            raise unknown(
                f"the trajectory reaches {largest:.6g}, and no units explain it",
                "--units, such as cycles_per_m",
            )
        units, scale = found.value
        draft.proposal.say("arrays.trajectory.units", found.reason, guess=found.guess)
    entry["units"] = units
    if scale != 1.0:
        entry["scale"] = scale
    if units.endswith("_per_m"):
        units, scale = units.replace("_per_m", "_per_voxel"), 1.0
        readouts = readouts * _voxels(draft, readouts, units)
    if told.shape is not None:
        shape, why, guess = list(told.shape), "as told", False
    elif (maps := _map_shape(draft, dimensions)) is not None:
        shape, why, guess = maps, "of the coil maps, or the reference", False
    else:
        by_values = matrix_of(readouts, units, scale, dimensions)
        shape, why, guess = by_values.value, by_values.reason, by_values.guess
        if units == "cycles_per_fov":
            shape = [shape[at] for at in _image_order(draft, dimensions)]
    if len(shape) != dimensions:
        raise ConfigError(
            f"init: the trajectory has {dimensions} components, but the matrix {tuple(shape)} "
            f"has {len(shape)} axes; say --shape with as many"
        )
    draft.proposal.settings["shape"] = shape
    draft.proposal.say("shape", why, guess=guess)


def _voxels(draft: Draft, readouts: NDArray[np.float64], units: str) -> NDArray[np.float64]:
    """Return the voxel size of each component [m] of a trajectory per metre; set it if not told."""
    dimensions = readouts.shape[-1]
    order = _image_order(draft, dimensions)
    lengths = draft.told.voxel_size
    if lengths is None:
        turn = 1.0 if units == "cycles_per_voxel" else 2 * math.pi
        reach = np.abs(readouts).reshape(-1, dimensions).max(axis=0)[order]
        if not reach.all():
            raise unknown("the trajectory has no extent along an axis", "--voxel-size")
        lengths = tuple(float(f"{turn / (2 * value):.5g}") for value in reach)
        draft.proposal.settings["voxel_size"] = list(lengths)
        draft.proposal.say(
            "voxel_size", "the largest |k| is taken for half a cycle per voxel", guess=True
        )
    if len(lengths) != dimensions:
        raise ConfigError(
            f"init: the trajectory has {dimensions} components; say --voxel-size with as many"
        )
    found = np.empty(dimensions)
    found[order] = lengths
    return found


def _map_shape(draft: Draft, dimensions: int) -> list[int] | None:
    for name in ("sensitivities", "reference"):
        if name in draft.found:
            sizes = [size for size in draft.found[name].shape if size > 1]
            if len(sizes) >= dimensions:
                return sizes[-dimensions:]
    return None


def _stored_order(draft: Draft, dimensions: int) -> tuple[str, ...]:
    """Return the image axis of each stored component; x, y, z where nobody says it."""
    return draft.told.order or SPATIAL[::-1][:dimensions]


def _image_order(draft: Draft, dimensions: int) -> list[int]:
    """Return which component, as it was read, belongs to each image axis."""
    if draft.found["trajectory"].ordered and draft.told.order is None:
        return list(range(dimensions))
    order = _stored_order(draft, dimensions)
    return [order.index(axis) for axis in SPATIAL[-dimensions:]]


def _component_order(draft: Draft, role: Role, dimensions: int) -> None:
    if role.ordered and draft.told.order is None:
        draft.proposal.say("arrays.trajectory.components", "in image order, by their names")
        return
    order = _stored_order(draft, dimensions)
    if sorted(order) != sorted(SPATIAL[-dimensions:]):
        raise unknown(
            f"the trajectory has {dimensions} components, which belong to "
            f"{', '.join(SPATIAL[-dimensions:])}, not {', '.join(order)}",
            "--order",
        )
    draft.entries["trajectory"]["axis_order"] = list(order)
    draft.proposal.say(
        "arrays.trajectory.axis_order",
        "as told"
        if draft.told.order
        else "nothing tells which component is x; if the picture is transposed, say "
        f"--order {','.join(reversed(order))}",
        guess=draft.told.order is None,
    )
