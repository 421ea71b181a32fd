"""The dot test: every operator's adjoint must be the conjugate transpose of its forward."""

import torch

TOLERANCE = {torch.complex64: 1e-5, torch.complex128: 1e-11}


def random_complex(*shape, dtype=torch.complex128, seed=0, device="cpu"):
    """Return complex white noise; drawn on the CPU, so that devices can be compared."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator).to(device)


def assert_adjoint(operator, *, batch=(), seed=0, dtype=None, rtol=None):
    """Assert ``<A x, y> == <x, A^H y>`` for a random pair.

    The difference is measured against ``|A x| |y|``, because the inner product itself may be small
    by chance.
    """
    dtype = dtype or operator.dtype or torch.complex128
    device = operator.device or "cpu"
    x = random_complex(*batch, *operator.domain, dtype=dtype, seed=seed, device=device)
    y = random_complex(*batch, *operator.codomain, dtype=dtype, seed=seed + 1, device=device)
    image, kspace = operator.adjoint(y), operator(x)
    assert image.shape == x.shape
    assert kspace.shape == y.shape
    assert image.dtype == kspace.dtype == dtype
    wide = torch.complex128
    left = torch.vdot(y.flatten().to(wide), kspace.flatten().to(wide))
    right = torch.vdot(image.flatten().to(wide), x.flatten().to(wide))
    scale = torch.linalg.vector_norm(kspace.to(wide)) * torch.linalg.vector_norm(y.to(wide))
    error = float(abs(left - right) / scale)
    allowed = TOLERANCE[dtype] if rtol is None else rtol
    assert error <= allowed, f"adjoint differs by {error:.2e} of |Ax||y|, allowed {allowed:.0e}"
