"""One volume in several shards, in tiles of any size, and with less memory than planned."""

import weakref
from functools import partialmethod

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from stage_runs import files_in, reconstructed

from pipeline.engine.job import BlockJob
from pipeline.engine.table import read_plan, write_plan
from pipeline.errors import DataError, DeviceError, PlanError
from pipeline.operators.nufft import NUFFT
from pipeline.storage.publish import read_json

SENSE = {"algorithm": "cg-sense", "iterations": 8, "regularization": 0.3, "deterministic": True}


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def in_tiles(monkeypatch, **sizes):
    """Make `plan` choose tiles of other sizes than it would."""

    def write(path, rows):
        write_plan(path, [row.model_copy(update=sizes) for row in rows])

    monkeypatch.setattr("pipeline.stages.plan.write_plan", write)


@pytest.fixture(params=["one trajectory", "own trajectories"])
def acquisition(tmp_path, request):
    write_acquisition(
        tmp_path,
        shape=(9, 12, 7),
        coils=5,
        readouts=23,
        samples=11,
        frames=2,
        own_trajectory=request.param == "own trajectories",
    )
    return tmp_path


@pytest.mark.parametrize("shards", [2, 5, 16])
def test_shards_add_up_to_the_whole(acquisition, shards):
    """b to 1e-6 and the image to 1e-5; each sharding repeats bitwise."""
    adjoint = {"algorithm": "gridding", "deterministic": True}
    b, _ = reconstructed(acquisition, shards=1, **adjoint)
    assert relative(reconstructed(acquisition, shards=shards, **adjoint)[0], b) < 1e-6
    whole, _ = reconstructed(acquisition, shards=1, **SENSE)
    found, receipt = reconstructed(acquisition, shards=shards, **SENSE)
    assert receipt["shards"] == shards
    assert relative(found, whole) < 1e-5
    again, _ = reconstructed(acquisition, shards=shards, **SENSE)
    assert np.array_equal(found, again)


def test_squares_of_coil_images_add_up_over_coils(tmp_path):
    write_acquisition(tmp_path, shape=(8, 9), coils=4, readouts=7, samples=10, maps=False)
    whole, _ = reconstructed(tmp_path, shards=1, algorithm="gridding")
    found, _ = reconstructed(tmp_path, shards=3, algorithm="gridding")
    assert relative(found, whole) < 1e-6
    with pytest.raises(PlanError, match="4 pieces"):
        reconstructed(tmp_path, shards=5, algorithm="gridding")


@pytest.mark.parametrize("maps", [True, False], ids=["maps", "root sum of squares"])
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (2, 2, 5), (1, 5, 23), (2, 3, 46)],
    ids=lambda sizes: "x".join(map(str, sizes)),
)
def test_tiles_of_any_size_give_the_same_image(tmp_path, monkeypatch, maps, sizes):
    """Also where a tile begins in one frame and ends in the next."""
    write_acquisition(tmp_path, shape=(8, 9), coils=5, readouts=23, samples=6, frames=3, maps=maps)
    settings = {"frames_per_image": 2, **(SENSE if maps else {"algorithm": "gridding"})}
    expected, _ = reconstructed(tmp_path, **settings)
    names = ("image_batch", "coil_batch", "readout_batch")
    in_tiles(monkeypatch, **dict(zip(names, sizes, strict=True)))
    found, _ = reconstructed(tmp_path, **settings)
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("normal", ["toeplitz", "explicit"])
def test_coil_maps_that_stream_give_the_same_image(acquisition, monkeypatch, normal):
    settings = {**SENSE, "normal": normal}
    expected, _ = reconstructed(acquisition, **settings)
    in_tiles(monkeypatch, resident=False, coil_batch=2)
    found, receipt = reconstructed(acquisition, **settings)
    assert relative(found, expected) < 1e-5
    # All maps once for b and once for every product.
    assert receipt["streaming"]["bytes"] > 8 * 5 * 9 * 12 * 7 * 8


class FullDevice:
    """A device that holds so many coil images of so many frames at one moment, and no more."""

    def __init__(self, most):
        self.most = most
        self.adjoint = NUFFT.adjoint

    def __call__(self, operator, samples):
        self.last = weakref.ref(samples)
        if samples.shape.numel() // operator.samples > self.most:
            raise torch.OutOfMemoryError("tried to allocate more than there is")
        return self.adjoint(operator, samples)


@pytest.mark.parametrize("most", [1, 4])
def test_a_full_device_halves_the_tiles_and_finishes(acquisition, monkeypatch, capsys, most):
    expected, _ = reconstructed(acquisition, **SENSE)
    device = FullDevice(most)
    monkeypatch.setattr(NUFFT, "adjoint", partialmethod(device))
    halve = BlockJob.halve_tiles

    def halve_tiles(job, error):
        assert device.last() is None, "what was in work still takes the memory"
        halve(job, error)

    monkeypatch.setattr(BlockJob, "halve_tiles", halve_tiles)
    found, receipt = reconstructed(acquisition, **SENSE)
    assert relative(found, expected) < 1e-5
    smallest = receipt["halved_tiles"][-1]
    assert smallest["images"] * smallest["channels"] <= most
    assert "out of memory" in capsys.readouterr().err


def test_where_the_smallest_tile_does_not_fit_the_message_has_the_arithmetic(
    acquisition, monkeypatch
):
    device = FullDevice(0)
    monkeypatch.setattr(NUFFT, "adjoint", partialmethod(device))
    with pytest.raises(DeviceError, match=r"smallest tile.*predicted were \d+ MB.*plan again"):
        reconstructed(acquisition, **SENSE)
    assert not (files_in(acquisition).block("0000")).exists()


def test_a_share_of_another_shard_is_refused(acquisition):
    reconstructed(acquisition, shards=2, **SENSE)
    shares = files_in(acquisition).shares
    (shares / "0000-001.zarr.zip").write_bytes((shares / "0000-000.zarr.zip").read_bytes())
    from pipeline.storage.shares import open_share

    with (
        pytest.raises(DataError, match=r"0000-001.*expected block 0000 shard 001"),
        open_share(shares / "0000-001.zarr.zip", block="0000", shard="001"),
    ):
        pass


def test_receipts_account_for_the_stream(acquisition):
    reconstructed(acquisition, shards=2, **SENSE)
    table = read_plan(files_in(acquisition).plan)
    read = 0
    for row in table.shards("0000"):
        receipt = read_json(files_in(acquisition).receipt(f"accumulate-0000-{row.shard}"))
        account = receipt["streaming"]
        assert account["tiles"] > 0
        assert 0 <= account["overlap"] <= 1
        read += account["bytes"]
    # Two frames of five coils, 23 x 11 samples: k-space once, and positions at least once.
    assert read > 2 * 5 * 23 * 11 * 8
