from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.trajectories import GeneratedKind, TrajectorySettings
from pipeline.errors import ConfigError
from pipeline.mri.generators.epi import epi
from pipeline.mri.generators.radial import (
    GOLDEN_ANGLE,
    golden_angle,
    golden_radial,
    kooshball,
    linear_radial,
    phyllotaxis,
    stack_of_stars,
)
from pipeline.mri.generators.registry import GENERATORS as REGISTERED
from pipeline.mri.generators.registry import GeneratedTrajectory
from pipeline.mri.generators.winding import cones, spiral
from pipeline.mri.readouts import is_radial, is_stack_of_stars
from pipeline.mri.trajectories import resampled, wrapped

GENERATORS = {
    name: generate for name, (_, generate, _) in REGISTERED.items() if name != "stack-of-stars"
} | {
    "stack-of-stars": lambda readouts, samples, **rest: stack_of_stars(
        readouts, samples, 5, **rest
    ),
}
SAME_FRAMES = ("linear-radial", "epi", "phyllotaxis")


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


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in SAME_FRAMES])
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


def test_tiny_golden_angles_are_the_published_ones():
    # Wundrak et al., table 1.
    published = {1: 111.2461, 2: 68.7539, 3: 49.7508, 5: 32.0397, 7: 23.6281}
    for order, degrees in published.items():
        assert np.degrees(golden_angle(order)) == pytest.approx(degrees, abs=5e-5)
    turned = golden_radial(2, 8, tiny_golden=7)[1, -1]
    assert np.degrees(np.arctan2(*turned)) == pytest.approx(23.6281, abs=5e-5)


def test_linear_spokes_divide_the_half_circle_or_the_circle():
    for from_centre, whole in ((False, 180), (True, 360)):
        ends = linear_radial(9, 4, from_centre=from_centre, frame=3)[:, -1]
        angles = np.degrees(np.arctan2(ends[:, 0], ends[:, 1])) % 360
        np.testing.assert_allclose(angles, whole / 9 * np.arange(9), atol=1e-9)


def test_spokes_from_the_centre_begin_there_and_point_everywhere():
    for spokes in (
        golden_radial(300, 6, from_centre=True),
        kooshball(300, 6, from_centre=True),
        phyllotaxis(300, 6, from_centre=True),
        stack_of_stars(300, 6, 1, from_centre=True)[..., 1:],
    ):
        radii = np.linalg.norm(spokes, axis=-1)
        np.testing.assert_allclose(radii, np.broadcast_to(np.pi * np.arange(6) / 6, radii.shape))
        assert np.abs(spokes[:, 1].mean(axis=0)).max() < 0.02 * radii[0, 1]


def test_phyllotaxis_is_the_published_spiral():
    spokes = phyllotaxis(50, 3)[:, 0] / -(2 * np.pi / 3)
    n = np.arange(50)
    np.testing.assert_allclose(np.arccos(spokes[:, 0]), np.pi / 2 * np.sqrt(n / 50), atol=1e-7)
    azimuth = np.degrees(np.arctan2(spokes[1:, 1], spokes[1:, 2])) % 360
    np.testing.assert_allclose(azimuth, 137.50776405 * n[1:] % 360, atol=1e-6)
    # The next frame goes on turning.
    turned = np.degrees(np.arctan2(*(phyllotaxis(50, 3, frame=1)[1, 0, 1:] / -1))) % 360
    assert turned == pytest.approx(137.50776405 * 51 % 360)


def test_cones_wind_at_an_even_radial_speed():
    trajectory = cones(60, 40, turns=2.5)
    radius = np.linalg.norm(trajectory, axis=-1)
    np.testing.assert_allclose(radius, np.broadcast_to(np.pi * np.arange(40) / 40, radius.shape))
    heights = trajectory[:, 1:, 0] / radius[:, 1:]
    np.testing.assert_allclose(heights, np.broadcast_to(heights[:, :1], heights.shape))
    azimuth = np.unwrap(np.arctan2(trajectory[7, 1:, 1], trajectory[7, 1:, 2]))
    np.testing.assert_allclose(np.diff(azimuth), 2 * np.pi * 2.5 / 40)
    assert heights.min() < -0.9
    assert heights.max() > 0.9


def test_epi_runs_to_and_fro_over_a_grid():
    shots = epi(2, 12, lines=3).reshape(2, 3, 4, 2) * np.array([6, 4]) / (2 * np.pi)
    np.testing.assert_allclose(shots[:, :, :, 0], [[[-3] * 4, [-1] * 4, [1] * 4],
                                                   [[-2] * 4, [0] * 4, [2] * 4]])  # fmt: skip
    to = np.array([-2, -1, 0, 1])
    np.testing.assert_allclose(shots[:, :, :, 1], [[to, to[::-1], to]] * 2, atol=1e-12)


def test_settings_and_generators_agree():
    assert set(get_args(GeneratedKind)) == set(REGISTERED)
    for name, (axes, _, _) in REGISTERED.items():
        made = GeneratedTrajectory(
            TrajectorySettings(kind=name, repeat=True), (4, 6, 8)[-axes:], 12, 10, "scan"
        )
        assert made(0).shape == (12, 10, axes)
        np.testing.assert_array_equal(made(3, slice(2, 5)), made(0)[2:5])
    for settings, readouts, message in (
        ({"kind": "stack-of-stars", "partitions": 5}, 12, r"12 readouts .* in 5 partitions"),
        ({"kind": "kooshball"}, 12, r"kooshball is 3D, but `shape` \(6, 8\) has 2 axes"),
        ({"kind": "epi", "lines": 3}, 4, r"10 samples .* in 3 lines"),
    ):
        shape = (4, 6, 8) if settings["kind"] == "stack-of-stars" else (6, 8)
        with pytest.raises(ConfigError, match=message):
            GeneratedTrajectory(TrajectorySettings(**settings), shape, readouts, 10, "scan")
    with pytest.raises(
        ValueError, match=r"`turns` is not for the kind kooshball, whose keys are repeat"
    ):
        TrajectorySettings(kind="kooshball", turns=3)


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
