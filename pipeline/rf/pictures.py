"""Figures of RF images: magnitudes in dB over metres, targets marked, and cuts through points."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.charts import INK, SERIES, empty_figure, svg_source
from pipeline.report.figures import Series
from pipeline.report.pictures import Panel, PanelFigure, Picture, coloured_png
from pipeline.report.quality import quality_table
from pipeline.report.shown import Shown, ShownCalibration
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.raw import RfRawData
from pipeline.rf.tables import POINT_NOTE, SCENE_QUALITY, pair_table, point_table, scene_note
from pipeline.storage.calibration import Calibration

if TYPE_CHECKING:
    import pandas as pd

DYNAMIC_RANGE_DB = 50
"""Range below the brightest voxel that is shown."""

LOWEST_DB = -48.0
"""Where cuts through points end."""

COLOURS = "inferno"

MOST_FRAMES = 6
"""Frames shown of a series, evenly spaced."""

_MOST_MARKS = 100
_LARGEST_SIDE = 420
_AXES = "xyz"
_CUT_CAPTION = (
    "Cuts of the image, interpolated as the band-limited function that it samples; dashed, what "
    "band and aperture let expect of a matched filter and a single point."
)

Array = NDArray[Any]


@dataclass(frozen=True)
class SceneSeries:
    """The images of one RF reconstruction ``[frame, z, y, x]``, and what is known of the scene.

    So is the reference of a frame, which may be None.
    Targets are known positions ``[target, 3]`` [m], or None.
    """

    images: Any
    scene: Scene
    reference: Callable[[int], Array | None]
    targets: NDArray[np.float64] | None = None

    @property
    def frames(self) -> int:
        """Number of images."""
        return int(self.images.shape[0])

    @property
    def along(self) -> str:
        """What each image is."""
        return "frame"

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""
        return self.scene.shape

    @cached_property
    def middle(self) -> Array:
        """Magnitude of the middle image, float32 of the scene's shape."""
        return self.magnitude(self.frames // 2)

    def magnitude(self, frame: int) -> Array:
        """Return the magnitude of an image, float32 of the scene's shape."""
        values = np.abs(np.asarray(self.images[frame])).astype(np.float32)
        return self.scene.from_volumes(values)

    @cached_property
    def marks(self) -> NDArray[np.float64]:
        """Known targets within the scene, ``[target, axis]`` [m]; none where they are many."""
        axes = len(self.shape)
        if self.targets is None or self.scene.range is not None:
            return np.zeros((0, axes))
        voxels = self.scene.voxels_at(self.targets)
        inside = ((voxels >= -0.5) & (voxels <= np.array(self.shape) - 0.5)).all(axis=1)
        positions = self.targets[inside, :axes]
        return positions if len(positions) <= _MOST_MARKS else positions[:0]

    def coordinates(self, axis: int) -> NDArray[np.float64]:
        """Return where the voxels of an axis are [m]; direction cosines are as they are."""
        offset = 0.0 if self.scene.range is not None and axis < 2 else self.scene.centre[axis]
        return np.asarray(self.scene.offsets(axis) + offset)

    def shown(self, table: "pd.DataFrame", measured: Mapping[str, Any]) -> Shown:
        """Return images in dB, cuts through points, and the tables of RF images."""
        rows = table[table["kind"] == "image"]
        return Shown(
            thumbnail=scene_thumbnail(self),
            quality=quality_table(rows, SCENE_QUALITY),
            quality_note=scene_note(rows),
            panels=(*scene_figures(self), *point_cuts(measured)),
            points=point_table(table),
            points_note=POINT_NOTE,
            pairs=pair_table(list(measured.get("pairs", ()))),
        )


def series(acquisition: RfRawData, planes: Series) -> SceneSeries:
    """Return the images of an acquisition as they are shown, in place of planes in grey."""
    return SceneSeries(
        planes.images,
        acquisition.scene,
        lambda frame: planes.reference(frame) if frame in planes.scales else None,
        acquisition.targets(),
    )


def shown_calibration(raw: RfRawData, calibration: Calibration) -> ShownCalibration:
    """Return nothing: what instruments add is a few numbers, which the page lists."""
    return ShownCalibration()


def scene_thumbnail(series: SceneSeries) -> Picture:
    """Return the middle image for the contact sheet; of a volume the maximum along z."""
    levels = _decibels(_projected(series.middle), float(series.middle.max()))
    x, y = (series.shape[axis] * series.scene.spacing[axis] for axis in (0, 1))
    return Picture(
        source=coloured_png(_thinned(levels).T[::-1], -DYNAMIC_RANGE_DB, 0, COLOURS),
        label="", width=x, height=y, across="x", down="y", up=True,
    )  # fmt: skip


def scene_figures(series: SceneSeries) -> tuple[PanelFigure, ...]:
    """Return the middle image, its reference, and where there are several images a choice."""
    frame = series.frames // 2
    reference = series.reference(frame)
    truth = None if reference is None else series.scene.from_volumes(np.abs(reference))
    figure = _views(series, truth) if len(series.shape) == 3 else _plane(series, truth)
    return (figure, _frames(series)) if series.frames > 1 else (figure,)


def _plane(series: SceneSeries, truth: Array | None) -> PanelFigure:
    shown = [("reconstruction", series.middle)]
    if truth is not None:
        shown.append(("reference", truth))
    panels = [_panel(series, values, (0, 1), label, float(values.max())) for label, values in shown]
    return PanelFigure(tuple(panels), _caption(series))


def _views(series: SceneSeries, truth: Array | None) -> PanelFigure:
    """Return three planes through a point, and the maxima along the three axes."""
    image = series.middle
    peak = float(image.max())
    voxel = np.array(np.unravel_index(int(image.argmax()), image.shape))
    through = "the brightest voxel"
    if len(series.marks):
        nearest = np.rint(series.scene.voxels_at(series.marks)).astype(int)
        voxels = np.clip(nearest, 0, np.array(image.shape) - 1)
        voxel = voxels[np.argmax(image[tuple(voxels.T)])]
        through = "the brightest known target"
    panels: list[Panel] = []
    places: list[str] = []
    for axis in (2, 1, 0):
        plane = image.take(int(voxel[axis]), axis)
        where = f"{_AXES[axis]} = {series.coordinates(axis)[voxel[axis]]:.4g} m"
        places.insert(0, where)
        panels.append(_panel(series, plane, _others(axis), where, peak))
    volumes = [(image, "maximum along")]
    if truth is not None:
        volumes.append((truth, "reference, maximum along"))
    for volume, label in volumes:
        highest = float(volume.max())
        for axis in (2, 1, 0):
            plane, what = volume.max(axis=axis), f"{label} {_AXES[axis]}"
            panels.append(_panel(series, plane, _others(axis), what, highest))
    caption = f"Planes through {through}, {', '.join(places)}, and maximum intensity. "
    return PanelFigure(tuple(panels), caption + _caption(series), columns=3)


def _frames(series: SceneSeries) -> PanelFigure:
    count = min(series.frames, MOST_FRAMES)
    chosen = [round(index * (series.frames - 1) / (count - 1)) for index in range(count)]
    images = [_projected(series.magnitude(frame)) for frame in chosen]
    peak = max(float(image.max()) for image in images)
    panels = [
        _panel(series, image, (0, 1), f"frame {frame}", peak)
        for frame, image in zip(chosen, images, strict=True)
    ]
    subject = "All frames" if count == series.frames else f"{count} of {series.frames} frames"
    kind = ", maximum along z" if len(series.shape) == 3 else ""
    return PanelFigure(tuple(panels), f"{subject}{kind}, in dB of the brightest voxel of them.")


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _projected(image: Array) -> Array:
    return image if image.ndim == 2 else image.max(axis=-1)


def _panel(
    series: SceneSeries, plane: Array, axes: tuple[int, int], label: str, peak: float
) -> Panel:
    """Draw one plane ``[first axis, second axis]``, the first axis to the right."""
    extent: list[float] = []
    for axis in axes:
        coordinates, step = series.coordinates(axis), series.scene.spacing[axis]
        extent += [coordinates[0] - step / 2, coordinates[-1] + step / 2]
    aspect = (extent[3] - extent[2]) / (extent[1] - extent[0])
    # Neither a ribbon nor a tower: from there on the axes have scales of their own.
    drawn = min(max(aspect, 0.3), 1.6)
    figure, chart = empty_figure(4.4, 0.75 + 3.3 * drawn)
    picture = chart.imshow(
        _decibels(_thinned(plane), peak).T, origin="lower", extent=extent, cmap=COLOURS,
        vmin=-DYNAMIC_RANGE_DB, vmax=0, interpolation="none",
        aspect="equal" if drawn == aspect else "auto",
    )  # fmt: skip
    if len(series.marks):
        chart.scatter(series.marks[:, axes[0]], series.marks[:, axes[1]], s=42, linewidth=0.7,
                      facecolor="none", edgecolor="#6fd3ff")  # fmt: skip
        chart.set(xlim=extent[:2], ylim=extent[2:])
    for axis, name in zip(axes, ("x", "y"), strict=True):
        cosine = series.scene.range is not None and axis < 2
        unit = "direction cosine" if cosine else f"{_AXES[axis]} [m]"
        getattr(chart, f"set_{name}label")(unit)
    chart.set_title(label, fontsize=9, color=INK, loc="left")
    # As high as the picture, whatever its aspect.
    bar = figure.colorbar(picture, cax=chart.inset_axes((1.03, 0, 0.04, 1)))
    bar.ax.tick_params(color=INK, labelcolor=INK, labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label("dB", color=INK, fontsize=8.5)
    return Panel(svg_source(figure), label)


def _decibels(values: Array, peak: float) -> Array:
    """Return magnitudes in dB of ``peak``; half a dB is finer than eyes see and compresses well."""
    if not peak > 0:
        return np.full(values.shape, -DYNAMIC_RANGE_DB, np.float32)
    floor = 10 ** (-DYNAMIC_RANGE_DB / 20)
    levels = 20 * np.log10(np.maximum(values / peak, floor))
    return np.asarray(np.round(2 * levels) / 2, dtype=np.float32)


def _thinned(plane: Array) -> Array:
    """Return a plane of at most `_LARGEST_SIDE` pixels a side, which keeps the brightest."""
    for axis in (0, 1):
        step = math.ceil(plane.shape[axis] / _LARGEST_SIDE)
        if step > 1:
            starts = np.arange(0, plane.shape[axis], step)
            plane = np.maximum.reduceat(plane, starts, axis=axis)
    return plane


def _caption(series: SceneSeries) -> str:
    text = "Magnitude in dB of the brightest voxel"
    if series.frames > 1:
        text = f"Frame {series.frames // 2} (of 0 to {series.frames - 1}). {text}"
    if max(series.shape) > _LARGEST_SIDE:
        text += "; the brightest of neighbouring voxels where there are more than pixels"
    if len(series.marks):
        count = len(series.marks)
        text += f"; circles mark {count} known target{'s' * (count > 1)}"
    return text + "."


def point_cut(cut: Mapping[str, Any], title: str) -> str:
    """Draw a cut through a point, what is expected of it, and the width at half power.

    The cut has ``offsets_m`` and ``decibels``, and where it is known ``expected_decibels``,
    ``width_m`` and ``direction``, as `pipeline.rf.measures.scenes` records them. Return an SVG's
    data URI.
    """
    figure, axes = empty_figure(4.6, 2.7)
    offsets, levels = np.array(cut["offsets_m"]), np.array(cut["decibels"])
    if (expected := cut.get("expected_decibels")) is not None:
        axes.plot(offsets, np.maximum(expected, LOWEST_DB), color=INK, alpha=0.45, linewidth=0.9,
                  linestyle=(0, (3, 2)), label=_expected(cut))  # fmt: skip
    axes.plot(offsets, np.maximum(levels, LOWEST_DB), color=SERIES[0], linewidth=1.4,
              label="image")  # fmt: skip
    if width := cut.get("width_m"):
        # The two crossings nearest to the peak are not quite as far to either side of it.
        half = 10 * math.log10(0.5)
        inside = offsets[(levels >= half) & (np.abs(offsets) <= width)]
        middle = float(inside.min() + inside.max()) / 2 if inside.size else 0.0
        axes.plot([middle - width / 2, middle + width / 2], [half, half], color=SERIES[1],
                  linewidth=1.6, marker="|", markersize=7,
                  label=f"{width:.4g} m at −3 dB")  # fmt: skip
    axes.set(xlim=(offsets[0], offsets[-1]), ylim=(LOWEST_DB, 2))
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(f"{cut['direction']} from the point [m]")
    axes.set_ylabel("dB of the peak")
    axes.grid(True, which="major", color=INK, alpha=0.12, linewidth=0.6)
    figure.legend(frameon=False, labelcolor=INK, fontsize=7.5, loc="outside lower left", ncols=3,
                  borderpad=0, handlelength=1.6, columnspacing=1.2)  # fmt: skip
    return svg_source(figure)


def _expected(cut: Mapping[str, Any]) -> str:
    width, voxel = cut.get("expected_width_m"), cut.get("voxel_m") or 0.0
    if not width:
        return "expected"
    return f"expected, {width:.4g} m" + (", less than a voxel" if width < voxel else "")


def point_cuts(measured: Mapping[str, Any]) -> tuple[PanelFigure, ...]:
    """Return a figure of the cuts through the points whose response is known, if there are any."""
    panels = []
    for point in measured.get("points", ()):
        what = f"target {point['point']}" if point["kind"] == "target" else "brightest point"
        place = ", ".join(f"{coordinate:.4g}" for coordinate in point["position"])
        title = f"{what} at ({place}) m"
        panels += [
            Panel(point_cut(cut, title), f"{title}, {cut['direction']}") for cut in point["cuts"]
        ]
    return (PanelFigure(tuple(panels), _CUT_CAPTION),) if panels else ()
