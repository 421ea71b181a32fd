"""What a job does, as far as it decides memory and time: model, settings and tiles."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates

if TYPE_CHECKING:
    from pipeline.algorithms.base import AlgorithmSettings

Parts = Mapping[str, int]
"""Bytes by what they are for."""

STORED_NUMBER = 8
"""Measurements are stored as complex64."""


class ModelCosts(ABC):
    """A forward model as a plan sees it: sizes of the measurement of one image, bytes and seconds.

    Each kind of data supplies its own, beside the code that it predicts. The engine adds up.
    """

    channels: int
    """Coils, pairs of antenna arrays, or one."""
    readouts: int
    """Of one channel of one image: what tiles and shards are ranges of."""
    samples: int
    """Of one readout."""

    batches = False
    """Whether several images and channels may be in work at one moment."""
    images_together: int | None = None
    """Images that share what is held, such as coil maps: a block is of no others."""
    on_grid: bool = False
    """Whether all samples lie on the image's own grid of frequencies."""
    kernel_of_first_channel = False
    """Whether the kernel is the same for all channels, so that one shard makes it for the rest."""

    @property
    def cuts_readouts(self) -> bool:
        """Whether a shard may be a range of readouts, rather than of channels alone."""
        return True

    @property
    def toeplitz(self) -> bool:
        """Whether the normal operator is a convolution with kernels."""
        return True

    @property
    def unknowns(self) -> int:
        """Images that are solved for in place of one."""
        return 1

    @property
    def bytes_per_image(self) -> int:
        """Bytes of the measurement of one image as it is stored."""
        return STORED_NUMBER * self.channels * self.readouts * self.samples

    @property
    def most_shards(self) -> int:
        """Shards that a block is worth being cut into, at most."""
        return self.channels * (self.readouts if self.cuts_readouts else 1)

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        return {}

    @abstractmethod
    def __str__(self) -> str:
        """Return the sizes for a person, such as ``8 coils of 512,000 samples``."""

    @abstractmethod
    def kernels(self, work: Work) -> int:
        """Return the kernels of one image batch of a job."""

    def tile_samples(self, work: Work) -> int:
        """Return the samples of one channel of one image that are in work at one moment."""
        return work.readout_batch * self.samples

    @abstractmethod
    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one readout in a tile, and the fewest readouts that pay.

        ``transforms`` are the images times channels of a tile.
        """

    def held(self, work: Work) -> Parts:
        """Return what stays where the job computes, from its beginning to its end."""
        return {}

    def position_bytes(self, work: Work) -> int:
        """Return the bytes that are read with the samples of a tile, on the way to a device."""
        return 0

    @abstractmethod
    def accumulate(self, work: Work) -> list[Parts]:
        """Return what each phase needs while tiles are summed, besides sums and what is held."""

    @abstractmethod
    def normal(self, work: Work) -> Parts:
        """Return what the normal operator needs while equations are solved."""

    def resting(self, work: Work) -> Parts:
        """Return what the normal operator holds from one application to the next."""
        return self.normal(work)

    @abstractmethod
    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""

    @abstractmethod
    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""

    def streamed(self) -> Self:
        """Return the model run in the least memory that any shard may choose for itself."""
        return self

    def other_settings(self, work: Work) -> Iterator[Iterable[tuple[str, Work]]]:
        """Yield settings that need less memory: of each group the first that fits is advised."""
        yield from ()


@dataclass(frozen=True)
class Work:
    """One job: what it covers, and the batches that are in work at one moment."""

    shape: tuple[int, ...]
    """Image matrix."""
    settings: AlgorithmSettings
    model: ModelCosts
    """Of the whole measurement of one image."""
    machine: Machine
    images: int
    channels: int
    readouts: int
    image_batch: int = 1
    channel_batch: int = 1
    readout_batch: int = 1
    stage: Literal["reconstruct", "accumulate", "sum"] = "reconstruct"
    """``reconstruct`` reads the measurement and solves; ``accumulate`` reads a shard and writes
    its share; ``sum`` reads the shares of all shards and solves."""
    makes_kernel: bool = True
    """Whether the job accounts for what all channels share."""
    outputs: int = 1
    """Images that are written for each one that is measured."""
    on_host: bool = False
    """Whether unknowns and solver vectors stay on the host, and images pass through the device."""
    shards: int = 1
    """Shares that are summed; 1 where the measurement is read by the job that solves."""

    @classmethod
    def whole(
        cls,
        shape: tuple[int, ...],
        settings: AlgorithmSettings,
        model: ModelCosts,
        machine: Machine,
        images: int,
    ) -> Self:
        """Return all images as one job, in the smallest tiles."""
        channels, readouts = model.channels, model.readouts
        return cls(shape, settings, model, machine, images, channels, readouts)

    @property
    def joint(self) -> bool:
        """Whether all images are in work together, as one problem."""
        return self.settings.joins_images

    @property
    def together(self) -> bool:
        """Whether all images have to be where the job computes at one moment."""
        return self.joint and not self.on_host

    @property
    def may_stay_on_host(self) -> bool:
        """Whether the normal operator can be applied to some images of a series at a time."""
        settings = self.settings
        apart = self.toeplitz and not (settings.single_kernel or settings.uses_spectrum)
        return self.joint and self.machine.on_device and apart

    @property
    def result_bytes(self) -> int:
        """Bytes of the images that are written."""
        return self.images * self.outputs * self.voxel_bytes

    @property
    def toeplitz(self) -> bool:
        """Whether equations are solved whose normal operator is a convolution."""
        return self.settings.solves and self.model.toeplitz

    @property
    def makes_kernels(self) -> bool:
        """Whether the job makes kernels from the samples that it reads."""
        return self.toeplitz and self.makes_kernel

    @property
    def kernels(self) -> int:
        """Kernels that are held at one moment, of one image batch."""
        return self.model.kernels(self) if self.toeplitz else 0

    @property
    def voxel_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape) * self.machine.itemsize

    @property
    def unknown_bytes(self) -> int:
        """Bytes of all that is solved for in place of one image."""
        return self.model.unknowns * self.voxel_bytes

    @property
    def tile_samples(self) -> int:
        """Samples of one channel of one image that are in work at one moment."""
        return self.model.tile_samples(self)

    @property
    def tile_bytes(self) -> int:
        """Bytes of the samples of one tile as they are read."""
        return self.image_batch * self.channel_batch * self.tile_samples * STORED_NUMBER
