"""Off-resonance and relaxation as a sum of time segments.

A sample at time ``t`` sees a voxel with the factor ``exp(-z t)``, ``z = R2* + 2 pi j f``, which
`pipeline.mri.calibration.segments` has made a sum over few times ``t_l``:

    y(t) = sum_l  B_l(t) . F . exp(-z t_l) . S . x

The normal operator has segments of its own, twice as many, for pairs of voxels. They do not meet,

    G = sum_c S_c^H [ sum_l  exp(-z t_l)^H  T_l  exp(-z t_l) ] S_c,

with the Toeplitz operators ``T_l`` of the real weights ``b_l(t) w``: for ``L`` segments of the
signal ``2 L`` kernels in place of the ``L^2`` that products of its terms would be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.machine import Transforms
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration.coilmaps import resampled_maps
from pipeline.mri.calibration.off_resonance import NAME
from pipeline.mri.model.encoding import Encoding, Sampling, Sense, over_coils
from pipeline.mri.raw import RawData
from pipeline.operators.base import Diagonal, LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.storage.calibration import CalibrationArrays


@dataclass(frozen=True)
class Decay:
    """How each voxel turns and decays."""

    frequency: Tensor
    """float64 ``(*shape)`` [Hz]: there may be many turns."""
    rate: Tensor | None
    """float32 ``(*shape)`` [1/s]."""

    def factor(self, time: float, dtype: torch.dtype) -> Tensor:
        """Return ``exp(-z t)``, complex ``(*shape)``."""
        turns = self.frequency * -time
        phase = turns.sub_(turns.round()).mul_(2 * torch.pi).to(dtype.to_real())
        size = torch.ones_like(phase) if self.rate is None else (self.rate.to(phase) * -time).exp_()
        return torch.polar(size, phase)


@dataclass(frozen=True)
class Segments:
    """Times, and the factors of samples at each."""

    times: tuple[float, ...]
    """``t_l`` [s]."""
    table: Tensor
    """complex or real ``(row, segment)``, for `Sampling.factor`."""

    @classmethod
    def of(cls, calibration: CalibrationArrays, name: str, device: str, dtype: torch.dtype) -> Self:
        """Read the segments of ``samples`` or of the ``normal`` operator."""
        times, table = (calibration.array(f"{NAME}/{name}/{part}") for part in ("times", "table"))
        if times is None or table is None:
            raise ValueError("the calibration has no time segments")
        return cls(tuple(times.tolist()), torch.from_numpy(table).to(device, dtype))

    def __iter__(self) -> Iterator[tuple[float, Tensor]]:
        """Yield the time of each segment and its column of the table."""
        return zip(self.times, self.table.unbind(1), strict=True)


class OffResonance(Encoding):
    """The encoding with the field map, and the map of relaxation, of a calibration."""

    def __init__(self, transforms: Transforms, device: str, calibration: CalibrationArrays) -> None:
        super().__init__(transforms, device)
        self.dtype = transforms.machine.dtype
        self.segments = Segments.of(calibration, "samples", device, self.dtype)
        self.pairs = Segments.of(calibration, "normal", device, self.dtype.to_real())
        first, last = np.asarray(calibration.array(f"{NAME}/extent"))
        self._first, self._length = float(first), float(last - first) or 1.0
        frequency, rate = (self._map(calibration, name) for name in ("field_map", "relaxation"))
        if frequency is None:
            frequency = torch.zeros(transforms.shape, device=device)
        self.decay = Decay(frequency.double(), rate)

    def _map(self, calibration: CalibrationArrays, name: str) -> Tensor | None:
        stored = calibration.array(f"{NAME}/{name}")
        if stored is None:
            return None
        shape = self.transforms.shape
        there = torch.from_numpy(stored).to(self.device)
        return resampled_maps(there[None], as_volume(shape)).reshape(shape)

    def along(self, raw: RawData, frame: int, readouts: slice) -> NDArray[np.floating]:
        """Return where samples of a frame lie along tables of factors, ``[readout, sample]``."""
        times = raw.times(frame, readouts).astype(np.float64)
        return (times - self._first) / self._length

    def gridded(
        self, nufft: FourierTransform, sampling: Sampling, samples: Tensor
    ) -> Iterator[Tensor]:
        """Yield the adjoint without coil maps: complex ``(image, coil, *shape)`` of samples."""
        total: Tensor | None = None
        for time, column in self.segments:
            part = nufft.adjoint(samples * over_coils(sampling.factor(column).conj_physical_()))
            part *= self.decay.factor(time, self.dtype).conj_physical_()
            total = part if total is None else total.add_(part)
            del part
        if total is not None:
            yield total

    def kernels(self, sampling: Sampling) -> Iterator[tuple[str, Tensor]]:
        """Make the spectra of all ``T_l``, each with its name: real ``([image,] *padded)``."""
        for index, (_, column) in enumerate(self.pairs):
            weights = sampling.factor(column).mul_(sampling.weights)
            yield f"segment-{index}", self.transforms.spectrum(sampling.trajectory, weights)

    def normal(self, kernels: Mapping[str, Tensor], sense: Sense) -> LinearOperator:
        """Return the normal operator on images ``([image,] *shape)``."""
        first, *others = (kernels[f"segment-{index}"] for index in range(len(self.pairs.times)))
        one = self._toeplitz(first)
        terms = [one, *(one.like(each.reshape(one.spectrum.shape)) for each in others)]
        return SegmentsNormal(self.decay, self.pairs.times, [sense(term) for term in terms])

    def explicit_normal(self, sampling: Sampling) -> LinearOperator:
        """Return the same as forward and adjoint of all samples of the images, without kernels."""
        forward = SegmentsForward(self, self.transforms.nufft(sampling.trajectory), sampling)
        return forward.H @ Diagonal(sampling.weights) @ forward


class SegmentsForward(LinearOperator):
    """``sum_l  B_l F C_l`` of one coil, of images ``([image,] *shape)``.

    Factors are made anew in each application: they would be as large as the images and samples of
    all terms together.
    """

    def __init__(self, encoding: OffResonance, nufft: FourierTransform, sampling: Sampling) -> None:
        super().__init__(nufft.domain, nufft.codomain, dtype=nufft.dtype, device=nufft.device)
        self._encoding, self._nufft, self._sampling = encoding, nufft, sampling

    def _forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        for time, column in self._encoding.segments:
            voxels = self._encoding.decay.factor(time, self._encoding.dtype)
            part = self._nufft._forward(x * voxels)
            del voxels
            part *= self._sampling.factor(column)
            total = part if total is None else total.add_(part)
            del part
        return x if total is None else total

    def _adjoint(self, y: Tensor) -> Tensor:
        total: Tensor | None = None
        for time, column in self._encoding.segments:
            samples = y * self._sampling.factor(column).conj_physical_()
            part = self._nufft._adjoint(samples)
            del samples
            part *= self._encoding.decay.factor(time, self._encoding.dtype).conj_physical_()
            total = part if total is None else total.add_(part)
            del part
        return y if total is None else total


class SegmentsNormal(LinearOperator):
    """``sum_l  C_l^H T_l C_l`` with ``C_l = exp(-z t_l)`` and a normal operator for each term.

    Maps images ``([image,] *shape)`` to the same; self-adjoint. ``C_l`` is made anew for each term:
    kernels and one volume are all that is held.
    """

    def __init__(
        self, decay: Decay, times: tuple[float, ...], normals: Sequence[LinearOperator]
    ) -> None:
        one = normals[0]
        super().__init__(one.domain, one.domain, dtype=one.dtype, device=one.device)
        self._decay, self._times, self._normals = decay, times, normals

    def _forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for time, normal in zip(self._times, self._normals, strict=True):
            voxels = self._decay.factor(time, x.dtype)
            part = normal._forward(x * voxels)
            part *= voxels.conj_physical_()
            total += part
            del part, voxels
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)
