"""Tables of numbers as text: CSV, with or without a header line, real or complex."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGEST_BYTES = 64 * 10**6
"""Of a file, which is read whole."""


def is_text(start: bytes) -> bool:
    """Tell from its first bytes whether a file may be a table of numbers."""
    return bool(start) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)


def read_table(path: Path) -> NDArray[np.float64 | np.complex128]:
    """Return the numbers of a file, ``[row, column]``.

    Columns are separated by commas, semicolons, tabs or blanks; complex numbers are written
    ``1.5-2i`` or with j. Lines that begin with # are comments, and a first line without numbers is
    a header. `ValueError` says what is wrong.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(
            f"as text it may have {LARGEST_BYTES // 10**6} MB at most; store it as .npy"
        )
    rows: list[list[complex]] = []
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            cells = line.replace(",", " ").replace(";", " ").split()
            try:
                rows.append([complex(cell.replace("i", "j")) for cell in cells])
            except ValueError:
                if rows or number > 1:
                    raise ValueError(f"line {number} holds what is no number") from None
                continue
            if len(rows[-1]) != len(rows[0]):
                raise ValueError(
                    f"line {number} has {len(rows[-1])} numbers, those before have {len(rows[0])}"
                )
    if not rows:
        raise ValueError("it holds no numbers")
    table = np.array(rows)
    return table if table.imag.any() else table.real.copy()
