"""A large volume with known truth: seconds, memory and error of a reconstruction by default.

    python tests/benchmarks/large_volume.py --folder FOLDER [--size 256] [--readouts 104000]

simulates ellipsoids seen by 20 coils along a kooshball, with noise, runs the stages with
``memory.host_mb: 8000`` on two threads and prints what each took. The measurement, 10 GB at 256^3,
stays in the folder, and what was ingested and calibrated with it: another run reconstructs alone.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.defaults import error_of
from pipeline.config.datasets import Dataset
from pipeline.engine.table import read_plan
from pipeline.in_process import STAGES, ResultPaths, run
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import Ellipsoid, voxel_average
from pipeline.mri.generators.radial import kooshball
from pipeline.mri.trajectories import wrapped
from pipeline.pieces import pieces
from pipeline.storage.publish import open_published, read_json

OBJECT = (
    Ellipsoid(1.0, semi_axes=(0.75, 0.8, 0.6), centre=(0.0, 0.0, 0.0)),
    Ellipsoid(-0.6, semi_axes=(0.68, 0.72, 0.53), centre=(0.0, 0.0, 0.0)),
    Ellipsoid(0.3, semi_axes=(0.3, 0.2, 0.15), centre=(0.1, -0.2, 0.2)),
    Ellipsoid(0.4, semi_axes=(0.08, 0.1, 0.06), centre=(-0.2, 0.3, -0.2)),
    Ellipsoid(-0.2, semi_axes=(0.2, 0.25, 0.1), centre=(0.0, 0.2, 0.1)),
)
"""Axes along those of the volume, in half fields of view."""
_SLAB = 2**21
"""Samples that are simulated at a time."""
_STEPS = 2**20
"""Entries of the table of the transform of a ball."""


def ball(furthest: float) -> torch.Tensor:
    """Return the transform of the unit ball at frequencies from 0 to the furthest."""
    k = torch.linspace(0, furthest, _STEPS, dtype=torch.float64).clamp(min=1e-3)
    values: torch.Tensor = 4 * torch.pi * (k.sin() - k * k.cos()) / k**3
    return values.float()


def transform(k: torch.Tensor, size: int, table: torch.Tensor, furthest: float) -> torch.Tensor:
    """Return the object's transform at ``k`` ``(axis, sample)`` [rad/voxel], complex64."""
    half, total = size / 2, torch.zeros(k.shape[1], dtype=torch.complex64)
    for one in OBJECT:
        axes = half * torch.tensor(one.semi_axes, dtype=torch.float64)
        centre = half * torch.tensor(one.centre, dtype=torch.float64)
        place = torch.linalg.vector_norm(axes[:, None] * k, dim=0) * ((_STEPS - 1) / furthest)
        values = table[place.long().clamp_(max=_STEPS - 1)] * float(one.intensity * axes.prod())
        total += torch.polar(values, -(centre @ k).remainder(2 * torch.pi).float())
    return total


def simulate(folder: Path, size: int, readouts: int, coils: int, snr_db: float) -> None:
    """Write the measurement, true maps and the truth."""
    shape, samples = (size,) * 3, size * 3 // 2
    array = coils_around(shape, coils)
    np.save(folder / "reference.npy", voxel_average(OBJECT, shape)[None].astype(np.complex64))
    maps = np.lib.format.open_memmap(
        folder / "sensitivities.npy", "w+", np.complex64, (coils, *shape)
    )
    for planes in pieces(size, 8):
        maps[:, planes] = array.maps(rows=planes)
    trajectory = wrapped(kooshball(readouts, samples))
    np.save(folder / "trajectory.npy", trajectory)
    kspace = np.lib.format.open_memmap(
        folder / "kspace.npy", "w+", np.complex64, (coils, readouts, samples)
    )
    furthest = 1.1 * np.pi * size
    table = ball(furthest)
    coefficients = torch.from_numpy(array.coefficients).to(torch.complex64)
    generator, energy = torch.Generator().manual_seed(0), 0.0
    parts = pieces(readouts, max(1, _SLAB // samples))
    for part in parts:
        k = torch.from_numpy(trajectory[part].reshape(-1, 3).T.astype(np.float64))
        terms = [
            transform(k - torch.from_numpy(shift)[:, None], size, table, furthest)
            for shift in array.shifts
        ]
        signal = coefficients @ torch.stack(terms)
        energy += float(signal.abs().square().double().sum())
        kspace[:, part] = signal.numpy().reshape(coils, -1, samples)
    deviation = np.sqrt(energy / kspace.size) * 10 ** (-snr_db / 20)
    for part in parts:
        shape_of_part = kspace[:, part].shape
        noise = torch.randn(shape_of_part, dtype=torch.complex64, generator=generator)
        kspace[:, part] += deviation * noise.numpy()
    kspace.flush()


def config_of(size: int, host_mb: int, threads: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the config of one dataset and one reconstruction."""
    axes = {
        "kspace": ["coil", "readout", "sample"],
        "trajectory": ["readout", "sample", "axis"],
        "sensitivities": ["coil", "z", "y", "x"],
        "reference": ["frame", "z", "y", "x"],
    }
    arrays: dict[str, Any] = {
        name: {"file": f"{name}.npy", "axes": each} for name, each in axes.items()
    }
    arrays["trajectory"]["units"] = "rad_per_voxel"
    return {
        "memory": {"host_mb": host_mb},
        "compute": {"device": "cpu", "threads": threads},
        "output": {"ome_zarr": False, "nifti": False},
        "sources": {"volume": {"shape": [size] * 3, "arrays": arrays}},
        "reconstructions": {"image": settings},
    }


def main() -> None:
    """Simulate, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--readouts", type=int, default=104_000)
    parser.add_argument("--coils", type=int, default=20)
    parser.add_argument("--snr", type=float, default=30.0, help="of all samples [dB]")
    parser.add_argument("--host-mb", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--algorithm", default="cg-sense")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if not (chosen.folder / "kspace.npy").exists():
        began = time.perf_counter()
        simulate(chosen.folder, chosen.size, chosen.readouts, chosen.coils, chosen.snr)
        sys.stdout.write(f"simulated in {time.perf_counter() - began:.0f} s\n")
    results = chosen.folder / "results"
    settings = {"algorithm": chosen.algorithm}
    config = config_of(chosen.size, chosen.host_mb, chosen.threads, settings)
    row = Dataset(
        dataset="volume", kind="mri", format="arrays", source=str(chosen.folder),
        reconstructions=["image"],
    )  # fmt: skip
    known = ResultPaths(results, "volume", "image").calibration.exists()
    for stage in STAGES[2 if known else 0 : STAGES.index("merge") + 1]:
        began = time.perf_counter()
        files = run(config, row, "image", results, first=stage, until=stage)
        sys.stdout.write(f"{stage}: {time.perf_counter() - began:.1f} s\n")
        sys.stdout.flush()
    receipt = read_json(files.receipt("reconstruct-0000"))
    (planned, *_) = read_plan(files.plan).blocks.values()
    phases = {name: round(part["seconds"], 1) for name, part in receipt["phases"].items()}
    image = np.abs(np.asarray(open_published(files.image)["image"][0]))
    error = error_of(image, np.abs(np.load(chosen.folder / "reference.npy")[0]))
    sys.stdout.write(
        f"error {error:.3f}, {receipt['iterations']} iterations, reconstruct "
        f"{receipt['seconds']:.0f} s ({planned.seconds:.0f} predicted), "
        f"{receipt['peak_host_bytes'] / 1e6:.0f} MB ({planned.host_mb:.0f} predicted)\n{phases}\n"
    )


if __name__ == "__main__":
    main()
