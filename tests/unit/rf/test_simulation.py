"""Simulated scenes: reproducible, noisy as said, and with the published figures."""

import numpy as np
import pytest
import rf_scenes

from pipeline.rf.calibration.model_error import model_errors
from pipeline.rf.formats.simulation import PointScene, rf6, spotlight
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.scene import Scene


def test_rf6_is_a_scene_for_plane_waves():
    points = rf6()
    error = model_errors(points.scene, points.pairs, points.frequencies)["W"]
    assert error.relative < 1e-3
    assert [pair.measurement_shape for pair in points.pairs] == [(8, 8)] * 6
    np.testing.assert_allclose(points.scene.spacing, 0.6, rtol=1e-3)


def test_noise():
    scene = rf_scenes.rf6(3)
    clean = rf_scenes.rf6(3, snr_db=None)
    noise = scene.data - clean.data
    assert scene.data.shape == (6, 16, 8, 8)
    ratio = np.mean(np.abs(clean.data) ** 2) / np.mean(np.abs(noise) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(20, abs=0.2)
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(scene.noise_deviation**2, rel=0.05)
    assert abs(np.mean(noise**2)) < 0.05 * scene.noise_deviation**2  # circular
    np.testing.assert_array_equal(scene.data, rf_scenes.rf6(3).data)
    assert not np.allclose(scene.data[0] - clean.data[0], scene.data[1] - clean.data[1])
    points = rf6(3)
    assert not np.array_equal(points.measurement(0, frame=1), points.measurement(0))


def test_rf6_truth_and_matched_filter():
    """The matched filter over the measurements has the published error."""
    errors = []
    for seed in range(3):
        scene = rf_scenes.rf6(seed)
        assert np.count_nonzero(scene.truth) == 40
        image = np.zeros(scene.scene.voxels, complex)
        k = wavenumbers(scene.frequencies)
        u = [scene.scene.offsets(axis) for axis in (0, 1)]
        image = np.zeros(scene.scene.shape, complex)
        for pair, data in zip(scene.pairs, scene.data, strict=True):
            # Antennas on a sphere about the centre: all paths to it are equally long.
            cosines = [-pair.tx / 1e8, -pair.rx / 1e8]
            for f, value in enumerate(k):
                first, second = (
                    np.exp(1j * value * np.outer(u[axis], cosines[axis][:, axis]))
                    * np.exp(1j * value * u[axis] * cosines[1 - axis][0, axis])[:, None]
                    for axis in (0, 1)
                )
                image += np.exp(2j * value * 1e8) * (first @ data[f] @ second.T)
        image /= scene.data.size
        error = np.sum(np.abs(image - scene.truth) ** 2) / 40
        errors.append(10 * np.log10(error))
    assert 2.45 < min(errors) <= max(errors) < 2.95


def test_truth_is_where_the_scatterers_are():
    scene = Scene((5, 6), (0.5, 0.25), (1.0, 2.0))
    points = PointScene(
        scene=scene,
        pairs=(),
        frequencies=np.array([1e9]),
        positions=np.array([[1.5, 1.75, 0.0], [1.51, 1.74, 0.0], [9.0, 0, 0]]),
        amplitudes=np.array([2.0, 1j, 5.0]),
    )
    truth = points.truth()
    assert truth[3, 2] == 2 + 1j
    assert np.count_nonzero(truth) == 1
    np.testing.assert_allclose(scene.positions(np.array([3 * 6 + 2]))[0], [1.5, 1.75, 0])


def back_projected(data, pair, frequencies, positions):
    """Return the exact sum over pulses and frequencies at positions, ``(position,)``."""
    k = wavenumbers(frequencies)
    paths = 2 * np.linalg.norm(positions[:, None] - pair.tx, axis=-1)
    step = np.exp(1j * (k[1] - k[0]) * paths)
    total = np.zeros_like(step)
    for sample in data[::-1, :, 0]:  # Horner's rule: the frequencies are uniform
        total = total * step + sample
    return np.sum(total * np.exp(1j * k[0] * paths), axis=1) / data.size


def width(x, magnitude):
    """Return the width of the main lobe at -3 dB, interpolating between samples."""
    peak = int(np.argmax(magnitude))
    level = magnitude[peak] / np.sqrt(2)
    edges = []
    for direction in (1, -1):
        at = peak
        while magnitude[at] >= level:
            at += direction
        inside = magnitude[at - direction]
        fraction = (inside - level) / (inside - magnitude[at])
        edges.append(x[at - direction] + fraction * (x[at] - x[at - direction]))
    return edges[0] - edges[1]


def side_lobes(magnitude):
    """Return the peak and the integrated ratio of side lobes to main lobe [dB]."""
    peak = int(np.argmax(magnitude))
    rising = np.diff(magnitude) > 0
    right = peak + int(np.argmax(rising[peak:]))
    left = peak - int(np.argmax(~rising[:peak][::-1]))
    power = magnitude**2
    outside = np.concatenate([power[:left], power[right:]])
    integrated = outside.sum() / power[left:right].sum()
    return 10 * np.log10(outside.max() / power[peak]), 10 * np.log10(integrated)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(50, (0.2551, -13.26, -10.15)), (140, (0.2906, -13.28, -10.32))],
    ids=["ground range", "cross range"],
)
def test_spotlight_has_the_published_resolution(degrees, expected):
    """Exact back-projection of one target, within 3 m of it."""
    points = spotlight()
    (pair,) = points.pairs
    alone = PointScene(
        points.scene, points.pairs, points.frequencies, points.positions[:1], np.ones(1)
    )
    x = np.arange(-300, 301) * 0.01
    angle = np.deg2rad(degrees)
    line = np.outer(x, [np.cos(angle), np.sin(angle), 0])
    cut = np.abs(back_projected(alone.signal(0), pair, points.frequencies, line))
    assert width(x, cut) == pytest.approx(expected[0], rel=0.003)
    assert side_lobes(cut) == pytest.approx(expected[1:], abs=0.03)


def test_spotlight_has_the_published_amplitudes():
    points = spotlight()
    (pair,) = points.pairs
    found = back_projected(points.signal(0), pair, points.frequencies, points.positions)
    np.testing.assert_allclose(np.abs(found), 0.998, atol=2e-3)
    assert points.truth().sum() == 3
