"""Settings of images that belong together and are solved for as one problem."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Settings

_NEEDED = {
    "frames": (),
    "source": (),
    "dictionary": (),
    "t1-recovery": ("times",),
    "t2-decay": ("times",),
    "flip-angles": ("flip_angles", "repetition_time"),
    "fingerprinting": ("flip_angles", "repetition_times"),
}
"""Settings that each basis needs; those of others are refused."""

Positive = Annotated[float, Field(gt=0)]
Parameter = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]


class SeriesSettings(Settings):
    """All images of a dataset as one problem, each by itself or as a sum of few."""

    basis: Literal[
        "frames", "source", "dictionary", "t1-recovery", "t2-decay", "flip-angles", "fingerprinting"
    ] = "frames"
    """`frames`: every image is an unknown; a penalty along the series couples them. Else images are
    sums of few `coefficients`: with the array `basis` of the source, or the principal components of
    its array `dictionary`, or of a signal model for many relaxation times: recovery after an
    inversion, decay after an excitation, the steady state of a spoiled gradient echo at several
    flip angles, or the signals of a fingerprinting sequence (FISP)."""
    coefficients: Annotated[int, Field(ge=1, le=32)] = 3
    """Components of the signals; of a `source` all that it has."""
    parameters: tuple[Parameter, ...] = ()
    """Of a dictionary: names of the columns of the array `parameters`, such as T1 and T2, of each
    of which `output.maps` makes a map; none without that array."""
    times: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Of each image, after the inversion or the excitation [s]."""
    flip_angles: tuple[Positive, ...] | None = None
    """Of each image [degree]."""
    repetition_time: Positive | None = None
    """Of a flip-angle series [s]."""
    repetition_times: tuple[Positive, ...] | None = None
    """Of fingerprinting: from each pulse to the next [s]; one number where all are the same."""
    inversion_time: Positive | None = None
    """Of fingerprinting: from an inversion to the first pulse [s]; none without inversion."""
    relaxation_times: tuple[Positive, Positive] = (0.05, 5.0)
    """Shortest and longest T1 or T2 that the model is made for [s]; 200 in between, evenly spaced
    on a logarithmic scale. Of fingerprinting T1, in steps of 5 %."""
    t2_times: tuple[Positive, Positive] = (0.01, 0.5)
    """Of fingerprinting: shortest and longest T2 [s], in steps of 5 %."""

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
        for name in ("times", "flip_angles", "repetition_time", "repetition_times"):
            given = getattr(self, name) is not None
            if given != (name in needed):
                raise ValueError(
                    f"`basis: {self.basis}` "
                    + (f"has no use for `{name}`" if given else f"needs `{name}`")
                )
        if self.parameters and self.basis != "dictionary":
            raise ValueError(f"`basis: {self.basis}` has no use for `parameters`")
        taken = {"amplitude", "basis", "dictionary", "image"}.intersection(self.parameters)
        if taken or len(set(self.parameters)) < len(self.parameters):
            raise ValueError(
                "`parameters` are names of maps: each once, and none of amplitude, basis, "
                "dictionary and image"
            )
        if self.images == "coefficients" and not self.subspace:
            raise ValueError("`images: coefficients` needs a `basis` other than frames")
        if self.inversion_time is not None and self.basis != "fingerprinting":
            raise ValueError(f"`basis: {self.basis}` has no use for `inversion_time`")
        pulses, intervals = len(self.flip_angles or ()), len(self.repetition_times or ())
        if intervals not in (0, 1, pulses):
            raise ValueError(
                f"`repetition_times` has {intervals} values and `flip_angles` {pulses}; give one "
                "for each, or one for all"
            )
        for name in ("relaxation_times", "t2_times"):
            shortest, longest = getattr(self, name)
            if shortest >= longest:
                raise ValueError(f"`{name}`: the first must be shorter than the second")
        if self.basis == "fingerprinting" and self.t2_times[0] > self.relaxation_times[1]:
            raise ValueError(
                f"`t2_times` begin at {self.t2_times[0]:g} s and `relaxation_times`, which are T1, "
                f"end at {self.relaxation_times[1]:g} s; no T2 is longer than T1, so that no "
                "signal is left"
            )
        return self
