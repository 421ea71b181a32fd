"""Density compensation of any trajectory by Pipe and Menon's iteration [1]_.

References
----------
.. [1] J. G. Pipe, P. Menon, "Sampling density compensation in MRI: rationale and an iterative
   numerical solution", Magn. Reson. Med. 41, 179-186 (1999).
.. [2] K. O. Johnson, J. G. Pipe, "Convolution kernel design and efficient algorithm for sampling
   density correction", Magn. Reson. Med. 61, 439-447 (2009).
"""

import math
from collections.abc import Sequence

import torch

from pipeline.config.transforms import NufftSettings
from pipeline.geometry.axes import voxel_positions
from pipeline.operators.nufft import NUFFT

# The estimated density is a sum of positive terms, of which each sample's own is one; errors of
# the transforms must not bring it near zero.
_LEAST_DENSITY = 1e-3


def pipe_menon_weights(
    trajectory: torch.Tensor,
    shape: Sequence[int],
    *,
    iterations: int,
    nufft: NufftSettings,
    threads: int | None = None,
) -> torch.Tensor:
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
    trajectory
        Real tensor ``(axis, sample)`` [rad/voxel]; its device is where the work is done.
    shape
        Image matrix, in the order of the trajectory's components.
    iterations
        How often to divide.
    nufft
        How transforms are computed.
    threads
        CPU threads.

    Returns
    -------
    Tensor
        float32 ``(sample,)``, in image units.
    """
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
    return weights / _gridded_intensity(trajectory, weights, shape)


def _gridded_intensity(
    trajectory: torch.Tensor, weights: torch.Tensor, shape: Sequence[int]
) -> float:
    """Return the intensity at the centre of a gridded object that has intensity 1 there.

    The object is a Gaussian over the middle of the field of view, whose transform is known.
    Dividing by the result makes up for the convolution being 1 at the samples but less between
    them where they are sparse. Where the centre of k-space, and with it the object, was hardly
    measured, the result is 1.
    """
    transform = torch.ones_like(weights, dtype=torch.float64)
    for position, size in zip(trajectory.double(), shape, strict=True):
        width = max(size / 10, 1.0)  # [voxel]
        transform *= math.sqrt(2 * math.pi) * width * torch.exp(-((width * position) ** 2) / 2)
    intensity = float(weights.double() @ transform)
    return intensity if intensity > 0.5 else 1.0
