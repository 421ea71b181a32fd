import shutil
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
from merged_images import merged_of, object_images, oriented_affine
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from pipeline.errors import DataError
from pipeline.merge.dicom import OUTPUT, write_dicom
from pipeline.merge.nifti import write_nifti

SHAPE = (3, 4, 6, 5)
AFFINE = oriented_affine("double oblique", SHAPE[1:])


def volume_of(file, shape):
    """Return the values of a file as ``[frame, z, y, x]``."""
    groups = file.SharedFunctionalGroupsSequence[0]
    slope = float(groups.PixelValueTransformationSequence[0].RescaleSlope)
    return (file.pixel_array * slope).reshape(-1, *shape)


@pytest.mark.parametrize(
    ("chunks", "planes_a_file", "files"),
    [((2, 4, 6, 5), 1024, [3]), ((2, 4, 6, 5), 4, [1, 1, 1]), ((1, 1, 3, 5), 9, [2, 1])],
    ids=["one file", "cut within chunks", "cut"],
)
def test_values_arrive(tmp_path, monkeypatch, chunks, planes_a_file, files):
    monkeypatch.setattr("pipeline.merge.dicom._PLANES_A_FILE", planes_a_file)
    random = np.random.default_rng(5)
    values = (random.normal(size=SHAPE) + 1j * random.normal(size=SHAPE)).astype("complex64")
    given = {"chunks": chunks, "affine": AFFINE, "oriented": True, "duration": 0.2}
    write_dicom(tmp_path / "dicom", merged_of(tmp_path, values, **given))
    found = [pydicom.dcmread(path) for path in sorted((tmp_path / "dicom").iterdir())]
    assert [file.NumberOfFrames // SHAPE[1] for file in found] == files
    assert [file.InstanceNumber for file in found] == list(range(1, len(files) + 1))
    volumes = np.concatenate([volume_of(file, SHAPE[1:]) for file in found])
    largest = np.abs(values).max()
    np.testing.assert_allclose(volumes, np.abs(values), atol=largest / 131070 * 1.01, rtol=0)
    assert len({file.SOPInstanceUID for file in found}) == len(files)
    assert len({file.SeriesInstanceUID for file in found}) == 1
    planes = [plane for file in found for plane in file.PerFrameFunctionalGroupsSequence]
    times = [plane.TemporalPositionSequence[0].TemporalPositionTimeOffset for plane in planes]
    assert times == pytest.approx(np.repeat([0, 0.2, 0.4], SHAPE[1]).tolist())


@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_nibabel_finds_it_where_the_nifti_lies(tmp_path):
    from nibabel.nicom.dicomwrappers import wrapper_from_file

    merged = merged_of(
        tmp_path, object_images("double oblique", SHAPE), affine=AFFINE, oriented=True
    )
    write_dicom(tmp_path / "dicom", merged)
    write_nifti(tmp_path / "m.nii.gz", merged)
    expected = nibabel.load(tmp_path / "m.nii.gz")
    found = wrapper_from_file(tmp_path / "dicom/0001.dcm")
    # From (row, column, slice) to left, posterior, superior.
    lps = nibabel.Nifti1Image(found.get_data(), np.diag([-1, -1, 1, 1]) @ found.affine)
    require_same(lps, expected)


def require_same(found, expected):
    """Compare images whose axes may be stored in another order, or backwards."""
    found, expected = map(nibabel.as_closest_canonical, (found, expected))
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    np.testing.assert_allclose(found.get_fdata(), expected.get_fdata(), atol=1e-4)


@pytest.mark.parametrize("orientation", ["sagittal", "double oblique", "slices to the feet"])
def test_dcm2niix_puts_it_where_the_nifti_lies(tmp_path, orientation):
    command = shutil.which("dcm2niix")
    if command is None:
        pytest.skip("dcm2niix is not installed")
    affine = oriented_affine(orientation, SHAPE[1:])
    given = {"affine": affine, "oriented": True, "duration": 0.2}
    merged = merged_of(tmp_path, object_images(orientation, SHAPE), **given)
    write_dicom(tmp_path / "dicom", merged)
    write_nifti(tmp_path / "m.nii.gz", merged)
    subprocess.run(
        [command, "-f", "found", "-o", str(tmp_path), str(tmp_path / "dicom")],
        check=True, capture_output=True,
    )  # fmt: skip
    require_same(nibabel.load(tmp_path / "found.nii"), nibabel.load(tmp_path / "m.nii.gz"))


def test_unknown_orientation_is_not_claimed(tmp_path):
    values = np.ones((1, 3, 4, 5), "complex64")
    write_dicom(tmp_path / "dicom", merged_of(tmp_path, values))
    found = pydicom.dcmread(tmp_path / "dicom/0001.dcm")
    assert found.SOPClassUID == MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    assert "unknown" in found.ImageComments
    names = {element.keyword for element in found.iterall()}
    assert not names & {"ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID"}
    sizes = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (sizes.PixelSpacing, sizes.SliceThickness) == ([2, 1], 4)
    np.testing.assert_allclose(found.pixel_array * found.RescaleSlope, 1)


def test_identifiers_are_those_of_the_content(tmp_path):
    values = np.ones((1, 2, 4, 5), "complex64")
    write_dicom(tmp_path / "a", merged_of(tmp_path, values))
    write_dicom(tmp_path / "b", merged_of(tmp_path, values))
    write_dicom(tmp_path / "c", merged_of(tmp_path, 2 * values))
    same, again, other = (pydicom.dcmread(tmp_path / name / "0001.dcm") for name in "abc")
    assert same.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert same.StudyInstanceUID == other.StudyInstanceUID


def test_nothing_but_zeros(tmp_path):
    write_dicom(tmp_path / "a", merged_of(tmp_path, np.zeros((1, 1, 4, 5), "complex64")))
    assert not pydicom.dcmread(tmp_path / "a/0001.dcm").pixel_array.any()


def test_too_large_for_dicom():
    with pytest.raises(DataError, match=r"70000.*65535.*output\.dicom"):
        OUTPUT.check((1, 1, 70000, 8))
