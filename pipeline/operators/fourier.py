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
from typing import Any, Literal, Protocol

import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DependencyError
from pipeline.operators.threads import thread_count

Provider = Literal["auto", "ducc0", "scipy", "torch"]


class HostTransform(Protocol):
    """An unscaled transform of a NumPy array or view."""

    def __call__(
        self,
        array: NDArray[Any],
        axes: Sequence[int],
        *,
        out: NDArray[Any],
        inverse: bool = False,
        threads: int = 1,
    ) -> None:
        """Transform `array` over `axes` into `out`, which may be `array` itself."""


def _ducc0(
    array: NDArray[Any],
    axes: Sequence[int],
    *,
    out: NDArray[Any],
    inverse: bool = False,
    threads: int = 1,
) -> None:
    from ducc0.fft import c2c

    c2c(array, axes=tuple(axes), forward=not inverse, out=out, nthreads=threads)


def _scipy(
    array: NDArray[Any],
    axes: Sequence[int],
    *,
    out: NDArray[Any],
    inverse: bool = False,
    threads: int = 1,
) -> None:
    import scipy.fft

    in_place = out is array
    if inverse:  # norm="forward" leaves the inverse unscaled
        result = scipy.fft.ifftn(
            array, axes=axes, norm="forward", overwrite_x=in_place, workers=threads
        )
    else:
        result = scipy.fft.fftn(array, axes=axes, overwrite_x=in_place, workers=threads)
    if result.ctypes.data != out.ctypes.data:
        out[...] = result


def provider(name: Provider, device: torch.device) -> Literal["ducc0", "scipy", "torch"]:
    """Choose the library for a device.

    Parameters
    ----------
    name
        A library, or ``"auto"``: torch on accelerators, on the CPU ducc0 where it is installed
        and SciPy elsewhere.
    device
        Where the data are.

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


def host_transform(name: Literal["ducc0", "scipy"]) -> HostTransform:
    """Return a provider's transform of NumPy arrays."""
    return _ducc0 if name == "ducc0" else _scipy


def fftn(
    x: torch.Tensor,
    axes: Sequence[int],
    *,
    inverse: bool = False,
    library: Provider = "auto",
    threads: int | None = None,
) -> torch.Tensor:
    """Fourier transform over some axes, unscaled in both directions and not centred.

    Parameters
    ----------
    x
        Complex tensor on any device.
    axes
        Axes to transform.
    inverse
        Exponent ``+j`` instead of ``-j``.
    library
        See the table above.
    threads
        Threads on the CPU; torch's own number if not given.

    Returns
    -------
    Tensor
        New tensor of the same shape.
    """
    chosen = provider(library, x.device)
    if chosen == "torch":
        transform = torch.fft.ifftn if inverse else torch.fft.fftn
        transformed: torch.Tensor = transform(
            x, dim=tuple(axes), norm="forward" if inverse else "backward"
        )
        return transformed
    source = x.detach().resolve_conj()
    result = torch.empty_like(source, memory_format=torch.contiguous_format)
    host_transform(chosen)(
        source.numpy(), axes, out=result.numpy(), inverse=inverse, threads=thread_count(threads)
    )
    return result


def irfftn(half: torch.Tensor, shape: Sequence[int], *, threads: int | None = None) -> torch.Tensor:
    """Inverse transform of a Hermitian array of which the last axis is half, unscaled.

    Parameters
    ----------
    half
        Complex tensor of shape ``(*shape[:-1], shape[-1] // 2 + 1)``; all its axes are transformed.
    shape
        Shape of the result.
    threads
        Threads on the CPU; torch's own number if not given.

    Returns
    -------
    Tensor
        Real tensor of shape `shape`, exponent ``+j``.
    """
    axes = tuple(range(half.ndim))
    result: torch.Tensor
    if half.device.type != "cpu":
        result = torch.fft.irfftn(half, s=tuple(shape), dim=axes, norm="forward")
        return result
    result = torch.empty(tuple(shape), dtype=half.dtype.to_real())
    if provider("auto", half.device) == "ducc0":
        from ducc0.fft import c2r

        c2r(
            half.numpy(),
            axes=axes,
            lastsize=int(shape[-1]),
            forward=False,
            out=result.numpy(),
            nthreads=thread_count(threads),
        )
        return result
    import scipy.fft

    workers = thread_count(threads)
    return torch.from_numpy(
        scipy.fft.irfftn(half.numpy(), s=tuple(shape), norm="forward", workers=workers)
    )


def good_size(size: int) -> int:
    """Return the least length of at least `size` whose largest prime factor is 7 or less.

    Such lengths are fast in every library, and the answer does not depend on the machine.
    """
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
