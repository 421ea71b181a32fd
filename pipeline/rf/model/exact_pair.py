"""Pairs of antenna arrays along exact paths, with path loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.operators.base import LinearOperator
from pipeline.rf.geometry.antenna_pattern import AntennaPattern
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import unit_phasor
from pipeline.rf.model.back_projection import BackProjection

if TYPE_CHECKING:
    from torch import Tensor


class ExactPair(LinearOperator):
    """What a pair measures, relative to a scatterer in the scene's origin seen by both centres.

    The field of first Born approximation over that; maps ``(..., *scene.shape)`` to ``(..., freq,
    m1, m2)``, or ``(..., freq, m1, m2, 1)`` of a scene of three axes. The parameters are as of
    `BackProjection`.
    """

    def __init__(
        self,
        scene: Scene,
        pair: Pair,
        k: NDArray[np.float64],
        *,
        tolerance: float,
        dtype: torch.dtype,
        device: torch.device | str,
        pattern: AntennaPattern | None = None,
        threads: int | None = None,
    ) -> None:
        paths = paths_of_pair(pair)
        self._projection = BackProjection(
            scene, paths, k, tolerance=tolerance, path_loss=True, pattern=pattern, factorised=False,
            dtype=dtype, device=device, threads=threads,
        )  # fmt: skip
        device = self._projection.device or torch.device(device)
        rows = (*pair.measurement_shape, 1)[: len(scene.shape)]
        super().__init__(scene.shape, (len(k), *rows), dtype=dtype, device=device)
        # From each element's path over the origin to that of both centres.
        own = [
            np.linalg.norm(scene.centre - a, axis=1) for a in (paths.transmitter, paths.receiver)
        ]
        centres = [float(np.linalg.norm(scene.centre - centre)) for centre in pair.centres]
        phases = unit_phasor(k * (own[0] + own[1] - sum(centres))[:, None])
        loss = math.prod(centres) / (own[0] * own[1])
        self._elements = torch.from_numpy(phases * loss[:, None]).to(device, dtype)

    def _forward(self, x: Tensor) -> Tensor:
        measured = self._projection._forward(x) * self._elements
        return measured.mT.reshape(*x.shape[: x.ndim - len(self.domain)], *self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        measured = y.reshape(*batch, self.codomain[0], -1).mT * self._elements.conj()
        return self._projection._adjoint(measured)
