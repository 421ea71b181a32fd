"""A series that is larger than the device: its unknowns stay on the host, images pass through.

Right-hand side, solver vectors and kernels lie in the host's memory, where the solver works too.
The normal operator is applied on the device to a tile of images at a time, which comes with its
kernels while the tile before is in work. Kernels that all images share stay on the device.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.job import BlockJob
from pipeline.engine.stream import Arrays
from pipeline.pieces import pieces
from pipeline.solvers.normal import Gram

Kernels = Mapping[str, Tensor]


class SeriesOnHost:
    """The normal equations of a series on the host; called, ``x -> G x`` by way of the device.

    Parameters
    ----------
    job
        Its tiles say how many images are on the device together.
    batches
        Shares, one after the other, with the images of the job that they are of; see
        `pipeline.engine.accumulation.on_host`.
    gram_of
        Returns the normal operator of some images, from a share whose kernels are on the device.
    one_kernel
        Whether all images share their kernels, which are those of the first batch.
    """

    def __init__(
        self,
        job: BlockJob,
        batches: Iterable[tuple[range, Share]],
        gram_of: Callable[[range, Share], Gram],
        *,
        one_kernel: bool,
    ) -> None:
        self._job, self._gram_of = job, gram_of
        self._batches: list[tuple[range, Kernels]] = []
        total: Share | None = None
        for images, share in batches:
            if total is None:
                total = _empty(share, len(job.images))
            for name in ("b", "energy", "diagonal"):
                self._of(getattr(total, name), images).copy_(getattr(share, name))
            self._batches.append((images, share.kernels))
            del share
        assert total is not None
        self.share = total
        """Of all images, ``b`` on the host, without kernels."""
        self._resident: Gram | None = None
        if one_kernel:
            shared = self._batches[0][1]
            self._resident = gram_of(job.images, replace(total, kernels=shared))
            self._batches = [(job.images, {})]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply ``G`` to the unknowns of all images, in smaller tiles where memory is short."""
        return self._job.attempt(partial(self._apply, x))

    def _apply(self, x: Tensor) -> Tensor:
        unknowns = x.reshape(self.share.b.shape)
        result = torch.empty_like(unknowns)
        tiles = list(self._tiles())
        order = iter(tiles)
        for arrays in self._job.stream(partial(self._read, unknowns, *tile) for tile in tiles):
            images, kernels = next(order)
            tile, *own = arrays
            del arrays
            gram = self._resident
            if gram is None:
                named = dict(zip(kernels, own, strict=True))
                gram = self._gram_of(images, replace(self.share, kernels=named))
                del named
            self._of(result, images).copy_(gram(tile))
            del tile, own, gram
        return result.reshape(x.shape)

    def _tiles(self) -> Iterator[tuple[range, Kernels]]:
        """Yield images that are on the device together, and the kernels that come with them."""
        for images, kernels in self._batches:
            for part in pieces(len(images), self._job.tiles.images):
                own = {name: kernel[part] for name, kernel in kernels.items()}
                yield images[part], own

    def _read(self, unknowns: Tensor, images: range, kernels: Kernels) -> Arrays:
        tile = self._of(unknowns, images)
        return (tile.numpy(), *(kernel.numpy() for kernel in kernels.values()))

    def _of(self, values: Tensor, images: range) -> Tensor:
        """Return the part of some images of the job."""
        first = self._job.images.start
        return values[images.start - first : images.stop - first]


def _empty(like: Share, images: int) -> Share:
    """Return a share of so many images, yet to be filled."""
    b, energy, diagonal = (
        each.new_empty((images, *each.shape[1:])) for each in (like.b, like.energy, like.diagonal)
    )
    return Share(b, energy, diagonal, {})
