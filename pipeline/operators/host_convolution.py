"""Convolutions on the CPU: workers of one thread each transform pieces that fit their caches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.operators.convolution import Convolution, Matrix, mixed_
from pipeline.operators.fourier import Library, host_fft
from pipeline.operators.threads import share
from pipeline.operators.tiling import APART, Tiling
from pipeline.pieces import pieces

Reals = NDArray[np.floating]

_SUMMED = 2**14
"""Voxels of a frame over which coils are added in one task, where nothing is transformed."""


@dataclass
class _Buffers:
    """Memory of one application, kept for the next."""

    t: NDArray[Any]
    columns: list[NDArray[Any]]
    conjugates: list[NDArray[Any]]
    slabs: list[NDArray[Any]]


class HostConvolution(Convolution):
    """Convolutions with ducc0 or SciPy, in place.

    Images that fit a cache are convolved one after the other, of others a piece is transformed.
    Results do not depend on the number of workers, `threads`.
    """

    _in_place: ClassVar[bool] = True

    def __init__(self, spectrum: Tensor, tiling: Tiling, *, library: Library, threads: int) -> None:
        super().__init__(spectrum, tiling)
        self._transform = partial(host_fft, library=library)
        self._threads = threads
        self._complex = self.spectrum.dtype.to_complex()
        # Fresh pages cost a tenth of an application, so buffers stay. A list, because two threads
        # may apply the operator at the same time.
        self._idle: list[_Buffers] = []

    def _convolve(
        self,
        frames: slice,
        source: Tensor,
        maps: Tensor | None,
        target: Tensor,
        matrix: Matrix | None = None,
    ) -> None:
        tiling, size = self.tiling, self.shape[0]
        x, y = source.numpy(), target.numpy()
        s = None if maps is None else maps.numpy()
        coils = x.shape[1] if s is None else len(s)
        images = len(x) * coils
        buffers = self._take(images)
        t = buffers.t[:images, :, : tiling.row]
        columns, planes = pieces(tiling.row, tiling.columns()), pieces(len(t[0]), tiling.planes())
        spectra = self.spectrum.numpy()

        def spread(image: int, some: slice, worker: int) -> None:
            frame, coil = divmod(image, coils)
            voxels = x[frame, 0 if s is not None else coil, :, some]
            buffer = buffers.columns[worker][:, : some.stop - some.start]
            self._columns(
                voxels, None if s is None else s[coil, :, some], t[image, :, some], buffer
            )

        def multiply(image: int, some: slice, worker: int) -> None:
            rows = t[image, some].reshape(-1, *self.shape[1:])
            self._planes(rows, spectra[frames.start + image // coils, some], buffers.slabs[worker])

        def back(image: int, some: slice, worker: int) -> NDArray[Any]:
            buffer = buffers.columns[worker][:, : some.stop - some.start]
            return self._columns_back(t[image, :, some], buffer)[:size]

        def gather(frame: int, some: slice, worker: int, *, transformed: bool) -> None:
            conjugate = buffers.conjugates[worker][:, : some.stop - some.start]
            for coil in range(coils):  # always in this order, so that the sum repeats bit by bit
                image = frame * coils + coil
                found = t[image, :size, some] if transformed else back(image, some, worker)
                if s is None:
                    y[frame, coil, :, some] = found
                    continue
                np.conjugate(s[coil, :, some], out=conjugate)
                conjugate *= found
                y[frame, 0, :, some] += conjugate

        def whole(image: int, worker: int) -> None:
            for some in columns:
                spread(image, some, worker)
            for some in planes:
                multiply(image, some, worker)
            for some in columns:
                t[image, :size, some] = back(image, some, worker)

        def each(work: Any, tasks: int, parts: Sequence[slice]) -> None:
            def task(number: int, worker: int) -> None:
                one, part = divmod(number, len(parts))
                work(one, parts[part], worker)

            share(tasks * len(parts), task, self._threads)

        small = tiling.image_bytes <= 2 * tiling.budget and matrix is None
        if small:
            share(images, whole, self._threads)
            columns = pieces(tiling.row, min(tiling.columns(), max(16, _SUMMED // size)))
        else:
            each(spread, images, columns)
            if matrix is None:
                each(multiply, images, planes)
            else:
                self._mix(t, [spectrum.numpy() for spectrum in matrix])
        each(partial(gather, transformed=small), len(x), columns)
        self._idle.append(buffers)

    def _columns(
        self,
        voxels: NDArray[Any],
        maps: NDArray[Any] | None,
        out: NDArray[Any],
        buffer: NDArray[Any],
    ) -> None:
        """Multiply columns with those of a map, pad and transform them into `out`."""
        size = len(voxels)
        if maps is None:
            buffer[:size] = voxels
        else:
            np.multiply(voxels, maps, out=buffer[:size])
        buffer[size:] = 0
        self._transform(buffer, (0,), out=out)

    def _columns_back(self, columns: NDArray[Any], buffer: NDArray[Any]) -> NDArray[Any]:
        """Return columns transformed back, maybe in `buffer`."""
        self._transform(columns, (0,), out=buffer, inverse=True)
        return buffer

    def _planes(self, planes: NDArray[Any], spectrum: NDArray[Any], slab: NDArray[Any]) -> None:
        """Multiply the transforms of some planes with a spectrum."""
        padded = self._forward_planes(planes, slab[: len(planes)])
        padded *= spectrum
        self._inverse_planes(padded, planes)

    def _mix(self, t: NDArray[Any], matrix: Sequence[NDArray[Any]]) -> None:
        """Multiply the transforms of all terms with the matrix of spectra; see `mix`."""
        plane_pieces = pieces(self.tiling.padded[0], self.tiling.planes(2 * len(t)))

        def work(task: int, _: int) -> None:
            terms = t[:, plane_pieces[task]].reshape(len(t), -1, *self.shape[1:])
            padded = np.empty((*terms.shape[:2], *self.tiling.padded[1:]), terms.dtype)
            parts = np.empty((2, *padded.shape), self.spectrum.numpy().dtype)
            for term, (planes, slab) in enumerate(zip(terms, padded, strict=True)):
                found = self._forward_planes(planes, slab)
                parts[0, term], parts[1, term] = found.real, found.imag
            out = np.empty_like(parts)
            spectra = [each[plane_pieces[task]] for each in matrix]
            product = np.empty_like(parts[0, 0])

            def add(total: Reals, one: Reals, other: Reals, sign: int) -> None:
                np.multiply(one, other, out=product)
                (np.add if sign > 0 else np.subtract)(total, product, out=total)

            mixed_(spectra, parts, out, add)
            padded.real, padded.imag = out
            for planes, slab in zip(terms, padded, strict=True):
                self._inverse_planes(slab, planes)

        share(len(plane_pieces), work, self._threads)

    def _forward_planes(self, planes: NDArray[Any], padded: NDArray[Any]) -> NDArray[Any]:
        """Return planes padded and transformed over the inner axes, maybe in `padded`."""
        padded[(slice(None), *(slice(n) for n in self.shape[1:]))] = planes
        for axis, region in self._regions(padded):
            region[(slice(None),) * axis + (slice(self.shape[axis], None),)] = 0
            self._transform(region, (axis,), out=region)
        return padded

    def _inverse_planes(self, padded: NDArray[Any], planes: NDArray[Any]) -> None:
        """Transform back, and crop."""
        for axis, region in reversed(self._regions(padded)):
            self._transform(region, (axis,), out=region, inverse=True)
        planes[...] = padded[(slice(None), *(slice(n) for n in self.shape[1:]))]

    def _regions(self, padded: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
        """Return what is transformed along each axis, while those that follow are not padded."""
        return [
            (
                axis,
                padded[
                    (slice(None),) * (axis + 1) + tuple(slice(n) for n in self.shape[axis + 1 :])
                ],
            )
            for axis in range(1, len(self.shape))
        ]

    def _take(self, images: int) -> _Buffers:
        buffers = self._idle.pop() if self._idle else None
        if buffers is not None and len(buffers.t) >= images:
            return buffers
        tiling, workers = self.tiling, range(self._threads)
        length, size, columns = tiling.padded[0], self.shape[0], tiling.columns()
        *rows, row = tiling.padded[1:]
        slab = (tiling.planes() if self._in_place else 0, *rows, row + APART)

        def empty(*shape: int) -> NDArray[Any]:
            # Aligned as torch does it: MKL's last bits depend on where numbers begin.
            found: NDArray[Any] = torch.empty(shape, dtype=self._complex).numpy()
            return found

        return _Buffers(
            t=empty(images, length, tiling.stride),
            columns=[empty(length, columns) for _ in workers],
            conjugates=[empty(size, columns) for _ in workers],
            slabs=[empty(*slab)[..., :row] for _ in workers],
        )


class MklConvolution(HostConvolution):
    """The same with the MKL of PyTorch, which transforms fastest from one array into another."""

    _in_place = False

    def _columns(
        self,
        voxels: NDArray[Any],
        maps: NDArray[Any] | None,
        out: NDArray[Any],
        buffer: NDArray[Any],
    ) -> None:
        weighted = voxels if maps is None else np.multiply(voxels, maps, out=buffer[: len(voxels)])
        padded = torch.fft.fft(torch.from_numpy(weighted), n=len(out), dim=0)
        out[...] = padded.numpy()

    def _columns_back(self, columns: NDArray[Any], buffer: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = torch.fft.ifft(
            torch.from_numpy(columns), dim=0, norm="forward"
        ).numpy()
        return found

    def _forward_planes(self, planes: NDArray[Any], padded: NDArray[Any]) -> NDArray[Any]:
        found = torch.from_numpy(planes)
        for axis in range(1, len(self.shape)):
            found = torch.fft.fft(found, n=self.tiling.padded[axis], dim=axis)
        result: NDArray[Any] = found.numpy()
        return result

    def _inverse_planes(self, padded: NDArray[Any], planes: NDArray[Any]) -> None:
        found = torch.from_numpy(padded)
        for axis in reversed(range(1, len(self.shape))):
            found = torch.fft.ifft(found, dim=axis, norm="forward").narrow(
                axis, 0, self.shape[axis]
            )
        planes[...] = found.numpy()
