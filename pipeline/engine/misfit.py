"""The relative data misfit of images, and how small a one can be told.

``|W^(1/2) (A x - y)| / |W^(1/2) y|`` is 0 where an image explains all that was measured, and 1 for
an image of zeros. Its square comes from the normal equations, ``(x^H G x - 2 Re b^H x + e) / e`` in
float64 sums: a difference of numbers near one. With transforms of a relative error ``t`` that ``b``
and ``G`` share, it is the misfit of a model that is wrong by ``t``, which hardly shows. But kernels
have an error of their own, ``x^H (dG) x / e``: at most about ``t``, and of single precision where
that is more. Measured against exact sums, it stayed below ``t / 20 + 8 eps``.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pipeline.solvers.problems import quotient


def misfit_resolution(tolerance: float) -> float:
    """Return the smallest relative misfit that can be told, for transforms of a ``tolerance``."""
    return math.sqrt(tolerance / 20 + 8 * float(np.finfo(np.float32).eps))


def relative_misfits(squares: Tensor, energy: float | Tensor, images: int) -> list[float]:
    """Return roots of ``squares`` over the energy for each image: of all its pairs together.

    Both are float64, of one number for each of the problems that images are made from.
    """
    parts = squares.reshape(images, -1).sum(1)
    whole = torch.as_tensor(energy, device=parts.device).reshape(images, -1).sum(1)
    return quotient(parts.clamp(min=0), whole).sqrt().tolist()
