"""Small least-squares problems whose matrix is known, as solvers see them."""

from dataclasses import dataclass

import torch
from adjointness import random_complex

from pipeline.solvers.normal import NormalEquations


@dataclass(frozen=True)
class DenseProblem:
    """``A`` of shape ``(*problems, sample, voxel)``, the data and the truth."""

    matrix: torch.Tensor
    data: torch.Tensor
    truth: torch.Tensor
    noise: float

    @property
    def normal(self):
        """Return the normal equations; images have the shape of the truth."""
        matrix, shape = self.matrix, self.truth.shape

        def gram(x):
            flat = x.reshape(*matrix.shape[:-2], -1, 1)
            return (matrix.mH @ (matrix @ flat)).reshape(x.shape)

        b = (matrix.mH @ self.data.unsqueeze(-1)).reshape(shape)
        return NormalEquations(b, gram, self.data.abs().square().sum(-1).double())

    def to(self, target):
        """Move or convert."""
        parts = (part.to(target) for part in (self.matrix, self.data, self.truth))
        return DenseProblem(*parts, self.noise)


def dense_problem(samples, shape, *, problems=(), nonzero=None, noise=0.0, seed=0):
    """Return a random problem: columns of norm one about, truth of modulus one where not zero."""
    voxels = int(torch.tensor(shape).prod())
    matrix = random_complex(*problems, samples, voxels, seed=seed) / samples**0.5
    truth = random_complex(*problems, voxels, seed=seed + 1)
    truth /= truth.abs()
    if nonzero is not None:
        order = torch.rand(
            *problems, voxels, generator=torch.Generator().manual_seed(seed + 2)
        ).argsort(-1)
        truth[order >= nonzero] = 0
    data = (matrix @ truth.unsqueeze(-1)).squeeze(-1)
    data += noise * random_complex(*data.shape, seed=seed + 3)
    return DenseProblem(matrix, data, truth.reshape(*problems, *shape), noise)
