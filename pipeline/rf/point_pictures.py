"""Cuts through points of RF images, as charts for the report."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.report.charts import INK, SERIES, empty_figure, svg_source
from pipeline.report.pictures import Panel, PanelFigure

LOWEST_DB = -48.0
"""Where cuts through points end."""


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
    width = cut.get("expected_width_m")
    return f"expected, {width:.4g} m" if width else "expected"


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


_CUT_CAPTION = (
    "Cuts of the image, interpolated as the band-limited function that it samples; dashed, what "
    "band and aperture let expect of a matched filter and a single point."
)
