"""What solving for MR images takes besides their measurement: normal operator and noise."""

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.block import Equations
from pipeline.mri.measurement import MriMeasurement
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram


def equations_of(data: MriMeasurement) -> Equations:
    """Return the normal equations of a measurement."""
    return MriEquations(data)


class MriEquations:
    """The normal equations of an MRI acquisition."""

    def __init__(self, data: MriMeasurement) -> None:
        self.data = data

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of some images, whose kernels are in ``share``."""
        data, job = self.data, self.data.job
        if not data.toeplitz:
            one_coil = data.encoding.explicit_normal(data.whole_sampling(images))
        else:
            one_coil = data.encoding.normal(share.kernels)
        if data.maps is None:
            return one_coil
        # A CPU's caches, not its memory, decide how many coils are best convolved together.
        free = data.toeplitz and not job.device.startswith("cuda")
        return data.maps.normal(one_coil, None if free else job.tiles.channels)

    def exact_solver(self) -> None:
        """Return none: samples lie anywhere."""

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of some images; `None` where the data bring no noise measurement.

        Every coil's sensitivity counts at its root mean square over the image.
        """
        data, job = self.data, self.data.job
        measured = data.raw.noise()
        if measured is None:
            return None
        variances = torch.from_numpy(measured).abs().square().double().mean(-1).to(job.device)
        sensitivities = (
            torch.ones_like(variances) if data.maps is None else data.maps.mean_squares()
        )
        different = images[:1] if data.share_samples(images) else images
        squares = [
            float(np.sum(data.positions(range(each, each + 1), job.shard().readouts)[1] ** 2))
            for each in different
        ]
        in_b = torch.tensor(squares, dtype=torch.float64, device=job.device)
        return Noise(
            (in_b * (variances * sensitivities).sum()).sqrt().expand(len(images)),
            (share.diagonal * variances.sum()).sqrt(),
        )

    def image(self, share: Share) -> Tensor:
        """Return the density-compensated adjoint, ``(image, *shape)``."""
        return share.b.sqrt() if self.data.by_squares else share.b
