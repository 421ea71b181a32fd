"""A stream delivers every tile once, in order, ahead of need, and never more than two at a time."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from pipeline.engine.stream import StreamAccount, stream
from pipeline.errors import DataError


def test_tiles_arrive_in_order_with_their_dtypes():
    generator = np.random.default_rng(1)
    tiles = [
        (generator.normal(size=(3, 5)) + 1j, generator.normal(size=7).astype(np.float32))
        for _ in range(9)
    ]
    account = StreamAccount()
    found = list(stream([lambda tile=tile: tile for tile in tiles], "cpu", account))
    for (values, positions), (first, second) in zip(found, tiles, strict=True):
        assert values.dtype == torch.complex128
        assert positions.dtype == torch.float32
        assert np.array_equal(values, first)
        assert np.array_equal(positions, second)
    assert account.tiles == 9
    assert account.bytes == sum(part.nbytes for tile in tiles for part in tile)


def test_at_most_two_tiles_exist():
    alive, most, lock = 0, 0, threading.Lock()

    def count(change):
        nonlocal alive, most
        with lock:
            alive += change
            most = max(most, alive)

    def read():
        array = np.zeros(4)
        count(1)
        weakref.finalize(array, count, -1)
        return (array,)

    for tile in stream([read] * 20, "cpu", StreamAccount()):
        del tile  # else the loop keeps it until the next one is there
        time.sleep(0.002)
    gc.collect()
    assert most == 2
    assert alive == 0


def test_reading_hides_behind_computing():
    def read():
        time.sleep(0.01)
        return (np.zeros(1),)

    account = StreamAccount()
    for _ in stream([read] * 10, "cpu", account):
        time.sleep(0.02)
    # All but the first read happen while something computes, whatever else the machine does.
    assert account.stall_seconds < 0.5 * account.read_seconds
    assert account.summary()["overlap"] > 0.5


def test_an_error_comes_where_its_tile_would_have():
    def broken():
        raise DataError("chunk 3 is damaged")

    tiles = stream([lambda: (np.ones(2),), broken, lambda: (np.ones(2),)], "cpu", StreamAccount())
    assert next(tiles)[0].sum() == 2
    with pytest.raises(DataError, match="chunk 3"):
        next(tiles)


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    tiles = stream([lambda: (np.ones(2),)] * 50, "cpu", StreamAccount())
    next(tiles)
    tiles.close()
    assert threading.active_count() == before


@pytest.mark.gpu
def test_tiles_reach_the_gpu_whole():
    generator = np.random.default_rng(2)
    tiles = [generator.normal(size=10**6) for _ in range(8)]
    sums = [
        float(tile.sum())
        for (tile,) in stream(
            [lambda values=values: (values,) for values in tiles], "cuda", StreamAccount()
        )
    ]
    assert sums == pytest.approx([values.sum() for values in tiles])
