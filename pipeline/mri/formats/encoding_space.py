"""What a scanner's header tells of k-space: matrix, field of view and centre.

The words are those of ISMRMRD [1]_, whose header other formats also carry or are like.

References
----------
.. [1] S. J. Inati et al., "ISMRM Raw data format: A proposed standard for MRI raw datasets", Magn.
   Reson. Med. 77, 411-421 (2017).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

_WHOLE = 1e-2
"""Of a sample, by which an oversampling factor may miss a whole number of samples."""


@dataclass(frozen=True)
class Space:
    """A matrix over a field of view."""

    matrix: tuple[int, int, int]
    """``(z, y, x)``."""
    field_of_view: tuple[float, float, float]
    """``(z, y, x)`` [m]."""

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """``(z, y, x)`` [m]."""
        sizes = zip(self.field_of_view, self.matrix, strict=True)
        z, y, x = (length / size for length, size in sizes)
        return z, y, x


@dataclass(frozen=True)
class EncodingSpace:
    """How one part of an acquisition is encoded."""

    encoded: Space
    """What k-space was measured for, with oversampling."""
    image: Space
    """What the image is to be."""
    trajectory: str
    """``cartesian``, ``radial``, ``spiral``, ... as the file says it."""
    centres: Mapping[str, int] = field(default_factory=dict)
    """The value of a counter in the centre of k-space, by the counter's name."""
    announced: Mapping[str, int] = field(default_factory=dict)
    """The largest value that a counter is to reach, by the counter's name."""


@dataclass(frozen=True)
class CartesianSampling:
    """Readouts along x at whole numbers of cycles per field of view."""

    shape: tuple[int, ...]
    """Image matrix, ``(z, y, x)``, or ``(y, x)`` of a single slice."""
    voxel_size: tuple[float, float, float]
    """``(z, y, x)`` [m]."""
    samples: int
    """Of a readout as it is stored here."""
    centre: int
    """The sample in the centre of k-space."""
    oversampled: int | None
    """Samples of a readout as it is listed, where some are taken away."""
    line_centres: tuple[int, ...]
    """Number of the line in the centre of k-space, along the axes before x."""

    def remove_oversampling(self, readouts: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Cut the field of view along x to that of the image; samples stay as large as they are.

        ``readouts`` are ``[..., sample]``.
        """
        if self.oversampled is None:
            return np.asarray(readouts, np.complex64)
        size, kept = self.oversampled, self.samples
        image = np.fft.ifft(np.fft.ifftshift(readouts, axes=-1), axis=-1)
        # From here on the voxel in the centre is the first one.
        image = np.concatenate(
            [image[..., : (kept + 1) // 2], image[..., size - kept // 2 :]], axis=-1
        )
        return np.asarray(np.fft.fftshift(np.fft.fft(image, axis=-1), axes=-1), np.complex64)

    def trajectory(self, lines: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return where readouts were sampled, float64 ``[readout, sample, axis]`` [rad/voxel].

        ``lines`` are the numbers of the lines, ``[readout, axis]``, for the axes before x.
        """
        cycles = np.empty((len(lines), self.samples, len(self.shape)))
        cycles[..., :-1] = (lines - np.asarray(self.line_centres))[:, None]
        cycles[..., -1] = np.arange(self.samples) - self.centre
        return np.asarray(2 * np.pi * cycles / np.asarray(self.shape))


def cartesian_sampling(
    space: EncodingSpace,
    *,
    samples: int,
    centre: int,
    dimensions: int,
    who: str,
    keep: bool = False,
) -> CartesianSampling:
    """Return how Cartesian readouts of so many samples lie in k-space.

    Oversampling along x is taken away where the echo is whole, unless it is to ``keep``. The image
    then has the field of view of the header along x, and along the other axes all that was encoded.

    Raises
    ------
    DataError
        If the readouts are longer than the encoded matrix.
    """
    matrix = space.encoded.matrix
    before, after = centre, samples - centre
    if before > matrix[-1] // 2 or after > -(-matrix[-1] // 2):
        raise DataError(
            f"{who}: readouts of {samples} samples with the centre at sample {centre}, but the "
            f"encoded matrix has {matrix[-1]} along x; correct the header, or `encoding`"
        )
    if dimensions == 2 and matrix[0] > 1:
        matrix = (1, *matrix[1:])
    measured, wanted = space.encoded.field_of_view[-1], space.image.field_of_view[-1]
    kept = matrix[-1] * wanted / measured if measured > 0 else matrix[-1]
    whole = round(kept)
    removes = (
        not keep and samples == matrix[-1] and 2 <= whole < samples and abs(kept - whole) < _WHOLE
    )
    shape = (*matrix[-dimensions:-1], whole if removes else matrix[-1])
    return CartesianSampling(
        shape=shape,
        voxel_size=space.encoded.voxel_size,
        samples=whole if removes else samples,
        centre=whole // 2 if removes else centre,
        oversampled=samples if removes else None,
        line_centres=tuple(
            space.centres.get(name, matrix[axis] // 2)
            for axis, name in ((0, "kspace_encode_step_2"), (1, "kspace_encode_step_1"))
        )[-(dimensions - 1) :],
    )
