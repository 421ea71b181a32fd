"""Unscaled Fourier transforms of torch tensors, from whichever library is there.

===========  =======================  ============================================================
provider     device                   what it is for
===========  =======================  ============================================================
``ducc0``    CPU                      fastest; in place, on NumPy views of the tensors, no copies
``mkl``      CPU                      the one inside PyTorch: fastest on Intel's processors
``scipy``    CPU                      ducc0's algorithm with narrower vectors; always installed
``torch``    any                      cuFFT on GPUs; arrays as a whole
===========  =======================  ============================================================

Measured for complex64 lines in cache, Gflop/s a core. AMD Zen 4, 128 points: ducc0 39, SciPy 26,
MKL 41 along the last axis, but 13 along the others. Intel Sapphire Rapids, 512 points: ducc0 17 (as
its wheel is compiled), SciPy 15, MKL 43 along the last axis and 34 along the others.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError, DependencyError
from pipeline.operators.threads import thread_count

Library = Literal["ducc0", "mkl", "scipy", "torch"]
Provider = Literal["auto", "ducc0", "mkl", "scipy", "torch"]


def host_fft(
    array: NDArray[Any],
    axes: Sequence[int],
    *,
    library: Library,
    out: NDArray[Any],
    inverse: bool = False,
    threads: int = 1,
) -> None:
    """Transform a NumPy array or view into `out`, which may be `array`.

    MKL uses as many threads as torch does, whatever `threads` is.
    """
    if library == "ducc0":
        from ducc0.fft import c2c

        c2c(array, axes=tuple(axes), forward=not inverse, out=out, nthreads=threads)
        return
    # Either way unscaled.
    norm = "forward" if inverse else "backward"
    if library == "mkl":
        along = torch.fft.ifftn if inverse else torch.fft.fftn
        out[...] = along(torch.from_numpy(array), dim=tuple(axes), norm=norm).numpy()
        return
    import scipy.fft

    transform = scipy.fft.ifftn if inverse else scipy.fft.fftn
    in_place = out is array
    result = transform(array, axes=axes, norm=norm, overwrite_x=in_place, workers=threads)
    if result.ctypes.data != out.ctypes.data:
        out[...] = result


def provider(name: Provider, device: torch.device) -> Library:
    """Choose the library for a device.

    Of itself torch on accelerators; on CPUs of Intel MKL where PyTorch has it; on others ducc0
    where it is installed, else SciPy.

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
        if _has_mkl() and _made_by_intel():
            return "mkl"
        return "ducc0" if find_spec("ducc0") else "scipy"
    if name not in ("ducc0", "mkl", "scipy", "torch"):
        raise ConfigError(f"fft: found {name!r}, allowed are auto, ducc0, mkl, scipy and torch.")
    if name != "torch" and device.type != "cpu":
        raise ConfigError(f"fft: {name} works on the CPU only, found {device}; use auto or torch.")
    if name == "ducc0" and not find_spec("ducc0"):
        raise DependencyError(
            "fft: ducc0 is not installed. Install it with `pip install 'kronufft[ducc]'` "
            "(GPL-2.0-or-later), or use auto or scipy."
        )
    if name == "mkl" and not _has_mkl():
        raise DependencyError("fft: this PyTorch was built without MKL; use auto or scipy.")
    return name


def _has_mkl() -> bool:
    found: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return found


@cache
def _made_by_intel() -> bool:
    """Tell whether the processor is of Intel, as Linux knows."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def irfftn(half: Tensor, shape: Sequence[int], *, threads: int | None = None) -> Tensor:
    """Inverse transform of a Hermitian array of which the last axis is half, unscaled.

    `half` is complex, ``(*shape[:-1], shape[-1] // 2 + 1)``; all its axes are transformed, with the
    exponent ``+j``. `threads` of the CPU are torch's own number if not given.
    """
    axes, workers = tuple(range(half.ndim)), thread_count(threads)
    library = provider("auto", half.device)
    if library in ("mkl", "torch"):
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
