"""The measured error of each model, against the table of the model's description."""

import numpy as np
import pytest
from rf_scenes import mills_cross

from pipeline.errors import DataError
from pipeline.rf.calibration.model_error import ModelError, model_errors
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene


def model_error(scene, pairs, band, level, **options) -> ModelError:
    return model_errors(scene, pairs, band, [level], **options)[level]


def geometry(centre, aperture, width, range_, depth):
    """Return a scene of some width and depth, a crossed pair at broadside, and 10 % of band."""
    size, planes = 65, 17 if depth else 1
    scene = Scene(
        (size, size, planes), (width / (size - 1),) * 2 + (depth / max(planes - 1, 1) or 1.0,)
    )
    return scene, [mills_cross((16, 16), aperture, range_)], centre * np.linspace(0.95, 1.05, 5)


# Published are single draws of 200 scatterers; ours is the expectation. An error of phase scatters
# by about 15 % from draw to draw, one of path loss alone by up to 40 % (two that are equal are
# published as 4.0e-3 and 4.6e-3).
PHASE, AMPLITUDE = 0.2, 0.75


@pytest.mark.parametrize(
    ("case", "expected", "tolerance"),
    [
        ((10e9, 0.5, 0.5, 5, 0), (3.8e-3, 1.5, 3.3e-3), AMPLITUDE),
        ((10e9, 0.5, 1, 10, 0), (7.8e-3, 1.4, 4.5e-3), AMPLITUDE),
        ((10e9, 0.5, 1, 10, 1), (1.5e-1, 1.6, 8.4e-2), PHASE),
        ((10e9, 0.5, 1, 100, 1), (4.0e-3, 0.37, 4.6e-3), AMPLITUDE),
        ((77e9, 0.1, 0.3, 1, 0), (2.1e-1, 1.4, 7.7e-2), PHASE),
        ((77e9, 0.1, 0.3, 3, 0), (8.8e-3, 1.3, 3.7e-3), PHASE),
    ],
    ids=["10G-5m", "10G-10m", "10G-10m-deep", "10G-100m-deep", "77G-1m", "77G-3m"],
)
def test_published_errors(case, expected, tolerance):
    for level, published in zip(("F", "W", "W+D"), expected, strict=True):
        found = model_error(*geometry(*case), level, voxels=100, seed=1).relative
        allowed = PHASE if level == "W" else tolerance
        assert found == pytest.approx(published, rel=allowed), level


def test_error_is_that_of_path_loss_alone():
    """A deep scene at a long range: ``2 dz / R``, with dz uniform."""
    found = model_error(*geometry(10e9, 0.5, 0.2, 100, 4), "W+D", voxels=500).relative
    planes = (np.arange(17) - 8) / 4
    assert found == pytest.approx(2 / 100 * planes.std(), rel=0.06)


def test_every_pair_counts():
    """The error of all pairs is the mean of theirs, weighted by their energy."""
    scene, pairs, band = geometry(10e9, 0.5, 0.5, 5, 0)
    others = [*pairs, mills_cross((4, 4), 0.5, 50.0)]
    error = model_error(scene, others, band, "W")
    assert error.sampled == (0, 1)
    assert error.pairs[0] == pytest.approx(model_error(scene, pairs, band, "W").relative)
    assert error.pairs[1] < error.relative < error.pairs[0]


def test_many_pairs_are_sampled():
    scene, _, band = geometry(10e9, 0.5, 0.5, 5, 0)
    pairs = [mills_cross((1, 1), 0.1, 5.0 + index) for index in range(100)]
    sampled = model_error(scene, pairs, band, "W").sampled
    assert len(sampled) == 16
    assert (sampled[0], sampled[-1]) == (0, 99)


@pytest.mark.parametrize("options", [{"born_k2": True}, {"spectrum": [1, 2, 3, 2j, 1]}], ids=str)
def test_weights_do_not_count_as_error(options):
    scene, pairs, band = geometry(10e9, 0.5, 0.5, 50, 0)
    plain = model_error(scene, pairs, band, "W+D").relative
    assert model_error(scene, pairs, band, "W+D", **options).relative == pytest.approx(
        plain, rel=0.3
    )


def test_two_dimensions():
    scene = Scene((33, 33), (0.01, 0.01))
    error = model_error(scene, [_in_plane(30.0)], [1.9e9, 2e9, 2.1e9], "W+D", dimensions=2)
    assert error.relative < 10 ** (-30 / 20)


def _in_plane(range_):
    """Return a linear array that looks along the second axis, and one receiver."""
    tx = np.column_stack([np.linspace(-0.3, 0.3, 5), np.full(5, -range_), np.zeros(5)])
    return Pair(tx, [[0.0, -range_, 0.0]])


def test_too_few_voxels():
    with pytest.raises(DataError, match="63 voxels are too few"):
        model_error(*geometry(10e9, 0.5, 0.5, 5, 0), "W", voxels=63)
