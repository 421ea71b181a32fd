"""Plan and reconstruct an acquisition on disk, in this process."""

from pathlib import Path
from typing import Any

import numpy as np
from acquisitions import config_of, dataset_in

from pipeline.engine.table import read_plan
from pipeline.in_process import ResultPaths, run
from pipeline.storage.archives import open_archive
from pipeline.storage.publish import read_json


def files_in(folder: Path) -> ResultPaths:
    """Return where a run on the ``raw`` and ``calibration`` of a folder leaves its files."""
    return ResultPaths(folder.parent, folder.name, "test")


def reconstructed(
    folder: Path, *, kind: str = "mri", **settings: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the images of all blocks and the last receipt.

    ``folder`` holds ``raw`` and ``calibration``.
    """
    files = run(
        config_of(**settings), dataset_in(folder, kind), "test", folder.parent,
        first="plan", until="reconstruct",
    )  # fmt: skip
    images = []
    for block in read_plan(files.plan).blocks:
        with open_archive(files.block(block)) as group:
            images.append(group["image"][:])
    return np.concatenate(images), read_json(files.receipt(f"reconstruct-{block}"))
