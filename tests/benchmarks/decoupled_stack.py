"""A stack of stars as one volume and decoupled into slices: processor seconds, memory and error.

    python tests/benchmarks/decoupled_stack.py [--shape 32 64 64] [--spokes 60]

simulates ellipsoids seen by eight coils, ingests them once as they are and once with
`decouple_partitions`, and solves for the image by cg-sense as it comes by default, in one process
and on one thread. Memory is that of the largest job, beside what a process takes.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from benchmarks.defaults import error_of
from pipeline.config.datasets import Dataset
from pipeline.engine import processes
from pipeline.engine.table import read_plan
from pipeline.in_process import STAGES, run
from pipeline.storage.publish import open_published, read_json


def measured(folder: Path, name: str, source: dict[str, object], row: Dataset) -> str:
    """Return a line of the table, for a dataset with one reconstruction."""
    config = {
        "data_root": str(folder),
        "compute": {"device": "cpu", "threads": 1},
        "output": {"ome_zarr": False, "nifti": False},
        "sources": {row.dataset: source},
        "reconstructions": {"cg": {"algorithm": "cg-sense"}},
    }
    seconds = []
    for stage in STAGES[: STAGES.index("merge")]:
        began = time.process_time()
        files = run(config, row, "cg", folder / "results", first=stage, until=stage)
        seconds.append(f"{time.process_time() - began:.1f}")
    blocks = read_plan(files.plan).blocks
    need = max(each.host_mb for each in blocks.values()) - processes.RECONSTRUCT / 1e6
    files = run(config, row, "cg", folder / "results", first="merge", until="merge")
    image = np.abs(open_published(files.image)["image"][:]).squeeze()
    truth = np.abs(open_published(files.raw)["reference"][:]).squeeze()
    iterations = [
        read_json(files.receipt(f"reconstruct-{block}"))["iterations"] for block in blocks
    ]
    cells = (name, *seconds, f"{need:.0f}", np.mean(iterations), f"{error_of(image, truth):.4f}")
    return f"| {' | '.join(map(str, cells))} |\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(32, 64, 64))
    parser.add_argument("--spokes", type=int, default=60)
    parser.add_argument("--coils", type=int, default=8)
    chosen = parser.parse_args(arguments)
    simulation = {
        "trajectory": "stack-of-stars", "readouts": chosen.spokes, "coils": chosen.coils,
        "samples": 2 * chosen.shape[-1], "snr_db": 25,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row = Dataset(
            dataset="scan", kind="mri", format="simulation", source="ellipses",
            reconstructions=("cg",),
        )  # fmt: skip
        run(
            {"sources": {"scan": {"shape": chosen.shape, "simulation": simulation}},
             "reconstructions": {"cg": {"algorithm": "cg-sense"}}},
            row, "cg", folder, until="ingest",
        )  # fmt: skip
        sys.stdout.write(f"| | {' | '.join(STAGES[:5])} | MB | iterations | error |\n")
        for dataset in ("warm", "volume", "slices"):
            one = row.model_copy(
                update={"dataset": dataset, "format": "native", "source": "scan/raw.json"}
            )
            source = {"decouple_partitions": True} if dataset == "slices" else {}
            with redirect_stdout(StringIO()):
                line = measured(folder, dataset, source, one)
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
