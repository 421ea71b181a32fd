"""Simulated receive coils whose sensitivities are short Fourier series.

Exactly such sensitivities have a multi-coil k-space in closed form: see
`pipeline.mri.formats.phantoms.fourier_transform`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.axes import voxel_positions

_PERIOD = 1.6  # of the series, in fields of view: more than one, so that a coil is not seen twice
_DISTANCE = 1.4  # of the coils from the axis [half field of view]
_LOOP_RADIUS = 1.0  # [half field of view]


@dataclass(frozen=True)
class CoilArray:
    """Sensitivities ``S_c(r) = sum_m coefficients[c, m] exp(j shifts[m].r)``."""

    shape: tuple[int, ...]
    shifts: NDArray[np.float64]
    """float64 ``[term, axis]`` [rad/voxel]."""
    coefficients: NDArray[np.complex128]
    """complex128 ``[coil, term]``."""

    def maps(self, coils: slice = slice(None), rows: slice = slice(None)) -> NDArray[np.complex128]:
        """Return the sensitivities at the voxels, complex128 ``[coil, *shape]``.

        ``rows`` is the part of the first image axis that is wanted.
        """
        axes = [voxel_positions(size) for size in self.shape]
        axes[0] = axes[0][rows]
        maps = np.zeros(
            (self.coefficients[coils].shape[0], *(axis.size for axis in axes)), np.complex128
        )
        for shift, coefficients in zip(self.shifts, self.coefficients[coils].T, strict=True):
            term = np.ones((), np.complex128)
            for component, axis in zip(shift, axes, strict=True):
                term = np.multiply.outer(term, np.exp(1j * component * axis))
            for index, coefficient in enumerate(coefficients):
                maps[index] += coefficient * term
        return maps


def coils_around(shape: Sequence[int], coils: int) -> CoilArray:
    """Return coils that surround the object, each fading like the field of a loop along its axis.

    Coils stand on a circle around z, in 3D on two circles if there are more than four. The field of
    a loop of radius a falls off with the distance d as ``(1 + (d / a)^2)^(-3/2)`` (Biot-Savart);
    the series, of 9 (2D) or 19 (3D) terms, is its least-squares fit over the ball that touches the
    edges of the field of view. The root sum of squares is 1 in the centre. A single coil is
    uniform.
    """
    dimensions = len(shape)
    if coils == 1:
        return CoilArray(tuple(shape), np.zeros((1, dimensions)), np.ones((1, 1), np.complex128))
    orders = np.array(
        [
            order
            for order in itertools.product((-1, 0, 1), repeat=dimensions)
            if np.count_nonzero(order) <= 2
        ],
        dtype=np.float64,
    )
    points = np.stack(
        np.meshgrid(*[np.linspace(-1, 1, 15)] * dimensions, indexing="ij"), axis=-1
    ).reshape(-1, dimensions)
    points = points[np.linalg.norm(points, axis=1) <= 1]
    # The field of view is 2 in these coordinates.
    terms = np.exp(1j * np.pi / _PERIOD * (points @ orders.T))
    profiles = np.stack([_loop(points, *place) for place in _places(dimensions, coils)], axis=-1)
    fitted = np.linalg.lstsq(terms, profiles, rcond=1e-3)[0].T
    in_centre = np.linalg.norm(fitted.sum(axis=1))
    shifts = 2 * np.pi / _PERIOD * orders / np.asarray(shape)
    return CoilArray(tuple(shape), shifts, np.asarray(fitted / in_centre, np.complex128))


def _places(dimensions: int, coils: int) -> list[tuple[NDArray[np.float64], float]]:
    """Return centre [half field of view] and phase [rad] of each coil."""
    rings = 2 if dimensions == 3 and coils > 4 else 1
    places = []
    for coil in range(coils):
        ring = coil % rings
        on_ring = len(range(ring, coils, rings))
        angle = 2 * np.pi * (coil // rings + ring / 2) / on_ring
        height = 0.0 if rings == 1 else ring - 0.5
        centre = [height, _DISTANCE * np.sin(angle), _DISTANCE * np.cos(angle)]
        places.append((np.array(centre[-dimensions:]), angle))
    return places


def _loop(
    points: NDArray[np.float64], centre: NDArray[np.float64], angle: float
) -> NDArray[np.complex128]:
    distance = np.linalg.norm(points - centre, axis=-1)
    magnitude = (1 + (distance / _LOOP_RADIUS) ** 2) ** -1.5
    return np.asarray(magnitude * np.exp(1j * (angle + 0.25 * np.pi * distance)))
