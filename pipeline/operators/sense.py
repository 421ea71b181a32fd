"""Normal operators of several channels that see one image through a map each [1]_.

References
----------
.. [1] K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger, "Advances in sensitivity encoding with
   arbitrary k-space trajectories", Magn. Reson. Med. 46, 638-651 (2001).
.. [2] M. Uecker, P. Lai, M. J. Murphy, P. Virtue, M. Elad, J. M. Pauly, S. S. Vasanawala,
   M. Lustig, "ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI: where SENSE meets
   GRAPPA", Magn. Reson. Med. 71, 990-1001 (2014).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz
from pipeline.pieces import pieces


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


class SoftSenseNormal(LinearOperator):
    """``sum_c conj(S_sc) G (sum_t S_tc x_t)``: several sets of maps, each with its own image [2]_.

    Parameters
    ----------
    normal
        ``G``, as of `SenseNormal`.
    sets
        Maps of each set, complex tensors of shape ``(coil, *shape)``.
    coil_batch
        Coils that are done together; chosen by the operator if `None`.

    Notes
    -----
    Maps ``([frame,] set, *shape)`` to the same; self-adjoint.
    """

    def __init__(
        self, normal: LinearOperator, sets: Sequence[Tensor], coil_batch: int | None = None
    ) -> None:
        shape = tuple(sets[0].shape[1:])
        domain = stacked_domain(normal, shape, len(sets))
        super().__init__(domain, domain, dtype=normal.dtype, device=normal.device)
        self.normal, self.sets = normal, [maps.detach() for maps in sets]
        if coil_batch is None and isinstance(normal, Toeplitz):
            coil_batch = normal.convolution.tiling.coils_at_once(len(sets[0]))
        self.coil_batch = coil_batch or 1
        self._axis = -len(shape) - 1

    def _forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        images, sums = x.unbind(self._axis), total.unbind(self._axis)
        between = (1,) * (images[0].ndim - self.sets[0].ndim + 1)
        for coils in pieces(len(self.sets[0]), self.coil_batch):
            maps = [each[coils] for each in self.sets]
            maps = [each.reshape(len(each), *between, *each.shape[1:]) for each in maps]
            seen = images[0] * maps[0]
            for image, each in zip(images[1:], maps[1:], strict=True):
                seen += image * each
            seen = self.normal._forward(seen)
            for target, each in zip(sums, maps, strict=True):
                target.add_((seen * each.conj()).sum(0))
            del seen
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


def stacked_domain(normal: LinearOperator, shape: Sequence[int], sets: int) -> tuple[int, ...]:
    """Return the shape of images of so many sets, ``([frame,] [set,] *shape)``."""
    frames = normal.domain[: -len(shape)]
    return (*frames, *((sets,) if sets > 1 else ()), *shape)


def sense_normal(
    normal: LinearOperator, sets: Sequence[Tensor], coil_batch: int | None = None
) -> LinearOperator:
    """Return the normal operator of one set of maps, or of several."""
    if len(sets) == 1:
        return SenseNormal(normal, sets[0], coil_batch)
    return SoftSenseNormal(normal, sets, coil_batch)


class StreamedSenseNormal(LinearOperator):
    """`sense_normal` with maps that come a batch of coils at a time, each time it is applied.

    For maps that are larger than the device: only those of the coils in work are there. `batches`
    returns an iterator over the maps of all coils, of each of the ``sets`` a complex tensor
    ``(coil, *shape)`` on the device of `normal`.
    """

    def __init__(
        self,
        normal: LinearOperator,
        shape: Sequence[int],
        batches: Callable[[], Iterator[Sequence[Tensor]]],
        sets: int = 1,
    ) -> None:
        domain = stacked_domain(normal, shape, sets)
        super().__init__(domain, domain, dtype=normal.dtype, device=normal.device)
        self.normal = normal
        self.kernel = getattr(normal, "kernel", None)  # of one coil
        self.shape = tuple(shape)
        self.batches = batches

    def _forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for maps in self.batches():
            total += sense_normal(self.normal, maps, len(maps[0]))._forward(x)
            del maps  # before the next ones come
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)
