import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.engine.table import PlanRow
from pipeline.errors import DataError
from pipeline.merge.series import BlockSeries, store_images
from pipeline.storage.archives import write_block
from pipeline.storage.chunks import image_chunks


def plan_row(block: str, first_image: int, images: int) -> PlanRow:
    return PlanRow.model_construct(block=block, first_image=first_image, images=images)


@dataclass
class Blocks:
    paths: list[Path]
    plan: dict[str, PlanRow]
    images: np.ndarray


def make_blocks(
    folder: Path, images_per_block: list[int], volume: tuple[int, int, int], dtype: str
) -> Blocks:
    random = np.random.default_rng(1)
    paths, plan, parts, first = [], {}, [], 0
    for number, count in enumerate(images_per_block):
        shape = (count, *volume)
        image = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
        name = f"{number:04d}"
        paths.append(folder / f"{name}.zarr.zip")
        write_block(paths[-1], image, {"block": name, "first_image": first})
        plan[name] = plan_row(name, first, count)
        parts.append(image)
        first += count
    return Blocks(paths, plan, np.concatenate(parts))


@pytest.mark.parametrize(
    ("images_per_block", "volume"),
    [
        ([1], (7, 9, 11)),
        ([4, 4, 3], (1, 13, 10)),
        ([2] * 20 + [1], (1, 8, 9)),
        ([1, 3], (5, 6, 7)),
        ([3, 2], (11, 300, 301)),  # more than one chunk an image
    ],
    ids=["one volume", "uneven last", "many blocks", "volumes", "chunked volumes"],
)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_equals_concatenation(tmp_path, images_per_block, volume, dtype):
    blocks = make_blocks(tmp_path, images_per_block, volume, dtype)
    series = BlockSeries.open(blocks.paths[::-1], blocks.plan)
    stored = store_images(series, zarr.open_group(tmp_path / "image.zarr", mode="w"), threads=2)
    assert stored.dtype == dtype
    assert stored.metadata.dimension_names == ("frame", "z", "y", "x")
    assert np.prod(stored.chunks) * stored.dtype.itemsize <= 8 * 2**20
    np.testing.assert_array_equal(stored[...], blocks.images)


def test_chunks_may_span_blocks(tmp_path, monkeypatch):
    blocks = make_blocks(tmp_path, [3, 5, 1, 4], (2, 6, 5), "complex64")
    monkeypatch.setattr(
        "pipeline.merge.series.image_chunks",
        lambda shape, itemsize: image_chunks(shape, itemsize, target_bytes=4 * 60 * itemsize),
    )
    series = BlockSeries.open(blocks.paths, blocks.plan)
    stored = store_images(series, zarr.open_group(tmp_path / "image.zarr", mode="w"), threads=2)
    assert stored.chunks == (4, 2, 6, 5)
    np.testing.assert_array_equal(stored[...], blocks.images)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 1, 256, 256), (3, 1, 256, 256)),
        ((100, 1, 192, 192), (25, 1, 192, 192)),
        ((2, 128, 128, 128), (1, 64, 128, 128)),
        ((1, 65, 128, 128), (1, 33, 128, 128)),
        ((1, 3, 2000, 1100), (1, 1, 667, 1100)),
        ((2, 2, 2, 2**21), (1, 1, 1, 2**20)),
    ],
)
def test_image_chunks(shape, expected):
    assert image_chunks(shape, 8) == expected


def test_missing_block(tmp_path):
    blocks = make_blocks(tmp_path, [1, 1, 1], (1, 4, 5), "complex64")
    with pytest.raises(DataError, match=r"1 of the plan's 3 blocks .* block 0001"):
        BlockSeries.open([blocks.paths[0], blocks.paths[2]], blocks.plan)


def test_missing_file(tmp_path):
    blocks = make_blocks(tmp_path, [1, 1], (1, 4, 5), "complex64")
    blocks.paths[1].unlink()
    with pytest.raises(DataError, match=r"0001\.zarr\.zip"):
        BlockSeries.open(blocks.paths, blocks.plan)


def test_truncated_file(tmp_path):
    blocks = make_blocks(tmp_path, [1, 1], (1, 4, 5), "complex64")
    content = blocks.paths[1].read_bytes()
    blocks.paths[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"0001\.zarr\.zip"):
        BlockSeries.open(blocks.paths, blocks.plan)


def test_damaged_file(tmp_path):
    blocks = make_blocks(tmp_path, [1, 1], (1, 40, 50), "complex64")
    content = bytearray(blocks.paths[1].read_bytes())
    content[len(content) // 2] ^= 255
    blocks.paths[1].write_bytes(content)
    with pytest.raises(DataError, match=r"0001\.zarr\.zip: damaged"):
        BlockSeries.open(blocks.paths, blocks.plan)[tuple([slice(None)] * 4)]


def test_block_of_another_plan(tmp_path):
    blocks = make_blocks(tmp_path, [2, 2, 2], (1, 4, 5), "complex64")
    del blocks.plan["0002"]
    with pytest.raises(DataError, match="block 0002, which the plan lacks"):
        BlockSeries.open(blocks.paths, blocks.plan)


def test_block_given_twice(tmp_path):
    blocks = make_blocks(tmp_path, [2, 2], (1, 4, 5), "complex64")
    with pytest.raises(DataError, match="block 0000 is also in"):
        BlockSeries.open([*blocks.paths, blocks.paths[0]], blocks.plan)


def test_block_with_other_images(tmp_path):
    blocks = make_blocks(tmp_path, [2, 3], (1, 4, 5), "complex64")
    blocks.plan = {"0000": plan_row("0000", 0, 3), "0001": plan_row("0001", 3, 2)}
    with pytest.raises(DataError, match="block 0000 3 from 0 on"):
        BlockSeries.open(blocks.paths, blocks.plan)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0, 2), (3, 1)], "block 0001 has images 3 to 3; it leaves a gap after block 0000"),
        ([(0, 2), (1, 2)], "block 0001 has images 1 to 2; it repeats images of block 0000"),
        ([(1, 2)], "block 0000 has images 1 to 2; it leaves a gap after the start"),
    ],
    ids=["gap", "overlap", "late start"],
)
def test_plan_covers_each_image_once(ranges, message):
    plan = {f"{i:04d}": plan_row(f"{i:04d}", *part) for i, part in enumerate(ranges)}
    with pytest.raises(DataError, match=message):
        BlockSeries.open([], plan)


def test_blocks_of_two_shapes(tmp_path):
    blocks = make_blocks(tmp_path, [1, 1], (1, 4, 5), "complex64")
    other = np.ones((1, 1, 5, 4), "complex64")
    write_block(blocks.paths[1], other, {"block": "0001", "first_image": 1})
    with pytest.raises(DataError, match=r"0001.*\(1, 5, 4\).*0000.*\(1, 4, 5\)"):
        BlockSeries.open(blocks.paths, blocks.plan)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j * np.nan])
def test_values_that_are_not_finite(tmp_path, value):
    blocks = make_blocks(tmp_path, [2, 3], (1, 4, 5), "complex64")
    image = blocks.images[2:].copy()
    image[1, 0, 2, 3] = value
    write_block(blocks.paths[1], image, {"block": "0001", "first_image": 2})
    series = BlockSeries.open(blocks.paths, blocks.plan)
    with pytest.raises(DataError, match="image 3 of block 0001"):
        store_images(series, zarr.open_group(tmp_path / "image.zarr", mode="w"), threads=2)


_MERGE_IN_A_PROCESS = """
import resource, sys
from pathlib import Path
import zarr, dask.array
from pipeline.merge.nifti import write_nifti
from pipeline.merge.ome_zarr import write_pyramid
from pipeline.config.outputs import OutputSettings
from pipeline.merge.outputs import Merged
from pipeline.merge.series import BlockSeries, store_images
from pipeline.engine.table import PlanRow
import numpy as np
import nibabel, ome_zarr_models.v05.image

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def merge(paths, out):
    plan = {
        path.name[:4]: PlanRow.model_construct(block=path.name[:4], first_image=i, images=1)
        for i, path in enumerate(paths)
    }
    group = zarr.open_group(out / "image.zarr", mode="w")
    stored = store_images(BlockSeries.open(paths, plan), group, threads=2)
    told = (False, None, "head", "test", "mri", "0123", None, None, 2, OutputSettings(), dict, {})
    merged = Merged(stored, np.eye(4), *told)
    write_pyramid(out / "p.ome.zarr", merged)
    write_nifti(out / "m.nii.gz", merged)

folder = Path(sys.argv[1])
paths = sorted(folder.glob("*.zarr.zip"))
merge(paths[:8], folder / "some")
before = peak()
merge(paths, folder / "all")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_blocks(tmp_path):
    image = np.ones((1, 64, 128, 128), "complex64")
    image *= np.exp(1j * np.arange(128, dtype="float32"))
    for number in range(48):  # 403 MB altogether
        write_block(
            tmp_path / f"{number:04d}.zarr.zip",
            image,
            {"block": f"{number:04d}", "first_image": number},
        )
    finished = subprocess.run(
        [sys.executable, "-c", _MERGE_IN_A_PROCESS, str(tmp_path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert float(finished.stdout) < 200  # [MB]
