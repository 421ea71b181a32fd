import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import AntennaPaths


@pytest.fixture
def paths():
    rng = np.random.default_rng(3)
    return AntennaPaths(
        transmitter=rng.uniform(20, 30, (5, 3)),
        receiver=rng.uniform(-30, -20, (5, 3)),
        reference_path=rng.uniform(40, 50, 5),
    )


def test_path_differences_by_hand():
    paths = AntennaPaths([[3.0, 4, 0]], [[0, 0, 12.0]], [16.0])
    np.testing.assert_array_equal(paths.path_differences([[0.0, 0, 0], [3, 4, 0]]), [[1, -3]])


def test_points_on_any_axes(paths):
    points = np.random.default_rng(0).uniform(-1, 1, (2, 4, 3))
    differences = paths.path_differences(points)
    assert differences.shape == (5, 2, 4)
    np.testing.assert_array_equal(differences[:, 1, 2], paths.path_differences(points[1, 2]))


def test_gradients_by_differences(paths):
    step = 1e-4
    centre = np.array([0.5, -0.2, 0.1])
    ahead = paths.path_differences(centre + step * np.eye(3))
    behind = paths.path_differences(centre - step * np.eye(3))
    np.testing.assert_allclose(
        paths.gradients(centre), (ahead - behind) / (2 * step), rtol=0, atol=1e-8
    )


def test_parts_join_to_the_whole(paths):
    joined = AntennaPaths.joined([paths[:2], paths[2:]])
    assert len(paths[:2]) == 2
    for name in ("transmitter", "receiver", "reference_path"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(paths, name))


@pytest.mark.parametrize("broken", [np.nan, 2e12])
def test_bad_positions(broken):
    positions = np.ones((4, 3))
    with pytest.raises(DataError, match=r"`receiver` has the shape \(3, 3\).*4 reference paths"):
        AntennaPaths(positions, positions[:3], np.ones(4))
    positions[2, 1] = broken
    with pytest.raises(DataError, match="`transmitter` of pulse 2 is"):
        AntennaPaths(positions, np.ones((4, 3)), np.ones(4))
