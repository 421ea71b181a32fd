import numpy as np
import pytest

from pipeline.geometry.axes import resampled_affine, resampled_coordinates


def test_coordinates():
    np.testing.assert_allclose(resampled_coordinates(8, 4), [0, 2, 4, 6])
    np.testing.assert_allclose(resampled_coordinates(4, 8), [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5])
    np.testing.assert_allclose(resampled_coordinates(5, 5), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(resampled_coordinates(5, 3), [2 - 5 / 3, 2, 2 + 5 / 3])


@pytest.mark.parametrize("to_shape", [(3, 4, 9), (12, 7, 10), (6, 7, 5)])
def test_affine_agrees_with_coordinates(to_shape):
    random = np.random.default_rng(5)
    affine = np.vstack([random.normal(size=(3, 4)), [0, 0, 0, 1]])
    from_shape = (6, 7, 5)
    found = resampled_affine(affine, from_shape, to_shape)
    voxel = (1, 3, 4)
    old = [
        resampled_coordinates(before, after)[index]
        for before, after, index in zip(from_shape, to_shape, voxel, strict=True)
    ]
    np.testing.assert_allclose(found @ [*voxel, 1], affine @ [*old, 1])
