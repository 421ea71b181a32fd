"""Other ways to the same minimiser: steps, operators and seconds until 1 % away from it.

    python tests/benchmarks/converging.py [--cases kooshball] [--dampings 0.05]

Conjugate gradients on Toeplitz normal equations, without a preconditioner and with the circulant
one that knows the coils; the same from the solution on half the matrix; and preconditioning in
k-space [1]_, by the primal-dual method as published, and by conjugate gradients on the dual
problem with the same weights. The objective is
``1/2 |E x - y|^2 + damping / 2 |x|^2``, or with ``--dampings 0`` the one that is solved by default,
with density weights and noise over signal.

Seconds are of one thread's processor time, set-up included; but not the weights in k-space, which
SigPy makes. Where a way has a choice the best of a few is shown.

References
----------
.. [1] F. Ong, M. Uecker, M. Lustig, "Accelerating non-Cartesian MRI reconstruction convergence
   using k-space preconditioning", IEEE Trans. Med. Imaging 39, 1646-1654 (2020).
"""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import Case, Problem, make_problem
from benchmarks.conjugate_gradient import iterates
from benchmarks.defaults import say
from benchmarks.truth import CONVERGED, scan
from pipeline.mri.calibration.radial_density import radial_weights
from pipeline.operators.circulant import Circulant, frequencies
from pipeline.operators.nufft import NUFFT
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.circulant_preconditioners import CirculantPreconditioner
from pipeline.solvers.normal import NormalEquations

CASES = (
    Case("radial-2d", (192, 192), coils=20, frames=1, readouts=96, samples=384),
    Case("radial-2d-series", (128, 128), coils=8, frames=6, readouts=21, samples=256),
    Case("kooshball-3d", (48, 48, 48), coils=8, frames=1, readouts=1200, samples=96),
)
MOST = 200
"""Steps after which a way is given up."""

Images = Callable[[Tensor], Tensor]
Way = Iterator[Callable[[], Tensor]]
"""Yields what makes the image of each step, first that of the start."""


@dataclass
class Scan:
    """The samples of a case and its operators, which count how often they are applied."""

    problem: Problem
    readouts: int
    damping: float
    """Relative to the number of samples; 0 for the objective that is solved by default."""
    reach: float = 1.0
    """Of its voxels' frequencies, relative to those of the whole matrix."""
    dtype: torch.dtype = torch.complex64
    tolerance: float = 1e-6
    """Of the kernel."""

    def __post_init__(self) -> None:
        self.shape, self.used = self.problem.shape, Counter[str]()
        self.points = torch.from_numpy(self.problem.trajectory).mT.contiguous()
        self.maps = torch.from_numpy(self.problem.maps).to(self.dtype)
        self.kspace = torch.from_numpy(self.problem.kspace).to(self.dtype)
        self.absolute = self.damping * self.points.shape[-1]
        self.weights, self.added = torch.ones_like(self.points[:, 0]), None
        if not self.damping:
            axes = len(self.shape)
            frames = self.problem.trajectory.reshape(len(self.kspace), self.readouts, -1, axes)
            found = np.stack([radial_weights(frame).ravel() for frame in frames])
            self.weights = torch.from_numpy(found).to(self.points.dtype)
            along = frequencies(self.shape, (1.0,) * axes, torch.device("cpu"))
            squares = sum(each.square() for each in along)
            assert isinstance(squares, Tensor)
            # The signal's power falls by |k|^-2.2 or |k|^-3.2, and noise grows with the weights.
            self.noise = (squares.sqrt() * self.reach / math.pi) ** (2 * axes - 2.8)
            self.added = Circulant(self.noise.to(self.dtype.to_real()), self.shape, threads=1)

    @cached_property
    def nufft(self) -> NUFFT:
        return NUFFT(
            self.shape, self.points, coils=len(self.maps), threads=1, dtype=self.dtype,
            tolerance=1e-9 if self.dtype == torch.complex128 else 1e-3,
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        self.used["E"] += 1
        return self.nufft(image[:, None] * self.maps)

    def adjoint(self, samples: Tensor) -> Tensor:
        self.used["E"] += 1
        return self.seen(samples)

    def seen(self, samples: Tensor) -> Tensor:
        """Apply the adjoint where it does not count."""
        return torch.linalg.vecdot(self.maps, self.nufft.adjoint(samples), dim=1)

    def equations(self) -> tuple[Images, Tensor]:
        """Return the regularised normal operator, and the right-hand side."""
        self.spectrum = toeplitz_spectrum(
            self.shape, self.points, self.weights,
            tolerance=self.tolerance, dtype=self.dtype, threads=1,
        )  # fmt: skip
        gram = SenseNormal(Toeplitz(self.spectrum, self.shape, threads=1), self.maps)

        def normal(image: Tensor) -> Tensor:
            self.used["E^H E"] += 1
            added = self.absolute * image if self.added is None else self.added(image)
            return gram(image).add_(added)

        return normal, self.adjoint(self.kspace * self.weights[:, None])

    def preconditioner(self) -> Images:
        """Return the one that is right for the objective."""
        if self.added is not None:
            inverse = (1 / (1 + self.noise)).to(self.dtype.to_real())
            return Circulant(inverse, self.shape, threads=1)
        return CirculantPreconditioner(
            self.spectrum, self.shape, regularization=self.absolute, maps=self.maps
        )

    def halved(self) -> "Scan":
        """Return the inner half of k-space on half the matrix: every second voxel."""
        # Of spokes of one length; clear of what is on the border but for rounding.
        inner = np.linalg.norm(self.problem.trajectory[0], axis=-1) < math.pi / 2 - 1e-3
        axes = len(self.shape)
        smaller = replace(
            self.problem,
            shape=tuple(n // 2 for n in self.shape),
            trajectory=2 * self.problem.trajectory[:, inner],
            maps=np.ascontiguousarray(self.problem.maps[(..., *(slice(None, None, 2),) * axes)]),
            kspace=self.problem.kspace[..., inner],
        )
        # Its voxels stand for 2^axes as much each.
        damping = self.damping * len(inner) / np.count_nonzero(inner) / 2**axes
        return Scan(smaller, self.readouts, damping, self.reach / 2)


def toeplitz(scan: Scan, *, preconditioned: bool) -> Way:
    """Conjugate gradients on normal equations, from zero."""
    yield from _improving(scan, torch.zeros(1), preconditioned=preconditioned)


def coarse(scan: Scan, *, steps: int) -> Way:
    """Take preconditioned ones from the solution on half the matrix, after so many steps there."""
    half = scan.halved()
    *_, image = islice(toeplitz(half, preconditioned=True), steps + 1)
    axes = tuple(range(-len(scan.shape), 0))
    found = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image(), axes), dim=axes), axes)
    wide = torch.zeros(len(found), *scan.shape, dtype=found.dtype)
    wide[(..., *(slice(n // 4, n // 4 + n // 2) for n in scan.shape))] = found
    start = torch.fft.ifftn(torch.fft.ifftshift(wide, axes), dim=axes)
    scan.used["E^H E of half"] = half.used["E^H E"]
    # The longer inverse transform has already divided by the voxels that each stands for.
    yield from _improving(scan, torch.fft.fftshift(start, axes), preconditioned=True)


def _improving(scan: Scan, start: Tensor, *, preconditioned: bool) -> Way:
    normal, right = scan.equations()
    by = (scan.preconditioner(),) if preconditioned else ()
    left = right - normal(start) if start.any() else right
    found = chain((torch.zeros_like(right),), iterates(normal, left, 0.0, *by))
    for correction in found:
        yield lambda correction=correction: start + correction


def dual(scan: Scan, rows: Tensor) -> Way:
    """Conjugate gradients on ``(E E^H + damping) u = y``, preconditioned; ``x = E^H u``."""
    yield lambda: torch.zeros(1)
    found = iterates(
        lambda u: scan.forward(scan.adjoint(u)),
        scan.kspace,
        scan.absolute,
        lambda residual: residual / (rows + scan.absolute),
    )
    for samples in found:
        yield lambda samples=samples: scan.seen(samples)


def primal_dual(scan: Scan, rows: Tensor, *, ratio: float) -> Way:
    """Take the steps of [1]_, with the largest eigenvalue from ten iterations of a power method."""
    weights = ratio * math.prod(scan.shape) / rows
    x = torch.randn(len(scan.kspace), *scan.shape, dtype=scan.dtype)
    largest = 1.0
    for _ in range(10):
        x = scan.adjoint(weights * scan.forward(x / torch.linalg.vector_norm(x)))
        largest = float(torch.linalg.vector_norm(x))
    tau = 1 / (1.05 * largest)
    x, u = torch.zeros_like(x), torch.zeros_like(scan.kspace)
    ahead = x
    while True:
        yield lambda x=x: x
        u = (u + weights * (scan.forward(ahead) - scan.kspace)) / (1 + weights)
        before, x = x, (x - tau * scan.adjoint(u)) / (1 + tau * scan.absolute)
        ahead = 2 * x - before


def rows_in_kspace(scan: Scan) -> Tensor:
    """Return the squared norms of the rows of ``E E^H`` over its diagonal, as SigPy makes them."""
    import sigpy.mri

    voxels = math.prod(scan.shape)
    cycles = np.array(scan.shape) / (2 * math.pi)
    found = [
        sigpy.mri.kspace_precond(scan.problem.maps, coord=points * cycles).real
        for points in scan.problem.trajectory
    ]
    return voxels / torch.from_numpy(np.stack(found))  # its transforms are unitary on a grid


def minimiser(scan: Scan) -> Tensor:
    """Return it in double precision."""
    exact = replace(scan, dtype=torch.complex128, tolerance=1e-9)
    normal, right = exact.equations()
    equations = NormalEquations(right, normal, torch.zeros(len(right)))
    settings = {"iterations": 1000, "residual": 1e-7, "image_axes": len(exact.shape)}
    by = exact.preconditioner()
    return conjugate_gradient(equations, preconditioner=by, **settings).image


def converge(way: Way, truth: Tensor) -> tuple[int | None, float, float]:
    """Return steps (None: too many), processor seconds of all, and of them before the first."""
    seconds = first = 0.0
    for count in range(MOST):
        start = time.process_time()
        image = next(way)
        seconds += time.process_time() - start
        first = first or seconds
        away = torch.linalg.vector_norm(image() - truth) / torch.linalg.vector_norm(truth)
        if away <= CONVERGED:
            return count, seconds, first
    return None, seconds, first


def ways(scan: Scan) -> Mapping[str, tuple[Callable[[Scan], Way], ...]]:
    """Return each way, with each of its choices."""
    found: dict[str, tuple[Callable[[Scan], Way], ...]] = {
        "normal equations": (partial(toeplitz, preconditioned=False),),
        "preconditioned": (partial(toeplitz, preconditioned=True),),
        "from half the matrix": tuple(partial(coarse, steps=n) for n in (2, 4, 8)),
    }
    if scan.damping:
        rows = rows_in_kspace(scan)
        found["in k-space, dual"] = (partial(dual, rows=rows),)
        found["in k-space, primal-dual"] = tuple(
            partial(primal_dual, rows=rows, ratio=ratio) for ratio in (0.03, 0.1, 0.3, 1.0)
        )
    return found


def main() -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default="", help="only those that have this in their name")
    parser.add_argument("--dampings", type=float, nargs="+", default=[0.05, 0.005, 0.0])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    say("| case | damping | way | steps | operators | s | of them set-up |")
    say("|---|---|---|---|---|---|---|")
    for case in CASES:
        if chosen.cases not in case.name:
            continue
        problem = make_problem(case)
        problem = replace(problem, kspace=scan(problem, 1))
        for damping in chosen.dampings:
            asked = Scan(problem, case.readouts, damping)
            truth = minimiser(asked)
            for name, choices in ways(asked).items():
                tried = []
                for choice in choices:
                    again = replace(asked)
                    steps, seconds, first = converge(choice(again), truth)
                    used = ", ".join(f"{count} {what}" for what, count in again.used.items())
                    tried.append((steps is None, seconds, first, steps, used))
                _, seconds, first, steps, used = min(tried)
                say(
                    f"| {case.name} | {damping:g} | {name} "
                    f"| {steps or f'over {MOST}'} | {used} | {seconds:.2f} | {first:.2f} |"
                )


if __name__ == "__main__":
    main()
