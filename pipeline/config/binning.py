"""Settings of binning: how readouts are sorted into states of motion, each of which is an image."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Settings

MOST_BINS = 256
"""Of all axes together."""

Frequency = Annotated[float, Field(gt=0)]
Bins = Annotated[int, Field(ge=2, le=64)]
Overlap = Annotated[float, Field(ge=0, le=1)]


class HeartSettings(Settings):
    """A second axis of bins, of the heart, from the same navigator."""

    bins: Bins = 4
    """Of the signal of the heart, each with as many readouts; bin 0 is where it rests longest."""
    band: tuple[Frequency, Frequency] = (0.8, 3.0)
    """Of the heart [Hz]: the signal is the principal component of what changes within it and does
    not go with the breath."""
    overlap: Overlap = 0.0
    """As of breathing."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.band[0] >= self.band[1]:
            raise ValueError("`heart.band`: the first frequency must be lower than the second")
        return self


class BinningSettings(Settings):
    """How the readouts of all frames are sorted into bins, such as states of breathing."""

    table: str | None = None
    """File relative to `data_root`, in place of a navigator: a row for each readout, frame after
    frame. One or two columns hold the number of its bin from 0 on, such as breathing and heart, and
    less than 0 for none; more columns hold what it counts in each bin, as does a NumPy array
    `[readout, bin, bin]` of two axes of bins."""
    navigator: Literal["centre", "projections"] = "centre"
    """What tells of breathing: the `centre` of k-space of all readouts that pass it, or the
    `projections` that readouts are which repeat the first one."""
    bins: Bins = 8
    """Of the navigator's signal, each with as many readouts; bin 0 is where it rests longest."""
    band: tuple[Frequency, Frequency] = (0.1, 0.7)
    """Of breathing [Hz]: the signal is the principal component of what changes within it."""
    heart: HeartSettings | None = None
    """Sorts each bin by the heart too; `{}` for its defaults. Images are in the order of breathing,
    then of the heart."""
    repetition_time: Annotated[float, Field(gt=0)] | None = None
    """From a readout to the next [s]; default: from the duration of a frame, where it is known."""
    overlap: Overlap = 0.0
    """How far beyond its bin a readout still counts, falling to nothing there [bins]; 0 sorts each
    into one."""

    @property
    def highest(self) -> tuple[str, float]:
        """The setting with the highest frequency that is looked for, and that [Hz]."""
        if self.heart is None:
            return "band", self.band[1]
        return "heart.band", self.heart.band[1]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        fields = type(self).model_fields.items()
        given = [name for name, field in fields if getattr(self, name) != field.default]
        if self.table is not None and given != ["table"]:
            raise ValueError(f"`table` stands in place of `{given[-1]}`; leave one of them out")
        if self.band[0] >= self.band[1]:
            raise ValueError("`band`: the first frequency must be lower than the second")
        if self.heart is not None and self.heart.band[1] <= self.band[1]:
            raise ValueError(
                f"`heart.band` ends at {self.heart.band[1]:g} Hz and `band`, of breathing, at "
                f"{self.band[1]:g} Hz; the heart must be the faster one"
            )
        if self.heart is not None and self.bins * self.heart.bins > MOST_BINS:
            raise ValueError(
                f"{self.bins} bins of breathing times {self.heart.bins} of the heart are more than "
                f"{MOST_BINS}; take fewer"
            )
        return self
