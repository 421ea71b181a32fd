"""Back-projection of one phase history: ours, by sub-apertures, in NumPy, and torchbp.

`python tests/benchmarks/run.py back-projection`. The data are AFRL Gotcha's where KRONUFFT_DATA
names a folder that holds them, else noise of the same sizes. All ways are timed in turn in one
process, and compared with exact sums at some voxels.
"""

import csv
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.engine.budget import Budget
from pipeline.operators.nufft import NUFFT
from pipeline.rf.formats.gotcha import gotcha_files, read_gotcha
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.phase_history import sub_apertures
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.back_projection import BackProjection
from pipeline.rf.model.voxel_phases import aperture_phase

Image = NDArray[np.complexfloating]
_COMPARED = 2000
_LARGE = 2**21


class History:
    """Pulses whose phases are referred to the scene's origin."""

    def __init__(self, size: int, pulses: int | None) -> None:
        folder = Path(os.environ.get("KRONUFFT_DATA", "")) / "gotcha"
        self.scene = Scene((size, size), (100 / size,) * 2)
        if "KRONUFFT_DATA" in os.environ and folder.exists():
            history = read_gotcha(gotcha_files(folder), "gotcha", Budget("gotcha", 600))
            self.paths, self.frequencies = history.paths, history.frequencies
            measured = history.measurements[(slice(None), slice(None))]
        else:
            angles = np.radians(np.linspace(0, 4, 469))
            site = 1e4 * np.column_stack(
                [0.7 * np.cos(angles), 0.7 * np.sin(angles), 0.7 + 0 * angles]
            )
            self.paths = AntennaPaths(site, site, 2 * np.linalg.norm(site, axis=1))
            self.frequencies = np.linspace(9.288e9, 9.91e9, 424)
            random = np.random.default_rng(0)
            measured = random.normal(size=(469, 424, 2)).view(np.complex128)[..., 0]
        self.paths, measured = self.paths[:pulses], measured[:pulses]
        self.k = wavenumbers(self.frequencies)
        origin = self.paths.path_differences(self.scene.centre)
        self.measured = (measured * np.exp(1j * self.k * origin[:, None])).astype(np.complex64)

    def excess(self, voxels: NDArray[np.integer] | slice) -> NDArray[np.float64]:
        """Return paths over voxels beyond that over the origin, ``[pulse, voxel]`` [m]."""
        paths = self.paths
        origin = paths.path_differences(self.scene.centre)
        return paths.path_differences(self.scene.positions(voxels)) - origin[:, None]

    def exact(self, voxels: NDArray[np.integer]) -> NDArray[np.complex128]:
        """Return exact sums at some voxels."""
        total = np.zeros(len(voxels), np.complex128)
        for excess, values in zip(self.excess(voxels), self.measured, strict=True):
            total += values @ np.exp(1j * np.outer(self.k, excess))
        return total


def ways(history: History, threads: int, device: str) -> Iterator[tuple[str, Callable[[], Image]]]:
    """Yield what can make the image here, by name."""
    data = torch.from_numpy(history.measured).to(device)
    for tolerance, factorised in ((1e-2, True), (1e-3, True), (1e-3, False)):
        operator = BackProjection(
            history.scene, history.paths, history.k,
            tolerance=tolerance, factorised=factorised, threads=threads, device=device,
        )  # fmt: skip
        yield (
            f"Kronufft, to {tolerance:g}" + ", each voxel read" * (not factorised),
            lambda operator=operator: operator.adjoint(data).cpu().numpy(),
        )
    if history.scene.voxels > _LARGE or device != "cpu":
        return  # the others take minutes
    yield "Kronufft, sub-apertures to 0.1", lambda: by_sub_apertures(history, threads)
    yield "NumPy, interpolated", lambda: interpolated(history)
    if find_spec("torchbp") is not None:
        yield "torchbp", lambda: by_torchbp(history)


def by_sub_apertures(history: History, threads: int) -> Image:
    """Return the image by NUFFTs of sub-apertures, set up and transformed."""
    image = np.zeros(history.scene.shape, np.complex64)
    for part in sub_apertures(history.scene, history.paths, history.frequencies, tolerance=0.1):
        trajectory = part.trajectory().reshape(-1, 2).T.astype(np.float32, order="C")
        nufft = NUFFT(
            history.scene.shape, torch.from_numpy(trajectory), tolerance=1e-3, threads=threads
        )
        values = torch.from_numpy(history.measured[part.pulses, part.band].reshape(-1))
        phase = aperture_phase(part, dtype=torch.complex64)
        image += (nufft.adjoint(values) * phase.conj()).numpy()
    return image


def interpolated(history: History) -> Image:
    """Return the image as textbooks do: an oversampled FFT, and linear interpolation a pulse."""
    count, k = len(history.k), history.k
    length = 1 << (8 * count - 1).bit_length()
    step = 2 * np.pi / (length * np.diff(k).mean())
    # Bins from the middle of the line on; it repeats.
    lines = np.fft.fftshift(np.fft.ifft(history.measured, length, axis=1), axes=1) * length
    bins = (np.arange(length) - length // 2) * step
    image = np.zeros(history.scene.voxels, np.complex128)
    for pulse in range(len(lines)):
        single = history.paths[pulse : pulse + 1]
        positions = history.scene.positions()
        excess = single.path_differences(positions)[0] - single.path_differences(np.zeros(3))[0]
        line = np.interp(excess, bins, lines[pulse], period=length * step)
        image += line * np.exp(1j * k[0] * excess)
    return image.reshape(history.scene.shape)


def by_torchbp(history: History) -> Image:
    """Return torchbp's image: range compression, twice oversampled, and its own loops."""
    import torchbp

    count, k = len(history.k), history.k
    length = 4 * count
    band = history.frequencies[1] - history.frequencies[0]
    step = SPEED_OF_LIGHT / (2 * band * length)  # m of range
    ranges = np.linalg.norm(history.paths.transmitter, axis=1)
    first = float(ranges.mean()) - length * step  # of two periods, which hold the scene
    # From the range of each pulse's origin to one for all, at the carrier of torchbp.
    shifted = history.measured * np.exp(-2j * k * (ranges - first)[:, None])
    lines = np.tile(np.fft.ifft(shifted, length, axis=1).astype(np.complex64) * length, 2)
    half = (history.scene.shape[0] // 2) * history.scene.spacing[0]
    grid = {
        "x": (-half, half),
        "y": (-half, half),
        "nx": history.scene.shape[0],
        "ny": history.scene.shape[1],
    }
    found = torchbp.ops.backprojection_cart_2d(
        torch.from_numpy(lines), grid, float(history.frequencies[0]), step,
        torch.from_numpy(history.paths.transmitter.astype(np.float32)), d0=-first,
    )  # fmt: skip
    return found[0].numpy()


def main(
    *,
    size: Annotated[int, typer.Option(help="Voxels a side, of 100 m.")] = 500,
    pulses: Annotated[int, typer.Option(help="The first so many pulses; 0: all.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
    repeats: Annotated[int, typer.Option(help="Of each way; the best counts.")] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda, which ours alone use.")] = "cpu",
    output: Annotated[Path | None, typer.Option(help="Table to write besides.")] = None,
) -> None:
    """Time back-projection side by side on this machine."""
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    history = History(size, pulses or None)
    voxels = np.random.default_rng(1).integers(history.scene.voxels, size=_COMPARED)
    exact = history.exact(voxels)
    columns = ("way", "seconds", "of processors", "projections / s", "correlation", "error")
    table, rows = Table(*columns), []
    best: dict[str, list[float]] = {}
    images: dict[str, Image] = {}
    made = list(ways(history, threads, device))
    for repeat in range(repeats + 1):  # the first only warms up
        for name, make in made:
            if repeat > 1 and best[name][0] > 2:
                continue
            wall, processor = time.perf_counter(), time.process_time()
            images[name] = make()
            took = [time.perf_counter() - wall, time.process_time() - processor]
            if repeat or took[0] > 2:
                best[name] = list(map(min, best.get(name, took), took))
            else:
                best[name] = [np.inf, np.inf]
    for name, (seconds, of_processors) in best.items():
        found = images[name].reshape(-1)[voxels]
        correlation = abs(np.vdot(found, exact)) / np.linalg.norm(found) / np.linalg.norm(exact)
        scale = np.vdot(found, exact) / np.vdot(found, found)
        error = np.linalg.norm(scale * found - exact) / np.linalg.norm(exact)
        rate = len(history.measured) * history.scene.voxels / seconds
        numbers = (seconds, of_processors, rate)
        cells = (name, *(f"{n:.3g}" for n in numbers), f"{correlation:.6f}", f"{error:.1e}")
        table.add_row(*cells)
        rows.append(cells)
    if output is not None:
        sizes = (f"{size} x {size}", *history.measured.shape)
        columns = ("matrix", "pulses", "frequencies", *columns)
        with output.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *((*sizes, *cells) for cells in rows)])
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
