"""Points of an RF image: those that are known, or else the brightest, and what became of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.resolution import WaveVectors, scene_axes
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.measures.detection import (
    DetectionScore,
    constant_false_alarm_rate,
    local_maxima,
    score_detections,
)
from pipeline.rf.measures.point_response import Cut, LobeFigures, lobe_figures, point_response

_EXTENT_WIDTHS = 10
_SAMPLES_ACROSS = 48  # of a cut, over the main lobe
_STANDS_ALONE_DB = -10.0
"""Highest side lobe beside the brightest point for it to count as alone; of no taper is it higher
than -13 dB."""


@dataclass(frozen=True)
class CutThrough:
    """A named cut through a point, and what band and aperture let expect of it."""

    direction: str
    cut: Cut
    lobes: LobeFigures
    expected: NDArray[np.complex128] | None  # the matched filter's response, 1 at the point
    expected_width: float  # of its main lobe, m; NaN where it is not known
    voxel: float  # size of a voxel along the cut, m


@dataclass(frozen=True)
class ScenePoint:
    """A point of an image: a known target, or the brightest."""

    position: tuple[float, float, float]  # where it is known to be, or was found, m
    displacement: float  # of its maximum, m; NaN if there is none, 0 for the brightest
    magnitude: float  # of the maximum
    cuts: tuple[CutThrough, ...]  # empty where the response of a single point cannot be told


class PointMeasurement:
    """Measures points in the images of one scene.

    It needs to know where measurements sample the spectrum, None where antenna positions are
    unknown, and how far from a point side lobes are looked at [m], or ``auto``.
    """

    def __init__(self, scene: Scene, waves: WaveVectors | None, extent: float | str) -> None:
        self.scene = scene
        self.waves = waves
        axes = len(scene.shape)
        self.directions = scene_axes(axes) if waves is None else waves.directions()
        steps = np.array(scene.spacing)
        self.widths = [self._expected_width(line) for _, line in self.directions]
        of_axes = [self._expected_width(line) for _, line in scene_axes(axes)]
        resolved = [width / step for width, step in zip(of_axes, steps, strict=True)]
        self.resolution = max([1.0, *(size for size in resolved if math.isfinite(size))])
        """Voxels of the widest main lobe along any axis, at least one."""
        known = [width for width in self.widths if math.isfinite(width)]
        self.extent = (
            _EXTENT_WIDTHS * max(known, default=float(steps.max()))
            if isinstance(extent, str)
            else extent
        )

    def targets(self, image: NDArray[Any], positions: NDArray[np.float64]) -> list[ScenePoint]:
        """Measure targets at known positions ``[target, 3]``; those outside the scene are left out.

        The response is measured of targets that have no other within the extent, in images that
        are not sparse.
        """
        found = []
        voxels = self.scene.voxels_at(positions)
        for index, (position, voxel) in enumerate(zip(positions, voxels, strict=True)):
            if ((voxel < 0) | (voxel > np.array(self.scene.shape) - 1)).any():
                continue
            others = np.delete(positions, index, axis=0)
            distances = np.linalg.norm(others - position, axis=1)
            alone = bool((distances > self.extent).all())
            found.append(self._target(image, position, voxel, alone))
        return found

    def brightest(self, image: NDArray[Any]) -> ScenePoint:
        """Measure the brightest point; its response only if it stands alone."""
        magnitude = np.abs(image)
        voxel = np.array(np.unravel_index(int(magnitude.argmax()), image.shape), np.float64)
        position = self.scene.positions(np.array([int(magnitude.argmax())]))[0]
        if is_sparse(image) or self.scene.range is not None or not magnitude.any():
            return ScenePoint(_coordinates(position), 0.0, float(magnitude.max()), ())
        point = self._target(image, position, voxel, alone=True)
        lobes = [one.lobes.pslr_db for one in point.cuts]
        alone = all(level < _STANDS_ALONE_DB for level in lobes)
        return ScenePoint(point.position, 0.0, point.magnitude, point.cuts if alone else ())

    def score(
        self, image: NDArray[Any], positions: NDArray[np.float64], probability: float
    ) -> tuple[DetectionScore, str]:
        """Compare detections with known positions ``[target, 3]``, and name the detector.

        ``support``: each voxel of a sparse image that is not zero. ``cfar``: the maxima that exceed
        a threshold of constant false alarm rate, whose guard cells leave out main lobe and first
        side lobes. A detection belongs to a target within half a main lobe, at least a voxel.
        """
        voxels = self.scene.voxels_at(positions)
        inside = ((voxels > -0.5) & (voxels < np.array(self.scene.shape) - 0.5)).all(axis=1)
        if is_sparse(image):
            detector, tolerance = "support", 0.9
            detections = np.argwhere(image != 0)
        else:
            detector, tolerance = "cfar", max(1.0, self.resolution / 2)
            mask = constant_false_alarm_rate(
                image,
                probability,
                guard=math.ceil(2 * self.resolution),
                training=math.ceil(6 * self.resolution),
            )
            detections = local_maxima(image, mask)
        return score_detections(detections, voxels[inside], tolerance=tolerance), detector

    def _target(
        self, image: NDArray[Any], position: NDArray[np.float64], voxel: NDArray[np.float64],
        alone: bool,
    ) -> ScenePoint:  # fmt: skip
        place = _coordinates(position)
        if is_sparse(image) or self.scene.range is not None:
            return self._nearest_maximum(image, position, voxel)
        response = point_response(
            image,
            self.scene.spacing,
            voxel.tolist(),
            # Of a point among others only place and magnitude are wanted.
            extent=self.extent if alone else min(self.scene.spacing),
            directions=[line for _, line in self.directions],
            search=max(2.0, self.resolution),
            oversampling=max(2, math.ceil(_SAMPLES_ACROSS / self.resolution)),
        )
        steps = np.array(self.scene.spacing)
        displacement = float(np.linalg.norm((np.array(response.voxel) - voxel) * steps))
        if not alone:
            return ScenePoint(place, displacement, response.magnitude, ())
        cuts = []
        for (name, line), cut, lobes, width in zip(
            self.directions, response.cuts, response.lobes, self.widths, strict=True
        ):
            expected = None if self.waves is None else self.waves.response(line, cut.offsets)
            size = 1 / float(np.linalg.norm(np.asarray(line)[: len(steps)] / steps))
            cuts.append(CutThrough(name, cut, lobes, expected, width, size))
        return ScenePoint(place, displacement, response.magnitude, tuple(cuts))

    def _nearest_maximum(
        self, image: NDArray[Any], position: NDArray[np.float64], voxel: NDArray[np.float64]
    ) -> ScenePoint:
        """Take the voxel where a target is, or where that is zero its brightest neighbour."""
        nearest = np.rint(voxel).astype(int)
        if not image[tuple(nearest)]:
            low = np.maximum(nearest - 1, 0)
            part = np.abs(image[tuple(map(slice, low, nearest + 2))])
            nearest = low + np.unravel_index(int(part.argmax()), part.shape)
        magnitude = float(np.abs(image[tuple(nearest)]))
        flat = np.array([np.ravel_multi_index(tuple(nearest), self.scene.shape)])
        # A scene of two axes says nothing of the third coordinate.
        axes = len(self.scene.shape) if self.scene.range is None else 3
        apart = float(np.linalg.norm((self.scene.positions(flat)[0] - position)[:axes]))
        return ScenePoint(_coordinates(position), apart if magnitude else math.nan, magnitude, ())

    def _expected_width(self, line: NDArray[np.float64]) -> float:
        """Return the width of the main lobe along a line [m]."""
        if self.waves is None or self.scene.range is not None:
            return math.nan
        along = self.waves.vectors @ line
        band = float(np.ptp(along))
        if band <= 0:
            return math.nan
        # Twice as far as the first zero of an evenly filled band.
        offsets = np.linspace(-2, 2, 1025) * 2 * np.pi / band
        return lobe_figures(Cut(offsets, self.waves.response(line, offsets))).width


def is_sparse(image: NDArray[Any]) -> bool:
    """Return whether most voxels are exactly zero, as a sparse solver leaves them."""
    return 2 * int(np.count_nonzero(image)) < image.size


def _coordinates(position: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in position)
    return x, y, z
