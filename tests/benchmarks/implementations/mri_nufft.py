"""MRI-NUFFT on its finufft backend, with its LSQR.

In exact arithmetic the iterates of LSQR are those of conjugate gradients on the normal equations.
"""

import time

import numpy as np
from mrinufft import get_operator

from benchmarks.implementations.base import Implementation


class MRINufft(Implementation):
    """One SENSE operator a frame; all coils in one transform."""

    def prepare(self, operation: str) -> None:
        make = get_operator("finufft")
        self._operators = [
            make(
                trajectory,
                self.shape,
                n_coils=len(self.maps),
                n_trans=len(self.maps),
                smaps=self.maps,
                eps=self.tolerance,
                nthreads=self.threads,
            )
            for trajectory in self.trajectory
        ]
        self._norm = float(self._operators[0].norm_factor)

    def forward(self, image: np.ndarray) -> np.ndarray:
        pairs = zip(self._operators, image, strict=True)
        return self._norm * np.stack([operator.op(one) for operator, one in pairs])

    def adjoint(self, kspace: np.ndarray) -> np.ndarray:
        pairs = zip(self._operators, kspace, strict=True)
        return self._norm * np.stack([operator.adj_op(one) for operator, one in pairs])

    def solve(
        self, kspace: np.ndarray, iterations: int, damping: float = 0.0
    ) -> tuple[np.ndarray, float]:
        if self.prior == "basis":
            return super().solve(kspace, iterations, damping)
        start = time.perf_counter()
        self.prepare("cg-sense")
        setup_seconds = time.perf_counter() - start
        images = [
            operator.pinv_solver(
                one,
                optim="lsqr",
                damp=damping**0.5 / self._norm,
                max_iter=iterations,
                atol=0.0,
                btol=0.0,
                progressbar=False,
            )
            for operator, one in zip(self._operators, kspace, strict=True)
        ]
        return np.stack(images).reshape(len(kspace), *self.shape) / self._norm, setup_seconds
