import math

import numpy as np
import pytest
from acquisitions import write_attributes

from pipeline.errors import DataError
from pipeline.geometry.axes import centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.raw import RawData
from pipeline.storage.layout import tile_extent, tiles
from pipeline.storage.publish import published_store, store_beside

SIZES = {
    "frame": 3, "coil": 4, "readout": 5, "sample": 6, "axis": 2, "z": 1, "y": 7, "x": 8,
    "coefficient": 9, "set": 2, "entry": 10, "parameter": 11,
}  # fmt: skip


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(1)
    values = {}
    marker = tmp_path / "raw.json"
    with published_store(marker) as group:
        write_attributes(group, (7, 8), (1e-3, 2e-3))
        for name, field in ARRAYS.fields.items():
            shape = [SIZES[axis] for axis in field.axes]
            if name == "weights":
                shape[0] = 1
            block = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
            dtype = np.dtype(field.dtype)
            values[name] = (block if dtype.kind == "c" else block.real).astype(dtype)
            ARRAYS.create(group, name, shape)[:] = values[name]
    return marker, values


def test_reads_what_was_written(stored):
    marker, values = stored
    raw = RawData.open(marker)
    assert raw.shape == (7, 8)
    assert raw.voxel_size == (1e-3, 2e-3)
    assert (raw.frames, raw.coils, raw.readouts, raw.samples) == (3, 4, 5, 6)
    assert raw.arrays == set(ARRAYS.fields)
    assert raw.own_trajectory
    np.testing.assert_array_equal(
        raw.kspace(1, slice(1, 3), slice(2, 5)), values["kspace"][1, 1:3, 2:5]
    )
    np.testing.assert_array_equal(raw.trajectory(2), values["trajectory"][2])
    np.testing.assert_array_equal(raw.weights(2), values["weights"][0])
    np.testing.assert_array_equal(raw.noise(), values["noise"])
    assert raw.map_sets == 2
    np.testing.assert_array_equal(
        raw.sensitivities(slice(2, 4), number=1), values["sensitivities"][2:4, ..., 1]
    )
    np.testing.assert_array_equal(raw.reference(slice(1, 3)), values["reference"][1:3])


def test_missing_chunk_and_damage_are_found(stored):
    marker, _ = stored
    chunk = store_beside(marker) / "kspace" / "c" / "1" / "2" / "0" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match=r"not readable.*snakemake --cores all --force"):
        RawData.open(marker).kspace(1)
    opened = RawData.open(marker)
    chunk.unlink()
    with pytest.raises(DataError, match="missing chunks"):
        opened.kspace(1)
    assert opened.kspace(0).shape == (4, 5, 6)
    with pytest.raises(DataError, match=r"kspace/c/1/2/0/0: missing"):
        RawData.open(marker)


def test_incomplete_store(tmp_path):
    marker = tmp_path / "raw.json"
    with published_store(marker):
        pass
    with pytest.raises(DataError, match="not a complete acquisition"):
        RawData.open(marker)


@pytest.mark.parametrize(
    "shape", [(2, 3, 1000, 4096), (5, 1, 1, 3_000_000), (1, 40, 300, 512), (2, 33, 7, 5)]
)
def test_tiles_cover_once_in_whole_chunks(shape):
    chunks = ARRAYS["kspace"].chunks(shape)
    assert chunks[:2] == (1, 1)
    assert math.prod(chunks) * 8 <= 8 * 2**20
    covered = 0

    def fits(extent):
        return math.prod(extent) * 8 <= 64 * 2**20

    for tile in tiles(shape, tile_extent(shape, chunks, chunks, 8, fits)):
        sizes = [part.stop - part.start for part in tile]
        assert math.prod(sizes) * 8 <= 64 * 2**20
        assert all(part.start % chunk == 0 for part, chunk in zip(tile, chunks, strict=True))
        covered += math.prod(sizes)
    assert covered == math.prod(shape)


def test_affine_centres_the_image():
    affine = centred_affine((6, 7, 8), (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(affine @ [3, 3, 4, 1], [0, 0, 0, 1])
    np.testing.assert_array_equal(affine @ [4, 3, 4, 1], [1, 0, 0, 1])
    np.testing.assert_array_equal(centred_affine((7, 8), (2.0, 3.0)) @ [0, 3, 4, 1], [0, 0, 0, 1])
