import shutil

import numpy as np
import pytest
import zarr
from acquisitions import write_attributes

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.geometry.axes import centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.native import open_source
from pipeline.storage.publish import published_store

BUDGET = Budget("scan", 600)

ALL = slice(None)
AFFINE = centred_affine((6, 7), (2e-3, 1e-3)) + np.eye(4)[::-1]


def settings(source, **details):
    return IngestSettings(kind="mri", format="native", source=str(source), details=details)


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(7)
    values = {
        "kspace": rng.standard_normal((3, 2, 4, 10), dtype=np.float32).view(np.complex64),
        "trajectory": rng.uniform(-3, 3, (1, 4, 5, 2)).astype(np.float32),
    }
    with published_store(tmp_path / "raw.json") as group:
        write_attributes(group, (6, 7), (2e-3, 1e-3))
        group.attrs["affine"] = AFFINE.tolist()
        for name, array in values.items():
            ARRAYS.create(group, name, array.shape)[:] = array
    return values


@pytest.mark.parametrize("source", ["raw.json", "raw.zarr", "raw.zarr.zip"])
def test_round_trip(tmp_path, stored, source):
    if source.endswith(".zip"):
        shutil.make_archive(str(tmp_path / "raw.zarr"), "zip", tmp_path / "raw.zarr")
    with open_source(settings(tmp_path / source), "scan", BUDGET) as acquisition:
        assert acquisition.shape == (6, 7)
        assert acquisition.voxel_size == (2e-3, 1e-3)
        np.testing.assert_array_equal(acquisition.affine, AFFINE)
        assert set(acquisition.arrays) == set(stored)
        for name, array in acquisition.arrays.items():
            selection = tuple(slice(size // 2, size) for size in array.shape)
            np.testing.assert_array_equal(array[selection], stored[name][selection])


def test_other_matrix(tmp_path, stored):
    with (
        pytest.raises(DataError, match=r"matrix \(6, 7\), but `sources.scan.shape` is \(8, 8\)"),
        open_source(settings(tmp_path / "raw.zarr", shape=(8, 8)), "scan", BUDGET),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [6, 7, 8]}, r"shape = \(6, 7, 8\) and voxel_size = \(0.002, 0.001\)"),
        ({"shape": "large"}, "lacks a usable attribute"),
        ({"affine": [1, 2]}, "lacks a usable attribute"),
        ({"slices": 7}, r"slices = 7; expected a number that divides its \d+ frames"),
        ({"frame_duration": -1}, "frame_duration = -1; expected seconds"),
    ],
)
def test_unusable_attributes(tmp_path, stored, change, message):
    zarr.open_group(tmp_path / "raw.zarr").attrs.update(change)
    with (
        pytest.raises(DataError, match=message),
        open_source(settings(tmp_path / "raw.zarr"), "scan", BUDGET),
    ):
        pass


@pytest.mark.parametrize("kind", ["nothing", "file", "version 2", "rf"])
def test_not_an_acquisition(tmp_path, kind):
    source = tmp_path / "raw.zarr"
    if kind == "file":
        source.write_bytes(b"PK\x03\x04 and no more")
    elif kind == "version 2":
        zarr.open_group(source, mode="w", zarr_format=2)
    elif kind == "rf":
        zarr.open_group(source, mode="w").attrs["kind"] = "rf"
    with (
        pytest.raises(DataError, match=r"scan: .*raw.zarr"),
        open_source(settings(source), "scan", BUDGET),
    ):
        pass
