import nibabel
import numpy as np
import pytest
import zarr

from pipeline.errors import DataError
from pipeline.merge.nifti import OUTPUT, write_nifti


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((1, 5, 7, 9), (1, 5, 7, 9)),
        ((1, 5, 7, 9), (1, 2, 7, 9)),
        ((5, 1, 7, 9), (2, 1, 7, 9)),
        ((3, 5, 7, 9), (1, 3, 7, 9)),
        ((3, 2, 7, 9), (1, 1, 3, 9)),
    ],
    ids=["volume", "slabs", "2D frames", "4D slabs", "split planes"],
)
def test_round_trip(tmp_path, shape, chunks):
    random = np.random.default_rng(3)
    values = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype("complex64")
    image = zarr.create_array(tmp_path / "image.zarr", data=values, chunks=chunks)
    affine = np.array([[-1.5, 0, 0, 3], [0, 2, 0, -4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "m.nii.gz", image, affine, description="brain cg-sense " * 10)
    found = nibabel.load(tmp_path / "m.nii.gz")
    expected = np.abs(values).T  # x, y, z, t
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), expected if shape[0] > 1 else expected[..., 0]
    )
    np.testing.assert_allclose(found.affine, affine)
    np.testing.assert_allclose(found.get_qform(), affine)
    assert found.header.get_zooms()[:3] == pytest.approx((1.5, 2, 2.5))
    assert found.header.get_xyzt_units()[0] == "mm"
    assert bytes(found.header["descrip"].item()).startswith(b"brain cg-sense brain")


def test_equal_images_give_equal_files(tmp_path):
    image = zarr.create_array(tmp_path / "i.zarr", data=np.ones((1, 2, 3, 4), "complex64"))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, image, np.eye(4), description="")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_too_many_frames_for_nifti():
    with pytest.raises(DataError, match=r"40000.*32767.*output\.nifti"):
        OUTPUT.check((40000, 1, 8, 8))
