from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import zarr
from acquisitions import write_attributes
from merged_images import object_images, oriented_affine
from results_tree import planned_block
from rf_acquisitions import pairs_acquisition, store

from pipeline.config.outputs import MergeSettings, OutputSettings
from pipeline.engine.table import write_plan
from pipeline.errors import DataError
from pipeline.geometry.orientation import lps_affine, ras_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.stages.merge import merge
from pipeline.storage.archives import write_block
from pipeline.storage.publish import open_published, published_store, read_json
from pipeline.storage.verification import verifiable, verify

VOXEL_SIZE = (4e-3, 2e-3, 1e-3)
SHAPE = (6, 8, 10)  # of the dataset
VOLUME = (3, 4, 5)  # of the reconstruction


def write_raw(marker: Path, shape, voxel_size, frames=1, **attributes) -> None:
    with published_store(marker) as group:
        write_attributes(group, shape, voxel_size)
        group.attrs.update(attributes)
        ARRAYS.create(group, "kspace", (frames, 1, 2, 3))[...] = 1
        ARRAYS.create(group, "trajectory", (1, 2, 3, len(shape)))[...] = 0


@pytest.fixture
def job(tmp_path):
    write_raw(tmp_path / "raw.json", SHAPE, VOXEL_SIZE)
    random = np.random.default_rng(4)
    images = (random.normal(size=(5, *VOLUME)) + 1j * random.normal(size=(5, *VOLUME))).astype(
        "complex64"
    )
    rows = [planned_block("0000", 0, 2), planned_block("0001", 2, 2), planned_block("0002", 4, 1)]
    for row in rows:
        where = slice(row.first_image, row.first_image + row.images)
        identity = {"block": row.block, "first_image": row.first_image}
        write_block(tmp_path / "cg" / "blocks" / f"{row.block}.zarr.zip", images[where], identity)
    write_plan(tmp_path / "cg" / "plan.tsv", rows)
    arguments = {
        "settings": MergeSettings(output=OutputSettings()),
        "dataset": "brain",
        "reconstruction": "cg",
        "raw": tmp_path / "raw.json",
        "plan": tmp_path / "cg" / "plan.tsv",
        "blocks": tmp_path / "cg" / "blocks",
        "image": tmp_path / "cg" / "image.json",
        "receipt": tmp_path / "cg" / "receipts" / "merge.json",
        "threads": 2,
    }
    return arguments, images


def test_all_outputs_agree(job):
    arguments, images = job
    merge(**arguments)
    group = open_published(arguments["image"])
    np.testing.assert_array_equal(group["image"][...], images)
    # Half the matrix over the same field of view: voxels are twice as large.
    assert group.attrs["voxel_size"] == pytest.approx([8e-3, 4e-3, 2e-3])
    assert [row["first_image"] for row in group.attrs["plan"]] == [0, 2, 4]
    folder = arguments["image"].parent
    pyramid = zarr.open_group(folder / "magnitude.ome.zarr", mode="r")
    np.testing.assert_array_equal(pyramid["0"][...], np.abs(images))
    nifti = nibabel.load(folder / "magnitude.nii.gz")
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), np.abs(images).T)
    assert nifti.header.get_zooms()[:3] == pytest.approx((2, 4, 8))
    # The centre of the field of view, voxel N // 2, is the origin.
    centre = np.array([size // 2 for size in VOLUME[::-1]] + [1])
    np.testing.assert_allclose(nifti.affine @ centre, [0, 0, 0, 1], atol=1e-6)
    assert b"brain cg" in nifti.header["descrip"].item()
    receipt = read_json(arguments["receipt"])
    assert receipt["shape"] == [5, *VOLUME]
    outputs = {"ome_zarr", "nifti", "viewer"}
    assert set(receipt["phases"]) == {"check", "images", *outputs, "provenance"}


def test_slices_become_volumes(job, tmp_path):
    arguments, _ = job
    slices, frames, name = 4, 2, "double oblique"
    affine = oriented_affine(name, (slices, 7, 9))
    volumes = object_images(name, (frames, slices, 7, 9))
    told = {"affine": affine.tolist(), "oriented": True, "slices": slices}
    write_raw(tmp_path / "raw.json", (7, 9), VOXEL_SIZE[1:], frames=slices * frames, **told)
    # All frames of the first slice, then those of the second.
    images = volumes.swapaxes(0, 1).reshape(slices * frames, 1, 7, 9)
    write_plan(tmp_path / "cg" / "plan.tsv", [planned_block("0000", 0, len(images))])
    identity = {"block": "0000", "first_image": 0}
    write_block(tmp_path / "cg" / "blocks" / "0000.zarr.zip", images, identity)
    merge(**arguments | {"settings": MergeSettings(output=OutputSettings(dicom=True))})
    folder = arguments["image"].parent
    np.testing.assert_array_equal(open_published(arguments["image"])["image"][...], images)
    nifti = nibabel.load(folder / "magnitude.nii.gz")
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), np.abs(volumes).T)
    np.testing.assert_allclose(nifti.affine, ras_affine(affine), rtol=1e-5)
    pyramid = zarr.open_group(folder / "magnitude.ome.zarr", mode="r")
    np.testing.assert_array_equal(pyramid["0"][...], np.abs(volumes))
    planes = pydicom.dcmread(folder / "dicom/0001.dcm").PerFrameFunctionalGroupsSequence
    assert len(planes) == slices * frames
    places = [plane.PlanePositionSequence[0].ImagePositionPatient for plane in planes[:slices]]
    expected = [(lps_affine(affine) @ [0, 0, which, 1])[:3] for which in range(slices)]
    np.testing.assert_allclose(np.array(places, float), expected, atol=1e-4)


def test_images_of_radar_become_no_dicom(job, tmp_path):
    arguments, _ = job
    scene = Scene(shape=(5, 4), spacing=(0.1, 0.2))
    pair = Pair(np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([[0.0, 2, 0], [1, 2, 0], [2, 2, 0]]))
    frequencies = np.array([1e9, 1.1e9])
    measured = np.ones((1, 2, 2, 3), "complex64")
    store(tmp_path / "raw.json", pairs_acquisition(scene, frequencies, [measured], [pair]), "brain")
    write_plan(tmp_path / "cg" / "plan.tsv", [planned_block("0000", 0, 1)])
    identity = {"block": "0000", "first_image": 0}
    image = np.ones((1, 1, 4, 5), "complex64")
    write_block(tmp_path / "cg" / "blocks" / "0000.zarr.zip", image, identity)
    asked = OutputSettings(dicom=True, bart=True, ismrmrd=True, bids="T1w")
    merge(**arguments | {"settings": MergeSettings(output=asked)})
    folder = arguments["image"].parent
    assert read_json(arguments["receipt"])["left_out"] == [
        f"{name}, for MRI alone" for name in ("bids", "dicom", "ismrmrd")
    ]
    assert not any((folder / name).exists() for name in ("bids", "dicom", "image.h5"))
    assert (folder / "bart/image.cfl").stat().st_size == 8 * 20
    assert nibabel.load(folder / "magnitude.nii.gz").header["qform_code"] == 0


def test_outputs_can_be_switched_off(job):
    arguments, _ = job
    merge(**arguments)
    off = MergeSettings(output=OutputSettings(ome_zarr=False, nifti=False, viewer=False))
    merge(**arguments | {"settings": off})
    names = sorted(path.name for path in arguments["image"].parent.iterdir())
    about = ["provenance.json", "receipts", "remake.sh", "ro-crate-metadata.json"]
    assert names == ["blocks", "image.json", "image.zarr", "plan.tsv", *about]


def test_damaged_outputs_are_found(job):
    arguments, _ = job
    every = OutputSettings(dicom=True, bart=True, ismrmrd=True, bids="T1w")
    merge(**arguments | {"settings": MergeSettings(output=every)})
    folder = arguments["image"].parent
    found = verifiable(folder)
    assert arguments["receipt"] in found
    for path in filter(Path.exists, found):
        verify(path)
    covered = {name.split("/")[0] for name in read_json(arguments["receipt"])["outputs"]}
    assert covered == {"dicom", "bart", "image.h5", "bids", "viewer.js"}
    assert verify(arguments["receipt"]) > 0
    file = folder / "dicom/0001.dcm"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"0001\.dcm: damaged.*image\.json"):
        verify(arguments["receipt"])
    file.unlink()
    with pytest.raises(DataError, match=r"0001\.dcm: missing"):
        verify(arguments["receipt"])


def test_failure_leaves_what_was_there(job):
    arguments, images = job
    merge(**arguments)
    folder = arguments["image"].parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    bad = np.full((1, *VOLUME), np.nan, "complex64")
    block = arguments["blocks"] / "0002.zarr.zip"
    write_block(block, bad, {"block": "0002", "first_image": 4})
    before[block] = block.stat().st_mtime_ns
    with pytest.raises(DataError, match="image 4 of block 0002"):
        merge(**arguments)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after
    np.testing.assert_array_equal(open_published(arguments["image"])["image"][...], images)


def test_2d(job, tmp_path):
    arguments, _ = job
    write_raw(tmp_path / "raw.json", (4, 6), (2e-3, 1e-3))
    image = np.ones((2, 1, 4, 6), "complex64")
    for name, first in (("0000", 0), ("0001", 2), ("0002", 4)):
        path = arguments["blocks"] / f"{name}.zarr.zip"
        write_block(path, image[: 5 - first], {"block": name, "first_image": first})
    merge(**arguments)
    nifti = nibabel.load(arguments["image"].parent / "magnitude.nii.gz")
    assert nifti.shape == (6, 4, 1, 5)
    assert nifti.header.get_zooms()[:3] == pytest.approx((1, 2, 1))
