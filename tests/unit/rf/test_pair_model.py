"""Kronecker models, assembled by brute force, against the exact sum where they must agree."""

import functools

import numpy as np
import pytest
from rf_scenes import mills_cross, planar

from pipeline.errors import DataError
from pipeline.geometry.axes import voxel_positions
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.pair_model import LEVELS, pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import path_curvature
from pipeline.rf.model.born import simulate

FREQUENCIES = np.array([9.5e9, 9.9e9, 10.4e9])
FLAT = Scene((5, 4), (0.02, 0.03), (0.1, 0.2, 0.3))
DEEP = Scene((5, 4, 3), (0.02, 0.03, 0.01), (0.1, 0.2, 0.3))
COSINES = Scene((5, 4), (0.002, 0.003), range=20.0)
COSINES_DEEP = Scene((5, 4, 3), (0.002, 0.003, 0.01), range=20.0)

CROSSED = mills_cross((3, 6), 0.3, 20.0)
PLANAR = planar((2, 3), (2, 2), 0.02, np.array([[0.1, 0.2, -20.0], [0.4, -0.1, -22.0]]))


def single(pair):
    """Return the pair with a single row along the second axis."""
    return Pair(pair.tx, pair.rx[:1])


def exact(scene, pair, **options):
    """Return the columns of the exact sum, ``(freq, m1, m2, voxel)``."""
    return np.stack(
        [simulate([x], [1.0], pair, FREQUENCIES, **options) for x in scene.positions()], axis=-1
    )


def assembled(model):
    """Return the matrix ``w (A_1 (x) A_2 ...) D`` from its parts, one block after the other."""
    factors = [model.factor(axis) for axis in range(len(model.scene.shape))]
    count = len(FREQUENCIES)
    blocks = []
    for index in range(1 if model.level == "N" else count):
        block = [f if model.level == "N" else f[index] for f in factors]
        matrix = functools.reduce(np.kron, block)
        if model.has_voxel_phase:
            k = model.k[index] if model.level == "W+D" else model.centre_k
            matrix = matrix * np.exp(
                -1j
                * k
                * path_curvature(model.scene.positions(), model.scene.centre, *model.centres)
            )
        blocks.append(matrix)
    if model.level == "N":
        rows = [f.shape[0] for f in factors]
        matrix = blocks[0].reshape(*rows[:-1], count, -1) * model.weights[:, None]
        matrix = np.moveaxis(matrix, -2, 0)
        return matrix if matrix.ndim == 4 else matrix[:, :, None]
    measured = tuple(f.shape[1] for f in factors)
    stacked = np.stack(blocks).reshape(count, *measured[:2], -1)
    return stacked * model.weights[:, None, None, None]


def cases():
    for level in LEVELS:
        flat, deep = (COSINES, COSINES_DEEP) if level == "UPA" else (FLAT, DEEP)
        for name, pair in (("crossed", CROSSED), ("planar", PLANAR)):
            used = single(pair) if level == "N" else pair
            yield pytest.param(level, flat, used, id=f"{level}-{name}-2D")
            yield pytest.param(level, deep, pair, id=f"{level}-{name}-3D")


def relative(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize(("level", "scene", "pair"), list(cases()))
def test_close_to_exact_and_columns_are_the_assembled_matrix(level, scene, pair):
    model = pair_model(scene, pair, FREQUENCIES, level)
    matrix = assembled(model)
    truth = exact(scene, pair)
    assert matrix.shape == truth.shape
    allowed = {"W": 0.1, "UPA": 0.1, "N": 0.15}.get(level, 0.04)
    assert relative(matrix, truth) < allowed
    voxels = np.array([0, 7, 11, scene.voxels - 1])
    np.testing.assert_allclose(model.columns(voxels), matrix[..., voxels], rtol=1e-9)
    for axis in range(len(scene.shape)):
        np.testing.assert_allclose(np.abs(model.factor(axis)), 1)


@pytest.mark.parametrize("level", LEVELS)
def test_bands(level):
    """Parts of the band are the band's own model; the centre frequency does not move."""
    scene = COSINES_DEEP if level == "UPA" else DEEP
    model = pair_model(scene, CROSSED, FREQUENCIES, level)
    voxels = np.arange(9)
    part = model.band(slice(1, 3)).columns(voxels)
    np.testing.assert_array_equal(part, model.columns(voxels)[1:])
    np.testing.assert_array_equal(
        model.band(np.array([2])).columns(voxels), model.columns(voxels)[2:]
    )


@pytest.mark.parametrize("level", ["W", "W+D(fc)", "UPA"])
def test_wavenumbers_make_the_factors(level):
    """Those levels that collapse are plane waves on the grid, up to the phase of the row."""
    model = pair_model(COSINES if level == "UPA" else FLAT, PLANAR, FREQUENCIES, level)
    for axis, (kappa, rows) in enumerate(zip(model.wavenumbers, model.row_phases, strict=True)):
        steps = voxel_positions(model.scene.shape[axis])
        plane = np.exp(-1j * (kappa[..., None] * steps + rows[..., None]))
        np.testing.assert_allclose(model.factor(axis), plane, atol=1e-12)


def test_plane_waves_are_right_far_away():
    scene = Scene((6, 5), (0.3, 0.4))
    pair = mills_cross((3, 4), 1e5, 1e8, (0.02, 0.01))
    matrix = assembled(pair_model(scene, pair, FREQUENCIES, "W"))
    assert relative(matrix, exact(scene, pair)) < 1e-4


def test_fresnel_matches_its_formula():
    """Broadside it is ``((u - a)^2 + u^2) / (2 R)``; only ``a^2 / (2 R)`` is kept exactly."""
    scene, pair = Scene((7, 5), (0.05, 0.05)), mills_cross((4, 3), 0.4, 8.0)
    model = pair_model(scene, pair, FREQUENCIES, "F")
    u, a = scene.offsets(0), pair.tx[:, :1]
    phase = ((u - a) ** 2 + u**2 - a**2) / 16 + np.hypot(a, 8.0) - 8.0
    k = model.k[:, None, None]
    np.testing.assert_allclose(model.factor(0), np.exp(-1j * k * phase), atol=2e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_are_the_centre_voxel(dimensions):
    """Path loss, gain, spectrum, k^2 and carrier phase, exactly, whatever the level."""
    pair = Pair([[0.0, 1, -9]], [[2.0, 0, -8]], gain=3j)
    spectrum = np.array([1, 2j, -1])
    options = {"spectrum": spectrum, "born_k2": True, "dimensions": dimensions}
    truth = simulate([FLAT.origin], [1.0], pair, FREQUENCIES, **options)
    for level in ("W", "F", "W+D"):
        model = pair_model(FLAT, pair, FREQUENCIES, level, **options)
        np.testing.assert_allclose(model.weights, truth[:, 0, 0], rtol=1e-10)


def test_oblique_array():
    """An array turned along the line of sight has no aperture: directions see only what is across.

    Half of it lies along the sight here; the direction cosines hold to second order of a / R.
    """
    along = np.linspace(-1, 1, 5)[:, None] * np.array([[0.6, 0, 0.8]])
    tx = np.array([-60.0, 0, -80.0]) + along  # the line of sight is (0.6, 0, 0.8)
    model = pair_model(Scene((4, 4), (0.1, 0.1)), Pair(tx, tx[2:3]), FREQUENCIES, "W")
    np.testing.assert_allclose(np.ptp(model.wavenumbers[0], axis=-1), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("level", "scene", "pair", "found"),
    [
        ("W", FLAT, Pair(np.ones((3, 3)), np.ones((3, 3)), paired=True), "phase history"),
        ("UPA", FLAT, CROSSED, "give the scene a range"),
        ("W", COSINES, CROSSED, "only UPA"),
        ("N", FLAT, CROSSED, "6 measurements"),
        ("N", COSINES, CROSSED, "only UPA"),
        ("X", FLAT, CROSSED, "model X: unknown; it is one of W, "),
    ],
    ids=["paired", "cartesian", "cosines", "no band axis", "no range", "unknown"],
)
def test_refused(level, scene, pair, found):
    with pytest.raises(DataError, match=found):
        pair_model(scene, pair, FREQUENCIES, level)


def test_refused_in_two_dimensions():
    with pytest.raises(DataError, match=r"2 Cartesian axes, found shape \(5, 4, 3\)"):
        pair_model(DEEP, CROSSED, FREQUENCIES, "W", dimensions=2)
