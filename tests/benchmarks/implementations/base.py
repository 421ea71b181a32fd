"""What the benchmark asks of an implementation."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Problem
from benchmarks.conjugate_gradient import conjugate_gradient

Images = Callable[[Any], Any]


class Implementation(ABC):
    """Multi-coil non-uniform transforms ``E`` of one problem: coil maps, then one NUFFT a coil.

    A subclass that brings its own normal operator or solver overrides `normal` or `solve`, so that
    each package is timed in the way that it does the whole thing best.

    Parameters
    ----------
    problem
        The inputs.
    tolerance
        Relative error asked of each transform; packages without such a setting come as near as
        their settings allow.
    threads
        CPU threads.
    device
        ``"cpu"`` or ``"cuda"``.
    """

    preconditioned = False
    """Whether `solve` with damping takes fewer iterations than textbook conjugate gradients."""
    weight = 0.0
    """Of the total variation along the frames."""

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cpu"
    ) -> None:
        self.shape = problem.shape
        self.trajectory = problem.trajectory
        self.maps = problem.maps
        self.prior = problem.prior
        self.basis = problem.basis
        self.tolerance = tolerance
        self.threads = threads
        self.device = device

    @abstractmethod
    def prepare(self, operation: str) -> None:
        """Make all that depends on the trajectory alone: plans, kernels; timed as set-up."""

    @abstractmethod
    def forward(self, image: Any) -> Any:
        """Map ``[frame, *shape]`` to ``[frame, coil, sample]``."""

    @abstractmethod
    def adjoint(self, kspace: Any) -> Any:
        """Map ``[frame, coil, sample]`` to ``[frame, *shape]``."""

    def normal(self, image: Any) -> Any:
        """Apply `forward` and `adjoint`, or what gives the same."""
        return self.adjoint(self.forward(image))

    def solve(self, kspace: Any, iterations: int, damping: float = 0.0) -> tuple[Any, float]:
        """Return the images after ``iterations`` and the seconds before the first of them.

        They go towards the minimiser of ``1/2 |E x - y|^2 + damping / 2 |x|^2``; with a basis over
        the coefficients ``x`` that the images are sums of; with the prior `tv`, `weight` times the
        total variation along the frames is added.
        """
        start = time.perf_counter()
        normal, right_hand_side, images = self.equations(kspace)
        self.synchronize()
        setup_seconds = time.perf_counter() - start
        unknowns = conjugate_gradient(normal, right_hand_side, iterations, damping)
        return images(unknowns), setup_seconds

    def equations(self, kspace: Any) -> tuple[Images, Any, Images]:
        """Return the normal operator and the right-hand side, and what makes images of unknowns."""
        self.prepare("cg-sense")
        right_hand_side = self.adjoint(kspace)
        if self.prior != "basis":
            return self.normal, right_hand_side, lambda image: image

        def images(coefficients: Any) -> Any:
            return sums(self.basis, coefficients[0])

        def normal(coefficients: Any) -> Any:
            return sums(self.basis.T, self.normal(images(coefficients)))[None]

        return normal, sums(self.basis.T, right_hand_side)[None], images

    def to_native(self, array: np.ndarray) -> Any:
        """Turn an input into what the package computes on, on its device; not timed."""
        return array

    def to_numpy(self, result: Any) -> np.ndarray:
        """Turn a result back; not timed."""
        return np.asarray(result)

    def synchronize(self) -> None:  # noqa: B027 (most have nothing to wait for)
        """Wait until the device has finished."""

    def peak_bytes_elsewhere(self) -> int:
        """Return the peak memory of processes that did the work instead of this one [byte]."""
        return 0


def sums(factors: np.ndarray, images: Any) -> Any:
    """Return sums of images, arrays or tensors ``(image, ...)``, with a row of factors for each."""
    if isinstance(images, np.ndarray):
        return np.tensordot(factors.astype(images.dtype), images, 1)
    import torch

    rows = torch.from_numpy(np.ascontiguousarray(factors)).to(images.device, images.dtype)
    return torch.tensordot(rows, images, 1)
