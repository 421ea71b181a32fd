"""Settings of datasets: what their files do not say themselves, and what `ingest` sees."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from pipeline.config.base import Matrix, Settings
from pipeline.config.calibration import CalibrationSettings, InstrumentSettings
from pipeline.config.readouts import ReadoutSettings
from pipeline.config.scenes import AntennaSettings, SceneSettings
from pipeline.config.trajectories import GeneratedKind, TrajectorySettings, Units
from pipeline.errors import ConfigError
from pipeline.files import matching

Axis = Literal[
    "frame", "coil", "readout", "sample", "axis", "z", "y", "x", "1",
    "pair", "freq", "m1", "m2", "m3", "n1", "n2", "n3", "tx", "rx", "element", "coordinate",
    "pulse", "target", "coefficient", "slice", "set", "entry", "parameter",
]  # fmt: skip
MriArrayName = Literal[
    "kspace",
    "trajectory",
    "weights",
    "times",
    "noise",
    "sensitivities",
    "field_map",
    "relaxation",
    "basis",
    "dictionary",
    "parameters",
    "reference",
]
RfArrayName = Literal[
    "y", "frequencies", "tx", "rx", "transmitter", "receiver", "reference_path",
    "A1", "A2", "A3", "kappa1", "kappa2", "kappa3", "rowphase1", "rowphase2", "rowphase3",
    "frequency_scale", "frequency_shift", "times", "y_target",
    "weights", "noise_std", "reference", "targets", "phase", "delay", "gain_tx", "gain_rx",
]  # fmt: skip
Kind = Literal["mri", "rf"]

_TIMES = ("dwell_time", "first_sample_time", "noise_dwell_time", "frame_duration")
_EVERY: Mapping[Kind, tuple[str, ...]] = {
    "mri": (
        "shape",
        "voxel_size",
        "slice_thickness",
        *_TIMES,
        "calibration",
        "decouple_partitions",
    ),
    "rf": (*InstrumentSettings.model_fields, "calibration"),
}
"""Settings of a source that all formats of a kind use."""
_LISTED = ("readouts", "trajectory", "readouts_per_frame")
FORMATS: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "mri": {
        "native": (),
        "arrays": ("arrays", "trajectory", "samples_per_readout", "readouts_per_frame"),
        "bart": ("bart",),
        "mrd": _LISTED,
        "mrd2": _LISTED,
        "twix": _LISTED,
        "fastmri": (),
        "simulation": ("simulation",),
    },
    "rf": {
        "native": ("antenna",),
        "arrays": ("arrays", "scene", "tx_grid", "rx_grid", "antenna"),
        "cphd": ("scene", "channel", "plane", "antenna"),
        "gotcha": ("scene", "own_autofocus", "antenna"),
        "fresnel": ("scene",),
        "simulation": ("seed",),
    },
}
"""Formats of each kind of data, with the settings of a source that each uses beside those that all
do; others are refused. ``pipeline.<kind>.formats.<format>`` reads one: its context manager
``open_source(settings, dataset, budget)`` yields the acquisition. It is imported by name, and only
where a dataset needs it: a changed reader concerns no other."""


STANDARD_INPUT = "-"
"""In place of a source: a stream that is read as it arrives, and once."""


def reader_module(kind: Kind, format_: str) -> str:
    """Return the name of the module that reads a format.

    Raises
    ------
    ConfigError
        If data of this kind do not come in this format.
    """
    if format_ not in FORMATS[kind]:
        raise ConfigError(
            f"format `{format_}`: a dataset of kind {kind} has one of {', '.join(FORMATS[kind])}"
        )
    return f"pipeline.{kind}.formats.{format_}"


class RowsSettings(Settings):
    """A table that names by number, for each pulse, a row of another array."""

    file: str | None = None
    """File, as of an array."""
    name: str | None = None
    """Name of the table in its file; not needed where the file holds one array."""
    column: Annotated[int, Field(ge=0)] = 0
    """Column of the table, from 0 on."""
    first: int = 0
    """Number of the first row: 1 where they are counted from one."""


def index_of(entry: str) -> int | None:
    """Return which of an axis an entry of `axes` takes, as ``[0]`` does; None of other entries."""
    found = re.fullmatch(r"\[(\d{1,9})\]", entry)
    return int(found[1]) if found else None


class ArraySettings(Settings):
    """Where one array lies in the source's files, and what its axes mean."""

    file: str | None = None
    """File, relative to the dataset's source where that is a folder. A name with `*` or `?` stands
    for several, in the order of the numbers in their names: their arrays, all of one shape, are
    joined along a new axis, which is the first of `axes`."""
    name: str | None = None
    """Name (path) of the array in its file; not needed where the file holds one array."""
    real: str | None = None
    """Name of the real part, where it is stored apart."""
    imag: str | None = None
    """Name of the imaginary part, where it is stored apart."""
    components: tuple[str, ...] | None = None
    """Trajectory: names of one array per image axis, in image order or that of `axis_order`. RF
    positions: names of the arrays of x, y and z."""
    axes: tuple[str, ...]
    """Meaning of each stored axis in its stored order. MRI: slice, frame, coil, readout, sample,
    axis, z, y, x, coefficient, and of coil maps set. RF: frame, pair, freq, m1, m2, m3 (or tx, rx),
    n1, n2, n3, element, coordinate, pulse, target, z, y, x. `1` for an axis of length one to drop,
    `[0]` for the first of a longer one, `[2]` for the third; `readout sample` for a joined axis,
    slowest first (see `samples_per_readout` and `readouts_per_frame`); `pulse` may stand several
    times, as for the rows and columns of a scan, the slowest first. MATLAB's axes appear in reverse
    in HDF5 files (v7.3)."""
    axis_order: tuple[Literal["z", "y", "x"], ...] | None = None
    """Trajectory: which image axis each stored component belongs to (of complex numbers: real part,
    imaginary part); default: in image order."""
    units: Units = "rad_per_voxel"
    """Trajectory: its units as stored."""
    scale: float = 1.0
    """Factor on the stored values."""
    subtract: str | None = None
    """File, with an array of the same name and axes, that is subtracted: a measurement without the
    target, or with the antennas turned about it."""
    rows: RowsSettings | None = None
    """RF positions, where pulses name antennas by number: which stored position each pulse has."""
    conjugate: bool = False
    """Conjugate the stored values (data of the other Fourier sign; RF: of the time dependence
    exp(-j w t))."""

    @property
    def files(self) -> list[str | None]:
        """The files that it is read from; `None` for the source itself."""
        others = [self.subtract, None if self.rows is None else self.rows.file]
        return [self.file, *(name for name in others if name is not None)]

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> Self:
        ways = [self.name is not None, self.real is not None, self.components is not None]
        if sum(ways) > 1 or (self.real is None) != (self.imag is None):
            raise ValueError("give one of `name`, `real` with `imag`, or `components`")
        known = set(get_args(Axis))
        axes = [axis for entry in self.axes for axis in entry.split()]
        for axis in axes:
            if axis not in known and index_of(axis) is None:
                raise ValueError(f"unknown axis {axis!r}; known: {', '.join(sorted(known))}")
            if axis in known - {"1", "pulse"} and axes.count(axis) > 1:
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

    trajectory: GeneratedKind | TrajectorySettings
    """A kind, or a mapping of the kind and its options."""
    readouts: Annotated[int, Field(ge=1)]
    """Readouts of each frame (stack-of-stars: of each partition)."""
    samples: Annotated[int, Field(ge=2)]
    """Samples of each readout."""
    coils: Annotated[int, Field(ge=1, le=256)] = 8
    frames: Annotated[int, Field(ge=1)] = 1
    """More than one frame moves an ellipse and turns the trajectory from frame to frame."""
    repetition_time: Annotated[float, Field(gt=0)] = 0.005
    """From a readout to the next [s], of the phantom `breathing`, which moves in between."""
    snr_db: Annotated[float, Field(ge=-200, le=400)] | None = None
    """20 log10 of the k-space's rms over the complex noise's rms; none adds no noise."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _from_a_formula(self) -> Self:
        if self.generated.kind not in get_args(GeneratedKind):
            raise ValueError(
                f"no formula generates a trajectory {self.generated.kind}; known are "
                f"{', '.join(get_args(GeneratedKind))}"
            )
        return self

    @property
    def generated(self) -> TrajectorySettings:
        """Settings of the trajectory."""
        if isinstance(self.trajectory, str):
            return TrajectorySettings(kind=self.trajectory)
        return self.trajectory


class SourceSettings(InstrumentSettings):
    """What a dataset's files do not say themselves."""

    shape: Matrix | None = None
    """Image matrix (z, y, x) or (y, x)."""
    scene: SceneSettings | None = None
    """RF: the grid of the image."""
    antenna: AntennaSettings | None = None
    """RF: path loss and antenna pattern, which the model `exact` knows and no other."""
    channel: str | None = None
    """RF, `cphd`: identifier of the channel, where there are several."""
    plane: Literal["file", "east-north", "slant"] = "file"
    """RF, `cphd`: the plane of x and y. That of the file's image area; east and north at its
    reference point; or the slant plane, y towards the middle of the antenna's path."""
    own_autofocus: bool = False
    """RF, `gotcha`: apply the corrections of phase and range in the files' own `af`."""
    tx_grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """RF pairs, format `arrays`: transmitters along the first and the second axis of the scene;
    default: all along the first."""
    rx_grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """RF pairs, format `arrays`: receivers along both axes; default: all along the second."""
    voxel_size: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Voxel size per image axis [m]; default 1 mm."""
    dwell_time: Annotated[float, Field(gt=0)] | None = None
    """MRI: time between samples [s]; default: what the source says. A GIRF needs it, noise of
    another bandwidth, and a field map where there is no array `times`."""
    noise_dwell_time: Annotated[float, Field(gt=0)] | None = None
    """MRI: time between the noise samples [s]; default: what the source says, else the same."""
    slice_thickness: Annotated[float, Field(gt=0)] | None = None
    """MRI in 2D: thickness of the slice [m], where the source does not tell; default: the voxel
    size along x."""
    frame_duration: Annotated[float, Field(gt=0)] | None = None
    """MRI: from the start of a frame to that of the next [s], where frames follow each other."""
    first_sample_time: float | None = None
    """MRI: time of the first sample of each readout [s], since voxels of different frequencies had
    one phase, where there is no array `times`; default: what the source says, else 0."""
    samples_per_readout: Annotated[int, Field(ge=1)] | None = None
    """Length of a readout where an axis of the source joins readouts and samples."""
    readouts_per_frame: Annotated[int, Field(ge=1)] | None = None
    """Readouts of a frame where an axis of the source joins frames and readouts."""
    decouple_partitions: bool = False
    """MRI: a stack whose partitions (along z) are all measured, each along the same trajectory in
    its plane, is Fourier transformed along z, so that a 3D problem becomes one of parallel slices.
    """
    readouts: ReadoutSettings | None = None
    """MRI: which readouts of a scanner's file are the measurement."""
    trajectory: TrajectorySettings | None = None
    """MRI: where the readouts of a scanner's file were sampled."""
    arrays: dict[MriArrayName | RfArrayName, ArraySettings] | None = None
    bart: BartSettings | None = None
    simulation: SimulationSettings | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    """RF simulations: of the scatterers and the noise."""
    calibration: CalibrationSettings | None = None
    """Replaces the general calibration settings for this dataset."""

    @property
    def incomplete(self) -> bool:
        """Whether a scanner's file that is cut off is read as far as it goes."""
        return self.readouts is not None and self.readouts.incomplete

    def missing(self, kind: Kind, format_: str) -> str | None:
        """Return the first key that sources of this format cannot do without and that is absent."""
        match kind, format_:
            case "mri", "simulation":
                needed = ["simulation", "shape"]
            case _, ("arrays" | "bart"):
                needed = [format_]
            case _:
                needed = []
        return next((key for key in needed if getattr(self, key) is None), None)

    def foreign(self, kind: Kind, format_: str) -> tuple[str, list[str]] | None:
        """Return the first key that is set and of no use to a format, and the formats it is for."""
        used = (*_EVERY[kind], *FORMATS[kind][format_])
        for key, field in type(self).model_fields.items():
            if key not in used and getattr(self, key) != field.default:
                return key, [
                    f"{other} {name}"
                    for other, formats in FORMATS.items()
                    for name, keys in formats.items()
                    if key in (*_EVERY[other], *keys)
                ]
        return None


class IngestSettings(Settings):
    """Settings of `ingest`."""

    kind: Kind
    format: str
    source: str
    details: SourceSettings

    def files(self) -> list[Path]:
        """Return the files that the dataset is read from; none for a simulation."""
        source = Path(self.source)
        chosen = self.details.trajectory
        sequence = [] if chosen is None or chosen.file is None else [Path(chosen.file)]
        if self.source == STANDARD_INPUT:
            return sequence
        match self.format:
            case "simulation":
                return []
            case "bart" if self.details.bart is not None:
                bases = [base for _, base in self.details.bart if base is not None]
                return [source / f"{base}{end}" for base in bases for end in (".cfl", ".hdr")]
            case "arrays" if self.details.arrays is not None:
                entries = self.details.arrays.values()
                named = {name for entry in entries for name in entry.files}
                paths = [matching(source / name) if name else [source] for name in named]
                return sorted({path for some in paths for path in some}) + sequence
            case _:
                return [source, *sequence]
