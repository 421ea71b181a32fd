import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mri.readouts import is_radial, is_stack_of_stars
from pipeline.mri.trajectories import (
    GOLDEN_ANGLE,
    golden_radial,
    kooshball,
    resampled,
    spiral,
    stack_of_stars,
    wrapped,
)

GENERATORS = {
    "golden-radial": golden_radial,
    "spiral": spiral,
    "kooshball": kooshball,
    "stack-of-stars": lambda readouts, samples, **rest: stack_of_stars(
        readouts, samples, 5, **rest
    ),
}


@pytest.mark.parametrize("name", GENERATORS)
@given(readouts=st.integers(1, 20), samples=st.integers(2, 33), frame=st.integers(0, 9))
def test_range_and_selection(name, readouts, samples, frame):
    whole = GENERATORS[name](readouts, samples, frame=frame)
    assert whole.dtype == np.float64
    assert whole.shape[1] == samples
    assert whole.min() >= -np.pi
    assert whole.max() < np.pi
    part = GENERATORS[name](readouts, samples, frame=frame, selection=slice(1, 4))
    np.testing.assert_array_equal(part, whole[1:4])


@pytest.mark.parametrize("name", GENERATORS)
def test_frames_continue_each_other(name):
    make = GENERATORS[name]
    turns = {"turns": 3.0} if name == "spiral" else {}
    joined = make(12, 16, **turns)
    frames = [make(6, 16, frame=frame, **turns) for frame in range(2)]
    np.testing.assert_allclose(np.concatenate(frames), joined, atol=1e-12)
    assert np.abs(frames[0] - frames[1]).max() > 0.1


def test_golden_angle_is_the_published_one():
    assert np.degrees(GOLDEN_ANGLE) == pytest.approx(111.246117975, abs=1e-9)
    spokes = golden_radial(2, 8)
    np.testing.assert_allclose(spokes[0, :, 1], 2 * np.pi * np.arange(-4, 4) / 8)
    np.testing.assert_allclose(spokes[:, 4], 0.0, atol=1e-15)
    y, x = spokes[1, -1]
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(111.246117975)


def test_kooshball_uses_the_published_golden_means():
    directions = kooshball(2, 9)[1, -1]
    directions /= np.linalg.norm(directions)
    assert directions[0] == pytest.approx(0.4656, abs=1e-4)
    azimuth = np.arctan2(directions[1], directions[2]) / (2 * np.pi) % 1
    assert azimuth == pytest.approx(0.6823, abs=1e-4)


def test_kooshball_is_well_spread():
    spokes = kooshball(400, 3)[:, -1]
    spokes /= np.linalg.norm(spokes, axis=-1, keepdims=True)
    cosines = np.abs(spokes @ spokes.T) - 2 * np.eye(400)
    nearest = np.arccos(np.clip(cosines.max(axis=1), -1, 1))
    ideal = np.sqrt(2 * np.pi / 400)  # side of the solid angle each spoke has for itself
    assert nearest.min() > ideal / 3  # random directions: about ideal / 40
    # 2 <n n^T> is isotropic for directions that prefer no axis.
    np.testing.assert_allclose(spokes.T @ spokes / 400, np.eye(3) / 3, atol=0.02)


def test_spiral_samples_are_equally_spaced_and_reach_out():
    steps = np.linalg.norm(np.diff(spiral(7, 400)[3], axis=0), axis=-1)
    np.testing.assert_allclose(steps[5:], steps[5:].mean(), rtol=0.01)
    radius = np.linalg.norm(spiral(7, 400), axis=-1)
    assert radius[:, 0].max() == 0.0
    assert 0.98 * np.pi < radius.max() < np.pi


def test_spiral_exponent_concentrates_the_centre():
    def inner(exponent):
        radius = np.linalg.norm(spiral(1, 500, turns=10, exponent=exponent), axis=-1)
        return np.count_nonzero(radius < 1)

    assert inner(2.0) > 1.5 * inner(1.0)


def test_partitions_are_uniform_and_share_spokes():
    trajectory = stack_of_stars(4, 8, 6).reshape(4, 6, 8, 3)
    np.testing.assert_allclose(trajectory[0, :, 0, 0], 2 * np.pi * np.arange(-3, 3) / 6)
    np.testing.assert_array_equal(trajectory[:, 0, :, 1:], trajectory[:, 5, :, 1:])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("name", "radial", "stack"),
    [
        ("golden-radial", True, False),
        ("spiral", False, False),
        ("kooshball", True, False),
        ("stack-of-stars", False, True),
    ],
)
def test_kinds_are_recognised(name, radial, stack, dtype):
    trajectory = wrapped(GENERATORS[name](11, 32)).astype(dtype)
    assert is_radial(trajectory) is radial
    assert is_stack_of_stars(trajectory) is stack


def test_centre_out_spokes_with_repeated_centre_are_radial():
    spokes = np.maximum(np.arange(9) - 3, 0)[:, None] * np.array([[0.1, 0.2, -0.3]])
    assert is_radial(spokes[None])


@pytest.mark.parametrize("angle", [-1.3e-4, 0.0, 1.3e-4])
def test_a_spoke_whose_end_is_stored_on_the_other_side_is_radial(angle):
    # Along -y: the first of its samples is at +pi, which is stored as -pi.
    radii = np.pi * (np.arange(32) - 16) / 16
    spoke = radii[:, None] * np.array([-np.cos(angle), np.sin(angle)])
    stored = wrapped(np.stack([spoke, spoke[:, ::-1]]))
    assert stored[0, 0, 0] < 0 < spoke[0, 0]
    assert is_radial(stored)
    stored[0, 5, 1] += 0.01
    assert not is_radial(stored)


def test_cartesian_and_single_samples_are_not_radial():
    y, x = np.meshgrid(np.linspace(-3, 3, 7), np.linspace(-3, 3, 8), indexing="ij")
    assert not is_radial(np.stack([y, x], axis=-1))
    assert not is_radial(np.array([[[0.1, 0.2]], [[0.4, -0.3]]]))


def test_upper_edge_is_wrapped():
    below = np.nextafter(np.pi, 0)  # rounds up to a single that is above pi
    values = wrapped(np.array([np.pi, below, -np.pi, 3.0]))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [-np.pi, -np.pi, -np.pi, 3.0], atol=1e-6)


def test_resampled_keeps_the_field_of_view():
    rng = np.random.default_rng(0)
    fine = rng.uniform(-1, 1, (3, 5, 2))
    coarse = resampled(fine, (12, 20), (6, 15))
    np.testing.assert_allclose(coarse, fine * [2, 4 / 3])
    with pytest.raises(ValueError, match=r"2 components.*\(12, 20, 3\)"):
        resampled(fine, (12, 20, 3), (6, 15, 3))
