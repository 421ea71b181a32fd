"""Factorised back-projection: few places of a tile stand for all, for some pulses at a time.

What neighbouring pulses, a sub-aperture, add to a tile of the scene turns with the path of their
middle pulse, and beside that varies slowly: with the difference of wave vectors, which is small as
the pulses are near and the tile is short. So it is read at few Chebyshev nodes and interpolated to
all voxels, after the middle pulse's phase is taken away and before it is put back. These are
products and sums, so that the adjoint is exact. It is one stage of what [1]_ does with polar grids
and [2]_ with Chebyshev nodes, in many.

References
----------
.. [1] L. M. H. Ulander, H. Hellsten, G. Stenstrom, "Synthetic-aperture radar processing using fast
   factorized back-projection", IEEE Trans. Aerosp. Electron. Syst. 39, 760-776 (2003).
.. [2] L. Demanet, M. Ferrara, N. Maxwell, J. Poulson, L. Ying, "A butterfly algorithm for synthetic
   aperture radar imaging", SIAM J. Imaging Sci. 5, 203-243 (2012).
"""

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.scene_tiles import side_positions, tile_sides

_SUB_APERTURES = (16, 32, 64, 128, 256)
_TILES = (512, 1024, 2048, 4096)
"""Pulses and voxels that are tried."""
_JUMP = 8
"""Steps from pulse to pulse that are so many times as long as most end a sub-aperture."""
_LOOKED_AT = 32
"""Sub-apertures whose wave vectors are looked at."""
_MARGIN = 1.1
"""Between the places of the scene that are looked at, wave vectors may differ more."""
_SHARE = 0.2
"""Part of the tolerance that interpolation along an axis may use up."""
_READ, _TURNED, _MULTIPLIED, _CALLED = 2.0, 3.0, 0.15, 2e4
"""What a voxel of a pulse takes, a phase, a multiplication, and a call [ns]; measured."""


@dataclass(frozen=True, eq=False)
class Factorisation:
    """How pulses and scene are cut."""

    bounds: NDArray[np.intp]
    """Where sub-apertures begin, and where the last one ends."""
    sides: tuple[int, ...]
    """Voxels of a tile along each axis."""
    nodes: tuple[int, ...]
    """Places that stand for them: the voxels themselves where they are as many."""
    gain: float
    """How many times fewer seconds it is predicted to take."""

    @classmethod
    def of(
        cls, scene: Scene, paths: AntennaPaths, k: NDArray[np.float64], tolerance: float
    ) -> "Factorisation | None":
        """Return the fastest that errs by less than a tolerance; None if it would not be faster.

        Of pulses in their order, at wavenumbers ``(freq,)`` [rad/m].
        """
        best: Factorisation | None = None
        steps = _steps(scene, paths, k)
        for pulses in _SUB_APERTURES:
            if pulses > 2 * len(paths):
                break
            bounds = _sub_apertures(steps, pulses)
            spread = _spread(scene, paths, k, bounds, steps)
            for voxels in _TILES:
                found = cls._cut(scene, tile_sides(scene, voxels), bounds, spread, tolerance)
                if found.gain > (best.gain if best else 1.2):
                    best = found
        return best

    @classmethod
    def _cut(
        cls,
        scene: Scene,
        sides: tuple[int, ...],
        bounds: NDArray[np.intp],
        spread: NDArray[np.float64],
        tolerance: float,
    ) -> "Factorisation":
        nodes = tuple(
            _node_count(_MARGIN * float(rate) * (side - 1) / 2 * step, tolerance, side)
            for side, step, rate in zip(sides, scene.spacing, spread, strict=False)
        )
        voxels, pulses = math.prod(sides), float(bounds[-1]) / (len(bounds) - 1)
        # From the last axis to the first, in turns real and imaginary.
        products = sum(
            2 * math.prod(nodes[: axis + 1]) * math.prod(sides[axis:])
            for axis in range(len(sides))
            if nodes[axis] < sides[axis]
        )
        each = math.prod(nodes) * (_READ * pulses + _TURNED)
        each += _TURNED * voxels + _MULTIPLIED * products
        calls = _CALLED * min(1.0, pulses / 64)
        gain = (_READ * pulses + calls / 512) * voxels / (each + calls)
        return cls(bounds, sides, nodes, gain)

    def within(self, pulses: slice) -> NDArray[np.intp]:
        """Return the bounds of sub-apertures in some pulses, counted from the first of these."""
        inside = self.bounds[(self.bounds > pulses.start) & (self.bounds < pulses.stop)]
        return np.asarray([0, *(inside - pulses.start), pulses.stop - pulses.start], np.intp)

    def local(self, scene: Scene, sizes: tuple[int, ...]) -> "LocalNodes":
        """Return the nodes of a tile of these sizes."""
        positions, matrices = [], []
        for size, count, step in zip(sizes, self.nodes, scene.spacing, strict=False):
            voxels = side_positions(size, step)
            if count >= size:
                positions.append(voxels)
                matrices.append(np.eye(size, dtype=np.float32))
            else:
                positions.append(chebyshev_nodes(count) * voxels[-1])
                matrices.append(interpolation(count, voxels / voxels[-1]).astype(np.float32))
        first = [np.eye(1, dtype=np.float32)] * (3 - len(sizes))
        return LocalNodes(positions, (*first, *matrices))


@dataclass(frozen=True, eq=False)
class LocalNodes:
    """Nodes of a tile along each axis [m], and what takes them to voxels, ``[voxel, node]``."""

    positions: list[NDArray[np.float64]]
    matrices: tuple[NDArray[np.float32], ...]
    """Three; of a scene of two axes the first is 1."""


def chebyshev_nodes(count: int) -> NDArray[np.float64]:
    """Return Chebyshev's nodes of the first kind in ``[-1, 1]``, float64 ``(count,)``."""
    return np.asarray(np.cos((2 * np.arange(count)[::-1] + 1) * np.pi / (2 * count)))


def interpolation(count: int, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what takes values at nodes to places in ``[-1, 1]``, float64 ``(place, node)``."""
    nodes = chebyshev_nodes(count)
    weights = (-1.0) ** np.arange(count) * np.sqrt(1 - nodes**2)
    apart = places[:, None] - nodes
    hit = apart == 0
    ratios = np.where(hit, 1.0, weights / np.where(hit, 1.0, apart))
    matrix = ratios / ratios.sum(1, keepdims=True)
    return np.asarray(np.where(hit.any(1, keepdims=True), hit, matrix), np.float64)


def _node_count(turn: float, tolerance: float, most: int) -> int:
    """Return how many nodes, at most, waves of up to this phase at both ends [rad] need."""
    if turn >= most:  # no fewer nodes than radians serve
        return most
    return min(most, _needed(math.ceil(2 * turn) / 2, tolerance * _SHARE))


@cache
def _needed(turn: float, tolerance: float) -> int:
    places = np.linspace(-1, 1, 65)
    rates = turn * np.linspace(0.5, 1, 5)  # a band of few frequencies has most at its ends
    waves = np.exp(1j * np.outer(places, rates))
    for count in itertools.count(max(1, int(turn))):
        at_nodes = np.exp(1j * np.outer(chebyshev_nodes(count), rates))
        wrong = interpolation(count, places) @ at_nodes - waves
        if np.sqrt(np.mean(np.abs(wrong) ** 2)) <= tolerance:
            return count
    raise AssertionError  # it converges


def _sub_apertures(steps: NDArray[np.float64], pulses: int) -> NDArray[np.intp]:
    """Return where sub-apertures of at most so many pulses begin, and where the last one ends.

    ``steps`` are from each pulse to the next. Where one is far longer than most, a pass or a row of
    a scan ends.
    """
    ends = np.flatnonzero(steps > _JUMP * np.median(steps)) + 1 if len(steps) else ()
    passes = itertools.pairwise([0, *ends, len(steps) + 1])
    starts = [np.arange(first, last, pulses) for first, last in passes]
    return np.append(np.concatenate(starts), len(steps) + 1).astype(np.intp)


def _steps(scene: Scene, paths: AntennaPaths, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far wave vectors are from pulse to pulse, ``(pulse - 1,)`` [rad/m]."""
    vectors = paths.wavenumbers(k[-1:], scene.speed) * paths.gradients(scene.centre)
    return np.asarray(np.linalg.norm(np.diff(vectors, axis=0), axis=1))


def _spread(
    scene: Scene,
    paths: AntennaPaths,
    k: NDArray[np.float64],
    bounds: NDArray[np.intp],
    steps: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how far wave vectors of a sub-aperture are from its middle's, ``(3,)`` [rad/m].

    At most, at places all over the scene. Sub-apertures all along the path are looked at, and the
    one with its largest step: over pulses that are left out, say.
    """
    ends = [scene.offsets(axis)[[0, size // 2, -1]] for axis, size in enumerate(scene.shape)]
    inside = steps.copy()
    inside[bounds[1:-1] - 1] = 0
    chosen = np.arange(0, len(bounds) - 1, max(1, (len(bounds) - 1) // _LOOKED_AT))
    if len(inside):
        chosen = np.append(chosen, np.searchsorted(bounds, inside.argmax(), side="right") - 1)
    starts, counts = bounds[chosen], np.diff(bounds)[chosen]
    # Those that are shorter have their last pulse several times.
    within = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    some = paths[(starts[:, None] + within).ravel()]
    ends_of_band = some.wavenumbers(k[[0, -1]], scene.speed)
    ends_of_band = np.broadcast_to(ends_of_band, (len(some), 2))
    band = ends_of_band.reshape(*within.shape, 2)
    each, middles = np.arange(len(chosen)), counts // 2
    middle = band[each, middles].mean(axis=1)
    largest = np.zeros(3)
    for place in itertools.product(*ends):
        offset = np.append(place, [0.0] * (3 - len(place)))
        gradients = some.gradients(scene.centre + offset).reshape(*within.shape, 3)
        held = middle[:, None] * gradients[each, middles]
        for end in (0, 1):
            apart = np.abs(band[..., end, None] * gradients - held[:, None])
            largest = np.maximum(largest, apart.max(axis=(0, 1)))
    return largest
