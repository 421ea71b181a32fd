"""Few wavelet details: images that are smooth but for some edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch


class WaveletSparsity(Penalty):
    """``weight * sum |details of W x|``, ``W`` an orthonormal wavelet transform.

    The coarse approximation, of a sixteenth of the voxels an axis, is left as it is.

    From its second call on `proximal` shifts the image before it is transformed, each time by
    other numbers of voxels [1]_, so that the borders of wavelets fall everywhere and none is seen:
    over many calls the weight is on the mean of ``R`` over all shifts. The shifts are random, and
    the same in every solve. `value` and ADMM know the transform without a shift.

    References
    ----------
    .. [1] M. Guerquin-Kern, M. Häberlin, K. P. Pruessmann, M. Unser, "A fast wavelet-based
       reconstruction method for magnetic resonance imaging", IEEE Trans. Med. Imaging 30, 1649-1660
       (2011).
    """

    identity = False
    usual_weight = "noise/3"

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return the coefficients, and what one level is made of."""
        return 3.0

    split_images = proximal_images

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
        """Shorten the details of the shifted image; keeps how often it was called."""
        import torch

        from pipeline.solvers.wavelets import coarse_boxes

        calls = int(kept.get("calls", 0))
        kept["calls"] = torch.tensor(calls + 1)
        shape = x.shape[x.ndim - len(self.axes) :]
        generator = torch.Generator().manual_seed(calls)
        shift = [
            int(torch.randint(size // coarse, (), generator=generator)) if calls else 0
            for size, coarse in zip(shape, coarse_boxes(shape)[-1], strict=True)
        ]
        u = self.shrink_(self.transform(x.roll(shift, self.axes)), step)
        return self.transform_adjoint(u).roll([-by for by in shift], self.axes)

    def _coarse(self, u: torch.Tensor) -> torch.Tensor:
        from pipeline.solvers.wavelets import coarse_boxes

        box = coarse_boxes(u.shape[u.ndim - len(self.axes) :])[-1]
        for axis, size in zip(self.axes, box, strict=True):
            u = u.narrow(axis, 0, size)
        return u


PENALTY = WaveletSparsity
