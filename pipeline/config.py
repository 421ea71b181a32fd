"""Settings: what `config.yaml` may say, checked once and handed to each stage as canonical JSON.

Models refuse unknown keys, so that a typing error is met at the start and not after an hour. A
stage sees only the settings that it uses: they are its rule's one parameter, so that a changed
setting reruns the stages that use it and no others.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import ConfigError

Axis = Literal["frame", "coil", "readout", "sample", "axis", "z", "y", "x", "1"]
ArrayName = Literal["kspace", "trajectory", "weights", "noise", "sensitivities", "reference"]
Kind = Literal["mri", "rf"]
Format = Literal["native", "arrays", "bart", "simulation", "gotcha", "fresnel"]
Algorithm = Literal["gridding", "cg-sense", "matched-filter", "tikhonov", "fista"]
Units = Literal["rad_per_voxel", "cycles_per_voxel", "cycles_per_fov", "rad_per_m", "cycles_per_m"]
Matrix = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=2, max_length=3)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$")]
PerAxis = Annotated[tuple[float, ...], Field(min_length=2, max_length=3)]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class MemorySettings(Settings):
    """Hard limits of each job."""

    device_mb: Literal["auto"] | Annotated[int, Field(ge=16)] = "auto"
    """Device memory one job may use [MB]; `auto` takes what the device has, less a tenth. On a
    CPU the device's memory is the host's and only `host_mb` counts."""
    host_mb: Literal["auto"] | Annotated[int, Field(ge=16)] = "auto"
    """Resident memory one job may use [MB]; `auto` takes what the machine has, less a tenth."""


class ComputeSettings(Settings):
    """What a job computes with."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")] = "auto"
    """`auto` takes a CUDA device where there is one. Does not change results beyond rounding,
    so changing it reruns nothing."""
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """CPU threads of one job; `auto` takes the cores that Snakemake was given."""
    precision: Literal["single", "double"] = "single"
    """Precision of the reconstruction: complex64 or complex128."""
    deterministic: bool = False
    """Repeat bitwise on a CPU: one thread a transform, coils and frames in parallel."""


class NufftSettings(Settings):
    """How non-uniform transforms are computed."""

    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-3
    """Relative error allowed in each transform."""
    backend: Literal["auto", "ducc0", "finufft", "cufinufft", "torchkbnufft"] = "auto"
    """`auto` takes cufinufft on CUDA, ducc0 on a CPU, or the next one that is installed."""
    oversampling: Annotated[float, Field(ge=1.1, le=4)] | PerAxis | None = None
    """For experts: oversampling of the grid, one number or one per axis; none derives it from
    the tolerance."""
    kernel_width: Annotated[int, Field(ge=2, le=16)] | tuple[int, ...] | None = None
    """For experts: neighbours per axis of the gridding kernel (torchkbnufft only)."""


class CalibrationSettings(Settings):
    """What is estimated from the measurement before it is reconstructed."""

    coil_maps: Literal["auto", "source", "walsh", "none"] = "auto"
    """`auto` takes the source's maps where it has them, Walsh's for several coils, else none."""
    calibration_width: Annotated[int, Field(ge=8, le=128)] = 24
    """Width of the k-space centre that Walsh's maps are estimated from [Cartesian samples]."""
    density: Literal["auto", "source", "radial", "stack-of-stars", "pipe-menon", "none"] = "auto"
    """`auto` takes the source's weights where it has them, analytic ones for straight spokes and
    stacks of stars, else Pipe-Menon's iteration."""
    density_iterations: Annotated[int, Field(ge=1, le=200)] = 20
    """Iterations of Pipe-Menon."""


class ArraySettings(Settings):
    """Where one array lies in the source's files, and what its axes mean."""

    file: str | None = None
    """File, relative to the dataset's source where that is a folder."""
    name: str | None = None
    """Name (path) of the array in its file; not needed where the file holds one array."""
    real: str | None = None
    """Name of the real part, where it is stored apart."""
    imag: str | None = None
    """Name of the imaginary part, where it is stored apart."""
    components: tuple[str, ...] | None = None
    """Trajectory: names of one array per image axis, in image order or that of `axis_order`."""
    axes: tuple[str, ...]
    """Meaning of each stored axis in its stored order: frame, coil, readout, sample, axis, z, y, x;
    `1` for an axis of length one to drop; `readout sample` for a joined axis, slowest first (see
    `samples_per_readout` and `readouts_per_frame`). MATLAB's axes appear in reverse in HDF5
    files (v7.3)."""
    axis_order: tuple[Literal["z", "y", "x"], ...] | None = None
    """Trajectory: which image axis each stored component belongs to (of complex numbers: real part,
    imaginary part); default: in image order."""
    units: Units = "rad_per_voxel"
    """Trajectory: its units as stored."""
    scale: float = 1.0
    """Factor on the stored values."""
    conjugate: bool = False
    """Conjugate the stored values (data of the other Fourier sign)."""

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> Self:
        ways = [self.name is not None, self.real is not None, self.components is not None]
        if sum(ways) > 1 or (self.real is None) != (self.imag is None):
            raise ValueError("give one of `name`, `real` with `imag`, or `components`")
        known = set(get_args(Axis))
        axes = [axis for entry in self.axes for axis in entry.split()]
        for axis in axes:
            if axis not in known:
                raise ValueError(f"unknown axis {axis!r}; known: {', '.join(sorted(known))}")
            if axis != "1" and axes.count(axis) > 1:
                raise ValueError(f"axis {axis!r} stands twice")
        return self


class BartSettings(Settings):
    """Base names (without .cfl and .hdr) of BART files, relative to the dataset's source."""

    kspace: str
    trajectory: str
    sensitivities: str | None = None
    reference: str | None = None


class SimulationSettings(Settings):
    """An analytic phantom measured along an analytic trajectory."""

    trajectory: Literal["golden-radial", "spiral", "kooshball", "stack-of-stars"]
    readouts: Annotated[int, Field(ge=1)]
    """Readouts of each frame (stack-of-stars: of each partition)."""
    samples: Annotated[int, Field(ge=2)]
    """Samples of each readout."""
    coils: Annotated[int, Field(ge=1, le=256)] = 8
    frames: Annotated[int, Field(ge=1)] = 1
    """More than one frame moves an ellipse and turns the trajectory from frame to frame."""
    snr_db: float | None = None
    """20 log10 of the k-space's rms over the complex noise's rms; none adds no noise."""
    seed: Annotated[int, Field(ge=0)] = 0


class SceneSettings(Settings):
    """The grid of an RF image; axis d of the image runs along coordinate d of the antennas."""

    shape: Matrix
    """Voxels along each coordinate."""
    spacing: tuple[Annotated[float, Field(gt=0)], ...]
    """Distance of neighbouring voxels along each coordinate [m]."""
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Position of voxel N // 2 of every axis [m]."""


class SourceSettings(Settings):
    """What a dataset's files do not say themselves."""

    shape: Matrix | None = None
    """Image matrix (z, y, x) or (y, x)."""
    scene: SceneSettings | None = None
    """RF: the grid of the image."""
    voxel_size: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Voxel size per image axis [m]; default 1 mm."""
    samples_per_readout: Annotated[int, Field(ge=1)] | None = None
    """Length of a readout where an axis of the source joins readouts and samples."""
    readouts_per_frame: Annotated[int, Field(ge=1)] | None = None
    """Readouts of a frame where an axis of the source joins frames and readouts."""
    arrays: dict[ArrayName, ArraySettings] | None = None
    bart: BartSettings | None = None
    simulation: SimulationSettings | None = None
    calibration: CalibrationSettings | None = None
    """Replaces the general calibration settings for this dataset."""


class ReconstructionSettings(Settings):
    """A named way to reconstruct."""

    algorithm: Algorithm
    """MRI: `gridding` (density-compensated adjoint) or `cg-sense` (regularised least squares). RF:
    `matched-filter` (back-projection), `tikhonov` (regularised least squares) or `fista` (sparse:
    L1)."""
    shape: Matrix | None = None
    """Image matrix over the same field of view; none takes the dataset's. A smaller one leaves
    out the k-space beyond it."""
    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)] = 1
    """Measured frames joined into one image; `all` joins every frame."""
    weights: Literal["density", "none"] = "density"
    """cg-sense: weigh residuals by density compensation (faster convergence) or not (least
    noise)."""
    regularization: Annotated[float, Field(ge=0)] = 0.0
    """cg-sense and tikhonov: Tikhonov weight, relative to the sum of the sample weights, which is
    the diagonal of the normal operator for unit sensitivities."""
    iterations: Annotated[int, Field(ge=1, le=10000)] = 12
    """cg-sense, tikhonov and fista: iterations at most."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """cg-sense: stop once the residual of the normal equations, relative to their right-hand
    side, is below; 0 always runs all iterations."""
    normal: Literal["auto", "toeplitz", "explicit"] = "auto"
    """cg-sense: form of the normal operator."""
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """fista: L1 weight, relative to the brightest voxel of the matched filter."""
    debias: bool = False
    """fista: least squares on the voxels that the L1 norm has kept, which it has also dimmed."""
    model: Literal["auto", "W", "W+D(fc)"] = "auto"
    """RF pairs: plane waves, or plane waves with a voxel phase for each pair; `auto` takes the
    cheapest that is right to -20 dB."""
    force_model: bool = False
    """RF pairs: go on although the model is wrong by more than -10 dB."""
    curvature_error: Annotated[float, Field(gt=0, le=1)] = 0.1
    """RF phase histories: relative model error that curved wavefronts may leave; the aperture is
    cut into sub-apertures until it is met."""


class OutputSettings(Settings):
    """Files that merge writes beside `image.zarr`."""

    ome_zarr: bool = True
    """Multi-resolution magnitude for viewers (napari, Neuroglancer)."""
    nifti: bool = True
    """Magnitude as NIfTI-1, gzipped."""


class Config(Settings):
    """The whole of `config.yaml`."""

    datasets: str = "config/datasets.tsv"
    """Table of datasets."""
    data_root: str = "."
    """Folder that the table's sources are relative to."""
    memory: MemorySettings = MemorySettings()
    compute: ComputeSettings = ComputeSettings()
    nufft: NufftSettings = NufftSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    output: OutputSettings = OutputSettings()
    sources: dict[Name, SourceSettings] = {}
    """Per dataset: what its files do not say themselves."""
    reconstructions: Annotated[dict[Name, ReconstructionSettings], Field(min_length=1)]
    """Named ways to reconstruct, which the table refers to."""


class Dataset(Settings):
    """A row of the dataset table."""

    dataset: Name
    kind: Kind
    format: Format
    source: str
    reconstructions: tuple[Name, ...]

    @model_validator(mode="after")
    def _format_of_its_kind(self) -> Self:
        allowed = FORMATS[self.kind]
        if self.format not in allowed:
            raise ValueError(f"a dataset of kind {self.kind} has one of {', '.join(allowed)}")
        return self


class IngestSettings(Settings):
    """Settings of `ingest`."""

    kind: Kind
    format: Format
    source: str
    details: SourceSettings

    def files(self) -> list[Path]:
        """Return the files that the dataset is read from; none for a simulation."""
        source = Path(self.source)
        match self.format:
            case "simulation":
                return []
            case "bart" if self.details.bart is not None:
                bases = [base for _, base in self.details.bart if base is not None]
                return [source / f"{base}{end}" for base in bases for end in (".cfl", ".hdr")]
            case "arrays" if self.details.arrays is not None:
                entries = self.details.arrays.values()
                return sorted({source / entry.file if entry.file else source for entry in entries})
            case _:
                return [source]


class CalibrateSettings(Settings):
    """Settings of `calibrate`."""

    calibration: CalibrationSettings
    nufft: NufftSettings


class PlanSettings(Settings):
    """Settings of `plan`."""

    reconstruction: ReconstructionSettings
    nufft: NufftSettings
    memory: MemorySettings
    precision: Literal["single", "double"]
    deterministic: bool


class ReconstructSettings(Settings):
    """Settings of `reconstruct`."""

    reconstruction: ReconstructionSettings
    nufft: NufftSettings
    precision: Literal["single", "double"]
    deterministic: bool


class MergeSettings(Settings):
    """Settings of `merge`."""

    output: OutputSettings


class MeasureSettings(Settings):
    """Settings of `measure`."""

    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)]


AnySettings = TypeVar("AnySettings", bound=Settings)

FORMATS: Mapping[Kind, tuple[Format, ...]] = {
    "mri": ("native", "arrays", "bart", "simulation"),
    "rf": ("gotcha", "fresnel", "simulation"),
}
"""Formats of each kind of data."""

ALGORITHMS: Mapping[Kind, tuple[Algorithm, ...]] = {
    "mri": ("gridding", "cg-sense"),
    "rf": ("matched-filter", "tikhonov", "fista"),
}
"""Algorithms for each kind of data."""

DATASET_COLUMNS = ("dataset", "kind", "format", "source", "reconstruction")


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"


def _known_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys allowed beside the last of ``location``, following models and mappings."""
    current: Any = model
    for key in location[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(key))
            current = None if field is None else field.annotation
            # `X | None` stands for X.
            options = [option for option in get_args(current) if option is not type(None)]
            if type(None) in get_args(current) and len(options) == 1:
                (current,) = options
        elif get_origin(current) is dict:
            current = get_args(current)[1]
    known = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if known else []


def validate(model: type[AnySettings], content: Any, source: str) -> AnySettings:
    """Check ``content`` against ``model``.

    Parameters
    ----------
    model
        The settings class.
    content
        Parsed YAML or JSON.
    source
        What the content came from; begins the message of an error.

    Raises
    ------
    ConfigError
        With one clause for each fault: which key, what was found, what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                known = _known_keys(model, fault["loc"])
                faults.append(f"unknown key `{where}`{_nearest(str(fault['loc'][-1]), known)}")
            else:
                found = "" if fault["type"] == "missing" else f" (found {fault['input']!r})"
                faults.append(f"`{where}`: {fault['msg']}{found}")
        raise ConfigError(f"{source}: {'; '.join(faults)}") from None


def load_yaml(path: Path) -> Any:
    """Read a YAML (or JSON) file with the safe loader."""
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({error})") from None


def load_config(content: Any, source: str = "config") -> Config:
    """Check the content of a config file against `Config`."""
    return validate(Config, content, source)


def load_datasets(path: Path, config: Config) -> dict[str, Dataset]:
    """Read the dataset table and check it against the config.

    The table is tab-separated with the columns `DATASET_COLUMNS`; lines that begin with ``#`` are
    comments. Several reconstructions of a dataset are separated by commas.

    Parameters
    ----------
    path
        The table.
    config
        The config whose reconstructions and sources the table refers to.

    Returns
    -------
    dict
        Rows by dataset name, in the table's order.

    Raises
    ------
    ConfigError
        If the table is missing, empty or malformed, names a dataset twice, or names a
        reconstruction that the config lacks.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such dataset table; set `datasets` in the config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable ({error})") from None
    lines = [
        (number, line.rstrip("\r"))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise ConfigError(f"{path}: empty; expected a header {' '.join(DATASET_COLUMNS)} and rows")
    header = tuple(lines[0][1].split("\t"))
    if header != DATASET_COLUMNS:
        raise ConfigError(
            f"{path}: the header is {header}; expected the tab-separated columns {DATASET_COLUMNS}"
        )
    datasets: dict[str, Dataset] = {}
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in line.split("\t")]
        who = f"{path} line {number}"
        if len(cells) != len(header):
            raise ConfigError(
                f"{who}: {len(cells)} cells; expected {len(header)} separated by tabs"
            )
        values: dict[str, Any] = dict(zip(header, cells, strict=True))
        names = [name.strip() for name in values.pop("reconstruction").split(",")]
        row = validate(Dataset, {**values, "reconstructions": names}, who)
        if row.dataset in datasets:
            raise ConfigError(
                f"{who}: dataset `{row.dataset}` stands twice; give several reconstructions of one "
                "dataset in one row, separated by commas"
            )
        for name in row.reconstructions:
            if name not in config.reconstructions:
                raise ConfigError(
                    f"{who}: reconstruction `{name}` of dataset `{row.dataset}` is not in the "
                    f"config{_nearest(name, list(config.reconstructions))}"
                )
            algorithm = config.reconstructions[name].algorithm
            if algorithm not in ALGORITHMS[row.kind]:
                raise ConfigError(
                    f"{who}: reconstruction `{name}` of dataset `{row.dataset}` is {algorithm}; "
                    f"for {row.kind} there is {', '.join(ALGORITHMS[row.kind])}"
                )
        if len(set(row.reconstructions)) != len(row.reconstructions):
            raise ConfigError(f"{who}: dataset `{row.dataset}` names a reconstruction twice")
        datasets[row.dataset] = row
    if not datasets:
        raise ConfigError(f"{path}: no datasets; add a row below the header")
    return datasets


def stage_settings(
    config: Config, dataset: Dataset, stage: str, reconstruction: str | None = None
) -> Settings:
    """Return exactly the settings that one job of ``stage`` uses.

    Parameters
    ----------
    config, dataset
        As loaded.
    stage
        Name of the stage.
    reconstruction
        Name of the reconstruction, for the stages that belong to one.
    """
    details = config.sources.get(dataset.dataset, SourceSettings())
    if stage == "ingest":
        return IngestSettings(
            kind=dataset.kind,
            format=dataset.format,
            source=(
                dataset.source
                if dataset.format == "simulation"
                else str(Path(config.data_root) / dataset.source)
            ),
            details=details.model_copy(update={"calibration": None}),
        )
    if stage == "calibrate":
        return CalibrateSettings(
            calibration=details.calibration or config.calibration, nufft=config.nufft
        )
    chosen = config.reconstructions[str(reconstruction)]
    match stage:
        case "plan":
            return PlanSettings(
                reconstruction=chosen,
                nufft=config.nufft,
                memory=config.memory,
                precision=config.compute.precision,
                deterministic=config.compute.deterministic,
            )
        case "reconstruct":
            return ReconstructSettings(
                reconstruction=chosen,
                nufft=config.nufft,
                precision=config.compute.precision,
                deterministic=config.compute.deterministic,
            )
        case "merge":
            return MergeSettings(output=config.output)
        case "measure":
            return MeasureSettings(frames_per_image=chosen.frames_per_image)
    raise ValueError(f"no settings for a stage {stage!r}")


def find_source_files(config: Config, datasets: Mapping[str, Dataset]) -> dict[str, list[Path]]:
    """Return the files that each dataset is read from.

    Raises
    ------
    ConfigError
        If one is missing.
    """
    found = {}
    for name, dataset in datasets.items():
        settings = stage_settings(config, dataset, "ingest")
        files = settings.files() if isinstance(settings, IngestSettings) else []
        missing = [str(file) for file in files if not file.exists()]
        if missing:
            raise ConfigError(
                f"dataset `{name}`: no such file: {', '.join(missing)}; check `source` in "
                f"{config.datasets} and `data_root` (now `{config.data_root}`)"
            )
        found[name] = files
    return found


def canonical_json(settings: Settings) -> str:
    """Return settings as one line of JSON that is equal exactly when the settings are."""
    content = settings.model_dump(mode="json")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_settings(model: type[AnySettings], text: str) -> AnySettings:
    """Check a stage's settings, given as JSON or as the path of a YAML or JSON file."""
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--settings: not readable as JSON ({error})") from None
        return validate(model, content, "--settings")
    return validate(model, load_yaml(Path(text)), text)


def image_shape(dataset_shape: Sequence[int], settings: ReconstructionSettings) -> tuple[int, ...]:
    """Return the matrix of a reconstruction: its own, or the dataset's.

    Raises
    ------
    ConfigError
        If the two have different numbers of axes.
    """
    shape = tuple(settings.shape or dataset_shape)
    if len(shape) != len(dataset_shape):
        raise ConfigError(
            f"reconstruction shape {shape} has {len(shape)} axes, the dataset's "
            f"{tuple(dataset_shape)} has {len(dataset_shape)}; give one size per image axis"
        )
    return shape


def image_count(frames: int, settings: ReconstructionSettings | MeasureSettings) -> int:
    """Return the number of images that ``frames`` measured frames are joined into."""
    joined = frames if settings.frames_per_image == "all" else settings.frames_per_image
    return math.ceil(frames / joined)
