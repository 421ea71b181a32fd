"""What the page shows of the images of one reconstruction, as their kind of data draws them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.report.pictures import Figure, PanelFigure, Picture
from pipeline.report.quality import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Shown:
    """Pictures and tables, ready for the page."""

    thumbnail: Picture
    """For the contact sheet."""
    quality: Table
    """Header and rows of the quality table; empty without images in the metrics."""
    quality_note: str
    """What the figures in the table are relative to."""
    figures: tuple[Figure, ...] = ()
    """Pictures of planes, and charts, with captions."""
    panels: tuple[PanelFigure, ...] = ()
    points: Table = ()
    """Table of the responses to points, and what it means."""
    points_note: str = ""
    phase: Figure | None = None
    """Of the first of the figures' images."""
    pairs: Table = ()
    """Table of the pairs of antenna arrays."""


@dataclass(frozen=True)
class ShownCalibration:
    """Pictures and charts of what was found of an acquisition before it was reconstructed."""

    figures: tuple[Figure, ...] = ()
    panels: tuple[PanelFigure, ...] = ()


class AnySeries(Protocol):
    """The images of one reconstruction, ``[frame, z, y, x]``, and how they are shown."""

    @property
    def images(self) -> Any:
        """Array ``[frame, z, y, x]``, stored or in memory."""

    @property
    def frames(self) -> int:
        """Number of images."""

    @property
    def along(self) -> str:
        """What each image is, such as a ``frame``."""

    def shown(self, table: "pd.DataFrame", measured: Mapping[str, Any]) -> Shown:
        """Return what the rows of the metrics and the receipt of `measure` show."""
