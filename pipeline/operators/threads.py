"""Work shared between the threads of one process.

The libraries below release Python's lock while they compute, so plain threads that each call a
single-threaded transform on data in their own cache are faster than one many-threaded transform on
data in memory, and they repeat bit by bit.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from threading import Lock

import torch


def thread_count(threads: int | None) -> int:
    """Return `threads`, or as many as torch uses where it is `None`."""
    return torch.get_num_threads() if threads is None else max(1, threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="operator")


def share(tasks: int, work: Callable[[int, int], None], threads: int) -> None:
    """Call ``work(task, worker)`` for each of so many tasks; the calling thread is worker 0.

    One of `threads` workers takes the next task as soon as it is free, so tasks must not depend on
    who runs them, nor on their order. Several workers have one of torch's threads each.
    """
    workers = min(threads, tasks)
    numbers = iter(range(tasks))  # next() on a range iterator is atomic

    def run(worker: int) -> None:
        for task in numbers:
            work(task, worker)

    with _ONE_EACH() if workers > 1 else nullcontext():
        futures = [_pool(threads).submit(run, worker) for worker in range(1, workers)]
        try:
            run(0)
        finally:
            for future in futures:
                future.result()


class _OneEach:
    """Within it torch has one thread, and so have workers, which torch asks for it only once."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    torch.set_num_threads(self._before)


_ONE_EACH = _OneEach()
