"""Operators that multiply spatial frequencies: circulant matrices."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.operators.fourier import host_fft, provider
from pipeline.operators.threads import thread_count


class Circulant(LinearOperator):
    """``F^H diag(eigenvalues) F``, a circulant matrix.

    Parameters
    ----------
    eigenvalues
        Real, ``([image,] *shape)``, in FFT order.
    shape
        Image axes.
    threads
        Threads on the CPU; torch's own number if not given.

    Notes
    -----
    Maps ``([image,] *shape)`` to the same; self-adjoint.
    """

    def __init__(
        self, eigenvalues: Tensor, shape: Sequence[int], *, threads: int | None = None
    ) -> None:
        dtype = eigenvalues.dtype.to_complex()
        domain = tuple(eigenvalues.shape)
        super().__init__(domain, domain, dtype=dtype, device=eigenvalues.device)
        self._axes = tuple(range(-len(shape), 0))
        # As both transforms are unscaled.
        self._scaled = eigenvalues / math.prod(shape)
        self._library = provider("auto", eigenvalues.device)
        self._threads = thread_count(threads)

    def _forward(self, x: Tensor) -> Tensor:
        if self._library in ("mkl", "torch"):
            transformed = torch.fft.fftn(x, dim=self._axes).mul_(self._scaled)
            found: Tensor = torch.fft.ifftn(transformed, dim=self._axes, norm="forward")
            return found
        result = torch.empty(x.shape, dtype=x.dtype)
        source, target = x.detach().resolve_conj().resolve_neg().numpy(), result.numpy()
        axes = [axis % x.ndim for axis in self._axes]
        transform = partial(host_fft, library=self._library, threads=self._threads)
        transform(source, axes, out=target)
        torch.view_as_real(result).mul_(self._scaled[..., None])
        transform(target, axes, out=target, inverse=True)
        return result

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


def frequencies(
    shape: Sequence[int], spacing: Sequence[float], device: torch.device
) -> list[Tensor]:
    """Return the spatial frequency along each axis, float64, in FFT order; they broadcast.

    In rad per unit of `spacing`, that of the voxels.
    """
    found = []
    for axis, (size, step) in enumerate(zip(shape, spacing, strict=True)):
        along = 2 * torch.pi * torch.fft.fftfreq(size, step, dtype=torch.float64, device=device)
        found.append(along.reshape(-1, *(1,) * (len(shape) - 1 - axis)))
    return found


def voxel_averages(image: Tensor, shape: Sequence[int], *, threads: int | None = None) -> Tensor:
    """Return the means over voxels of what `image` samples, complex ``(..., *shape)``.

    The mean over a voxel multiplies the frequency ``k`` [rad/voxel] of each axis by
    ``sin(k / 2) / (k / 2)``.
    """
    transfer = torch.ones(tuple(shape), dtype=image.dtype.to_real(), device=image.device)
    for along in frequencies(shape, (1.0,) * len(shape), image.device):
        transfer *= torch.sinc(along / (2 * np.pi)).to(transfer.dtype)
    averaged: Tensor = Circulant(transfer, shape, threads=threads).forward(image)
    return averaged
