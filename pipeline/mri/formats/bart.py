"""Files of the Berkeley Advanced Reconstruction Toolbox: values (`.cfl`) and sizes (`.hdr`) [1]_.

BART numbers its dimensions from the fastest one. Those used here:

=======  ================  =====================================================
number   images, maps      k-space and trajectory
=======  ================  =====================================================
0        x                 k-space: 1; trajectory: component (x, y, z)
1        y                 sample
2        z                 readout
3        coil              coil
4        set of maps
10       frame             frame
=======  ================  =====================================================

Trajectories are in cycles per field of view. BART's Fourier transform has our sign, and for even
matrices our centre; its `nufft` differs from our sum by the factor ``prod(shape)**-0.5`` alone.
(For odd sizes its own programs disagree about the centre by half a voxel.)

References
----------
.. [1] M. Uecker et al., "Berkeley Advanced Reconstruction Toolbox", Proc. ISMRM 23, 2486 (2015).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.derived import scaled
from pipeline.formats.flat_file import FlatFile
from pipeline.formats.lazy import LazyArray, describe_files, elementwise, existing_source
from pipeline.formats.rearranged import Rearranged
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition, image_matrix, voxel_size
from pipeline.mri.formats.units import to_rad_per_voxel
from pipeline.storage.layout import tiles

_DIMENSIONS: Mapping[str, Mapping[int, str]] = {
    "kspace": {1: "sample", 2: "readout", 3: "coil", 10: "frame"},
    "trajectory": {0: "axis", 1: "sample", 2: "readout", 10: "frame"},
    "sensitivities": {0: "x", 1: "y", 2: "z", 3: "coil", 4: "set"},
    "reference": {0: "x", 1: "y", 2: "z", 10: "frame"},
}


def open_cfl(base: Path) -> FlatFile:
    """Open the BART files ``base`` + ``.cfl`` and ``.hdr``.

    The array is complex64, with BART's dimensions in reverse: the last axis is dimension 0.

    Raises
    ------
    DataError
        If a file is missing, the header is malformed, or the sizes disagree.
    """
    header, values = base.with_name(base.name + ".hdr"), base.with_name(base.name + ".cfl")
    for path in (header, values):
        if not path.is_file():
            raise DataError(f"{path}: no such file; a BART array is a pair of .hdr and .cfl")
    try:
        lines = header.read_text().splitlines()
        sizes = [int(word) for word in lines[lines.index("# Dimensions") + 1].split()]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{header}: no sizes below a line `# Dimensions` ({error})") from None
    if not sizes or min(sizes) < 1:
        raise DataError(f"{header}: sizes {sizes}; expected positive numbers")
    needed, found = math.prod(sizes) * 8, values.stat().st_size
    if needed != found:
        raise DataError(
            f"{values}: {found} bytes, but the header's sizes {sizes} need {needed}; "
            "copy or export it again"
        )
    return FlatFile(tuple(reversed(sizes)), np.dtype("<c8"), "C", values)


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open BART files.

    ``details.bart`` names them relative to the source, which is a folder. The image is 2D if the
    trajectory's third component is zero throughout.
    """
    names = settings.details.bart
    if names is None:
        raise ConfigError(f"{dataset}: the format `bart` needs `sources.{dataset}.bart`")
    source = existing_source(settings, dataset)
    files = {name: source / base for name, base in names.model_dump().items() if base is not None}
    arrays: dict[str, LazyArray] = {
        name: _with_our_axes(open_cfl(base), name, f"{dataset}: {base}")
        for name, base in files.items()
    }
    trajectory = elementwise(np.real, arrays["trajectory"])  # stored as complex numbers
    if trajectory.shape[-1] != 3:
        raise DataError(
            f"{dataset}: {files['trajectory']}: dimension 0 has {trajectory.shape[-1]} components; "
            "BART's trajectories have 3"
        )
    dimensions = 3 if _is_3d(trajectory) else 2
    shape = image_matrix(settings, dataset, arrays, dimensions)
    if len(shape) != dimensions:
        raise DataError(
            f"{dataset}: the trajectory is {dimensions}D (its third component is "
            f"{'not ' if dimensions == 3 else ''}zero), but `shape` {shape} has {len(shape)} axes"
        )
    size = voxel_size(settings, dataset, dimensions)
    # Component 0 is x, our last image axis.
    arrays["trajectory"] = scaled(
        trajectory,
        to_rad_per_voxel("cycles_per_fov", shape, size),
        order=range(dimensions)[::-1],
    )
    paths = [base.with_name(base.name + ".cfl") for base in files.values()]
    yield MriAcquisition(
        shape=shape,
        voxel_size=size,
        arrays=arrays,
        provenance={"format": "bart", "files": describe_files(paths)},
        units="cycles_per_fov",
    )


def _with_our_axes(stored: FlatFile, name: str, who: str) -> Rearranged:
    meaning = _DIMENSIONS[name]
    for number, size in enumerate(reversed(stored.shape)):
        if size > 1 and number not in meaning:
            known = ", ".join(f"{key} ({axis})" for key, axis in meaning.items())
            raise DataError(
                f"{who}: dimension {number} has size {size}; {name} may use the dimensions {known}."
                f" Take one with `bart slice {number} 0`"
            )
    axes = [meaning.get(number, "1") for number in range(len(stored.shape))]
    several = {meaning[number] for number, size in enumerate(reversed(stored.shape)) if size > 1}
    axes = [axis if axis != "set" or axis in several else "1" for axis in axes]
    return Rearranged(stored, axes[::-1], ARRAYS[name].axes_of(several), {}, who)


def _is_3d(trajectory: LazyArray) -> bool:
    """Say whether the component z is ever nonzero."""
    # In parts of one chunk, all components of which lie together.
    chunks = ARRAYS["trajectory"].chunks(trajectory.shape)
    return any(
        np.any(trajectory[(*tile[:-1], slice(2, 3))]) for tile in tiles(trajectory.shape, chunks)
    )
