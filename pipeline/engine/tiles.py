"""Which tiles a job works in: the largest that fit, and none larger than what is faster. Pure."""

import math
from collections.abc import Iterator
from dataclasses import replace

from pipeline.engine.limits import MEGABYTE, Limits
from pipeline.engine.memory import footprint
from pipeline.engine.rates import Rates
from pipeline.engine.work import Work

_IMAGES_AT_ONCE = 64
# Beyond these a larger tile only costs memory: transforms no longer overlap more work.
_IMAGES_ON_CPU = 64 * MEGABYTE
_IMAGES_ON_DEVICE = 1024 * MEGABYTE
_SAMPLES_ON_CPU = 64 * MEGABYTE
_SAMPLES_ON_DEVICE = 512 * MEGABYTE
_SMALL_STEPS = 0.9
"""Ratio of tiles of readouts that are tried: any length of a measurement then fills a limit."""


def choose_tiles(work: Work, limits: Limits, rates: Rates) -> Work | None:
    """Return the work with the largest useful tiles that fit; None if the smallest do not.

    Of a block that is yet to be cut, one image batch has to fit; of one that was cut for shards,
    and of their sum, all its images. What the model may stream, which reads it once
    for every product, streams only where no tile fits beside all of it, and the unknowns of a
    series leave the device only where nothing else helps.
    """
    for placed in _placements(work):
        for candidate in _candidates(placed, rates):
            one_batch = replace(candidate, images=candidate.image_batch)
            yet_to_cut = work.stage == "reconstruct" and not work.joint
            block = one_batch if yet_to_cut else candidate
            if footprint(block).fits(limits):
                return candidate
    return None


def smallest_tiles(work: Work) -> Work:
    """Return the work on one image, one channel and one readout at a time."""
    *_, work = _placements(work)
    return replace(
        work,
        images=work.images if work.joint else 1,
        image_batch=work.images if work.together else 1,
        channel_batch=1,
        readout_batch=1,
    )


def _placements(work: Work) -> Iterator[Work]:
    """Yield the work with ever less of it where the job computes."""
    model = work.model.streamed()
    yield work
    yield replace(work, model=model)
    if work.may_stay_on_host:
        yield replace(work, on_host=True)
        yield replace(work, on_host=True, model=model)


def _candidates(work: Work, rates: Rates) -> Iterator[Work]:
    """Yield the work in ever smaller tiles.

    Readouts first, as long as each tile is much more work than its transforms; then images, then
    channels, and readouts last.
    """
    images, channels = _images_and_channels(work)
    readouts, efficient = _readouts(work, images * channels, rates)
    for readout_batch in _shrinking(readouts, _SMALL_STEPS):
        if readout_batch < efficient:
            break
        yield _tiled(work, images, channels, readout_batch)
    efficient = min(readouts, efficient)
    fewest = images if work.together else 1
    for image_batch in _shrinking(images, 0.5):
        if image_batch >= fewest:
            yield _tiled(work, image_batch, channels, efficient)
    for channel_batch in _shrinking(channels, 0.5):
        yield _tiled(work, fewest, channel_batch, efficient)
    for readout_batch in _shrinking(efficient, _SMALL_STEPS):
        yield _tiled(work, fewest, 1, readout_batch)


def _tiled(work: Work, images: int, channels: int, readouts: int) -> Work:
    """Return the work in tiles of at most these sizes, all of them about equally large."""
    return replace(
        work,
        image_batch=_even(work.images, images),
        channel_batch=_even(work.channels, channels),
        readout_batch=_even(work.readouts, readouts),
    )


def _even(total: int, most: int) -> int:
    return math.ceil(total / math.ceil(total / most))


def _images_and_channels(work: Work) -> tuple[int, int]:
    """Return the images and channels that are worth having in work together."""
    if not work.model.batches:
        return work.images if work.together else 1, 1
    budget = _IMAGES_ON_DEVICE if work.machine.on_device else _IMAGES_ON_CPU
    together = work.machine.transforms_at_once or max(1, budget // (2 * work.voxel_bytes))
    if work.together:
        return work.images, max(1, min(work.channels, together // work.images))
    channels = min(work.channels, together)
    return max(1, min(work.images, _IMAGES_AT_ONCE, together // channels)), channels


def _readouts(work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
    """Return the readouts that are worth having in work together, and the least that are."""
    bytes_per_readout, efficient = work.model.tile(work, transforms, rates)
    budget = _SAMPLES_ON_DEVICE if work.machine.on_device else _SAMPLES_ON_CPU
    useful = max(1, budget // bytes_per_readout, efficient)
    return min(work.readouts, useful), min(work.readouts, efficient)


def _shrinking(largest: int, factor: float) -> Iterator[int]:
    """Yield ``largest``, then each time this ``factor`` of the last, down to one."""
    size = largest
    while size > 1:
        yield size
        size = min(size - 1, math.ceil(size * factor))
    yield 1
