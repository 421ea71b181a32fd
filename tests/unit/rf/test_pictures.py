"""Pictures of RF images: where axes begin and end, what is marked, and which planes are cut."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from pipeline.rf.geometry.scene import Scene
from pipeline.rf.pictures import SceneSeries, point_cut, scene_figures, scene_thumbnail

VOLUME = Scene((5, 6, 7), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def svg(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


def raster(uri):
    """The picture inside a panel, as it is drawn from the top left."""
    (data, *_) = re.findall(r'xlink:href="data:image/png;base64,\s*([^"]+)"', svg(uri))
    return imread(io.BytesIO(base64.b64decode(data)))


def colour_of(decibels):
    return colormaps["inferno"](1 + decibels / 50)


def nothing(frame):
    return None


def with_points(scene, points, frames=1):
    image = np.zeros((frames, *scene.shape), complex)
    for voxel, value in points.items():
        image[(slice(None), *voxel)] = value
    return scene.to_volumes(image)


def test_a_plane_with_x_to_the_right_and_y_upwards():
    scene = Scene((4, 3), (0.5, 0.5), (10.0, 20.0))
    images = with_points(scene, {(3, 0): 2j, (0, 2): 0.2})
    (figure,) = scene_figures(SceneSeries(images, scene, nothing))
    (panel,) = figure.panels
    found = raster(panel.source)
    # Whatever the resolution, corners are corners: the SVG may hold the picture upside down.
    upright = found if "scale(1 -1)" not in svg(panel.source) else found[::-1]
    np.testing.assert_allclose(upright[-1, -1, :3], colour_of(0)[:3], atol=0.02)
    np.testing.assert_allclose(upright[0, 0, :3], colour_of(-20)[:3], atol=0.02)
    np.testing.assert_allclose(upright[-1, 0, :3], colour_of(-50)[:3], atol=0.02)
    text = svg(panel.source)
    assert "x [m]" in text
    assert "dB" in text
    assert "brightest voxel" in figure.caption


def test_reference_stands_beside_and_targets_are_counted():
    scene = Scene((4, 3), (0.5, 0.5), (10.0, 20.0))
    images = with_points(scene, {(2, 1): 1.0})
    targets = scene.positions(np.array([7, 2, 5]))
    targets[2, 0] += 100
    (figure,) = scene_figures(SceneSeries(images, scene, lambda frame: images[frame], targets))
    assert [panel.label for panel in figure.panels] == ["reconstruction", "reference"]
    assert "circles mark 2 known targets" in figure.caption


@pytest.mark.parametrize("known", [False, True])
def test_planes_of_a_volume_go_through_a_point(known):
    images = with_points(VOLUME, {(1, 4, 2): 3.0, (4, 0, 6): 2.0})
    targets = VOLUME.positions(np.array([np.ravel_multi_index((4, 0, 6), VOLUME.shape)]))
    series = SceneSeries(images, VOLUME, nothing, targets if known else None)
    (figure,) = scene_figures(series)
    assert [panel.label for panel in figure.panels[3:]] == [
        f"maximum along {axis}" for axis in "zyx"
    ]
    thumbnail = scene_thumbnail(series)  # along z
    assert (thumbnail.width, thumbnail.height) == pytest.approx((0.5, 1.2))
    if known:  # (n - N // 2) spacing + origin
        assert "x = 1.2 m, y = 1.4 m, z = 3.9 m" in figure.caption
        assert "known target" in figure.caption
    else:
        assert "x = 0.9 m, y = 2.2 m, z = 2.7 m" in figure.caption


def test_frames_are_drawn_to_one_scale():
    scene = Scene((8, 9), (1.0, 1.0))
    images = with_points(scene, {(2, 2): 1.0}, frames=9)
    images[4] *= 10
    single, frames = scene_figures(SceneSeries(images, scene, nothing))
    assert "Frame 4 (of 0 to 8)" in single.caption
    assert len(frames.panels) == 6
    assert "6 of 9 frames" in frames.caption


def test_large_images_keep_single_bright_voxels():
    scene = Scene((1000, 900), (0.1, 0.1))
    images = with_points(scene, {(501, 333): 1.0})
    series = SceneSeries(images, scene, nothing)
    (figure,) = scene_figures(series)
    assert "more than pixels" in figure.caption
    found = raster(figure.panels[0].source)[..., :3].reshape(-1, 3)
    brightest = colour_of(0)[:3]
    assert (np.abs(found - brightest).max(axis=1) < 0.02).sum() == 1
    thumbnail = scene_thumbnail(series)
    assert (thumbnail.width, thumbnail.height) == pytest.approx((100, 90))


def test_nothing_is_dark():
    scene = Scene((8, 9), (1.0, 1.0))
    (figure,) = scene_figures(SceneSeries(with_points(scene, {}), scene, nothing))
    assert len(figure.panels) == 1


def test_a_cut_names_its_width_and_what_was_expected():
    offsets = np.linspace(-2, 2, 201)
    levels = 20 * np.log10(np.maximum(np.abs(np.sinc(offsets)), 1e-3))
    cut = {
        "direction": "range",
        "offsets_m": offsets.tolist(),
        "decibels": levels.tolist(),
        "expected_decibels": levels.tolist(),
        "width_m": 0.88589,
        "expected_width_m": 0.875,
    }
    text = svg(point_cut(cut, "target 0"))
    for expected in (
        "0.8859 m at −3 dB",
        "range from the point [m]",
        "target 0",
        "expected, 0.875 m",
    ):
        assert expected in text
    coarse = svg(point_cut({**cut, "voxel_m": 1.0}, "target 0"))
    assert "expected, 0.875 m, less than a voxel" in coarse
    alone = svg(point_cut({**cut, "expected_decibels": None, "width_m": None}, "target 0"))
    assert "at −3 dB" not in alone
    assert "expected" not in alone
