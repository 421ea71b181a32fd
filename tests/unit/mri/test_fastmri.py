"""Slices of the fastMRI data set: columns that were measured, without oversampling of the rows."""

import h5py
import numpy as np
import pytest
from acquisitions import complex_normal
from mrd_files import header

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.lazy import whole
from pipeline.mri.formats import fastmri

RNG = np.random.default_rng(8)


def written(path, kspace, xml):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["ismrmrd_header"] = xml
        file["mask"] = np.any(kspace != 0, axis=tuple(range(kspace.ndim - 1)))
    return path


def opened(path, **details):
    settings = IngestSettings(
        kind="mri", format="fastmri", source=str(path), details=SourceSettings(**details)
    )
    with fastmri.open_source(settings, "scan", Budget("scan", 600)) as found:
        return found, {name: whole(array) for name, array in found.arrays.items()}


@pytest.mark.parametrize("coils", [3, None])
def test_columns_that_were_measured_are_the_readouts(tmp_path, coils):
    group = () if coils is None else (coils,)
    image = complex_normal(RNG, (4, *group, 12, 9)).astype(np.complex128)
    image[..., :3, :] = image[..., 9:, :] = 0  # nothing beyond the field of view of the image
    centred = np.fft.ifftshift(image, axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(centred), axes=(-2, -1)).astype(np.complex64)
    kspace[..., [1, 2, 6]] = 0
    xml = header((1, 9, 12), (1, 6, 6), fov=(4, 180, 240), image_fov=(4, 120, 120))
    found, arrays = opened(written(tmp_path / "scan.h5", kspace, xml))
    assert found.shape == (9, 6)
    assert found.slices == 4
    np.testing.assert_allclose(found.voxel_size, (0.02, 0.02))
    np.testing.assert_allclose(found.affine[:3, 0], [4e-3, 0, 0])
    told, _ = opened(tmp_path / "scan.h5", voxel_size=(0.03, 0.01))
    assert told.voxel_size == (0.03, 0.01)
    np.testing.assert_allclose(np.diag(told.affine)[:3], [4e-3, 0.03, 0.01])
    kept = [0, 3, 4, 5, 7, 8]
    assert arrays["kspace"].shape == (4, coils or 1, 6, 6)
    # The same sums over the image that is left.
    y, x = np.meshgrid(np.arange(9) - 4, np.arange(6) - 3, indexing="ij")
    k = arrays["trajectory"][0].reshape(-1, 2)
    left = np.moveaxis(image.reshape(4, coils or 1, 12, 9)[:, :, 3:9], -1, -2).reshape(-1, 54)
    expected = left @ np.exp(-1j * (np.outer(y.ravel(), k[:, 0]) + np.outer(x.ravel(), k[:, 1])))
    np.testing.assert_allclose(arrays["kspace"].reshape(expected.shape), expected, atol=2e-4)
    cycles = arrays["trajectory"][0, :, 0, 0] * 9 / (2 * np.pi)
    np.testing.assert_allclose(cycles, np.array(kept) - 4, atol=1e-12)


def test_a_contradictory_header_is_told(tmp_path):
    kspace = complex_normal(RNG, (2, 3, 12, 9))
    path = written(tmp_path / "scan.h5", kspace, header((1, 9, 10)))
    with pytest.raises(DataError, match=r"matrix \(1, 9, 12\) .* header says \(1, 9, 10\)"):
        opened(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = kspace
    with pytest.raises(DataError, match="no readable `ismrmrd_header`"):
        opened(tmp_path / "other.h5")
