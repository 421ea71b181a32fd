"""torchkbnufft: forward and adjoint by its modules, the normal operator by its Toeplitz filter."""

import numpy as np
import torch
import torchkbnufft

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation

_NEIGHBOURS = 4  # The least that reaches 1e-3 on its twice oversampled grid.


class TorchKbNufft(Implementation):
    """All frames in one batch, as its users do."""

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cpu"
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self._maps = torch.from_numpy(self.maps).to(device)[None]
        points = torch.from_numpy(np.ascontiguousarray(self.trajectory.swapaxes(1, 2)))
        # A batch of one is slower than no batch.
        self._points = (points[0] if len(points) == 1 else points).to(device)

    def prepare(self, operation: str) -> None:
        settings = {"im_size": self.shape, "numpoints": _NEIGHBOURS, "dtype": torch.complex64}
        if operation == "forward":
            self._forward = torchkbnufft.KbNufft(**settings).to(self.device)
        else:
            self._adjoint = torchkbnufft.KbNufftAdjoint(**settings).to(self.device)
        if operation in ("normal", "cg-sense"):
            # Its default of six neighbours: the kernel is made once and used often.
            kernel = torchkbnufft.calc_toeplitz_kernel(self._points, self.shape)
            self._kernel, self._filter = kernel, torchkbnufft.ToepNufft().to(self.device)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._forward(image[:, None], self._points, smaps=self._maps)

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        return self._adjoint(kspace, self._points, smaps=self._maps)[:, 0]

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        maps = self._maps.expand(len(image), *self._maps.shape[1:])
        return self._filter(image[:, None], self._kernel, smaps=maps)[:, 0]

    def to_native(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.cpu().numpy()

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
