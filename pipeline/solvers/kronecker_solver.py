"""The regularised inverse of one Kronecker block, exactly."""

from collections.abc import Callable, Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.kronecker import Kronecker
from pipeline.solvers.problems import for_images


def kronecker_solver(
    factors: Sequence[torch.Tensor], *, weight: float = 1.0
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return ``(rhs, rho) -> (G + rho)^-1 rhs`` for ``G = weight A^H A``, ``A = A_1 (x) A_2 ...``.

    With economy decompositions ``A_i = U_i S_i V_i^H``, ``V`` the Kronecker product of all ``V_i``
    and ``lambda = weight`` times that of all ``S_i^2`` [1]_,

        (G + rho)^-1 r = (r - V (lambda / (lambda + rho)  V^H r)) / rho,

    which costs as much as one forward and one adjoint product and needs no iteration. It holds for
    one block only: a sum over pairs or frequencies has no such decomposition.

    Parameters
    ----------
    factors
        Complex matrices ``(m_i, n_i)``, one for each image axis.
    weight
        ``|w|^2 / sigma^2`` of the block.

    Returns
    -------
    callable
        For images of shape ``(*problems, n_1, ..., n_d)`` and positive float64 `rho` of shape
        ``problems``: the `exact_solver` of `pipeline.solvers.admm.admm`, and Tikhonov's
        regularisation without iterations.

    Raises
    ------
    ShapeError
        If a factor is not a single matrix.

    References
    ----------
    .. [1] C. F. Van Loan, "The ubiquitous Kronecker product", J. Comput. Appl. Math. 123, 85-100
       (2000).
    """
    if any(factor.ndim != 2 for factor in factors):
        shapes = [tuple(factor.shape) for factor in factors]
        raise ShapeError(
            f"kronecker_solver: found factors of shapes {shapes}; they must be single matrices "
            "(one pair, one frequency). Use conjugate gradients for sums of blocks."
        )
    eigenvalues = torch.as_tensor(weight, dtype=torch.float64, device=factors[0].device)
    right = []
    for factor in factors:
        # In double precision: what little it costs is paid once.
        _, singular, v = torch.linalg.svd(factor.to(torch.complex128), full_matrices=False)
        right.append(v.to(factor.dtype))
        eigenvalues = eigenvalues[..., None] * singular**2
    analysis, axes = Kronecker(right), len(factors)

    def solve(rhs: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        rho = torch.as_tensor(rho, dtype=torch.float64, device=rhs.device)
        shifts = rho.reshape(*rho.shape, *(1,) * axes)
        kept = (eigenvalues / (eigenvalues + shifts)).to(rhs.real.dtype)
        removed = analysis.adjoint(analysis(rhs).mul_(kept))
        return (rhs - removed).mul_(for_images(1 / rho, rhs, axes))

    return solve
