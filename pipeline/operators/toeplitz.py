"""The normal operator of a NUFFT as a convolution.

``A^H W A`` has the entries ``K[r - r']`` with the kernel ``K[n] = sum_m w_m exp(j k_m . n)``, so it
is a convolution, computed with FFTs of at least ``2 N - 1`` points an axis [1]_. With real weights
the kernel is Hermitian and its spectrum is real.

References
----------
.. [1] J. A. Fessler, S. Lee, V. T. Olafsson, H. R. Shi, D. C. Noll, "Toeplitz-based iterative image
   reconstruction for MRI with correction for magnetic field inhomogeneity", IEEE Trans. Signal
   Process. 53, 3393-3402 (2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from functools import partial

import torch
from torch import Tensor

from pipeline.errors import ConfigError, ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.convolution import Convolution, DeviceConvolution
from pipeline.operators.fourier import Provider, irfftn, provider
from pipeline.operators.host_convolution import HostConvolution, MklConvolution
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.threads import thread_count
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz_kernel import half_kernel
from pipeline.operators.toeplitz_memory import KERNEL_TOLERANCE, padded_shape


def kernel_dtype(
    shape: Sequence[int],
    device: torch.device,
    *,
    tolerance: float = KERNEL_TOLERANCE,
    backend: str = "auto",
    dtype: torch.dtype = torch.complex64,
    deterministic: bool = False,
) -> torch.dtype:
    """Return the dtype in which `toeplitz_spectrum` works on a device: double if it must be.

    Raises
    ------
    ConfigError, DependencyError
        If no backend makes kernels there; as of `pipeline.operators.nufft_choice.choose_backend`.
    """
    check = partial(
        choose_backend,
        shape,
        device.type,
        backend,
        tolerance=tolerance,
        deterministic=deterministic,
    )
    with suppress(ConfigError):
        check(dtype=dtype)
        return dtype
    check(dtype=torch.complex128)
    return torch.complex128


def toeplitz_spectrum(
    shape: Sequence[int],
    trajectory: Tensor,
    weights: Tensor | None = None,
    *,
    tolerance: float = KERNEL_TOLERANCE,
    backend: str = "auto",
    dtype: torch.dtype = torch.complex64,
    threads: int | None = None,
    deterministic: bool = False,
) -> Tensor:
    """Compute the spectrum of ``A^H W A``.

    Parameters
    ----------
    shape
        Image axes.
    trajectory
        Real tensor of shape ``(axis, sample)`` or ``(frame, axis, sample)`` [rad/voxel].
    weights
        Real tensor of shape ``(sample,)`` or ``(frame, sample)``, dimensionless; ones if `None`.
    tolerance
        Relative l2 error of the kernel. That of the operator is up to 20 times larger in 3D, so
        this should be far below the tolerance of a NUFFT; it is paid once.
    backend, dtype, threads, deterministic
        As of `pipeline.operators.nufft.NUFFT`.

    Returns
    -------
    Tensor
        Real, ``([frame,] *padded_shape(shape))``, in FFT order; it includes the factor of the
        inverse transform, so that `Toeplitz` works with unscaled ones.

    Notes
    -----
    Being Hermitian, the kernel is computed for ``n >= 0`` on the last axis only, and in ``s`` or
    ``s^2`` equal boxes along the others where its FFT grid would be large: 2 boxes at 128^3, 4 from
    there on, none of them larger than ``N`` an axis.
    """
    shape = tuple(int(size) for size in shape)
    trajectory = trajectory.detach()
    frames = trajectory.reshape(-1, *trajectory.shape[-2:])
    expected = (*trajectory.shape[:-2], trajectory.shape[-1])
    if weights is None:
        weights = trajectory.new_ones(()).expand(expected)
    if tuple(weights.shape) != expected or weights.is_complex():
        raise ShapeError(
            f"Toeplitz spectrum: found weights of shape {tuple(weights.shape)} and "
            f"{weights.dtype}, but the trajectory needs real ones of shape {expected}."
        )
    working = kernel_dtype(
        shape,
        trajectory.device,
        tolerance=tolerance,
        backend=backend,
        dtype=dtype,
        deterministic=deterministic,
    )
    padded = padded_shape(shape)
    scale = 1.0 / math.prod(padded)
    spectra = [
        irfftn(
            half_kernel(
                shape,
                padded,
                frame,
                weight.detach() * scale,
                tolerance=tolerance,
                backend=backend,
                dtype=working,
                threads=threads,
                deterministic=deterministic,
            ),
            padded,
            threads=threads,
        ).to(dtype.to_real())
        for frame, weight in zip(
            frames, weights.reshape(len(frames), trajectory.shape[-1]), strict=True
        )
    ]
    stacked = spectra[0][None] if len(spectra) == 1 else torch.stack(spectra)
    return stacked.reshape(*trajectory.shape[:-2], *padded)


class Toeplitz(LinearOperator):
    """``A^H W A`` on images, as a convolution.

    Parameters
    ----------
    spectrum
        Real tensor ``([frame,] *padded)`` of `toeplitz_spectrum`; or ``([frame,] *shape)`` of
        `pipeline.operators.grid_fourier.grid_spectrum`, for samples on the grid.
    shape
        Image axes.
    coils
        Size of the coil axis; `None` for no such axis.
    fft
        FFT library: ``"auto"``, ``"ducc0"``, ``"mkl"``, ``"scipy"`` or ``"torch"``.
    piece_bytes
        Size of the pieces that the convolution is decomposed into [byte]; by default what fits a
        CPU's cache, or fills an accelerator.
    threads
        Threads on the CPU; torch's own number if not given. Results do not depend on it.

    Notes
    -----
    Maps ``([frame,] [coil,] *shape)`` to the same; self-adjoint. Repeats bit by bit.
    """

    def __init__(
        self,
        spectrum: Tensor,
        shape: Sequence[int],
        *,
        coils: int | None = None,
        fft: Provider = "auto",
        piece_bytes: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        padded = padded_shape(self.shape)
        if spectrum.shape[-len(self.shape) :] == self.shape:
            padded = self.shape  # a circular convolution
        frames = tuple(spectrum.shape[: -len(padded)])
        if spectrum.is_complex() or (*frames, *padded) != spectrum.shape or len(frames) > 1:
            raise ShapeError(
                f"Toeplitz: found a spectrum of shape {tuple(spectrum.shape)} and {spectrum.dtype}"
                f"; the matrix {self.shape} needs a real one of shape ([frame,] {padded})."
            )
        domain = (*frames, *(() if coils is None else (coils,)), *self.shape)
        super().__init__(domain, domain, dtype=spectrum.dtype.to_complex(), device=spectrum.device)
        self.frames, self.coils = frames, coils
        self.spectrum = spectrum
        self.threads = thread_count(threads)
        library = provider(fft, spectrum.device)
        one = (1,) * (len(self.shape) == 1)
        tiling = Tiling(
            (*one, *self.shape), (*one, *padded), self.itemsize, library != "torch", piece_bytes
        )
        kernels = spectrum.detach().contiguous()
        self.convolution: Convolution
        if library == "torch":
            self.convolution = DeviceConvolution(kernels, tiling)
        else:
            host = MklConvolution if library == "mkl" else HostConvolution
            self.convolution = host(kernels, tiling, library=library, threads=self.threads)

    def like(self, spectrum: Tensor) -> Toeplitz:
        """Return the operator of another spectrum of the same shape, which shares work areas."""
        other = copy(self)
        other.spectrum = spectrum
        other.convolution = self.convolution.like(spectrum.detach())
        return other

    def _forward(self, x: Tensor) -> Tensor:
        images = x.detach().resolve_conj().resolve_neg().contiguous()
        if self.frames:
            images = images.reshape(-1, *self.frames, self.coils or 1, *self.shape)
        else:  # all that stands before is a batch of one kernel
            images = images.reshape(1, 1, -1, *self.shape)
        result = torch.empty_like(images)
        for image, convolved in zip(images, result, strict=True):
            self.convolution.convolve(image, out=convolved)
        return result.reshape(x.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    @property
    def kernel(self) -> Toeplitz:
        """The only kernel of this operator, which preconditioners ask a normal operator for."""
        return self
