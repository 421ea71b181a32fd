"""Processor seconds from the command to the file, for a slice of 256 x 256 with 12 coils.

`python tests/benchmarks/small_data.py`: `kronufft quick`, `kronufft run` and `bart pics` in turn,
with the start of all processes they need. BART is given the coil maps, which the others estimate.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

SIZE, COILS, SPOKES, SAMPLES, BLOBS = 256, 12, 201, 512, 40
ITERATIONS = 15


def measurement() -> tuple[np.ndarray, np.ndarray]:
    """Return samples (coil, spoke, sample) of blobs, with noise, and k (spoke, sample, y and x)."""
    rng = np.random.default_rng(0)
    angle = np.pi * np.arange(SPOKES) * 0.6180339887
    radius = np.arange(SAMPLES) / SAMPLES - 0.5  # cycles per voxel
    k = np.stack([np.outer(np.sin(angle), radius), np.outer(np.cos(angle), radius)], axis=-1)
    place, width = rng.uniform(-80, 80, (BLOBS, 2)), rng.uniform(3, 20, BLOBS)
    power = -2 * (np.pi * width[:, None, None]) ** 2 * (k**2).sum(-1)
    phase = -2j * np.pi * np.einsum("smd,bd->bsm", k, place)
    blobs = (rng.uniform(0.2, 1, BLOBS) * width**2)[:, None, None] * np.exp(power + phase)
    around = 2 * np.pi * np.arange(COILS)[:, None] / COILS
    apart = (place[:, 0] - 150 * np.sin(around)) ** 2 + (place[:, 1] - 150 * np.cos(around)) ** 2
    seen = np.exp(-apart / (2 * 150**2) + 1j * (around + place[:, 1] / 200))
    samples = np.einsum("cb,bsm->csm", seen, blobs)
    noise = rng.standard_normal((2, *samples.shape)) * 1e-4 * np.abs(samples).max()
    return (samples + noise[0] + 1j * noise[1]).astype(np.complex64), k.astype(np.float32)


def write(folder: Path) -> None:
    """Write the measurement for all of them, and the config of the workflow."""
    samples, k = measurement()
    np.savez(folder / "scan.npz", kspace=samples, trajectory=k)
    arrays = {
        "kspace": {"name": "kspace", "axes": ["coil", "readout", "sample"]},
        "trajectory": {"name": "trajectory", "axes": ["readout", "sample", "axis"],
                       "axis_order": ["y", "x"], "units": "cycles_per_voxel"},
    }  # fmt: skip
    config = {
        "datasets": "scan.tsv",
        "sources": {"scan": {"shape": [SIZE, SIZE], "arrays": arrays}},
        "reconstructions": {"sense": {"algorithm": "cg-sense", "iterations": ITERATIONS}},
    }
    (folder / "scan.yaml").write_text(yaml.safe_dump(config))
    (folder / "scan.tsv").write_text(
        "dataset\tkind\tformat\tsource\treconstruction\nscan\tmri\tarrays\tscan.npz\tsense\n"
    )
    places = np.concatenate([SIZE * k[..., ::-1], np.zeros_like(k[..., :1])], axis=-1)
    for name, values in (("k", samples[:, :, :, None]), ("traj", places)):
        (folder / f"{name}.hdr").write_text(
            "# Dimensions\n" + " ".join(map(str, reversed(values.shape))) + "\n"
        )
        values.astype(np.complex64).tofile(folder / f"{name}.cfl")


def processor_seconds(*command: str) -> float:
    """Return the processor time of a command and of all that it starts [s]."""
    process = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)]
    )
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    how = ("--shape", f"{SIZE}x{SIZE}", "--order", "y,x", "--units", "cycles_per_voxel")
    commands = {
        "kronufft quick": ("kronufft", "quick", "scan.npz", "-o", "image.nii.gz", *how,
                           "--set", f"iterations={ITERATIONS}"),
        "kronufft run": ("kronufft", "run", "scan.yaml", "--forceall", "--quiet"),
        "bart pics": ("bart", "pics", "-i", str(ITERATIONS), "-l2", "-r", "0.001",
                      "-t", "traj", "k", "maps", "image"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        write(Path(name))
        if shutil.which("bart"):
            for step in (
                "nufft -i -d32:32:1 traj k low",
                "fft -u 7 low lowk",
                f"resize -c 0 {SIZE} 1 {SIZE} lowk grid",
                "ecalib -m1 grid maps",
            ):
                processor_seconds("bart", *step.split())
        else:
            del commands["bart pics"]
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for what, command in commands.items():
                taken[what].append(processor_seconds(*command))
        os.chdir("/")
    for what, seconds in taken.items():
        told = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"{what:15}  {statistics.median(seconds):5.1f} s of processor time ({told})")  # noqa: T201


if __name__ == "__main__":
    main()
