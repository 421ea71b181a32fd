"""What `calibrate` found of an MRI acquisition, as pictures with numbers."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.binning_pictures import binning_panels
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.report.charts import INK, SERIES, empty_figure, svg_source
from pipeline.report.pictures import (
    PLANES,
    Figure,
    Panel,
    PanelFigure,
    Picture,
    coloured_png,
    plane_size,
    scale_bar_length,
)
from pipeline.report.shown import ShownCalibration
from pipeline.storage.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

MOST_MAPS = 8
"""Coil maps that are shown, the first ones."""
_READOUTS = 16
"""Readouts whose weights are shown, the first ones."""

Array = NDArray[Any]


def shown_calibration(raw: RawData, calibration: Calibration) -> ShownCalibration:
    """Return the pictures of what the calibration holds."""
    data = CorrectedData(raw, calibration)
    panels = [
        *_coils(calibration),
        *_weights(data, calibration),
        *_movement(data, raw, calibration),
        *binning_panels(calibration, raw),
    ]
    captions = " ".join(caption for _, caption in panels)
    charts = tuple(panel for panel, _ in panels)
    return ShownCalibration(
        figures=tuple(_maps(data, calibration)),
        panels=(PanelFigure(charts, captions, columns=3),) if charts else (),
    )


def _coils(calibration: Calibration) -> Iterator[tuple[Panel, str]]:
    """Yield the correlation of the coils' noise before and after, and what components hold."""
    covariance, mixing = calibration.array("noise_covariance"), calibration.mixing()
    if covariance is not None and mixing is not None:
        after = mixing @ covariance @ mixing.conj().swapaxes(-1, -2)
        if after.ndim == 3:  # of each voxel along the readouts
            after = after.mean(axis=0)
        before = _correlation(covariance)
        levels = np.sqrt(np.diag(covariance).real)
        where = " in a region of the measurement" if calibration.whitening == "region" else ""
        yield (
            _matrix(before, "coil", "correlation of the noise of coils, as acquired"),
            f"Noise of the coils as acquired{where}: correlated by up to {_largest(before):.2f}, "
            f"levels {levels.min():.3g} to {levels.max():.3g}.",
        )
        white, level = _correlation(after), np.sqrt(np.diag(after).real)
        yield (
            _matrix(white, "virtual coil", "correlation of the noise of coils, as mixed"),
            f"As mixed: by up to {_largest(white):.1e}, levels {level.min():.3g} to "
            f"{level.max():.3g}.",
        )
    energy, compression = calibration.array("coil_energy"), calibration.array("compression")
    if energy is not None and compression is not None:
        kept = compression.shape[-2]
        where = " at each position along the readouts" if compression.ndim == 3 else ""
        yield (
            _energy(energy, kept),
            f"Energy of the centre of k-space beyond the first components{where}: {kept} of "
            f"{len(energy)} virtual coils leave out {_beyond(energy)[kept - 1]:.2g}.",
        )


def _weights(data: CorrectedData, calibration: Calibration) -> Iterator[tuple[Panel, str]]:
    weights = calibration.weights(0, slice(0, _READOUTS))
    if weights is None:
        return
    radius = np.linalg.norm(data.trajectory(0, slice(0, _READOUTS)), axis=-1) / np.pi
    figure, axes = empty_figure(4.2, 2.9)
    axes.plot(radius.ravel(), weights.ravel() * np.prod(data.shape), ".", color=SERIES[0],
              markersize=2.5, alpha=0.5, rasterized=True)  # fmt: skip
    axes.set_xlabel("|k| / π")
    axes.set_ylabel("weight times voxels")
    yield (
        _titled(figure, "density weights against the distance from the centre"),
        f"Density weights ({calibration.density}) of the first {len(weights)} readouts; a "
        "Cartesian sample would have 1.",
    )


def _movement(
    data: CorrectedData, raw: RawData, calibration: Calibration
) -> Iterator[tuple[Panel, str]]:
    """Yield by how much corrections have moved the first readouts, along each axis."""
    some = slice(0, _READOUTS)
    cycles = np.asarray(raw.shape) / (2 * np.pi)
    moved = (data.trajectory(0, some) - raw.trajectory(0, some)) * cycles
    if not moved.any():
        return
    figure, axes = empty_figure(4.2, 2.9)
    for axis, (name, colour) in enumerate(zip("zyx"[-len(raw.shape) :], SERIES, strict=False)):
        lines = axes.plot(moved[..., axis].T, color=colour, linewidth=0.8, alpha=0.6)
        lines[0].set_label(name)
    axes.set_xlabel("sample")
    axes.set_ylabel("moved by [cycles per field of view]")
    figure.legend(frameon=False, labelcolor=INK, fontsize=8, loc="outside right upper")
    yield (
        _titled(figure, "by how much readouts were moved"),
        f"Trajectory: the first {len(moved)} readouts were moved by up to "
        f"{np.abs(moved).max():.3g} cycles per field of view (a Cartesian sample is one)."
        f"{_delays(calibration)}",
    )


def _delays(calibration: Calibration) -> str:
    """Return the shift of spokes for each direction of the gradients, in words."""
    shift = calibration.array("gradient_delays")
    if shift is None:
        return ""
    names = "zyx"[-len(shift) :]
    told = ", ".join(
        f"{names[row]}{names[column]} {shift[row, column]:.3f}"
        for row in range(len(shift))
        for column in range(row + 1)
    )
    return f" Gradient delays, the matrix S of docs/calibration.md: {told} samples."


def _maps(data: CorrectedData, calibration: Calibration) -> Iterator[Figure]:
    """Yield magnitudes and phases of coil maps, in the plane through the centre."""
    for number in range(calibration.map_sets):
        yield from _set_of_maps(data, calibration, number)


def _set_of_maps(data: CorrectedData, calibration: Calibration, number: int) -> Iterator[Figure]:
    count = min(data.coils, MOST_MAPS)
    depth = data.volume[0]
    middle = slice(depth // 2, depth // 2 + 1)
    maps = calibration.sensitivities(slice(0, count), middle, number)
    if maps is None:
        return
    geometry, sizes = PLANES["axial"], (data.voxel_size[-1], *data.voxel_size)[-3:]
    width, height = plane_size("axial", data.volume, sizes)

    def row(values: Array, lowest: float, highest: float, colours: str) -> tuple[Picture, ...]:
        return tuple(
            Picture(
                source=coloured_png(plane, lowest, highest, colours),
                label=f"{'virtual coil' if data.mixes else 'coil'} {index}",
                width=width,
                height=height,
                across=geometry.across,
                down=geometry.down,
                up=geometry.up,
            )
            for index, plane in enumerate(values)
        )

    magnitudes, phases = np.abs(maps[:, 0]), np.angle(maps[:, 0])
    rows = (
        ("magnitude", row(magnitudes, 0, float(magnitudes.max()) or 1.0, "gray")),
        ("phase", row(phases, -np.pi, np.pi, "twilight")),
    )
    of_all = f"The first {count} of {data.coils} coil maps" if count < data.coils else "Coil maps"
    where = f", z = {depth // 2}" if depth > 1 else ""
    if calibration.map_sets > 1:
        where += f", set {number + 1} of {calibration.map_sets}"
    yield Figure(
        rows,
        scale_bar_length(width),
        f"{of_all} ({calibration.coil_maps}){where}: magnitude from 0 to {magnitudes.max():.2g}, "
        "phase from -π to π.",
    )


def _correlation(covariance: Array) -> Array:
    root = np.sqrt(np.maximum(np.diag(covariance).real, np.finfo(np.float32).tiny))
    return np.asarray(np.abs(covariance) / np.outer(root, root))


def _largest(correlation: Array) -> float:
    return float((correlation - np.diag(np.diag(correlation))).max())


def _titled(figure: "MplFigure", title: str) -> Panel:
    """Return a chart with its title in it: all of a figure have one caption."""
    figure.suptitle(title, x=0.02, ha="left", fontsize=8.5, color=INK)
    return Panel(svg_source(figure), title)


def _matrix(values: Array, name: str, title: str) -> Panel:
    figure, axes = empty_figure(4.2, 2.9)
    picture = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    bar = figure.colorbar(picture, ax=axes)
    bar.ax.tick_params(color=INK, labelcolor=INK, labelsize=8)
    axes.set_xlabel(name)
    axes.set_ylabel(name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    return _titled(figure, title)


def _beyond(energy: Sequence[float] | Array) -> Array:
    """Return the share of the energy beyond the first 1, 2, ... components."""
    return np.maximum(np.cumsum(np.asarray(energy)[::-1])[::-1] - energy, 1e-16)


def _energy(energy: Array, kept: int) -> Panel:
    figure, axes = empty_figure(4.2, 2.9)
    beyond = _beyond(energy)
    counts = np.arange(1, len(energy))
    axes.semilogy(counts, beyond[:-1], color=SERIES[0], marker="o", markersize=3)
    axes.axvline(kept, color=SERIES[1], linewidth=1.0)
    axes.set_xlabel("virtual coils")
    axes.set_ylabel("energy left out")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _titled(figure, f"energy that principal components leave out; {kept} are kept")
