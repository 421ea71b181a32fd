"""Settings of what a scanner's file lists readout by readout: which of them make an image."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings

Counter = Literal["average", "slice", "contrast", "phase", "repetition", "set", "segment"]
"""What a scanner counts besides the lines of k-space."""


class ReadoutSettings(Settings):
    """Which readouts of a scanner's file are the measurement, and which of them make a frame."""

    encoding: Annotated[int, Field(ge=0)] | None = None
    """Encoding space of an MRD file, by default 0; of a Siemens file the measurement, counted from
    0, by default the last."""
    frames: tuple[Counter, ...] = ("slice", "contrast", "phase", "repetition", "set")
    """Counters whose values are frames of their own, the slowest first; slices come before all
    others. Readouts that differ in the other counters are joined."""
    select: dict[Counter, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Take only the readouts with this value of a counter."""
    incomplete: bool = False
    """Go on with a file that is cut off: with its whole readouts, and without the frames that lack
    some."""
