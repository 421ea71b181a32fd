"""Read and copy the next tile while the present one computes.

A thread reads tiles from disk and copies them to the device; the consumer computes. At most
`TILES_AT_ONCE` tiles exist at any moment: the one in work and the one on its way. On CUDA a tile
passes through pinned memory and a stream of its own; on a CPU the tile that was read is the tile
that is used. Both run the same code otherwise.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.needs import TILES_AT_ONCE

Arrays = tuple[NDArray[np.generic], ...]
Read = Callable[[], Arrays]
Tensors = tuple[Tensor, ...]


@dataclass
class StreamAccount:
    """Where the time of a stream went [s]; reading and copying overlap computing."""

    read_seconds: float = 0.0
    copy_seconds: float = 0.0
    compute_seconds: float = 0.0
    stall_seconds: float = 0.0
    """How long the device waited for a tile."""
    bytes: int = 0
    tiles: int = 0

    def add(self, other: "StreamAccount") -> None:
        """Add another account, such as that of one tile."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def summary(self) -> dict[str, float]:
        """Return JSON values for a receipt, with the part of moving that computing hid, 0 to 1."""
        moved = self.read_seconds + self.copy_seconds
        overlap = max(0.0, 1 - self.stall_seconds / moved) if moved > 0 else 1.0
        return {**vars(self), "overlap": overlap}


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for copies to a device; memory that was freed is kept for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class _Copier:
    """Moves arrays to one device, on CUDA by a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = _copy_stream(device) if device.type == "cuda" else None

    def __call__(self, arrays: Arrays) -> Tensors:
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
        if self.stream is None:
            return tuple(tensor.to(self.device) for tensor in tensors)
        with torch.cuda.stream(self.stream):
            moved = tuple(
                tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors
            )
        # Until here the pinned memory is in use. Only this thread waits.
        self.stream.synchronize()
        return moved

    def hand_over(self, tensors: Tensors) -> None:
        """Tell the allocator that the consumer's stream uses what this one's has made."""
        if self.stream is not None:
            for tensor in tensors:
                tensor.record_stream(torch.cuda.current_stream(self.device))

    def wait_for_compute(self) -> None:
        """Wait until the device has finished what the consumer asked of it."""
        if self.stream is not None:
            torch.cuda.current_stream(self.device).synchronize()


class _Reader(threading.Thread):
    """Fetches tile after tile into a queue, as far ahead as there are places."""

    def __init__(self, reads: Iterable[Read], copier: _Copier) -> None:
        super().__init__(name="kronufft-reader", daemon=True)
        self.reads, self.copier = reads, copier
        self.places = threading.Semaphore(TILES_AT_ONCE)
        self.tiles: queue.SimpleQueue[tuple[Tensors, StreamAccount] | BaseException | None] = (
            queue.SimpleQueue()
        )
        self.stopped = False

    def run(self) -> None:
        try:
            for read in self.reads:
                self.places.acquire()
                if self.stopped:
                    return
                start = time.perf_counter()
                arrays = read()
                middle = time.perf_counter()
                tile = self.copier(arrays)
                account = StreamAccount(
                    read_seconds=middle - start,
                    copy_seconds=time.perf_counter() - middle,
                    bytes=sum(array.nbytes for array in arrays),
                    tiles=1,
                )
                self.tiles.put((tile, account))
                del arrays, tile
            self.tiles.put(None)
        except BaseException as error:
            self.tiles.put(error)


def stream(
    reads: Iterable[Read],
    device: str | torch.device,
    account: StreamAccount,
    *,
    stalled: Callable[[], AbstractContextManager[None]] = nullcontext,
    finished: Callable[[StreamAccount], None] = lambda of_tile: None,
) -> Iterator[Tensors]:
    """Yield the arrays of each tile on the device, each read while the one before is in work.

    They may be overwritten. Let go of a tile before asking for the next one, or three of them
    exist. What a read or a copy raised is raised where its tile would have come.

    Parameters
    ----------
    reads
        One callable a tile, which returns its arrays. They run in a thread of their own, one after
        the other.
    device
        Where the tiles go.
    account
        Is added to when a tile is done with; then `finished` is told what this tile took.
    stalled
        Makes a context that is entered whenever the consumer waits, for a receipt's phase.
    """
    copier = _Copier(torch.device(device))
    reader = _Reader(reads, copier)
    reader.start()
    try:
        while True:
            start = time.perf_counter()
            with stalled():
                fetched = reader.tiles.get()
            stalled_seconds = time.perf_counter() - start
            if fetched is None:
                account.stall_seconds += stalled_seconds
                return
            if isinstance(fetched, BaseException):
                try:
                    raise fetched
                finally:
                    del fetched  # which holds this frame, and so all that its callers hold
            tile, of_tile = fetched
            del fetched
            of_tile.stall_seconds = stalled_seconds
            copier.hand_over(tile)
            start = time.perf_counter()
            try:
                yield tile
                del tile
                copier.wait_for_compute()
            finally:
                of_tile.compute_seconds = time.perf_counter() - start
                account.add(of_tile)
                finished(of_tile)
            reader.places.release()
    finally:
        reader.stopped = True
        reader.places.release()
        reader.join()
