"""Echo-planar readouts: line after line, to and fro."""

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.generators.numbering import ALL, spoke


def epi(
    readouts: int, samples: int, *, lines: int = 1, frame: int = 0, selection: slice = ALL
) -> NDArray[np.float64]:
    """Return readouts of several lines of a uniform 2D grid, every other one in reverse [1]_.

    There are ``readouts * lines`` lines; those of readout r are numbers ``r``, ``r + readouts``,
    ... Line ``readouts * lines // 2``, and of each line the sample in its middle, are the centre.
    Each frame has the same.

    References
    ----------
    .. [1] P. Mansfield, "Multi-planar image formation using NMR spin echoes", J. Phys. C 10,
       L55-L58 (1977).

    Raises
    ------
    ValueError
        If a readout does not hold a whole number of samples of each line.
    """
    if samples % lines:
        raise ValueError(f"{samples} samples of a readout are no whole number in {lines} lines")
    along = spoke(samples // lines)
    heights = spoke(readouts * lines).reshape(lines, readouts).T[selection]
    trajectory = np.empty((*heights.shape, samples // lines, 2))
    trajectory[..., 0] = heights[..., None]
    trajectory[:, ::2, :, 1] = along
    trajectory[:, 1::2, :, 1] = along[::-1]
    return trajectory.reshape(len(heights), samples, 2)
