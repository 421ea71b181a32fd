"""First Born approximation of a scattered field: the exact sum over scatterers.

It shares no approximation with the Kronecker models, so it is what they are judged by and what
simulated data comes from. Where a scene is small it can also be inverted itself.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError, ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT
from pipeline.rf.geometry.antennas import Pair, checked_spectrum, green, wavenumbers
from pipeline.rf.geometry.scene import Scene

_TILE_BYTES = 2**25
"""Bytes of Green's functions that are held at a time."""

Tile = tuple[slice, slice, torch.Tensor, torch.Tensor]
"""Voxels, band, and the Green's functions of both arrays, ``(freq, element, voxel)``."""


class Born(LinearOperator):
    """Scalar first Born scattering of isotropic antennas in free space [1]_.

    With the Green's function ``g(R) = exp(-j k R) / (4 pi R)`` in 3D and ``-(j/4) H0^(2)(k R)`` in
    2D, the measurement of transmitter ``s`` and receiver ``r`` of a pair with gain ``G`` is

    ``y = G S(f) sum_n g(|r - x_n|) g(|x_n - s|) x[n]``

    times ``k^2`` where the image is a contrast. In 2D the third coordinate of positions is ignored.

    Parameters
    ----------
    scatterers
        A scene, or positions of point scatterers ``(point, 3)`` [m].
    pairs
        Antennas; all with the same number of measurements.
    frequencies
        ``(freq,)``, increasing [Hz].
    spectrum
        Complex spectrum ``S`` of the waveform, ``(freq,)``; ones if `None`.
    born_k2
        Include ``k^2``.
    dimensions
        2 or 3.
    speed
        Of waves [m/s]; that of the scene if not given, or in vacuum.
    dtype
        complex64 or complex128. Distances and phases are float64 in either case.
    device
        Where to compute.

    Notes
    -----
    Maps ``(..., *scene.shape)`` or ``(..., point)`` to ``(..., pair, freq, m1, m2)``. One
    application costs a Green's function for each antenna, voxel and frequency, in tiles of voxels
    and frequencies of at most 32 MiB (one voxel and one frequency at least), and a matrix product.

    References
    ----------
    .. [1] M. Born, E. Wolf, "Principles of Optics", 7th ed., Cambridge (1999), section 13.1.
    """

    def __init__(
        self,
        scatterers: Scene | ArrayLike,
        pairs: Sequence[Pair],
        frequencies: ArrayLike,
        *,
        spectrum: ArrayLike | None = None,
        born_k2: bool = False,
        dimensions: int = 3,
        speed: float | None = None,
        dtype: torch.dtype = torch.complex128,
        device: torch.device | str = "cpu",
    ) -> None:
        if dimensions not in (2, 3):
            raise DataError(f"Born: found {dimensions} dimensions; the field has 2 or 3.")
        shapes = {pair.measurement_shape for pair in pairs}
        if len(shapes) != 1:
            raise ShapeError(
                f"Born: found pairs with measurements of shapes {sorted(shapes)}; pairs of one "
                "operator need the same shape: build one operator for each."
            )
        self.dimensions = dimensions
        self._scatterers: Scene | NDArray[np.float64]
        if isinstance(scatterers, Scene):
            self._scatterers, domain = scatterers, scatterers.shape
        else:
            self._scatterers = _points(scatterers)
            domain = (len(self._scatterers),)
        if speed is None:
            speed = scatterers.speed if isinstance(scatterers, Scene) else SPEED_OF_LIGHT
        k = wavenumbers(frequencies, speed)
        gains = np.ones(k.size, np.complex128)
        if spectrum is not None:
            gains = gains * checked_spectrum(spectrum, k.size)
        if born_k2:
            gains = gains * k**2
        # torch.device("cuda") and the device of a tensor on it differ in their index.
        device = torch.empty(0, device=device).device
        super().__init__(domain, (len(pairs), k.size, *shapes.pop()), dtype=dtype, device=device)
        self._pairs = tuple(pairs)
        self._k = torch.from_numpy(k).to(device)
        self._gains = torch.from_numpy(gains).to(device=device, dtype=dtype)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[: x.ndim - len(self.domain)]
        flat = x.reshape(-1, math.prod(self.domain))
        result = x.new_zeros((*flat.shape[:1], *self.codomain))
        for index, pair in enumerate(self._pairs):
            for voxels, band, transmitted, received in self._tiles(pair):
                for image, measured in zip(flat[:, voxels], result[:, index, band], strict=True):
                    illuminated = transmitted * image
                    if pair.paired:
                        fields = (illuminated * received).sum(-1)[..., None]
                    else:
                        fields = _interleaved(illuminated @ received.mT, pair)
                    measured.add_(fields * (pair.gain * self._gains[band, None, None]))
        return result.reshape(*batch, *self.codomain)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        flat = y.reshape(-1, *self.codomain)
        result = y.new_zeros((len(flat), math.prod(self.domain)))
        for index, pair in enumerate(self._pairs):
            for voxels, band, transmitted, received in self._tiles(pair):
                for image, measured in zip(result[:, voxels], flat[:, index, band], strict=True):
                    fields = measured * (pair.gain * self._gains[band, None, None]).conj()
                    if pair.paired:
                        spread = fields * received.conj()
                    else:
                        spread = _separated(fields, pair) @ received.conj()
                    image.add_((spread * transmitted.conj()).sum((0, 1)))
        return result.reshape(*batch, *self.domain)

    def _tile_sizes(self, pair: Pair) -> tuple[int, int]:
        """Return voxels and frequencies of a tile."""
        column = 16 * (len(pair.tx) + len(pair.rx))
        width = max(1, min(math.prod(self.domain), _TILE_BYTES // column))
        return width, max(1, min(self._k.numel(), _TILE_BYTES // (column * width)))

    def _tiles(self, pair: Pair) -> Iterator[Tile]:
        frequencies, voxels = self._k.numel(), math.prod(self.domain)
        width, height = self._tile_sizes(pair)
        for start in range(0, voxels, width):
            slab = slice(start, min(start + width, voxels))
            positions = (
                self._scatterers.positions(slab)
                if isinstance(self._scatterers, Scene)
                else self._scatterers[slab]
            )
            there = torch.from_numpy(positions).to(self._k.device)
            distances = [self._distances(array, there) for array in (pair.tx, pair.rx)]
            for first in range(0, frequencies, height):
                band = slice(first, min(first + height, frequencies))
                transmitted, received = (self._green(self._k[band], d) for d in distances)
                yield slab, band, transmitted, received

    def _distances(self, antennas: NDArray[np.float64], there: torch.Tensor) -> torch.Tensor:
        here = torch.from_numpy(antennas).to(there.device)
        # Component by component: torch.cdist cancels where the range is large.
        squares = torch.zeros((len(here), len(there)), dtype=there.dtype, device=there.device)
        for axis in range(self.dimensions):
            squares += (here[:, axis, None] - there[:, axis]) ** 2
        distances = squares.sqrt_()
        if not bool((distances > 0).all()):
            element, voxel = (distances == 0).nonzero()[0].tolist()
            raise DataError(
                f"Born: antenna {element} at {antennas[element]} m is where scatterer {voxel} of "
                "the tile is; the field is infinite there. Move the scene or the antenna."
            )
        return distances

    def _green(self, k: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        assert self.dtype is not None  # set in __init__
        if self.dimensions == 3:
            phase = k[:, None, None] * distances
            spread = (1 / (4 * torch.pi * distances)).expand_as(phase)
            return torch.polar(spread, -torch.remainder(phase, 2 * torch.pi)).to(self.dtype)
        # On the host: torch's Bessel functions are only good to 1e-6.
        fields = green(np.asarray(k.cpu())[:, None, None], distances.cpu().numpy(), 2)
        return torch.from_numpy(fields).to(device=k.device, dtype=self.dtype)


def simulate(
    positions: ArrayLike,
    amplitudes: ArrayLike,
    pair: Pair,
    frequencies: ArrayLike,
    *,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
    speed: float = SPEED_OF_LIGHT,
) -> NDArray[np.complex128]:
    """Return what a pair measures of point scatterers, without noise.

    complex128 ``(freq, m1, m2)``, of positions ``(point, 3)`` [m] and complex reflectivities
    ``(point,)``; the rest is as of `Born`.
    """
    operator = Born(
        positions,
        [pair],
        frequencies,
        spectrum=spectrum,
        born_k2=born_k2,
        dimensions=dimensions,
        speed=speed,
    )
    field = operator(torch.as_tensor(np.asarray(amplitudes, dtype=np.complex128)))
    return np.asarray(field[0].numpy())


def _points(positions: ArrayLike) -> NDArray[np.float64]:
    points = np.ascontiguousarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise DataError(
            f"Born: found scatterers of shape {points.shape}; they must be finite (point, 3) [m]."
        )
    return points


def _interleaved(fields: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Rearrange ``(freq, tx, rx)`` to ``(freq, m1, m2)``; see `Pair`."""
    (t1, t2), (r1, r2) = pair.grids
    return fields.reshape(-1, t1, t2, r1, r2).transpose(2, 3).reshape(-1, t1 * r1, t2 * r2)


def _separated(fields: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Rearrange ``(freq, m1, m2)`` to ``(freq, tx, rx)``."""
    (t1, t2), (r1, r2) = pair.grids
    return fields.reshape(-1, t1, r1, t2, r2).transpose(2, 3).reshape(-1, t1 * t2, r1 * r2)
