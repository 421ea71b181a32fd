"""Kronecker products of rectangular complex factors, one product for each frequency and pair.

Row-major order throughout: with two factors ``Y = einsum("am,bn,mn->ab", A1, A2, c)``, which is
``A1 c A2^T`` and equals ``kron(A1, A2) @ c.ravel()``. (The often-seen ``A2 @ C @ A1.T`` belongs to
column-major order. On row-major arrays it computes ``kron(A2, A1)``, and since its adjoint is
consistent, no dot test tells.)

All work is matrix products. All blocks see the same array, so the first mode is one product
``(block M_1) x N_1`` by ``N_1 x rest``, and the later ones are batched over the blocks; the adjoint
mirrors this, and the sum over the blocks is the inner dimension of its last product.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.contraction import KroneckerTiling, Schedule, Side, usual_tile_bytes


class Kronecker(LinearOperator):
    """``A_1 (x) A_2 (x) ... (x) A_d`` for each of many blocks.

    Parameters
    ----------
    factors
        Complex tensors ``(*blocks, M_i, N_i)``, dimensionless, with the same block axes: none,
        ``(frequency,)`` or ``(pair, frequency)``; all of one dtype and on one device. Sizes may
        differ in any way, and be 1.
    tile_bytes
        Most bytes of intermediate arrays: the blocks are done in groups that keep to it, or one by
        one where a single block needs more. Chosen for the device if `None`.

    Raises
    ------
    ShapeError
        If the factors do not fit each other.

    Notes
    -----
    Maps ``(..., N_1, ..., N_d)`` to ``(..., *blocks, M_1, ..., M_d)``; the adjoint sums over the
    blocks. Contiguous factors are used as they are, without a copy. The modes are contracted in the
    order that takes the fewest operations, see `pipeline.operators.contraction`. Gradients flow to
    the argument, not to the factors. Weights of blocks are a `Diagonal` on the codomain.
    """

    def __init__(self, factors: Sequence[Tensor], *, tile_bytes: int | None = None) -> None:
        _check_factors(factors)
        self.blocks = tuple(factors[0].shape[:-2])
        self.outputs = tuple(int(factor.shape[-2]) for factor in factors)
        self.inputs = tuple(int(factor.shape[-1]) for factor in factors)
        device = factors[0].device
        super().__init__(
            self.inputs, (*self.blocks, *self.outputs), dtype=factors[0].dtype, device=device
        )
        self.factors = tuple(
            factor.detach().resolve_conj().resolve_neg().contiguous().view(-1, *factor.shape[-2:])
            for factor in factors
        )
        if tile_bytes is None:
            tile_bytes = usual_tile_bytes(
                self.outputs, self.inputs, self.itemsize, on_device=device.type != "cpu"
            )
        self.tile_bytes = tile_bytes

    def tiling(self, batch: int = 1) -> KroneckerTiling:
        """Return the pieces in which so many arrays are done."""
        return KroneckerTiling(
            self.outputs,
            self.inputs,
            blocks=math.prod(self.blocks),
            images=batch,
            itemsize=self.itemsize,
            tile_bytes=self.tile_bytes,
        )

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.domain)]
        arrays = x.resolve_conj().resolve_neg().reshape(-1, *self.inputs)
        tiling = self.tiling(len(arrays))
        result = x.new_empty(len(arrays), tiling.blocks, *self.outputs)
        for images in tiling.image_tiles():
            self._forward_tile(arrays[images], tiling, result[images])
        return result.view(*batch, *self.codomain)

    def _forward_tile(self, arrays: Tensor, tiling: KroneckerTiling, result: Tensor) -> None:
        way = tiling.schedule
        source = arrays.permute(way.entry).contiguous()
        for blocks in tiling.block_tiles():
            target = _blocks_first(result[:, blocks], way.exit)
            if tiling.result_reordered:
                target.copy_(self._contract(source, way, blocks).view(target.shape))
            else:
                self._contract(source, way, blocks, out=target)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        data = y.resolve_conj().resolve_neg().reshape(-1, math.prod(self.blocks), *self.outputs)
        tiling = self.tiling(len(data))
        result = y.new_empty(len(data), *self.inputs)
        for images in tiling.image_tiles():
            self._adjoint_tile(data[images], tiling, result[images])
        return result.view(*batch, *self.domain)

    def _adjoint_tile(self, data: Tensor, tiling: KroneckerTiling, result: Tensor) -> None:
        # A^H y = conj(A^T conj(y)): data and image are conjugated, in passes that are needed
        # anyway, rather than the factors, which are larger.
        way = tiling.schedule
        target = result.permute(way.entry)
        total = result.new_empty(target.shape) if tiling.input_reordered else target
        for blocks in tiling.block_tiles():
            self._add_transpose(_blocks_first(data[:, blocks], way.exit), way, blocks, total)
        torch.conj_physical(total, out=target)

    def _contract(
        self, source: Tensor, way: Schedule, blocks: slice, out: Tensor | None = None
    ) -> Tensor:
        """Contract all modes for some blocks, the last one into `out` if it is given."""
        first, *later = way.steps
        factor = self.factors[first.mode][blocks]
        rows = factor.flatten(0, 1)
        into = None if later or out is None else out.view(len(rows), -1)
        columns = _unfolded(source, (rows.shape[1],), first.consumed)
        state = torch.mm(rows, columns, out=into).view(len(factor), -1)
        for step in later:
            factor, into = self.factors[step.mode][blocks], out if step is later[-1] else None
            state = _product(factor, state, step.consumed, step.placed, into)
        return state

    def _add_transpose(self, data: Tensor, way: Schedule, blocks: slice, total: Tensor) -> None:
        """Apply the transpose of some blocks to the conjugate of `data`; add it to `total`."""
        first, *later = way.steps
        state = torch.conj_physical(data, out=data.new_empty(data.shape)).view(len(data), -1)
        for step in reversed(later):
            factor = self.factors[step.mode][blocks].mT
            state = _product(factor, state, step.placed, step.consumed)
        rows = self.factors[first.mode][blocks].flatten(0, 1)
        _unfolded(total, (rows.shape[1],), first.consumed).addmm_(
            rows.T, state.view(len(rows), -1), beta=0 if blocks.start == 0 else 1
        )


def _blocks_first(arrays: Tensor, layout: Sequence[int]) -> Tensor:
    """View ``(image, block, *axes)`` as ``(block, ...)`` with the others in the given order."""
    return arrays.movedim(1, 0).permute(0, *(axis + 1 for axis in layout))


def _unfolded(array: Tensor, rows: tuple[int, ...], side: Side) -> Tensor:
    """View a contiguous array as matrices, whose rows are its first or last axis.

    `rows` are the leading axes, which stay, and the size of that axis.
    """
    *leading, size = rows
    return array.view(*rows, -1) if side == "first" else array.view(*leading, -1, size).mT


def _product(
    matrices: Tensor, arrays: Tensor, consumed: Side, placed: Side, out: Tensor | None = None
) -> Tensor:
    """Multiply one axis of each block's array, first or last in memory, with the block's matrix.

    `matrices` are ``(block, new, old)``; `arrays` and the result ``(block, element)``, contiguous.
    The old axis stands at the side `consumed`, the new one at `placed`.
    """
    count, _, old = matrices.shape
    left, right = matrices, _unfolded(arrays, (count, old), consumed)
    if placed == "last":
        left, right = right.mT, left.mT
    into = None if out is None else out.view(count, left.shape[1], right.shape[2])
    return torch.bmm(left, right, out=into).view(count, -1)


def _check_factors(factors: Sequence[Tensor]) -> None:
    found = ", ".join(f"{tuple(f.shape)} {f.dtype} on {f.device}" for f in factors) or "none"
    if not factors or any(factor.ndim < 2 or factor.numel() == 0 for factor in factors):
        raise ShapeError(
            f"Kronecker: found factors {found}; needed is at least one, each of shape "
            "(*blocks, rows, columns) without empty axes."
        )
    if len({factor.shape[:-2] for factor in factors}) > 1:
        raise ShapeError(
            f"Kronecker: found factors {found}; the axes before the last two are the blocks and "
            "must be the same. Expand what does not change with the block."
        )
    kinds = {(factor.dtype, factor.device) for factor in factors}
    if len(kinds) > 1 or not factors[0].is_complex():
        raise ShapeError(
            f"Kronecker: found factors {found}; all must have one complex dtype and be on one "
            "device. Convert or move some."
        )
