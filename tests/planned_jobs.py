"""Plan a random acquisition and run its jobs, each in a fresh process, as the workflow would."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from acquisitions import reconstruction_settings, write_acquisition

from pipeline.config.base import canonical_json
from pipeline.engine.table import PlanRow, read_plan
from pipeline.storage.publish import read_json


class Job(NamedTuple):
    """A job of a plan, and the receipt that it left."""

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


def run_jobs(folder: Path, settings: dict[str, Any], *, blocks: int = 1) -> list[Job]:
    """Do as `run_plan` does, on the ``raw`` and ``calibration`` that are in the folder."""
    planned, chosen = reconstruction_settings(**settings)
    common = (
        *("--dataset", "random", "--reconstruction", "test", "--device", "cpu", "--threads", "2"),
        *("--raw", folder / "raw.json", "--calibration", folder / "calibration.json"),
        *("--plan", folder / "plan.tsv"),
    )
    receipt = folder / "plan.json"
    _run("plan", *common, "--settings", canonical_json(planned), "--receipt", receipt)
    plan = read_plan(folder / "plan.tsv")
    jobs = []
    for block in list(plan.blocks)[:blocks]:
        common_of_block = (*common, "--settings", canonical_json(chosen), "--block", block)
        shares = folder / "shares"
        for row in plan.shards(block):
            receipt = folder / f"accumulate-{block}-{row.shard}.json"
            share = shares / f"{block}-{row.shard}.zarr.zip"
            _run(
                "accumulate",
                *common_of_block,
                *("--shard", row.shard, "--share", share, "--receipt", receipt),
            )
            jobs.append(Job(row, read_json(receipt)))
        receipt = folder / f"reconstruct-{block}.json"
        image = folder / "blocks" / f"{block}.zarr.zip"
        _run(
            "reconstruct",
            *common_of_block,
            *("--shares", shares, "--image", image, "--receipt", receipt),
        )
        jobs.append(Job(plan.blocks[block], read_json(receipt)))
    return jobs


def _run(stage: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", stage, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
