"""Pictures for the report: grey planes through volumes as PNG, curves as SVG.

Nothing here touches files or pyplot's global state. Planes keep their stored resolution and the
browser scales them to their physical aspect, so that text and scale bars stay crisp beside them.
"""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_PERCENTILE = 99.5
"""Percentile of the shown magnitudes that is drawn white."""

DYNAMIC_RANGE_DB = 50
"""Range below the brightest voxel that radar images show."""

_LARGEST_SIDE = 1024
# What is drawn in this colour follows the page from light to dark, by the style in `_THEME`.
_INK = "#010203"
_THEME = "<style>svg{color:#33383f}@media(prefers-color-scheme:dark){svg{color:#c9ced6}}</style>"
_FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans'"
_SERIES = ("#3d7fb8", "#d9792b", "#3a9b74", "#b5598f", "#8d7a2f", "#6b6bc2")

Plane = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class PlaneGeometry:
    """How a plane through a volume ``[z, y, x]`` is laid out on the page.

    Parameters
    ----------
    axis
        Volume axis that the plane is perpendicular to.
    across, down
        Names of the axes that run to the right and downwards; ``up`` says that the second one
        is drawn upwards instead.
    """

    axis: int
    across: str
    down: str
    up: bool


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


def central_plane(images: Any, frame: int, plane: Plane) -> NDArray[np.float32]:
    """Return the magnitude of the plane through a volume's centre, ``[row, column]``.

    Parameters
    ----------
    images
        Array, in memory or stored, with the axes ``[frame, z, y, x]``.
    frame
        Which volume.
    plane
        Which plane; its rows run as they are drawn, from the top.
    """
    geometry = PLANES[plane]
    where: list[Any] = [frame, slice(None), slice(None), slice(None)]
    where[1 + geometry.axis] = images.shape[1 + geometry.axis] // 2
    magnitude: NDArray[np.float32] = np.abs(np.asarray(images[tuple(where)])).astype(np.float32)
    return magnitude[::-1] if geometry.up else magnitude


def white_level(planes: Iterable[NDArray[Any]]) -> float:
    """Return the magnitude that is drawn white: `WINDOW_PERCENTILE` of all planes together."""
    level = float(np.percentile(np.concatenate([p.ravel() for p in planes]), WINDOW_PERCENTILE))
    return level if level > 0 else 1.0


def decibels(planes: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Return magnitudes as dB of the largest of all planes, 0 at the end of the range and 1 at it.

    A plane without any signal stays black.
    """
    peak = max((float(plane.max()) for plane in planes), default=0.0)
    floor = 10 ** (-DYNAMIC_RANGE_DB / 20)
    if peak <= 0:
        return [np.zeros(plane.shape, np.float32) for plane in planes]
    return [
        (1 + 20 / DYNAMIC_RANGE_DB * np.log10(np.maximum(plane / peak, floor))).astype(np.float32)
        for plane in planes
    ]


def grey_png(plane: NDArray[Any], white: float) -> str:
    """Return a plane as a data URI of a PNG, linear from black at 0 to white at ``white``."""
    from matplotlib.image import imsave

    step = math.ceil(max(plane.shape) / _LARGEST_SIDE)
    buffer = io.BytesIO()
    imsave(
        buffer, plane[::step, ::step], cmap="gray", vmin=0.0, vmax=white, format="png",
        pil_kwargs={"optimize": True},
    )  # fmt: skip
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scale_bar_length(width: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of at most a third of ``width``."""
    decade = 10.0 ** math.floor(math.log10(width / 3))
    return max(factor * decade for factor in (1, 2, 5) if factor * decade <= width / 3 * (1 + 1e-9))


def convergence_curves(curves: Sequence[Sequence[float]]) -> str:
    """Draw residuals against iterations.

    Parameters
    ----------
    curves
        Relative residuals of each image after each iteration; images may stop at different ones.

    Returns
    -------
    str
        Data URI of an SVG: one line an image, and where there are several their median.
    """
    figure, axes = _figure(6.0, 2.9)
    single = len(curves) == 1
    for curve in curves:
        axes.semilogy(
            range(1, len(curve) + 1), curve, color=_SERIES[0],
            linewidth=1.6 if single else 0.8, alpha=1 if single else max(0.1, len(curves) ** -0.5),
            marker="o" if single else None, markersize=3.5,
        )  # fmt: skip
    if not single:
        longest = max(map(len, curves))
        going = [[curve[step] for curve in curves if step < len(curve)] for step in range(longest)]
        medians = [float(np.median(residuals)) for residuals in going]
        axes.semilogy(range(1, longest + 1), medians, color=_SERIES[0], linewidth=1.8, marker="o",
                      markersize=3.5)  # fmt: skip
    axes.set_xlabel("iteration")
    axes.set_ylabel("relative residual")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(True, which="major", color=_INK, alpha=0.12, linewidth=0.6)
    return _svg(figure)


def memory_scatter(points: Mapping[str, Sequence[tuple[float, float]]], limit: float | None) -> str:
    """Draw measured against predicted peak memory, both logarithmic.

    Parameters
    ----------
    points
        For each labelled group, pairs (predicted, measured) [MB].
    limit
        Limit of the jobs [MB]; none draws no limit.

    Returns
    -------
    str
        Data URI of an SVG. Jobs that used more than predicted lie in the shaded triangle.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure, axes = _figure(6.0, 3.6)
    values = [value for group in points.values() for pair in group for value in pair]
    low, high = min(values) / 1.4, max([*values, limit or 0]) * 1.4
    axes.loglog([low, high], [low, high], color=_INK, linewidth=0.8, alpha=0.6)
    axes.fill_between([low, high], [low, high], high, color="#c8452f", alpha=0.08, linewidth=0)
    if limit:
        axes.axvline(limit, color="#c8452f", linewidth=1.0)
        axes.axhline(limit, color="#c8452f", linewidth=1.0)
        axes.text(limit, low, " limit ", color="#c8452f", fontsize=8, rotation=90, ha="right",
                  va="bottom")  # fmt: skip
    for colour, (label, group) in zip(_cycle(len(points)), points.items(), strict=True):
        predicted, measured = zip(*group, strict=True)
        axes.scatter(predicted, measured, s=22, color=colour, alpha=0.75, label=label, linewidth=0)
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_xlabel("predicted peak [MB]")
    axes.set_ylabel("measured peak [MB]")
    for axis in (axes.xaxis, axes.yaxis):
        subdivisions = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
        axis.set_major_locator(LogLocator(subs=subdivisions))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(frameon=False, labelcolor=_INK, fontsize=8, loc="outside right upper")
    return _svg(figure)


def _cycle(count: int) -> list[str]:
    return [_SERIES[index % len(_SERIES)] for index in range(count)]


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_color(_INK)
        spine.set_alpha(0.4)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(which="both", color=_INK, labelcolor=_INK, labelsize=8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=_INK, fontsize=8.5)
    return figure, axes


def _svg(figure: "Figure") -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # A fixed salt gives the same picture the same text, so that reports can be compared.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kronufft"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = buffer.getvalue().replace(_INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    svg = svg[svg.index("<svg") :].replace("<defs>", f"<defs>{_THEME}", 1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
