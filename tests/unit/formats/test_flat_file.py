"""Parts of an array in a file: their values, and what reading them takes."""

import tracemalloc

import numpy as np
import pytest

from pipeline.formats.flat_file import FlatFile

SHAPE = (7, 120, 1500)
PARTS = {
    "all": np.s_[0:7, 0:120, 0:1500],
    "rows": np.s_[0:7, 11:17, 0:1500],
    "a slab": np.s_[3:4, 0:120, 0:1500],
    "ends of rows": np.s_[0:7, 0:120, 1465:1500],
    "a block": np.s_[2:6, 9:100, 7:700],
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_part_is_what_numpy_reads_and_takes_what_is_predicted(part, order, tmp_path):
    values = np.random.default_rng(0).normal(size=(*SHAPE, 2)).view(np.complex128)[..., 0]
    path = tmp_path / "values"
    path.write_bytes(b"head" + values.astype(">c8").tobytes(order))
    file = FlatFile(SHAPE, np.dtype(">c8"), order, path, 4)
    tracemalloc.start()
    try:
        found = file[part]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, values.astype(np.complex64)[part])
    assert peak <= file.reading_bytes(found.shape) + 2**14
