"""A series that a device is too small for: the same images, by way of tiles of images.

The plan is for a device that this machine does not have; the jobs then run on its CPU.
"""

import pytest
import torch
from acquisitions import config_of, dataset_in, reconstruction_settings, write_acquisition
from allocations import Allocations
from exact import relative_error
from stage_runs import files_in, reconstructed

from pipeline.engine import block
from pipeline.engine.series_on_host import SeriesOnHost
from pipeline.engine.table import read_plan
from pipeline.errors import PlanError
from pipeline.in_process import run
from pipeline.stages.plan import plan
from pipeline.storage.archives import open_archive
from pipeline.storage.publish import read_json

SIZES = {"shape": (28, 32, 24), "coils": 3, "readouts": 20, "samples": 64, "frames": 6}
CG = {"algorithm": "cg-sense", "iterations": 2, "regularization": 0.1}
DECAY = {"basis": "t2-decay", "times": [0.01 * n for n in range(1, 7)]}
CASES = {
    "kernels of each image": ({}, {**CG, "series": {"basis": "frames"}}),
    "a kernel that all share": (
        {"own_trajectory": False},
        {"algorithm": "fista", "penalty": "llr", "iterations": 2, "series": {"basis": "frames"}},
    ),
    "coefficients": ({}, {**CG, "series": DECAY}),
    "shards": ({}, {**CG, "series": {"basis": "frames"}, "shards": 2}),
}


def planned(folder, device_mb, **settings):
    """Return the rows of a plan for a device with so much memory."""
    files = files_in(folder)
    chosen, _ = reconstruction_settings(
        device="cuda", device_mb=device_mb, **{"host_mb": 8000} | settings
    )
    plan(
        settings=chosen, dataset=folder.name, reconstruction="test", raw=files.raw,
        calibration=files.calibration, plan=files.plan, receipt=files.receipt("plan"),
        device="cuda", threads=2,
    )  # fmt: skip
    rows = read_plan(files.plan)
    return [*rows.shards("0000"), rows.blocks["0000"]]


def on_host(folder, row, **settings):
    """Return the row of the first plan for ever less of a device that leaves a series on the host.

    Before that it takes smaller tiles, and reads coil maps each time.
    """
    assert not row.on_host
    while not row.on_host:
        *_, row = planned(folder, int(0.95 * row.device_mb), **settings)
    return row


def solved(folder, monkeypatch, **settings):
    """Run the jobs of the plan that is there; return images, operators and the peak of tensors."""
    kept = []

    class Kept(SeriesOnHost):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            kept.append(self)

    monkeypatch.setattr(block, "SeriesOnHost", Kept)
    with Allocations() as tensors:
        files = run(
            config_of(**settings), dataset_in(folder), "test", folder.parent,
            first="accumulate", until="reconstruct",
        )  # fmt: skip
    with open_archive(files.block("0000")) as group:
        return group["image"][:], kept, tensors.peak


@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_a_device_that_holds_all(tmp_path, monkeypatch, case):
    acquisition, settings = CASES[case]
    write_acquisition(tmp_path, **SIZES, **acquisition)
    whole, _ = reconstructed(tmp_path, **settings)
    *_, resident = planned(tmp_path, 4000, **settings)
    row = on_host(tmp_path, resident, **settings)
    assert row.device_mb <= row.limit_device_mb < resident.device_mb
    assert row.host_mb > resident.host_mb
    found, (operator,), peak = solved(tmp_path, monkeypatch, **settings)
    assert relative_error(found, whole) < 1e-5
    # Here both are one memory.
    assert peak <= 1e6 * (row.host_mb + row.device_mb)
    numbers = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, *operator.share.b.shape, dtype=torch.complex64, generator=numbers)
    once = operator(x)
    forward, back = torch.vdot(y.ravel(), once.ravel()), torch.vdot(operator(y).ravel(), x.ravel())
    assert abs(forward - back) < 1e-4 * abs(forward)
    # Where the device has less than planned, the tiles are halved, and the result is the same.
    gram_of, asked = operator._gram_of, []

    def short_of_memory(images, share):
        asked.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError
        return gram_of(images, share)

    if operator._resident is None:
        monkeypatch.setattr(operator, "_gram_of", short_of_memory)
        assert relative_error(operator(x).numpy(), once.numpy()) < 1e-6
        assert asked == sorted(asked, reverse=True)
        assert asked[0] > 1 == asked[-1]


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_images_by_way_of_a_gpu_are_those_of_the_cpu(tmp_path, case):
    acquisition, settings = CASES[case]
    write_acquisition(tmp_path, **SIZES, **acquisition)
    on_cpu, _ = reconstructed(tmp_path, **settings)
    *_, resident = planned(tmp_path, 4000, **settings)
    on_host(tmp_path, resident, **settings)
    files = run(
        config_of(device="cuda", **settings), dataset_in(tmp_path), "test", tmp_path.parent,
        first="accumulate", until="reconstruct",
    )  # fmt: skip
    with open_archive(files.block("0000")) as group:
        assert relative_error(group["image"][:], on_cpu) < 5e-3
    receipt = read_json(files.receipt("reconstruct-0000"))
    assert receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]


def test_a_host_that_is_too_small_is_told_what_of(tmp_path):
    write_acquisition(tmp_path, **SIZES)
    settings = {**CG, "series": {"basis": "frames"}}
    (row,) = planned(tmp_path, 4000, **settings)
    row = on_host(tmp_path, row, **settings)
    with pytest.raises(PlanError, match=r"memory.host_mb is 2\d+ MB \(.*solver vectors \d+ "):
        planned(tmp_path, row.limit_device_mb, **settings, host_mb=row.host_mb - 20)
