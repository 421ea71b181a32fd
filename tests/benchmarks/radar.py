"""Kronecker operators of radar: ours, textbook orders, dense matrices and other packages.

`python tests/benchmarks/run.py radar`. Everything is timed in one process on the same factors, and
set beside the machine's own complex matrix product, which is timed there too.
"""

import csv
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from pipeline.engine.stream import StreamAccount, stream
from pipeline.operators.contraction import contraction_flops
from pipeline.operators.kronecker import Kronecker
from pipeline.operators.toeplitz import Toeplitz
from pipeline.rf.model.plane_wave import plane_wave_factor, plane_wave_spectrum

Timed = tuple[str, Callable[[], Any], Callable[[], Any], str]
"""Name, forward, adjoint, and a remark; the adjoint of a normal operator does nothing."""


@dataclass(frozen=True)
class Case:
    """Plane-wave factors of several pairs and frequencies."""

    name: str
    rows: tuple[int, ...]
    shape: tuple[int, ...]
    pairs: int
    frequencies: int

    @property
    def flops(self) -> int:
        """Operations of one application, forward or adjoint, in the best order."""
        return self.pairs * self.frequencies * contraction_flops(self.rows, self.shape)


CASES = (
    *(Case(f"2d-{k}", (32, 64), (128, 128), pairs=6, frequencies=k) for k in (64, 512, 1024)),
    Case("3d", (16, 24, 1), (64, 64, 48), pairs=6, frequencies=64),
    # Sub-bands of 32 tones, which are the rows of a third factor.
    Case("wideband", (32, 32, 32), (128, 128, 128), pairs=1, frequencies=16),
)


class Problem:
    """Factors, an image and measurements of a case in one precision."""

    def __init__(self, case: Case, dtype: torch.dtype, device: str = "cpu") -> None:
        self.case, self.dtype, self.device = case, dtype, device
        generator = torch.Generator().manual_seed(1)
        blocks = (case.pairs, case.frequencies)
        self.wavenumbers = [
            (torch.rand(*blocks, m, generator=generator, dtype=torch.float64) - 0.5).to(device) * 2
            for m in case.rows
        ]
        self.factors = [
            plane_wave_factor(k, n, dtype=dtype)
            for k, n in zip(self.wavenumbers, case.shape, strict=True)
        ]
        image = torch.randn(*case.shape, dtype=dtype, generator=generator)
        measured = torch.randn(*blocks, *case.rows, dtype=dtype, generator=generator)
        self.image, self.measured = image.to(device), measured.to(device)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the index of each block."""
        for pair in range(self.case.pairs):
            for frequency in range(self.case.frequencies):
                yield pair, frequency


def ours(problem: Problem) -> Iterator[Timed]:
    """Yield our operator with all factors at hand, streamed pair by pair, and collapsed."""
    operator = Kronecker(problem.factors)
    yield (
        "kronufft",
        lambda: operator(problem.image),
        lambda: operator.adjoint(problem.measured),
        "",
    )
    arrays = [factor.cpu().numpy() for factor in problem.factors]
    measured = problem.measured.cpu().numpy()

    def tiles(*, adjoint: bool) -> Iterator[tuple[torch.Tensor, ...]]:
        reads = [
            lambda pair=pair: (*(a[pair] for a in arrays), *((measured[pair],) * adjoint))
            for pair in range(problem.case.pairs)
        ]
        return stream(reads, problem.device, StreamAccount())

    def forward() -> torch.Tensor:
        return torch.stack([Kronecker(list(tile))(problem.image) for tile in tiles(adjoint=False)])

    def adjoint() -> torch.Tensor:
        total = torch.zeros_like(problem.image)
        for *factors, samples in tiles(adjoint=True):
            total += Kronecker(factors).adjoint(samples)
        return total

    yield "kronufft, streamed", forward, adjoint, "factors pair by pair"


def collapsed(problem: Problem) -> tuple[Toeplitz, float]:
    """Return the normal operator of all blocks as one convolution, and the time to make it."""
    start = time.perf_counter()
    spectrum = plane_wave_spectrum(
        problem.case.shape, [(problem.wavenumbers, None)], dtype=problem.dtype
    )
    operator = Toeplitz(spectrum, problem.case.shape)
    if problem.device == "cuda":
        torch.cuda.synchronize()
    return operator, time.perf_counter() - start


def textbook(problem: Problem) -> Iterator[Timed]:
    """Yield the vec trick in NumPy, block by block: the first axis first, as it is written."""
    factors, image = [f.numpy() for f in problem.factors], problem.image.numpy()
    measured = problem.measured.numpy()

    def along(array: np.ndarray, matrix: np.ndarray, axis: int) -> np.ndarray:
        return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)

    def forward() -> np.ndarray:
        result = np.empty_like(measured)
        for block in problem.blocks():
            state = image
            for axis, factor in enumerate(factors):
                state = along(state, factor[block], axis)
            result[block] = state
        return result

    def adjoint() -> np.ndarray:
        total = np.zeros_like(image)
        for block in problem.blocks():
            state = measured[block]
            for axis, factor in enumerate(factors):
                state = along(state, factor[block].conj().T, axis)
            total += state
        return total

    yield "vec trick, NumPy", forward, adjoint, "axes in order"


def contractions(problem: Problem) -> Iterator[Timed]:
    """Yield torch.einsum in each order of the axes, all blocks of a pair together."""
    axes = len(problem.case.shape)
    ins, outs = "mnl"[:axes], "abc"[:axes]
    for order in _orders(axes):

        def forward(order: tuple[int, ...] = order) -> torch.Tensor:
            found = []
            for pair in range(problem.case.pairs):
                state, letters = problem.image, ins
                for axis in order:
                    after = letters.replace(ins[axis], outs[axis])
                    factor = problem.factors[axis][pair]
                    after = after if "k" in after else f"k{after}"
                    state = torch.einsum(
                        f"k{outs[axis]}{ins[axis]},{letters}->{after}", factor, state
                    )
                    letters = after
                found.append(state)
            return torch.stack(found)

        def adjoint(order: tuple[int, ...] = order) -> torch.Tensor:
            total = torch.zeros_like(problem.image)
            for pair in range(problem.case.pairs):
                state, letters = problem.measured[pair], f"k{outs}"
                for axis in order[::-1]:
                    after = letters.replace(outs[axis], ins[axis])
                    after = after.replace("k", "") if axis == order[0] else after
                    factor = problem.factors[axis][pair].conj()
                    state = torch.einsum(
                        f"k{outs[axis]}{ins[axis]},{letters}->{after}", factor, state
                    )
                    letters = after
                total += state
            return total

        yield "einsum " + "".join(str(axis) for axis in order), forward, adjoint, ""


def dense(problem: Problem) -> Iterator[Timed]:
    """Yield the matrix of one block; its time is multiplied by the number of blocks."""
    matrix = problem.factors[0][0, 0]
    for factor in problem.factors[1:]:
        matrix = torch.kron(matrix, factor[0, 0])
    image, measured = problem.image.flatten(), problem.measured[0, 0].flatten()
    megabytes = matrix.nbytes / 1e6
    blocks = problem.case.pairs * problem.case.frequencies
    remark = f"one block of {megabytes:.0f} MB, times {blocks}"
    yield "dense, scaled", lambda: matrix @ image, lambda: matrix.mH @ measured, remark


def pylops(problem: Problem) -> Iterator[Timed]:
    """Yield pylops' product of two matrices, block by block."""
    from pylops import Kronecker as Product
    from pylops import MatrixMult

    dtype = problem.image.numpy().dtype
    first, second = (factor.numpy() for factor in problem.factors)
    image, measured = problem.image.numpy().ravel(), problem.measured.numpy()
    products = {
        block: Product(
            MatrixMult(first[block], dtype=dtype), MatrixMult(second[block], dtype=dtype), dtype
        )
        for block in problem.blocks()
    }
    yield (
        "pylops",
        lambda: [products[block] @ image for block in problem.blocks()],
        lambda: sum(products[block].H @ measured[block].ravel() for block in problem.blocks()),
        "",
    )


def linear_operator(problem: Problem) -> Iterator[Timed]:
    """Yield linear_operator's batched product; its transpose does not conjugate: we do."""
    from linear_operator.operators import KroneckerProductLinearOperator

    products = [
        KroneckerProductLinearOperator(*(factor[pair] for factor in problem.factors))
        for pair in range(problem.case.pairs)
    ]
    image = problem.image.flatten()[:, None]

    def adjoint() -> torch.Tensor:
        return sum(
            (product.mT @ samples.conj().flatten(1)[..., None]).conj().sum(0)
            for product, samples in zip(products, problem.measured, strict=True)
        )

    yield "linear_operator", lambda: [product @ image for product in products], adjoint, ""


def _orders(axes: int) -> list[tuple[int, ...]]:
    return [(0, 1), (1, 0)] if axes == 2 else [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)]


def _seconds(work: Callable[[], Any], budget: float, device: str = "cpu") -> float:
    """Return the shortest time of repeats, the first of which only warms up.

    Whatever else the machine does can only add to it. With a single thread it is the time of the
    processor, to which a busy machine adds little.
    """
    alone = torch.get_num_threads() == 1 and device == "cpu"
    clock = time.process_time if alone else time.perf_counter

    def once() -> float:
        start = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    repeats = max(1, min(20, int(budget / max(once(), 1e-6))))
    return min(once() for _ in range(repeats))


def gemm_peak(dtype: torch.dtype, budget: float, device: str = "cpu") -> float:
    """Return the operations a second of a complex matrix product of 1536 x 1536; 8192 on a GPU."""
    size = 1536 if device == "cpu" else 8192
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    return 8 * size**3 / _seconds(lambda: left @ right, budget, device)


def measure(
    case: Case, dtype: torch.dtype, budget: float, device: str = "cpu"
) -> Iterator[dict[str, Any]]:
    """Yield a row for each way to apply one case."""
    problem = Problem(case, dtype, device)
    peak = gemm_peak(dtype, budget, device)
    common = {"case": case.name, "dtype": str(dtype).removeprefix("torch.")}
    common |= {"matrix": " x ".join(map(str, case.shape)), "pairs": case.pairs}
    common |= {"frequencies": case.frequencies, "elements": " x ".join(map(str, case.rows))}
    yield {**common, "implementation": "complex GEMM", "gflops": peak / 1e9, "share_of_peak": 1.0}
    on_host = device == "cpu"
    ways = [ours, *([textbook] if on_host else []), contractions]
    if math.prod(case.rows) * math.prod(case.shape) * dtype.itemsize < 2**30:
        ways.append(dense)
    for package, way in (("pylops", pylops), ("linear_operator", linear_operator)):
        if package == "pylops" and len(case.shape) > 2:
            yield {**common, "implementation": package, "note": "two factors only"}
        elif find_spec(package) is None:
            yield {**common, "implementation": package, "note": "not installed"}
        elif on_host or package != "pylops":
            ways.append(way)
    yield {**common, "implementation": "pykronecker", "note": "square factors only"}
    for way in ways:
        for name, forward, adjoint, note in way(problem):
            there, back = (_seconds(call, budget, device) for call in (forward, adjoint))
            if way is dense:
                there, back = (t * case.pairs * case.frequencies for t in (there, back))
            rate = 2 * case.flops / (there + back)
            yield {
                **common,
                **{"implementation": name, "forward": there, "adjoint": back, "note": note},
                **{"both": there + back, "gflops": rate / 1e9, "share_of_peak": rate / peak},
            }
    operator, made = collapsed(problem)
    both = _seconds(lambda: operator(problem.image), budget, device)
    yield {**common, "implementation": "collapsed", "both": both, "note": f"made in {made:.2g} s"}


COLUMNS = (
    *("case", "matrix", "elements", "pairs", "frequencies", "dtype", "implementation"),
    *("forward", "adjoint", "both", "gflops", "share_of_peak", "note"),
)


def main(
    *,
    cases: Annotated[str, typer.Option(help="Cases, separated by commas.")] = ",".join(
        case.name for case in CASES
    ),
    miniature: Annotated[bool, typer.Option("--quick", help="Tiny sizes: does it run?")] = False,
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0: all cores; 1: count CPU time.", min=0)
    ] = 0,
    seconds: Annotated[float, typer.Option(help="Time for the repeats of a measurement.")] = 2.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    output: Annotated[Path, typer.Option(help="Table to write.")] = Path(
        "results/benchmarks-radar.csv"
    ),
) -> None:
    """Time Kronecker operators side by side on this machine."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    rows: list[dict[str, Any]] = []
    progress = Console(stderr=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for case in (case for case in CASES if case.name in cases.split(",")):
            small = replace(case, shape=tuple(n // 8 for n in case.shape), frequencies=2)
            for dtype in (torch.complex64, torch.complex128):
                sizes = (small, dtype, 0.0) if miniature else (case, dtype, seconds)
                for row in measure(*sizes, device):
                    rows.append(row)
                    writer.writerow(row)
                    file.flush()
                    progress.print(row)
    shown = [name for name in COLUMNS if name not in ("matrix", "elements", "pairs", "frequencies")]
    table = Table(*shown)
    for row in rows:
        cells = (row.get(name, "") for name in shown)
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else cell for cell in cells))
    Console(width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    typer.run(main)
