"""Which tiles a job works in: the largest that fit, and none larger than what is faster. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.engine.limits import MEGABYTE
from pipeline.engine.memory import Footprint, footprint
from pipeline.engine.seconds import Rates, transform_seconds
from pipeline.engine.work import MriSizes, PairSizes, Work

_IMAGES_AT_ONCE = 64
# Beyond these a larger tile only costs memory: transforms no longer overlap more work.
_IMAGES_ON_CPU = 64 * MEGABYTE
_IMAGES_ON_DEVICE = 1024 * MEGABYTE
_SAMPLES_ON_CPU = 64 * MEGABYTE
_SAMPLES_ON_DEVICE = 512 * MEGABYTE
_TRANSFORMS_A_TILE = 10
"""Gridding takes this many times as long as the transform of the grid, which each tile needs."""

_SMALL_STEPS = 0.9
"""Ratio of tiles of readouts that are tried: any length of a measurement then fills a limit."""


@dataclass(frozen=True)
class Limits:
    """What one job may use [MB]; ``device_mb`` is 0 where it computes on a CPU."""

    device_mb: int
    host_mb: int

    def hold(self, need: Footprint) -> bool:
        """Tell whether ``need`` fits."""
        on_device = not self.device_mb or need.device_bytes <= self.device_mb * MEGABYTE
        return on_device and need.host_bytes <= self.host_mb * MEGABYTE


def choose_tiles(work: Work, limits: Limits, rates: Rates) -> Work | None:
    """Return the work with the largest useful tiles that fit; None if the smallest do not.

    Of a block that is yet to be cut, one image batch has to fit; of one that was cut for shards,
    and of their sum, all its images. Coil maps stream, which reads them once for every product,
    only where no tile fits beside all of them.
    """
    for placed in (work, streaming_maps(work)):
        for candidate in _candidates(placed, rates):
            block = _one_batch(candidate) if work.stage == "reconstruct" else candidate
            if limits.hold(footprint(block)):
                return candidate
    return None


def streaming_maps(work: Work) -> Work:
    """Return the work with coil maps that stream instead of staying where the job computes."""
    if not isinstance(work.sizes, MriSizes):
        return work
    return replace(work, sizes=replace(work.sizes, resident=False))


def smallest_tiles(work: Work) -> Work:
    """Return the work on one image, one channel and one readout at a time."""
    smallest = replace(work, images=1, image_batch=1, channel_batch=1, readout_batch=1)
    return streaming_maps(smallest)


def _one_batch(work: Work) -> Work:
    return replace(work, images=work.image_batch)


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
    for image_batch in _shrinking(images, 0.5):
        yield _tiled(work, image_batch, channels, efficient)
    for channel_batch in _shrinking(channels, 0.5):
        yield _tiled(work, 1, channel_batch, efficient)
    for readout_batch in _shrinking(efficient, _SMALL_STEPS):
        yield _tiled(work, 1, 1, readout_batch)


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
    if not isinstance(work.sizes, MriSizes):
        return 1, 1
    budget = _IMAGES_ON_DEVICE if work.machine.on_device else _IMAGES_ON_CPU
    together = work.machine.transforms_at_once or max(1, budget // (2 * work.voxel_bytes))
    channels = min(work.channels, together)
    return max(1, min(work.images, _IMAGES_AT_ONCE, together // channels)), channels


def _readouts(work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
    """Return the readouts that are worth having in work together, and the least that are."""
    per_readout = work.sizes.samples
    if isinstance(work.sizes, PairSizes):
        columns = sum(m * n for m, n in zip(work.sizes.rows, work.shape, strict=True))
        if work.sizes.voxel_phase == "frequency":
            columns += 4 * math.prod(work.shape)
        bytes_per_readout = max(per_readout * 8, columns * work.machine.itemsize)
        efficient = 1
    else:
        bytes_per_readout = per_readout * transforms * 8
        gridding, transform = transform_seconds(work, float(per_readout), rates)
        efficient = math.ceil(_TRANSFORMS_A_TILE * transform / gridding)
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
