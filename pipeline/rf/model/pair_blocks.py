"""The measurement of a pair at some frequencies: Kronecker blocks after a phase at each voxel."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.contraction import contraction_order
from pipeline.operators.kronecker import Kronecker
from pipeline.rf.geometry.pair_model import PairModel
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import chirp_paths
from pipeline.rf.model.plane_wave import plane_wave_factor

_SLAB = 2**20
"""Voxels whose paths are computed at a time."""


class PairBlocks(LinearOperator):
    """``(A_1 (x) ... (x) A_d) (D c)`` at each frequency.

    Parameters
    ----------
    factors
        Complex ``(freq, m_i, n_i)``, dimensionless. Those of the narrowband model have no block
        axis, and the rows of the last one are the frequencies.
    phases
        ``D``, complex: ``(1, *shape)`` where it is the same at all frequencies, ``(freq, *shape)``
        where it is not, `None` where there is none.

    Notes
    -----
    Maps ``(..., *shape)`` to ``(..., freq, *rows)``; rows of the narrowband model are those of the
    other axes. With a phase at each frequency no two of them see the same image, so that nothing
    of the first contraction is shared.
    """

    def __init__(self, factors: Sequence[torch.Tensor], phases: torch.Tensor | None = None) -> None:
        blocks = {factor.ndim for factor in factors}
        if blocks not in ({2}, {3}):
            raise ShapeError(
                f"PairBlocks: found factors of shapes {[tuple(f.shape) for f in factors]}; needed "
                "are (freq, m, n) each, or (m, n) each."
            )
        self.narrowband = blocks == {2}
        self.kronecker = Kronecker(factors)
        *rows, last = self.kronecker.codomain
        codomain = (last, *rows) if self.narrowband else self.kronecker.codomain
        shape = self.kronecker.domain
        super().__init__(shape, codomain, dtype=self.kronecker.dtype, device=self.kronecker.device)
        allowed = ((1, *shape), (codomain[0], *shape))
        if phases is not None and tuple(phases.shape) not in allowed:
            raise ShapeError(
                f"PairBlocks: found phases of shape {tuple(phases.shape)}; needed is "
                f"{allowed[0]} or {allowed[1]}."
            )
        if phases is not None and self.narrowband:
            raise ShapeError("PairBlocks: the narrowband model has no voxel phase.")
        self.phases = phases

    @property
    def _by_frequency(self) -> bool:
        return self.phases is not None and self.phases.shape[0] > 1

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._by_frequency:
            assert self.phases is not None
            return self._blockwise(x.unsqueeze(-len(self.domain) - 1) * self.phases)
        measured = self.kronecker(x if self.phases is None else x * self.phases[0])
        return measured.movedim(-1, -len(self.codomain)) if self.narrowband else measured

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        if self._by_frequency:
            assert self.phases is not None
            spread = self._blockwise(y, adjoint=True)
            image: torch.Tensor = torch.linalg.vecdot(
                self.phases, spread, dim=-len(self.domain) - 1
            )
            return image
        image = self.kronecker.adjoint(y.movedim(-len(self.codomain), -1) if self.narrowband else y)
        return image if self.phases is None else image * self.phases[0].conj()

    def _blockwise(self, arrays: torch.Tensor, *, adjoint: bool = False) -> torch.Tensor:
        """Apply each block to an array of its own, ``(..., freq, *axes)``."""
        leading = arrays.ndim - len(self.domain)
        order = contraction_order(self.kronecker.outputs, self.kronecker.inputs)
        for mode in reversed(order) if adjoint else order:
            factor = self.kronecker.factors[mode]
            moved = arrays.movedim(leading + mode, leading)
            product = torch.matmul(factor.mH if adjoint else factor, moved.flatten(leading + 1))
            sizes = (*product.shape[:-1], *moved.shape[leading + 1 :])
            arrays = product.view(sizes).movedim(leading, leading + mode)
        return arrays


def pair_blocks(
    model: PairModel, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> PairBlocks:
    """Make the blocks of a model, or of its `PairModel.band`, on a device.

    Phases are formed in double precision, whether ``dtype`` is complex64 or complex128.
    """

    def there(values: object) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float64, device=device)

    k = there(model.k)
    chirps: Sequence[torch.Tensor | None] = [None] * len(model.scene.shape)
    if model.level == "F":
        chirps = [k[:, None] * there(path) for path in chirp_paths(model.scene, model.centres)]
    factors = [
        plane_wave_factor(
            there(wavenumbers), size, row_phases=there(rows), column_phases=chirp, dtype=dtype
        )
        for size, wavenumbers, rows, chirp in zip(
            model.scene.shape, model.wavenumbers, model.row_phases, chirps, strict=True
        )
    ]
    if not model.has_voxel_phase:
        return PairBlocks(factors)
    paths = curvature_paths(model.scene, model.centres, device)
    held = k if model.level == "W+D" else k.new_tensor([model.centre_k])
    return PairBlocks(factors, path_phases(paths, held, dtype))


def curvature_paths(
    scene: Scene, antennas: Sequence[NDArray[np.float64]], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return what plane waves lack of the paths over each voxel, on a device.

    The same as `pipeline.rf.geometry.wavefronts.voxel_path`, made from a transmitter's and a
    receiver's position, ``(3,)`` each [m], where it is used: float64 of the shape of a Cartesian
    scene [m].
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
            along = total.new_zeros(())
            squares = total.new_zeros(())
            for offset, component in zip(here, sight, strict=False):
                along = along + offset * float(component / range_)
                squares = squares + offset**2
            # |x - s| - R - along without the cancellation of large, nearly equal numbers
            squares = squares - along**2
            along += range_
            total[slab] += squares / ((squares + along**2).sqrt() + along)
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
