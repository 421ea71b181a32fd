"""MRpro's Toeplitz normal operator and its conjugate gradients."""

import sys
import time
from unittest.mock import MagicMock

import numpy as np
import torch

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation

# Its phantoms alone use torchvision, whose wheels need the CUDA build of torch.
for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(name, MagicMock())

from mrpro.algorithms.optimizers import cg  # noqa: E402
from mrpro.data import KTrajectory  # noqa: E402
from mrpro.operators import IdentityOp, NonUniformFastFourierOp, SensitivityOp  # noqa: E402


class MRpro(Implementation):
    """Maps, then the gram of the NUFFT, one frame after the other."""

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cpu"
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        flat = (1,) * (3 - len(self.shape))
        self._volume = (*flat, *self.shape)
        self._csm = self.to_native(self.maps).reshape(1, len(self.maps), *self._volume)

    def prepare(self, operation: str) -> None:
        directions = ("z", "y", "x")[-len(self.shape) :]
        maps = SensitivityOp(self._csm)
        self._forwards, self._grams = [], []
        for trajectory in self.trajectory:
            # MRpro counts k-space in cycles per field of view.
            points = torch.from_numpy(trajectory * np.float32(1 / (2 * np.pi)))
            points = [p * n for p, n in zip(points.T, self.shape, strict=True)]
            points = [torch.zeros(1)] * (3 - len(points)) + points
            kz, ky, kx = (p.reshape(1, 1, 1, 1, -1) for p in points)
            fourier = NonUniformFastFourierOp(
                directions, self.shape, self.shape, KTrajectory(kz, ky, kx)
            ).to(self.device)
            self._forwards.append(fourier @ maps)
            self._grams.append(maps.H @ fourier.gram @ maps)
        self._norm = float(np.sqrt(np.prod(self.shape)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("only its normal operator is compared")

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [
                operator.H(one.reshape(1, len(self.maps), 1, 1, -1))[0].reshape(self.shape)
                for operator, one in zip(self._forwards, kspace, strict=True)
            ]
        )

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        return self._norm**2 * torch.stack(
            [
                gram(one.reshape(1, 1, *self._volume))[0].reshape(self.shape)
                for gram, one in zip(self._grams, image, strict=True)
            ]
        )

    def solve(
        self, kspace: torch.Tensor, iterations: int, damping: float = 0.0
    ) -> tuple[torch.Tensor, float]:
        if self.prior == "basis":
            return super().solve(kspace, iterations, damping)
        start = time.perf_counter()
        self.prepare("cg-sense")
        right = self.adjoint(kspace)
        setup_seconds = time.perf_counter() - start
        identity = damping / self._norm**2 * IdentityOp()
        images = [
            cg(
                gram + identity if damping else gram,
                one.reshape(1, 1, *self._volume),
                max_iterations=iterations,
                tolerance=0.0,
            )[0].reshape(self.shape)
            for gram, one in zip(self._grams, right, strict=True)
        ]
        return torch.stack(images) / self._norm, setup_seconds

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.cpu().numpy()

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
