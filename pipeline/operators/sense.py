"""Normal operators of several channels that see one image through a map each [1]_.

References
----------
.. [1] K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger, "Advances in sensitivity encoding with
   arbitrary k-space trajectories", Magn. Reson. Med. 46, 638-651 (2001).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz


class SenseNormal(LinearOperator):
    """``sum_c conj(S_c) G (S_c x)`` with one normal operator ``G`` for all coils.

    Parameters
    ----------
    normal
        ``G`` on ``([frame,] *shape)``: a `Toeplitz`, with which the maps are multiplied inside its
        transforms; or any other operator, such as ``A.H @ Diagonal(weights) @ A`` of a NUFFT, to
        which the coils are passed as a batch.
    maps
        Complex tensor of shape ``(coil, *shape)``.
    coil_batch
        Coils that are done together: more need more memory; chosen by the operator if `None`.

    Notes
    -----
    Maps ``([frame,] *shape)`` to the same; self-adjoint.
    """

    def __init__(self, normal: LinearOperator, maps: Tensor, coil_batch: int | None = None) -> None:
        shape = tuple(maps.shape[1:])
        frames = normal.domain[: -len(shape)]
        if not (normal.domain == normal.codomain == (*frames, *shape) and len(frames) <= 1):
            raise ShapeError(
                f"SenseNormal: found {normal!r} and maps of shape {tuple(maps.shape)}; the "
                "operator must map ([frame,] *shape) to itself, and the maps be (coil, *shape)."
            )
        if maps.dtype != (normal.dtype or maps.dtype):
            raise ShapeError(
                f"SenseNormal: found maps of {maps.dtype}, but the operator is of {normal.dtype}."
            )
        super().__init__(normal.domain, normal.domain, dtype=maps.dtype, device=maps.device)
        self.normal = normal
        self.kernel = getattr(normal, "kernel", None)  # of one coil
        self.maps = maps.detach().resolve_conj().contiguous()
        self.frames = frames
        self.coil_batch = coil_batch

    def _forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.normal, Toeplitz):
            return self._by_batches(x)
        images = x.detach().resolve_conj().resolve_neg().contiguous()
        images = images.reshape(-1, *(self.frames or (1,)), *self.maps.shape[1:])
        result = torch.empty_like(images)
        for image, total in zip(images, result, strict=True):
            self.normal.convolution.combine(image, self.maps, self.coil_batch, out=total)
        return result.reshape(x.shape)

    def _by_batches(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        between = (1,) * (x.ndim - self.maps.ndim + 1)
        for maps in torch.split(self.maps, self.coil_batch or 1):
            batch = maps.reshape(len(maps), *between, *maps.shape[1:])
            images = self.normal._forward(x * batch)
            total += (images * batch.conj()).sum(0)
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


class StreamedSenseNormal(LinearOperator):
    """A `SenseNormal` whose maps come a batch of coils at a time, each time it is applied.

    For maps that are larger than the device: only those of the coils in work are there. `batches`
    returns an iterator over the maps of all coils, complex tensors ``(coil, *shape)`` on the device
    of `normal`.
    """

    def __init__(
        self, normal: LinearOperator, shape: Sequence[int], batches: Callable[[], Iterator[Tensor]]
    ) -> None:
        super().__init__(normal.domain, normal.domain, dtype=normal.dtype, device=normal.device)
        self.normal = normal
        self.kernel = getattr(normal, "kernel", None)  # of one coil
        self.shape = tuple(shape)
        self.batches = batches

    def _forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for maps in self.batches():
            total += SenseNormal(self.normal, maps, len(maps))._forward(x)
            del maps  # before the next ones come
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)
