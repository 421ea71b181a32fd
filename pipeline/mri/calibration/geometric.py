"""Geometric coil compression: virtual coils of their own at each position along the readouts.

Where Cartesian readouts sample an axis fully, an inverse FFT along them tells its positions apart,
and at each of them fewer combinations of coils hold the signal than of the whole volume [1]_. The
combinations of neighbouring positions are turned to be most alike, so that virtual coils vary
slowly along the readouts, as maps and calibrations from the centre of k-space need.

References
----------
.. [1] T. Zhang, J. M. Pauly, S. S. Vasanawala, M. Lustig, "Coil compression for accelerated imaging
   with Cartesian sampling", Magn. Reson. Med. 69, 571-582 (2013).
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.mri.raw import RawData
from pipeline.mri.readout_axis import ReadoutAxis
from pipeline.pieces import pieces
from pipeline.progress import track


def covariances_along(
    raw: RawData, width: int, readouts_at_once: int, who: str
) -> NDArray[np.complex128]:
    """Return ``sum y y^H`` at each position along the readouts, complex128 ``(voxel, coil, coil)``.

    Of the readouts within ``width / 2`` Cartesian samples of the centre of k-space. All cells
    across the readouts count alike, however often they were sampled.

    Raises
    ------
    DataError
        If readouts do not all sample one axis of the matrix fully, in the same order.
    """
    import torch

    along = ReadoutAxis.of(raw)
    slabs = pieces(raw.readouts, readouts_at_once)
    counts = np.zeros((width + 2,) * (len(raw.shape) - 1), np.intp)

    def centre(frame: int, slab: slice) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], ...]]:
        """Return which readouts lie in the centre, and the cells they are in."""
        lines = None if along is None else along.lines(raw, frame, slab)
        if lines is None:
            raise DataError(
                f"{who}: calibration.compression is geometric, which needs Cartesian readouts that "
                "all sample one axis of the matrix fully, in the same order, and these do not; set "
                "it to svd"
            )
        inside = np.flatnonzero(np.linalg.norm(lines, axis=-1) <= width / 2)
        cells = np.rint(lines[inside]).astype(np.intp) + (width + 2) // 2
        return inside, tuple(np.clip(cells, 0, width + 1).T)

    for frame, slab in itertools.product(range(raw.frames if raw.own_trajectory else 1), slabs):
        np.add.at(counts, centre(frame, slab)[1], 1)
    assert along is not None
    total = torch.zeros((raw.samples, raw.coils, raw.coils), dtype=torch.complex128)
    with track(f"{who}: covariances of the coils", raw.frames * len(slabs)) as advance:
        for frame, slab in itertools.product(range(raw.frames), slabs):
            inside, cells = centre(frame, slab)
            for some in pieces(len(inside), lines_at_once(raw.shape, width)):
                lines = inside[some]
                samples = np.empty((raw.coils, len(lines), raw.samples), np.complex64)
                for coil in range(raw.coils):
                    samples[coil] = raw.kspace(frame, slice(coil, coil + 1), slab)[0, lines]
                samples /= np.sqrt(counts[cells][some]).astype(np.float32)[:, None]
                there = along.to_positions(torch.from_numpy(samples)).permute(2, 0, 1)
                total += there @ there.mH
            advance()
    if not total.any():
        raise DataError(
            f"{who}: no readouts within {width} / 2 Cartesian samples of the centre of k-space, "
            "which coils are compressed by; raise calibration.calibration_width or set "
            "calibration.virtual_coils to all"
        )
    return np.fft.fftshift(total.numpy(), axes=0)


def lines_at_once(shape: Sequence[int], width: int) -> int:
    """Return how many readouts are transformed together: about as many as the centre has cells."""
    return math.ceil(0.8 * float(width + 2) ** (len(shape) - 1))


def aligned(components: NDArray[np.complex128], start: int) -> NDArray[np.complex128]:
    """Return combinations ``(voxel, virtual coil, coil)``, turned to vary slowly along the voxels.

    From ``start`` on to both ends, those of each voxel are turned among themselves by the unitary
    matrix that brings them nearest to those of the voxel before.
    """
    turned = components.copy()
    ends: tuple[Iterable[int], int] = range(start + 1, len(turned)), -1
    for voxels, before in (ends, (range(start - 1, -1, -1), 1)):
        for voxel in voxels:
            u, _, vh = np.linalg.svd(turned[voxel + before] @ turned[voxel].conj().T)
            turned[voxel] = u @ vh @ turned[voxel]
    return turned
