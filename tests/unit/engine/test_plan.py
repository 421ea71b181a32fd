"""Plans: whole, within their limits, and refused with arithmetic that adds up."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.transforms import NufftSettings
from pipeline.engine.limits import Limits
from pipeline.engine.machine import Machine
from pipeline.engine.memory import footprint
from pipeline.engine.plan import Request, plan_jobs, plan_or_advise, shard_ranges
from pipeline.engine.rates import Rates
from pipeline.engine.table import Plan, read_plan, write_plan
from pipeline.engine.tiles import smallest_tiles
from pipeline.engine.work import Work
from pipeline.errors import PlanError
from pipeline.mri.model.costs import MriCosts

HOST = Limits(0, 4000)


def request(
    shape=(96, 80, 88),
    *,
    coils=8,
    readouts=4000,
    samples=128,
    images=1,
    shared=False,
    maps=True,
    limits=HOST,
    shards="auto",
    block_images="auto",
    itemsize=8,
    **chosen,
):
    explicit = chosen.get("normal") == "explicit"
    model = MriCosts(coils, readouts, samples, shared, maps, explicit=explicit)
    backend = "cufinufft" if limits.device_mb else "finufft"
    machine = Machine(limits.device_mb > 0, 2, itemsize, NufftSettings(backend=backend))
    settings = parse_algorithm({"algorithm": "cg-sense"} | chosen)
    work = Work.whole(shape, settings, model, machine, images)
    return Request(work, limits, Rates.host(2), shards=shards, block_images=block_images, who="who")


@given(
    channels=st.integers(1, 12), readouts=st.integers(1, 40), shards=st.integers(1, 60),
    cut=st.booleans(),
)  # fmt: skip
def test_shards_cover_each_readout_of_each_channel_once(channels, readouts, shards, cut):
    if shards > channels * (readouts if cut else 1):
        with pytest.raises(PlanError, match="at most"):
            shard_ranges(channels, readouts, shards, cut_readouts=cut)
        return
    pieces = shard_ranges(channels, readouts, shards, cut_readouts=cut)
    assert len(pieces) == shards
    counted = np.zeros((channels, readouts), int)
    for some, part in pieces:
        counted[some.start : some.stop, part.start : part.stop] += 1
    assert (counted == 1).all()
    if not cut:
        assert all(part == range(readouts) for _, part in pieces)
    # Each range of readouts has one shard that begins with the first channel: it makes the kernel.
    first = [part for some, part in pieces if some.start == 0]
    assert sorted(first, key=lambda part: part.start) == sorted(
        {part for _, part in pieces}, key=lambda part: part.start
    )


@example(
    shape=(82, 82), coils=33, readouts=412, images=5, shared=False, host_mb=351, device_mb=0,
    shards=3, algorithm="cg-sense",
)  # fmt: skip
@example(
    shape=(157, 136), coils=26, readouts=432, images=294, shared=False, host_mb=392, device_mb=0,
    shards=3, algorithm="admm",
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(8, 160), min_size=2, max_size=3).map(tuple),
    coils=st.integers(1, 33), readouts=st.integers(1, 20_000), images=st.integers(1, 300),
    shared=st.booleans(), host_mb=st.integers(320, 3000), device_mb=st.sampled_from([0, 200, 2000]),
    shards=st.sampled_from(["auto", 1, 3]),
    algorithm=st.sampled_from(["cg-sense", "gridding", "admm", "fista"]),
)  # fmt: skip
def test_what_is_planned_fits_and_covers_everything(
    shape, coils, readouts, images, shared, host_mb, device_mb, shards, algorithm
):
    if device_mb:
        host_mb += 2000  # for CUDA itself
    wanted = request(
        shape, coils=coils, readouts=readouts, images=images, shared=shared,
        limits=Limits(device_mb, host_mb), shards=shards, algorithm=algorithm,
    )  # fmt: skip
    rows, refusal = [], ""
    try:
        rows = plan_jobs(wanted)
    except PlanError as error:
        refusal = str(error)
    if not rows:  # some are too large, and the message says by how much
        assert "MB, but memory." in refusal or "at most" in refusal
        return
    plan = Plan.of(rows)
    covered = [
        image
        for row in plan.blocks.values()
        for image in range(row.first_image, row.first_image + row.images)
    ]
    assert covered == list(range(images))
    for row in rows:
        assert row.host_mb <= row.limit_host_mb == host_mb
        assert row.device_mb <= row.limit_device_mb == device_mb
        assert 1 <= row.image_batch <= row.images
        assert 1 <= row.coil_batch <= row.channels
        assert 1 <= row.readout_batch <= row.readouts
        assert row.seconds > 0
        assert row.runtime * 60 > row.seconds
        assert row.mem_mb > row.host_mb
    for block in plan.blocks:
        pieces = plan.shards(block)
        assert not pieces or sum(row.channels * row.readouts for row in pieces) == coils * readouts


def test_a_longer_measurement_needs_no_more_memory():
    """96^3 with 8 coils: 0.5, 2 and 8 GiB of k-space under one limit."""
    limits = Limits(0, 1500)
    needs = []
    for readouts in (16_384, 65_536, 262_144):
        rows = plan_jobs(
            request((96, 96, 96), readouts=readouts, samples=512, limits=limits, shards=1)
        )
        assert len(rows) == 1
        needs.append(rows[0].host_mb)
    assert max(needs) <= 1.1 * min(needs)


def test_a_limit_one_megabyte_too_small_is_refused_with_the_sum_that_shows_it():
    wanted = request(normal="explicit")
    least = footprint(smallest_tiles(wanted.work))
    enough = math.ceil(least.host_bytes / 1e6)
    assert plan_jobs(replace(wanted, limits=Limits(0, enough)))[0].host_mb == enough
    with pytest.raises(PlanError) as refused:
        plan_or_advise(replace(wanted, limits=Limits(0, enough - 1)))
    message = str(refused.value)
    assert f"needs {enough} MB, but memory.host_mb is {enough - 1} MB" in message
    parts = re.search(r"\(([^()]* MB)\)", message)
    assert sum(int(size) for size in re.findall(r"(\d+)(?= \+| MB)", parts[1])) == pytest.approx(
        enough, abs=10
    )
    # Each change that it names has been tried. So they hold: the limit and the matrix.
    raised = int(re.search(r"memory.host_mb: (\d+)", message)[1])
    assert plan_jobs(replace(wanted, limits=Limits(0, raised)))
    smaller = tuple(map(int, re.search(r"shape: \[([\d, ]+)\]", message)[1].split(", ")))
    assert math.prod(smaller) < math.prod(wanted.work.shape)
    work = replace(wanted.work, shape=smaller)
    assert plan_jobs(replace(wanted, work=work, limits=Limits(0, enough - 1)))


def test_admm_of_256_cubed_on_a_device_of_8_gigabytes():
    """Holds b, 6.5 images of 134 MB, 8 coil maps and the doubled grid, however many iterations."""
    wanted = request(
        (256, 256, 256), coils=8, readouts=40_000, samples=512, limits=Limits(8000, 16_000),
        algorithm="admm", iterations=200, shards=1,
    )  # fmt: skip
    (row,) = plan_jobs(wanted)
    image = 8 * 256**3 / 1e6
    held = image * (1 + 6.5 + 8) + 4 * 512**3 / 1e6
    assert held < row.device_mb <= 8000
    short = replace(wanted.work, settings=parse_algorithm({"algorithm": "admm", "iterations": 2}))
    assert plan_jobs(replace(wanted, work=short))[0].device_mb == row.device_mb
    with pytest.raises(PlanError, match=r"Toeplitz kernel \d+ \+ spectra \d+"):
        plan_jobs(replace(wanted, limits=Limits(int(held), 16_000)))


@pytest.mark.parametrize(
    ("algorithm", "images"),
    [
        ({"algorithm": "cg-sense"}, 4),
        ({"algorithm": "fista"}, 4.5),
        ({"algorithm": "admm"}, 6.5),
        ({"algorithm": "admm", "penalty": "tv"}, 19),
        ({"algorithm": "primal-dual", "penalty": "tv"}, 11.5),
        ({"algorithm": "primal-dual", "penalty": "tgv"}, 39.5),
        ({"algorithm": "omp", "points": 5}, 4.5),
    ],
)
def test_each_algorithm_is_planned_with_its_own_vectors(algorithm, images):
    chosen = parse_algorithm(algorithm)
    found = chosen.vectors((1, 256, 256, 256), itemsize=8, kernels=1)
    assert found / (8 * 256**3) == pytest.approx(images, rel=0.05)


def test_shards_of_coils_have_one_kernel_and_those_of_readouts_one_each():
    by_coils = Plan.of(plan_jobs(request(shards=4))).shards("0000")
    assert [row.channels for row in by_coils] == [2, 2, 2, 2]
    image, spectrum = 8 * 96 * 80 * 88 / 1e6, 4 * 192 * 160 * 176 / 1e6
    assert by_coils[0].disk_mb == pytest.approx(image + spectrum, abs=1)
    assert by_coils[1].disk_mb == pytest.approx(image, abs=1)
    by_readouts = Plan.of(plan_jobs(request(coils=1, maps=False, shards=4))).shards("0000")
    assert [row.readouts for row in by_readouts] == [1000] * 4
    assert {row.disk_mb for row in by_readouts} == {by_coils[0].disk_mb}


def test_measurements_that_take_too_long_are_cut():
    rows = plan_jobs(request(coils=64, readouts=2_000_000, samples=512))
    shards = [row for row in rows if row.stage == "accumulate"]
    assert len(shards) > 1
    assert max(row.seconds for row in shards) < 1.5 * 600


def test_root_sums_of_squares_are_cut_by_coils_only():
    wanted = request(coils=3, maps=False, algorithm="gridding", shards=4)
    with pytest.raises(PlanError, match="3 channels are at most 3 pieces"):
        plan_jobs(wanted)


def test_a_plan_survives_the_disk(tmp_path):
    rows = plan_jobs(request(images=3, block_images=2, shards=2))
    write_plan(tmp_path / "plan.tsv", rows)
    plan = read_plan(tmp_path / "plan.tsv")
    assert list(plan.blocks.values()) == [row for row in rows if row.stage == "reconstruct"]
    assert [row.shard for row in plan.shards("0001")] == ["000", "001"]
    assert plan.shard("0000", "001").work() != plan.shard("0001", "001").work()


def test_maps_larger_than_the_device_stream():
    """64 coils of 256 x 256 x 256 take 8.6 GB; the rest of the job fits 5 GB."""
    volume = {"shape": (256, 256, 256), "coils": 64}
    (ample,) = plan_jobs(request(**volume, limits=Limits(24000, 64000)))
    (tight,) = plan_jobs(request(**volume, limits=Limits(7800, 64000)))
    assert ample.resident
    assert not tight.resident
    assert tight.device_mb <= 7800 < 8 * 64 * 256**3 / 1e6
