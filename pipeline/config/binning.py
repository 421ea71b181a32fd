"""Settings of binning: how readouts are sorted into states of motion, each of which is an image."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Settings

Frequency = Annotated[float, Field(gt=0)]


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
    bins: Annotated[int, Field(ge=2, le=64)] = 8
    """Of the navigator's signal, each with as many readouts; bin 0 is where it rests longest."""
    band: tuple[Frequency, Frequency] = (0.1, 0.7)
    """Of breathing [Hz]: the signal is the principal component of what changes within it."""
    repetition_time: Annotated[float, Field(gt=0)] | None = None
    """From a readout to the next [s]; default: from the duration of a frame, where it is known."""
    overlap: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far beyond its bin a readout still counts, falling to nothing there [bins]; 0 sorts each
    into one."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        fields = type(self).model_fields.items()
        given = [name for name, field in fields if getattr(self, name) != field.default]
        if self.table is not None and given != ["table"]:
            raise ValueError(f"`table` stands in place of `{given[-1]}`; leave one of them out")
        if self.band[0] >= self.band[1]:
            raise ValueError("`band`: the first frequency must be lower than the second")
        return self
