"""Figures of one reconstruction: orthogonal views, strips of frames, reference and difference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pictures import (
    PLANES,
    WINDOW_PERCENTILE,
    Plane,
    central_plane,
    grey_png,
    plane_size,
    scale_bar_length,
    white_level,
)

DIFFERENCE_GAIN = 5
"""Differences from a reference are drawn this much brighter than the images."""

LARGEST_STRIP = 8
"""Frames shown of a series, evenly spaced."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """One grey plane.

    Parameters
    ----------
    source
        Data URI of the PNG.
    label
        What it shows.
    width, height
        Extent [m].
    across, down
        Marks of the axes to the right and along the vertical, such as ``x`` and ``y``.
    up
        Whether the vertical axis grows upwards.
    """

    source: str
    label: str
    width: float
    height: float
    across: str
    down: str
    up: bool


@dataclass(frozen=True)
class Figure:
    """Pictures in rows of ``columns``, drawn to one scale within a row.

    Parameters
    ----------
    pictures
        Row by row.
    columns
        Pictures in a row.
    bar
        Length of the scale bar, which stands in the first picture [m].
    caption
        What is shown and with which settings.
    """

    pictures: tuple[Picture, ...]
    columns: int
    bar: float
    caption: str


@dataclass(frozen=True)
class Series:
    """The images of one reconstruction, and what they may be compared with.

    Parameters
    ----------
    images
        Array ``[frame, z, y, x]``, stored or in memory.
    voxel_size
        (z, y, x) [m].
    reference
        Returns the reference ``[z, y, x]`` of a frame, or None.
    scales
        For each frame that was compared, the real factor that brings it closest to its reference.
    """

    images: Any
    voxel_size: Sequence[float]
    reference: Callable[[int], Array | None]
    scales: Mapping[int, float]

    @property
    def frames(self) -> int:
        """Number of images."""
        return int(self.images.shape[0])

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
        shown = [self.scales[frame] * plane for plane in shown]
        truth = [central_plane(reference[np.newaxis], 0, plane) for plane in planes]
        difference = [
            DIFFERENCE_GAIN * np.abs(one - other) for one, other in zip(shown, truth, strict=True)
        ]
        return {
            "reconstruction": shown,
            "reference": truth,
            f"difference × {DIFFERENCE_GAIN}": difference,
        }

    def picture(self, plane: Plane, values: Array, white: float, label: str) -> Picture:
        """Return one plane ready for the page."""
        geometry = PLANES[plane]
        width, height = plane_size(plane, self.images.shape[1:], self.voxel_size)
        return Picture(
            source=grey_png(values, white),
            label=label,
            width=width,
            height=height,
            across=geometry.across,
            down=geometry.down,
            up=geometry.up,
        )


def thumbnail(series: Series) -> Picture:
    """Return the central axial plane of the middle image."""
    plane = central_plane(series.images, series.frames // 2, "axial")
    return series.picture("axial", plane, white_level([plane]), "")


def views(series: Series) -> Figure:
    """Return the planes through the centre of the middle image.

    A volume's three planes stand side by side, with the reference and the difference below; a
    slice has the reference and the difference beside it.
    """
    frame = series.frames // 2
    planes = series.planes
    rows = series.rows(frame, planes)
    white = white_level(rows.get("reference", rows["reconstruction"]))
    pictures = [
        series.picture(plane, values, white, f"{title}, {plane}" if len(planes) > 1 else title)
        for title, row in rows.items()
        for plane, values in zip(planes, row, strict=True)
    ]
    shape = series.images.shape[1:]
    where = ", ".join(
        f"{'zyx'[PLANES[plane].axis]} = {shape[PLANES[plane].axis] // 2}" for plane in planes
    )
    subject = f"Planes through the centre ({where})" if len(planes) > 1 else "Magnitude"
    if series.frames > 1:
        subject += f" of frame {frame} of 0 to {series.frames - 1}"
    return Figure(
        pictures=tuple(pictures),
        columns=len(planes) if len(planes) > 1 else len(rows),
        bar=scale_bar_length(pictures[0].width),
        caption=f"{subject}. {_settings(rows, white)}",
    )


def strip(series: Series) -> Figure:
    """Return axial planes of frames evenly spaced over a series, drawn to one window."""
    count = min(series.frames, LARGEST_STRIP)
    frames = [round(index * (series.frames - 1) / max(1, count - 1)) for index in range(count)]
    columns = [series.rows(frame, ["axial"]) for frame in frames]
    white = white_level(
        [column.get("reference", column["reconstruction"])[0] for column in columns]
    )
    titles = list(columns[0])
    pictures = [
        series.picture(
            "axial",
            column[title][0],
            white,
            f"frame {frame}" if title == titles[0] else title,
        )
        for title in titles
        for frame, column in zip(frames, columns, strict=True)
    ]
    shown = "All frames" if count == series.frames else f"{count} of {series.frames} frames"
    central = f" at z = {series.images.shape[1] // 2}" if len(series.planes) > 1 else ""
    return Figure(
        pictures=tuple(pictures),
        columns=count,
        bar=scale_bar_length(pictures[0].width),
        caption=f"{shown}, axial{central}. {_settings(columns[0], white)}",
    )


def _settings(rows: Mapping[str, Any], white: float) -> str:
    text = (
        f"Magnitude, linear grey from 0 to {white:.3g}, the {WINDOW_PERCENTILE:g}th percentile of "
        f"the {'reference' if 'reference' in rows else 'planes'} shown"
    )
    if "reference" not in rows:
        return text + "."
    return (
        f"{text}; the reconstruction is scaled by one real factor to fit the reference, and the "
        f"difference of magnitudes is drawn {DIFFERENCE_GAIN} times as bright."
    )
