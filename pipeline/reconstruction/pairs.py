"""RF data from pairs of antenna arrays: Kronecker factors, collapsed normal operator.

The right-hand side streams pair by pair through the factors. The normal operator needs them no
more: plane waves on a uniform grid collapse to one Toeplitz kernel for all pairs and frequencies,
or, with a voxel phase for each pair, to one kernel a pair.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.reconstruction import ADJOINT_ALGORITHMS
from pipeline.geometry.pair_model import PairModel, pair_model
from pipeline.operators.kronecker import Kronecker
from pipeline.operators.plane_wave import plane_wave_spectrum
from pipeline.operators.toeplitz import Toeplitz
from pipeline.operators.voxel_phase import VoxelPhaseSum
from pipeline.planning.levels import CollapsingLevel
from pipeline.reconstruction.job import BlockJob
from pipeline.reconstruction.noise import Noise
from pipeline.reconstruction.share import Shard, Share
from pipeline.solvers.inner import inner_product
from pipeline.solvers.normal import Gram
from pipeline.storage.rf_raw import RfRawData

_ALL_PAIRS = "pairs"


class PairsMeasurement:
    """Measurements by pairs of antenna arrays, as normal equations of one frame at a time.

    A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.

    Parameters
    ----------
    job
        The job.
    raw
        The acquisition, with antenna positions.
    level
        How wavefronts are approximated.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, level: CollapsingLevel) -> None:
        self.job = job
        self.raw = raw
        self.level = level
        self.shape = raw.shape
        self._solves = job.settings.algorithm not in ADJOINT_ALGORITHMS
        self._phased = level == "W+D(fc)"
        sizes = [raw.measurement_shape(pair) for pair in range(raw.pairs)]
        job.receipt.record(
            samples=len(raw.frequencies) * sum(int(np.prod(size)) for size in sizes),
            pairs=raw.pairs,
            model=level,
        )

    def whole(self) -> Shard:
        """Return the shard that is all of a frame's measurement."""
        return Shard(range(self.raw.pairs), range(len(self.raw.frequencies)))

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return the share of some pairs and frequencies in the normal equations of one frame."""
        (frame,) = images
        job = self.job
        b = torch.zeros(1, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, dtype=torch.float64, device=job.device)
        diagonal = torch.zeros(1, dtype=torch.float64, device=job.device)
        kernels: dict[str, Tensor] = {}
        frequencies = slice(shard.readouts.start, shard.readouts.stop)
        for pair in shard.channels:
            with job.phase("prepare"):
                model, weights = self._model(pair, frequencies)
                factors = [job.on_device(factor, job.complex) for factor in model.factors()]
            with job.phase("read"):
                stored = self.raw.measurements(frame, pair, frequencies)
                job.receipt.count_bytes("read", stored.nbytes)
                samples = job.on_device(stored, job.complex)
            with job.phase("right_hand_side"):
                # One weight a frequency, whatever the axes of a measurement.
                gain = job.on_device(weights, job.complex)
                gain = gain.reshape(-1, *(1,) * (samples.ndim - 1))
                energy += inner_product(samples, samples, image_axes=samples.ndim)
                operator = Kronecker(factors)
                part = operator.adjoint((samples * gain.conj()).reshape(operator.codomain))
                if self._phased:
                    part *= self._voxel_phase(pair).conj()
                b[0] += part
            diagonal += float(np.sum(np.abs(weights) ** 2)) * stored[0].size
            if self._solves:
                with job.phase("kernel"):
                    name = _pair_name(pair) if self._phased else _ALL_PAIRS
                    spectrum = self._spectrum(model, weights)[None]
                    known = kernels.get(name)
                    kernels[name] = spectrum if known is None else known.add_(spectrum)
        return Share(b, energy, diagonal, kernels)

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator, whose kernels are in ``share``."""
        self.job.receipt.record(
            normal=f"toeplitz, {len(share.kernels)} kernels for {self.raw.pairs} pairs"
        )
        threads = self.job.receipt.content["threads"]
        if not self._phased:
            return Toeplitz(share.kernels[_ALL_PAIRS][0], self.shape, threads=threads)
        spectra = torch.cat([share.kernels[_pair_name(pair)] for pair in range(self.raw.pairs)])
        phases = torch.stack([self._voxel_phase(pair) for pair in range(self.raw.pairs)])
        return VoxelPhaseSum(phases, Toeplitz(spectra, self.shape, threads=threads))

    @property
    def separable(self) -> bool:
        """Whether there is a single pair at a single frequency, by plane waves."""
        return self.raw.pairs == len(self.raw.frequencies) == 1 and not self._phased

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of one frame; `None` where the data do not state it."""
        deviations = self.raw.noise_std()
        if deviations is None:
            return None
        pairs = range(self.raw.pairs)
        elements = np.array([np.prod(self.raw.measurement_shape(pair)) for pair in pairs])
        gains = np.array([np.sum(np.abs(self._model(pair)[1]) ** 2) for pair in pairs])
        return Noise.of_channels(
            deviations,
            gains * elements,
            elements * len(self.raw.frequencies),
            self.job.device,
            together=self.job.settings.fusion == "coherent",
        )

    def image(self, share: Share) -> Tensor:
        """Return the matched filter's image, ``(1, *shape)``."""
        return share.b / float(share.diagonal)

    def _model(
        self, pair: int, frequencies: slice = slice(None)
    ) -> tuple[PairModel, NDArray[np.complex128]]:
        """Return the model of a pair at some frequencies, and its weight at each."""
        antennas = self.raw.antennas(pair)
        if antennas is None:
            raise ValueError(f"pair {pair} has no antenna positions; plan refuses such data")
        model = pair_model(self.raw.scene, antennas, self.raw.frequencies[frequencies], self.level)
        weights = self.raw.weights(pair, frequencies)
        return model, model.weights if weights is None else weights

    def _voxel_phase(self, pair: int) -> Tensor:
        return self.job.on_device(self._model(pair)[0].voxel_phase(), self.job.complex)

    def _spectrum(self, model: PairModel, weights: NDArray[np.complex128]) -> Tensor:
        """Return a pair's share of the kernel's spectrum."""
        return plane_wave_spectrum(
            self.shape,
            [self.job.on_device(kappa, torch.float64) for kappa in model.wavenumbers],
            self.job.on_device(np.abs(weights) ** 2, torch.float64),
            dtype=self.job.complex,
            threads=self.job.receipt.content["threads"],
        )


def _pair_name(pair: int) -> str:
    return f"pair-{pair:05d}"
