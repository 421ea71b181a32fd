"""Kronecker blocks that each see an image of their own: its phase turns with the frequency.

At frequency ``f`` the image is multiplied by ``D_f = exp(-j k_f p)``, with a path ``p`` at each
voxel, before the factors. To hold all ``D_f`` takes as many images as there are frequencies, which
leave no cache in peace. Wavenumbers that are evenly spaced need but two: ``D_0``, and the step
``exp(-j dk p)``, by whose powers 1, 2, 4 ... the frequencies are doubled, slab by slab of a scene.
The adjoint halves them again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.operators.contraction import contraction_order
from pipeline.rf.model.phased_slabs import slab_lines
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

    Inside, axes stand in the reverse order of their contraction: the first one that is contracted
    comes last, and a scene is the lines along it. Slabs are some of these lines, one after another
    in memory, whatever their axes were.
    """

    def __init__(self, factors: Sequence[Tensor], paths: Tensor, k: Tensor, *, even: bool) -> None:
        first = factors[0]
        outputs, inputs = ([int(f.shape[axis]) for f in factors] for axis in (-2, -1))
        super().__init__(inputs, (len(k), *outputs), dtype=first.dtype, device=first.device)
        self._axes = contraction_order(outputs, inputs)[::-1]
        self._back = sorted(range(len(self._axes)), key=lambda place: self._axes[place])
        self._factors = tuple(factors[axis].contiguous() for axis in self._axes)
        self._sizes = tuple(inputs[axis] for axis in self._axes)
        self._even = even
        held = torch.stack([k[0], (k[-1] - k[0]) / (len(k) - 1)]) if even and len(k) > 1 else k
        self._phases = path_phases(paths.permute(self._axes), held, first.dtype).flatten(1, -2)
        self._slab = slab_lines(
            self._sizes[-1], len(k), self.itemsize, on_device=first.device.type != "cpu"
        )

    def _slabs(self, lines: Tensor) -> list[tuple[Tensor, ...]]:
        """Return the slabs of an image's lines ``(..., line, n)`` and of the phases."""
        both = (torch.split(each, self._slab, -2) for each in (lines, self._phases))
        return list(zip(*both, strict=True))

    def _forward(self, x: Tensor) -> Tensor:
        factor = self._factors[-1].mT
        lines = _permuted(x, self._axes).flatten(x.ndim - len(self.domain), -2)
        states = [
            torch.matmul(self._turned(part, phases), factor) for part, phases in self._slabs(lines)
        ]
        state = torch.cat(states, -2)
        del states
        state = state.view(*state.shape[:-2], *self._sizes[:-1], state.shape[-1])
        for place in reversed(range(len(self._axes) - 1)):
            state = self._contracted(state, self._factors[place], place)
        return _permuted(state, self._back)

    def _adjoint(self, y: Tensor) -> Tensor:
        # ``conj(A^T conj(y))``: it is less to conjugate than factors and phases.
        batch = y.shape[: y.ndim - len(self.codomain)]
        state = _permuted(y.conj().resolve_conj(), self._axes)
        for place in range(len(self._axes) - 1):
            state = self._contracted(state, self._factors[place].mT, place)
        state = state.flatten(len(batch) + 1, -2)
        lines = y.new_empty(*batch, self._phases.shape[-2], self._sizes[-1])
        for (part, phases), some in zip(
            self._slabs(lines), torch.split(state, self._slab, -2), strict=True
        ):
            part.copy_(self._turned_back(torch.matmul(some, self._factors[-1]), phases))
        lines = lines.conj_physical_().view(*batch, *self._sizes)
        return _permuted(lines, self._back).contiguous()

    def _turned(self, part: Tensor, phases: Tensor) -> Tensor:
        """Return a slab as each frequency sees it, ``(..., freq, line, n)``."""
        if not self._even:
            return part.unsqueeze(-3) * phases
        count = self.codomain[0]
        turned = part.new_empty(*part.shape[:-2], count, *part.shape[-2:])
        torch.mul(part, phases[0], out=turned.select(-3, 0))
        power, done = phases[1], 1
        while done < count:
            more = min(done, count - done)
            torch.mul(turned.narrow(-3, 0, more), power, out=turned.narrow(-3, done, more))
            power, done = power * power, 2 * done
        return turned

    def _turned_back(self, spread: Tensor, phases: Tensor) -> Tensor:
        """Return the sum over frequencies of a slab, turned: the transpose of `_turned`.

        ``spread`` is overwritten.
        """
        if not self._even:
            return spread.mul_(phases).sum(-3)
        powers = [phases[1]]
        while 2 ** len(powers) < self.codomain[0]:
            powers.append(powers[-1] * powers[-1])
        left = self.codomain[0]
        for exponent in reversed(range(len(powers))):
            half = 2**exponent
            if left > half:
                low = spread.narrow(-3, 0, left - half)
                low.addcmul_(spread.narrow(-3, half, left - half), powers[exponent])
                left = half
        return spread.select(-3, 0) * phases[0]

    def _contracted(self, arrays: Tensor, factor: Tensor, place: int) -> Tensor:
        """Contract one axis of ``(..., freq, *axes)``."""
        axis = arrays.ndim - len(self.domain) + place
        moved = arrays.movedim(axis, axis - place)
        product = torch.matmul(factor, moved.flatten(axis - place + 1))
        sizes = (*product.shape[:-1], *moved.shape[axis - place + 1 :])
        return product.view(sizes).movedim(axis - place, axis)


def _permuted(arrays: Tensor, order: Sequence[int]) -> Tensor:
    """Return arrays with their last axes in another order."""
    batch = arrays.ndim - len(order)
    return arrays.permute(*range(batch), *(batch + axis for axis in order))
