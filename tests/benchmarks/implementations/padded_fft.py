"""The simplest Toeplitz normal operator: pad everything, `torch.fft`, multiply, go back.

The yardstick for our pruned transforms. The right-hand side and the kernel come from finufft; in
three dimensions the coils pass one by one, which is faster here and takes the least memory. On CUDA
finufft still runs on the CPU: compare the normal operator there, not the whole reconstruction.
"""

import finufft
import numpy as np
import torch

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation
from benchmarks.implementations.finufft_plans import FinufftPlans

_KERNEL_TOLERANCE = 1e-6


class PaddedFFT(Implementation):
    """``E^H E`` by a real spectrum on the doubled grid."""

    def __init__(
        self,
        problem: Problem,
        *,
        tolerance: float,
        threads: int,
        device: str = "cpu",
        dtype: str = "complex64",
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self._plans = FinufftPlans(problem, tolerance=tolerance, threads=threads, dtype=dtype)
        self._plans.maps = self.maps = self.maps.astype(dtype, copy=False)
        self._maps = torch.from_numpy(self.maps).to(device)
        self._axes = tuple(range(-len(self.shape), 0))
        self._doubled = tuple(2 * extent for extent in self.shape)
        self._spectra: list[torch.Tensor] = []

    def prepare(self, operation: str) -> None:
        if operation == "cg-sense":
            self._plans.prepare(operation)
        self._spectra = [self._spectrum(trajectory) for trajectory in self.trajectory]

    def _spectrum(self, trajectory: np.ndarray) -> torch.Tensor:
        real = np.empty(0, self.maps.dtype).real.dtype
        transform = {1: finufft.nufft1d1, 2: finufft.nufft2d1, 3: finufft.nufft3d1}
        kernel = transform[len(self.shape)](
            *(np.ascontiguousarray(component, real) for component in trajectory.T),
            np.ones(len(trajectory), self.maps.dtype),
            n_modes=self._doubled,
            eps=min(self.tolerance, _KERNEL_TOLERANCE),
            isign=1,
            nthreads=self.threads,
        )
        # Differences of voxel positions are at most N - 1; that of -N lies on the doubled grid
        # and must not count, or the spectrum would not be real.
        for axis in range(kernel.ndim):
            np.moveaxis(kernel, axis, 0)[0] = 0
        centred = torch.from_numpy(kernel).to(self.device)
        return torch.fft.fftn(torch.fft.ifftshift(centred)).real.contiguous()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("the padded transform stands for normal operators only")

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        return self.to_native(self._plans.adjoint(self.to_numpy(kspace)))

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(image)
        at_once = 1 if len(self.shape) == 3 else len(self._maps)
        crop = tuple(slice(0, extent) for extent in self.shape)
        for spectrum, one, total in zip(self._spectra, image, result, strict=True):
            for maps in self._maps.split(at_once):
                padded = torch.fft.fftn(maps * one, s=self._doubled, dim=self._axes)
                padded *= spectrum
                coil_images = torch.fft.ifftn(padded, dim=self._axes)[(..., *crop)]
                total.add_((maps.conj() * coil_images).sum(0))
        return result

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.cpu().numpy()

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
