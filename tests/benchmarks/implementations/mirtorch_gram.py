"""MIRTorch's Toeplitz normal operator, its finufft back end and its conjugate gradients."""

import time

import numpy as np
import torch
from mirtorch.alg import CG
from mirtorch.linear import Identity, NuSense, NuSenseGram

from benchmarks.implementations.base import Implementation


class MIRTorch(Implementation):
    """All frames as a batch."""

    def prepare(self, operation: str) -> None:
        maps = torch.from_numpy(self.maps)[None]
        points = torch.from_numpy(self.trajectory).mT.contiguous()
        self._sense = NuSense(maps, points, norm=None, eps=self.tolerance)
        self._gram = NuSenseGram(maps, points, norm=None)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._sense * image[:, None]

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        return (self._sense.H * kspace)[:, 0]

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        return (self._gram * image[:, None])[:, 0]

    def solve(
        self, kspace: torch.Tensor, iterations: int, damping: float = 0.0
    ) -> tuple[torch.Tensor, float]:
        if self.prior == "basis":
            return super().solve(kspace, iterations, damping)
        start = time.perf_counter()
        self.prepare("cg-sense")
        right = self.adjoint(kspace)[:, None]
        setup_seconds = time.perf_counter() - start
        normal = self._gram
        if damping:
            normal = normal + damping * Identity(normal.size_in)
        solver = CG(normal, max_iter=iterations, tol=0.0)
        return solver.run(torch.zeros_like(right), right)[:, 0], setup_seconds

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.numpy()
