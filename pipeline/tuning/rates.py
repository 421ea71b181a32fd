"""The rates that a plan predicts seconds by, from what was measured."""

import io
import math
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from pipeline.config.base import canonical_json
from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import load_config
from pipeline.engine.rates import Rates, toeplitz_flops
from pipeline.engine.transform_costs import transform_work
from pipeline.engine.tuning_file import ProductTiming, TransformTiming
from pipeline.errors import DeviceError
from pipeline.in_process import run
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.raw import RawData
from pipeline.operators.contraction import COMPLEX_MULTIPLY_ADD
from pipeline.storage.layout import tiles
from pipeline.storage.publish import published_store, read_json
from pipeline.tuning.acquisition import TunedAcquisition
from pipeline.tuning.timing import best_of
from pipeline.tuning.transforms import DTYPES, Batch, Candidate

_FEW_SAMPLES = 256
_LEAST_PART = 0.05
"""Of the time of a transform that gridding is taken to need, where it is lost in the noise."""
_MATRIX = 768
_PASS_BYTES = 2**24
_READ_BYTES = 2**27
_TILE_BYTES = 2**26
_TINY = (16, 14)
_STARTS = 3
_START_CONFIG: dict[str, Any] = {
    "memory": {"shards": 1},
    "sources": {
        "tune": {
            "shape": _TINY,
            "simulation": {
                "trajectory": "golden-radial", "readouts": 24, "samples": 32, "coils": 2
            },
        }
    },
    "reconstructions": {"start": {"algorithm": "cg-sense", "iterations": 2}},
}  # fmt: skip
_START_DATASET = Dataset(
    dataset="tune",
    kind="mri",
    format="simulation",
    source="shepp-logan",
    reconstructions=("start",),
)


def measure_rates(
    acquisition: TunedAcquisition,
    chosen: TransformTiming,
    product: ProductTiming,
    *,
    transforms: int,
) -> Rates:
    """Return rates by which the plan predicts the times of the chosen transform and product.

    So many transforms are done together.
    """
    start = _start_seconds(acquisition)
    candidate = Candidate.of(chosen)
    points, flops = transform_work(
        acquisition.shape,
        acquisition.samples,
        tolerance=chosen.tolerance,
        oversampling=(chosen.oversampling,) * len(acquisition.shape),
        itemsize=DTYPES[chosen.precision].itemsize,
    )
    assert chosen.adjoint_seconds is not None
    assert chosen.setup_seconds is not None
    grid = _grid_seconds(candidate, acquisition, transforms)
    gridding = max(chosen.adjoint_seconds - grid, _LEAST_PART * chosen.adjoint_seconds)
    return Rates(
        spread=points / gridding,
        sort=acquisition.samples / chosen.setup_seconds,
        fft=flops / min(grid, chosen.adjoint_seconds),
        toeplitz=toeplitz_flops(acquisition.shape) / product.seconds,
        gemm=_gemm_rate(acquisition.device),
        memory=_memory_rate(acquisition),
        read=_read_rate(acquisition),
        start=start,
    )


def _grid_seconds(candidate: Candidate, acquisition: TunedAcquisition, transforms: int) -> float:
    """Return the seconds of an adjoint of hardly any samples: filling and transforming its grid."""
    batch = Batch.of(acquisition, transforms, candidate.precision)
    transform = candidate.transform(
        acquisition.shape,
        batch.trajectory[..., :_FEW_SAMPLES].contiguous(),
        coils=batch.coils,
        threads=acquisition.threads,
    )
    samples = batch.samples[..., :_FEW_SAMPLES].contiguous()
    return best_of(lambda: transform.adjoint(samples), acquisition.device) / batch.transforms


def _gemm_rate(device: torch.device) -> float:
    matrix = torch.randn(_MATRIX, _MATRIX, dtype=torch.complex64, device=device)
    return COMPLEX_MULTIPLY_ADD * _MATRIX**3 / best_of(lambda: matrix @ matrix, device)


def _memory_rate(acquisition: TunedAcquisition) -> float:
    """Return the bytes a second of ``y += a x`` on a batch of images: two reads and a write."""
    device = acquisition.device
    images = max(1, _PASS_BYTES // (8 * math.prod(acquisition.shape)))
    x, y = torch.zeros(2, images, *acquisition.shape, dtype=torch.complex64, device=device)
    return float(3 * x.nbytes) / best_of(lambda: y.add_(x, alpha=2.0), device)


def _read_rate(acquisition: TunedAcquisition) -> float:
    """Return the bytes a second from a store to the device; of a passing one if there is none."""
    if acquisition.raw is not None:
        return _read_store(acquisition.raw, acquisition.device)
    with tempfile.TemporaryDirectory(prefix="kronufft-tune-") as folder:
        marker = Path(folder) / "raw.json"
        sizes = (1, 1, _READ_BYTES // 2**12, 2**9)
        with published_store(marker) as group:
            group.attrs.update(shape=[2, 2], voxel_size=[1.0, 1.0], affine=[[1.0]])
            ARRAYS.create(group, "kspace", sizes)[:] = 0
            ARRAYS.create(group, "trajectory", (1, 1, 1, 2))[:] = 0
        return _read_store(marker, acquisition.device)


def _read_store(marker: Path, device: torch.device) -> float:
    """Return the bytes a second of reading k-space, tile by tile."""
    raw = RawData.open(marker)
    read, seconds = 0, 0.0
    shape = (raw.frames, raw.coils, raw.readouts, raw.samples)
    chunks = ARRAYS["kspace"].chunks(shape)
    at_once = max(1, _TILE_BYTES // (8 * math.prod(chunks)))  # coils
    for frame, coils, readouts, _ in tiles(shape, (1, at_once, *chunks[2:])):
        start = time.perf_counter()
        tile = torch.from_numpy(raw.kspace(frame.start, coils, readouts)).to(device)
        tile.sum().item()  # on a device, reading goes on until it is asked for
        seconds += time.perf_counter() - start
        read += tile.nbytes
        if read >= _READ_BYTES:
            break
    return read / seconds


def _start_seconds(acquisition: TunedAcquisition) -> float:
    """Return the wall time, without imports, of a job that has next to nothing to do [s].

    Raises `DeviceError` if the job fails.
    """
    device, threads = str(acquisition.device), acquisition.threads
    config = load_config({**_START_CONFIG, "compute": {"device": device, "threads": threads}})
    settings = stage_settings(config, _START_DATASET, "reconstruct", "start")
    with tempfile.TemporaryDirectory(prefix="kronufft-tune-") as name:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            files = run(config, _START_DATASET, "start", Path(name), until="plan")
        receipt = files.receipt("reconstruct-0000")
        arguments: list[object] = [
            *("--settings", canonical_json(settings)),
            *("--dataset", files.dataset, "--reconstruction", "start", "--block", "0000"),
            *("--raw", files.raw, "--calibration", files.calibration, "--plan", files.plan),
            *("--shares", files.shares, "--image", files.block("0000"), "--receipt", receipt),
            *("--device", device, "--threads", threads),
        ]
        found = []
        for _ in range(_STARTS):
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", "reconstruct", *map(str, arguments)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise DeviceError(f"tune: a job of {_TINY} voxels failed: {done.stderr.strip()}")
            found.append(float(read_json(receipt)["seconds"]))
        return min(found)
