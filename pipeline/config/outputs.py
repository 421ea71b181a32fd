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


class MergeSettings(Settings):
    """Settings of `merge`."""

    output: OutputSettings


class MeasureSettings(Settings):
    """Settings of `measure`."""

    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)]
