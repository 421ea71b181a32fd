"""Range migration: planar scans through Fourier transforms of scene and aperture.

A non-uniform transform takes the image to wave vectors, where Stolt's interpolation would be; a
fast one takes these to the aperture. What is computed, and what is left out, stands in
`pipeline.rf.geometry.planar_scan`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.planar_scan import RangeMigration, frequency_bands


class OmegaK(LinearOperator):
    """What pulses of a planar scan measure, relative to a scatterer in the scene's origin.

    Parameters
    ----------
    migration
        Scene and the grid of positions of all pulses.
    paths
        Positions of all pulses; their reference paths do not count.
    k
        Wavenumbers, ``(freq,)`` [rad/m], increasing.
    transform
        Makes the transform of images to samples on a trajectory, real ``(axis, sample)``.
    held
        Whether transforms stay, or are made anew each time.
    dtype, device
        complex64 or complex128.

    Notes
    -----
    Maps ``(..., *scene.shape)`` to ``(..., pulse, freq)``, as
    `pipeline.rf.model.back_projection.BackProjection` of the same pulses does.
    """

    def __init__(
        self,
        migration: RangeMigration,
        paths: AntennaPaths,
        k: NDArray[np.float64],
        *,
        transform: Callable[[Tensor], FourierTransform],
        held: bool = True,
        dtype: torch.dtype = torch.complex64,
        device: torch.device | str = "cpu",
    ) -> None:
        device = torch.empty(0, device=device).device
        scene = migration.scene
        super().__init__(scene.shape, (len(paths), len(k)), dtype=dtype, device=device)
        self._migration, self._k, self._transform = migration, k, transform
        self._grid = migration.grid(k)
        depths = torch.from_numpy(migration.depths).to(device, dtype.to_real())
        along = [1, 1, 1]
        along[migration.scan.normal] = -1
        self._depths = depths.view(along)
        self._places = torch.from_numpy(migration.on_grid(self._grid)).to(device)
        over_origin = paths.path_differences(scene.centre) + paths.reference_path
        self._over_origin = torch.from_numpy(over_origin).to(device)
        self._bands = frequency_bands(len(k), migration.sample_count(k[-1], self._grid))
        self._of_band = lru_cache(maxsize=len(self._bands) if held else 1)(self._made)

    def __getitem__(self, pulses: slice) -> Self:
        """Return the operator of some of the pulses, by the same transforms."""
        found = copy.copy(self)
        found._places, found._over_origin = self._places[pulses], self._over_origin[pulses]
        found.codomain = (len(found._places), self.codomain[1])
        return found

    def _forward(self, x: Tensor) -> Tensor:
        measured = x.new_empty(*x.shape[: x.ndim - 3], *self.codomain)
        weighted = x * self._depths
        for index, band in enumerate(self._bands):
            part = self._of_band(index)
            spectra = x.new_zeros(*x.shape[: x.ndim - 3], part.size)
            spectra.index_add_(-1, part.places, part.transform(weighted) * part.weights)
            spectra = spectra.view(*spectra.shape[:-1], -1, *self._grid)
            fields = torch.fft.ifft2(spectra, norm="forward").flatten(-2)[..., self._places]
            measured[..., band] = fields.mT * self._turns(band).conj()
        return measured

    def _adjoint(self, y: Tensor) -> Tensor:
        image: Tensor = y.new_zeros(*y.shape[: y.ndim - 2], *self.domain)
        for index, band in enumerate(self._bands):
            part = self._of_band(index)
            fields = y.new_zeros(*y.shape[: y.ndim - 2], band.stop - band.start, self._size)
            fields.index_add_(-1, self._places, (y[..., band] * self._turns(band)).mT)
            fields = fields.view(*fields.shape[:-1], *self._grid)
            spectra = torch.fft.fft2(fields).flatten(-3)
            image += part.transform.adjoint(spectra[..., part.places] * part.weights.conj())
        return image * self._depths

    @property
    def _size(self) -> int:
        return math.prod(self._grid)

    def _turns(self, band: slice) -> Tensor:
        """Return the phases of the paths over the origin, ``(pulse, freq)``."""
        k = torch.from_numpy(self._k[band]).to(self._over_origin)
        phase = torch.remainder(-self._over_origin[:, None] * k, 2 * torch.pi)
        return torch.polar(torch.ones_like(phase), phase).to(self.dtype)

    def _made(self, index: int) -> "_Band":
        """Return the transform of some frequencies."""
        assert self.dtype is not None  # set in __init__
        k, spacing = self._k[self._bands[index]], np.array(self._migration.scene.spacing)[:, None]
        trajectories, weights, places = [], [], []
        for number, one in enumerate(k):
            some = self._migration.samples(float(one), self._grid)
            turns = np.remainder(some.wave_vectors * spacing + np.pi, 2 * np.pi) - np.pi
            trajectories.append(torch.from_numpy(turns).to(self.device, self.dtype.to_real()))
            weights.append(torch.from_numpy(some.weights).to(self.device, self.dtype))
            places.append(torch.from_numpy(some.places).to(self.device) + number * self._size)
        return _Band(
            len(k) * self._size,
            self._transform(torch.cat(trajectories, dim=1)),
            torch.cat(places),
            torch.cat(weights),
        )


@dataclass(frozen=True, eq=False)
class _Band:
    """Some frequencies: from images to spectra of the aperture, ``(freq, *grid)`` in one axis."""

    size: int
    transform: FourierTransform
    places: Tensor
    weights: Tensor
