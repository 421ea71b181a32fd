"""Images of a series that are sums of few, different ones in each block of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import Weight


class LocalLowRank(Penalty):
    """``weight * sum_blocks |X_block|_*``: the nuclear norms of blocks of a series [1]_ [2]_.

    The matrix of a block has a row for each voxel and a column for each image of the series, the
    first of the image axes. From its second call on `proximal` shifts the blocks, each time by
    other numbers of voxels, so that their borders are not seen: over many calls the weight is on
    the mean over all shifts. The shifts are random, and the same in every solve. `value` and ADMM
    know the blocks without a shift. At the border of the image the blocks go on at the other side.

    References
    ----------
    .. [1] J. D. Trzasko, A. Manduca, "Local versus global low-rank promotion in dynamic MRI series
       reconstruction", Proc. ISMRM 19, 4371 (2011).
    .. [2] T. Zhang, J. M. Pauly, I. R. Levesque, "Accelerating parameter mapping with a locally low
       rank constraint", Magn. Reson. Med. 73, 655-661 (2015).
    """

    joins = True
    restless = True
    directions = ()
    block = 8
    """Voxels of a block along each axis of the image; axes that are shorter are taken whole."""

    def __init__(self, weight: Weight, image_axes: int, axes: Sequence[int] | None = None) -> None:
        super().__init__(weight, image_axes, axes)
        if image_axes < 2:
            raise ConfigError(
                f"LocalLowRank: found image_axes {image_axes}, but the first of them is the "
                "series', so there must be 2 or more."
            )

    @staticmethod
    def shrink_images() -> float:
        """Return the blocks, in double precision where they are decomposed, and what is left."""
        return 3.5

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return the shifted images, as blocks, and the blocks that are left of them."""
        return 4.0

    split_images = proximal_images

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        blocks = self._blocks(x)
        squares = _eigenvalues(blocks)[0]
        return self._sum(squares.clamp(min=0).sqrt().unsqueeze(-1), 3)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the singular values of every block."""
        import torch

        blocks = self._blocks(u)
        squares, vectors = _eigenvalues(blocks)
        sizes = squares.clamp(min=0).sqrt()
        threshold = self._threshold(sizes, step.double(), 2)
        left = torch.where(sizes > 0, (1 - threshold / sizes).clamp(min=0), 0.0)
        kept = (vectors * left.unsqueeze(-2)) @ vectors.mH
        return u.copy_(self._images(blocks @ kept.to(blocks.dtype), u))

    def proximal(
        self, x: torch.Tensor, step: torch.Tensor, kept: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Shorten the singular values of shifted blocks; keeps how often it was called."""
        import torch

        calls = int(kept.get("calls", 0))
        kept["calls"] = torch.tensor(calls + 1)
        generator = torch.Generator().manual_seed(calls)
        shift = [
            int(torch.randint(size, (), generator=generator)) if calls else 0
            for size in self._box(x)
        ]
        axes = tuple(range(1 - self.image_axes, 0))
        moved = self.shrink_(x.roll(shift, axes), step)
        return moved.roll([-by for by in shift], axes)

    def _box(self, x: torch.Tensor) -> list[int]:
        return [min(self.block, size) for size in x.shape[x.ndim - self.image_axes + 1 :]]

    def _blocks(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(*problems, block, voxel, image)``, padded with zeros to whole blocks."""
        import torch

        box = self._box(x)
        lead, (series, *shape) = x.shape[: x.ndim - self.image_axes], x.shape[-self.image_axes :]
        lacking = [-size % edge for size, edge in zip(shape, box, strict=True)]
        padding = [each for size in reversed(lacking) for each in (0, size)]
        padded = torch.nn.functional.pad(x, padding) if any(lacking) else x
        cut = [(size + more) // edge for size, more, edge in zip(shape, lacking, box, strict=True)]
        sizes = [each for pair in zip(cut, box, strict=True) for each in pair]
        cells = padded.reshape(-1, series, *sizes)
        inner = range(2, cells.ndim)
        cells = cells.permute(0, *inner[::2], *inner[1::2], 1)
        voxels = 1
        for edge in box:
            voxels *= edge
        return cells.reshape(*lead, -1, voxels, series)

    def _images(self, blocks: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Put blocks back in the place of the images that they were cut from."""
        box = self._box(like)
        series, *shape = like.shape[-self.image_axes :]
        cut = [-(-size // edge) for size, edge in zip(shape, box, strict=True)]
        axes = len(box)
        cells = blocks.reshape(-1, *cut, *box, series)
        order = [each for axis in range(axes) for each in (1 + axis, 1 + axes + axis)]
        whole = cells.permute(0, 2 * axes + 1, *order)
        padded = whole.reshape(-1, series, *(n * edge for n, edge in zip(cut, box, strict=True)))
        for axis, size in enumerate(shape, start=2):
            padded = padded.narrow(axis, 0, size)
        return padded.reshape(like.shape)


def _eigenvalues(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return those of ``X^H X``, the squares of singular values, and the eigenvectors, in double.

    There are few images in a series: a matrix of their size is decomposed in place of the block.
    """
    import torch

    double = blocks.to(torch.complex128)
    found: tuple[torch.Tensor, torch.Tensor] = torch.linalg.eigh(double.mH @ double)
    return found


PENALTY = LocalLowRank
