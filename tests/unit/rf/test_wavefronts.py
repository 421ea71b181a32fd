"""The expansion of paths about the centre of a scene."""

import numpy as np
import pytest
from rf_scenes import mills_cross, planar

from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import (
    chirp_paths,
    path_curvature,
    separable_rows,
    unit_phasor,
)

SCENE = Scene((3, 4, 5), (0.5, 0.4, 0.3), (1.0, -2.0, 0.5))
TX, RX = np.array([3.0, 1.0, -6.0]), np.array([-2.0, 2.0, -5.0])


def legs(positions):
    return sum(np.linalg.norm(positions - antenna, axis=1) for antenna in (TX, RX))


def test_expansion_is_exact():
    """Range, plane wave and curvature add up to the path."""
    offsets = SCENE.positions() - SCENE.centre
    directions = sum(
        (SCENE.centre - antenna) / np.linalg.norm(SCENE.centre - antenna) for antenna in (TX, RX)
    )
    found = legs(SCENE.centre[None]) + offsets @ directions
    found = found + path_curvature(SCENE.positions(), SCENE.centre, TX, RX)
    np.testing.assert_allclose(found, legs(SCENE.positions()), rtol=1e-14)


def test_curvature_does_not_cancel():
    """At 1e9 m the path has no digits left for half a micrometre of curvature; this has."""
    side = np.array([[1e1, 0, 0], [0, 3e1, 0]])
    antenna = np.array([0, 0, -1e9])
    found = path_curvature(side, np.zeros(3), antenna, antenna)
    np.testing.assert_allclose(found, [1e-7, 9e-7], rtol=1e-8)


@pytest.mark.parametrize("scene", [SCENE, Scene((3, 4), (0.5, 0.4))], ids=["3D", "2D"])
def test_rows_of_planar_arrays(scene):
    """Paths and directions of each transmitter and receiver are sums of those of two rows."""
    pair = planar((2, 3), (4, 5), 1e-3, np.array([TX, RX]))
    rows = separable_rows(scene, pair)
    assert [len(path) for path in rows.paths] == [8, 15, 1][: len(scene.shape)]
    for (t1, t2), (r1, r2) in [((0, 0), (0, 0)), ((1, 2), (3, 1)), ((0, 1), (2, 4))]:
        sights = [
            scene.centre - pair.tx[t1 * 3 + t2],
            scene.centre - pair.rx[r1 * 5 + r2],
        ]
        distances = [np.linalg.norm(sight) for sight in sights]
        direction = sum(s / d for s, d in zip(sights, distances, strict=True))
        m1, m2 = t1 * 4 + r1, t2 * 5 + r2
        path = rows.paths[0][m1] + rows.paths[1][m2] + sum(rows.ranges)
        assert path == pytest.approx(sum(distances), abs=1e-6)  # what cannot separate: 1e-7 m
        assert rows.directions[0][m1] == pytest.approx(direction[0], abs=1e-3)
        assert rows.directions[1][m2] == pytest.approx(direction[1], abs=1e-3)
        if len(scene.shape) == 3:
            assert rows.directions[2][0] == pytest.approx(direction[2], abs=1e-3)


def test_rows_of_crossed_arrays_are_exact():
    pair = mills_cross((4, 3), 2.0, 3.0, (0.3, -0.4))
    rows = separable_rows(Scene((5, 6), (0.1, 0.1)), pair)
    paths = np.add.outer(np.linalg.norm(pair.tx, axis=1), np.linalg.norm(pair.rx, axis=1))
    found = sum(rows.ranges) + np.add.outer(rows.paths[0], rows.paths[1])
    np.testing.assert_allclose(found, paths, rtol=1e-13)


def test_chirps_are_the_curvature_at_broadside():
    scene = Scene((8, 9), (0.01, 0.02))
    antennas = np.array([[0, 0, -4.0], [0, 0, -6.0]])
    chirps = np.add.outer(*chirp_paths(scene, antennas))
    np.testing.assert_allclose(
        chirps, path_curvature(scene.positions(), scene.centre, *antennas).reshape(8, 9), rtol=2e-4
    )
    assert chirps[0, 0] == pytest.approx((0.04**2 + 0.08**2) * (1 / 8 + 1 / 12))


def test_phasor_of_a_large_phase():
    """A quarter turn after 1e6 turns."""
    np.testing.assert_allclose(unit_phasor(np.array([2e6 * np.pi + np.pi / 2])), -1j, atol=1e-9)
