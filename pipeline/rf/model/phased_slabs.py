"""How phases of voxels at all frequencies are made: in slabs, and from how many images. Pure."""

import numpy as np
from numpy.typing import NDArray

_CACHED = 2**21
"""Bytes of a slab at all frequencies that stay in a CPU's caches, with their product."""
_DEVICE = 2**27
"""The same that fill an accelerator."""


_EVEN = 1e-5
"""Phase that wavenumbers taken for even may leave [rad]: such as single precision stored them."""


def evenly_spaced(k: NDArray[np.float64], reach: float) -> bool:
    """Return whether wavenumbers [rad/m] are, as far as paths up to a length [m] can tell."""
    even = np.linspace(k[0], k[-1], len(k))
    return bool(np.abs(k - even).max() * reach <= _EVEN)


def phase_images(frequencies: int, *, even: bool) -> int:
    """Return how many images the phases of voxels at so many frequencies are made of."""
    return min(2, frequencies) if even else frequencies


def slab_lines(size: int, frequencies: int, itemsize: int, *, on_device: bool = False) -> int:
    """Return how many lines of so many voxels are in work at a time."""
    line = size * frequencies * itemsize
    return max(1, (_DEVICE if on_device else _CACHED) // line)
