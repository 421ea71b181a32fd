"""Plan a random acquisition and run its jobs, each in a fresh process, as the workflow would."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from acquisitions import config_of, dataset_in, write_acquisition
from device_memory import DeviceMemory

from pipeline.config.base import canonical_json
from pipeline.config.datasets import stage_settings
from pipeline.engine.table import PlanRow, read_plan
from pipeline.in_process import run
from pipeline.storage.publish import read_json
from pipeline.storage.shares import share_path


class Job(NamedTuple):
    """A job of a plan, and the receipt that it left.

    With what the driver saw of the device's memory besides, ``used_device_bytes``; 0 on a CPU.
    """

    row: PlanRow
    receipt: dict[str, Any]

    @property
    def measured_mb(self) -> float:
        return self.receipt["peak_host_bytes"] / 1e6


def run_plan(
    folder: Path, acquisition: dict[str, Any], settings: dict[str, Any], *, blocks: int = 1
) -> list[Job]:
    """Plan an acquisition and run the jobs of the first blocks: shards first, then the block."""
    write_acquisition(folder, **acquisition)
    return run_jobs(folder, settings, blocks=blocks)


def run_jobs(
    folder: Path, settings: dict[str, Any], *, blocks: int = 1, kind: str = "mri"
) -> list[Job]:
    """Do as `run_plan` does, on the ``raw`` and ``calibration`` that are in the folder."""
    config, dataset = config_of(**settings), dataset_in(folder, kind)
    files = run(config, dataset, "test", folder.parent, first="plan", until="plan")
    settings_of = partial(stage_settings, config, dataset, reconstruction="test")
    common = (
        *("--device", settings.get("device", "cpu"), "--threads", "2"),
        *("--dataset", files.dataset, "--reconstruction", files.reconstruction),
        *("--raw", files.raw, "--calibration", files.calibration, "--plan", files.plan),
    )
    plan = read_plan(files.plan)
    jobs = []
    for block in list(plan.blocks)[:blocks]:
        for row in plan.shards(block):
            receipt = files.receipt(f"accumulate-{block}-{row.shard}")
            share = share_path(files.shares, block, row.shard)
            used = _run(
                *("accumulate", "--settings", canonical_json(settings_of("accumulate"))),
                *(*common, "--block", block, "--shard", row.shard),
                *("--share", share, "--receipt", receipt),
            )
            jobs.append(Job(row, {**read_json(receipt), "used_device_bytes": used}))
        receipt = files.receipt(f"reconstruct-{block}")
        used = _run(
            *("reconstruct", "--settings", canonical_json(settings_of("reconstruct"))),
            *(*common, "--block", block, "--shares", files.shares),
            *("--image", files.block(block), "--receipt", receipt),
        )
        receipt = {**read_json(receipt), "used_device_bytes": used}
        jobs.append(Job(plan.blocks[block], receipt))
    return jobs


def _run(*arguments: object) -> int:
    with DeviceMemory() as used:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return used.peak_bytes
