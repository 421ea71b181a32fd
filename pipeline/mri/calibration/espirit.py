"""Coil maps by ESPIRiT: what all neighbourhoods of k-space have in common [1]_.

A patch of k-space, a few samples along each axis of all coils, is a sum over the object of

    s_r[c, d] = S_c(r) exp(-j d.r),

one summand for each place ``r``. So patches lie in a subspace, that of the Gram matrix of all of
them, and with the projector ``W`` onto it, ``W s_r = s_r`` wherever there is an object. Summed over
the diagonals of ``W``, this is an eigenvalue equation at each place,

    G(r) S(r) = S(r),    G(r)[c, c'] = 1/D sum_dd' W[c d, c' d'] exp(j (d - d').r),

with the ``D`` places of a patch: the coil maps are the eigenvectors whose eigenvalue is one. Where
the eigenvalue is less there is no object, or more than one place falls on a voxel. ``G`` has as few
Fourier coefficients as a patch has lags, and is evaluated where it is wanted.

Torch is imported when maps are made: their memory is predicted where it need not be.

References
----------
.. [1] M. Uecker, P. Lai, M. J. Murphy, P. Virtue, M. Elad, J. M. Pauly, S. S. Vasanawala,
   M. Lustig, "ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI: where SENSE meets
   GRAPPA", Magn. Reson. Med. 71, 990-1001 (2014).
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.geometry.axes import voxel_positions

if TYPE_CHECKING:
    from torch import Tensor

_MAP_BYTES = 64 * 2**20
"""Of ``G`` at places whose eigenvectors are found together."""


def patch_width(axes: int) -> int:
    """Return a good extent of patches: in 3D fewer samples, which are many all the same."""
    return {2: 6, 3: 4}[axes]


def trust(eigenvalues: "Tensor", crop: float, *, soft: bool) -> "Tensor":
    """Return the weight of the maps at each place, 0 to 1.

    One where the eigenvalue is not below ``crop``, and zero elsewhere; or, if ``soft``, an S-shaped
    function of its root, which is half at ``crop``: that of BART's ``ecalib -S``.
    """
    if not soft:
        return (eigenvalues >= crop).to(eigenvalues)
    beyond = ((eigenvalues.clamp(0, 1).sqrt() - crop) / (1 - crop)).clamp(-1, 1)
    return 0.5 + beyond / (1 + beyond**2)


def patch_shape(region: Sequence[int], width: int) -> tuple[int, ...]:
    """Return the extent of patches along ``(z, y, x)``: no more than half of the region."""
    return tuple(min(width, (size + 1) // 2) for size in region)


def espirit_bytes(
    region: Sequence[int], grid: Sequence[int], coils: int, width: int
) -> list[dict[str, int]]:
    """Return what `espirit_maps` holds in each phase, beside its results; measured."""
    patch = patch_shape(region, width)
    size = coils * math.prod(patch)
    lags = 8 * coils**2 * math.prod(2 * extent - 1 for extent in patch)
    planes = _planes(grid, coils)
    matrices = 8 * coils**2 * planes * grid[1] * grid[2]
    return [
        # The Gram matrix, its eigenvectors, and the work areas of LAPACK's divide and conquer.
        {"ESPIRiT: Gram matrix": 4 * 8 * size**2},
        {"ESPIRiT: signal space": 2 * 8 * size**2, "ESPIRiT: lags": 2 * lags},
        {"ESPIRiT: lags": lags, "ESPIRiT: matrices": 4 * matrices},
    ]


def _planes(grid: Sequence[int], coils: int) -> int:
    """Return the planes of a grid whose matrices are held at one moment."""
    return max(1, min(grid[0], _MAP_BYTES // (8 * coils**2 * grid[1] * grid[2])))


def espirit_maps(
    region: "Tensor", grid: Sequence[int], *, width: int, threshold: float
) -> tuple["Tensor", "Tensor"]:
    """Return the coil maps and the eigenvalues on a grid.

    Parameters
    ----------
    region
        Centre of k-space on a Cartesian grid, complex ``(coil, z, y, x)``, one cycle per field of
        view apart; k = 0 is at ``N // 2`` of each axis.
    grid
        Voxels ``(z, y, x)`` that the field of view is divided into.
    width
        Extent of a patch along each axis that has more than one sample.
    threshold
        Eigenvalues of the Gram matrix that count, relative to the largest: below is noise.

    Returns
    -------
    maps
        complex ``(coil, z, y, x)`` of unit norm. Their phase makes that of the first principal
        component of the coils zero everywhere.
    eigenvalues
        real ``(z, y, x)``, 0 to 1.
    """
    import torch

    coils = len(region)
    patch = patch_shape(region.shape[1:], width)
    lags = _lag_blocks(_signal_space(region, patch, threshold), coils, patch)
    virtual = torch.linalg.eigh(torch.einsum("czyx,dzyx->cd", region, region.conj())).eigenvectors
    phase = virtual[:, -1]
    phase = phase * torch.exp(-1j * phase[phase.abs().argmax()].angle())
    phases = [
        torch.exp(
            1j
            * torch.outer(
                torch.from_numpy(2 * np.pi / size * voxel_positions(size)),
                torch.arange(1 - extent, extent, dtype=torch.float64),
            )
        ).to(region)
        for size, extent in zip(grid, patch, strict=True)
    ]
    maps = region.new_empty((coils, *grid))
    eigenvalues = maps.real.new_empty(tuple(grid))
    planes = _planes(grid, coils)
    for start in range(0, grid[0], planes):
        some = slice(start, min(start + planes, grid[0]))
        matrices = torch.einsum("zl,cdlmn->zcdmn", phases[0][some], lags)
        matrices = torch.einsum("ym,zcdmn->zycdn", phases[1], matrices)
        matrices = torch.einsum("xn,zycdn->zyxcd", phases[2], matrices)
        values, vectors = torch.linalg.eigh(matrices)
        vector = vectors[..., -1]
        along = torch.einsum("zyxc,c->zyx", vector, phase.conj())
        maps[:, some] = (vector * torch.exp(-1j * along.angle())[..., None]).movedim(-1, 0)
        eigenvalues[some] = values[..., -1]
    return maps, eigenvalues


def _signal_space(region: "Tensor", patch: Sequence[int], threshold: float) -> "Tensor":
    """Return an orthonormal basis of the space of patches, ``(coil * place, dimension)``."""
    import torch

    gram = _gram(region, patch)
    values, vectors = torch.linalg.eigh(gram)
    basis: Tensor = vectors[:, values > threshold * values[-1]]
    return basis


def _gram(region: "Tensor", patch: Sequence[int]) -> "Tensor":
    """Return ``sum a a^H`` of all patches ``a`` of the region, ``(coil * place, coil * place)``."""
    size = len(region) * math.prod(patch)
    gram = region.new_zeros((size, size))
    patches = region
    for axis, extent in enumerate(patch, start=1):
        patches = patches.unfold(axis, extent, 1)
    # A view ``(coil, z, y, x, *place)``: copied some patches at a time.
    for plane, row in itertools.product(range(patches.shape[1]), range(patches.shape[2])):
        some = patches[:, plane, row].movedim(1, 0).reshape(patches.shape[3], size)
        gram.addmm_(some.T, some.conj())
    return gram


def _lag_blocks(basis: "Tensor", coils: int, patch: Sequence[int]) -> "Tensor":
    """Return the projector onto a space of patches, summed over equal lags ``d - d'``.

    Complex ``(coil, coil, *lag)``, lags from ``1 - extent`` to ``extent - 1`` along each axis.
    """
    places = basis.reshape(coils, *patch, -1)
    lags = basis.new_zeros((coils, coils, *(2 * extent - 1 for extent in patch)))
    for place in itertools.product(*map(range, patch)):
        rows = places[:, place[0], place[1], place[2]]
        products = (rows @ basis.mH).reshape(coils, coils, *patch)
        # Lag d - d' at index d - d' + extent - 1, for d' from the last to the first.
        z, y, x = (slice(at, at + extent) for at, extent in zip(place, patch, strict=True))
        lags[:, :, z, y, x] += products.flip(2, 3, 4)
    return lags / math.prod(patch)
