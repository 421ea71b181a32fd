"""Arrays in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import LazyArray, describe_files, existing_source
from pipeline.formats.mapped_files import MappedFiles
from pipeline.formats.mapping import scaled
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition, image_matrix, voxel_size
from pipeline.mri.formats.units import to_rad_per_voxel


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open arrays of any files.

    ``details.arrays`` says where each array lies and what its axes mean.
    """
    mapping = settings.details.arrays
    if not mapping or not {"kspace", "trajectory"} <= set(mapping):
        raise ConfigError(
            f"{dataset}: the format `arrays` needs `sources.{dataset}.arrays` with at least "
            "kspace and trajectory"
        )
    foreign = [name for name in mapping if name not in ARRAYS]
    if foreign:
        raise ConfigError(
            f"{dataset}: `arrays` names {', '.join(foreign)}, which is not for MRI; known are "
            f"{', '.join(ARRAYS.fields)}"
        )
    with ExitStack() as stack:
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        arrays: dict[str, LazyArray] = {
            name: files.mapped(name, array, ARRAYS[name].axes, f"{dataset}: {name}")
            for name, array in mapping.items()
        }
        trajectory = arrays["trajectory"]
        dimensions = trajectory.shape[-1]
        if dimensions not in (2, 3):
            raise DataError(
                f"{dataset}: trajectory has {dimensions} components; expected 2 or 3, one per "
                "image axis"
            )
        shape = image_matrix(settings, dataset, arrays, dimensions)
        if len(shape) != dimensions:
            raise DataError(
                f"{dataset}: trajectory has {dimensions} components, but `shape` {shape} has "
                f"{len(shape)} axes; expected as many"
            )
        size = voxel_size(settings, dataset, dimensions)
        arrays["trajectory"] = scaled(
            trajectory,
            to_rad_per_voxel(mapping["trajectory"].units, shape, size),
            order=_component_order(mapping["trajectory"], dimensions, dataset),
        )
        yield MriAcquisition(
            shape=shape,
            voxel_size=size,
            arrays=arrays,
            provenance={"format": "arrays", "files": describe_files(list(files.paths))},
            units=mapping["trajectory"].units,
            units_setting="arrays.trajectory.units",
        )


def _component_order(array: ArraySettings, dimensions: int, dataset: str) -> list[int] | None:
    """Return which stored component belongs to the first, second ... image axis."""
    if array.axis_order is None:
        return None
    wanted = ("z", "y", "x")[-dimensions:]
    if sorted(array.axis_order) != sorted(wanted):
        raise ConfigError(
            f"{dataset}: trajectory `axis_order` is {', '.join(array.axis_order)}; expected "
            f"{', '.join(wanted)} in the order in which they are stored"
        )
    return [array.axis_order.index(axis) for axis in wanted]
