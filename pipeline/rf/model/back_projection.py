"""Back-projection: the exact model of measurements along any paths, and its adjoint.

A pulse, or a transmitter and a receiver of arrays, measures at wavenumber ``k``

    y(k) = sum_x c(x) exp(-j k d(x)),    d(x) = |x - tx| + |x - rx| - (|o - tx| + |o - rx|)

where ``o`` is the scene's origin, to which phases are referred. The adjoint reads range-compressed
lines where the paths over all voxels end [1]_. Near field and far, one antenna or two, in a plane
or in space are the same.

References
----------
.. [1] L. A. Gorham, L. J. Moore, "SAR image formation toolbox for MATLAB", Proc. SPIE 7699, 769906
   (2010).
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.operators.threads import share, thread_count
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antenna_pattern import AntennaPattern, pattern_arguments
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.factorisation import Factorisation
from pipeline.rf.model.line_sampling import PAIRS_AT_ONCE, LineSampling
from pipeline.rf.model.range_lines import RangeLines
from pipeline.rf.model.scene_tiles import SceneTile, grid_offsets, reach, scene_tiles, tile_sides

TILE_VOXELS = 512
"""Voxels of a tile, at most, all of which are read: its arrays stay in a CPU's first cache."""
_PULSES_TOGETHER = 64
"""Pulses whose lines stay in a CPU's second cache while neighbouring tiles read them."""
_TILES_TOGETHER = 16


class BackProjection(LinearOperator):
    """The exact sum over a scene, up to how finely lines are sampled.

    Parameters
    ----------
    scene
        Grid of the image.
    paths
        Positions; their reference paths do not count, see above.
    k
        Wavenumbers, ``(freq,)`` [rad/m], increasing.
    tolerance
        Relative l2 error of the measurements of uncorrelated scatterers that reading between bins
        may leave; 4e-5 is the least. `LineSampling.error` is what it leaves.
    path_loss
        Whether fields fall with distance: ``|o - tx| |o - rx| / (|x - tx| |x - rx|)``.
    pattern
        Of all antennas: amplitudes by the angles under which they see a voxel. Then voxels are not
        interpolated.
    factorised
        Whether voxels may be interpolated where that is as right and faster; see
        `pipeline.rf.model.factorisation`.
    dtype, device
        complex64 is compiled for the CPU; elsewhere, and in complex128, torch computes.
    threads
        Of the CPU; torch's own number if not given.

    Notes
    -----
    Maps ``(..., *scene.shape)`` to ``(..., pulse, freq)``. Results repeat bit by bit on a CPU.
    """

    def __init__(
        self,
        scene: Scene,
        paths: AntennaPaths,
        k: NDArray[np.float64],
        *,
        tolerance: float = 1e-3,
        path_loss: bool = False,
        pattern: AntennaPattern | None = None,
        factorised: bool = True,
        dtype: torch.dtype = torch.complex64,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        device = torch.empty(0, device=device).device
        super().__init__(scene.shape, (len(paths), len(k)), dtype=dtype, device=device)
        self.scene, self.path_loss = scene, path_loss
        # Lines of pulses with a band of their own are functions of the path times its scale.
        self._scale, shift = paths.bands(scene.speed)
        self.sampling = LineSampling.of(k, reach(scene, paths), tolerance)
        self._carriers = self._scale * self.sampling.carrier + shift
        self._threads = thread_count(threads)
        self._antennas = [np.ascontiguousarray(a) for a in (paths.transmitter, paths.receiver)]
        self._ranges = np.stack(
            [np.linalg.norm(scene.centre - antenna, axis=1) for antenna in self._antennas], axis=1
        )
        self._boresights, self._samples = pattern_arguments(pattern, self._antennas, scene.centre)
        self._compiled = device.type == "cpu" and dtype == torch.complex64
        self.factorisation = (
            Factorisation.of(scene, paths, k, tolerance)
            if self._compiled and factorised and pattern is None
            else None
        )
        sides = self.factorisation.sides if self.factorisation else tile_sides(scene, TILE_VOXELS)
        self._tiles = cache(lambda: list(scene_tiles(scene, sides)))
        self._nodes = cache(self._made_nodes)
        self._lines = cache(self._made_lines)

    def _pulses(self) -> Iterator[slice]:
        """Yield those pulses that are in work at a time."""
        size = self.sampling.pulses_together(self.itemsize)
        for start in range(0, self.codomain[0], size):
            yield slice(start, min(start + size, self.codomain[0]))

    def _made_lines(self, count: int) -> RangeLines:
        """Return what turns measurements of so many pulses into lines."""
        assert self.dtype is not None  # set in __init__
        assert self.device is not None
        return RangeLines(self.sampling, count, dtype=self.dtype, device=self.device)

    def _forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *self.domain)
        measured = x.new_empty(len(images), *self.codomain)
        for pulses in self._pulses():
            lines = self._lines(pulses.stop - pulses.start)
            for image, result in zip(images, measured, strict=True):
                result[pulses] = lines._forward(self._scattered(image.contiguous(), pulses))
        return measured.reshape(*x.shape[: x.ndim - len(self.domain)], *self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        measured = y.reshape(-1, *self.codomain)
        images = y.new_zeros(len(measured), *self.domain)
        for pulses in self._pulses():
            lines = self._lines(pulses.stop - pulses.start)
            for values, image in zip(measured, images, strict=True):
                self._gather(image, lines._adjoint(values[pulses]), pulses)
        return images.reshape(*y.shape[: y.ndim - 2], *self.domain)

    def _gather(self, image: Tensor, lines: Tensor, pulses: slice) -> None:
        """Add to an image what the lines of some pulses hold at the paths over its voxels."""
        if not self._compiled:
            flat = image.view(-1)
            for voxels, some, place, phasors in self._paths(pulses):
                flat[voxels] += (_read(lines[some], place) * phasors).sum(0)
                del place, phasors  # before the next ones are made, as below
            return
        from pipeline.rf.model.back_projection_kernels import gather
        from pipeline.rf.model.factorised_kernels import gather_factorised

        add = gather_factorised if self.factorisation else gather
        flat_image = torch.view_as_real(image.view(-1)).numpy()
        bins = torch.view_as_real(lines).view(torch.int64)[..., 0].numpy()
        tiles = self._tiles()
        groups = [tiles[i : i + _TILES_TOGETHER] for i in range(0, len(tiles), _TILES_TOGETHER)]

        def work(task: int, worker: int) -> None:
            for part in self._parts(pulses):
                for tile in groups[task]:
                    add(flat_image, *self._kernel_arguments(tile, bins[part], part, pulses))

        share(len(groups), work, self._threads)

    def _scattered(self, image: Tensor, pulses: slice) -> Tensor:
        """Return the lines of some pulses that an image makes: the transpose of `_gather`."""
        lines = image.new_zeros(pulses.stop - pulses.start, self.sampling.bins)
        if not self._compiled:
            flat = image.view(-1)
            for voxels, some, place, phasors in self._paths(pulses):
                whole = place.floor()
                part = (place - whole).to(phasors.dtype)
                values, index = flat[voxels] * phasors.conj(), whole.long()
                into = lines[some]
                into.scatter_add_(1, index, values * (1 - part))
                into.scatter_add_(1, index + 1, values * part)
                del place, phasors, whole, part, values, index
            return lines
        from pipeline.rf.model.back_projection_kernels import scatter
        from pipeline.rf.model.factorised_kernels import scatter_factorised

        add = scatter_factorised if self.factorisation else scatter
        flat_image = torch.view_as_real(image.view(-1)).numpy()
        bins = torch.view_as_real(lines).numpy()
        parts = list(self._parts(pulses))

        def work(task: int, worker: int) -> None:
            part = parts[task]
            for tile in self._tiles():
                add(flat_image, *self._kernel_arguments(tile, bins[part], part, pulses))

        share(len(parts), work, self._threads)
        return lines

    def _kernel_arguments(
        self, tile: SceneTile, bins: NDArray[np.generic], part: slice, pulses: slice
    ) -> tuple[object, ...]:
        some = slice(pulses.start + part.start, pulses.start + part.stop)
        transmitter, receiver = self._antennas
        sampling = self.sampling
        return (
            tile.first + tile.voxels, tile.offsets, bins,
            transmitter[some], receiver[some], self._ranges[some], tile.middle,
            sampling.step / self._scale[some], sampling.start,
            self._carriers[some] / (2 * math.pi), self.path_loss,
            self._boresights[some], self._samples,
            *self._nodes(tile.sizes),
            *((self.factorisation.within(some),) if self.factorisation else ()),
        )  # fmt: skip

    def _made_nodes(self, sizes: tuple[int, ...]) -> tuple[object, ...]:
        """Return what kernels are told of the nodes of a tile of these sizes: where there are."""
        if self.factorisation is None:
            return ()
        local = self.factorisation.local(self.scene, sizes)
        return grid_offsets(local.positions), local.matrices

    def _parts(self, pulses: slice) -> Iterator[slice]:
        """Yield whole sub-apertures whose lines stay in cache, counted from the first pulse."""
        count, edges = pulses.stop - pulses.start, self._edges(pulses)
        start = 0
        for edge in edges:
            if edge - start >= _PULSES_TOGETHER or edge == count:
                yield slice(start, edge)
                start = edge

    def _edges(self, pulses: slice) -> Sequence[int]:
        count = pulses.stop - pulses.start
        if self.factorisation:
            return [int(edge) for edge in self.factorisation.within(pulses)[1:]]
        return [*range(_PULSES_TOGETHER, count, _PULSES_TOGETHER), count]

    def _paths(self, pulses: slice) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Yield voxels, pulses, where paths end in lines, and their phasors, ``(pulse, voxel)``.

        Computed by torch in double precision, which leaves any distance its digits.
        """
        device = self.device
        count = pulses.stop - pulses.start
        width = max(1, min(self.scene.voxels, PAIRS_AT_ONCE))
        height = max(1, min(count, PAIRS_AT_ONCE // width))
        for first in range(0, self.scene.voxels, width):
            voxels = slice(first, min(first + width, self.scene.voxels))
            there = torch.from_numpy(self.scene.positions(voxels)).to(device)
            for start in range(0, count, height):
                some = slice(start, min(start + height, count))
                own = slice(pulses.start + some.start, pulses.start + some.stop)
                yield (voxels, some, *self._ends(there, own))

    def _ends(self, there: Tensor, pulses: slice) -> tuple[Tensor, Tensor]:
        """Return where paths over positions end in lines, and their phasors, ``(pulse, voxel)``."""
        sampling = self.sampling
        ranges = torch.from_numpy(self._ranges[pulses]).to(self.device)
        excess = -ranges.sum(1, keepdim=True).expand(-1, len(there))
        loss = there.new_ones(())
        for leg, antennas in enumerate(self._antennas):
            here = torch.from_numpy(antennas[pulses]).to(self.device)
            distance = torch.zeros_like(excess)
            for axis in range(3):
                distance += (there[:, axis] - here[:, axis, None]) ** 2
            distance.sqrt_()
            excess = excess + distance
            if self.path_loss:
                loss = loss * (ranges[:, leg, None] / distance)
            if len(self._samples):
                sight = torch.from_numpy(self._boresights[pulses, leg]).to(self.device)
                ahead = sight @ there.mT - (sight * here).sum(1, keepdim=True)
                loss = loss * self._seen(ahead / distance)
        carriers, scale = (
            torch.from_numpy(each[pulses, None]).to(self.device)
            for each in (self._carriers, self._scale)
        )
        phase = torch.remainder(excess * carriers, 2 * torch.pi)
        phasors = torch.polar(loss.expand_as(phase).contiguous(), phase).to(self.dtype)
        return excess * (scale / sampling.step) + sampling.start, phasors

    def _seen(self, cosines: Tensor) -> Tensor:
        """Return the amplitudes of a pattern at angles to the boresight, of their cosines."""
        samples = torch.from_numpy(self._samples).to(cosines)
        place = ((1 - cosines) / 2).clamp(0, 1).sqrt() * (len(samples) - 1)
        index = place.long().clamp_max(len(samples) - 2)
        return torch.lerp(samples[index], samples[index + 1], place - index)

    def contributions(self, y: Tensor, voxels: NDArray[np.integer]) -> Tensor:
        """Return what each pulse adds to some voxels of the adjoint, ``(pulse, voxel)``."""
        there = torch.from_numpy(self.scene.positions(voxels)).to(self.device)
        found = y.new_empty(self.codomain[0], len(voxels))
        height = max(1, PAIRS_AT_ONCE // len(voxels))
        for pulses in self._pulses():
            lines = self._lines(pulses.stop - pulses.start)._adjoint(y[pulses])
            for start in range(0, len(lines), height):
                some = slice(start, min(start + height, len(lines)))
                own = slice(pulses.start + some.start, pulses.start + some.stop)
                place, phasors = self._ends(there, own)
                found[own] = _read(lines[some], place) * phasors
        return found


def _read(lines: Tensor, place: Tensor) -> Tensor:
    """Return lines between bins, ``(pulse, voxel)``."""
    whole = place.floor()
    index = whole.long()
    return torch.lerp(
        lines.gather(1, index), lines.gather(1, index + 1), (place - whole).to(lines.dtype)
    )
