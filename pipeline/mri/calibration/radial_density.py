"""Density compensation in closed form, for spokes through the centre of k-space."""

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.readouts import Readouts, readout_slabs

# Samples of a readout nearer to each other than this, relative to the largest |k|, are repetitions:
# trajectories are stored in single precision.
_SAME_PLACE = 1e-5
# A spoke beside a gap much wider than usual (limited-angle data) does not stand for the gap.
_WIDEST_GAP = 10.0
# Where only few spokes reach, none stands for more than twice its share: that much is needed for
# asymmetric readouts, and more would let a single long spoke dominate the image.
_LARGEST_SHARE = 2.0

SAMPLE_BYTES = 200
"""Bytes a sample of a slab while its weights are computed; measured."""
READOUT_BYTES = 250
"""Bytes a readout that `RadialDensity` holds: directions, ends, angles, and their order."""


def radial_weights(trajectory: Readouts) -> NDArray[np.float64]:
    """Return the weights of straight spokes through or from the centre of k-space.

    They integrate ``|k|**(d - 1)`` times the signal along each spoke by the trapezoidal rule, for
    samples at any distances; repeated samples share a weight. A spoke through the centre counts as
    two half-spokes, each of which stands for an angle (2D) or a solid angle (3D).

    On uniform samples the rule is exact for objects within the field of view that the samples
    allow, but for the kink of ``|k|`` at the centre in 2D, which the Euler-Maclaurin formula
    accounts for. The customary integral of ``|k|**(d - 1)`` over each sample's share of the spoke
    is not used: it gives the centre too much, a haze of ``0.8 (a / FOV)**2`` in 2D and twice that
    in 3D for an object of radius ``a`` in a field of view ``FOV``.

    In 2D, the angle of a half-spoke reaches half-way to its neighbours, so that spokes may be
    spread unevenly; at the edges of a limited range of angles it is not extended over the gap. In
    3D all half-spokes share the sphere evenly. At radii that only some half-spokes reach, as with
    asymmetric readouts, these stand for the others, but for no more than twice their share.

    Parameters
    ----------
    trajectory
        ``[readout, sample, axis]`` of one frame with 2 or 3 axes [rad/voxel].

    Returns
    -------
    ndarray
        float64 ``[readout, sample]``, in image units.
    """
    return RadialDensity(trajectory).weights(slice(None))


class RadialDensity:
    """The weights of `radial_weights`, for some readouts at a time of a trajectory of any length.

    The trajectory is read twice here.

    Raises
    ------
    ValueError
        If all samples are at the centre of k-space.
    """

    def __init__(self, trajectory: Readouts) -> None:
        self._trajectory = trajectory
        readouts, _, dimensions = trajectory.shape
        slabs = readout_slabs(trajectory)
        reach = np.concatenate(
            [np.linalg.norm(trajectory[slab], axis=-1).max(axis=1) for slab in slabs]
        )
        # A readout that stays at the centre adds nothing to the others.
        self._is_spoke = reach > _SAME_PLACE * reach.max()
        if not self._is_spoke.any():
            raise ValueError("all samples are at the centre of k-space: there is no spoke")
        self._tolerance = _SAME_PLACE * float(reach.max())
        directions = np.zeros((readouts, dimensions))
        ends = np.zeros((2, readouts))
        for slab in slabs:
            spokes = np.arange(readouts)[slab][self._is_spoke[slab]]
            if spokes.size:
                some = _Spokes(trajectory[slab][self._is_spoke[slab]], self._tolerance)
                directions[spokes], ends[:, spokes] = some.directions, some.ends
        forward, backward = self._is_spoke, ends[1] > 0
        both = np.concatenate([directions[forward], -directions[backward]])
        count = len(both)
        half_angles = _angles(both) if dimensions == 2 else np.full(count, 4 * np.pi / count)
        self._angles = np.zeros((2, readouts))
        self._angles[0, forward] = half_angles[: np.count_nonzero(forward)]
        self._angles[1, backward] = half_angles[np.count_nonzero(forward) :]
        self._length = _SharedLength(np.concatenate([ends[0, forward], ends[1, backward]]))

    def weights(self, readouts: slice) -> NDArray[np.float64]:
        """Return the weights of some readouts, float64 ``[readout, sample]``, in image units."""
        first, last, _ = readouts.indices(self._trajectory.shape[0])
        weights = np.zeros((last - first, self._trajectory.shape[1]))
        for slab in readout_slabs(self._trajectory):
            some = np.arange(max(slab.start, first), min(slab.stop, last))
            if not some.size:
                continue
            part = slice(int(some[0]), int(some[-1]) + 1)
            kept = self._is_spoke[part]
            if kept.any():
                spokes = _Spokes(self._trajectory[part][kept], self._tolerance)
                angles = self._angles[:, part][:, kept]
                weights[some[kept] - first] = spokes.weights(angles, self._length)
        return weights


def stack_of_stars_weights(trajectory: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the weights of spokes in planes of constant kz, as `radial_weights` does.

    The spokes of each plane have radial weights in the plane; planes stand for the range of kz
    half-way to their neighbours, the outermost for as much outwards as inwards.
    """
    height = np.asarray(trajectory[..., 0], dtype=np.float64).mean(axis=1)
    tolerance = _SAME_PLACE * float(np.abs(trajectory).max())
    lower, upper, in_plane = _intervals(height, tolerance)
    # A single plane is a 2D image that is one voxel thick.
    thickness = np.where(in_plane < height.size, upper - lower, 2 * np.pi) / (2 * np.pi)
    weights = np.empty(trajectory.shape[:2])
    for start in np.unique(lower):
        plane = lower == start
        weights[plane] = radial_weights(trajectory[plane][..., 1:]) * thickness[plane, None]
    return weights


class _Spokes:
    """Some readouts as lines through the centre; none is without extent.

    Samples no farther apart than ``tolerance`` are at the same place. ``directions`` are unit
    vectors, forwards, ``[readout, axis]``; ``ends``, ``[2, readout]``, is how far the forward and
    the backward half reach, zero where there is no backward half. All [rad/voxel].
    """

    def __init__(self, trajectory: NDArray[np.floating], tolerance: float) -> None:
        points = np.asarray(trajectory, dtype=np.float64)
        radius = np.linalg.norm(points, axis=-1)
        outermost = radius.argmax(axis=1)[:, None]
        self.directions = np.take_along_axis(points, outermost[..., None], axis=1)[:, 0]
        self.directions /= np.take_along_axis(radius, outermost, axis=1)
        self._tolerance = tolerance
        self._position = np.einsum("rsa,ra->rs", points, self.directions)
        self._lower, self._upper, self._repeats = _intervals(self._position, tolerance)
        self._has_backward = self._position.min(axis=1) < -tolerance
        backward = np.where(self._has_backward, -self._lower.min(axis=1), 0)
        self.ends = np.stack([self._upper.max(axis=1), backward])

    def weights(self, angles: NDArray[np.float64], length: "_SharedLength") -> NDArray[np.float64]:
        """Return the weights ``[readout, sample]`` in image units.

        ``angles``, ``[2, readout]``, are what the forward and the backward half stand for [rad or
        sr]; ``length`` is that along the half-spokes of all readouts.
        """
        dimensions = self.directions.shape[1]
        # What begins beside the centre has its first step whole: the trapezoidal rule needs it.
        inner = np.where(self._has_backward[:, None], np.maximum(self._lower, 0), self._lower)
        forward = length(np.maximum(self._upper, 0)) - length(inner)
        backward = length(np.maximum(-self._lower, 0)) - length(np.maximum(-self._upper, 0))
        share = forward * angles[0][:, None] + backward * angles[1][:, None]
        distance = np.abs(self._position)
        weights = distance ** (dimensions - 1) * share / self._repeats
        if dimensions == 2:
            nearest = distance <= distance.min(axis=1, keepdims=True) + self._tolerance
            kink = angles[0] * _kink(self._position, self._tolerance)
            kink += angles[1] * _kink(-self._position, self._tolerance)
            # Negative only where a very coarse spoke has halves of very different angles.
            weights = np.maximum(weights + nearest * (kink / nearest.sum(axis=1))[:, None], 0)
        return np.asarray(weights / (2 * np.pi) ** dimensions)


def _intervals(
    positions: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return the part of a line that is nearer to each of ``[..., n]`` positions than to others.

    These are its lower and upper end, and how many positions have it in common: neighbours no
    farther apart than ``tolerance`` are repetitions of one. The outermost parts reach as far
    outwards as inwards; where there is only one position, its part is empty.
    """
    order = np.argsort(positions, axis=-1, kind="stable")
    line = np.take_along_axis(positions, order, axis=-1)
    size = line.shape[-1]
    index = np.broadcast_to(np.arange(size), line.shape)
    apart = np.diff(line, axis=-1) > tolerance
    edge = np.ones((*line.shape[:-1], 1), dtype=bool)
    begins = np.concatenate([edge, apart], axis=-1)
    ends = np.concatenate([apart, edge], axis=-1)
    first = np.maximum.accumulate(np.where(begins, index, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends, index, size)[..., ::-1], axis=-1)[..., ::-1]

    def at(where: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.take_along_axis(line, where, axis=-1)

    before, after = at(np.maximum(first - 1, 0)), at(np.minimum(last + 1, size - 1))
    here, there = at(first), at(last)
    lower, upper = (before + here) / 2, (there + after) / 2
    lower, upper = (
        np.where(first > 0, lower, 2 * here - upper),
        np.where(last < size - 1, upper, 2 * there - lower),
    )
    back = np.argsort(order, axis=-1)
    sorted_results = (lower, upper, last - first + 1)
    lower, upper, repeats = (np.take_along_axis(one, back, axis=-1) for one in sorted_results)
    return lower, upper, repeats


def _angles(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle that each of several directions in the plane stands for [rad].

    Directions are unit vectors, ``(n, 2)``. Equal ones share their angle.
    """
    azimuth = np.arctan2(directions[:, 0], directions[:, 1])
    order = np.argsort(azimuth)
    gaps = np.diff(azimuth[order], append=azimuth[order[0]] + 2 * np.pi)
    # Beginning behind the widest gap, no group of equal directions is cut in two.
    order = np.roll(order, -int(np.argmax(gaps)) - 1)
    gaps = np.roll(gaps, -int(np.argmax(gaps)) - 1)
    is_last = gaps > _SAME_PLACE
    is_last[-1] = True
    between = gaps[is_last]
    usual = float(np.median(between))
    between = np.where(between > _WIDEST_GAP * usual, usual, between)
    group = np.cumsum(np.concatenate([[0], is_last[:-1]]))
    share = (between + np.roll(between, 1)) / 2 / np.bincount(group)
    angle = np.empty(len(directions))
    angle[order] = share[group]
    return angle


def _kink(position: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return what the trapezoidal rule lacks of the integral of ``r f(r)`` from 0, over ``f(0)``.

    By the Euler-Maclaurin formula this is ``step**2 B(t) / 2``, with Bernoulli's polynomial ``B(t)
    = t**2 - t + 1/6``, where the first sample with ``r > 0`` is ``t`` steps from the centre. For
    signed radii ``[readout, sample]``, of which those up to ``tolerance`` count as zero; zero where
    no sample lies within a step of the centre.
    """
    ahead = np.where(position > tolerance, position, np.inf)
    first = ahead.min(axis=1)
    second = np.where(ahead > first[:, None] + tolerance, ahead, np.inf).min(axis=1)
    behind = np.where(position <= tolerance, position, -np.inf).max(axis=1)
    missing = np.zeros(len(position))
    for row in np.flatnonzero(np.isfinite(first)):
        step = first[row] - behind[row] if np.isfinite(behind[row]) else second[row] - first[row]
        fraction = first[row] / step
        if fraction <= 1 + 1e-6:
            missing[row] = step**2 * (fraction**2 - fraction + 1 / 6) / 2
    return missing


class _SharedLength:
    """Length along half-spokes, which end at ``ends``, counted more where fewer of them reach."""

    def __init__(self, ends: NDArray[np.float64]) -> None:
        self._edges = np.concatenate([[0.0], np.sort(ends)])
        reaching = np.arange(ends.size, 0, -1)
        self._share = np.append(np.minimum(ends.size / reaching, _LARGEST_SHARE), 0.0)
        inside = np.cumsum(np.diff(self._edges) * self._share[:-1])
        self._inside = np.concatenate([[0.0], inside])

    def __call__(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the length from the centre to ``radius``; behind it, the negative distance."""
        shell = np.maximum(np.searchsorted(self._edges, radius, side="right") - 1, 0)
        return np.asarray(self._inside[shell] + self._share[shell] * (radius - self._edges[shell]))
