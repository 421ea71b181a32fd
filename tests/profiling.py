"""Memory that torch allocates on the CPU, its hidden copies included."""

import itertools

import torch


def peak_bytes(function, *arguments, **keywords):
    """Return the most bytes in use during a call, its result included, and the result."""
    with torch.profiler.profile(profile_memory=True) as profile:
        result = function(*arguments, **keywords)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())]
    return max(itertools.accumulate(changes), default=0), result
