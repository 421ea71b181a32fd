"""Settings of images that belong together and are solved for as one problem."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Settings

_NEEDED = {
    "frames": (),
    "source": (),
    "t1-recovery": ("times",),
    "t2-decay": ("times",),
    "flip-angles": ("flip_angles", "repetition_time"),
}
"""Settings that each basis needs; those of others are refused."""

Positive = Annotated[float, Field(gt=0)]


class SeriesSettings(Settings):
    """All images of a dataset as one problem, each by itself or as a sum of few."""

    basis: Literal["frames", "source", "t1-recovery", "t2-decay", "flip-angles"] = "frames"
    """`frames`: every image is an unknown; a penalty along the series couples them. Else images are
    sums of few `coefficients`: with the array `basis` of the source, or the principal components of
    a signal model for many relaxation times: recovery after an inversion, decay after an
    excitation, or the steady state of a spoiled gradient echo at several flip angles."""
    coefficients: Annotated[int, Field(ge=1, le=32)] = 3
    """Components of the signal model; of a `source` all that it has."""
    times: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Of each image, after the inversion or the excitation [s]."""
    flip_angles: tuple[Positive, ...] | None = None
    """Of each image [degree]."""
    repetition_time: Positive | None = None
    """Of a flip-angle series [s]."""
    relaxation_times: tuple[Positive, Positive] = (0.05, 5.0)
    """Shortest and longest T1 or T2 that the model is made for [s]; 200 in between, evenly spaced
    on a logarithmic scale."""

    images: Literal["frames", "coefficients"] = "frames"
    """What is written: the image of each frame, or of a basis only the coefficients, which are all
    that is known of many frames. `image.zarr` holds the `basis` too."""

    @property
    def subspace(self) -> bool:
        """Whether images are sums of fewer unknowns."""
        return self.basis != "frames"

    @model_validator(mode="after")
    def _of_its_basis(self) -> Self:
        needed = _NEEDED[self.basis]
        for name in ("times", "flip_angles", "repetition_time"):
            given = getattr(self, name) is not None
            if given != (name in needed):
                raise ValueError(
                    f"`basis: {self.basis}` "
                    + (f"has no use for `{name}`" if given else f"needs `{name}`")
                )
        if self.images == "coefficients" and not self.subspace:
            raise ValueError("`images: coefficients` needs a `basis` other than frames")
        if self.relaxation_times[0] >= self.relaxation_times[1]:
            raise ValueError("`relaxation_times`: the first must be shorter than the second")
        return self
