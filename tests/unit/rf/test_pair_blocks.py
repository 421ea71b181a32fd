"""The measurement of a pair against single voxels of its model, one after the other."""

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint
from rf_scenes import mills_cross

from pipeline.errors import ShapeError
from pipeline.rf.geometry.pair_model import LEVELS, pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import path_curvature
from pipeline.rf.model.pair_blocks import PairBlocks, pair_blocks
from pipeline.rf.model.voxel_phases import curvature_paths

FREQUENCIES = np.linspace(9.4e9, 10.6e9, 7)


def model_of(level, shape, frequencies=FREQUENCIES):
    spacing = (0.11, 0.08, 0.07)[: len(shape)]
    if level == "UPA":
        spacing = tuple(step / 20 for step in spacing)
    scene = Scene(shape, spacing, (0.3, -0.2, 0.4), range=30.0 if level == "UPA" else None)
    pair = mills_cross((4, 1 if level == "N" and len(shape) == 2 else 6), 0.5, 30.0, (0.1, 0.05))
    return pair_model(scene, pair, frequencies, level), pair


@pytest.mark.parametrize("shape", [(9, 12), (8, 11, 5)], ids=["2d", "3d"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.complex128, 1e-12), (torch.complex64, 3e-6)])
def test_each_voxel_gives_what_the_model_says(level, shape, dtype, allowed):
    model, pair = model_of(level, shape)
    some = slice(2, 6)
    blocks = pair_blocks(model.band(some), dtype=dtype)
    voxels = torch.eye(model.scene.voxels, dtype=dtype).reshape(-1, *shape)
    found = blocks(voxels).numpy().reshape(-1, 4, *pair.measurement_shape)
    expected = np.moveaxis(model.columns(np.arange(model.scene.voxels)), -1, 0)
    expected = expected[:, some] / model.weights[some, None, None]
    assert np.abs(found - expected).max() < allowed
    assert_adjoint(blocks, batch=(3,))


@pytest.mark.parametrize("frequencies", [FREQUENCIES[:2], np.array([9.4e9, 9.5e9, 9.9e9, 1e10])])
def test_phases_at_a_few_frequencies_and_at_uneven_ones(frequencies):
    model, _ = model_of("W+D", (8, 70, 5), frequencies)
    random = np.random.default_rng(2)
    image = random.normal(size=(8, 70, 5)) + 1j * random.normal(size=(8, 70, 5))
    found = pair_blocks(model, dtype=torch.complex128)(torch.from_numpy(image)).numpy()
    columns = model.columns(np.arange(model.scene.voxels)) @ image.ravel()
    expected = columns / model.weights[:, None, None]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-10 * np.abs(expected).max())


def test_paths_are_those_of_the_geometry():
    scene = Scene((70, 130, 150), (0.02, 0.03, 0.05), (1.0, -2.0, 3.0))
    antennas = np.array([4.0, 3.0, -9.0]), np.array([-5.0, 2.5, -7.0])
    found = curvature_paths(scene, antennas).numpy()
    assert (
        np.abs(found.ravel() - path_curvature(scene.positions(), scene.centre, *antennas)).max()
        < 1e-12
    )


def test_what_does_not_fit_is_named():
    factors = [torch.ones(2, *size, dtype=torch.complex64) for size in ((3, 4), (5, 6))]
    with pytest.raises(ShapeError, match=r"\(4, 5\); needed is \(4, 6\)"):
        PairBlocks(factors, torch.ones(4, 5, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="narrowband"):
        PairBlocks([factor[0] for factor in factors], torch.ones(4, 6, dtype=torch.complex64))
    with pytest.raises(ShapeError, match=r"\(freq, m, n\)"):
        PairBlocks([factors[0], factors[1][0]])
