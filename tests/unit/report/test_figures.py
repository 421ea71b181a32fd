"""Pictures and figures against arrays whose planes are known."""

import base64
import io

import numpy as np
import pytest
import zarr
from matplotlib import colormaps
from matplotlib.image import imread

from pipeline.report.charts import convergence_curves, memory_scatter
from pipeline.report.figures import Series, phases, strip, views
from pipeline.report.pictures import (
    PLANES,
    central_plane,
    coloured_png,
    grey_png,
    plane_size,
    scale_bar_length,
    white_level,
)

SHAPE = (4, 6, 5)


def decoded(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    pixels = imread(io.BytesIO(base64.b64decode(data)))
    assert pixels.ndim == 2  # grey, one byte each
    return pixels


def svg(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


@pytest.fixture
def volume():
    """Voxel (z, y, x) holds z + 10 y + 100 x, times a phase."""
    z, y, x = np.indices(SHAPE)
    return ((z + 10 * y + 100 * x) * np.exp(1j * (z + y)))[np.newaxis]


def test_axial_plane(volume):
    expected = 2 + 10 * np.arange(6)[:, None] + 100 * np.arange(5)
    np.testing.assert_allclose(central_plane(volume, 0, "axial"), expected, rtol=1e-6)


def test_coronal_plane_has_z_upwards(volume):
    expected = np.arange(3, -1, -1)[:, None] + 10 * 3 + 100 * np.arange(5)
    np.testing.assert_allclose(central_plane(volume, 0, "coronal"), expected, rtol=1e-6)


def test_sagittal_plane_has_z_upwards(volume):
    expected = np.arange(3, -1, -1)[:, None] + 10 * np.arange(6) + 100 * 2
    np.testing.assert_allclose(central_plane(volume, 0, "sagittal"), expected, rtol=1e-6)


def test_plane_sizes():
    voxel_size = (0.003, 0.002, 0.001)
    sizes = {plane: plane_size(plane, SHAPE, voxel_size) for plane in PLANES}
    assert sizes["axial"] == pytest.approx((0.005, 0.012))
    assert sizes["coronal"] == pytest.approx((0.005, 0.012))
    assert sizes["sagittal"] == pytest.approx((0.012, 0.012))


def test_grey_is_linear_and_clipped():
    pixels = decoded(grey_png(np.array([[0.0, 1.0, 2.0, 3.0]]), white=2.0))
    np.testing.assert_allclose(pixels, [[0, 0.5, 1, 1]], atol=1 / 255)


def test_large_planes_are_thinned():
    assert decoded(grey_png(np.zeros((10, 3000)), 1.0)).shape == (4, 1000)


def test_white_level():
    assert white_level([np.arange(500.0), np.arange(500.0, 1001.0)]) == pytest.approx(995)
    assert white_level([np.zeros(5)]) == 1  # a picture of nothing is black, not an error


@pytest.mark.parametrize(
    ("width", "bar"), [(0.3, 0.1), (0.24, 0.05), (0.192, 0.05), (0.06, 0.02), (9e-4, 2e-4), (6, 2)]
)
def test_scale_bar(width, bar):
    assert scale_bar_length(width) == pytest.approx(bar)


def no_reference(frame):
    raise AssertionError("asked for a reference that there is not")


def test_a_whole_table_of_colours_is_used():
    _, data = coloured_png(np.array([[-2.0, 2.0]]), -2, 2, "twilight").split(",", 1)
    pixels = imread(io.BytesIO(base64.b64decode(data)))[0, :, :3]
    ends = colormaps["twilight"]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(pixels, ends, atol=1 / 255)


def test_phase_is_that_of_the_voxels(volume):
    series = Series(volume, (0.001,) * 3, no_reference, {})
    ((_, pictures),) = phases(series).rows
    assert [picture.label for picture in pictures] == ["axial", "coronal", "sagittal"]
    plane = central_plane(volume, 0, "axial", np.angle)
    expected = np.angle(np.exp(1j * (2 + np.arange(6))))
    np.testing.assert_allclose(plane[:, 4], expected, atol=1e-6)


def test_views_of_a_volume(volume):
    figure = views(Series(volume, (0.003, 0.002, 0.001), no_reference, {}))
    ((title, pictures),) = figure.rows
    assert title == "reconstruction"
    assert [picture.label for picture in pictures] == ["axial", "coronal", "sagittal"]
    assert decoded(pictures[2].source).shape == (4, 6)
    assert (pictures[2].across, pictures[2].down, pictures[2].up) == ("y", "z", True)
    assert "z = 2, y = 3, x = 2" in figure.caption


def test_difference_is_of_the_scaled_magnitudes_and_five_times_as_bright():
    reference = np.full((1, 2, 2), 2.0)
    images = np.array([[[1.0, 1.0], [1.0, 0.9j]]])[np.newaxis]
    figure = views(Series(images, (0.001,) * 3, lambda frame: reference, {0: 2.0}))
    ((_, pictures),) = figure.rows
    assert [picture.label for picture in pictures] == [
        "reconstruction",
        "reference",
        "difference × 5",
    ]
    shown = [decoded(picture.source) for picture in pictures]
    np.testing.assert_allclose(shown[0], [[1, 1], [1, 0.9]], atol=1 / 255)
    np.testing.assert_allclose(shown[1], np.ones((2, 2)), atol=1 / 255)
    np.testing.assert_allclose(shown[2], [[0, 0], [0, 0.5]], atol=1 / 255)


@pytest.mark.parametrize(("slices", "each"), [(1, "frame"), (10, "frame"), (30, "slice")])
def test_strip_takes_first_and_last_image(slices, each):
    images = np.random.default_rng(0).random((30, 1, 4, 3))
    ((_, pictures),) = strip(Series(images, (0.001,) * 3, no_reference, {}, slices)).rows
    labels = [picture.label for picture in pictures]
    assert len(labels) == 8
    assert (labels[0], labels[-1]) == (f"{each} 0", f"{each} 29")


def test_curves_follow_the_theme_and_repeat():
    curves = [[0.5, 0.1, 0.02], [0.6, 0.2]]
    text = svg(convergence_curves(curves))
    assert "currentColor" in text
    assert "prefers-color-scheme" in text
    assert text == svg(convergence_curves(curves))


@pytest.mark.parametrize("limit", [None, 2000.0])
def test_memory_scatter(limit):
    text = svg(memory_scatter({"a": [(900, 700)], "b": [(500, 510)]}, limit))
    assert ("limit" in text) == (limit is not None)


def test_coefficients_are_called_so_and_the_first_is_shown():
    images = zarr.create_array(
        {}, data=np.random.default_rng(0).random((5, 1, 4, 3)),
        dimension_names=("coefficient", "z", "y", "x"),
    )  # fmt: skip
    series = Series(images, (0.001,) * 3, no_reference, {})
    assert views(series).caption.startswith("Coefficient 0 (of 0 to 4). ")
    assert strip(series).caption.startswith("All coefficients")
    assert strip(series).rows[0][1][4].label == "coefficient 4"
