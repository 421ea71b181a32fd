"""Settings of the files that come out, and what `merge` and `measure` see."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings


class OutputSettings(Settings):
    """Files that merge writes beside `image.zarr`."""

    ome_zarr: bool = True
    """Multi-resolution magnitude for viewers (napari, Neuroglancer)."""
    nifti: bool = True
    """Magnitude as NIfTI-1, gzipped."""
    dicom: bool = False
    """MRI: magnitude as multi-frame DICOM, a folder."""
    bart: bool = False
    """Complex images as BART's `.cfl` and `.hdr`, a folder."""
    ismrmrd: bool = False
    """MRI: complex images as ISMRMRD."""
    bids: Literal[
        False, "T1w", "T2w", "T2starw", "PDw", "FLAIR", "inplaneT1", "inplaneT2", "angio"
    ] = False
    """MRI: magnitude as a BIDS derivative, a folder; the suffix says what the images show."""


class MergeSettings(Settings):
    """Settings of `merge`."""

    output: OutputSettings
    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)] = 1


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

    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)]
    metrics: MetricsSettings | None = None
    """Of RF images only."""
