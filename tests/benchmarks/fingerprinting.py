"""Fingerprinting in three dimensions: few coefficients of many time points, at any size.

``python tests/benchmarks/fingerprinting.py --size 64`` writes random samples on spirals that are
turned in space, plans their reconstruction, runs it in a process of its own and prints lines for
docs/performance.md: what was planned and measured, and what the same work would take on an H200.
A scan of 1 mm has ``--size 220`` (it needs 20 GB and about ten minutes on two cores).
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from acquisitions import write_acquisition
from planned_jobs import run_jobs

from pipeline.operators.toeplitz_memory import padded_shape

_REPETITION = 0.0125
"""Between time points [s]."""
_BANDWIDTH, _SUSTAINED = 4.8e12, 0.6
"""Bytes a second of an H200's memory by its data sheet, and the part that is counted on."""
_GRIDDED = 3e-9
"""Seconds to grid a sample of a volume at 1e-3 in single precision, after cuFINUFFT's figures for
an A100; kernels at 1e-6 take ten times as long."""


def spirals(frames: int, readouts: int, samples: int) -> NDArray[np.float32]:
    """Return planar spirals from the centre out, each turned in space by the golden means.

    ``(frame, readout, sample, axis)`` [rad/voxel].
    """
    along = np.linspace(0, 1, samples)
    radius, angle = np.pi * 0.98 * along**1.3, 2 * np.pi * (samples / 60) * along
    number = np.arange(frames * readouts)
    polar = np.arccos(1 - 2 * np.mod(0.4656 * (number + 0.5), 1))
    azimuth = 2 * np.pi * np.mod(0.6823 * number, 1)
    zero = np.zeros_like(polar)
    # Two directions that span each plane.
    one = [np.cos(polar) * np.cos(azimuth), np.cos(polar) * np.sin(azimuth), -np.sin(polar)]
    other = [-np.sin(azimuth), np.cos(azimuth), zero]
    first, second = (np.stack(each, -1)[:, None] for each in (one, other))
    turned = radius[:, None] * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
    return np.asarray(turned, np.float32).reshape(frames, readouts, samples, 3)


def coil_maps(shape: tuple[int, ...], coils: int) -> NDArray[np.complex64]:
    """Return smooth maps of coils around the volume, their sum of squares one."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij", sparse=True)
    maps = np.empty((coils, *shape), np.complex64)
    for coil in range(coils):
        angle, height = 2 * np.pi * coil / coils, (coil % 3 - 1) / 2
        place = (height, 1.2 * np.sin(angle), 1.2 * np.cos(angle))
        far = sum((axis - at) ** 2 for axis, at in zip(axes, place, strict=True))
        maps[coil] = np.exp(-far / 1.5 + 1j * (angle + 0.7 * axes[coil % 3]))
    maps /= np.sqrt(sum(np.abs(one) ** 2 for one in maps))
    return maps


def projected(size: int, coils: int, coefficients: int, samples: int) -> dict[str, float]:
    """Return seconds on an H200: passes over its memory, and samples gridded.

    A product of one coefficient and coil pads, transforms, multiplies, transforms back and crops:
    20 passes over its padded transform, and 8 real numbers for each kernel, both parts.
    """
    padded = float(np.prod(padded_shape((size,) * 3)))
    passes = 20 * 8 * padded + 2 * coefficients * 4 * 4 * padded
    speed = _SUSTAINED * _BANDWIDTH
    kernels = coefficients * (coefficients + 1) // 2
    vectors = 14 * 8 * coefficients * float(size) ** 3
    return {
        "right-hand side": coefficients * coils * samples * _GRIDDED,
        "kernels": kernels * samples * 10 * _GRIDDED,
        "iteration": (coils * coefficients * passes + vectors) / speed,
    }


def main() -> None:
    """Make the data, plan and reconstruct them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis")
    parser.add_argument("--frames", type=int, default=500, help="time points")
    parser.add_argument("--readouts", type=int, default=16, help="spirals of each time point")
    parser.add_argument("--coils", type=int, default=12)
    parser.add_argument("--coefficients", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--host-mb", type=int, default=20_000, help="limit of memory [MB]")
    given = parser.parse_args()
    shape, samples = (given.size,) * 3, 6 * given.size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scan"
        folder.mkdir()
        sizes = (given.frames, given.readouts, samples)
        trajectory = spirals(*sizes)
        weights = np.sum(trajectory**2, axis=-1, dtype=np.float32) ** 0.75 + 0.01
        write_acquisition(
            folder, shape=shape, coils=given.coils, frames=given.frames, readouts=given.readouts,
            samples=samples, trajectory=trajectory, weights=weights,
            sensitivities=coil_maps(shape, given.coils),
        )  # fmt: skip
        del trajectory, weights
        series: dict[str, Any] = {
            "basis": "t1-recovery",
            "times": [_REPETITION * (frame + 1) for frame in range(given.frames)],
            "coefficients": given.coefficients,
            "images": "coefficients",
        }
        settings = {"algorithm": "cg-sense", "iterations": given.iterations, "series": series}
        (job,) = run_jobs(folder, {**settings, "host_mb": given.host_mb})
    phases = {name: each["seconds"] for name, each in job.receipt["phases"].items()}
    total = float(np.prod(sizes))
    applied = job.receipt["operator_evaluations"]
    one = phases["solve"] / applied
    h200 = projected(given.size, given.coils, given.coefficients, int(total))
    whole = h200["right-hand side"] + h200["kernels"] + 30 * h200["iteration"]
    lines = [
        f"{given.size}^3, {given.coils} coils, {given.coefficients} coefficients of "
        f"{given.frames} time points, {total / 1e6:.1f} million samples of a coil",
        f"memory: measured {job.measured_mb:.0f} MB, planned {job.row.host_mb} MB",
        *(f"{name}: {seconds:.1f} s" for name, seconds in phases.items()),
        f"the operator: {one:.2f} s, {applied} times",
        *(f"H200, {name}: {seconds:.2f} s" for name, seconds in h200.items()),
        f"H200, with 30 iterations: {whole:.0f} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
