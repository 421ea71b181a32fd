"""finufft used directly: one reused plan a frame, all coils in one call."""

import finufft
import numpy as np

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation


class FinufftPlans(Implementation):
    """Type 2 plans and their adjoints; finufft chooses the oversampling for the tolerance."""

    def __init__(
        self,
        problem: Problem,
        *,
        tolerance: float,
        threads: int,
        device: str = "cpu",
        dtype: str = "complex64",
        coils_at_once: int | None = None,
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self.dtype = np.dtype(dtype)
        self.coils_at_once = coils_at_once or len(self.maps)
        self.maps = self.maps.astype(self.dtype, copy=False)
        real = np.empty(0, self.dtype).real.dtype
        self._points = [
            [np.ascontiguousarray(component, real) for component in trajectory.T]
            for trajectory in self.trajectory
        ]
        self._plans: list[finufft.Plan] = []

    def prepare(self, operation: str) -> None:
        self._plans = []
        for points in self._points:
            plan = finufft.Plan(
                2,
                self.shape,
                n_trans=self.coils_at_once,
                eps=self.tolerance,
                isign=-1,
                dtype=self.dtype.name,
                nthreads=self.threads,
            )
            plan.setpts(*points)
            self._plans.append(plan)

    def forward(self, image: np.ndarray) -> np.ndarray:
        kspace = np.empty((len(image), *self._kspace_shape), self.dtype)
        for plan, one, measured in zip(self._plans, image, kspace, strict=True):
            for coils in self._coil_batches():
                plan.execute(self.maps[coils] * one, out=measured[coils])
        return kspace

    def adjoint(self, kspace: np.ndarray) -> np.ndarray:
        image = np.zeros((len(kspace), *self.shape), self.dtype)
        for plan, measured, one in zip(self._plans, kspace, image, strict=True):
            for coils in self._coil_batches():
                coil_images = plan.execute_adjoint(measured[coils].astype(self.dtype, copy=False))
                coil_images = coil_images.reshape(-1, *self.shape)
                coil_images *= self.maps[coils].conj()
                np.add(one, coil_images.sum(axis=0), out=one)
        return image

    def normal(self, image: np.ndarray) -> np.ndarray:
        if not self._plans:
            self.prepare("normal")
        return super().normal(image)

    @property
    def _kspace_shape(self) -> tuple[int, int]:
        return len(self.maps), self.trajectory.shape[1]

    def _coil_batches(self) -> list[slice]:
        step = self.coils_at_once
        return [slice(start, start + step) for start in range(0, len(self.maps), step)]
