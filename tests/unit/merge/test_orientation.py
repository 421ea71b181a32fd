"""Left stays left: of every file, values are those of the object at the positions it tells."""

import nibabel
import numpy as np
import pytest
import zarr
from merged_images import (
    CENTRE,
    ORIENTATIONS,
    brightness,
    merged_of,
    object_images,
    oriented_affine,
    positions,
)

from pipeline.geometry.orientation import anatomical_directions, lps_affine, ras_affine
from pipeline.merge.nifti import write_nifti
from pipeline.merge.ome_zarr import write_pyramid

SHAPE = (2, 5, 7, 9)
LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(params=ORIENTATIONS)
def merged(request, tmp_path):
    affine = oriented_affine(request.param, SHAPE[1:])
    values = object_images(request.param, SHAPE)
    return merged_of(tmp_path, values, affine=affine, oriented=True, duration=0.25)


def require_object(lps, values, *, rtol=1e-5):
    """Compare values ``[..., frame]`` with the object at ``lps`` [mm]."""
    frames = np.arange(1, values.shape[-1] + 1)
    np.testing.assert_allclose(values, brightness(lps)[..., None] * frames, rtol=rtol)


def test_nifti(tmp_path, merged):
    write_nifti(tmp_path / "m.nii.gz", merged)
    found = nibabel.load(tmp_path / "m.nii.gz")
    assert (int(found.header["qform_code"]), int(found.header["sform_code"])) == (1, 1)
    for affine in (found.get_qform(), found.get_sform()):
        require_object(LPS * positions(affine, found.shape[:3]), np.asarray(found.dataobj))


def test_ome_zarr(tmp_path, merged):
    write_pyramid(tmp_path / "m.ome.zarr", merged)
    group = zarr.open_group(tmp_path / "m.ome.zarr", mode="r")
    assert group.attrs["oriented"] is True
    stored = positions(np.array(group.attrs["affine"]), SHAPE[1:])
    lps = 1e3 * LPS * stored[..., ::-1]
    require_object(lps, np.moveaxis(group["0"][...], 0, -1))
    axes = group.attrs["ome"]["multiscales"][0]["axes"]
    assert axes[0] == {"name": "t", "type": "time", "unit": "second"}
    # Each axis leads towards the side that it says.
    lengths = {"left": LPS[0], "posterior": LPS[1], "superior": LPS[2]}
    for number, axis in enumerate(axes[1:]):
        start, end = axis["orientation"]["value"].split("-to-")
        step = np.moveaxis(lps, number, 0)
        step = (step[-1] - step[0])[0, 0]
        sides = dict(zip(("left", "posterior", "superior"), step, strict=True))
        longest = max(sides, key=lambda side: abs(sides[side]))
        assert longest in (start, end)
        assert (longest == end) == (sides[longest] > 0), (axis, lengths)


def test_directions_of_an_axial_image():
    affine = oriented_affine("axial", (5, 7, 9))
    expected = ("inferior-to-superior", "anterior-to-posterior", "right-to-left")
    assert anatomical_directions(affine) == expected


def test_both_frames_name_the_centre():
    affine = oriented_affine("double oblique", (5, 7, 9))
    centre = [4, 3, 2, 1]  # x, y, z
    lps = 1e3 * np.array(CENTRE)
    np.testing.assert_allclose((lps_affine(affine) @ centre)[:3], lps)
    np.testing.assert_allclose((ras_affine(affine) @ centre)[:3], LPS * lps)
