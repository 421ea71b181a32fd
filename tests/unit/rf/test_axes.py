"""Where a scatterer ends up in every file that tells a place: scenes without any symmetry."""

import nibabel
import numpy as np
import pytest
import zarr
from acquisitions import config_of, dataset_in
from calibrating import calibrated_in
from ome_zarr_models.v05.image import Image
from rf_acquisitions import pulses, store

from pipeline.in_process import run
from pipeline.metrics.tables import read_table
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.publish import open_published

FREQUENCIES = np.linspace(2e9, 3e9, 12)


@pytest.mark.parametrize(
    ("scene", "target"),
    [
        (Scene((14, 9), (0.1, 0.15), (0.4, -0.2, 0.3)), (3, 7)),
        (Scene((10, 7, 6), (0.1, 0.15, 0.2), (0.4, -0.2, 0.3)), (8, 2, 4)),
    ],
)
def test_a_scatterer_has_one_place_in_all_files(tmp_path, scene, target):
    position = scene.centre.copy()
    for axis, voxel in enumerate(target):
        position[axis] += (voxel - scene.shape[axis] // 2) * scene.spacing[axis]
    random = np.random.default_rng(3)
    antennas = random.normal(size=(150, 3))
    antennas *= 1e4 / np.linalg.norm(antennas, axis=1, keepdims=True)
    k = 2 * np.pi * FREQUENCIES / SPEED_OF_LIGHT
    ranges = np.linalg.norm(position - antennas, axis=1)
    measured = np.exp(-2j * k * ranges[:, None])
    truth = np.zeros(scene.shape, complex)
    truth[target] = 1
    folder = tmp_path / "scan"
    folder.mkdir()
    paths = AntennaPaths(antennas, antennas, np.zeros(150))
    acquisition = pulses(
        scene, FREQUENCIES, paths, measured, targets=position[None],
        reference=scene.to_volumes(truth[None]),
    )  # fmt: skip
    store(folder / "raw.json", acquisition)
    calibrated_in(folder)
    files = run(
        config_of(algorithm="matched-filter"), dataset_in(folder, "rf"), "test", tmp_path,
        first="plan", until="measure",
    )  # fmt: skip

    stored = open_published(files.image)
    volume = np.abs(stored["image"][0])
    assert volume.shape == (*scene.shape, 1)[2::-1]
    brightest = np.unravel_index(volume.argmax(), volume.shape)
    np.testing.assert_allclose(
        (np.array(stored.attrs["affine"]) @ [*brightest, 1])[:3], position[::-1]
    )

    nifti = nibabel.load(files.image.with_name("magnitude.nii.gz"))
    brightest = np.unravel_index(nifti.get_fdata().argmax(), nifti.shape)
    np.testing.assert_allclose((nifti.affine @ [*brightest, 1])[:3], 1e3 * position, rtol=1e-5)

    pyramid = zarr.open_group(files.image.with_name("magnitude.ome.zarr"), mode="r")
    scale, shift = (
        Image.from_zarr(pyramid).ome_attributes.multiscales[0].datasets[0].coordinateTransformations
    )
    level = pyramid["0"][0]
    brightest = np.unravel_index(level.argmax(), level.shape)
    placed = np.array(scale.scale[1:]) * brightest + shift.translation[1:]
    np.testing.assert_allclose(placed, 1e3 * position[::-1], atol=1e-6)

    table = read_table(files.metrics)
    (points,) = {tuple(row) for row in table[["x_m", "y_m", "z_m"]].dropna().to_numpy()}
    np.testing.assert_allclose(points, position)
    (image,) = (row for _, row in table.iterrows() if row["kind"] == "image")
    assert image["targets"] == image["detected"] == 1
    assert image["nmse_db"] < 3  # transposed, nothing of the reference would be met
