"""Rows of RF images, of points whose responses are known in closed form."""

import numpy as np
import pytest
from rf_acquisitions import pulses, store

from pipeline.config.outputs import MetricsSettings
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.measures.scenes import SceneMeasurement

SCENE = Scene((121, 141), (0.1, 0.1), (5.0, -3.0))
C0 = 299_792_458.0
BAND = 150e6
RANGE_WIDTH = 0.8859 * C0 / (2 * BAND)
ASPECT = 0.08  # rad
CROSS_WIDTH = 0.8859 * C0 / (2 * 2e9 * ASPECT)


@pytest.fixture
def acquisition(tmp_path):
    """Write a radar along -x, and targets where given."""

    def write(targets=None, reference=None):
        # In the middles of cells, so that the sums have the width of the integrals.
        angles = ASPECT * ((np.arange(60) + 0.5) / 60 - 0.5)
        sight = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(60)])
        antenna = SCENE.centre - 1e5 * sight
        marker = tmp_path / "raw.json"
        frequencies = 2e9 + BAND * ((np.arange(50) + 0.5) / 50 - 0.5)
        arrays = {} if targets is None else {"targets": targets}
        paths = AntennaPaths(antenna, antenna, np.zeros(60))
        return store(
            marker, pulses(SCENE, frequencies, paths, np.ones((60, 50), complex), **arrays)
        )

    return write


def seen(positions, amplitudes):
    """Image of points through a band and an aperture that are rectangles."""
    grid = SCENE.positions().reshape(*SCENE.shape, 3)
    image = np.zeros(SCENE.shape, complex)
    for position, amplitude in zip(positions, amplitudes, strict=True):
        x, y = np.moveaxis((grid - position)[..., :2], -1, 0)
        image += (
            amplitude
            * np.sinc(0.8859 * x / RANGE_WIDTH)
            * np.sinc(0.8859 * y / CROSS_WIDTH)
            * np.exp(2j * np.pi * 2 * 2e9 / C0 * x)
        )
    return image


def test_isolated_targets(acquisition):
    targets = np.array([[2.13, -3.21, 0.0], [9.0, -2.0, 0.0], [50.0, 0, 0]])
    raw = acquisition(targets)
    measurement = SceneMeasurement(raw, MetricsSettings(extent=2.5))
    found = measurement.rows(seen(targets, (2.0, 1.0, 0.0)), None)
    assert [(row["target"], row["direction"]) for row in found.points] == [
        (0, "x"), (0, "y"), (1, "x"), (1, "y"),
    ]  # fmt: skip
    for row, width in zip(found.points, 2 * (RANGE_WIDTH, CROSS_WIDTH), strict=True):
        assert row["kind"] == "target"
        assert row["width_m"] == pytest.approx(width, rel=0.02)
        assert row["expected_width_m"] == pytest.approx(width, rel=0.01)
        assert row["displacement_m"] < 0.02
        assert row["voxel_m"] == raw.scene.spacing["xy".index(row["direction"])]
    assert [row["magnitude"] for row in found.points[::2]] == pytest.approx((2, 1), rel=0.02)
    assert found.image["targets"] == 2  # the third is outside
    assert len(found.curves) == 2
    curve = found.curves[0]["cuts"][0]
    assert len(curve["offsets_m"]) == len(curve["decibels"]) == len(curve["expected_decibels"])
    assert max(curve["decibels"]) == pytest.approx(0, abs=0.01)


def test_neighbours_leave_position_and_magnitude_only(acquisition):
    targets = np.array([[2.0, -3.0, 0.0], [4.0, -3.0, 0.0]])
    found = SceneMeasurement(acquisition(targets), MetricsSettings(extent=3.0)).rows(
        seen(targets, (1.0, 1.0)), None
    )
    assert len(found.points) == 2
    assert not any("width_m" in row for row in found.points)
    assert all(0 <= row["displacement_m"] < 0.2 for row in found.points)
    assert found.curves == []


def test_what_a_sparse_image_finds(acquisition):
    targets = SCENE.positions(np.array([300, 301, 5000, 9000]))
    raw = acquisition(targets)
    image = np.zeros(SCENE.voxels, complex)
    image[[300, 301, 5000, 7000, 9001]] = 1j
    found = SceneMeasurement(raw, MetricsSettings()).rows(image.reshape(SCENE.shape), None)
    counts = {name: found.image[name] for name in ("targets", "detected", "missed", "false_alarms")}
    assert counts == {"targets": 4, "detected": 3, "missed": 1, "false_alarms": 2}
    assert found.image["detector"] == "support"
    # The fourth was found in the next voxel.
    assert [row["displacement_m"] for row in found.points] == pytest.approx([0, 0, 0, 0.1])


def test_detections_in_noise(acquisition):
    targets = np.array([[2.0, -5.0, 0.0], [8.0, -1.0, 0.0]])
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((*SCENE.shape, 2)).view(complex)[..., 0]
    image = seen(targets, (30, 30j)) + 0.05 * noise
    settings = MetricsSettings(false_alarm_probability=1e-3)
    found = SceneMeasurement(acquisition(targets), settings).rows(image, None)
    assert found.image["detector"] == "cfar"
    assert found.image["detected"] == 2


def test_errors_are_of_the_scene_as_it_is(acquisition):
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((*SCENE.shape, 2)).view(complex)[..., 0]
    measurement = SceneMeasurement(acquisition(), MetricsSettings())
    assert measurement.rows(1.1 * reference, reference).image["nmse_db"] == pytest.approx(-20)
    # Magnitudes alone are compared with magnitudes.
    found = measurement.rows(0.9 * np.abs(reference) + 0j, reference).image
    assert found["nmse_db"] == pytest.approx(-20)
    assert -1 <= found["ssim_db"] <= 1


def test_without_targets_the_brightest_point_is_measured_if_it_stands_alone(acquisition):
    measurement = SceneMeasurement(acquisition(), MetricsSettings())
    alone = seen([[4.0, -2.0, 0.0]], [3.0])
    rows = measurement.rows(alone, None).points
    assert [row["kind"] for row in rows] == ["brightest"] * 2
    assert rows[0]["width_m"] == pytest.approx(RANGE_WIDTH, rel=0.02)
    assert (rows[0]["x_m"], rows[0]["y_m"]) == pytest.approx((4, -2))
    assert "targets" not in measurement.rows(alone, None).image
    crowd = seen([[4.0, -2.0, 0.0], [6.0, -2.0, 0.0]], [3.0, 2.9])
    (row,) = measurement.rows(crowd, None).points
    assert "width_m" not in row
    assert row["magnitude"] == pytest.approx(3, rel=0.2)
