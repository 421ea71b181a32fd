import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import j1

from pipeline.mri.calibration.density import computed_method
from pipeline.mri.calibration.radial_density import (
    RadialDensity,
    radial_weights,
    stack_of_stars_weights,
)
from pipeline.mri.generators.radial import golden_radial, kooshball, stack_of_stars
from pipeline.mri.generators.winding import spiral
from pipeline.mri.readouts import sampling_pattern


def spokes(directions, positions) -> np.ndarray:
    """Return a trajectory with samples at ``positions`` along each of ``directions``."""
    return np.asarray(positions)[:, None] * np.asarray(directions)[:, None, :]


def plane_directions(angles) -> np.ndarray:
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1)


def ball_directions(count: int, seed: int = 0) -> np.ndarray:
    directions = np.random.default_rng(seed).normal(size=(count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_even_spokes_in_the_plane():
    step, count = 0.1, 7
    positions = step * np.arange(-15, 16)
    angles = np.arange(count) * np.pi / count
    weights = radial_weights(spokes(plane_directions(angles), positions))
    # A ring of thickness `step` at radius r has the area 2 pi r step, shared by 2 * 7 samples.
    expected = 2 * np.pi * np.abs(positions) * step / (2 * count)
    expected[15] = np.pi * step**2 / 6 / count
    np.testing.assert_allclose(weights, np.tile(expected, (count, 1)) / (2 * np.pi) ** 2)


def test_even_spokes_in_space():
    step, count = 0.1, 11
    positions = step * np.arange(-15, 16)
    weights = radial_weights(spokes(ball_directions(count), positions))
    expected = 4 * np.pi * positions**2 * step / (2 * count)
    np.testing.assert_allclose(weights, np.tile(expected, (count, 1)) / (2 * np.pi) ** 3)


RADIUS = 6.0
"""Of the largest objects [voxel]."""


TIME = np.arange(0, 3.5, 0.1)
"""Of samples that are taken while the gradient rises until 1, and after."""


def uniform(start: float, stop: float, step: float) -> np.ndarray:
    return np.arange(start, stop, step)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "positions",
    [
        uniform(-3.0, 3.01, 0.25),
        uniform(-3.1, 3.05, 0.25),
        uniform(-3.125, 3.2, 0.25),
        uniform(-1.0, 3.01, 0.25),
        uniform(0, 3.01, 0.25),
        uniform(0.05, 3.01, 0.25),
        uniform(0.125, 3.01, 0.25),
        uniform(0.2, 3.01, 0.25),
        np.concatenate([[0, 0, 0, 0], uniform(0, 3.01, 0.25)]),
        np.sinh(uniform(-3, 3.01, 0.125)) / 3,
        np.where(TIME < 1, TIME**2 / 2, TIME - 0.5),
    ],
    ids=[
        "centred", "off centre", "centre between", "asymmetric", "centre-out", "centre-out +0.2",
        "centre-out +0.5", "centre-out +0.8", "repeated centre", "denser inside", "ramp",
    ],
)  # fmt: skip
def test_integrates_smooth_signals(positions, dimensions):
    """The integral of a Gaussian over k-space, which is its object at the origin."""
    directions = (
        plane_directions(2 * np.pi * np.arange(13) / 13) if dimensions == 2 else ball_directions(13)
    )
    trajectory = spokes(directions, positions)
    weights = radial_weights(trajectory)
    assert (weights >= 0).all()
    width = RADIUS / 3  # [voxel]
    squared = np.sum(trajectory**2, axis=-1)
    transform = (2 * np.pi * width**2) ** (dimensions / 2) * np.exp(-(width**2) * squared / 2)
    assert np.sum(weights * transform) == pytest.approx(1, abs=0.004)


def test_asymmetric_readouts_stand_for_both_ends():
    positions = 0.1 * np.arange(-3, 16)
    weights = radial_weights(spokes(ball_directions(8), positions))
    shell = 4 * np.pi * positions[13] ** 2 * 0.1 / (2 * np.pi) ** 3
    np.testing.assert_allclose(weights[:, 13], shell / 8)
    np.testing.assert_allclose(weights[:, 5], shell / 8 / 2 * (0.2 / 1.0) ** 2)


def test_one_long_spoke_does_not_dominate():
    trajectory = spokes(ball_directions(50), np.arange(-10, 11) / 10)
    trajectory[0] *= 1.3
    even = radial_weights(trajectory[1:])
    assert radial_weights(trajectory).max() < 5 * even.max()


def test_readout_at_the_centre_adds_nothing():
    trajectory = spokes(ball_directions(6), np.arange(4) / 4)
    navigator = np.zeros((1, 4, 3))
    weights = radial_weights(np.concatenate([navigator, trajectory]))
    np.testing.assert_allclose(weights[0], 0)
    np.testing.assert_allclose(weights[1:], radial_weights(trajectory))


def test_uneven_angles():
    angles = np.array([0, 0.2, 0.2, 1.0, 2.0, 3.5, 5.0])  # one direction twice
    positions = np.array([0.0, 0.1, 0.2])
    weights = radial_weights(spokes(plane_directions(angles), positions))
    wrapped = np.array([5.0 - 2 * np.pi, 0, 0.2, 1.0, 2.0, 3.5, 5.0, 2 * np.pi])
    share = (wrapped[2:] - wrapped[:-2]) / 2
    share = share[[0, 1, 1, 2, 3, 4, 5]] / np.array([1, 2, 2, 1, 1, 1, 1])
    areas = np.array([0.1 / 12, 0.1, 0.2]) * 0.1
    np.testing.assert_allclose(weights, share[:, None] * areas / (2 * np.pi) ** 2)


def test_limited_angles_do_not_stand_for_the_gap():
    angles = np.deg2rad(np.arange(30.0))
    weights = radial_weights(spokes(plane_directions(angles), np.arange(5) / 5))
    np.testing.assert_allclose(weights, np.tile(weights[:1], (30, 1)))
    full = radial_weights(spokes(plane_directions(np.deg2rad(np.arange(360.0))), np.arange(5) / 5))
    np.testing.assert_allclose(weights, full[:30])


def test_single_precision_and_reversed_readouts_change_nothing():
    trajectory = golden_radial(21, 64)
    expected = radial_weights(trajectory)
    reversed_ = trajectory.copy()
    reversed_[::2] = reversed_[::2, ::-1]
    found = radial_weights(reversed_)
    found[::2] = found[::2, ::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    single = radial_weights(trajectory.astype("float32"))
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-5 * expected.max())


@given(
    readouts=st.integers(1, 40),
    samples=st.integers(2, 33),
    dimensions=st.sampled_from([2, 3]),
    seed=st.integers(0, 1000),
)
def test_any_samples_have_finite_positive_weights(readouts, samples, dimensions, seed):
    random = np.random.default_rng(seed)
    positions = random.uniform(-3, 3, (readouts, samples))
    positions[random.uniform(size=positions.shape) < 0.1] = 0
    directions = random.normal(size=(readouts, dimensions))
    trajectory = positions[..., None] * directions[:, None, :]
    if not trajectory.any():
        return
    weights = radial_weights(trajectory)
    assert weights.shape == (readouts, samples)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    # The order of samples and of readouts does not matter.
    order = random.permutation(readouts)
    turned = radial_weights(trajectory[order][:, ::-1])[:, ::-1]
    np.testing.assert_allclose(turned, weights[order], rtol=1e-6, atol=1e-9 * weights.max())


def test_stack_of_stars():
    readouts, samples, partitions = 5, 12, 7
    trajectory = stack_of_stars(readouts, samples, partitions)
    weights = stack_of_stars_weights(trajectory)
    in_plane = radial_weights(golden_radial(readouts, samples))
    expected = np.repeat(in_plane, partitions, axis=0) / partitions
    np.testing.assert_allclose(weights, expected)


def test_stack_with_uneven_planes():
    plane = golden_radial(4, 10)
    heights = [0.5, -1.0, 0.0]
    trajectory = np.concatenate(
        [np.concatenate([np.full((4, 10, 1), height), plane], axis=-1) for height in heights]
    )
    weights = stack_of_stars_weights(trajectory)
    share = np.repeat([0.5, 1.0, 0.75], 4)[:, None] / (2 * np.pi)
    np.testing.assert_allclose(weights, np.tile(radial_weights(plane), (3, 1)) * share)


@given(st.integers(2, 40), st.integers(2, 9), st.data())
def test_a_part_of_the_weights_is_a_part_of_the_whole(readouts, samples, data):
    """With readouts that stay at the centre among them."""
    trajectory = kooshball(readouts, samples)
    dead = data.draw(st.sets(st.integers(0, readouts - 1), max_size=readouts - 1))
    trajectory[list(dead)] = 0
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, readouts)] * 2)))
    expected = np.zeros((readouts, samples))
    alive = np.setdiff1d(np.arange(readouts), list(dead))
    expected[alive] = radial_weights(trajectory[alive])
    found = RadialDensity(trajectory).weights(slice(first, last))
    np.testing.assert_array_equal(found, expected[first:last])


def test_automatic_method():
    for trajectory, method in (
        (kooshball(5, 8), "radial"),
        (stack_of_stars(5, 8, 3), "stack-of-stars"),
        (spiral(5, 100), "pipe-menon"),
    ):
        assert computed_method(sampling_pattern(trajectory)) == method


def blurred_ball_transform(radius: np.ndarray, size: float, dimensions: int) -> np.ndarray:
    """Return the transform at ``|k| = radius`` of a disk or ball of radius ``size``.

    It is blurred by a Gaussian of one voxel, so that no ringing hides its intensity.
    """
    x = np.maximum(radius * size, 1e-2)  # limit of the quotients
    ball = (
        2 * np.pi * size**2 * j1(x) / x
        if dimensions == 2
        else 4 * np.pi * size**3 * (np.sin(x) - x * np.cos(x)) / x**3
    )
    return ball * np.exp(-(radius**2) / 2)


@pytest.mark.parametrize(
    "trajectory",
    [golden_radial(89, 64), kooshball(2500, 32), stack_of_stars(55, 32, 16)],
    ids=["golden radial", "kooshball", "stack of stars"],
)
def test_gridded_object_has_its_intensity(trajectory):
    dimensions = trajectory.shape[-1]
    weights = (
        stack_of_stars_weights(trajectory)
        if sampling_pattern(trajectory) == "stack-of-stars"
        else radial_weights(trajectory)
    ).ravel()
    points = trajectory.reshape(-1, dimensions)
    kspace = blurred_ball_transform(np.linalg.norm(points, axis=-1), 5.0, dimensions)
    positions = np.zeros((5, dimensions))
    positions[:, -1] = [0, 1, 2, 9, 10]  # [voxel]; the last two lie outside
    image = np.exp(1j * positions @ points.T) @ (weights * kspace)
    np.testing.assert_allclose(image, [1, 1, 1, 0, 0], atol=0.01)
