"""Settings of what is estimated from the measurement before it is reconstructed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Settings
from pipeline.config.binning import BinningSettings
from pipeline.config.transforms import NufftSettings

CoilCount = Annotated[int, Field(ge=1, le=1024)]
EnergyShare = Annotated[float, Field(gt=0, lt=1)]


class GirfSettings(Settings):
    """What gradients make of their waveforms."""

    file: str
    """Gradient impulse response function, relative to `data_root`: a NumPy array `[input x y z,
    output (main field) x y z, frequency]`, frequency 0 in the middle."""
    raster: Annotated[float, Field(gt=0)] = 1e-5
    """Of the response in time [s]: its frequencies reach to half the inverse."""


Stretch = tuple[int, int | None]
"""From the first to before the last; counted from the end below 0, and `null` is the end."""


class NoiseRegionSettings(Settings):
    """Which samples of the measurement hold noise alone."""

    outermost: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """Share of all samples: those that are farthest from the centre of k-space."""
    readouts: Stretch | None = None
    """Of each frame, such as `[0, 8]`: the first and the one after the last. Below 0 they count
    from the end, and `null` is the end; default: all."""
    samples: Stretch | None = None
    """Of each readout, such as `[-16, null]`, its last 16; default: all."""

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        stretches = (self.readouts, self.samples)
        if (self.outermost is None) == (stretches == (None, None)):
            raise ValueError("a region is either `outermost`, or `readouts` or `samples` or both")
        return self


class EspiritSettings(Settings):
    """How coil maps are found by ESPIRiT."""

    width: Literal["auto"] | Annotated[int, Field(ge=3, le=12)] = "auto"
    """Samples of a patch of k-space along each axis; `auto` is 6 in 2D and 4 in 3D."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Energy of the patches' components that count as signal, relative to the strongest."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Maps are zero where the eigenvalue is smaller, as beyond the object; 0 keeps them all."""
    soft: bool = False
    """Maps fall off smoothly instead, half as large where the root of the eigenvalue is `crop`."""
    sets: Annotated[int, Field(ge=1, le=4)] = 1
    """Sets of maps: 2 where the field of view is smaller than the object, so that two places fall
    on a voxel. Images are the root of the sum of squares over sets, with the phase of the first.
    Needs `crop` (BART's is 0.8), beyond which a further set has only noise."""

    @model_validator(mode="after")
    def _cropped(self) -> Self:
        if self.sets > 1 and self.crop == 0:
            raise ValueError("`sets` needs `crop`, such as 0.8: a further set is noise elsewhere")
        return self


class CalibrationSettings(Settings):
    """What is estimated from the measurement before it is reconstructed."""

    whitening: Literal["auto", "noise", "none"] = "auto"
    """MRI: mix coils so that their noise is white and equally strong. `noise` goes by the noise
    samples of the source, or those of `noise_region`; `auto` does where there are ten for each coil
    or more."""
    noise_region: NoiseRegionSettings | None = None
    """MRI: where the source has no noise samples, or not those that are wanted: samples of the
    measurement that hold noise alone."""
    virtual_coils: Literal["all"] | CoilCount | EnergyShare = "all"
    """MRI: compress coils to so many principal components of the centre of k-space, or, below 1, to
    as many as hold this share of its energy."""
    compression: Literal["svd", "geometric"] = "svd"
    """MRI: whether `virtual_coils` are combinations of their own at each position along the
    readouts (`geometric`), of which fewer hold as much. It is for Cartesian readouts."""
    girf: GirfSettings | None = None
    delays: Literal["none", "ring"] = "none"
    """MRI, 2D radial readouts and stacks of stars: find gradient delays from where spokes cross,
    and move the trajectory by them."""
    coil_maps: Literal["auto", "source", "espirit", "walsh", "none"] = "auto"
    """`auto` takes the source's maps where it has them, ESPIRiT's for several coils, else none."""
    calibration_width: Annotated[int, Field(ge=8, le=128)] = 24
    """Width of the k-space centre that coil maps are estimated from [Cartesian samples], and that
    coils are compressed by."""
    espirit: EspiritSettings = EspiritSettings()
    off_resonance: Literal["auto", "source", "none"] = "auto"
    """MRI: whether a field map, and a map of R2*, are part of the signal. `auto` where the source
    has one and it is known when samples were taken."""
    off_resonance_error: Annotated[float, Field(ge=1e-5, le=0.5)] = 1e-3
    """MRI: error that their time segments may leave in the signal, root mean square over voxels."""
    density: Literal[
        "auto",
        "source",
        "cartesian",
        "radial",
        "stack-of-stars",
        "voronoi",
        "bistatic",
        "pipe-menon",
        "none",
    ] = "auto"
    """MRI: `auto` takes the source's weights where it has them, analytic ones for Cartesian
    samples, straight spokes and stacks of stars, else Pipe-Menon's iteration; `voronoi` takes the
    area nearest to each sample, in 2D. RF phase histories: `auto` takes analytic ones where
    transmitters and receivers circle a scene of two axes (`bistatic`), else none."""
    window: Literal["none", "hamming", "taylor"] = "none"
    """RF phase histories: taper of the aperture, in the order of pulses, and of the band: lower
    side lobes for a wider main lobe. `taylor` has side lobes of -35 dB (nbar 4). Part of the
    density weights, and used where they are."""
    autofocus: Literal["none", "sharpness", "entropy", "phase-gradient"] = "none"
    """RF phase histories: find a phase of each pulse that makes the image sharpest, its entropy
    least, or the phase gradient of bright places flat, and take it away. A shift across range may
    remain."""
    density_iterations: Annotated[int, Field(ge=1, le=200)] = 20
    """Iterations of Pipe-Menon."""
    binning: BinningSettings | None = None
    """MRI: sort readouts into states of motion, for reconstructions with `frames_per_image: bins`.
    """
    consistency: bool = True
    """MRI: fit a coarse image to the centre of k-space, and warn where samples, trajectory and coil
    maps do not fit together, with the usual mistake that explains it. RF: back-project some
    measurements, and warn where phases add up much better without a usual mistake."""


class PairCorrectionSettings(Settings):
    """What the clocks and cables of pairs of antenna arrays add, to be taken away."""

    phase: tuple[float, ...] | None = None
    """Of each pair [rad]."""
    delay: tuple[float, ...] | None = None
    """Of each pair [s]."""


class ReferenceTargetSettings(Settings):
    """A bright scatterer at a known place, to estimate what the instruments of pairs or pulses add.

    Of pulses a phase each, and only the position is told.
    """

    position: Annotated[tuple[float, ...], Field(min_length=2, max_length=3)]
    """Where it is [m]."""
    amplitude: Annotated[float, Field(gt=0)] | None = None
    """Its amplitude; if given, the gain of each pair is corrected too."""
    element_gains: bool = False
    """Estimate a gain of each transmitter and receiver too."""
    largest_delay: Annotated[float, Field(gt=0)] | None = None
    """Longest delay to look for [s]; default: half of what the frequencies' step tells apart."""


class InstrumentSettings(Settings):
    """What is known of the instruments."""

    coherent: bool | None = None
    """RF pairs: whether phases of different pairs can be compared; default: what the source says,
    else yes. A coherent image of pairs that cannot be compared is refused until they are corrected
    or estimated."""
    pair_correction: PairCorrectionSettings | None = None
    """RF pairs: known phases and delays, in place of the source's."""
    reference_target: ReferenceTargetSettings | None = None
    """RF: estimate phases and delays of pairs, or the phase of each pulse, from this scatterer."""


class CalibrateSettings(Settings):
    """Settings of `calibrate`."""

    calibration: CalibrationSettings
    nufft: NufftSettings
    instruments: InstrumentSettings | None = None
    """RF."""
