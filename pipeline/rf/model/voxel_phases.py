"""The phase of each voxel that plane waves lack, made on the device where it is used."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.rf.geometry.phase_history import SubAperture
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import beyond_plane

_SLAB = 2**20
"""Voxels whose paths are computed at a time."""


def aperture_phase(
    aperture: SubAperture, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return the phase of each voxel that a sub-aperture shares, complex of the scene's shape."""
    held = aperture.held_antennas
    total = curvature_paths(aperture.scene, held[0], device)
    for antennas in held[1:]:
        total += curvature_paths(aperture.scene, antennas, device)
    k = total.new_tensor([aperture.middle_k / len(held)])
    return path_phases(total, k, dtype)[0]


def curvature_paths(
    scene: Scene, antennas: Sequence[NDArray[np.float64]], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return what plane waves lack of the paths over each voxel, on a device.

    As `pipeline.rf.geometry.wavefronts.path_curvature` at all voxels of a Cartesian scene, from a
    transmitter's and a receiver's position, ``(3,)`` each [m]: float64 of the scene's shape [m].
    """
    offsets = [
        torch.from_numpy(scene.offsets(axis))
        .to(device)
        .view(-1, *(1,) * (len(scene.shape) - 1 - axis))
        for axis in range(len(scene.shape))
    ]
    total = torch.zeros(scene.shape, dtype=torch.float64, device=device)
    planes = max(1, _SLAB // math.prod(scene.shape[1:]))
    for start in range(0, scene.shape[0], planes):
        slab = slice(start, start + planes)
        here = [offsets[0][slab], *offsets[1:]]
        for antenna in antennas:
            sight = scene.centre - antenna
            range_ = float(np.linalg.norm(sight))
            along = sum(
                offset * float(component / range_)
                for offset, component in zip(here, sight, strict=False)
            )
            total[slab] += beyond_plane(along, sum(offset**2 for offset in here), range_)
    return total


def path_phases(paths: torch.Tensor, wavenumbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return ``exp(-j k path)``, complex ``(k, *shape)``, of float64 paths [m] and ``k`` [rad/m].

    One wavenumber at a time is in double precision.
    """
    result = torch.empty(len(wavenumbers), *paths.shape, dtype=dtype, device=paths.device)
    one = paths.new_ones(())
    for phase, wavenumber in zip(result, wavenumbers, strict=True):
        phase.copy_(torch.polar(one, paths * -wavenumber))
    return result
