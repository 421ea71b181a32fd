"""Settings of RF scenes: the grid of the image, the medium, and what antennas do to amplitudes."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.base import Matrix, Settings


class MediumSettings(Settings):
    """What waves travel through, all the way from antennas to voxels."""

    permittivity: Annotated[float, Field(ge=1)] | None = None
    """Relative permittivity; the speed is that in vacuum over its root."""
    speed: Annotated[float, Field(gt=0)] | None = None
    """Of waves [m/s], in its place."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.permittivity is None) == (self.speed is None):
            raise ValueError("give one of `permittivity` and `speed`")
        return self


class AntennaSettings(Settings):
    """What antennas and distances do to amplitudes; all antennas are alike, both ways."""

    path_loss: bool = False
    """Phase histories: fields fall with distance, relative to a scatterer in the scene's origin.
    Pairs of arrays always have it with the model `exact`."""
    power: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Pattern: the amplitude is this power of the cosine of the angle to the boresight, and nothing
    behind it."""
    pattern: Annotated[tuple[tuple[float, float], ...], Field(min_length=2)] | None = None
    """In its place, angles to the boresight [degrees], increasing from 0, each with its gain [dB]:
    straight lines between, and nothing beyond the last."""
    aim: tuple[float, float, float] | None = None
    """Point that all antennas look at [m]; default: the scene's origin."""
    direction: tuple[float, float, float] | None = None
    """Where all antennas look, in place of a point."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        for one, other in (("power", "pattern"), ("aim", "direction")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give one of `{one}` and `{other}`")
        patterned = self.power is not None or self.pattern is not None
        if not patterned and (self.aim is not None or self.direction is not None):
            raise ValueError("`aim` and `direction` are of a `pattern`, or a `power`; give one")
        if not patterned and not self.path_loss:
            raise ValueError("give `path_loss: true`, `power` or `pattern`; or leave it out")
        if self.direction is not None and not any(self.direction):
            raise ValueError("`direction` is zero; give a vector that is not")
        angles = [angle for angle, _ in self.pattern or ((0.0, 0.0), (1.0, 0.0))]
        increasing = all(one < other for one, other in pairwise(angles))
        if angles[0] != 0 or angles[-1] > 180 or not increasing:
            raise ValueError(
                f"angles of `pattern` are {angles}; they increase from 0 to 180 or less"
            )
        return self


class SceneSettings(Settings):
    """The grid of an RF image; axis d of the image runs along coordinate d of the antennas."""

    shape: Matrix
    """Voxels along each coordinate."""
    spacing: tuple[Annotated[float, Field(gt=0)], ...]
    """Distance of neighbouring voxels along each coordinate [m]."""
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Position of voxel N // 2 of every axis [m]."""
    medium: MediumSettings | None = None
    """What waves travel through; default: vacuum."""
