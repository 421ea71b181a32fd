"""Predicted wall time of a job, from operation counts and the machine's rates. Pure.

It decides how many images or which part of a measurement make a job of bearable length, and how
much time to ask a scheduler for. It does not decide what is computed.
"""

from collections.abc import Mapping

from pipeline.engine.rates import Rates
from pipeline.engine.transform_costs import spectrum_bytes
from pipeline.engine.work import Work

_TO_DEVICE = 1e10
"""Bytes a second between host and device, through pinned memory; from data sheets."""


def predicted_phases(work: Work, rates: Rates) -> Mapping[str, float]:
    """Return the predicted seconds of each phase of a job, named as in its receipt."""
    phases = {"start": rates.start}
    scale = work.machine.itemsize / 8
    model = work.model
    if work.stage == "sum":
        share = spectrum_bytes(work, 1) / scale + work.voxel_bytes
        phases["sum shares"] = work.images * work.shards * share * scale / rates.read
    else:
        fraction = work.channels * work.readouts / (model.channels * model.readouts)
        phases["read"] = work.images * fraction * model.bytes_per_image / rates.read
        right, kernel = model.accumulation(work, rates)
        phases["right_hand_side"] = right * scale
        phases["kernel"] = kernel * scale
    if work.stage != "accumulate" and work.settings.solves:
        vectors = 20 * work.unknown_bytes / rates.memory
        product = model.application(work, rates) + vectors
        if work.on_host:
            moved = 2 * work.unknown_bytes + spectrum_bytes(work, work.kernels) / work.image_batch
            vectors = 20 * work.unknown_bytes / Rates.host(work.machine.threads).memory
            product = max(model.application(work, rates), moved / _TO_DEVICE) + vectors
        phases["solve"] = work.images * work.settings.applications * product * scale
    phases["write"] = work.result_bytes / rates.read
    return phases


def predicted_seconds(work: Work, rates: Rates) -> float:
    """Return the predicted wall time of a job [s]."""
    return sum(predicted_phases(work, rates).values())


def accumulating_seconds(work: Work, rates: Rates) -> float:
    """Return the part of the time of a job that shards share [s]."""
    phases = predicted_phases(work, rates)
    return sum(phases.get(name, 0.0) for name in ("read", "right_hand_side", "kernel"))
