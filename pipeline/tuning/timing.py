"""Times on a machine that others use too: interleaved repeats, of which the best counts.

What others do to the machine only ever makes a run longer, so that the shortest of several is
nearest to what the machine can do; and candidates that take turns meet the same disturbances.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

Key = TypeVar("Key")

_INSTANT = 0.02
_LEAST = 3
_MOST = 15
_HOPELESS = {1: 4.0, 2: 2.0}
"""Times another's best at which repeating is a waste, after so many runs; 1.3 after more."""


def spread(runs: Sequence[float]) -> float:
    """Return how much longer the median run took, relative to the shortest."""
    return statistics.median(runs) / min(runs) - 1


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes until the device has finished."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def shortest(run: Callable[[], object], device: torch.device) -> float:
    """Return the shortest of as many calls as take a fiftieth of a second, or of one."""
    runs = [timed(run, device)]
    while sum(runs) < _INSTANT:
        runs.append(timed(run, device))
    return min(runs)


def best_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the shortest time of several calls, after one that warms up."""
    run()
    return min(timed(run, device) for _ in range(_LEAST))


def race(
    runs: Mapping[Key, Callable[[], Sequence[float]]],
    *,
    deadline: float,
    rivals: Callable[[Key], Sequence[Key]] = lambda _: (),
    advance: Callable[[Key], None] = lambda _: None,
) -> dict[Key, list[Sequence[float]]]:
    """Time several things in turns until the deadline, on the clock `time.monotonic`.

    The very first run warms up. What has been begun gets its first run; all that is not hopeless
    gets three, for up to half of the time again. Faster rivals make a thing superfluous. `advance`
    is called after the first run of each. Returns the seconds of the parts of each run; nothing
    for what was not reached.
    """
    begun = time.monotonic()
    overtime = deadline + max(0.0, deadline - begun) / 2
    found: dict[Key, list[Sequence[float]]] = {}

    def best(key: Key) -> float:
        return min(sum(parts) for parts in found[key])

    for run in list(runs.values())[:1]:
        run()
    for turn in range(_MOST):
        hopeless = _HOPELESS.get(turn, 1.3)
        for key, run in runs.items():
            if time.monotonic() > (overtime if 0 < turn < _LEAST else deadline) and found:
                continue
            if turn == 0:
                found[key] = [run()]
                advance(key)
            elif key in found and not any(
                best(rival) * hopeless < best(key) for rival in rivals(key) if rival in found
            ):
                found[key].append(run())
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
