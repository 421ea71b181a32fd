"""Pairs larger than memory, and cut into shards: the same equations, and within the limit."""

import numpy as np
import pytest
from acquisitions import complex_normal
from planned_jobs import run_jobs
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross
from stage_runs import files_in

from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.publish import read_json
from pipeline.storage.shares import open_share, share_path

SCENE = Scene((24, 20), (0.3, 0.3))
COUNT, FREQUENCIES = 64, np.linspace(9.4e9, 10.6e9, 256)
ROWS = (8, 6)
SOLVED = {"algorithm": "tikhonov", "iterations": 3}


def circling(index):
    angle = 2 * np.pi * index / COUNT
    return mills_cross(ROWS, 1.5, 60.0, (0.3 * np.cos(angle), 0.3 * np.sin(angle)))


@pytest.fixture(scope="module")
def by_positions(tmp_path_factory):
    """64 pairs by 256 frequencies, whose factors are 41 MB."""
    folder = tmp_path_factory.mktemp("positions")
    pairs = [circling(index) for index in range(COUNT)]
    return folder, pairs, write_pairs(folder, SCENE, pairs, FREQUENCIES)


def factor_megabytes():
    return COUNT * len(FREQUENCIES) * sum(np.multiply(ROWS, SCENE.shape)) * 8 / 1e6


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.slow
def test_factors_that_do_not_fit_are_streamed_with_the_same_result(by_positions):
    folder, *_ = by_positions
    settings = SOLVED | {"model": "W", "force_model": True, "normal": "factors"}
    resident, at_once = reconstructed_rf(folder, **settings)
    assert at_once["normal"] == "factors, resident, of 64 pairs"
    limit = at_once["predicted_host_bytes"] / 1e6 - factor_megabytes() / 2
    streamed, one_by_one = reconstructed_rf(folder, **settings, host_mb=int(limit))
    assert one_by_one["normal"] == "factors, streamed, of 64 pairs"
    assert one_by_one["predicted_host_bytes"] <= limit * 1e6 < at_once["predicted_host_bytes"]
    # The same products in other groups of frequencies.
    assert relative(streamed, resident) < 1e-6
    # Both forms of the normal operator are the same operator.
    collapsed, _ = reconstructed_rf(folder, **settings | {"normal": "toeplitz"})
    assert relative(collapsed, resident) < 1e-5


def test_each_pair_is_accounted_for(by_positions):
    folder, _, data = by_positions
    _, receipt = reconstructed_rf(folder, algorithm="matched-filter", model="W", force_model=True)
    assert [entry["pair"] for entry in receipt["pairs"]] == list(range(COUNT))
    for entry, values in zip(receipt["pairs"], data, strict=True):
        assert entry["bytes"] == values.nbytes // 2  # stored as complex64
        assert entry["read_seconds"] > 0
        assert entry["compute_seconds"] > 0
        assert min(entry["copy_seconds"], entry["stall_seconds"]) >= 0
    for name in ("bytes", "read_seconds", "compute_seconds"):
        total = sum(entry[name] for entry in receipt["pairs"])
        assert total == pytest.approx(receipt["streaming"][name], rel=1e-6)


@pytest.fixture(scope="module")
def five_pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    write_pairs(folder, SCENE, [circling(9 * index) for index in range(5)], FREQUENCIES[::16])
    return folder


@pytest.mark.parametrize("fusion", ["coherent", "non-coherent"])
def test_shards_add_up(five_pairs, fusion):
    """Pairs and frequencies cut into 1, 2, 5 and 16 shards; each repeats bit by bit."""
    folder = five_pairs
    settings = SOLVED | {"model": "W", "force_model": True, "fusion": fusion}
    settings |= {"deterministic": True, "host_mb": 4000}
    whole, _ = reconstructed_rf(folder, **settings)
    summed = {}
    for shards in (2, 5, 16):
        image, receipt = reconstructed_rf(folder, **settings, shards=shards)
        assert receipt["shards"] == shards
        assert relative(image, whole) < 1e-5
        paths = [
            share_path(files_in(folder).shares, "0000", f"{index:03d}") for index in range(shards)
        ]
        summed[shards] = sum(share_of(path) for path in paths)
        again, _ = reconstructed_rf(folder, **settings, shards=shards)
        assert np.array_equal(image, again)
    assert relative(summed[16], summed[2]) < 1e-6
    assert relative(summed[5], summed[2]) < 1e-6


def share_of(path):
    index = path.name.split(".")[0].split("-")
    with open_share(path, block=index[0], shard=index[1]) as share:
        return share.read("b", slice(None)).astype(np.complex128)


def test_frequencies_are_cut_where_there_are_more_shards_than_pairs(tmp_path):
    """The voxel phase is held at the centre of the whole band, whatever the shard."""
    band = FREQUENCIES[::32]
    pairs = [circling(3), circling(40)]
    write_pairs(tmp_path, SCENE, pairs, band)
    settings = SOLVED | {"model": "W+D(fc)", "force_model": True, "precision": "double"}
    whole, _ = reconstructed_rf(tmp_path, **settings)
    for normal in ("toeplitz", "factors"):
        cut, receipt = reconstructed_rf(tmp_path, **settings, normal=normal, shards=5)
        assert receipt["shards"] == 5
        assert relative(cut, whole) < 1e-9
    assert read_json(files_in(tmp_path).receipt("accumulate-0000-004"))["pairs"]


@pytest.mark.slow
def test_stored_factors_larger_than_memory_are_read_in_every_iteration(tmp_path):
    """In a process of its own: measured, predicted and limit, and the resident result."""
    band, pairs = FREQUENCIES[::2], [circling(2 * index) for index in range(COUNT // 2)]
    stored = {
        f"A{axis + 1}": [pair_model(SCENE, pair, band, "W").factor(axis) for pair in pairs]
        for axis in (0, 1)
    }
    generator = np.random.default_rng(5)
    measured = [complex_normal(generator, (1, len(band), *ROWS)) for _ in pairs]
    unknown = [None] * len(pairs)
    write_pairs(tmp_path, SCENE, unknown, band, positions=False, stored=stored, measured=measured)
    expected, at_once = reconstructed_rf(tmp_path, **SOLVED)
    assert at_once["normal"] == "factors, resident, of 32 pairs"
    size = factor_megabytes() / 4
    limit = int(at_once["predicted_host_bytes"] / 1e6 - size / 2)
    (job,) = run_jobs(tmp_path, {**SOLVED, "host_mb": limit}, kind="rf")
    assert job.receipt["normal"] == "factors, streamed, of 32 pairs"
    assert job.measured_mb <= job.row.host_mb <= limit
    read = sum(entry["bytes"] for entry in job.receipt["pairs"])
    # Once for the right-hand side, and in each of the iterations.
    assert read >= 4 * size * 1e6
    streamed, _ = reconstructed_rf(tmp_path, **SOLVED, host_mb=limit)
    assert relative(streamed, expected) < 1e-6


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(by_positions):
    folder, *_ = by_positions
    settings = SOLVED | {"model": "W", "force_model": True, "normal": "factors"}
    on_cpu, _ = reconstructed_rf(folder, **settings)
    on_gpu, _ = reconstructed_rf(folder, device="cuda", **settings)
    assert relative(on_gpu, on_cpu) < 1e-5
