"""Few wavelet details: images that are smooth but for some edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import NoiseRule


class WaveletSparsity(Penalty):
    """``weight * sum |details of W x|``, ``W`` an orthonormal wavelet transform.

    The coarse approximation, of a sixteenth of the voxels an axis, is left as it is.

    From its second call on `proximal` shifts the image before it is transformed, each time by
    other numbers of voxels [1]_, so that the borders of wavelets fall everywhere and none is seen:
    over many calls the weight is on the mean of ``R`` over all shifts. It returns the mean over two
    shifts, half a period of the coarsest wavelets and a voxel apart, which the next step follows
    with less noise. The shifts are random, and the same in every solve. `value` and ADMM know the
    transform without a shift.

    References
    ----------
    .. [1] M. Guerquin-Kern, M. Häberlin, K. P. Pruessmann, M. Unser, "A fast wavelet-based
       reconstruction method for magnetic resonance imaging", IEEE Trans. Med. Imaging 30, 1649-1660
       (2011).
    """

    identity = False
    restless = True

    @staticmethod
    def usual_weight(axes: int) -> NoiseRule:
        """Return a part of what noise alone seldom exceeds: images have detail below it."""
        return "noise/3"

    @staticmethod
    def shrink_images() -> float:
        """Return what one level is made of, and shifted voxels."""
        return 2.0

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return what one shift left, and of the other the image, coefficients and a level."""
        return 5.0

    @staticmethod
    def split_images(axes: int) -> float:
        """Return the coefficients, and what one level is made of."""
        return 4.5

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return wavelet coefficients, in the shape of the image."""
        from pipeline.solvers.wavelets import wavelets

        return wavelets(x, len(self.axes))

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the image of coefficients."""
        from pipeline.solvers.wavelets import wavelets_adjoint

        return wavelets_adjoint(u, len(self.axes))

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy: the transform is orthonormal."""
        return x.clone()

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        magnitudes = self.transform(x).abs()
        self._coarse(magnitudes).zero_()
        return self._sum(magnitudes, self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the details."""
        from pipeline.solvers.proximal import soft_threshold_

        coarse = self._coarse(u).clone()
        soft_threshold_(u, self._threshold(u, step, self.image_axes))
        self._coarse(u).copy_(coarse)
        return u

    def proximal(
        self, x: torch.Tensor, step: torch.Tensor, kept: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Shorten the details of the image at two shifts; keeps how often it was called."""
        import torch

        from pipeline.solvers.wavelets import coarse_boxes

        calls = int(kept.get("calls", 0))
        kept["calls"] = torch.tensor(calls + 1)
        if not calls:
            return self._shrunk(x, [0] * len(self.axes), step)
        shape = x.shape[x.ndim - len(self.axes) :]
        periods = [
            size // coarse for size, coarse in zip(shape, coarse_boxes(shape)[-1], strict=True)
        ]
        generator = torch.Generator().manual_seed(calls)
        first = [int(torch.randint(period, (), generator=generator)) for period in periods]
        # Half a period alone would leave the finest wavelets where they are.
        second = [by + (period // 2 | 1) for by, period in zip(first, periods, strict=True)]
        return self._shrunk(x, first, step).add_(self._shrunk(x, second, step)).mul_(0.5)

    def _shrunk(self, x: torch.Tensor, shift: list[int], step: torch.Tensor) -> torch.Tensor:
        u = self.shrink_(self.transform(x.roll(shift, self.axes)), step)
        return self.transform_adjoint(u).roll([-by for by in shift], self.axes)

    def _coarse(self, u: torch.Tensor) -> torch.Tensor:
        from pipeline.solvers.wavelets import coarse_boxes

        box = coarse_boxes(u.shape[u.ndim - len(self.axes) :])[-1]
        for axis, size in zip(self.axes, box, strict=True):
            u = u.narrow(axis, 0, size)
        return u


PENALTY = WaveletSparsity
