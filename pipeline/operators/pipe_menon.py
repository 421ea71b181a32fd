"""Density compensation of any trajectory by Pipe and Menon's iteration [1]_.

References
----------
.. [1] J. G. Pipe, P. Menon, "Sampling density compensation in MRI: rationale and an iterative
   numerical solution", Magn. Reson. Med. 41, 179-186 (1999).
.. [2] K. O. Johnson, J. G. Pipe, "Convolution kernel design and efficient algorithm for sampling
   density correction", Magn. Reson. Med. 61, 439-447 (2009).

Torch is imported when weights are computed: their memory is predicted where it need not be.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config.transforms import NufftSettings
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.nufft_memory import nufft_workspace_bytes

if TYPE_CHECKING:
    import torch

# The estimated density is a sum of positive terms, of which each sample's own is one; errors of
# the transforms must not bring it near zero.
_LEAST_DENSITY = 1e-3


def pipe_menon_weights(
    points: NDArray[np.floating],
    shape: Sequence[int],
    *,
    iterations: int,
    nufft: NufftSettings,
    device: str = "cpu",
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return weights whose convolution with a kernel is 1 at every sample.

    Each iteration divides the weights by their convolution. The kernel is the squared sinc whose
    transform is the autocorrelation of the field of view, a triangle of twice its width along each
    axis [2]_: nowhere negative, and one Cartesian sample wide. The convolution is evaluated as an
    adjoint and a forward transform on the matrix of twice the size, with the triangle between.

    The kernel's integral over k-space is ``(2 pi)**d``, so that weights whose convolution is 1
    everywhere are in image units. It is made 1 at the samples only; a last factor gives a smooth
    object its intensity. A sample farther than a Cartesian sample from all others stands for one.

    Parameters
    ----------
    points
        ``[..., axis]`` [rad/voxel].
    shape
        Image matrix, in the order of the points' components.

    Returns
    -------
    ndarray
        float32 ``[...]``, in image units.
    """
    import torch

    from pipeline.operators.nufft import NUFFT

    columns = np.ascontiguousarray(points.reshape(-1, points.shape[-1]).T, np.float32)
    trajectory = torch.from_numpy(columns).to(device)
    doubled = tuple(2 * size for size in shape)
    transform = NUFFT(
        doubled,
        trajectory,
        tolerance=nufft.tolerance,
        backend=nufft.backend,
        oversampling=nufft.oversampling,
        kernel_width=nufft.kernel_width,
        threads=threads,
    )
    window = torch.ones(doubled, dtype=torch.float32, device=trajectory.device)
    for axis, size in enumerate(shape):
        along = 1 - torch.from_numpy(abs(voxel_positions(2 * size))).to(window) / size
        window *= along.reshape([-1 if other == axis else 1 for other in range(len(shape))])

    def convolve(weights: torch.Tensor) -> torch.Tensor:
        image = transform.adjoint(weights.to(torch.complex64))
        image *= window
        return transform.forward(image).real

    weights = torch.ones(trajectory.shape[-1], dtype=torch.float32, device=trajectory.device)
    for _ in range(iterations):
        density = convolve(weights)
        weights /= density.clamp_min(_LEAST_DENSITY * float(density.mean()))
    weights = weights / _gridded_intensity(trajectory, weights, shape)
    return np.asarray(weights.cpu().numpy().reshape(points.shape[:-1]))


def _gridded_intensity(
    trajectory: "torch.Tensor", weights: "torch.Tensor", shape: Sequence[int]
) -> float:
    """Return the intensity at the centre of a gridded object that has intensity 1 there.

    The object is a Gaussian over the middle of the field of view, whose transform is known.
    Dividing by the result makes up for the convolution being 1 at the samples but less between
    them where they are sparse. Where the centre of k-space, and with it the object, was hardly
    measured, the result is 1.
    """
    import torch

    transform = torch.ones_like(weights, dtype=torch.float64)
    for position, size in zip(trajectory.double(), shape, strict=True):
        width = max(size / 10, 1.0)  # [voxel]
        transform *= math.sqrt(2 * math.pi) * width * torch.exp(-((width * position) ** 2) / 2)
    intensity = float(weights.double() @ transform)
    return intensity if intensity > 0.5 else 1.0


def pipe_menon_bytes(
    shape: Sequence[int], samples: int, nufft: NufftSettings, *, threads: int, on_device: bool
) -> list[dict[str, int]]:
    """Return the bytes that `pipe_menon_weights` holds where it computes, in each of its phases."""
    doubled = tuple(2 * size for size in shape)
    voxels, axes = math.prod(doubled), len(shape)
    library = choose_backend(
        doubled,
        "cuda" if on_device else "cpu",
        nufft.backend,
        tolerance=nufft.tolerance,
        dtype=np.dtype(np.complex64),
        elsewhere=True,
    )
    working, resident = nufft_workspace_bytes(
        doubled,
        samples,
        1,
        backend=library,
        tolerance=nufft.tolerance,
        itemsize=8,
        threads=threads,
        oversampling=nufft.oversampling,
    )
    common = {"trajectory as points": 4 * axes * samples, "density: window": 4 * voxels}
    iterate = {
        **common,
        "density: NUFFT on the doubled matrix": working,
        "density: image on the doubled matrix": 8 * voxels,
        "density: weights": 24 * samples,
    }
    # The transform of the object that the last factor is found with, in double precision.
    scale = {
        **common,
        "density: NUFFT on the doubled matrix": resident,
        "trajectory in double precision": 8 * axes * samples,
        "density: weights": (4 + 32) * samples,
    }
    return [iterate, scale]
