"""Figures of a GPU that no other benchmark takes, each a line of JSON.

``python -m benchmarks.device_figures nufft --device cuda`` with `tests` on the path;
`benchmarks.first_figures` starts it for each of `FIGURES` and sees to the paths.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from acquisitions import write_acquisition
from device_memory import DeviceMemory
from stage_runs import reconstructed
from torch.autograd import DeviceType
from workflow_runs import ROOT, prepare

from benchmarks.cases import CASES, Case, Problem, make_problem, quick
from benchmarks.implementations import ENTRIES
from benchmarks.implementations.kronufft import Kronufft
from benchmarks.truth import ITERATIONS, OPERATIONS, exact_adjoint, exact_forward
from pipeline.engine import job
from pipeline.engine.leases import driver
from pipeline.engine.rates import fft_flops
from pipeline.engine.stream import StreamAccount
from pipeline.mri.generators.radial import kooshball
from pipeline.mri.trajectories import wrapped
from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_accuracy import BACKENDS
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.storage.publish import open_published, read_json
from pipeline.tuning.timing import timed

Figures = Iterator[dict[str, Any]]
DEVICE_MB = 16_000
"""Of the volume that is streamed."""
_CASES = {case.name: case for case in CASES}
_SECONDS = 1.0  # for the repeats of a measurement


def median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the median of 3 to 20 calls, each until the device has finished, after two more."""
    timed(run, device)
    repeats = max(3, min(20, int(_SECONDS / max(timed(run, device), 1e-6))))
    return statistics.median(timed(run, device) for _ in range(repeats))


def described(case: Case) -> dict[str, Any]:
    """Return what stands beside each figure of a case."""
    return {"case": case.name, **case.sizes}


def device_peak(device: torch.device, used: DeviceMemory | None = None) -> dict[str, float]:
    """Return the most that torch allocated since this was last asked, and the driver saw [MB]."""
    if device.type != "cuda":
        return {}
    peak = torch.cuda.max_memory_allocated() / 1e6
    torch.cuda.empty_cache()  # so that the driver sees what comes next
    torch.cuda.reset_peak_memory_stats()
    return {"torch_mb": peak, **({"used_mb": used.peak_bytes / 1e6} if used else {})}


def copy_rate(device: torch.device, size: int) -> float:
    """Return the bytes a second that a copy within the memory reads and writes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(lambda: target.copy_(source), device)


def rates(device: torch.device, small: bool) -> Figures:
    """Card and versions, and what all other figures stand beside."""
    cuda = device.type == "cuda"
    with DeviceMemory() as context, driver() as nvml:
        name = torch.cuda.get_device_name() if cuda else "no GPU"
        torch.zeros(1, device=device)
        yield {
            "card": name,
            "driver": nvml.nvmlSystemGetDriverVersion() if nvml is not None else None,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cufft": _version("nvidia-cufft"),
            "python": sys.version.split()[0],
            "cores": os.cpu_count(),
        }
        time.sleep(0.01)
    yield {"what": "context on the device", "MB": context.peak_bytes / 1e6}
    size = 2**24 if small else 2**31
    yield {"what": "copy within the memory", "GB/s": copy_rate(device, size) / 1e9}
    one = torch.zeros(1, device=device)
    seconds = median_seconds(lambda: [one.add_(1) for _ in range(1000)], device)
    yield {"what": "launch", "us": seconds * 1e3}
    for axes, count, size in ((3, 1, 64 if small else 256), (2, 24, 512)):
        x = torch.randn(count, *(size,) * axes, dtype=torch.complex64, device=device)
        along = tuple(range(1, axes + 1))
        seconds = median_seconds(partial(torch.fft.fftn, x, dim=along), device)
        rate = count * fft_flops(size**axes) / seconds
        yield {"what": f"{count} FFT of {size} in {axes}D", "Gflop/s": rate / 1e9}
    side = 256 if small else 8192
    for dtype in (torch.complex64, torch.complex128):
        x = torch.randn(side, side, dtype=dtype, device=device)
        rate = 8 * side**3 / median_seconds(partial(torch.matmul, x, x), device)
        yield {"what": f"matrix product of {side}, {dtype}", "Gflop/s": rate / 1e9}
    if not cuda:
        yield {"what": "PCIe", "note": "no meaning on a CPU"}
        return
    size = 2**20 if small else 2**29
    there = torch.empty(size, dtype=torch.uint8, device=device)
    for kind in ("pageable", "pinned"):
        here = torch.zeros(size, dtype=torch.uint8)
        here = here.pin_memory() if kind == "pinned" else here
        for way, run in (
            ("to the device", partial(there.copy_, here, non_blocking=True)),
            ("from the device", partial(here.copy_, there, non_blocking=True)),
        ):
            yield {
                "what": f"PCIe, {kind}, {way}",
                "GB/s": size / median_seconds(run, device) / 1e9,
            }


def libraries(device: torch.device, small: bool) -> Figures:
    """Which NUFFT libraries load, with their versions, and which peers are installed."""
    for backend in BACKENDS:
        try:
            NUFFT((8, 8), torch.zeros(2, 3, device=device), backend=backend)
            note = "loads"
        except Exception as error:  # whatever a library raises as it is loaded
            note = _first_line(error)
        yield {"library": backend, "version": _version(backend), "note": note}
    for name, entry in ENTRIES.items():
        if device.type in entry.devices:
            missing = entry.missing(device.type)
            yield {"peer": name, "note": f"needs {', '.join(missing)}" if missing else "installed"}


def nufft(device: torch.device, small: bool) -> Figures:
    """Forward and adjoint of every library that runs on the device, against exact sums."""
    for name in ("radial-2d", "kooshball-3d"):
        case = quick(_CASES[name]) if small else _CASES[name]
        problem = make_problem(case)
        numbers = np.random.default_rng(1)
        samples = problem.trajectory.shape[1]
        points = numbers.choice(samples, min(24, samples), replace=False)
        voxels = numbers.choice(math.prod(case.shape), 24, replace=False)
        exact = exact_forward(problem, points)[0], exact_adjoint(problem, voxels)[0]
        maps, image, kspace, trajectory = (
            torch.from_numpy(array).to(device)
            for array in (problem.maps, problem.image[0], problem.kspace[0], problem.trajectory[0])
        )
        image, trajectory, total = maps * image, trajectory.T.contiguous(), samples * case.coils
        for backend, tolerance in product(BACKENDS, (1e-3, 1e-4)):
            row = {**described(case), "backend": backend, "tolerance": tolerance}
            runs: list[Callable[[], torch.Tensor]] = []
            try:
                device_peak(device)
                begun = time.perf_counter()
                settings = {"coils": case.coils, "tolerance": tolerance, "backend": backend}
                with DeviceMemory() as used:
                    transform = NUFFT(case.shape, trajectory, **settings)
                    runs = [partial(transform, image), partial(transform.adjoint, kspace)]
                    there, back = runs[0]().cpu(), torch.linalg.vecdot(maps, runs[1](), dim=0).cpu()
                row |= {"first of both": time.perf_counter() - begun, **device_peak(device, used)}
                found = there.numpy()[:, points], back.numpy().reshape(-1)[voxels]
                for what, run, one, true in zip(OPERATIONS, runs, found, exact, strict=False):
                    seconds = median_seconds(run, device)
                    each = {"samples/s": total / seconds, "ns/sample/coil": 1e9 * seconds / total}
                    error = {"error": distance(one, true)}
                    yield {**row, "what": what, "seconds": seconds, **each, **error}
            except Exception as error:
                yield {**row, "note": _first_line(error)}
            transform = run = None  # its memory is the next one's


def normal(device: torch.device, small: bool) -> Figures:
    """The normal operator, as a part of what the memory's bandwidth allows.

    Bytes are counted from shapes, twice: of each array in memory, read or written once (``least``);
    and of each pass that `torch.fft` and products make, an axis of a transform being one
    (``passes``). That of a copy, measured in the same process, is what is allowed.
    """
    rate = copy_rate(device, 2**24 if small else 2**31)
    yield {"what": "copy within the memory", "GB/s": rate / 1e9}
    cases = [_CASES["radial-2d"], _CASES["radial-2d-series"], _CASES["kooshball-3d"]]
    large = Case("256^3", (256,) * 3, coils=8, frames=1, readouts=0, samples=0)
    for case in (*map(quick, cases), quick(large)) if small else (*cases, large):
        frames = (case.frames,) if case.frames > 1 else ()
        numbers = partial(torch.randn, dtype=torch.complex64, device=device)
        spectrum = torch.rand(*frames, *padded_shape(case.shape), device=device)
        maps, image = numbers(case.coils, *case.shape), numbers(*frames, *case.shape)
        operator = SenseNormal(Toeplitz(spectrum, case.shape), maps, case.coils)
        device_peak(device)
        try:
            seconds = median_seconds(lambda operator=operator, image=image: operator(image), device)
        except torch.OutOfMemoryError as error:
            yield {**described(case), "note": _first_line(error)}
            continue
        least, passes = normal_bytes(case)
        shares = {"least": least / seconds / rate, "passes": passes / seconds / rate}
        yield {**described(case), "seconds": seconds, **shares, **device_peak(device)}


def normal_bytes(case: Case) -> tuple[int, int]:
    """Return the bytes that a product of the normal operator moves, in complex64."""
    axes, padded = len(case.shape), padded_shape(case.shape)
    voxels, whole = math.prod(case.shape), math.prod(padded)
    line = voxels // case.shape[0] * padded[0]  # transformed along the first axis alone
    coils = case.coils * case.frames
    spectrum = whole // 2 * case.frames  # real
    least = coils * (3 * voxels + 4 * line) + spectrum + voxels * case.frames
    # To one coil's image, padded, transformed, written; padded, transformed and back, cropped;
    # transformed back, weighted, added.
    there = 3 * voxels + (voxels + line) + 2 * line + 2 * line
    inner = (line + whole) + 2 * (axes - 1) * 2 * whole + 2.5 * whole + 2 * line
    back = 2 * line + 3 * voxels + 2 * voxels
    return 8 * least, 8 * int(coils * (there + inner + back))


def cg_sense(device: torch.device, small: bool) -> Figures:
    """Ten iterations of 3D CG-SENSE, with k-space on the device and from the host."""
    case = quick(_CASES["kooshball-3d"]) if small else _CASES["kooshball-3d"]
    problem = make_problem(case)
    solver = _solver(problem, device)
    kspace = torch.from_numpy(problem.kspace)
    first = None
    for where, data in (("device", kspace.to(device)), ("host", kspace)):
        seconds = median_seconds(lambda data=data: solver.solve(data, ITERATIONS), device)
        solver.account = StreamAccount()
        device_peak(device)
        with DeviceMemory() as used:
            image, setup = solver.solve(data, ITERATIONS)
        first = image if first is None else first
        yield {
            **described(case),
            "k-space on the": where,
            "iterations": ITERATIONS,
            "seconds": seconds,
            "set-up": setup,
            "from the first": distance(image.cpu().numpy(), first.cpu().numpy()),
            **device_peak(device, used),
            "GB streamed": solver.account.bytes / 1e9,
            "waited": solver.account.stall_seconds,
        }


def streamed(device: torch.device, small: bool) -> Figures:
    """One volume of 256^3 from 20 coils and 40 million samples, under a limit of memory."""
    sizes = {"shape": (256,) * 3, "coils": 20, "readouts": 104_000, "samples": 384}
    if small:
        sizes = {"shape": (16, 14, 18), "coils": 3, "readouts": 200, "samples": 32}
    limits = {"device_mb": 200 if small else DEVICE_MB} if device.type == "cuda" else {}
    tiles: list[StreamAccount] = []
    original = job.stream

    def watched(*given: Any, finished: Callable[[StreamAccount], None], **named: Any) -> Any:
        def both(of_tile: StreamAccount) -> None:
            tiles.append(of_tile)
            finished(of_tile)

        return original(*given, finished=both, **named)

    with tempfile.TemporaryDirectory() as temporary, patch.object(job, "stream", watched):
        folder = Path(temporary) / "volume"
        folder.mkdir()
        trajectory = wrapped(kooshball(sizes["readouts"], sizes["samples"]))
        write_acquisition(folder, trajectory=trajectory[None], **sizes)
        settings = {"algorithm": "cg-sense", "iterations": ITERATIONS, **limits}
        with DeviceMemory() as used, redirect_stdout(sys.stderr):
            image, receipt = reconstructed(folder, device=device.type, **settings)
    assert np.isfinite(image).all()
    after = tiles[1:]
    waited, worked = (sum(getattr(t, f"{n}_seconds") for t in after) for n in ("stall", "compute"))
    yield {
        "matrix": " x ".join(map(str, sizes["shape"])),
        "coils": sizes["coils"],
        "samples": sizes["readouts"] * sizes["samples"],
        "seconds": receipt["seconds"],
        **{name: part["seconds"] for name, part in receipt["phases"].items()},
        "tiles": len(tiles),
        "idle after the first tile": waited / max(waited + worked, 1e-9),
        "GB/s read": receipt["streaming"]["bytes"] / receipt["streaming"]["read_seconds"] / 1e9,
        **_memory(receipt),
        **device_peak(device, used),
    }


def out_of_memory(device: torch.device, small: bool) -> Figures:
    """Let another process take the device's memory in the middle of a job.

    On a CPU memory is only said to have run out.
    """
    sizes = {"shape": (192, 160), "coils": 12, "readouts": 48, "samples": 320, "frames": 40}
    if small:
        sizes |= {"coils": 6, "readouts": 12, "samples": 96}
    limit = {"device_mb": 300} if device.type == "cuda" else {}
    original = job.BlockJob.attempt
    others: list[subprocess.Popen[str]] = []
    attempts = 0

    def attempt(self: job.BlockJob, work: Callable[[], Any]) -> Any:
        def disturbed() -> Any:
            nonlocal attempts
            attempts += 1
            if attempts == 2 and device.type == "cuda":
                others.append(_taker(torch.cuda.max_memory_allocated() // 2))
            if attempts == 2 and device.type == "cpu":
                raise MemoryError("in the middle of a job")
            return work()

        return original(self, disturbed)

    with tempfile.TemporaryDirectory() as temporary, redirect_stdout(sys.stderr):
        folder = Path(temporary) / "series"
        folder.mkdir()
        write_acquisition(folder, **sizes)
        settings = {"algorithm": "cg-sense", "iterations": 4, "regularization": 0.5}
        expected, _ = reconstructed(folder, **settings)
        try:
            with patch.object(job.BlockJob, "attempt", attempt):
                found, receipt = reconstructed(folder, device=device.type, **settings, **limit)
        finally:
            for other in others:
                other.communicate("done\n")
    yield {
        "halved": receipt.get("halved_tiles"),
        "attempts": attempts,
        "from an undisturbed CPU": distance(found, expected),
        **_memory(receipt),
    }


def _taker(left: int) -> "subprocess.Popen[str]":
    """Start a process that holds all of the device's memory but so many bytes."""
    torch.cuda.empty_cache()
    code = (
        "import torch\n"
        "torch.zeros(1, device='cuda')\n"
        f"size = torch.cuda.mem_get_info()[0] - {left}\n"
        "held = torch.empty(size, dtype=torch.uint8, device='cuda')\n"
        "print('held', flush=True)\ninput()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def profile(device: torch.device, small: bool) -> Figures:
    """Where the time of CG-SENSE goes: kernels, and the gaps between them."""
    for name in ("kooshball-3d", "radial-2d-series"):
        case = quick(_CASES[name]) if small else _CASES[name]
        problem = make_problem(case)
        solver = _solver(problem, device)
        data = torch.from_numpy(problem.kspace).to(device)
        run = partial(solver.solve, data, ITERATIONS)
        wall = median_seconds(run, device)
        with torch.profiler.profile() as found:
            timed(run, device)
        side = "device" if device.type == "cuda" else "cpu"
        kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
        events = found.key_averages()
        spent = {
            event.key: getattr(event, f"self_{side}_time_total") / 1e6
            for event in events
            if event.device_type == kind
        }
        table = events.table(sort_by=f"self_{side}_time_total", row_limit=40)
        sys.stdout.write(f"{case}\n{table}\n")  # the log of the step keeps it
        busy = sum(spent.values())
        gaps = {"gaps": 1 - busy / wall} if device.type == "cuda" else {}
        yield {**described(case), "seconds": wall, "busy": busy, **gaps}
        for kernel in sorted(spent, key=lambda key: -spent[key])[:8]:
            yield {"case": name, "kernel": kernel[:100], "busy": spent[kernel]}


def end_to_end(device: torch.device, small: bool) -> Figures:
    """Demo and examples as a workflow, against the same on the CPU; jobs side by side."""
    data = os.environ.get("KRONUFFT_DATA")
    configs = ["config.yaml", "examples/rf6.yaml", "examples/gorham-moore.yaml"]
    if data:
        configs += ["examples/lung-radial-3d.yaml", "examples/gotcha.yaml"]
    for name in ["three reconstructions"] if small else configs:
        with tempfile.TemporaryDirectory() as temporary:
            folder, config = Path(temporary), ROOT / "config" / name
            if small:
                prepare(folder)
                config = folder / "config.yaml"
            for kind in dict.fromkeys((device.type, "cpu")):
                command = [
                    sys.executable,
                    "-m",
                    "snakemake",
                    "--snakefile",
                    str(ROOT / "Snakefile"),
                ]
                command += ["--quiet", "--nolock", "--cores", "4", "--resources", "gpu=2"]
                command += ["--configfile", str(config), "--config", f"results={folder / kind}"]
                command += [f"compute={{device: {kind}, threads: 2}}"]
                command += [f"data_root={data}"] if data else []
                begun, where = time.perf_counter(), folder if small else ROOT
                done = subprocess.run(command, cwd=where, check=False, stdout=sys.stderr)
                seconds = time.perf_counter() - begun
                receipts = map(read_json, (folder / kind).rglob("receipts/*.json"))
                jobs = [receipt for receipt in receipts if "device" in receipt]
                ended = {"note": "failed: see the log"} if done.returncode else {}
                row = {"config": name, "on": kind, "seconds": seconds, **ended}
                yield {**row, "jobs": len(jobs), "side by side": _overlaps(jobs)}
                yield from ({"config": name, **_job(receipt)} for receipt in jobs)
            for image in (folder / device.type).glob("*/*/image.json"):
                where = image.parent.relative_to(folder / device.type)
                one, other = (
                    np.asarray(open_published(folder / kind / where / "image.json")["image"][:])
                    for kind in (device.type, "cpu")
                )
                row = {"config": name, "image": str(where)}
                yield {**row, "from the CPU's": distance(one, other)}


def _job(receipt: dict[str, Any]) -> dict[str, Any]:
    """Return what a job took."""
    names = ("dataset", "reconstruction", "stage", "block", "device", "backend", "seconds")
    row = {name: receipt[name] for name in names if name in receipt} | _memory(receipt)
    if streaming := receipt.get("streaming"):
        working = streaming["stall_seconds"] + streaming["compute_seconds"]
        row["idle"] = streaming["stall_seconds"] / max(working, 1e-9)
    return row


def _overlaps(receipts: list[dict[str, Any]]) -> int:
    """Return how many jobs began while the one before was at work, to the second."""
    spans = sorted(
        (datetime.fromisoformat(r["started"]).timestamp(), r["seconds"]) for r in receipts
    )
    return sum(begun + took > after + 1 for (begun, took), (after, _) in pairwise(spans))


def _memory(receipt: dict[str, Any]) -> dict[str, float]:
    kind = "device" if "peak_device_bytes" in receipt else "host"
    names = ("peak", "predicted", "limit")
    return {
        f"{n}_{kind}_mb": receipt[f"{n}_{kind}_bytes"] / 1e6
        for n in names
        if f"{n}_{kind}_bytes" in receipt
    }


def _solver(problem: Problem, device: torch.device) -> Kronufft:
    threads = torch.get_num_threads()
    return Kronufft(problem, tolerance=1e-3, threads=threads, device=device.type)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:160]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


FIGURES: dict[str, Callable[[torch.device, bool], Figures]] = {
    "rates": rates,
    "libraries": libraries,
    "nufft": nufft,
    "normal": normal,
    "cg-sense": cg_sense,
    "streamed": streamed,
    "out-of-memory": out_of_memory,
    "profile": profile,
    "end-to-end": end_to_end,
}


def main() -> None:
    """Print the figures of one name."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--miniature", action="store_true")
    chosen = parser.parse_args()
    for row in FIGURES[chosen.name](torch.device(chosen.device), chosen.miniature):
        sys.stdout.write(json.dumps(row, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
