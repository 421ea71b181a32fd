"""The measurement of a pair at some frequencies: Kronecker blocks after a phase at each voxel."""

from collections.abc import Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.kronecker import Kronecker
from pipeline.rf.geometry.pair_model import PairModel
from pipeline.rf.geometry.wavefronts import chirp_paths
from pipeline.rf.model.phased_blocks import PhasedBlocks
from pipeline.rf.model.phased_slabs import evenly_spaced
from pipeline.rf.model.plane_wave import plane_wave_factor
from pipeline.rf.model.scene_tiles import reach
from pipeline.rf.model.voxel_phases import curvature_paths, path_phases


class PairBlocks(LinearOperator):
    """``(A_1 (x) ... (x) A_d) (D c)`` at each frequency, with one ``D`` for all.

    Parameters
    ----------
    factors
        Complex ``(freq, m_i, n_i)``, dimensionless. Those of the narrowband model have no block
        axis, and the rows of the last one are the frequencies.
    phase
        ``D``, complex, of the scene's shape; `None` where there is none.

    Notes
    -----
    Maps ``(..., *shape)`` to ``(..., freq, *rows)``; rows of the narrowband model are those of the
    other axes.
    """

    def __init__(self, factors: Sequence[torch.Tensor], phase: torch.Tensor | None = None) -> None:
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
        if phase is not None and tuple(phase.shape) != shape:
            raise ShapeError(
                f"PairBlocks: found a phase of shape {tuple(phase.shape)}; needed is {shape}."
            )
        if phase is not None and self.narrowband:
            raise ShapeError("PairBlocks: the narrowband model has no voxel phase.")
        self.phase = phase

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        measured = self.kronecker(x if self.phase is None else x * self.phase)
        return measured.movedim(-1, -len(self.codomain)) if self.narrowband else measured

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        image = self.kronecker.adjoint(y.movedim(-len(self.codomain), -1) if self.narrowband else y)
        return image if self.phase is None else image * self.phase.conj()


def pair_blocks(
    model: PairModel, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> PairBlocks | PhasedBlocks:
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
    if model.level == "W+D" and len(model.k) > 1:
        even = evenly_spaced(model.k, reach(model.scene))
        return PhasedBlocks(factors, paths, k, even=even)
    held = k if model.level == "W+D" else k.new_tensor([model.centre_k])
    return PairBlocks(factors, path_phases(paths, held, dtype)[0])
