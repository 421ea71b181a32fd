import nibabel
import numpy as np
import pytest
from merged_images import merged_of

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
    affine = np.array([[2.5e-3, 0, 0, 5e-3], [0, 2e-3, 0, -4e-3], [0, 0, -1.5e-3, 3e-3]])
    merged = merged_of(
        tmp_path,
        values,
        chunks=chunks,
        affine=np.vstack([affine, [0, 0, 0, 1]]),
        oriented=True,
        duration=0.125,
        reconstruction="cg-sense " * 10,
    )
    write_nifti(tmp_path / "m.nii.gz", merged)
    found = nibabel.load(tmp_path / "m.nii.gz")
    expected = np.abs(values).T  # x, y, z, t
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), expected if shape[0] > 1 else expected[..., 0]
    )
    turned = [[-1.5, 0, 0, 3], [0, 2, 0, -4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]]
    np.testing.assert_allclose(found.affine, turned)
    np.testing.assert_allclose(found.get_qform(), turned)
    durations = (0.125,) if shape[0] > 1 else ()
    assert found.header.get_zooms() == pytest.approx((1.5, 2, 2.5, *durations))
    assert found.header.get_xyzt_units() == ("mm", "sec")
    assert b"head cg-sense cg-sense" in bytes(found.header["descrip"].item())


def test_unknown_orientation_is_not_claimed(tmp_path):
    values = np.ones((2, 2, 3, 4), "complex64")
    write_nifti(tmp_path / "m.nii.gz", merged_of(tmp_path, values))
    header = nibabel.load(tmp_path / "m.nii.gz").header
    assert header.get_qform(coded=True) == (None, 0)
    affine, code = header.get_sform(coded=True)
    assert code == 2  # aligned with the other images of the dataset
    np.testing.assert_allclose(affine, np.diag([1, 2, 4, 1]))
    assert header.get_xyzt_units() == ("mm", "unknown")


def test_equal_images_give_equal_files(tmp_path):
    merged = merged_of(tmp_path, np.ones((1, 2, 3, 4), "complex64"))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, merged)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_too_many_frames_for_nifti():
    with pytest.raises(DataError, match=r"40000.*32767.*output\.nifti"):
        OUTPUT.check((40000, 1, 8, 8))
