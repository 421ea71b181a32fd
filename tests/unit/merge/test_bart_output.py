import numpy as np
import pytest
from merged_images import merged_of

from pipeline.merge.bart import write_bart
from pipeline.mri.formats.bart import open_cfl


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_dimensions_are_those_of_bart(tmp_path, dtype):
    random = np.random.default_rng(6)
    shape = (2, 3, 4, 5)
    values = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
    write_bart(tmp_path / "bart", merged_of(tmp_path, values))
    # As BART's own documentation says it: sizes in the second line, values in Fortran's order.
    header = (tmp_path / "bart/image.hdr").read_text().splitlines()
    assert header == ["# Dimensions", "5 4 3 1 1 1 1 1 1 1 2 1 1 1 1 1"]
    sizes = [int(size) for size in header[1].split()]
    found = np.fromfile(tmp_path / "bart/image.cfl", "<c8").reshape(sizes, order="F")
    expected = values.transpose(3, 2, 1, 0).astype("complex64")  # x, y, z, frame
    np.testing.assert_array_equal(found.squeeze(), expected)
    assert open_cfl(tmp_path / "bart/image").shape == tuple(reversed(sizes))
