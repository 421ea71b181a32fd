"""What a job does, as far as it decides memory and time: sizes, settings and tiles."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from pipeline.config.reconstruction import ADJOINT_ALGORITHMS, ReconstructionSettings
from pipeline.config.transforms import TransformChoice
from pipeline.operators.convolution import Tiling
from pipeline.operators.nufft import choose_backend
from pipeline.operators.nufft_backends import Backend, choose_oversampling, per_axis
from pipeline.operators.toeplitz import padded_shape
from pipeline.rf.model.normal_costs import NormalForm, VoxelPhase
from pipeline.rf.model.pair_choice import PairLevel, voxel_phase_of


@dataclass(frozen=True)
class MriSizes:
    """Sizes of an MRI acquisition."""

    coils: int
    readouts: int
    """Readouts of one image, all frames that it joins."""
    samples: int
    """Samples of one readout."""
    shared_trajectory: bool
    """Whether all images have the same samples."""
    maps: bool
    """Whether there are coil maps."""
    resident: bool = True
    """Whether the maps of all coils stay where the job computes; else they stream."""

    @property
    def channels(self) -> int:
        """Coils."""
        return self.coils

    @property
    def squares(self) -> bool:
        """Whether coils are combined by their root sum of squares."""
        return self.coils > 1 and not self.maps

    @property
    def bytes_per_image(self) -> int:
        """Bytes of the measurement of one image as it is stored."""
        return 8 * self.coils * self.readouts * self.samples


@dataclass(frozen=True)
class PairSizes:
    """Sizes of RF data from pairs of antenna arrays."""

    pairs: int
    readouts: int
    """Frequencies."""
    rows: tuple[int, ...]
    """Rows of the Kronecker factor of each axis, of the largest pair."""
    level: PairLevel
    """Model of the wavefronts."""
    form: NormalForm
    """How the normal operator runs."""
    resident: bool = False
    """Whether the factors of all pairs and frequencies stay where the job computes."""
    reads_factors: bool = False
    """Whether factors are read, rather than made from positions."""

    @property
    def voxel_phase(self) -> VoxelPhase:
        """What the image is multiplied by before the factors."""
        return voxel_phase_of(self.level)

    @property
    def phased(self) -> bool:
        """Whether there is a voxel phase."""
        return self.voxel_phase != "none"

    @property
    def narrowband(self) -> bool:
        """Whether the frequencies are the rows of the last factor."""
        return self.level == "N"

    @property
    def channels(self) -> int:
        """Pairs."""
        return self.pairs

    @property
    def samples(self) -> int:
        """Samples of one pair at one frequency."""
        return math.prod(self.rows)

    @property
    def bytes_per_image(self) -> int:
        """Bytes of the measurement of one image as it is stored."""
        return 8 * self.pairs * self.readouts * self.samples


@dataclass(frozen=True)
class PhaseHistorySizes:
    """Sizes of an RF phase history."""

    readouts: int
    """Pulses."""
    samples: int
    """Frequencies of one pulse."""
    apertures: int
    """Sub-apertures, each with a voxel phase and a kernel of its own."""
    aperture_samples: int
    """Samples of the largest sub-aperture."""
    channels: int = 1

    @property
    def bytes_per_image(self) -> int:
        """Bytes of the measurement of one image as it is stored."""
        return 8 * self.readouts * self.samples


Sizes = MriSizes | PairSizes | PhaseHistorySizes


@dataclass(frozen=True)
class Machine:
    """What a job computes with, and how exactly."""

    on_device: bool
    """Whether a CUDA device computes, with memory of its own."""
    threads: int
    itemsize: int
    """Bytes of a complex number: 8 or 16."""
    backend: str
    """Library of the NUFFT, or ``auto``."""
    tolerance: float
    """Relative error allowed in each transform."""
    deterministic: bool = False
    choice: TransformChoice = field(default_factory=TransformChoice)
    """How transforms of images are computed, where that was measured or is insisted on."""
    transforms_at_once: int | None = None
    """Transforms that were found to be best done together."""

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of the job."""
        return torch.complex64 if self.itemsize == 8 else torch.complex128

    @property
    def asked(self) -> float:
        """What the library of image transforms is asked for."""
        return self.choice.tolerance or self.tolerance

    def image_library(self, shape: tuple[int, ...]) -> Backend:
        """Return the library that transforms images, not kernels."""
        if self.choice.backend == "auto":
            return self.library(shape, self.asked, self.dtype)
        return replace(self, backend=self.choice.backend).library(shape, self.asked, self.dtype)

    def image_oversampling(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Return the oversampling of each axis in transforms of images."""
        chosen = self.choice.oversampling
        if chosen is None:
            library = self.image_library(shape)
            chosen = choose_oversampling(library, self.asked, self.dtype, len(shape))
        return per_axis(chosen, len(shape))

    def product_tiling(self, shape: tuple[int, ...]) -> Tiling:
        """Return the pieces in which a Toeplitz product is computed."""
        return Tiling(
            shape,
            padded_shape(shape),
            self.itemsize,
            host=not self.on_device and self.choice.fft != "torch",
            piece_bytes=self.choice.piece_bytes,
        )

    def library(self, shape: tuple[int, ...], tolerance: float, dtype: torch.dtype) -> Backend:
        """Return the library that computes NUFFTs of this shape and tolerance.

        That of a device need not be installed where the plan is made.
        """
        if self.on_device and self.backend in ("auto", "cufinufft") and not self.deterministic:
            return "cufinufft"
        return choose_backend(
            shape,
            torch.device("cuda" if self.on_device else "cpu"),
            self.backend,
            tolerance=tolerance,
            dtype=dtype,
            deterministic=self.deterministic,
        )


@dataclass(frozen=True)
class Work:
    """One job.

    Attributes
    ----------
    shape
        Image matrix.
    settings
        How to reconstruct.
    sizes
        Of the whole measurement of one image.
    machine
        What computes.
    stage
        ``reconstruct`` reads the measurement and solves; ``accumulate`` reads a shard and writes
        its share; ``sum`` reads the shares of all shards and solves.
    images, channels, readouts
        What the job covers.
    image_batch, channel_batch, readout_batch
        What is in work at one moment.
    makes_kernel
        Whether the job accounts for what all channels share.
    shards
        Shares that are summed; 1 where the measurement is read by the job that solves.
    """

    shape: tuple[int, ...]
    settings: ReconstructionSettings
    sizes: Sizes
    machine: Machine
    images: int
    channels: int
    readouts: int
    image_batch: int = 1
    channel_batch: int = 1
    readout_batch: int = 1
    stage: Literal["reconstruct", "accumulate", "sum"] = "reconstruct"
    makes_kernel: bool = True
    shards: int = 1

    @property
    def solves(self) -> bool:
        """Whether the algorithm solves equations, rather than apply the adjoint only."""
        return self.settings.algorithm not in ADJOINT_ALGORITHMS

    @property
    def toeplitz(self) -> bool:
        """Whether the normal operator is a convolution."""
        if isinstance(self.sizes, MriSizes):
            return self.solves and self.settings.normal != "explicit"
        factors = isinstance(self.sizes, PairSizes) and self.sizes.form == "factors"
        return self.solves and not factors

    @property
    def unknowns(self) -> int:
        """Images that are solved for in place of one: one a pair unless pairs are coherent."""
        apart = isinstance(self.sizes, PairSizes) and self.settings.fusion != "coherent"
        return self.sizes.channels if apart else 1

    @property
    def voxel_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape) * self.machine.itemsize

    @property
    def tile_samples(self) -> int:
        """Samples of one channel of one image that are in work at one moment."""
        if isinstance(self.sizes, PhaseHistorySizes):
            whole = self.readout_batch * self.sizes.samples
            return min(whole, self.sizes.aperture_samples)
        return self.readout_batch * self.sizes.samples

    @property
    def kernels(self) -> int:
        """Kernels that are held at one moment, of one image batch."""
        sizes = self.sizes
        if not self.toeplitz:
            return 0
        if isinstance(sizes, MriSizes):
            return 1 if sizes.shared_trajectory else self.image_batch
        if isinstance(sizes, PairSizes):
            return 1 if sizes.form == "collapsed" else self.channels
        return sizes.apertures
