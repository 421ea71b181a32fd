"""Pictures for the report: planes through volumes as PNG.

Nothing here touches files or pyplot's global state. Planes keep their stored resolution and the
browser scales them to their physical aspect, so that text and scale bars stay crisp beside them.
"""

import base64
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

WINDOW_PERCENTILE = 99.5
"""Percentile of the shown magnitudes that is drawn white."""

_LARGEST_SIDE = 1024

Plane = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class PlaneGeometry:
    """How a plane through a volume ``[z, y, x]`` is laid out on the page."""

    axis: int
    """Volume axis that the plane is perpendicular to."""
    across: str
    down: str
    """Names of the axes that run to the right and downwards."""
    up: bool
    """Whether the second one is drawn upwards instead."""


@dataclass(frozen=True)
class Picture:
    """One grey plane."""

    source: str
    """Data URI of the PNG."""
    label: str
    """What it shows."""
    width: float
    height: float
    """Extent [m]."""
    across: str
    down: str
    """Marks of the axes to the right and along the vertical, such as ``x`` and ``y``."""
    up: bool
    """Whether the vertical axis grows upwards."""


@dataclass(frozen=True)
class Figure:
    """Rows of pictures, each row drawn to one scale."""

    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    """Title and pictures of each row; all rows are equally long."""
    bar: float
    """Length of the scale bar, which stands in the first picture [m]."""
    caption: str
    """What is shown and with which settings."""


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    source: str
    """Data URI of an SVG."""
    label: str
    """What it shows."""


@dataclass(frozen=True)
class PanelFigure:
    """Charts side by side, with one caption; ``columns`` of them where the page is wide."""

    panels: tuple[Panel, ...]
    caption: str
    columns: int = 2


PLANES: dict[Plane, PlaneGeometry] = {
    "axial": PlaneGeometry(0, "x", "y", up=False),
    "coronal": PlaneGeometry(1, "x", "z", up=True),
    "sagittal": PlaneGeometry(2, "y", "z", up=True),
}
"""Named as they are for a patient who lies along z; nothing is known of how this one lay."""


def plane_size(
    plane: Plane, shape: Sequence[int], voxel_size: Sequence[float]
) -> tuple[float, float]:
    """Return width and height of a plane [m] through a volume ``(z, y, x)``."""
    sides = [count * size for count, size in zip(shape, voxel_size, strict=True)]
    height, width = (side for axis, side in enumerate(sides) if axis != PLANES[plane].axis)
    return width, height


def central_plane(
    images: Any, frame: int, plane: Plane, part: Callable[..., Any] = np.abs
) -> NDArray[np.float32]:
    """Return the magnitude of the plane through a volume's centre, ``[row, column]``.

    Or its phase, where ``part`` is `numpy.angle`.

    Images ``[frame, z, y, x]`` are in memory or stored; rows run as they are drawn, from the top.
    """
    geometry = PLANES[plane]
    where: list[Any] = [frame, slice(None), slice(None), slice(None)]
    where[1 + geometry.axis] = images.shape[1 + geometry.axis] // 2
    values: NDArray[np.float32] = part(np.asarray(images[tuple(where)])).astype(np.float32)
    return values[::-1] if geometry.up else values


def white_level(planes: Iterable[NDArray[Any]]) -> float:
    """Return the magnitude that is drawn white: `WINDOW_PERCENTILE` of all planes together."""
    level = float(np.percentile(np.concatenate([p.ravel() for p in planes]), WINDOW_PERCENTILE))
    return level if level > 0 else 1.0


def grey_png(plane: NDArray[Any], white: float) -> str:
    """Return a plane as a data URI of a PNG, linear from black at 0 to white at ``white``."""
    return coloured_png(plane, 0.0, white, "gray")


def coloured_png(plane: NDArray[Any], lowest: float, highest: float, colours: str) -> str:
    """Return a plane as a data URI of a PNG, in one of matplotlib's colour maps."""
    import matplotlib as mpl
    from PIL import Image

    step = math.ceil(max(plane.shape) / _LARGEST_SIDE)
    parts = (plane[::step, ::step] - lowest) / (highest - lowest)
    # Indices into a table of colours: a third of the bytes of pixels in colours of their own.
    picture = Image.fromarray(np.rint(255 * parts.clip(0, 1)).astype(np.uint8))
    if colours != "gray":
        table = mpl.colormaps[colours](np.linspace(0, 1, 256), bytes=True)
        picture.putpalette(table[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="png", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scale_bar_length(width: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of at most a third of ``width``."""
    decade = 10.0 ** math.floor(math.log10(width / 3))
    return max(factor * decade for factor in (1, 2, 5) if factor * decade <= width / 3 * (1 + 1e-9))
