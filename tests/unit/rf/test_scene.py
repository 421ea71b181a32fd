"""Where voxels are."""

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.rf.geometry.scene import Scene


def test_positions_3d():
    scene = Scene((2, 3, 4), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    positions = scene.positions()
    assert positions.shape == (24, 3)
    grid = positions.reshape(2, 3, 4, 3)
    np.testing.assert_allclose(grid[1, 1, 2], scene.origin)  # voxel N // 2
    np.testing.assert_allclose(grid[0, 2, 3], [0.9, 2.2, 3.3])
    np.testing.assert_array_equal(scene.positions(np.array([5, 17])), positions[[5, 17]])
    np.testing.assert_array_equal(scene.positions(slice(3, 9)), positions[3:9])


def test_two_axes_lie_in_the_plane_of_the_origin():
    np.testing.assert_allclose(Scene((3, 4), (1, 2), (0, 0, 7)).positions()[:, 2], 7)
    assert Scene((3, 4), (1, 2), (5, 6)).origin == (5, 6, 0)


def test_direction_cosines():
    """All voxels are at the same distance from the observer, who looks along the third axis."""
    scene = Scene((5, 4), (0.1, 0.2), (1, 2, 3), range=10.0)
    rays = scene.positions() - np.array([1, 2, -7])
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 10)
    np.testing.assert_allclose((rays / 10).reshape(5, 4, 3)[4, 3, :2], [0.2, 0.2])
    deeper = Scene((5, 4, 3), (0.1, 0.2, 0.5), (1, 2, 3), range=10.0).positions()
    distances = np.linalg.norm(deeper - np.array([1, 2, -7]), axis=1).reshape(5, 4, 3)
    np.testing.assert_allclose(distances, np.broadcast_to([9.5, 10, 10.5], (5, 4, 3)))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (((4,), (1.0,)), r"\(4,\).*2 or 3 axes"),
        (((4, 0), (1.0, 1.0)), r"\(4, 0\)"),
        (((4, 4), (1.0,)), "2 positive numbers"),
        (((4, 4), (1.0, -1.0)), "-1.0"),
        (((4, 4), (1.0, 1.0), (0, np.nan, 0)), "nan"),
        (((4, 4), (1.0, 1.0), (0, 0, 0), -2.0), "-2.0"),
        (((4, 4), (0.5, 0.5), (0, 0, 0), 2.0), "1.41.*below 1"),
    ],
    ids=["axes", "empty", "spacing", "negative", "origin", "range", "cosines"],
)
def test_refused(arguments, found):
    with pytest.raises(DataError, match=found):
        Scene(*arguments)
