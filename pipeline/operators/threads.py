"""Work shared between the threads of one process.

The libraries below release Python's lock while they compute, so plain threads that each call a
single-threaded transform on data in their own cache are faster than one many-threaded transform on
data in memory, and they repeat bit by bit.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Lock

import torch

# Torch keeps one count for all threads, and a new thread asks for it once: callers take turns, and
# workers, which first run within a turn, have one thread for good.
_TURN = Lock()


def thread_count(threads: int | None) -> int:
    """Return `threads`, or as many as torch uses where it is `None`."""
    return torch.get_num_threads() if threads is None else max(1, threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="operator")


def share(tasks: int, work: Callable[[int, int], None], threads: int) -> None:
    """Call ``work(task, worker)`` for each of so many tasks; the calling thread is worker 0.

    One of `threads` workers takes the next task as soon as it is free, so tasks must not depend on
    who runs them, nor on their order. Several workers have one of torch's threads each. `work` must
    not call this itself.
    """
    workers = min(threads, tasks)
    numbers = iter(range(tasks))  # next() on a range iterator is atomic

    def run(worker: int) -> None:
        for task in numbers:
            work(task, worker)

    if workers <= 1:
        run(0)
        return
    with _TURN:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        futures = [_pool(threads).submit(run, worker) for worker in range(1, workers)]
        try:
            run(0)
        finally:
            wait(futures)
            torch.set_num_threads(before)
    for future in futures:
        future.result()
