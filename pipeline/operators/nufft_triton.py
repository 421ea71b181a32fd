"""NUFFTs in torch and Triton, which CUDA builds of torch bring along: nothing else is needed.

The kernel's values at a sample are computed once and serve all transforms of a group, which are
innermost in the grid: what a sample touches is contiguous. FFTs are torch's, of transforms one
after the other; the grid is transposed after them, once for hundreds of neighbours of each sample.

Checked on the CPU by Triton's interpreter, and compiled for compute capabilities 8.0 and 9.0; not
yet run on a GPU, so that the sizes of its blocks are reasoned and not tuned.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import math
from functools import cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.operators.nufft_backends import Plan, one_oversampling
from pipeline.operators.nufft_memory import good_size, grouped_grids

_WIDEST = 16
"""Grid points per axis that a sample may touch."""
_MARGIN = 0.5
"""Of the tolerance: few samples of a constant image may miss its peak, and are small without it."""
_TILE = 2**13
"""Bytes that a program updates at a time: 16 real numbers of single precision a thread."""
_LANES = 16
"""Real numbers at a grid point that a program updates, of 8 transforms: 64 bytes in single."""


class TritonPlan(Plan):
    """Gridding with the exponential of a semicircle [1]_ by one Triton kernel, in both directions.

    Samples are sorted by the grid point where their neighbours begin. That point and the distance
    to it are found in double precision, so that in single the error does not grow with the matrix.

    References
    ----------
    .. [1] A. H. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier
       transform library based on an 'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41,
       C479-C504 (2019).
    """

    def _prepare(self) -> None:
        factor = one_oversampling(self, "triton")
        device, real = self.trajectory.device, self.trajectory.dtype
        self._width, self._slope = gridding_kernel(self.tolerance, factor, len(self.shape))
        self._grid = [good_size(max(math.ceil(factor * n), self._width)) for n in self.shape]
        self.group = grouped_grids(math.prod(self._grid) * self.dtype.itemsize)
        self._factors = []
        for axis, (n, size) in enumerate(zip(self.shape, self._grid, strict=True), 1):
            inverse = torch.tensor(_correction(self._width, self._slope, n, size), dtype=real)
            self._factors.append(inverse.to(device).reshape(-1, *[1] * (len(self.shape) - axis)))
        samples = self.trajectory.shape[1]
        # Of three axes always, first those that are missing.
        cells = torch.zeros(samples, 3, dtype=torch.int32, device=device)
        distances = torch.zeros(samples, 3, dtype=real, device=device)
        key = torch.zeros(samples, dtype=torch.int64, device=device)
        start = 3 - len(self.shape)
        for axis, (k, size) in enumerate(zip(self.trajectory, self._grid, strict=True), start):
            place = torch.remainder(k.double() * (size / (2 * math.pi)), size)
            first = torch.ceil(place - self._width / 2)
            distances[:, axis] = first - place
            cells[:, axis] = torch.remainder(first, size).nan_to_num()  # as it is an address
            key = key * size + cells[:, axis]
        self._order = torch.argsort(key)
        self._cells, self._distances = cells[self._order], distances[self._order]
        self.trajectory = self.trajectory.new_empty(len(self.shape), 0)  # it may be a copy

    def forward(self, images: Tensor, samples: Tensor) -> None:
        """Interpolate, in the grid, the transforms of images that are padded and corrected."""
        for image, sample in self._groups(images, samples):
            grid = self._padded(image)
            grid = torch.fft.fftn(grid, dim=list(range(1, grid.ndim)))
            self._launch(grid.movedim(0, -1).contiguous(), sample, spread=False)

    def adjoint(self, samples: Tensor, images: Tensor) -> None:
        """Spread samples into the grid; transform, cut out and correct."""
        for sample, image in self._groups(samples, images):
            grid = sample.new_zeros(*self._grid, len(sample))
            self._launch(grid, sample, spread=True)
            grid = torch.fft.ifftn(grid, dim=list(range(grid.ndim - 1)), norm="forward")
            grid = grid.movedim(-1, 0)
            for axis, (factor, n) in enumerate(zip(self._factors, self.shape, strict=True), 1):
                sizes = [n - n // 2, grid.shape[axis] - n, n // 2]
                high, _, low = torch.split(grid, sizes, axis)
                grid = torch.cat([low, high], axis) * factor
            image.copy_(grid)

    def _padded(self, grid: Tensor) -> Tensor:
        """Return corrected images in grids, as FFTs want them: from the middle voxel."""
        for axis, (factor, size) in enumerate(zip(self._factors, self._grid, strict=True), 1):
            n = grid.shape[axis]
            low, high = torch.split(grid * factor, [n // 2, n - n // 2], axis)
            between = grid.new_zeros(*grid.shape[:axis], size - n, *grid.shape[axis + 1 :])
            grid = torch.cat([high, between, low], axis)
        return grid

    def _launch(self, grid: Tensor, samples: Tensor, *, spread: bool) -> None:
        transforms, count = samples.shape
        lanes = min(_LANES, triton.next_power_of_2(2 * transforms))
        neighbours = triton.next_power_of_2(self._width)
        points = _TILE // (lanes * neighbours * self.trajectory.itemsize)
        missing = [1] * (3 - len(self._grid))
        widths = [*missing, *[self._width] * len(self._grid)]
        with torch.cuda.device_of(grid):  # type: ignore[no-untyped-call]
            _gridding[-(-count // points), -(-2 * transforms // lanes)](
                torch.view_as_real(grid), torch.view_as_real(samples),
                self._cells, self._distances, self._order, count, *missing, *self._grid,
                transforms, *widths, self._width / 2, self._slope, spread,
                points, neighbours, lanes, num_warps=4, enable_fp_fusion=True,
            )  # fmt: skip


@cache
def gridding_kernel(tolerance: float, oversampling: float, axes: int) -> tuple[int, float]:
    """Return the narrowest kernel whose aliases stay below a tolerance, for every voxel.

    Returns
    -------
    width, slope
        ``exp(-slope t^2 / (w + sqrt(w^2 - t^2)))`` is its value at a distance of ``t`` grid points,
        up to ``w``, half of its width. That is ``exp(beta (sqrt(1 - (t / w)^2) - 1))``, without the
        difference of nearly equal numbers; ``slope`` is ``beta / w``, a number of few bits.

    Raises
    ------
    ConfigError
        If a kernel of 16 grid points is not enough.
    """
    frequencies = np.linspace(0, 0.5 / oversampling, 9)  # [cycles per grid point]
    steepest = 2 * math.pi * (1 - 0.5 / oversampling)
    for width in range(2, _WIDEST + 1):
        errors = {}
        for slope in np.arange(math.ceil(13 * steepest), math.ceil(16 * steepest)) / 16:
            image, *aliases = (
                _spectrum(width, slope, frequencies + period) for period in (0, -1, 1, -2, 2)
            )
            errors[float(slope)] = float(np.max(np.linalg.norm(aliases, axis=0) / image))
        best = min(errors, key=errors.__getitem__)
        if math.sqrt(axes) * errors[best] <= _MARGIN * tolerance:
            return width, best
    raise ConfigError(
        f"NUFFT backend triton has no kernel for tolerance {tolerance:g} at oversampling "
        f"{oversampling:g}; raise one of the two."
    )


@cache
def _correction(width: int, slope: float, voxels: int, size: int) -> list[float]:
    """Return what makes up for the kernel at each voxel along an axis."""
    factors: list[float] = (
        1 / _spectrum(width, slope, (np.arange(voxels) - voxels // 2) / size)
    ).tolist()
    return factors


@cache
def _quadrature() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return nodes between -1 and 1 with their weights, enough for 16 grid points."""
    return np.polynomial.legendre.leggauss(100)


def _spectrum(width: int, slope: float, frequencies: NDArray[Any]) -> NDArray[Any]:
    """Return the Fourier transform of the kernel, by quadrature, at [cycles per grid point]."""
    nodes, weights = _quadrature()
    half = width / 2
    values = np.exp(-slope * half * nodes**2 / (1 + np.sqrt(1 - nodes**2)))
    phases = np.multiply.outer(2 * math.pi * half * frequencies, nodes)
    found: NDArray[Any] = np.cos(phases) @ (half * weights * values)
    return found


@triton.jit
def _value(distance, HALF: tl.constexpr, SLOPE: tl.constexpr):
    square = distance * distance
    root = tl.sqrt(tl.maximum(HALF * HALF - square, 0.0))
    return tl.exp(-SLOPE * square / (HALF + root))


@triton.jit
def _gridding(
    grid,  # (size0, size1, size2, TRANSFORMS, 2)
    samples,  # (TRANSFORMS, count, 2), unsorted
    cells,  # (count, 3): the first grid point of each, between 0 and the size
    distances,  # (count, 3): of that point from the sample
    order,  # (count,): indices of the sorted samples
    count,
    size0,
    size1,
    size2,
    TRANSFORMS: tl.constexpr,
    WIDTH0: tl.constexpr,
    WIDTH1: tl.constexpr,
    WIDTH2: tl.constexpr,
    HALF: tl.constexpr,
    SLOPE: tl.constexpr,
    SPREAD: tl.constexpr,
    POINTS: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    LANES: tl.constexpr,
):
    """Add samples to their neighbours in the grid, or fill them from those.

    A program has some samples, all neighbours along the last axis, and some transforms; real and
    imaginary parts take turns.
    """
    point = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
    step = tl.arange(0, NEIGHBOURS)
    here = point < count
    inside = here[:, None] & (lane < 2 * TRANSFORMS)[None, :]
    touched = inside[:, None, :] & (step < WIDTH2)[None, :, None]
    sample = tl.load(order + point, mask=here, other=0)
    place = samples + 2 * ((lane // 2).to(tl.int64)[None, :] * count + sample[:, None])
    place += (lane % 2)[None, :]
    cell0 = tl.load(cells + 3 * point, mask=here, other=0)
    cell1 = tl.load(cells + 3 * point + 1, mask=here, other=0)
    cell2 = tl.load(cells + 3 * point + 2, mask=here, other=0)
    distance0 = tl.load(distances + 3 * point, mask=here, other=0)
    distance1 = tl.load(distances + 3 * point + 1, mask=here, other=0)
    distance2 = tl.load(distances + 3 * point + 2, mask=here, other=0)
    column = cell2[:, None] + step[None, :]
    column = tl.where(column < size2, column, column - size2)
    value2 = _value(distance2[:, None] + step[None, :], HALF, SLOPE)
    total = tl.zeros((POINTS, NEIGHBOURS, LANES), dtype=samples.dtype.element_ty)
    if SPREAD:
        total += tl.load(place, mask=inside, other=0)[:, None, :]
    for i in range(WIDTH0):
        plane = tl.where(cell0 + i < size0, cell0 + i, cell0 + i - size0)
        value0 = _value(distance0 + i, HALF, SLOPE)
        for j in range(WIDTH1):
            row = tl.where(cell1 + j < size1, cell1 + j, cell1 + j - size1)
            value = (value0 * _value(distance1 + j, HALF, SLOPE))[:, None] * value2
            voxel = ((plane.to(tl.int64) * size1 + row) * size2)[:, None] + column
            near = grid + (voxel * (2 * TRANSFORMS))[:, :, None] + lane[None, None, :]
            if SPREAD:
                tl.atomic_add(near, value[:, :, None] * total, mask=touched, sem="relaxed")
            else:
                total += value[:, :, None] * tl.load(near, mask=touched, other=0)
    if not SPREAD:
        tl.store(place, tl.sum(total, 1), mask=inside)
