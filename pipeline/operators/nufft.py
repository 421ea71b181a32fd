"""The non-uniform Fourier transform of images on given trajectories."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import ConfigError, ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.nufft_accuracy import PerAxis
from pipeline.operators.nufft_backends import plan_class
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.nufft_memory import SMALL_IMAGE, parallel_transforms
from pipeline.operators.threads import share, thread_count


def check_trajectory(trajectory: Tensor, shape: Sequence[int]) -> None:
    """Raise `ShapeError` unless it is ``([frame,] axis, sample)`` of the axes of a matrix."""
    if trajectory.ndim not in (2, 3) or trajectory.shape[-2] != len(shape):
        raise ShapeError(
            f"NUFFT: found a trajectory of shape {tuple(trajectory.shape)} for the matrix "
            f"{tuple(shape)}; allowed are (axis, sample) and (frame, axis, sample) with "
            f"{len(shape)} axes; join readouts and samples with `flatten`"
        )


class NUFFT(LinearOperator):
    """Evaluate the Fourier transform of images along trajectories.

    ``y[m] = sum_r x[r] exp(-j k_m . r)`` with ``r`` the voxel index minus ``N // 2`` and without
    any scaling; see `pipeline.geometry.axes`.

    Parameters
    ----------
    shape
        Image axes ``(z, y, x)``, ``(y, x)`` or ``(x,)``.
    trajectory
        Real tensor of shape ``(axis, sample)``, or ``(frame, axis, sample)`` where every frame has
        its own [rad/voxel]. Its device is the operator's. Where it requires a gradient it gets one.
    coils
        Size of the coil axis of domain and codomain; `None` for no such axis.
    tolerance
        Relative l2 error allowed in each transform.
    backend
        ``"auto"`` or one of ``"ducc0"``, ``"finufft"``, ``"cufinufft"``, ``"triton"``,
            ``"torchkbnufft"``.
    oversampling
        For experts: ratio of the FFT grid to the matrix; with torchkbnufft also one per axis.
    kernel_width
        For experts, with torchkbnufft only: width of the interpolation kernel [grid points], one
        number or one per axis. Together with `oversampling` it replaces `tolerance`.
    dtype
        complex64 or complex128.
    threads
        Threads on the CPU; torch's own number if not given.
    deterministic
        Repeat bit by bit: one thread for each transform, several transforms at a time. A volume
        then needs one FFT grid for each thread.

    Raises
    ------
    ConfigError
        If the backend cannot do what is asked.
    DependencyError
        If the backend is not installed.

    Notes
    -----
    Domain ``([frame,] [coil,] *shape)``, codomain ``([frame,] [coil,] sample)``. The libraries
    keep work areas in their plans, so one operator must not be applied from two threads at once.
    """

    def __init__(
        self,
        shape: Sequence[int],
        trajectory: Tensor,
        *,
        coils: int | None = None,
        tolerance: float = 1e-3,
        backend: str = "auto",
        oversampling: PerAxis = None,
        kernel_width: PerAxis = None,
        dtype: torch.dtype = torch.complex64,
        threads: int | None = None,
        deterministic: bool = False,
    ) -> None:
        if dtype not in (torch.complex64, torch.complex128):
            raise ConfigError(f"NUFFT: found dtype {dtype}, allowed are complex64 and complex128.")
        self.shape = tuple(int(size) for size in shape)
        self.backend = choose_backend(
            self.shape,
            trajectory.device.type,
            backend,
            tolerance=tolerance,
            dtype=dtype,
            deterministic=deterministic,
        )
        check_trajectory(trajectory, self.shape)
        frames = trajectory.shape[:-2]
        group = () if coils is None else (coils,)
        samples = trajectory.shape[-1]
        super().__init__(
            (*frames, *group, *self.shape),
            (*frames, *group, samples),
            dtype=dtype,
            device=trajectory.device,
        )
        if trajectory.requires_grad:
            self.parameters = (trajectory,)
        self.frames, self.coils, self.samples = math.prod(frames), coils, samples
        self.threads = thread_count(threads)
        self._workers = parallel_transforms(
            self.shape,
            self.frames,
            coils or 1,
            backend=self.backend,
            threads=self.threads,
            deterministic=deterministic,
        )
        # Each worker that may be busy with a frame needs a plan of its own.
        replicas = min(coils or 1, -(-self._workers // self.frames))
        small = math.prod(self.shape) <= SMALL_IMAGE
        plan = plan_class(self.backend)
        self._plans = [
            [
                plan(
                    self.shape,
                    frame,
                    tolerance=tolerance,
                    dtype=dtype,
                    threads=1 if self._workers > 1 or deterministic else self.threads,
                    oversampling=oversampling,
                    kernel_width=kernel_width,
                    group=-(-(coils or 1) // replicas) if small else 1,
                )
                for _ in range(replicas)
            ]
            for frame in trajectory.detach().reshape(self.frames, len(self.shape), samples)
        ]

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.domain)]
        images = self._transforms(x, len(self.shape))
        samples = images.new_empty(*images.shape[:3], self.samples)
        self._run(images, samples, adjoint=False)
        return samples.reshape(*batch, *self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        samples = self._transforms(y, 1)
        images = samples.new_empty(*samples.shape[:3], *self.shape)
        self._run(images, samples, adjoint=True)
        return images.reshape(*batch, *self.domain)

    def _parameter_gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        # d/dk_d of exp(-j k.r) is -j r_d exp(-j k.r), and Re(-j conj(y) A r_d x) an imaginary part.
        found = []
        for axis, size in enumerate(self.shape):
            positions = torch.arange(size, device=x.device, dtype=x.real.dtype) - size // 2
            along = [1] * len(self.shape)
            along[axis] = size
            values = (y.conj() * self.forward(x * positions.reshape(along))).imag
            if self.coils is not None:
                values = values.sum(-2)
            batch = values.ndim - len(self.parameters[0].shape[:-2]) - 1
            found.append(values.sum(tuple(range(batch))) if batch else values)
        (trajectory,) = self.parameters
        return (torch.stack(found, dim=-2).to(trajectory.dtype),)

    def _transforms(self, array: Tensor, trailing: int) -> Tensor:
        """Return a contiguous ``(batch, frame, coil, ...)`` view or copy."""
        array = array.detach().resolve_conj().resolve_neg().contiguous()
        sizes = array.shape[array.ndim - trailing :]
        if self.frames == 1:  # then all that stands before is a batch of one trajectory
            return array.reshape(1, 1, -1, *sizes)
        return array.reshape(-1, self.frames, self.coils or 1, *sizes)

    def _run(self, images: Tensor, samples: Tensor, *, adjoint: bool) -> None:
        replicas = len(self._plans[0])

        def work(task: int, _: int) -> None:
            frame, replica = divmod(task, replicas)
            plan = self._plans[frame][replica]
            coils = -(-images.shape[2] // replicas)
            group = slice(replica * coils, (replica + 1) * coils)
            for item in range(len(images)):
                image, sample = images[item, frame, group], samples[item, frame, group]
                if not len(image):
                    continue
                if adjoint:
                    plan.adjoint(sample, image)
                else:
                    plan.forward(image, sample)

        share(self.frames * replicas, work, self._workers)
