"""A simulation, written as ISMRMRD and read back: the same data, and images in the same place."""

import ismrmrd
import nibabel
import numpy as np
import pydicom
import pytest
import zarr
from merged_images import CENTRE, ORIENTATIONS, VOXEL_SIZE, oriented_affine
from mrd_files import header, readout, write_mrd

from pipeline.config.datasets import Dataset
from pipeline.in_process import run
from pipeline.kinds import open_raw
from pipeline.storage.publish import open_published

SHAPE, NAME = (10, 14, 12), "double oblique"
FIELD_OF_VIEW = [1e3 * count * size for count, size in zip(SHAPE, VOXEL_SIZE, strict=True)]
CONFIG = {
    "compute": {"deterministic": True, "device": "cpu", "threads": 1},
    "output": {"dicom": True, "bart": True, "ismrmrd": True, "bids": "T1w"},
    "calibration": {"coil_maps": "walsh", "calibration_width": 8},
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 3}},
    "sources": {
        "simulated": {
            "shape": SHAPE,
            "voxel_size": VOXEL_SIZE,
            "simulation": {
                "trajectory": "kooshball", "readouts": 200, "samples": 24, "coils": 3, "frames": 2,
            },
        },
        "written": {"shape": SHAPE, "trajectory": {"units": "rad_per_voxel"}},
    },
}  # fmt: skip


def made(folder, dataset, format_, source):
    row = Dataset(dataset=dataset, kind="mri", format=format_, source=source,
                  reconstructions=["cg"])  # fmt: skip
    return run({**CONFIG, "data_root": str(folder)}, row, "cg", folder, until="merge")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The files of the simulation and of its copy."""
    folder = tmp_path_factory.mktemp("round")
    first = made(folder, "simulated", "simulation", "ellipses")
    raw = open_raw(first.raw)
    x, y, z = ORIENTATIONS[NAME].T
    where = {"position": 1e3 * np.array(CENTRE), "directions": (z, y, x)}
    write_mrd(
        folder / "copy.h5",
        header(SHAPE, fov=FIELD_OF_VIEW),
        (
            readout(samples, k[:, ::-1], repetition=frame, **where)
            for frame in range(raw.frames)
            for samples, k in zip(
                raw.kspace(frame).swapaxes(0, 1), raw.trajectory(frame), strict=True
            )
        ),
    )
    return first, made(folder, "written", "mrd", "copy.h5")


def test_the_data_are_the_same(both):
    first, second = (open_raw(files.raw) for files in both)
    for frame in range(2):
        np.testing.assert_array_equal(second.kspace(frame), first.kspace(frame))
        np.testing.assert_array_equal(second.trajectory(frame), first.trajectory(frame))
    assert (first.oriented, second.oriented) == (False, True)
    np.testing.assert_allclose(second.affine, oriented_affine(NAME, SHAPE), atol=1e-8)


def test_the_images_are_the_same(both):
    first, second = (open_published(files.image)["image"][:] for files in both)
    np.testing.assert_array_equal(first, second)


def test_all_files_show_them_in_the_same_place(both):
    _, files = both
    folder = files.folder
    images = open_published(files.image)["image"][:]
    nifti = nibabel.load(folder / "magnitude.nii.gz")
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), np.abs(images).T)
    lps = np.diag([-1, -1, 1, 1]) @ nifti.affine
    middle = [*(size // 2 for size in SHAPE[::-1]), 1]
    np.testing.assert_allclose((lps @ middle)[:3], 1e3 * np.array(CENTRE), rtol=1e-5)
    stored = zarr.open_group(folder / "magnitude.ome.zarr", mode="r").attrs["affine"]
    np.testing.assert_allclose(1e3 * np.array(stored)[2::-1, 3], nifti.affine[:3, 3], rtol=1e-5)

    dicom = pydicom.dcmread(folder / "dicom/0001.dcm")
    slope = dicom.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleSlope
    pixels = dicom.pixel_array.reshape(images.shape) * float(slope)
    np.testing.assert_allclose(pixels, np.abs(images), atol=np.abs(images).max() / 1e5)
    for plane, own in enumerate(dicom.PerFrameFunctionalGroupsSequence[: SHAPE[0]]):
        place = own.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, (lps @ [0, 0, plane, 1])[:3], atol=1e-4)

    with ismrmrd.Dataset(folder / "image.h5", create_if_needed=False, mode="r") as file:
        image = file.read_image("image_0", 1)
        np.testing.assert_array_equal(image.data[0], images[1])
        np.testing.assert_allclose(image.position[:], 1e3 * np.array(CENTRE), rtol=1e-5)
        assert file.read_xml_header().decode() == header(SHAPE, fov=FIELD_OF_VIEW)
