"""The non-uniform Fourier transform as a module of torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.nufft import NUFFT as Transform  # noqa: N811
from pipeline.operators.nufft import check_trajectory
from pipeline.operators.nufft_accuracy import PerAxis
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum


class NUFFT(torch.nn.Module):
    """Evaluate the Fourier transform of images along a trajectory, and its adjoint.

    ``y[m] = sum_r x[r] exp(-j k_m . r)`` with ``r`` the voxel index minus ``N // 2`` and without
    any scaling.

    Parameters
    ----------
    shape
        Image axes, one to three: ``(x,)``, ``(y, x)`` or ``(z, y, x)``.
    trajectory
        Real tensor ``(axis, sample)``, or ``(frame, axis, sample)`` where every frame has its own
        [rad/voxel]; its components are in the order of the image axes. A buffer of the module, or a
        parameter where it is one. It may be given with each call instead.
    tolerance
        Relative l2 error allowed in each transform.
    oversampling
        For experts: ratio of the FFT grid to the matrix; with torchkbnufft also one per axis.
    kernel_width
        For experts, with torchkbnufft only: width of the interpolation kernel [grid points], one
        number or one per axis. Together with `oversampling` it replaces `tolerance`.
    backend
        ``"auto"``, ``"ducc0"``, ``"finufft"``, ``"cufinufft"``, ``"triton"`` or
        ``"torchkbnufft"``.
    threads
        Threads on the CPU; torch's own number if not given.
    deterministic
        Repeat bit by bit, on a CPU alone.

    Notes
    -----
    Gradients of any order flow to images, samples and trajectory. The points of a trajectory are
    sorted once, and again when another one is given or it was changed; a module is not to be called
    from two threads at once. Images and samples say the precision: complex64 or complex128.
    """

    trajectory: Tensor | None

    def __init__(
        self,
        shape: Sequence[int],
        trajectory: Tensor | None = None,
        *,
        tolerance: float = 1e-3,
        oversampling: PerAxis = None,
        kernel_width: PerAxis = None,
        backend: str = "auto",
        threads: int | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__()
        self.shape = tuple(int(size) for size in shape)
        self.options: dict[str, Any] = {
            "tolerance": tolerance,
            "oversampling": oversampling,
            "kernel_width": kernel_width,
            "backend": backend,
            "threads": threads,
            "deterministic": deterministic,
        }
        if isinstance(trajectory, torch.nn.Parameter):
            self.trajectory = trajectory
        else:
            self.register_buffer("trajectory", trajectory)
        self._made: tuple[Tensor, int, object, Transform] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of; it sorts its points anew."""
        return {**self.__dict__, "_made": None}

    def extra_repr(self) -> str:
        """Return what `repr` tells of the module."""
        return f"shape={self.shape}, tolerance={self.options['tolerance']}"

    def operator(
        self,
        trajectory: Tensor | None = None,
        *,
        coils: int | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> Transform:
        """Return the transform as an operator, with ``.H``, ``@`` and ``+``.

        Its domain is ``([frame,] [coil,] *shape)``; see `coils`, the size of the coil axis.
        """
        used = self._used(trajectory)
        key = (coils, dtype, used.requires_grad and torch.is_grad_enabled())
        if self._made is not None:
            of, version, how, made = self._made
            if of is used and version == used._version and how == key:
                return made
        made = Transform(
            self.shape, used.to(dtype.to_real()), coils=coils, dtype=dtype, **self.options
        )
        if not used.requires_grad:  # a graph of autograd is walked once
            self._made = (used, used._version, key, made)
        return made

    def forward(
        self, image: Tensor, trajectory: Tensor | None = None, *, maps: Tensor | None = None
    ) -> Tensor:
        """Return the samples of images.

        Parameters
        ----------
        image
            Complex ``(..., *shape)``; ``(frame, ..., *shape)`` where frames have trajectories of
            their own.
        trajectory
            In place of the module's own.
        maps
            Coil maps ``(coil, *shape)``, or ``(frame, coil, *shape)``: the image is seen by each
            coil.

        Returns
        -------
        Tensor
            Complex ``(..., sample)``; with maps ``(..., coil, sample)``.
        """
        if maps is not None:
            image = image.unsqueeze(-len(self.shape) - 1) * self._of_frames(maps, image)
        return self._apply_to(image, len(self.shape), trajectory, adjoint=False)

    def adjoint(
        self, samples: Tensor, trajectory: Tensor | None = None, *, maps: Tensor | None = None
    ) -> Tensor:
        """Return the adjoint of samples: images, with maps combined over the coils.

        Parameters
        ----------
        samples
            Complex ``(..., sample)``; ``(frame, ..., sample)`` where frames have trajectories of
            their own; with maps ``(..., coil, sample)``.
        trajectory, maps
            As of `forward`.
        """
        image = self._apply_to(samples, 1, trajectory, adjoint=True)
        if maps is None:
            return image
        axis = -len(self.shape) - 1
        return (image * self._of_frames(maps, image.select(axis, 0)).conj()).sum(axis)

    def normal(
        self,
        trajectory: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        maps: Tensor | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> LinearOperator:
        """Return ``A^H W A`` as a convolution, which is many times faster than both transforms.

        Parameters
        ----------
        weights
            Real ``(sample,)`` or ``(frame, sample)``, such as those of `kronufft.density`; ones if
            `None`.
        maps
            Coil maps ``(coil, *shape)``; the operator then sums over the coils.

        Returns
        -------
        LinearOperator
            Maps ``([frame,] *shape)`` to the same. Gradients flow to images, not to the trajectory.
        """
        used = self._used(trajectory)
        real = dtype.to_real()
        spectrum = toeplitz_spectrum(
            self.shape,
            used.detach().to(real),
            None if weights is None else weights.to(real),
            tolerance=min(self.options["tolerance"], 1e-6),
            backend=self.options["backend"],
            dtype=dtype,
            threads=self.options["threads"],
            deterministic=self.options["deterministic"],
        )
        toeplitz = Toeplitz(spectrum, self.shape, threads=self.options["threads"])
        return toeplitz if maps is None else SenseNormal(toeplitz, maps.to(dtype))

    def _used(self, trajectory: Tensor | None) -> Tensor:
        used = self.trajectory if trajectory is None else trajectory
        if used is None:
            raise ShapeError("NUFFT: no trajectory; give one to the module or to the call")
        check_trajectory(used, self.shape)
        return used

    def _apply_to(
        self, array: Tensor, trailing: int, trajectory: Tensor | None, *, adjoint: bool
    ) -> Tensor:
        used = self._used(trajectory)
        if used.ndim != 3:
            operator = self.operator(trajectory, dtype=array.dtype)
            return operator.adjoint(array) if adjoint else operator.forward(array)
        # Whatever stands behind the frames is done as coils are.
        leading = array.shape[: array.ndim - trailing]
        if leading[:1] != used.shape[:1]:
            raise ShapeError(
                f"NUFFT: found shape {tuple(array.shape)}, but the trajectory of shape "
                f"{tuple(used.shape)} needs {len(used)} frames on the first axis"
            )
        coils = leading[1:].numel()
        operator = self.operator(trajectory, coils=coils, dtype=array.dtype)
        flat = array.reshape(*used.shape[:1], coils, *array.shape[len(leading) :])
        found = operator.adjoint(flat) if adjoint else operator.forward(flat)
        return found.reshape(*leading, *found.shape[2:])

    def _of_frames(self, maps: Tensor, image: Tensor) -> Tensor:
        """Return maps that broadcast to the coil images of ``image``."""
        axes = len(self.shape)
        if maps.ndim == axes + 1:
            return maps
        between = image.ndim - axes - 1
        return maps.reshape(maps.shape[0], *(1,) * between, *maps.shape[1:])
