"""Shares of the normal equations: what a piece of the measurement is reduced to.

A **shard** is a piece of a block's measurements. Each is reduced to its share of ``b = A^H W y``
and of the normal operator; the block is solved from the sum of the shares alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.job import BlockJob, Shard
from pipeline.progress import track
from pipeline.storage.shares import KERNEL, Array


@dataclass(frozen=True)
class Share:
    """A shard's part of the normal equations of a batch of images."""

    b: Tensor
    """complex, ``(image, *unknown)``: ``A^H W y``; for root sums of squares the squared magnitude
    of the coils' images."""
    energy: Tensor
    """float64, ``(image,)``: ``y^H W y``."""
    diagonal: Tensor
    """float64, ``(image,)``: the diagonal of ``A^H W A`` for unit sensitivities."""
    kernels: Mapping[str, Tensor]
    """Spectra of Toeplitz operators by name, real ``(image or 1, *padded)``; none where the
    solver applies forward and adjoint, or nothing is solved."""

    def __add__(self, other: Share) -> Share:
        """Add in place of this share's tensors: kernels of one name add, others stand side by side.

        The sum takes over the memory of ``self``, which is not to be used any more.
        """
        kernels = dict(self.kernels)
        for name, spectrum in other.kernels.items():
            mine = kernels.get(name)
            kernels[name] = spectrum if mine is None else mine.add_(spectrum)
        return Share(
            b=self.b.add_(other.b),
            energy=self.energy.add_(other.energy),
            diagonal=self.diagonal.add_(other.diagonal),
            kernels=kernels,
        )


class Measurement(Protocol):
    """One kind of data, to be summed up as normal equations."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return a shard's share in the normal equations of some images."""


class SeriesMeasurement(Measurement, Protocol):
    """One whose images may be the unknowns of one problem."""

    def share_kernels(self, images: range) -> bool:
        """Tell whether some images have their kernels in common."""


def on_host(
    batches: Iterable[tuple[range, Share]], *, one_kernel: bool
) -> Iterator[tuple[range, Share]]:
    """Move the share of each batch of images to the host before the next one is made.

    Kernels stay on the device if they are the same for all, and what is a number an image.
    """
    for images, share in batches:
        kernels = share.kernels
        if not one_kernel:
            kernels = {name: kernel.cpu() for name, kernel in kernels.items()}
        moved = replace(share, b=share.b.cpu(), kernels=kernels)
        del share, kernels
        yield images, moved
        del moved


def accumulate_shard(job: BlockJob, data: Measurement) -> dict[str, Array]:
    """Return the arrays of the share that the job's row names: its part in the normal equations.

    They are those of `pipeline.storage.shares.write_share`.

    Raises
    ------
    DataError
        If the sums are not finite.
    DeviceError
        If the device has too little memory for the smallest tile.
    """
    shard = job.shard()
    parts: list[Share] = []
    batches = job.batches(lambda batch: data.accumulate(batch, shard))
    if job.row.on_host:
        series = cast(SeriesMeasurement, data)
        batches = on_host(batches, one_kernel=series.share_kernels(job.images))
    with track(f"{job.who}: images", job.row.images) as advance:
        for batch, part in batches:
            parts.append(part)
            advance(len(batch))
    job.record_account()
    arrays = {
        name: np.concatenate([getattr(part, name).cpu().numpy() for part in parts])
        for name in ("b", "energy", "diagonal")
    }
    for name in dict.fromkeys(name for part in parts for name in part.kernels):
        arrays[f"{KERNEL}/{name}"] = _joined_kernels(parts, name)
    for name, values in arrays.items():
        job.check_finite(values, f"`{name}` of the normal equations")
    return arrays


def _joined_kernels(parts: Sequence[Share], name: str) -> Array:
    """Return a kernel of all batches; one alone where all images share it.

    Images may differ in their kernels, as frames of a phase history in their sub-apertures: one
    that an image does not have is zero.
    """
    known = [part.kernels.get(name) for part in parts]
    absent = torch.zeros_like(next(kernel for kernel in known if kernel is not None)[:1])
    kernels = [absent if kernel is None else kernel for kernel in known]
    if all(kernel is kernels[0] for kernel in kernels):
        return kernels[0].cpu().numpy()
    return np.concatenate(
        [
            kernel.expand(len(part.energy), *kernel.shape[1:]).cpu().numpy()
            for part, kernel in zip(parts, kernels, strict=True)
        ]
    )
