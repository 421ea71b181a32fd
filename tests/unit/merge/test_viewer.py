"""The copy that the viewer shows, against the images that it is made of."""

import base64
import gzip
import json

import nibabel
import numpy as np
import pytest
from merged_images import merged_of, object_images, oriented_affine

from pipeline.geometry.orientation import ras_affine
from pipeline.merge.viewer import copied_frames, write_viewer


def told(path):
    """Return what the script hands over, and its image."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("kronufft({")
    assert text.endswith("});\n")
    content = json.loads(text.removeprefix("kronufft(").removesuffix(");\n"))
    image = nibabel.Nifti1Image.from_bytes(gunzipped(content["nifti"]))
    return content, image


def gunzipped(text):
    return gzip.decompress(base64.b64decode(text))


def test_small_images_are_copied_whole(tmp_path):
    values = object_images("double oblique", (3, 5, 7, 6))
    affine = oriented_affine("double oblique", (5, 7, 6))
    merged = merged_of(tmp_path, values, affine=affine, oriented=True)
    write_viewer(tmp_path / "viewer.js", merged)
    content, image = told(tmp_path / "viewer.js")
    expected = np.abs(values).T
    np.testing.assert_allclose(image.get_fdata(), expected, atol=expected.max() / 65534)
    np.testing.assert_allclose(image.affine, ras_affine(affine), rtol=1e-5, atol=1e-4)
    sizes = 1000 * np.linalg.norm(affine[:3, :3], axis=0)[::-1]  # x, y, z [mm], as planes are drawn
    assert len({*sizes.round(6)}) == 3
    np.testing.assert_allclose(image.header.get_zooms(), [*sizes, 1], rtol=1e-5)
    assert (content["along"], content["frames"]) == ("frame", [0, 1, 2])
    assert content["window"] == [0, pytest.approx(np.percentile(np.abs(values), 99.5))]


def test_large_ones_are_means_over_boxes_at_the_same_place(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.merge.viewer._MOST_VOXELS", 2 * 41 * 33 * 6)
    values = object_images("axial", (2, 6, 66, 83))
    merged = merged_of(tmp_path, values, chunks=(1, 4, 66, 83))
    write_viewer(tmp_path / "viewer.js", merged)
    _, image = told(tmp_path / "viewer.js")
    means = np.abs(values)[..., :82].reshape(2, 6, 33, 2, 41, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(image.get_fdata(), means.T, atol=means.max() / 60000)
    centre = image.affine @ [0, 0, 0, 1]  # of the box of two by two first voxels, y turned
    np.testing.assert_allclose(centre, [0.5 * 1, -0.5 * 2, 0, 1], atol=1e-6)


def test_frames_that_do_not_fit_are_left_out_evenly():
    factors, frames = copied_frames((1000, 64, 64, 64))
    assert factors == (1, 1, 1, 1)
    assert frames == [0, 143, 285, 428, 571, 714, 856, 999]
    assert copied_frames((500, 1, 64, 64))[1][::499] == [0, 499]
    assert copied_frames((1, 512, 512, 512)) == ((1, 4, 4, 4), [0])


def test_radar_is_in_decibels_of_the_brightest_voxel(tmp_path):
    values = np.array([[[[1, 10j, 0], [-100, 1e-9, 50]]]], np.complex64)
    write_viewer(tmp_path / "viewer.js", merged_of(tmp_path, values, kind="rf"))
    content, image = told(tmp_path / "viewer.js")
    expected = [[-40, -20, -90], [0, -90, 20 * np.log10(0.5)]]
    np.testing.assert_allclose(image.get_fdata()[..., 0].T, expected, atol=0.006)
    np.testing.assert_allclose(image.affine[:2, :2], np.diag([100, 200]) / 2, rtol=1e-6)
    np.testing.assert_allclose(image.header.get_zooms()[:2], [50, 100], rtol=1e-6)
    assert (content["unit"], content["window"]) == ("dB", [-50, 0])


@pytest.mark.parametrize("kind", ["mri", "rf"])
def test_images_of_nothing_are_written(tmp_path, kind):
    values = np.zeros((1, 1, 4, 3), np.complex64)
    write_viewer(tmp_path / "viewer.js", merged_of(tmp_path, values, kind=kind))
    content, _ = told(tmp_path / "viewer.js")
    assert content["window"][0] < content["window"][1]
