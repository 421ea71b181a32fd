"""Plan and reconstruct an acquisition on disk, stage by stage as the workflow does."""

from pathlib import Path
from typing import Any

import numpy as np
from acquisitions import reconstruction_settings

from pipeline.engine.table import read_plan
from pipeline.stages.accumulate import accumulate
from pipeline.stages.plan import plan
from pipeline.stages.reconstruct import reconstruct
from pipeline.storage.blocks import open_block
from pipeline.storage.publish import read_json


def run(folder: Path, device: str = "cpu", **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the images of all blocks and the last receipt.

    ``folder`` holds ``raw`` and ``calibration``.
    """
    planned, chosen = reconstruction_settings(**settings)
    common: dict[str, Any] = {
        "dataset": "random",
        "reconstruction": "test",
        "raw": folder / "raw.json",
        "calibration": folder / "calibration.json",
        "plan": folder / "plan.tsv",
        "device": device,
        "threads": 2,
    }
    plan(settings=planned, receipt=folder / "plan.json", **common)
    table = read_plan(folder / "plan.tsv")
    images = []
    for block in table.blocks:
        for row in table.shards(block):
            accumulate(
                settings=chosen,
                block=block,
                shard=row.shard,
                share=folder / "shares" / f"{block}-{row.shard}.zarr.zip",
                receipt=folder / f"{block}-{row.shard}.json",
                **common,
            )
        path, receipt = folder / f"{block}.zarr.zip", folder / f"{block}.json"
        reconstruct(
            settings=chosen,
            block=block,
            shares=folder / "shares",
            image=path,
            receipt=receipt,
            **common,
        )
        with open_block(path) as group:
            images.append(group["image"][:])
    return np.concatenate(images), read_json(receipt)
