"""What solvers take beside the workspace of ``G``, in bytes and applications. Without torch."""

import math
from collections.abc import Sequence

from pipeline.operators.inner import inner_product_bytes
from pipeline.operators.toeplitz_memory import padded_shape

BOUND_EVALUATIONS = 4
"""Of the operator, for the length of FISTA's steps."""


def conjugate_gradient_bytes(
    shape: Sequence[int], *, itemsize: int, preconditioned: bool = False
) -> int:
    """Predict the bytes of the solver besides ``b``, of this shape, and the workspace of ``G``.

    Solution, residual, direction and ``G`` times the direction; preconditioned, also the
    preconditioned residual. The preconditioner's own workspace comes on top.
    """
    return (4 + preconditioned) * math.prod(shape) * itemsize + inner_product_bytes()


def fista_bytes(shape: Sequence[int], *, itemsize: int, proximal_images: float = 0.0) -> int:
    """Predict the bytes of `fista` besides ``b``, of this shape, and the workspace of ``G``.

    The image, the point ahead of it, the step from there and the next image; magnitudes, and what
    the penalty takes, see `Penalty.proximal_images`.
    """
    return math.ceil((4.5 + proximal_images) * math.prod(shape) * itemsize) + inner_product_bytes()


def admm_bytes(shape: Sequence[int], *, itemsize: int, split_images: float = 0.0) -> int:
    """Predict the bytes of `admm` besides ``b``, of this shape, and the workspace of ``G``.

    The image and its residual, ``z`` and ``u`` before and after, and, while the penalty is applied,
    magnitudes: 6.5 images, and those of the penalty, see `Penalty.split_images`.
    """
    return math.ceil((6.5 + split_images) * math.prod(shape) * itemsize) + inner_product_bytes()


def debias_bytes(shape: Sequence[int], *, itemsize: int) -> int:
    """Predict the bytes of `debias` besides ``b``, the solution and the workspace of ``G``."""
    # Conjugate gradients, the masked b, G before its mask, and a byte a voxel for the mask.
    return 6 * math.prod(shape) * itemsize + math.prod(shape) + inner_product_bytes()


def orthogonal_matching_pursuit_bytes(
    shape: Sequence[int], atoms: int, *, itemsize: int, problems: int = 1
) -> int:
    """Predict the bytes of the solver besides ``b``, of this shape, and the workspace of ``G``.

    Image, correlation, a picked voxel and what ``G`` makes of it, and scores: 4.5 images. Of each
    of the `problems` the equations on the picked voxels, their part in use as torch copies it, and
    solutions.
    """
    equations = 16 * problems * atoms * (3 * atoms + 8)
    return 9 * math.prod(shape) * itemsize // 2 + equations


def largest_eigenvalue_bytes(shape: Sequence[int], *, itemsize: int) -> int:
    """Return the bytes besides the workspace of ``G``: two Lanczos vectors and ``G`` times one."""
    return 3 * math.prod(shape) * itemsize + inner_product_bytes()


def preconditioner_bytes(
    shape: Sequence[int], *, itemsize: int, kronecker: bool = False, frames: int = 1
) -> tuple[int, int]:
    """Predict the bytes of a preconditioner besides spectrum, input and output.

    Parameters
    ----------
    shape, itemsize
        Image axes, and the bytes of a complex number.
    kronecker
        Whether the nearest Kronecker product is looked for (and kept, or not).
    frames
        Number of frames, each with a circulant preconditioner of its own.

    Returns
    -------
    resident, setup : int
        What stays, with the workspace of one application; and the peak while it is made. For the
        Kronecker product that is the kernel on the padded grid, and its cropped copies.
    """
    voxels, padded = math.prod(shape), math.prod(padded_shape(shape))
    means = 8 * max(n * p for n, p in zip(shape, padded_shape(shape), strict=True))
    circulant = frames * 2 * padded * (itemsize // 2) + 6 * means
    if not kronecker:
        return (frames + 1) * voxels * itemsize, circulant
    bases = 16 * sum(int(size) ** 2 for size in shape)
    return 4 * voxels * itemsize + bases, max(circulant, 3 * padded * itemsize + 6 * bases)


def unrolled_bytes(
    shape: Sequence[int],
    *,
    itemsize: int,
    layers: int,
    channels: int,
    checkpointing: bool = True,
    training: bool = True,
) -> int:
    """Predict the bytes of a network besides ``b``, of this shape, and the workspace of ``G``.

    In training the layer at work, about twelve images a channel, and what the others keep: an image
    each with checkpointing, ten a channel without. Otherwise nothing is kept from layer to layer.
    What a convolution needs inside is not counted.
    """
    if not training:
        images = 5.0 + 4 * channels
    else:
        kept = 1.0 if checkpointing else 4 + (4 + 9.5 * channels if channels else 0)
        images = 10 + 12 * channels + (layers - 1) * kept
    return math.ceil(images * math.prod(shape) * itemsize)
