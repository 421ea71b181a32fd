"""Files of the fastMRI data set: Cartesian k-space of slices, HDF5, with an ISMRMRD header [1]_.

References
----------
.. [1] J. Zbontar et al., "fastMRI: An open dataset and benchmarks for accelerated MRI",
   arXiv:1811.08839.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError, words_of
from pipeline.formats.array_files import open_file
from pipeline.formats.lazy import describe_files, existing_source
from pipeline.formats.rearranged import Rearranged
from pipeline.geometry.axes import centred_affine
from pipeline.mri.formats.acquisition import MriAcquisition, voxel_size
from pipeline.mri.formats.grid import AXES, grid_arrays
from pipeline.mri.formats.hdf5_file import open_hdf5, stored_text
from pipeline.mri.formats.mrd_header import parse_header

_LAYOUTS = {4: ("frame", "coil", "x", "y"), 3: ("frame", "x", "y")}
"""Of the array `kspace`, with several coils or one; slices are frames. Rows are readouts."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open a file; columns of k-space that are zero were not measured."""
    path = existing_source(settings, dataset)
    who = f"{dataset}: {path}"
    if settings.details.shape is not None:
        raise ConfigError(
            f"{dataset}: `sources.{dataset}.shape` is set, but the file tells its matrix; leave it "
            "out, and give a reconstruction the `shape` that you want"
        )
    with ExitStack() as stack:
        stored = open_file(path, stack, who).array("kspace", who)
        if len(stored.shape) not in _LAYOUTS:
            raise DataError(
                f"{who}: `kspace` has the shape {stored.shape}; expected slices, coils (of several "
                "coils), rows and columns"
            )
        header = _header(path, who)
        space = parse_header(header, who).encodings[0]
        grid = Rearranged(stored, _LAYOUTS[len(stored.shape)], AXES, {}, f"{who}: kspace")
        slices, _, *matrix = grid.shape
        if tuple(matrix) != space.encoded.matrix:
            raise DataError(
                f"{who}: `kspace` has the matrix {tuple(matrix)} (z, y, x), but its header says "
                f"{space.encoded.matrix} (encodedSpace); correct one of them"
            )
        sampling, arrays = grid_arrays(grid, space, budget, f"{who}: kspace")
        dimensions, told = len(sampling.shape), sampling.voxel_size
        size = voxel_size(settings, dataset, dimensions, told[-dimensions:])
        yield MriAcquisition(
            shape=sampling.shape,
            voxel_size=size,
            arrays=arrays,
            provenance={"format": "fastmri", "files": describe_files([path])},
            affine=centred_affine((slices, *sampling.shape), (told[0], *size)[-3:]),
            oriented=False,
            slices=slices,
            header=header.decode(errors="replace"),
        )


def _header(path: Path, who: str) -> bytes:
    try:
        with ExitStack() as stack:
            file, _ = open_hdf5(path, stack)
            return stored_text(file["ismrmrd_header"], path)
    except Exception as error:  # on damaged files HDF5 raises what it likes
        raise DataError(f"{who} has no readable `ismrmrd_header` ({words_of(error)})") from None
