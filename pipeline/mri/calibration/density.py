"""Density compensation: the volume of k-space that each sample stands for.

All weights are in image units: with them, the adjoint of the Fourier operator of
`pipeline.geometry.axes` is a discretised inverse Fourier transform,

    image[r] = sum_k weights(k) kspace(k) exp(+j k.r),        weights = dk / (2 pi)**d,

so that the gridded image of an object of intensity 1 has intensity 1.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.calibration import CalibrationSettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import DataError
from pipeline.mri.calibration.radial_density import RadialDensity, stack_of_stars_weights
from pipeline.mri.readouts import (
    Pattern,
    Readouts,
    is_radial,
    is_stack_of_stars,
    readout_slabs,
    sampling_pattern,
)
from pipeline.operators.pipe_menon import pipe_menon_weights

Method = Literal["radial", "stack-of-stars", "pipe-menon"]


Weights = Callable[[slice], NDArray[np.float32]]
"""Returns the weights of some readouts, ``[readout, sample]``."""


def automatic_method(trajectory: Readouts) -> Method:
    """Choose how to compensate the density of a trajectory ``[readout, sample, axis]``."""
    return method_for(sampling_pattern(trajectory))


def method_for(pattern: Pattern) -> Method:
    """Choose how to compensate the density of readouts of a kind."""
    return "pipe-menon" if pattern == "other" else pattern


def density_weights(
    method: Method,
    trajectory: Readouts,
    shape: Sequence[int],
    *,
    settings: CalibrationSettings,
    nufft: NufftSettings,
    device: str,
    threads: int,
    who: str,
) -> Weights:
    """Return the density weights of one frame, to be asked for some readouts at a time.

    Radial weights are computed when they are asked for, however long the trajectory is; the other
    methods need all of it at once.

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
    callable
        Takes a slice of readouts; returns float32 ``[readout, sample]``, in image units.

    Raises
    ------
    DataError
        If the method does not apply to the trajectory.
    """
    if not any(trajectory[slab].any() for slab in readout_slabs(trajectory)):
        raise DataError(
            f"{who}: all samples are at the centre of k-space; check the trajectory in the source"
        )
    if method == "radial":
        if not is_radial(trajectory):
            raise DataError(
                f"{who}: calibration.density is radial, but not all readouts are straight lines "
                "through the centre of k-space; set it to auto or pipe-menon"
            )
        compute: Callable[[slice], NDArray[np.floating]] = RadialDensity(trajectory).weights
    else:
        whole = trajectory[slice(None)]
        if method == "stack-of-stars":
            found = _stack_of_stars(whole, who)
        else:
            points = np.ascontiguousarray(whole.reshape(-1, whole.shape[-1]).T, np.float32)
            found = (
                pipe_menon_weights(
                    torch.from_numpy(points).to(device),
                    shape,
                    iterations=settings.density_iterations,
                    nufft=nufft,
                    threads=threads,
                )
                .cpu()
                .numpy()
                .reshape(whole.shape[:2])
            )
        if not found.any():
            raise DataError(_useless(who, method))
        compute = found.__getitem__

    def weights(readouts: slice) -> NDArray[np.float32]:
        some = compute(readouts).astype(np.float32)
        if not np.isfinite(some).all():
            raise DataError(_useless(who, method))
        return some

    return weights


def _stack_of_stars(trajectory: NDArray[np.floating], who: str) -> NDArray[np.float64]:
    if not is_stack_of_stars(trajectory):
        raise DataError(
            f"{who}: calibration.density is stack-of-stars, but not all readouts are straight "
            "lines through the kz axis, each at one kz; set it to auto or pipe-menon"
        )
    return stack_of_stars_weights(trajectory)


def _useless(who: str, method: Method) -> str:
    return (
        f"{who}: {method} density weights are not finite or all zero; check the trajectory, or "
        "set calibration.density to another method"
    )
