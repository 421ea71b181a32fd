"""Signal and noise of a calibration on the frequencies of a reconstruction."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.operators.circulant import frequencies
from pipeline.solvers.spectrum import Spectrum


def spectrum_of(
    shells: NDArray[np.float64],
    shape: Sequence[int],
    voxel_size: Sequence[float],
    like: Tensor,
    *,
    coils: int,
    samples: float,
    diagonal: float,
    squares: float,
    weighted: bool,
) -> Spectrum:
    """Return gain and Wiener weights of images.

    Parameters
    ----------
    shells
        The array ``spectrum`` of the calibration.
    shape, voxel_size
        Of the reconstruction [m].
    like
        A tensor of its dtype and device.
    coils
        That the powers are sums over.
    samples
        Voxels of the dataset's matrix, for each frame that an image joins: the sum of all weights
        where every voxel of k-space was sampled once and weighted by 1.
    diagonal
        Of the normal operator, for unit sensitivities.
    squares
        Mean sum of squares of the coils' maps.
    weighted
        Whether samples have density weights; else all count alike.
    """
    radius, signal, noise, weight = shells
    enlarged = weight if weighted else np.ones_like(weight)
    of_wiener = samples * squares / coils * noise * enlarged / signal
    wiener = torch.empty(tuple(shape), dtype=like.dtype.to_real(), device=like.device)
    gain = torch.ones_like(wiener)
    total = 0.0
    axes = frequencies(shape, voxel_size, torch.device("cpu"))
    # In rows: what is computed in double precision is not to stand beside all images.
    for row, first in enumerate(axes[0].ravel()):
        k = sum((along.square() for along in axes[1:]), first.square()).sqrt().numpy()
        wiener[row] = at_radius(k, radius, of_wiener)
        if not weighted:
            gain[row] = at_radius(k, radius, 1 / weight)
        total += float(gain[row].double().cpu()[torch.from_numpy(k <= radius[-1])].sum())
    # The mean of a Toeplitz operator's eigenvalues is its diagonal; where nothing was measured
    # they are zero.
    gain.mul_(squares * diagonal * gain.numel() / total)
    return Spectrum(gain, wiener)


def at_radius(
    k: NDArray[np.float64], radius: NDArray[np.float64], values: NDArray[np.float64]
) -> Tensor:
    """Interpolate values of shells, as powers of the radius; float64."""
    powers = np.log(np.maximum(values, np.finfo(np.float32).tiny))
    logarithms = np.interp(np.log(np.maximum(k, radius[0])), np.log(radius), powers)
    return torch.from_numpy(np.exp(logarithms))
