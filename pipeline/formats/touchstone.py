"""Touchstone files of network analysers, read by scikit-rf [1]_: ``.s2p``, ``.s24p``, ``.ts``.

Scattering parameters have the time dependence ``exp(+j w t)``: their phase falls with the path.

References
----------
.. [1] IBIS Open Forum, "Touchstone File Format Specification", version 2.1 (2024).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DependencyError
from pipeline.formats.number_table import require_small

MATRIX, FREQUENCIES = "s", "frequencies"
"""Names of what a file holds: ``[freq, receiving port, sending port]`` and ``[freq]`` [Hz]."""

LIBRARY_BYTES = 45 * 10**6
"""Of scikit-rf, with pandas and SciPy; measured."""


def is_touchstone(path: Path) -> bool:
    """Tell by its suffix whether a text file is one, which alone tells the number of ports."""
    return re.fullmatch(r"\.(s\d+p|ts)", path.suffix.lower()) is not None


def read_touchstone(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of a file; besides the matrix each of its elements, such as ``s21``.

    That is what port 1 sends and port 2 receives; of more than nine ports, ``s2_10``. `ValueError`
    says what is wrong.
    """
    try:
        from skrf.io.touchstone import Touchstone
    except ImportError:
        raise DependencyError(
            f"{path}: Touchstone needs the package scikit-rf: `pip install 'kronufft[vna]'`"
        ) from None
    require_small(path)
    found = Touchstone(path)
    if found.parameter != MATRIX:
        raise ValueError(f"it holds {found.parameter}-parameters; export S-parameters")
    matrix = np.asarray(found.s, np.complex128)
    ports = range(matrix.shape[-1])
    between = "_" if len(ports) > 9 else ""
    elements = {f"s{i + 1}{between}{j + 1}": matrix[:, i, j] for i in ports for j in ports}
    return {MATRIX: matrix, FREQUENCIES: np.asarray(found.f, np.float64), **elements}
