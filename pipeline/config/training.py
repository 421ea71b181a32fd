"""Settings of `train`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings
from pipeline.config.transforms import NufftSettings


class TrainSettings(Settings):
    """An unrolled network, and how it is trained."""

    layers: Annotated[int, Field(ge=1, le=100)] = 6
    """Iterations that are unrolled."""
    channels: Annotated[int, Field(ge=0, le=256)] = 8
    """Filters of each layer's convolutional regulariser; 0 for none: learned steps and thresholds
    only."""
    kernel_size: Annotated[int, Field(ge=1, le=15)] = 3
    """Voxels of a filter along each axis, odd."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Threshold that training begins with, relative to the brightest voxel."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """How often every scene is seen."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Scenes of a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Of Adam for the filters, thirty times this for steps and thresholds; it falls to nothing
    along half a cosine."""
    held_out: Annotated[int, Field(ge=1)] = 4
    """Scenes that are not trained on but measured with: the last ones."""
    checkpointing: bool = True
    """Compute each layer again for its gradient: memory that does not grow with the layers."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the first parameters and of the order of scenes."""
    weights: Literal["density", "none"] = "density"
    """MRI: as in the reconstruction that will use the network."""
    nufft: NufftSettings = NufftSettings()
