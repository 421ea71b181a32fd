"""Rows of the metrics table for RF images: errors, detections, and points."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.outputs import MetricsSettings
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.resolution import WaveVectors, wave_vectors
from pipeline.rf.measures.scene_points import CutThrough, PointMeasurement, ScenePoint
from pipeline.rf.measures.scene_quality import decibel_similarity, normalised_error_db
from pipeline.rf.raw import RfRawData

MOST_CURVES = 4
"""Points whose cuts are kept for the report."""

_CURVE_SAMPLES = 400
_FLOOR_DB = -60.0


@dataclass(frozen=True)
class SceneRows:
    """What is measured of one RF image."""

    image: dict[str, Any]  # columns of the image's own row
    points: list[dict[str, Any]]  # a row for each point and direction whose response is known
    curves: list[dict[str, Any]]  # cuts through the first of these points, JSON values


class SceneMeasurement:
    """Measures the images of one RF acquisition.

    Where it names targets, they are measured and counted; where not, the brightest point is. Where
    it has a reference, errors are taken.
    """

    def __init__(self, raw: RfRawData, settings: MetricsSettings) -> None:
        self.raw = raw
        self.settings = settings
        self.targets = raw.targets()
        self.points = PointMeasurement(raw.scene, _wave_vectors(raw), settings.extent)

    def rows(self, image: NDArray[Any], reference: NDArray[Any] | None) -> SceneRows:
        """Measure one image, both of the scene's shape."""
        row: dict[str, Any] = {}
        if reference is not None:
            # A sum over images of pairs without their phases is real, and has none to compare.
            if np.isrealobj(image) or not image.imag.any():
                reference = np.abs(reference)
            row["nmse_db"] = normalised_error_db(image, reference)
            row["ssim_db"] = decibel_similarity(image, reference, floor_db=self.settings.floor_db)
        if self.targets is None:
            return self._of_points("brightest", [self.points.brightest(image)], row)
        score, detector = self.points.score(
            image, self.targets, self.settings.false_alarm_probability
        )
        row.update(
            targets=score.targets,
            detected=score.detected,
            missed=score.targets - score.detected,
            false_alarms=score.false_alarms,
            detector=detector,
        )
        return self._of_points("target", self.points.targets(image, self.targets), row)

    def _of_points(self, kind: str, found: list[ScenePoint], row: dict[str, Any]) -> SceneRows:
        rows: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        for index, point in enumerate(found):
            common: dict[str, Any] = {"kind": kind, "magnitude": point.magnitude}
            common.update(zip(("x_m", "y_m", "z_m"), point.position, strict=True))
            if kind == "target":
                common.update(target=index, displacement_m=point.displacement)
            rows += [{**common, **_columns(cut)} for cut in point.cuts] or [common]
            if point.cuts and len(curves) < MOST_CURVES:
                curves.append(
                    {
                        "kind": kind,
                        "point": index,
                        "position": list(point.position),
                        "cuts": [_curve(cut) for cut in point.cuts],
                    }
                )
        return SceneRows(row, rows, curves)


def _columns(cut: CutThrough) -> dict[str, Any]:
    before, after = cut.lobes.extent
    return {
        "direction": cut.direction,
        "width_m": cut.lobes.width,
        "expected_width_m": cut.expected_width,
        "voxel_m": cut.voxel,
        "pslr_db": cut.lobes.pslr_db,
        "islr_db": cut.lobes.islr_db,
        "extent_before_m": before,
        "extent_after_m": after,
    }


def _curve(cut: CutThrough) -> dict[str, Any]:
    """Return a cut as JSON values, in dB of its peak and thinned out."""
    step = max(1, len(cut.cut.offsets) // _CURVE_SAMPLES)
    curve: dict[str, Any] = {
        **{name: _finite(value) for name, value in _columns(cut).items()},
        "offsets_m": [round(float(offset), 6) for offset in cut.cut.offsets[::step]],
        "decibels": _decibels(cut.cut.values[::step], np.abs(cut.cut.values).max()),
    }
    if cut.expected is not None:
        curve["expected_decibels"] = _decibels(cut.expected[::step], 1.0)
    return curve


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decibels(values: NDArray[np.complex128], peak: float) -> list[float]:
    relative = np.maximum(np.abs(values) / peak, 10 ** (_FLOOR_DB / 20))
    return [round(float(level), 2) for level in 20 * np.log10(relative)]


def _wave_vectors(raw: RfRawData) -> WaveVectors | None:
    """Return where the measurements sample the spectrum about the scene's centre, if known."""
    k = wavenumbers(raw.frequencies, raw.scene.speed)
    axes = len(raw.shape)
    if not raw.pairs:
        ones = [np.ones(len(k))]
        return wave_vectors([raw.paths(0)], ones, k, raw.scene.centre, axes, raw.scene.speed)
    paths, weights = [], []
    for pair in range(raw.pairs):
        antennas = raw.antennas(pair)
        if antennas is None:
            return None
        stored = raw.weights(pair)
        paths.append(paths_of_pair(antennas))
        weights.append(np.ones(len(k)) if stored is None else np.abs(stored) ** 2)
    return wave_vectors(paths, weights, k, raw.scene.centre, axes)
