"""An object of ellipses, seen by coils, whose k-space is a formula: the examples' data."""

import numpy as np
from scipy.special import j1

N = 128
# Centre y, x and half axes y, x, all as part of the field of view; intensity.
ELLIPSES = [
    (0.0, 0.0, 0.42, 0.33, 1.0),
    (0.02, 0.0, 0.37, 0.28, -0.4),
    (-0.05, -0.11, 0.14, 0.05, -0.3),
    (-0.05, 0.11, 0.17, 0.07, -0.3),
    (0.17, 0.0, 0.05, 0.10, 0.5),
    (-0.22, 0.02, 0.03, 0.03, 0.6),
]
# Each coil sees the object through a sum of three slow plane waves [rad/voxel].
_rng = np.random.default_rng(3)
WAVES = _rng.uniform(-0.03, 0.03, (6, 3, 2))
HEIGHTS = _rng.normal(size=(6, 3)) + 1j * _rng.normal(size=(6, 3))


def kspace(points):
    """Return the samples ``(coil, point)`` at ``(axis, point)`` [rad/voxel], exactly."""
    return np.stack(
        [
            sum(h * _object(points - q[:, None]) for q, h in zip(waves, heights))
            for waves, heights in zip(WAVES, HEIGHTS)
        ]
    )


def _object(k):
    total = np.zeros(k.shape[1], complex)
    for y, x, a, b, height in ELLIPSES:
        rho = np.maximum(N * np.hypot(a * k[0], b * k[1]), 1e-9)
        disc = 2 * np.pi * N**2 * a * b * j1(rho) / rho
        total += height * disc * np.exp(-1j * N * (y * k[0] + x * k[1]))
    return total


def coil_images():
    """Return what each coil sees, on the grid ``(coil, y, x)``."""
    y, x = np.meshgrid(*2 * [(np.arange(N) - N // 2) / N], indexing="ij")
    shape = sum(h * (((y - v) / a) ** 2 + ((x - u) / b) ** 2 < 1) for v, u, a, b, h in ELLIPSES)
    phases = np.exp(1j * N * np.einsum("cwa,ayx->cwyx", WAVES, np.stack([y, x])))
    return shape * np.einsum("cw,cwyx->cyx", HEIGHTS, phases)


def spokes(count, samples=2 * N):
    """Return a golden-angle radial trajectory ``(axis, readout, sample)`` [rad/voxel]."""
    angles = np.pi * 0.6180339887 * np.arange(count)
    radii = 2 * np.pi * (np.arange(samples) / samples - 0.5)
    return np.stack([np.outer(np.sin(angles), radii), np.outer(np.cos(angles), radii)])
