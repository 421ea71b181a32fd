"""Resolution to be expected, against closed forms and direct sums."""

import numpy as np
import pytest

from pipeline.rf.formats.simulation import rf6, spotlight
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.resolution import WaveVectors, wave_vectors
from pipeline.rf.geometry.scene import Scene


def of_points(points):
    k = wavenumbers(points.frequencies)
    paths = [paths_of_pair(pair) for pair in points.pairs]
    weights = [np.ones(len(k))] * len(paths)
    return wave_vectors(paths, weights, k, points.scene.centre, len(points.scene.shape))


def test_spotlight_is_cut_towards_the_radar_and_across():
    (range_, towards), (cross, across) = of_points(spotlight()).directions()
    assert (range_, cross) == ("range", "cross range")
    # From the antenna at azimuth 50 degrees towards the scene.
    angle = np.deg2rad(50)
    np.testing.assert_allclose(towards, [-np.cos(angle), -np.sin(angle)], atol=1e-3)
    np.testing.assert_allclose([towards @ across, across @ across], [0, 1], atol=1e-12)


def test_arrays_on_all_sides_are_cut_along_the_axes():
    directions = of_points(rf6()).directions()
    assert [name for name, _ in directions] == ["x", "y"]
    np.testing.assert_array_equal([line for _, line in directions], np.eye(2))


def test_a_volume_is_cut_in_elevation_too():
    rng = np.random.default_rng(0)
    antenna = 1e3 * np.array([0.6, 0.0, 0.8]) + rng.standard_normal((30, 3))
    paths = AntennaPaths(antenna, antenna, np.zeros(30))
    k = np.linspace(100, 104, 5)
    directions = wave_vectors([paths], [np.ones(5)], k, np.zeros(3), 3).directions()
    assert [name for name, _ in directions] == ["range", "cross range", "elevation"]
    lines = np.array([line for _, line in directions])
    np.testing.assert_allclose(lines @ lines.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(lines[0], [-0.6, 0, -0.8], atol=2e-3)
    assert lines[1][2] == 0  # across is horizontal


def test_response_is_the_sum_of_plane_waves():
    rng = np.random.default_rng(1)
    waves = WaveVectors(rng.normal([3, -2, 5], 4, (700, 3)), rng.uniform(0.5, 2, 700))
    line, offsets = np.array([2, -1, 2]) / 3, np.linspace(-2, 2, 81)
    found = waves.response(line, offsets)
    exact = np.exp(1j * np.outer(offsets, waves.vectors @ line)) @ waves.weights
    np.testing.assert_allclose(np.abs(found), np.abs(exact) / waves.weights.sum(), atol=2e-4)


def test_large_acquisitions_are_thinned_out():
    antenna = np.column_stack([np.linspace(900, 1000, 5000), np.full((5000, 2), 7.0)])
    paths = AntennaPaths(antenna, antenna, np.zeros(5000))
    waves = wave_vectors([paths], [np.ones(500)], np.linspace(100, 101, 500), np.zeros(3), 2)
    assert 5e5 < len(waves.vectors) <= 2**20


@pytest.mark.parametrize("range_", [None, 50.0])
@pytest.mark.parametrize("shape", [(7, 4), (5, 6, 3)])
def test_voxels_at_positions(shape, range_):
    spacing = (0.01, 0.02, 0.3)[: len(shape)]
    scene = Scene(shape, spacing, (1.0, -2.0, 3.0), range=range_)
    voxels = np.arange(scene.voxels)
    indices = np.stack(np.unravel_index(voxels, shape), axis=1)
    np.testing.assert_allclose(scene.voxels_at(scene.positions(voxels)), indices, atol=1e-9)
