"""What the MRI forward model takes: the seconds, and settings that need less memory. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from pipeline.engine.rates import LATENCY, Rates
from pipeline.engine.transform_costs import gridding_seconds, product_flops, transform_seconds
from pipeline.engine.work import Work
from pipeline.mri.model.memory import MriMemory

_LEAST_SHRINKING = 0.3
_MIXING = 0.2
"""Of the transforms of an image each way, what it takes to add another one times a kernel."""


@dataclass(frozen=True)
class MriCosts(MriMemory):
    """Costs of coils that share their samples, or of their root sum of squares."""

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        right, kernel = gridding_seconds(
            work,
            channels=work.channels * self._terms[0],
            tiles=-(-work.readouts // work.readout_batch),
            trajectories=(1 if self.shared_trajectory else work.images) * self._terms[1],
            rates=rates,
        )
        if self.mixed_from:
            # All acquired coils are read for each batch of virtual ones, which are sums of them.
            batches = -(-work.channels // work.channel_batch)
            samples = float(work.images * work.readouts * self.samples)
            read = 8 * samples * (batches * self.mixed_from - work.channels)
            right += max(read, 0) / rates.read
            right += 8 * samples * work.channels * self.mixed_from / rates.gemm
        return right, kernel

    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""
        if self.sets > 1:
            mixing = 4 * self.sets * self.channels * work.voxel_bytes / rates.memory
            return replace(self, sets=1).application(work, rates) + mixing
        if self.explicit:
            samples = float(self.readouts * self.samples)
            return 2 * self.channels * self._terms[0] * sum(transform_seconds(work, samples, rates))
        if self.segments is not None:
            one = replace(self, segments=None).application(work, rates)
            return self.segments[1] * (one + 8 * work.voxel_bytes / rates.memory)
        if self.coefficients:
            one = replace(self, coefficients=0).application(work, rates)
            return self.coefficients * one * (1 + self.coefficients * _MIXING)
        products = self.channels * product_flops(work) / rates.toeplitz
        if self.maps and not self.resident:
            streaming = self.channels * work.voxel_bytes / rates.read / work.image_batch
            return max(streaming, products)
        return self.channels * LATENCY + products

    def streamed(self) -> Self:
        """Return the model with maps that stream instead of staying where the job computes."""
        return replace(self, resident=False)

    def other_settings(self, work: Work) -> Iterator[Iterable[tuple[str, Work]]]:
        """Yield kernels, smaller matrices, and fewer coils, as a calibration would compress them.

        Matrices keep their proportions, in steps of a fiftieth.
        """
        if self.coefficients and not work.settings.keeps_coefficients:
            yield [("series.images: coefficients", replace(work, outputs=self.coefficients))]
        if self.explicit and work.settings.solves:
            yield [("normal: toeplitz", replace(work, model=replace(self, explicit=False)))]
        matrices = (
            tuple(max(2, size * step // 50 // 2 * 2) for size in work.shape)
            for step in range(49, int(50 * _LEAST_SHRINKING), -1)
        )
        yield (
            (f"shape: [{', '.join(map(str, shape))}]", replace(work, shape=shape))
            for shape in matrices
        )
        if self.maps:
            yield (
                (
                    f"calibration.virtual_coils: {coils}",
                    replace(work, model=replace(self, channels=coils), channels=coils),
                )
                for coils in range(self.channels - 1, 0, -1)
            )
