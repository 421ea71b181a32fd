"""Density compensation: the volume of k-space that each sample stands for.

All weights are in image units: with them, the adjoint of the Fourier operator of
`pipeline.geometry.axes` is a discretised inverse Fourier transform,

    image[r] = sum_k weights(k) kspace(k) exp(+j k.r),        weights = dk / (2 pi)**d,

so that the gridded image of an object of intensity 1 has intensity 1.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.calibration.pipe_menon import pipe_menon_weights
from pipeline.calibration.radial_density import radial_weights, stack_of_stars_weights
from pipeline.config.calibration import CalibrationSettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import DataError
from pipeline.geometry.trajectories import is_radial, is_stack_of_stars

Method = Literal["radial", "stack-of-stars", "pipe-menon"]


def automatic_method(trajectory: NDArray[np.floating]) -> Method:
    """Choose how to compensate the density of a trajectory ``[readout, sample, axis]``."""
    if is_radial(trajectory):
        return "radial"
    if is_stack_of_stars(trajectory):
        return "stack-of-stars"
    return "pipe-menon"


def density_weights(
    method: Method,
    trajectory: NDArray[np.floating],
    shape: Sequence[int],
    *,
    settings: CalibrationSettings,
    nufft: NufftSettings,
    device: str,
    threads: int,
    who: str,
) -> NDArray[np.float32]:
    """Return the density weights of one frame.

    Parameters
    ----------
    method
        How; see the module's functions.
    trajectory
        ``[readout, sample, axis]`` of the frame [rad/voxel].
    shape
        Image matrix.
    settings, nufft
        Iterations of Pipe-Menon, and how it transforms.
    device, threads
        Where Pipe-Menon computes.
    who
        Dataset and frame, for errors.

    Returns
    -------
    ndarray
        float32 ``[readout, sample]``, in image units.

    Raises
    ------
    DataError
        If the method does not apply to the trajectory.
    """
    if not trajectory.any():
        raise DataError(
            f"{who}: all samples are at the centre of k-space; check the trajectory in the source"
        )
    if method == "radial":
        if not is_radial(trajectory):
            raise DataError(
                f"{who}: calibration.density is radial, but not all readouts are straight lines "
                "through the centre of k-space; set it to auto or pipe-menon"
            )
        weights = radial_weights(trajectory)
    elif method == "stack-of-stars":
        if not is_stack_of_stars(trajectory):
            raise DataError(
                f"{who}: calibration.density is stack-of-stars, but not all readouts are straight "
                "lines through the kz axis, each at one kz; set it to auto or pipe-menon"
            )
        weights = stack_of_stars_weights(trajectory)
    else:
        points = trajectory.reshape(-1, trajectory.shape[-1]).T
        on_device = torch.from_numpy(np.ascontiguousarray(points, np.float32)).to(device)
        found = pipe_menon_weights(
            on_device, shape, iterations=settings.density_iterations, nufft=nufft, threads=threads
        )
        weights = found.cpu().numpy().reshape(trajectory.shape[:2])
    if not np.isfinite(weights).all() or not weights.any():
        raise DataError(
            f"{who}: {method} density weights are not finite or all zero; check the trajectory, or "
            "set calibration.density to another method"
        )
    return weights.astype(np.float32)
