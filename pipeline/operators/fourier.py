"""Unscaled Fourier transforms of torch tensors, from whichever library is there.

===========  =======================  ============================================================
provider     device                   what it is for
===========  =======================  ============================================================
``ducc0``    CPU                      fastest; in place, on NumPy views of the tensors, no copies
``scipy``    CPU                      the same algorithm with narrower vectors; always installed
``torch``    any                      cuFFT on GPUs; MKL on CPUs
===========  =======================  ============================================================

Measured for 128-point complex64 lines in cache: 39 Gflop/s a core with ducc0, 26 with SciPy;
MKL 41 along the last axis, but 13 along the others.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError, DependencyError
from pipeline.operators.threads import thread_count

Library = Literal["ducc0", "scipy", "torch"]
Provider = Literal["auto", "ducc0", "scipy", "torch"]


def host_fft(
    array: NDArray[Any],
    axes: Sequence[int],
    *,
    library: Library,
    out: NDArray[Any],
    inverse: bool = False,
    threads: int = 1,
) -> None:
    """Transform a NumPy array or view with ducc0 or SciPy into `out`, which may be `array`."""
    if library == "ducc0":
        from ducc0.fft import c2c

        c2c(array, axes=tuple(axes), forward=not inverse, out=out, nthreads=threads)
        return
    import scipy.fft

    transform = scipy.fft.ifftn if inverse else scipy.fft.fftn
    # Either way unscaled.
    norm = "forward" if inverse else "backward"
    in_place = out is array
    result = transform(array, axes=axes, norm=norm, overwrite_x=in_place, workers=threads)
    if result.ctypes.data != out.ctypes.data:
        out[...] = result


def provider(name: Provider, device: torch.device) -> Library:
    """Choose the library for a device.

    Of itself torch on accelerators; on the CPU ducc0 where it is installed, and SciPy elsewhere.

    Raises
    ------
    ConfigError
        If the library cannot work on the device, or is none of ours.
    DependencyError
        If the library is not installed.
    """
    if name == "auto":
        if device.type != "cpu":
            return "torch"
        return "ducc0" if find_spec("ducc0") else "scipy"
    if name not in ("ducc0", "scipy", "torch"):
        raise ConfigError(f"fft: found {name!r}, allowed are auto, ducc0, scipy and torch.")
    if name != "torch" and device.type != "cpu":
        raise ConfigError(f"fft: {name} works on the CPU only, found {device}; use auto or torch.")
    if name == "ducc0" and not find_spec("ducc0"):
        raise DependencyError(
            "fft: ducc0 is not installed. Install it with `pip install 'kronufft[ducc]'` "
            "(GPL-2.0-or-later), or use auto or scipy."
        )
    return name


def irfftn(half: Tensor, shape: Sequence[int], *, threads: int | None = None) -> Tensor:
    """Inverse transform of a Hermitian array of which the last axis is half, unscaled.

    `half` is complex, ``(*shape[:-1], shape[-1] // 2 + 1)``; all its axes are transformed, with the
    exponent ``+j``. `threads` of the CPU are torch's own number if not given.
    """
    axes, workers = tuple(range(half.ndim)), thread_count(threads)
    library = provider("auto", half.device)
    if library == "torch":
        found: Tensor = torch.fft.irfftn(half, s=tuple(shape), dim=axes, norm="forward")
        return found
    if library == "ducc0":
        from ducc0.fft import c2r

        result = torch.empty(tuple(shape), dtype=half.dtype.to_real())
        options = {"lastsize": int(shape[-1]), "out": result.numpy(), "nthreads": workers}
        c2r(half.numpy(), axes=axes, forward=False, **options)
        return result
    import scipy.fft

    return torch.from_numpy(
        scipy.fft.irfftn(half.numpy(), s=tuple(shape), norm="forward", workers=workers)
    )
