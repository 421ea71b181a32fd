"""What is estimated before a reconstruction: density weights and coil maps."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pipeline.config.calibration import EspiritSettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import ConfigError, DataError, ShapeError
from pipeline.mri.calibration.centre import CentreGrid, centre_of_kspace
from pipeline.mri.calibration.coilmaps import interpolated, unit_norm
from pipeline.mri.calibration.espirit import espirit_maps, patch_width
from pipeline.mri.calibration.radial_density import radial_weights, stack_of_stars_weights
from pipeline.mri.calibration.walsh import walsh_maps
from pipeline.mri.readouts import sampling_pattern
from pipeline.operators.nufft import NUFFT
from pipeline.operators.pipe_menon import pipe_menon_weights

DensityMethod = Literal["auto", "radial", "stack-of-stars", "pipe-menon"]
CoilMapMethod = Literal["espirit", "walsh"]


def density(
    trajectory: Tensor,
    shape: Sequence[int],
    *,
    method: DensityMethod = "auto",
    iterations: int = 20,
    tolerance: float = 1e-3,
) -> Tensor:
    """Return the volume of k-space that each sample stands for.

    With these weights the adjoint of a `kronufft.NUFFT` is a discretised inverse Fourier transform:
    an object of intensity 1 is gridded to intensity 1.

    Parameters
    ----------
    trajectory
        Real ``(axis, sample)``, or ``(axis, readout, sample)`` [rad/voxel].
    shape
        Image axes.
    method
        ``"radial"`` and ``"stack-of-stars"`` are analytic and need readouts; ``"pipe-menon"``
        iterates, on any trajectory. ``"auto"`` is the first that applies.
    iterations, tolerance
        Of Pipe and Menon's method, and of its transforms.

    Returns
    -------
    Tensor
        float32, of the shape of a component of the trajectory, on its device.

    Raises
    ------
    ConfigError
        If the method is unknown or does not fit the trajectory.
    """
    axes = len(shape)
    if trajectory.ndim not in (2, 3) or len(trajectory) != axes:
        raise ShapeError(
            f"density: found a trajectory of shape {tuple(trajectory.shape)} for the matrix "
            f"{tuple(shape)}; allowed are (axis, sample) and (axis, readout, sample)"
        )
    points = np.moveaxis(trajectory.detach().cpu().numpy(), 0, -1)
    pattern = sampling_pattern(points) if points.ndim == 3 and axes > 1 else "other"
    if method == "auto":
        method = "pipe-menon" if pattern == "other" else pattern
    if method not in ("pipe-menon", pattern):
        raise ConfigError(
            f"density: method {method}, but the readouts are {pattern}; use auto or pipe-menon"
        )
    analytic = {"radial": radial_weights, "stack-of-stars": stack_of_stars_weights}
    if method in analytic:
        weights = analytic[method](points).astype(np.float32)
    else:
        weights = pipe_menon_weights(
            points,
            shape,
            iterations=iterations,
            nufft=NufftSettings(tolerance=tolerance),
            device=str(trajectory.device),
        )
    return torch.from_numpy(weights).to(trajectory.device)


def coil_maps(
    kspace: Tensor,
    trajectory: Tensor,
    shape: Sequence[int],
    *,
    method: CoilMapMethod = "espirit",
    weights: Tensor | None = None,
    width: int = 24,
    tolerance: float = 1e-3,
) -> Tensor:
    """Return coil maps, estimated from the centre of k-space.

    Parameters
    ----------
    kspace
        complex64 ``(coil, *samples)``.
    trajectory
        Real ``(axis, *samples)`` [rad/voxel].
    shape
        Image axes, two or three.
    method
        ``"espirit"`` [1]_, whose maps are nearer the truth, or ``"walsh"`` [2]_, which is faster in
        3D with many coils.
    weights
        Density weights ``(*samples)``; `density` of the trajectory if `None`.
    width
        Of the centre [Cartesian samples]: larger for coils that vary fast.
    tolerance
        Of the transforms.

    Returns
    -------
    Tensor
        complex64 ``(coil, *shape)``; the root of the sum of their squares is 1.

    Raises
    ------
    DataError
        If the centre was not measured.

    References
    ----------
    .. [1] M. Uecker et al., "ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI: where
       SENSE meets GRAPPA", Magn. Reson. Med. 71, 990-1001 (2014).
    .. [2] D. O. Walsh, A. F. Gmitro, M. W. Marcellin, "Adaptive reconstruction of phased array MR
       imagery", Magn. Reson. Med. 43, 682-690 (2000).
    """
    if tuple(kspace.shape[1:]) != tuple(trajectory.shape[1:]) or len(trajectory) != len(shape):
        raise ShapeError(
            f"coil_maps: found k-space of shape {tuple(kspace.shape)} and a trajectory of shape "
            f"{tuple(trajectory.shape)} for the matrix {tuple(shape)}; expected (coil, *samples) "
            "and (axis, *samples)"
        )
    if method not in get_args(CoilMapMethod):
        raise ConfigError(f"coil_maps: no method {method!r}; one of {get_args(CoilMapMethod)}")
    if weights is None:
        weights = density(trajectory, shape, tolerance=tolerance)
    grid = CentreGrid(tuple(shape), width, box=method == "espirit")
    points = trajectory.detach().flatten(1).T.cpu().numpy()
    taper = torch.from_numpy(grid.taper(points).astype(np.float32)).to(kspace.device)
    inside = taper > 0
    if not bool(inside.any()):
        raise DataError(
            f"coil_maps: no samples within {width} / 2 Cartesian samples of the centre of k-space; "
            "give a larger width"
        )
    coarse = torch.from_numpy(np.ascontiguousarray(grid.trajectory(points[inside.cpu()]).T))
    transform = NUFFT(grid.shape, coarse.to(kspace.device, torch.float32), tolerance=tolerance)
    samples = kspace.detach().to(torch.complex64).flatten(1)[:, inside]
    images = transform.adjoint(samples * (taper * weights.flatten().to(taper))[inside])
    flat = (len(images), *(1,) * (3 - len(grid.shape)), *grid.shape)
    images = images.reshape(flat)
    if method == "walsh":
        maps = walsh_maps(images)
    else:
        region = centre_of_kspace(images, grid)
        maps, _ = espirit_maps(
            region, flat[1:], width=patch_width(len(shape)), threshold=EspiritSettings().threshold
        )
    maps = unit_norm(interpolated(maps, grid.coordinates))
    return maps.reshape(len(kspace), *shape)
