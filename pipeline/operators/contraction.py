"""How the modes of a Kronecker product are contracted: pure functions of the sizes.

Contracting mode ``i`` of an array of ``S`` numbers with an ``M_i x N_i`` factor takes ``S M_i``
multiply-adds and leaves ``S M_i / N_i`` numbers. Of two neighbours in the order, ``i`` should thus
stand before ``j`` exactly if ``1/N_i - 1/M_i < 1/N_j - 1/M_j``, whatever happens before and after:
sorting by that key is optimal. The adjoint exchanges ``M`` and ``N``, which negates the key, so its
best order is the reverse, at the same cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from itertools import pairwise, permutations, product
from typing import Literal

from pipeline.pieces import pieces

COMPLEX_MULTIPLY_ADD = 8
"""Floating-point operations of one complex multiplication and addition."""

_DEVICE_TILE = 2**28
"""Bytes of intermediate arrays that fill an accelerator, and are little beside its memory."""

_CACHED_TILE = 2**21
"""The same that stay in the cache of a CPU's core."""

_LARGE_TILE = 2**21
"""Numbers in intermediate arrays where the first product needs many blocks at once."""

_LEAST_ROWS = 96
"""Rows of the first product below which it does not reach the speed of larger ones."""

Side = Literal["first", "last"]

_SIDES: tuple[Side, ...] = ("first", "last")


def contraction_order(outputs: Sequence[int], inputs: Sequence[int]) -> tuple[int, ...]:
    """Return the modes in the order that takes the fewest operations, first contracted first.

    `outputs` and `inputs` are the rows ``M_i`` and columns ``N_i`` of each factor, here and below.
    Among equals the last axis goes first, because contractions from the last axis to the first
    leave the result in order.
    """
    keys = [Fraction(1, n) - Fraction(1, m) for m, n in zip(outputs, inputs, strict=True)]
    return tuple(sorted(range(len(keys)), key=lambda mode: (keys[mode], -mode)))


def contraction_flops(
    outputs: Sequence[int], inputs: Sequence[int], order: Sequence[int] | None = None
) -> int:
    """Return the floating-point operations of one application to one complex array.

    In the best order of the modes if none is given.
    """
    order = contraction_order(outputs, inputs) if order is None else order
    before = _states(outputs, inputs, order)[:-1]
    return COMPLEX_MULTIPLY_ADD * sum(
        numbers * outputs[mode] for numbers, mode in zip(before, order, strict=True)
    )


def usual_tile_bytes(
    outputs: Sequence[int], inputs: Sequence[int], itemsize: int, *, on_device: bool
) -> int:
    """Return the bytes of intermediate arrays by which products are fastest.

    Blocks that a CPU does together should stay in cache. But the first product, of all their rows
    at once, should have rows enough: with 32 of 32 x 128 x 128 voxels a block it is a fifth faster
    for three blocks at a time than for one.
    """
    if on_device:
        return _DEVICE_TILE
    rows = outputs[contraction_order(outputs, inputs)[0]]
    fits = _CACHED_TILE // block_bytes(outputs, inputs, itemsize)
    return _CACHED_TILE if fits * rows >= _LEAST_ROWS else _LARGE_TILE * itemsize


def block_bytes(outputs: Sequence[int], inputs: Sequence[int], itemsize: int) -> int:
    """Return the bytes of the arrays before and after a contraction, for one block of one array."""
    _, *states = _states(outputs, inputs, contraction_order(outputs, inputs))
    pairs = [before + after for before, after in pairwise(states)]
    return max(pairs, default=states[0]) * itemsize


def _states(outputs: Sequence[int], inputs: Sequence[int], order: Sequence[int]) -> list[int]:
    """Return the numbers in one array, before the first contraction and after each."""
    sizes = list(inputs)
    states = [math.prod(sizes)]
    for mode in order:
        sizes[mode] = outputs[mode]
        states.append(math.prod(sizes))
    return states


@dataclass(frozen=True)
class Step:
    """One contraction: where its axis stands before and after.

    A matrix product consumes an axis at either end of a contiguous array, and puts the new one at
    either end, without copies.
    """

    mode: int
    consumed: Side
    placed: Side


@dataclass(frozen=True)
class Schedule:
    """A way to contract all modes of ``(image, *axes)`` without copies between the steps."""

    entry: tuple[int, ...]
    """Order of the axes before the first contraction, as for `numpy.transpose`."""
    steps: tuple[Step, ...]
    """The first one places its axis first, because the blocks stand before it."""
    exit: tuple[int, ...]
    """Order of the axes of the result."""


@cache
def schedule(outputs: tuple[int, ...], inputs: tuple[int, ...], images: int = 1) -> Schedule:
    """Return the schedule in the best order that needs the fewest copies before and after.

    The result of one image never needs a copy in 2D, and in 3D neither where one of its axes has a
    single element nor in the orders 1-0-2 and 2-1-0; the input, which all blocks share, needs none
    where it is entered from an end.
    """
    order = contraction_order(outputs, inputs)
    found: list[tuple[tuple[bool, bool], Schedule]] = []
    # Axis 0 are the images, so mode i is axis i + 1. It is never contracted.
    for entry in permutations(range(len(order) + 1)):
        for sides in product(_SIDES, repeat=len(order) - 1):
            sizes, layout = [images, *inputs], list(entry)
            steps: list[Step] = []
            for mode, placed in zip(order, ("first", *sides), strict=True):
                consumed = _end(layout, mode + 1, sizes)
                if consumed is None:
                    break
                steps.append(Step(mode, consumed, placed))
                layout.remove(mode + 1)
                layout.insert(0 if placed == "first" else len(layout), mode + 1)
                sizes[mode + 1] = outputs[mode]
            else:
                copies = (_reordered(layout, sizes), _reordered(entry, (images, *inputs)))
                found.append((copies, Schedule(entry, tuple(steps), tuple(layout))))
    return min(found, key=lambda candidate: candidate[0])[1]


def _end(layout: Sequence[int], axis: int, sizes: Sequence[int]) -> Side | None:
    """Return at which end of the layout an axis stands; those of one element do not count."""
    others = [other for other in layout if sizes[other] > 1 or other == axis]
    if others[-1] == axis:
        return "last"
    return "first" if others[0] == axis else None


def _reordered(layout: Sequence[int], sizes: Sequence[int]) -> bool:
    """Return whether an array in this layout has another order in memory."""
    long = [axis for axis in layout if sizes[axis] > 1]
    return long != sorted(long)


@dataclass(frozen=True)
class KroneckerTiling:
    """The pieces in which the blocks of a Kronecker operator are done."""

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    blocks: int
    images: int
    """Arrays that the operator is applied to."""
    itemsize: int
    tile_bytes: int
    """Most bytes of intermediate arrays, where one block of one array needs no more."""

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of the arrays before and after a contraction, for one block of one array."""
        return block_bytes(self.outputs, self.inputs, self.itemsize)

    @cached_property
    def blocks_at_once(self) -> int:
        """Blocks done together."""
        return min(self.blocks, max(1, self.tile_bytes // self.block_bytes))

    @cached_property
    def images_at_once(self) -> int:
        """Arrays done together: several only where all blocks of one are little work."""
        fitting = self.tile_bytes // (self.block_bytes * self.blocks_at_once)
        return max(1, min(self.images, fitting))

    def block_tiles(self) -> list[slice]:
        """Return the groups of blocks."""
        return pieces(self.blocks, self.blocks_at_once)

    def image_tiles(self) -> list[slice]:
        """Return the groups of arrays."""
        return pieces(self.images, self.images_at_once)

    @cached_property
    def schedule(self) -> Schedule:
        """The contractions."""
        return schedule(self.outputs, self.inputs, self.images_at_once)

    @cached_property
    def input_reordered(self) -> bool:
        """Whether the input is copied into another order."""
        return _reordered(self.schedule.entry, (self.images_at_once, *self.inputs))

    @cached_property
    def result_reordered(self) -> bool:
        """Whether the result of the last contraction is copied to its place."""
        interleaved = self.images_at_once > 1 and self.blocks > 1
        return interleaved or _reordered(self.schedule.exit, (self.images_at_once, *self.outputs))

    @cached_property
    def workspace_bytes(self) -> int:
        """Bytes in use besides factors, input and output; the adjoint reaches them exactly."""
        total = self.blocks_at_once * self.block_bytes
        if self.input_reordered:
            total += math.prod(self.inputs) * self.itemsize
        return self.images_at_once * total
