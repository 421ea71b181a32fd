from dataclasses import replace

import numpy as np
import pytest
import zarr
from merged_images import merged_of
from ome_zarr_models.v05.image import Image

from pipeline.merge.coarser import level_factors
from pipeline.merge.ome_zarr import write_pyramid

AFFINE = np.diag([4e-3, 2e-3, 1e-3, 1.0])
AFFINE[:3, 3] = -0.08, 0.05, -0.03


@pytest.fixture
def merged(tmp_path):
    random = np.random.default_rng(2)
    shape = (2, 70, 131, 260)
    values = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype("complex64")
    return merged_of(tmp_path, values, chunks=(1, 33, 131, 260), affine=AFFINE)


def test_levels_hold_means_of_the_magnitude(tmp_path, merged):
    write_pyramid(tmp_path / "m.ome.zarr", merged)
    group = zarr.open_group(tmp_path / "m.ome.zarr", mode="r")
    assert sorted(group.array_keys()) == ["0", "1", "2", "3"]
    level = np.abs(merged.images[...])
    np.testing.assert_array_equal(group["0"][...], level)
    # Halved only while longer than 64 voxels; the last odd voxel is left out.
    level = level[:, :, :130].reshape(2, 35, 2, 65, 2, 130, 2).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(group["1"][...], level, rtol=1e-5)
    level = level[:, :, :64].reshape(2, 35, 32, 2, 65, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(group["2"][...], level, rtol=1e-5)
    level = level[..., :64].reshape(2, 35, 32, 32, 2).mean(axis=4)
    np.testing.assert_allclose(group["3"][...], level, rtol=1e-5)


def test_scale_place_and_units_arrive(tmp_path, merged):
    write_pyramid(tmp_path / "m.ome.zarr", merged)
    found = Image.from_zarr(zarr.open_group(tmp_path / "m.ome.zarr", mode="r"))
    (multiscale,) = found.ome_attributes.multiscales
    assert multiscale.name == "head cg-sense"
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("t", "time", None),
        ("z", "space", "millimeter"),
        ("y", "space", "millimeter"),
        ("x", "space", "millimeter"),
    ]
    transforms = [dataset.coordinateTransformations for dataset in multiscale.datasets]
    assert transforms[0][0].scale == pytest.approx([1, 4, 2, 1])
    assert transforms[1][0].scale == pytest.approx([1, 8, 4, 2])
    assert transforms[3][0].scale == pytest.approx([1, 8, 8, 8])
    # The centre of a box of 8 voxels lies 3.5 voxels behind that of its first.
    assert transforms[0][1].translation == pytest.approx([0, -80, 50, -30])
    assert transforms[3][1].translation == pytest.approx([0, 2 - 80, 3 + 50, 3.5 - 30])
    arrays = zarr.open_group(tmp_path / "m.ome.zarr", mode="r")
    assert arrays["0"].metadata.dimension_names == ("t", "z", "y", "x")
    coefficients = replace(merged, along="coefficient")
    write_pyramid(tmp_path / "c.ome.zarr", coefficients)
    found = Image.from_zarr(zarr.open_group(tmp_path / "c.ome.zarr", mode="r"))
    first = found.ome_attributes.multiscales[0].axes[0]
    assert (first.name, first.type) == ("c", "channel")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 1, 64, 64), [(1, 1, 1, 1)]),
        ((5, 1, 65, 20), [(1, 1, 1, 1), (1, 1, 2, 1)]),
        ((1, 128, 96, 256), [(1, 1, 1, 1), (1, 2, 2, 2), (1, 2, 2, 4)]),
    ],
)
def test_level_factors(shape, expected):
    assert level_factors(shape) == expected
