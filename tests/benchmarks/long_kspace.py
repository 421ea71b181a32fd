"""One volume from k-space of 0.5, 2 and 8 GiB under one memory limit.

    python tests/benchmarks/long_kspace.py --folder /path/with/20/GiB

simulates a 3D radial acquisition (two ellipsoids seen by 8 coils, in closed form, with noise), runs
every stage as a process of its own, and draws what each took. A shorter acquisition is the
beginning of the longest one. The source, which takes a while, stays in the folder and is used
again.
"""

import itertools
import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acquisitions import write_attributes

from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.coil_arrays import CoilArray
from pipeline.mri.formats.phantoms import Ellipsoid, fourier_transform, voxel_average
from pipeline.mri.generators.radial import kooshball
from pipeline.mri.trajectories import wrapped
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.storage.archives import open_archive
from pipeline.storage.publish import open_published, published_store, read_json

SHAPE = (96, 96, 96)
COILS = 8
SAMPLES = 192
VOXEL = (0.002,) * 3
HOST_MB = 1610  # 1.5 GiB
DEVICE_MB = 1073  # 1 GiB
OBJECT = (
    Ellipsoid(1.0, semi_axes=(0.6, 0.7, 0.5), centre=(0.0, 0.05, 0.0), angle=0.3),
    Ellipsoid(-0.4, semi_axes=(0.2, 0.15, 0.25), centre=(0.1, -0.2, 0.1), angle=-0.5),
)
NOISE = 200.0
"""Standard deviation of the complex noise; the signal at the centre of k-space is some 10^5."""

Receipt = dict[str, Any]

SETTINGS: dict[str, Any] = {
    "reconstruction": {"algorithm": "cg-sense", "iterations": 10},
    "nufft": {"tolerance": 1e-3},
    "precision": "single",
    "deterministic": False,
}


def readouts_of(gibibytes: float) -> int:
    """Return the readouts whose samples take so much memory."""
    return round(gibibytes * 2**30 / (8 * COILS * SAMPLES))


def coil_array() -> CoilArray:
    """Return a coil for each corner, of two terms: more would make the simulation long."""
    corners = np.array(list(itertools.product((-1, 1), repeat=3))) * 2 * np.pi / (1.6 * SHAPE[0])
    shifts = np.concatenate([np.zeros((1, 3)), corners])
    coefficients = np.concatenate([np.full((COILS, 1), 0.6), 0.4 * np.eye(COILS)], axis=1)
    return CoilArray(SHAPE, shifts, coefficients.astype(np.complex128))


def simulate(folder: Path, lengths: list[int]) -> dict[int, Path]:
    """Write a source for each length, all in one pass; return their markers."""
    markers = {length: folder / f"source-{length}.json" for length in sorted(lengths)}
    if all(marker.exists() for marker in markers.values()):
        return markers
    coils = coil_array()
    with ExitStack() as stores, ProcessPoolExecutor() as workers:
        arrays = {}
        for length, marker in markers.items():
            group = stores.enter_context(published_store(marker))
            write_attributes(group, SHAPE, VOXEL)
            ARRAYS.create(group, "sensitivities", (COILS, *SHAPE))[:] = coils.maps()
            ARRAYS.create(group, "reference", (1, *SHAPE))[0] = voxel_average(OBJECT, SHAPE)
            trajectory = ARRAYS.create(group, "trajectory", (1, length, SAMPLES, 3))
            for part in pieces(length, trajectory.chunks[1]):
                trajectory[0, part] = positions(part)
            arrays[length] = ARRAYS.create(group, "kspace", (1, COILS, length, SAMPLES))
        longest = max(lengths)
        parts = pieces(longest, arrays[longest].chunks[2])
        with track("simulate: parts", len(parts)) as advance:
            for part, values in zip(parts, workers.map(measured, parts), strict=True):
                for length, kspace in arrays.items():
                    if part.start < length:
                        rows = slice(part.start, min(part.stop, length))
                        kspace[0, :, rows] = values[:, : rows.stop - rows.start]
                advance()
    return markers


def positions(part: slice) -> NDArray[np.float32]:
    """Return some readouts, ``[readout, sample, axis]`` [rad/voxel]."""
    return wrapped(kooshball(part.stop, SAMPLES, selection=part))


def measured(part: slice) -> NDArray[np.complex64]:
    """Return what the coils measure along some readouts, ``[coil, readout, sample]``."""
    coils = coil_array()
    points = positions(part).reshape(-1, 3).astype(np.float64)
    signal = fourier_transform(OBJECT, SHAPE, points, coils.shifts, coils.coefficients)
    noise = np.random.default_rng(part.start).standard_normal((*signal.shape, 2)).view(complex)
    noisy = signal + NOISE / np.sqrt(2) * noise[..., 0]
    return noisy.reshape(COILS, -1, SAMPLES).astype(np.complex64)


def kronufft(stage: str, settings: dict[str, Any], receipt: Path, **paths: object) -> Receipt:
    """Run one stage as a process of its own; return its receipt."""
    command = [sys.executable, "-m", "pipeline", stage, "--dataset", "long"]
    command += ["--settings", json.dumps(settings), "--receipt", str(receipt)]
    if stage not in ("ingest", "calibrate"):
        command += ["--reconstruction", "sense"]
    for name, value in paths.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True)
    return dict(read_json(receipt))


def reconstruct(source: Path, folder: Path, threads: int) -> dict[str, Receipt]:
    """Run ingest, calibrate, plan and reconstruct; return their receipts."""
    raw, calibration = folder / "raw.json", folder / "calibration.json"
    plan, image = folder / "plan.tsv", folder / "0000.zarr.zip"
    machine = {"device": "cpu", "threads": threads}
    both = {"raw": raw, "calibration": calibration}
    receipts = {
        "ingest": kronufft(
            "ingest",
            {"kind": "mri", "format": "native", "source": str(source), "details": {}},
            folder / "ingest.json",
            raw=raw,
        ),
        "calibrate": kronufft(
            "calibrate",
            {"calibration": {}, "nufft": SETTINGS["nufft"]},
            folder / "calibrate.json",
            **both,
            **machine,
        ),
    }
    memory = {"host_mb": HOST_MB, "device_mb": DEVICE_MB, "shards": 1}
    kronufft(
        "plan", {**SETTINGS, "memory": memory}, folder / "plan.json", plan=plan, **both, **machine
    )
    receipts["reconstruct"] = kronufft(
        "reconstruct",
        SETTINGS,
        folder / "reconstruct.json",
        plan=plan,
        block="0000",
        shares=folder / "shares",
        image=image,
        **both,
        **machine,
    )
    return receipts


def error_of(image: Path, source: Path) -> float:
    """Return the distance from the object, relative to it, over the whole volume."""
    reference = np.asarray(open_published(source)["reference"])
    with open_archive(image) as group:
        found = np.asarray(group["image"])
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw memory, time and error against the size of k-space."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    memory, time, error = figure.subplots(1, 3)
    for stage, rows in table.groupby("stage", sort=False):
        (line,) = memory.plot(rows["GiB"], rows["peak MB"], "o-", label=stage)
        color = line.get_color()
        time.plot(rows["GiB"], rows["ns a sample"], "o-", color=color, label=stage)
        if rows["iterations [s]"].any():
            with_all = 1e9 * rows["seconds"] / rows["samples"]
            time.plot(rows["GiB"], with_all, "o:", color=color, label=f"{stage}, with iterations")
    memory.axhline(HOST_MB, color="black", linestyle="--", label="limit")
    memory.set(ylabel="peak resident memory [MB]", ylim=(0, 1.5 * HOST_MB))
    time.set(ylabel="time a sample and coil [ns]", ylim=(0, None))
    errors = table[table["stage"] == "reconstruct"]
    error.loglog(errors["GiB"], errors["error"], "o-")
    error.set(ylabel="error of the image")
    for axes in (memory, time, error):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="k-space [GiB]", xticks=table["GiB"].unique())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    memory.legend(ncols=2, loc="upper center")
    time.legend()
    figure.savefig(path, dpi=110)


def main(
    *,
    folder: Annotated[Path, typer.Option(help="Where some 20 GiB fit.")],
    sizes: Annotated[str, typer.Option(help="Sizes of k-space [GiB].")] = "0.5,2,8",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    table: Annotated[Path, typer.Option(help="Table to write.")] = Path("results/long_kspace.csv"),
    figure: Annotated[Path, typer.Option(help="Figure to draw.")] = Path("results/long_kspace.png"),
) -> None:
    """Reconstruct one volume from ever more k-space under one memory limit."""
    folder.mkdir(parents=True, exist_ok=True)
    gibibytes = [float(size) for size in sizes.split(",")]
    sources = simulate(folder, [readouts_of(size) for size in gibibytes])
    rows = []
    for size in gibibytes:
        length = readouts_of(size)
        with TemporaryDirectory(dir=folder) as results:
            receipts = reconstruct(sources[length], Path(results), threads)
            error = error_of(Path(results) / "0000.zarr.zip", sources[length])
        for stage, receipt in receipts.items():
            samples = length * SAMPLES * COILS
            # Iterations work on the volume alone and take no longer for a longer measurement; nor
            # does the check of the arithmetic before, or the wait for the first tile.
            phases = receipt.get("phases", {})
            iterations, *start = (
                phases.get(name, {}).get("seconds", 0.0)
                for name in ("solve", "prepare", "wait_for_data")
            )
            row = {
                "GiB": size,
                "stage": stage,
                "samples": samples,
                "peak MB": receipt["peak_host_bytes"] / 1e6,
                "predicted MB": receipt.get("predicted_host_bytes", float("nan")) / 1e6,
                "seconds": receipt["seconds"],
                "iterations [s]": iterations,
                "start [s]": sum(start),
                "ns a sample": 1e9 * (receipt["seconds"] - iterations) / samples,
                "error": error if stage == "reconstruct" else float("nan"),
                "overlap": receipt.get("streaming", {}).get("overlap", float("nan")),
            }
            rows.append(row)
    found = pd.DataFrame(rows)
    table.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(table, index=False, float_format="%.4g")
    draw(found, figure)
    typer.echo(found.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    typer.run(main)
