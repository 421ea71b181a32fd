"""Maps of relaxation times: of each voxel those of the dictionary's signal that fits best [1]_.

References
----------
.. [1] D. Ma, V. Gulani, N. Seiberlich, K. Liu, J. L. Sunshine, J. L. Duerk, M. A. Griswold,
   "Magnetic resonance fingerprinting", Nature 495, 187-192 (2013).
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.merge.nifti import opened_nifti, require_sizes
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.slices import StoredImages
from pipeline.pieces import pieces
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.archives import Table
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE

_AT_ONCE = 2**24
"""Bytes of images, and of how well signals fit, that are in work at one moment."""
_AMPLITUDE = "amplitude"


def write_maps(path: Path, merged: Merged) -> None:
    """Write ``T1.nii.gz`` or ``T2.nii.gz`` [s] and ``amplitude.nii.gz`` into a folder.

    Of a source's dictionary a map of each of its parameters, in whatever unit they are.

    The amplitude is the length of the voxel's part along the signal that fits best.
    """
    path.mkdir()
    tables: dict[str, NDArray[Any]] = {name: each for name, (each, _) in merged.tables.items()}
    times = {name: tables[name] for name, (_, axes) in merged.tables.items() if axes == ("entry",)}
    with ExitStack() as opened:
        files = {
            name: opened.enter_context(opened_nifti(path / f"{name}.nii.gz", merged, 1))
            for name in (*times, _AMPLITUDE)
        }
        for part in _parts(merged.images):
            of_frames = merged.along == "frame"
            coefficients = tables["basis"].conj().T @ part if of_frames else part
            best, amplitude = matched(coefficients, tables["dictionary"])
            files[_AMPLITUDE].write(amplitude.astype("<f4").data)
            for name, each in times.items():
                files[name].write(each[best].astype("<f4").data)


def matched(
    coefficients: NDArray[np.complexfloating], dictionary: NDArray[np.complexfloating]
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Return of each voxel which signal fits best, and its amplitude.

    Parameters
    ----------
    coefficients
        ``(coefficient, voxel)``.
    dictionary
        Coefficients of the signals, ``(entry, coefficient)``.
    """
    norms = np.linalg.norm(dictionary, axis=1, keepdims=True)
    unit = (dictionary / np.where(norms > 0, norms, 1)).conj()
    voxels = coefficients.shape[1]
    best, amplitude = np.empty(voxels, np.intp), np.empty(voxels, np.float32)
    for some in pieces(voxels, max(1, _AT_ONCE // (8 * len(unit)))):
        fits = _squared_products(unit, coefficients[:, some])
        best[some] = fits.argmax(axis=1)
        amplitude[some] = np.sqrt(np.take_along_axis(fits, best[some, None], axis=1)[:, 0])
    return best, amplitude


def _squared_products(
    unit: NDArray[np.complexfloating], coefficients: NDArray[np.complexfloating]
) -> NDArray[np.floating]:
    """Return the squared magnitude of all products, ``(voxel, entry)``.

    Signals of one phase, as all models here have, take half of the arithmetic.
    """
    if unit.imag.any():
        products = coefficients.T @ unit.T
        real, imaginary = products.real, products.imag
    else:
        real, imaginary = (part.T @ unit.real.T for part in (coefficients.real, coefficients.imag))
    squares = np.multiply(real, real, out=real)
    squares += np.multiply(imaginary, imaginary, out=imaginary)
    return np.asarray(squares)


def _parts(images: StoredImages) -> Iterator[NDArray[np.complexfloating]]:
    """Yield all images at some voxels, ``(image, voxel)``, in the order of the voxels."""
    frames, depth, height, width = images.shape
    rows = max(1, _AT_ONCE // (frames * width * images.dtype.itemsize))
    for plane, some in itertools.product(range(depth), pieces(height, rows)):
        found = np.asarray(images[(slice(None), slice(plane, plane + 1), some)])
        yield found.reshape(frames, -1)


def _needs(images: Images, threads: int) -> dict[str, int]:
    total = math.prod(images.shape) * images.itemsize
    row = images.shape[0] * images.shape[3] * images.itemsize
    part = min(total, max(_AT_ONCE, row))
    return {
        "maps: images": 2 * part + min(total, CHUNKS_AT_ONCE * CHUNK_BYTES),
        "maps: signals": 2 * _AT_ONCE,
    }


def _check(shape: tuple[int, ...]) -> None:
    require_sizes(shape[1:], "output.maps")


def _unsuited(acquisition: Acquisition, tables: Mapping[str, Table]) -> str:
    """Return why not, unless images are of a signal model, or of signals with parameters."""
    known = any(axes == ("entry",) for _, axes in tables.values())
    return "" if known else "for a series with a signal model, or a dictionary with parameters"


OUTPUT = Output(
    about="Relaxation times or parameters of a series, NIfTI-1",
    encoding="application/gzip",
    write=write_maps,
    needs=_needs,
    check=_check,
    folder=True,
    checksums=True,
    unsuited=_unsuited,
)
