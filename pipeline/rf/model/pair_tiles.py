"""Tiles of pairs: some frequencies of one pair, and the operators that stay between their uses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pipeline.engine.job import BlockJob, Shard
from pipeline.engine.stream import Arrays, StreamAccount
from pipeline.operators.base import LinearOperator
from pipeline.rf.model.instruments import CorrectedPairs
from pipeline.rf.model.pair_models import PairModels


@dataclass(frozen=True)
class PairTile:
    """Some frequencies of one pair, which are on the device together."""

    pair: int
    first: int
    last: int
    """Index after that of the last frequency."""

    @property
    def frequencies(self) -> slice:
        """Which frequencies."""
        return slice(self.first, self.last)


class PairStream:
    """Streams tiles of pairs, each with the operator that measures it.

    Factors are made on the device from antenna positions, or are read with the tile where they came
    with the data. Where the plan has seen that they fit, they stay (``resident``).
    """

    def __init__(
        self, job: BlockJob, models: PairModels, measured: CorrectedPairs, *, resident: bool
    ) -> None:
        self.job, self.models, self.resident = job, models, resident
        self._corrected = measured
        self._kept: dict[PairTile, LinearOperator] = {}
        self._size = job.tiles.readouts

    def tiles(self, shard: Shard) -> list[PairTile]:
        """Cut a shard into tiles."""
        size, frequencies = self.job.tiles.readouts, shard.readouts
        if size != self._size:  # halved, as memory ran out: nothing stays from now on
            self._size, self.resident = size, False
            self._kept.clear()
        return [
            PairTile(pair, first, min(first + size, frequencies.stop))
            for pair in shard.channels
            for first in range(frequencies.start, frequencies.stop, size)
        ]

    def measured(
        self, frame: int, tiles: Sequence[PairTile]
    ) -> Iterator[tuple[PairTile, Tensor, LinearOperator]]:
        """Yield each tile with what it measured, ``(freq, *rows)``, and its operator."""
        order = iter(tiles)
        for arrays in self._stream(tiles, partial(self._read_measured, frame)):
            tile = next(order)
            samples, *factors = arrays
            del arrays
            blocks = self._blocks(tile, tuple(factors))
            del factors
            yield tile, samples.to(self.job.complex).reshape(blocks.codomain), blocks
            del samples, blocks

    def operators(self, tiles: Sequence[PairTile]) -> Iterator[tuple[PairTile, LinearOperator]]:
        """Yield each tile with its operator; only factors that came with the data are read."""
        if not self.models.reads_factors or all(tile in self._kept for tile in tiles):
            for tile in tiles:
                yield tile, self._blocks(tile, ())
            return
        order = iter(tiles)
        for arrays in self._stream(tiles, self._read_factors):
            tile = next(order)
            blocks = self._blocks(tile, arrays)
            del arrays
            yield tile, blocks
            del blocks

    def _stream(
        self, tiles: Sequence[PairTile], read: Callable[[PairTile], Arrays]
    ) -> Iterator[tuple[Tensor, ...]]:
        accounts = self.job.pair_accounts
        return self.job.stream(
            (partial(read, tile) for tile in tiles),
            (accounts.setdefault(tile.pair, StreamAccount()) for tile in tiles),
        )

    def _read_measured(self, frame: int, tile: PairTile) -> Arrays:
        samples = self._corrected.measurements(frame, tile.pair, tile.frequencies)
        return (samples, *self._read_factors(tile))

    def _read_factors(self, tile: PairTile) -> Arrays:
        if not self.models.reads_factors or tile in self._kept:
            return ()
        return self.models.read_factors(tile.pair, tile.frequencies)

    def _blocks(self, tile: PairTile, stored: tuple[Tensor, ...]) -> LinearOperator:
        known = self._kept.get(tile)
        if known is not None:
            return known
        blocks = self.models.blocks(tile.pair, tile.frequencies, stored)
        if self.resident:
            self._kept[tile] = blocks
        return blocks


class FactorsNormal:
    """``sum_p A_p^H |w_p|^2 A_p``, forward and back through the factors, tile by tile.

    The weights ``|w|^2`` are real ``(freq,)`` by pair. Where pairs are coherent, all see one image
    ``(..., *shape)``; else each has its own, ``(..., pair, *shape)``.
    """

    def __init__(
        self, stream: PairStream, shard: Shard, weights: Sequence[Tensor], *, coherent: bool
    ) -> None:
        self._stream, self._shard = stream, shard
        self._weights, self._coherent = weights, coherent

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it."""
        axes = len(self._stream.models.raw.shape)
        result = torch.zeros_like(x)
        # Tiles as they are now: they may have been halved since the factors were kept.
        for tile, blocks in self._stream.operators(self._stream.tiles(self._shard)):
            image, total = x, result
            if not self._coherent:
                image, total = (each.select(-axes - 1, tile.pair) for each in (x, result))
            weights = self._weights[tile.pair][tile.frequencies]
            # Not in place, so that a network may take gradients through it.
            measured = blocks(image) * weights.view(-1, *(1,) * (len(blocks.codomain) - 1))
            total += blocks.adjoint(measured)
        return result
