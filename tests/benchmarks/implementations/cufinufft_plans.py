"""cufinufft used directly on a CUDA device: one reused pair of plans a frame, all coils at once."""

from typing import Any

import cufinufft
import numpy as np
import torch

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation


class CufinufftPlans(Implementation):
    """Type 1 and type 2 plans on torch's current stream."""

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cuda"
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self._maps = torch.from_numpy(self.maps).to(device)
        self._points = torch.from_numpy(self.trajectory).to(device).mT.contiguous()
        self._plans: dict[int, list[Any]] = {}

    def prepare(self, operation: str) -> None:
        types = {"forward": (2,), "adjoint": (1,)}.get(operation, (1, 2))
        stream = torch.cuda.current_stream().cuda_stream
        self._plans = {kind: [] for kind in types}
        for kind, plans in self._plans.items():
            for points in self._points:
                plan = cufinufft.Plan(
                    kind,
                    self.shape,
                    n_trans=len(self._maps),
                    eps=self.tolerance,
                    isign=1 if kind == 1 else -1,
                    dtype="complex64",
                    gpu_stream=stream,
                )
                plan.setpts(*points)
                plans.append(plan)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [
                plan.execute(self._maps * one)
                for plan, one in zip(self._plans[2], image, strict=True)
            ]
        )

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [
                (self._maps.conj() * plan.execute(measured)).sum(0)
                for plan, measured in zip(self._plans[1], kspace, strict=True)
            ]
        )

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.cpu().numpy()

    def synchronize(self) -> None:
        torch.cuda.synchronize()
