"""Coil maps by ESPIRiT: what all neighbourhoods of k-space have in common [1]_.

A patch of k-space, a few samples along each axis of all coils, is a sum over the object of

    s_r[c, d] = S_c(r) exp(-j d.r),

one summand for each place ``r``. So patches lie in a subspace, that of the Gram matrix of all of
them, and with the projector ``W`` onto it, ``W s_r = s_r`` wherever there is an object. Summed over
the diagonals of ``W``, this is an eigenvalue equation at each place,

    G(r) S(r) = S(r),    G(r)[c, c'] = 1/D sum_dd' W[c d, c' d'] exp(j (d - d').r),

with the ``D`` places of a patch: the coil maps are the eigenvectors whose eigenvalue is one. Where
the eigenvalue is less there is no object, or more than one place falls on a voxel. ``G`` has as few
Fourier coefficients as a patch has lags, and is evaluated where it is wanted. Of two places that
fold onto a voxel there are two eigenvectors, each a sum of both: a further set of maps.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.pieces import pieces

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
    matrices = 8 * coils**2 * math.prod(_at_once(grid, coils)) * grid[2]
    return [
        # The Gram matrix, its eigenvectors, and the work areas of LAPACK's divide and conquer.
        {"ESPIRiT: Gram matrix": 4 * 8 * size**2},
        {"ESPIRiT: signal space": 2 * 8 * size**2, "ESPIRiT: lags": 2 * lags},
        {"ESPIRiT: lags": lags, "ESPIRiT: matrices": 3 * matrices},
    ]


def _at_once(grid: Sequence[int], coils: int) -> tuple[int, int]:
    """Return the planes of a grid, and the rows of each, whose matrices are held at one moment."""
    rows = max(1, _MAP_BYTES // (8 * coils**2 * grid[2]))
    return max(1, min(grid[0], rows // grid[1])), min(grid[1], rows)


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
    problem = eigenproblem(region, width=width, threshold=threshold)
    maps, eigenvalues = problem.at([np.arange(size) for size in grid], grid)
    return maps[0], eigenvalues[0]


@dataclass(frozen=True)
class Eigenproblem:
    """``G(r) S(r) = S(r)`` of a region of k-space, to be solved wherever maps are wanted."""

    lags: "Tensor"
    """Fourier coefficients of ``G``, complex ``(coil, coil, *lag)``."""
    strongest: "Tensor"
    """First principal component of the coils, complex ``(coil,)``."""

    def at(
        self, places: Sequence[NDArray[np.number]], grid: Sequence[int], sets: int = 1
    ) -> tuple["Tensor", "Tensor"]:
        """Return the eigenvectors of the largest eigenvalues, and these, largest first.

        Where eigenvalues are equal, their eigenvectors are any that span the same space: they
        cannot be interpolated.

        Parameters
        ----------
        places
            Along z, y and x, fractional indices into the ``grid`` that the field of view is divided
            into.
        sets
            How many eigenvectors.

        Returns
        -------
        maps
            complex ``(set, coil, z, y, x)``, as of `espirit_maps`.
        eigenvalues
            real ``(set, z, y, x)``.
        """
        import torch

        coils = len(self.strongest)
        phases = [
            torch.exp(
                1j
                * torch.outer(
                    torch.from_numpy(2 * np.pi / size * (along - size // 2)),
                    torch.arange(-(count // 2), count // 2 + 1, dtype=torch.float64),
                )
            ).to(self.lags)
            for along, size, count in zip(places, grid, self.lags.shape[2:], strict=True)
        ]
        shape = tuple(map(len, places))
        maps = self.lags.new_empty((sets, coils, *shape))
        eigenvalues = maps.real.new_empty((sets, *shape))
        planes, rows = _at_once(shape, coils)
        for z in pieces(shape[0], planes):
            of_planes = torch.einsum("zl,cdlmn->zcdmn", phases[0][z], self.lags)
            for y in pieces(shape[1], rows):
                matrices = torch.einsum("ym,zcdmn->zycdn", phases[1][y], of_planes)
                matrices = torch.einsum("xn,zycdn->zyxcd", phases[2], matrices)
                values, vectors = torch.linalg.eigh(matrices)
                del matrices  # and all that is as large, before the next ones are made
                for number in range(sets):
                    vector = vectors[..., -1 - number]
                    along = torch.einsum("zyxc,c->zyx", vector, self.strongest.conj())
                    turned = vector * torch.exp(-1j * along.angle())[..., None]
                    maps[number][:, z, y] = turned.movedim(-1, 0)
                    eigenvalues[number, z, y] = values[..., -1 - number]
                del values, vectors, vector, turned
        return maps, eigenvalues


def eigenproblem(region: "Tensor", *, width: int, threshold: float) -> Eigenproblem:
    """Return what coil maps are eigenvectors of; parameters as of `espirit_maps`."""
    import torch

    patch = patch_shape(region.shape[1:], width)
    lags = _lag_blocks(_signal_space(region, patch, threshold), len(region), patch)
    virtual = torch.linalg.eigh(torch.einsum("czyx,dzyx->cd", region, region.conj())).eigenvectors
    strongest = virtual[:, -1]
    strongest = strongest * torch.exp(-1j * strongest[strongest.abs().argmax()].angle())
    return Eigenproblem(lags, strongest)


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
