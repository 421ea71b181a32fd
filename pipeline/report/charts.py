"""Charts for the report, as SVG whose ink follows the page from light to dark.

Nothing here touches files or pyplot's global state.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What is drawn in this colour follows the page, by the style in `_THEME`.
INK = "#010203"
_THEME = "<style>svg{color:#33383f}@media(prefers-color-scheme:dark){svg{color:#c9ced6}}</style>"
_FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans'"
SERIES = ("#3d7fb8", "#d9792b", "#3a9b74", "#b5598f", "#8d7a2f", "#6b6bc2")


def convergence_curves(
    curves: Sequence[Sequence[float]], watched: str = "relative residual"
) -> str:
    """Draw what the solver watched after each iteration; images may stop at different ones.

    Returns the data URI of an SVG: one line an image, and where there are several their median.
    """
    figure, axes = empty_figure(6.0, 2.9)
    single = len(curves) == 1
    for curve in curves:
        axes.semilogy(
            range(1, len(curve) + 1), curve, color=SERIES[0],
            linewidth=1.6 if single else 0.8, alpha=1 if single else max(0.1, len(curves) ** -0.5),
            marker="o" if single else None, markersize=3.5,
        )  # fmt: skip
    if not single:
        longest = max(map(len, curves))
        going = [[curve[step] for curve in curves if step < len(curve)] for step in range(longest)]
        medians = [float(np.median(residuals)) for residuals in going]
        axes.semilogy(range(1, longest + 1), medians, color=SERIES[0], linewidth=1.8, marker="o",
                      markersize=3.5)  # fmt: skip
    axes.set_xlabel("iteration")
    axes.set_ylabel(watched)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(True, which="major", color=INK, alpha=0.12, linewidth=0.6)
    return svg_source(figure)


def l_curve(points: Sequence[tuple[str, float, float]]) -> str:
    """Draw the value of the penalty over the misfit, for each labelled ``(misfit, penalty)``.

    Returns the data URI of an SVG.
    """
    figure, axes = empty_figure(6.0, 3.4)
    labels, misfits, penalties = zip(*points, strict=True)
    axes.plot(misfits, penalties, color=SERIES[0], linewidth=1.2, marker="o", markersize=4)
    for label, misfit, penalty in zip(labels, misfits, penalties, strict=True):
        axes.annotate(label, (misfit, penalty), (6, 4), textcoords="offset points", color=INK,
                      fontsize=8)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="relative misfit", ylabel="penalty R(x)")
    _few_ticks(axes.xaxis)
    _few_ticks(axes.yaxis)
    axes.margins(0.12)
    return svg_source(figure)


def misfit_curve(points: Sequence[tuple[str, float]], setting: str) -> str:
    """Draw the misfit of each value of a setting, evenly spaced; return the data URI of an SVG."""
    figure, axes = empty_figure(6.0, 2.9)
    labels, misfits = zip(*points, strict=True)
    axes.plot(range(len(labels)), misfits, color=SERIES[0], linewidth=1.2, marker="o", markersize=4)
    axes.set_xticks(range(len(labels)), labels)
    axes.set(yscale="log", xlabel=setting, ylabel="relative misfit")
    _few_ticks(axes.yaxis)
    return svg_source(figure)


def _few_ticks(axis: Any) -> None:
    """Label an axis of logarithms also where it spans less than a decade, in plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


_NEAR = 3.0
"""A limit is shown up to so many times the largest value."""


def memory_scatter(points: Mapping[str, Sequence[tuple[float, float]]], limit: float | None) -> str:
    """Draw how much of the predicted peak memory [MB] was measured, and the limit if any.

    Each labelled group has pairs (predicted, measured). Returns the data URI of an SVG, in which
    jobs that used more than predicted lie in the shaded part. A limit far beyond the jobs is
    left out: the points would share an edge.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure, axes = empty_figure(6.0, 3.4)
    values = [predicted for group in points.values() for predicted, _ in group]
    percent = [100 * measured / predicted for group in points.values()
               for predicted, measured in group]  # fmt: skip
    if limit and limit > _NEAR * max(values):
        limit = None
    low, high = min(values) / 1.2, max([*values, limit or 0]) * 1.2
    margin = max(5.0, 0.1 * (max(percent) - min(percent)))
    least, most = max(0.0, min(percent) - margin), max([100.0, *percent]) + margin
    axes.axhline(100, color=INK, linewidth=0.8, alpha=0.6)
    axes.axhspan(100, most, color="#c8452f", alpha=0.08, linewidth=0)
    if limit:
        axes.axvline(limit, color="#c8452f", linewidth=1.0)
        axes.annotate("limit", (limit, least), (-4, 4), textcoords="offset points", ha="right",
                      color="#c8452f", fontsize=8)  # fmt: skip
    for colour, (label, group) in zip(_cycle(len(points)), points.items(), strict=True):
        shares = [100 * measured / predicted for predicted, measured in group]
        axes.scatter([predicted for predicted, _ in group], shares, s=28, color=colour, alpha=0.75,
                     label=label, linewidth=0)  # fmt: skip
    axes.set(xlim=(low, high), ylim=(least, most), xscale="log")
    axes.set_xlabel("predicted peak [MB]")
    axes.set_ylabel("measured [% of predicted]")
    subdivisions = (1.0, 2.0, 3.0, 5.0) if high / low < 50 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subdivisions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(frameon=False, labelcolor=INK, fontsize=8, loc="outside upper left", ncols=2)
    return svg_source(figure)


def _cycle(count: int) -> list[str]:
    return [SERIES[index % len(SERIES)] for index in range(count)]


def empty_figure(width: float, height: float) -> tuple["Figure", Any]:
    """Return a figure [inch] and its axes, in ink."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_alpha(0.4)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(which="both", color=INK, labelcolor=INK, labelsize=8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=8.5)
    return figure, axes


def svg_source(figure: "Figure") -> str:
    """Return a figure as the data URI of an SVG."""
    import matplotlib as mpl
    from matplotlib.ticker import LogFormatter, LogFormatterSciNotation

    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        # 4e-03, as in tables: to set it as mathematics takes as long as all else of a chart.
        if isinstance(axis.get_major_formatter(), LogFormatterSciNotation):
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter())
    buffer = io.StringIO()
    # A fixed salt gives the same picture the same text, so that reports can be compared.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kronufft"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            dpi=160,  # of what is drawn as pixels
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = buffer.getvalue().replace(INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    svg = svg[svg.index("<svg") :].replace("<defs>", f"<defs>{_THEME}", 1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
