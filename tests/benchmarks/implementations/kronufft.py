"""Kronufft: the operators as they are, and for CG-SENSE the parts that a reconstruct job runs."""

import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation, sums
from pipeline.algorithms.penalised import BOUND_EVALUATIONS
from pipeline.config.transforms import NufftSettings
from pipeline.engine.machine import Machine, Transforms
from pipeline.engine.stream import StreamAccount, stream
from pipeline.mri.model.basis import TemporalBasis
from pipeline.mri.model.encoding import Encoding, RightHandSide, Sampling
from pipeline.mri.model.subspace import Subspace
from pipeline.operators.nufft import NUFFT
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz
from pipeline.pieces import pieces
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.circulant_preconditioners import (
    CirculantPreconditioner,
    MatrixCirculantPreconditioner,
)
from pipeline.solvers.fista import fista
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.penalties.tv import TotalVariation

_TILES_FROM_HOST = 4
_TILE_BYTES = 64_000_000  # of coil images at one moment, as the plan chooses it on a CPU


class Kronufft(Implementation):
    """NUFFT and Toeplitz normal operator, a tile of coils at a time."""

    preconditioned = True

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cpu"
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self.account = StreamAccount()  # of k-space that comes from the host
        self._maps = torch.from_numpy(self.maps).to(device)
        points = torch.from_numpy(self.trajectory).mT.contiguous().to(device)
        # Images that share a trajectory are a batch; frames have one each.
        points = points[0] if len(points) == 1 else points
        weights = torch.ones(points.shape[:-2] + points.shape[-1:], device=device)
        self._sampling = Sampling(points, weights)
        coils = len(self.maps)
        fitting = _TILE_BYTES // (self._maps[0].nbytes * len(self.trajectory))
        self._coil_batch = coils if device == "cuda" else max(1, min(coils, fitting))
        # On a CPU the operator chooses what its caches hold, as in a job.
        self._normal_batch = coils if device == "cuda" else None
        self._tiles = [
            slice(first, min(first + self._coil_batch, coils))
            for first in range(0, coils, self._coil_batch)
        ]
        machine = Machine(device == "cuda", threads, 8, NufftSettings(tolerance=tolerance))
        self._transforms = Transforms(self.shape, machine)

    def prepare(self, operation: str) -> None:
        if operation == "normal":
            spectrum = self._transforms.spectrum(self._sampling.trajectory, self._sampling.weights)
            self._spectrum = spectrum
            one_coil = Toeplitz(spectrum, self.shape, threads=self._transforms.machine.threads)
            self._normal = SenseNormal(one_coil, self._maps, self._normal_batch)
            return
        self._nuffts: dict[int, NUFFT] = {
            count: self._transforms.nufft(self._sampling.trajectory, count)
            for count in {tile.stop - tile.start for tile in self._tiles}
        }

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        samples = self._sampling.trajectory.shape[-1]
        kspace = image.new_empty(len(image), len(self._maps), samples)
        for tile in self._tiles:
            operator = self._nuffts[tile.stop - tile.start]
            kspace[:, tile] = operator(image[:, None] * self._maps[tile])
        return kspace

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        total = kspace.new_zeros(len(kspace), *self.shape)
        for tile in self._tiles:
            operator = self._nuffts[tile.stop - tile.start]
            gridded = operator.adjoint(kspace[:, tile])
            total += torch.linalg.vecdot(self._maps[tile], gridded, dim=1)
        return total

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        return self._normal(image)

    def solve(
        self, kspace: torch.Tensor, iterations: int, damping: float = 0.0
    ) -> tuple[torch.Tensor, float]:
        if self.prior == "basis":
            return self._solve_for_coefficients(kspace, iterations, damping)
        start = time.perf_counter()
        right = RightHandSide(
            Encoding(self._transforms, self.device), len(kspace), self.device, one_coil=False
        )
        for coils, samples in self._samples(kspace):
            right.add(self._sampling, samples, [self._maps[coils]])
        self.prepare("normal")
        preconditioner = None
        if damping and self.prior == "l2":
            preconditioner = CirculantPreconditioner(
                self._spectrum, self.shape, regularization=damping, maps=self._maps
            )
        self.synchronize()
        setup_seconds = time.perf_counter() - start
        if self.prior == "tv":
            axes = len(self.shape) + 1
            equations = NormalEquations(
                right.b, lambda x: self._normal(x).add_(x, alpha=damping), right.energy.sum()
            )
            penalty = TotalVariation(self.weight, axes, (-axes,))
            steps = {"iterations": iterations, "bound_evaluations": BOUND_EVALUATIONS}
            return fista(equations, penalty, change=0.0, **steps).image, setup_seconds
        solution = conjugate_gradient(
            NormalEquations(right.b, self._normal, right.energy),
            regularization=damping,
            preconditioner=preconditioner,
            iterations=iterations,
            image_axes=len(self.shape),
        )
        return solution.image, setup_seconds

    def _samples(self, kspace: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the samples of a tile of coils, in a tensor of their own, as a job reads them.

        From the host to a device they pass as there, copied while the tile before is in work.
        """
        if kspace.device == self._maps.device:
            yield from ((tile, kspace[:, tile].clone()) for tile in self._tiles)
            return
        tiles = pieces(len(self._maps), max(1, len(self._maps) // _TILES_FROM_HOST))
        reads = [lambda tile=tile: (kspace[:, tile].numpy(),) for tile in tiles]
        for tile, (samples,) in zip(tiles, stream(reads, self.device, self.account), strict=True):
            yield tile, samples
            del samples

    def _solve_for_coefficients(
        self, kspace: torch.Tensor, iterations: int, damping: float
    ) -> tuple[torch.Tensor, float]:
        """Do as a reconstruct job with a temporal basis does: all frames are one measurement."""
        start = time.perf_counter()
        frames, samples, axes = self.trajectory.shape
        basis = TemporalBasis(self.basis.astype(np.complex128))
        encoding = Subspace(self._transforms, self.device, basis, 1)
        points = torch.from_numpy(self.trajectory.reshape(1, -1, axes)).mT.contiguous()
        points = points.to(self.device)
        along = torch.linspace(0, 1, frames, device=self.device).repeat_interleave(samples)[None]
        sampling = Sampling(points, torch.ones_like(points[:, 0]), along)
        right = RightHandSide(encoding, 1, kspace.device, one_coil=False)
        for tile in self._tiles:
            measured = kspace[:, tile].movedim(0, 1).reshape(1, -1, frames * samples).clone()
            right.add(sampling, measured, [self._maps[tile]])
        normal = encoding.normal(
            dict(encoding.kernels(sampling)),
            lambda one: SenseNormal(one, self._maps, self._normal_batch),
        )
        preconditioner = MatrixCirculantPreconditioner(
            normal.kernel.spectra,
            self.basis.shape[1],
            self.shape,
            regularization=damping,
            maps=self._maps,
        )
        self.synchronize()
        setup_seconds = time.perf_counter() - start
        solution = conjugate_gradient(
            NormalEquations(right.b, lambda x: normal(x[0])[None], right.energy),
            regularization=damping,
            preconditioner=preconditioner,
            iterations=iterations,
            image_axes=1 + axes,
        )
        return sums(self.basis, solution.image[0]), setup_seconds

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.cpu().numpy()

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
