"""Arrays in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.acquisition import (
    Acquisition,
    LazyArray,
    describe_files,
    existing_source,
    image_matrix,
    voxel_size,
)
from pipeline.formats.array_files import ArrayFile, open_file
from pipeline.formats.mapping import Complex, Components, RealAndImaginary, Rearranged, Scaled
from pipeline.formats.units import to_rad_per_voxel
from pipeline.storage.raw import AXES


@contextmanager
def open_arrays(settings: IngestSettings, dataset: str) -> Iterator[Acquisition]:
    """Open arrays of any files; see `pipeline.formats.acquisition.open_acquisition`.

    ``details.arrays`` says where each array lies and what its axes mean.
    """
    mapping = settings.details.arrays
    if not mapping or not {"kspace", "trajectory"} <= set(mapping):
        raise ConfigError(
            f"{dataset}: the format `arrays` needs `sources.{dataset}.arrays` with at least "
            "kspace and trajectory"
        )
    foreign = [name for name in mapping if name not in AXES]
    if foreign:
        raise ConfigError(
            f"{dataset}: `arrays` names {', '.join(foreign)}, which is not for MRI; known are "
            f"{', '.join(AXES)}"
        )
    with ExitStack() as stack:
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        arrays: dict[str, LazyArray] = {
            name: files.mapped(name, array, AXES[name], f"{dataset}: {name}")
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
        arrays["trajectory"] = Scaled(
            trajectory,
            to_rad_per_voxel(mapping["trajectory"].units, shape, size),
            order=_component_order(mapping["trajectory"], dimensions, dataset),
        )
        yield Acquisition(
            shape=shape,
            voxel_size=size,
            arrays=arrays,
            provenance={"format": "arrays", "files": describe_files(list(files.paths))},
            units=mapping["trajectory"].units,
        )


class MappedFiles:
    """The files that the arrays of a dataset lie in, each opened once.

    Parameters
    ----------
    source
        File, or folder of files.
    settings
        Lengths of joined axes.
    stack
        Closes what was opened.
    """

    def __init__(self, source: Path, settings: IngestSettings, stack: ExitStack) -> None:
        self._source = source
        self._settings = settings
        self._stack = stack
        self._files: dict[Path, ArrayFile] = {}

    @property
    def paths(self) -> Iterable[Path]:
        """The files opened so far."""
        return self._files

    def mapped(self, name: str, array: ArraySettings, axes: Sequence[str], who: str) -> LazyArray:
        """Return one array of a file with our axes, and with its scale but not the units of k."""
        path = _path_of(self._source, array, who)
        if path not in self._files:
            self._files[path] = open_file(path, self._stack, who)
        return _mapped(self._files[path], name, array, axes, self._settings, who)


def _path_of(source: Path, array: ArraySettings, who: str) -> Path:
    if source.is_dir():
        if array.file is None:
            raise ConfigError(f"{who}: the source {source} is a folder; set `file`")
        path = source / array.file
        if not path.is_file():
            raise DataError(f"{who}: no such file: {path}")
        return path
    if array.file is not None:
        raise ConfigError(f"{who}: `file` is set, but the source {source} is itself a file")
    return source


def _mapped(
    file: ArrayFile,
    name: str,
    array: ArraySettings,
    axes: Sequence[str],
    settings: IngestSettings,
    who: str,
) -> LazyArray:
    details = settings.details
    lengths = {
        axis: length
        for axis, length in (
            ("sample", details.samples_per_readout),
            ("readout", details.readouts_per_frame),
        )
        if length is not None
    }

    def part(stored_name: str | None) -> LazyArray:
        return Rearranged(file.array(stored_name, who), array.axes, axes, lengths, who)

    mapped: LazyArray
    if array.components is not None:
        mapped = Components([part(component) for component in array.components], who)
    elif array.real is not None:
        mapped = Complex(part(array.real), part(array.imag), who)
    else:
        mapped = part(array.name)
    if name == "trajectory" and mapped.dtype.kind == "c" and mapped.shape[-1] == 1:
        mapped = RealAndImaginary(mapped)
    if array.scale != 1.0 or array.conjugate:
        mapped = Scaled(mapped, array.scale, conjugate=array.conjugate)
    return mapped


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
