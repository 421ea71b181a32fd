"""The measurement of a pair at some frequencies: Kronecker blocks after a phase at each voxel."""

from collections.abc import Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.contraction import contraction_order
from pipeline.operators.kronecker import Kronecker
from pipeline.rf.geometry.pair_model import PairModel
from pipeline.rf.geometry.wavefronts import chirp_paths
from pipeline.rf.model.plane_wave import plane_wave_factor
from pipeline.rf.model.voxel_phases import curvature_paths, path_phases


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
