"""Figures of one reconstruction: orthogonal views, strips of frames, reference and difference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.pictures import (
    PLANES,
    WINDOW_PERCENTILE,
    Figure,
    Picture,
    Plane,
    central_plane,
    coloured_png,
    grey_png,
    plane_size,
    scale_bar_length,
    white_level,
)
from pipeline.report.quality import quality_note, quality_table
from pipeline.report.shown import Shown
from pipeline.storage.archives import first_axis

if TYPE_CHECKING:
    import pandas as pd

DIFFERENCE_GAIN = 5
"""Differences from a reference are drawn this much brighter than the images."""

LARGEST_STRIP = 8
"""Frames shown of a series, evenly spaced."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Series:
    """The images of one reconstruction, and what they may be compared with."""

    images: Any
    """Array ``[frame, z, y, x]``, stored or in memory."""
    voxel_size: Sequence[float]
    """(z, y, x) [m]."""
    reference: Callable[[int], Array | None]
    """Returns the reference ``[z, y, x]`` of a frame, or None."""
    scales: Mapping[int, float]
    """For each frame that was compared, the real factor that brings it closest to its reference."""
    slices: int = 1
    """Parallel slices, one after the other."""

    @property
    def frames(self) -> int:
        """Number of images."""
        return int(self.images.shape[0])

    @property
    def along(self) -> str:
        """What the images are: a ``frame`` or ``slice`` each, or a ``coefficient`` of a basis."""
        return "slice" if 1 < self.slices == self.frames else first_axis(self.images)

    @property
    def middle(self) -> int:
        """The image that is shown alone; of coefficients the first, with most of the signal."""
        return 0 if self.along == "coefficient" else self.frames // 2

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Planes worth showing: all three of a volume, the only one of a slice."""
        return tuple(PLANES) if self.images.shape[1] > 1 else ("axial",)

    def rows(self, frame: int, planes: Sequence[Plane]) -> dict[str, list[Array]]:
        """Return the planes of an image, and of its reference and their difference if any."""
        shown = [central_plane(self.images, frame, plane) for plane in planes]
        reference = self.reference(frame) if frame in self.scales else None
        if reference is None:
            return {"reconstruction": shown}
        truth = [central_plane(reference[np.newaxis], 0, plane) for plane in planes]
        shown = [self.scales[frame] * plane for plane in shown]
        difference = [
            DIFFERENCE_GAIN * np.abs(one - other) for one, other in zip(shown, truth, strict=True)
        ]
        return {
            "reconstruction": shown,
            "reference": truth,
            f"difference × {DIFFERENCE_GAIN}": difference,
        }

    def picture(self, plane: Plane, values: Array, white: float, label: str) -> Picture:
        """Return one plane in grey, ready for the page."""
        return self.laid_out(plane, grey_png(values, white), label)

    def laid_out(self, plane: Plane, source: str, label: str) -> Picture:
        """Return the picture of a plane with its extent and its axes."""
        geometry = PLANES[plane]
        width, height = plane_size(plane, self.images.shape[1:], self.voxel_size)
        return Picture(
            source=source,
            label=label,
            width=width,
            height=height,
            across=geometry.across,
            down=geometry.down,
            up=geometry.up,
        )

    def shown(self, table: "pd.DataFrame", measured: Mapping[str, Any]) -> Shown:
        """Return planes in grey, and the quality of all images."""
        rows = table[table["kind"] == "image"]
        return Shown(
            thumbnail=thumbnail(self),
            quality=quality_table(rows),
            quality_note=quality_note(rows),
            figures=(views(self), strip(self)) if self.frames > 1 else (views(self),),
            phase=phases(self),
        )


def thumbnail(series: Series) -> Picture:
    """Return the central axial plane of the middle image."""
    plane = central_plane(series.images, series.middle, "axial")
    return series.picture("axial", plane, white_level([plane]), "")


def views(series: Series) -> Figure:
    """Return the planes through the centre of the middle image.

    A volume's three planes stand side by side, with the reference and the difference below; a
    slice has the reference and the difference beside it.
    """
    frame = series.middle
    planes = series.planes
    which = f"{series.along.capitalize()} {frame} (of 0 to {series.frames - 1}). "
    subject = which if series.frames > 1 else ""
    if len(planes) > 1:
        subject += f"Planes through the centre, {_positions(series, planes)}. "
    figure = _figure(series, series.rows(frame, planes), planes, planes, subject)
    if len(planes) > 1:
        return figure
    pictures = (replace(picture, label=title) for title, (picture,) in figure.rows)
    return replace(figure, rows=(("", tuple(pictures)),))


def phases(series: Series) -> Figure:
    """Return the phase of the middle image, in the planes of `views`."""
    frame = series.middle
    pictures = tuple(
        series.laid_out(
            plane,
            coloured_png(
                central_plane(series.images, frame, plane, np.angle), -np.pi, np.pi, "twilight"
            ),
            plane,
        )
        for plane in series.planes
    )
    caption = "Phase of the same planes, from −π to π; where nothing is, it is that of noise."
    return Figure((("phase", pictures),), scale_bar_length(pictures[0].width), caption)


def strip(series: Series) -> Figure:
    """Return axial planes of frames evenly spaced over a series, drawn to one window."""
    count = min(series.frames, LARGEST_STRIP)
    frames = [round(index * (series.frames - 1) / max(1, count - 1)) for index in range(count)]
    columns = [series.rows(frame, ["axial"]) for frame in frames]
    values = {title: [column[title][0] for column in columns] for title in columns[0]}
    some = "All" if count == series.frames else f"{count} of {series.frames}"
    subject = f"{some} {series.along}s"
    if len(series.planes) > 1:
        subject += f", {_positions(series, ['axial'])}"
    labels = [f"{series.along} {frame}" for frame in frames]
    return _figure(series, values, ["axial"] * count, labels, f"{subject}. ")


def _figure(
    series: Series,
    values: Mapping[str, Sequence[Array]],
    planes: Sequence[Plane],
    labels: Sequence[str],
    subject: str,
) -> Figure:
    """Return a row of pictures for each title, all drawn to one window."""
    white = white_level(values.get("reference", values["reconstruction"]))
    rows = tuple(
        (title, tuple(map(series.picture, planes, row, [white] * len(row), labels)))
        for title, row in values.items()
    )
    bar = scale_bar_length(rows[0][1][0].width)
    return Figure(rows, bar, subject + _settings(values, white))


def _positions(series: Series, planes: Sequence[Plane]) -> str:
    """Return where planes lie: ``z = 36, y = 48``."""
    axes = (PLANES[plane].axis for plane in planes)
    return ", ".join(f"{'zyx'[axis]} = {series.images.shape[1 + axis] // 2}" for axis in axes)


def _settings(values: Mapping[str, Any], white: float) -> str:
    text = (
        f"Magnitude, linear grey from 0 to {white:.3g}, the {WINDOW_PERCENTILE:g}th percentile of "
        f"the {'reference' if 'reference' in values else 'planes'} shown"
    )
    if "reference" not in values:
        return text + "."
    return (
        f"{text}; the reconstruction is scaled by one real factor to fit the reference, and the "
        f"difference of magnitudes is drawn {DIFFERENCE_GAIN} times as bright."
    )
