"""Kronecker blocks that each see an image of their own: its phase turns with the frequency.

At frequency ``f`` the image is multiplied by ``D_f = exp(-j k_f p)``, with a path ``p`` at each
voxel, before the factors. To hold all ``D_f`` takes as many images as there are frequencies, which
leave no cache in peace. Wavenumbers that are evenly spaced need but two: ``D_0``, and the step
``exp(-j dk p)``, by whose powers 1, 2, 4 ... the frequencies are doubled, slab by slab of a scene.
The adjoint halves them again by the conjugates.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.operators.contraction import contraction_order
from pipeline.rf.model.phased_slabs import slab_length
from pipeline.rf.model.voxel_phases import path_phases


class PhasedBlocks(LinearOperator):
    """``(A_1 (x) ... (x) A_d) (D_f c)`` at each frequency.

    Parameters
    ----------
    factors
        Complex ``(freq, m_i, n_i)``, dimensionless.
    paths
        Real, of the scene's shape [m], double precision.
    k
        Wavenumbers, ``(freq,)`` [rad/m], double precision.
    even
        Whether they are evenly spaced; see `pipeline.rf.model.phased_slabs.evenly_spaced`.

    Notes
    -----
    Maps ``(..., *shape)`` to ``(..., freq, *rows)``. Other wavenumbers take an image each.
    """

    def __init__(self, factors: Sequence[Tensor], paths: Tensor, k: Tensor, *, even: bool) -> None:
        first = factors[0]
        self.factors = tuple(factor.contiguous() for factor in factors)
        outputs, inputs = ([int(f.shape[axis]) for f in factors] for axis in (-2, -1))
        super().__init__(inputs, (len(k), *outputs), dtype=first.dtype, device=first.device)
        self._order = contraction_order(outputs, inputs)
        self._even = even
        held = torch.stack([k[0], (k[-1] - k[0]) / (len(k) - 1)]) if even and len(k) > 1 else k
        self._phases = path_phases(paths, held, first.dtype)
        self._slab = slab_length(
            inputs, self._cut, len(k), self.itemsize, on_device=self._phases.device.type != "cpu"
        )

    @property
    def _cut(self) -> int:
        """The axis that slabs are cut along: the last one that is contracted."""
        return self._order[-1]

    def _slabs(self, image: Tensor) -> list[tuple[Tensor, ...]]:
        """Return the slabs of an array ``(..., *shape)`` and of the phases."""
        axis = self._cut - len(self.domain)
        both = (torch.split(each, self._slab, axis) for each in (image, self._phases))
        return list(zip(*both, strict=True))

    def _forward(self, x: Tensor) -> Tensor:
        first = self._order[0]
        axis = self._cut - len(self.domain)
        states = []
        for part, phases in self._slabs(x):
            turned = self._turned(part, phases)
            states.append(self._contracted(turned, first, adjoint=False))
        state = torch.cat(states, axis)
        del states
        for mode in self._order[1:]:
            state = self._contracted(state, mode, adjoint=False)
        return state

    def _adjoint(self, y: Tensor) -> Tensor:
        state = y
        for mode in reversed(self._order[1:]):
            state = self._contracted(state, mode, adjoint=True)
        axis = self._cut - len(self.domain)
        image = y.new_empty(*y.shape[: y.ndim - len(self.codomain)], *self.domain)
        for (part, phases), some in zip(
            self._slabs(image), torch.split(state, self._slab, axis), strict=True
        ):
            spread = self._contracted(some, self._order[0], adjoint=True)
            part.copy_(self._turned_back(spread, phases))
        return image

    def _turned(self, part: Tensor, phases: Tensor) -> Tensor:
        """Return a slab as each frequency sees it, ``(..., freq, *slab)``."""
        axes = len(self.domain)
        if not self._even:
            return part.unsqueeze(-axes - 1) * phases
        count = self.codomain[0]
        turned = part.new_empty(*part.shape[: part.ndim - axes], count, *part.shape[-axes:])
        torch.mul(part, phases[0], out=turned.select(-axes - 1, 0))
        power, done = phases[1], 1
        while done < count:
            more = min(done, count - done)
            torch.mul(
                turned.narrow(-axes - 1, 0, more), power, out=turned.narrow(-axes - 1, done, more)
            )
            power, done = power * power, 2 * done
        return turned

    def _turned_back(self, spread: Tensor, phases: Tensor) -> Tensor:
        """Return the sum over frequencies of a slab, turned back: the adjoint of `_turned`.

        ``spread`` is overwritten.
        """
        axis = -len(self.domain) - 1
        if not self._even:
            turned: Tensor = torch.linalg.vecdot(phases, spread, dim=axis)
            return turned
        powers = [phases[1].conj()]
        while 2 ** len(powers) < self.codomain[0]:
            powers.append(powers[-1] * powers[-1])
        left = self.codomain[0]
        for exponent in reversed(range(len(powers))):
            half = 2**exponent
            if left > half:
                low = spread.narrow(axis, 0, left - half)
                low.addcmul_(spread.narrow(axis, half, left - half), powers[exponent])
                left = half
        return spread.select(axis, 0) * phases[0].conj()

    def _contracted(self, arrays: Tensor, mode: int, *, adjoint: bool) -> Tensor:
        """Contract one axis of ``(..., freq, *axes)``."""
        factor = self.factors[mode].mH if adjoint else self.factors[mode]
        leading = arrays.ndim - len(self.domain)
        if mode == len(self.domain) - 1:  # as it lies: nothing is copied
            rows = arrays.flatten(leading, -2)
            return torch.matmul(rows, factor.mT).view(*arrays.shape[:-1], factor.shape[-2])
        moved = arrays.movedim(leading + mode, leading)
        product = torch.matmul(factor, moved.flatten(leading + 1))
        sizes = (*product.shape[:-1], *moved.shape[leading + 1 :])
        return product.view(sizes).movedim(leading, leading + mode)
