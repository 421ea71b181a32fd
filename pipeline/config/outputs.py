"""Settings of the files that come out, and what `merge` and `measure` see."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings
from pipeline.config.equations import FramesPerImage


@dataclass(frozen=True)
class Named:
    """What an output is called, which is a file or a folder.

    It stands with the setting, so that one that is no longer asked for is found without its code.
    """

    name: str


class OutputSettings(Settings):
    """Files that merge writes beside `image.zarr`."""

    ome_zarr: Annotated[bool, Named("magnitude.ome.zarr")] = True
    """Multi-resolution magnitude for viewers (napari, Neuroglancer)."""
    nifti: Annotated[bool, Named("magnitude.nii.gz")] = True
    """Magnitude as NIfTI-1, gzipped."""
    viewer: Annotated[bool, Named("viewer.js")] = True
    """Small copy of the magnitude, which the page `viewer.html` shows."""
    maps: Annotated[bool, Named("maps")] = False
    """MRI, a `series` with a signal model: T1 or T2 of each voxel as NIfTI-1 [s], a folder."""
    dicom: Annotated[bool, Named("dicom")] = False
    """MRI: magnitude as multi-frame DICOM, a folder."""
    bart: Annotated[bool, Named("bart")] = False
    """Complex images as BART's `.cfl` and `.hdr`, a folder."""
    ismrmrd: Annotated[bool, Named("image.h5")] = False
    """MRI: complex images as ISMRMRD."""
    sicd: Annotated[bool, Named("image.nitf")] = False
    """RF, `cphd`: complex image as SICD."""
    bids: Annotated[
        Literal[False, "T1w", "T2w", "T2starw", "PDw", "FLAIR", "inplaneT1", "inplaneT2", "angio"],
        Named("bids"),
    ] = False
    """MRI: magnitude as a BIDS derivative, a folder; the suffix says what the images show."""


def output_names() -> dict[str, str]:
    """Return what each output is called, by the names of their settings."""
    return {
        setting: next(each.name for each in field.metadata if isinstance(each, Named))
        for setting, field in OutputSettings.model_fields.items()
    }


class MergeSettings(Settings):
    """Settings of `merge`."""

    output: OutputSettings
    frames_per_image: FramesPerImage = 1


class MetricsSettings(Settings):
    """How RF images are measured."""

    extent: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """How far from a point its side lobes are looked at, on either side [m]; `auto` takes ten times
    the width of the main lobe to be expected."""
    floor_db: Annotated[float, Field(lt=0)] = -50.0
    """Magnitudes are clipped here, relative to the brightest voxel of the reference, before their
    structural similarity is taken."""
    false_alarm_probability: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Of the detector, in each voxel."""


class MeasureSettings(Settings):
    """Settings of `measure`."""

    frames_per_image: FramesPerImage
    metrics: MetricsSettings | None = None
    """Of RF images only."""
