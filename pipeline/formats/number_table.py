"""Tables of numbers as text: CSV, with or without a header line, real or complex."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGEST_BYTES = 64 * 10**6
"""Of a file, which is read whole."""


def is_text(start: bytes) -> bool:
    """Tell from its first bytes whether a file may be a table of numbers."""
    return bool(start) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)


def require_small(path: Path) -> None:
    """Raise `ValueError` if a text file is too large to be read whole."""
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(
            f"as text it may have {LARGEST_BYTES // 10**6} MB at most; store it as .npy"
        )


def read_table(path: Path) -> tuple[NDArray[np.float64 | np.complex128], list[str]]:
    """Return the numbers of a file, ``[row, column]``, and what a header calls its columns.

    Columns are separated by commas, semicolons, tabs or blanks; complex numbers are written
    ``1.5-2i`` or with j. Lines that begin with # or ! are comments, and a first line without
    numbers is a header; names with blanks need another separator. `ValueError` says what is wrong.
    """
    require_small(path)
    rows: list[list[complex]] = []
    header: list[str] = []
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or line.startswith(("#", "!")):
                continue
            cells = line.replace(",", " ").replace(";", " ").split()
            try:
                rows.append([complex(cell.replace("i", "j")) for cell in cells])
            except ValueError:
                if rows or header:
                    raise ValueError(f"line {number} holds what is no number") from None
                separators = "[,;\t]" if re.search("[,;\t]", line) else r"\s+"
                header = [cell.strip(' "') for cell in re.split(separators, line.strip())]
                continue
            if len(rows[-1]) != len(rows[0]):
                raise ValueError(
                    f"line {number} has {len(rows[-1])} numbers, those before have {len(rows[0])}"
                )
    if not rows:
        raise ValueError("it holds no numbers")
    table = np.array(rows)
    named = header if len(header) == table.shape[1] else []
    return (table if table.imag.any() else table.real.copy()), named
