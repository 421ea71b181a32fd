"""Which library computes a NUFFT: one choice for jobs and for whoever predicts them.

Torch is not loaded here: a machine that only plans needs no more.
"""

import ctypes
import importlib
import os
import shutil
import sysconfig
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import ConfigError, DependencyError, ShapeError
from pipeline.operators.nufft_accuracy import BACKENDS, Backend, Precision, smallest_tolerance

INSTALL = {
    "ducc0": "pip install 'kronufft[ducc]' (GPL-2.0-or-later)",
    "finufft": "pip install finufft",
    "cufinufft": "pip install 'kronufft[cuda]' (needs an NVIDIA GPU)",
    "triton": "pip install triton (CUDA builds of torch bring it; needs a C compiler, python3-dev)",
    "torchkbnufft": "pip install 'kronufft[torchkbnufft]'",
}

_DEVICES: dict[str, tuple[str, ...]] = {
    "ducc0": ("cpu",),
    "finufft": ("cpu",),
    "cufinufft": ("cuda",),
    "triton": ("cuda",),
    "torchkbnufft": ("cpu", "cuda"),
}


def choose_backend(
    shape: Sequence[int],
    device: str,
    backend: str,
    *,
    tolerance: float,
    dtype: Precision,
    deterministic: bool = False,
    elsewhere: bool = False,
) -> Backend:
    """Choose the library that computes a NUFFT, or check the one that was asked for.

    On GPUs cuFINUFFT, else triton, which has not yet run on one, else torchkbnufft, which reaches
    1e-5 at best: too little for the kernel of a Toeplitz operator. On CPUs ducc0, then FINUFFT;
    whichever is installed and reaches the tolerance. Measured on 2 cores, complex64, adjoint at
    1e-3: 8 coils of 128^3 and 5.1 M samples 0.93 s with ducc0, 1.84 with FINUFFT; 12 coils of 256^2
    0.053 and 0.066; 24 frames of 12 coils of 192^2 0.15 and 0.21.

    Parameters
    ----------
    device
        Where the data are: ``cpu`` or ``cuda``.
    backend
        ``"auto"`` or a backend's name.
    tolerance
        Relative l2 error allowed.
    elsewhere
        Whether this is a prediction for another machine, on which libraries may be installed that
        are not installed here: those of a device are taken to be.

    Raises
    ------
    ConfigError
        If the backend is unknown, does not work on the device or in the dtype, or cannot reach the
        tolerance.
    DependencyError
        If it is not installed.
    """
    if len(shape) not in (1, 2, 3):
        raise ShapeError(f"NUFFT: found the matrix {tuple(shape)}, allowed are 1 to 3 axes.")
    if deterministic and device != "cpu":
        raise ConfigError(
            f"deterministic results were asked for on {device}, where numbers are added in an "
            "order that changes from run to run; set compute.device to cpu."
        )
    better = ""
    if backend == "auto":
        order: tuple[Backend, ...] = ("ducc0", "finufft", "torchkbnufft")
        if device != "cpu":
            order = ("cufinufft", "triton", "torchkbnufft")
        reach = [name for name in order if tolerance >= smallest_tolerance(name, shape, dtype)]
        for name in reach:
            if usable(name) or (elsewhere and device != "cpu"):
                return name
        backend = next(filter(usable, order), order[0])  # whose complaint is the most useful one
        if reach and backend not in reach:
            better = f"; or install {reach[0]}, which reaches it: `{INSTALL[reach[0]]}`"
    if backend not in BACKENDS:
        raise ConfigError(
            f"NUFFT: found the backend {backend!r}, allowed are auto, {', '.join(BACKENDS)}."
        )
    if not elsewhere and (missing := _why_missing(backend)):
        raise DependencyError(
            f"NUFFT backend {backend} {missing}. Install it with `{INSTALL[backend]}`, "
            "or set the backend to auto."
        )
    if device not in _DEVICES[backend]:
        raise ConfigError(
            f"NUFFT backend {backend} works on {' and '.join(_DEVICES[backend])}, found {device}; "
            "use another device or the backend auto."
        )
    smallest = smallest_tolerance(backend, shape, dtype)
    if tolerance < smallest:
        raise ConfigError(
            f"NUFFT backend {backend} reaches {smallest:.1e} at best for the matrix {tuple(shape)} "
            f"in {dtype}, found tolerance {tolerance:.1e}; raise the tolerance, use double "
            f"precision or another backend{better}."
        )
    return backend


def usable(backend: Backend) -> bool:
    """Tell whether a backend is installed, with all that it needs."""
    return not _why_missing(backend)


def _why_missing(backend: Backend) -> str:
    if not find_spec(backend):
        return "is not installed"
    if backend == "triton":
        return _why_triton_fails()
    return _why_cufinufft_fails() if backend == "cufinufft" else ""


def _why_triton_fails() -> str:
    """Return why Triton cannot build what it starts its kernels with; nothing where it can."""
    if not any(map(shutil.which, (os.environ.get("CC", ""), "gcc", "clang"))):
        return "finds no C compiler"
    headers = Path(sysconfig.get_path("include", "posix_prefix"))
    return "" if (headers / "Python.h").exists() else f"misses Python.h in {headers}"


@cache
def _why_cufinufft_fails() -> str:
    """Return why cuFINUFFT cannot be loaded; nothing where it can.

    It needs libraries of CUDA, which pip puts where the loader does not look: into folders of the
    namespace package ``nvidia``, ``cufft/lib`` up to CUDA 12 and ``cu13/lib`` since.
    """
    places = [path for folder in _folders("nvidia") for path in folder.glob("*/lib/*.so.*")]
    libraries = {path.name: path for path in places}
    try:
        for folder in _folders("cufinufft"):
            for library in folder.glob("libcufinufft.so"):
                _load(library, libraries)
        importlib.import_module("cufinufft")
    except (ImportError, OSError) as error:
        return f"does not load ({error})"
    return ""


def _folders(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def _load(library: Path, others: dict[str, Path]) -> None:
    """Load a library after those of `others` that the loader misses, which are taken out.

    Raises
    ------
    OSError
        If one is missing that is not among them; its name comes first.
    """
    while True:
        try:
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
            return
        except OSError as error:
            missing = others.pop(str(error).partition(":")[0], None)
            if missing is None:
                raise
        _load(missing, others)
