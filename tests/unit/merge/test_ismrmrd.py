import ismrmrd
import numpy as np
import pytest
from merged_images import CENTRE, ORIENTATIONS, merged_of, object_images, oriented_affine

from pipeline.errors import DataError
from pipeline.merge.ismrmrd import OUTPUT, write_ismrmrd

SHAPE = (3, 4, 6, 5)
NAME = "double oblique"


@pytest.mark.parametrize("chunks", [(2, 4, 6, 5), (1, 3, 6, 5)])
def test_the_published_package_reads_it(tmp_path, chunks):
    values = object_images(NAME, SHAPE)
    affine = oriented_affine(NAME, SHAPE[1:])
    header = "<ismrmrdHeader>as it was</ismrmrdHeader>"
    merged = merged_of(tmp_path, values, affine=affine, oriented=True, header=header, chunks=chunks)
    write_ismrmrd(tmp_path / "image.h5", merged)
    with ismrmrd.Dataset(tmp_path / "image.h5", create_if_needed=False, mode="r") as file:
        assert file.read_xml_header().decode() == header
        assert file.number_of_images("image_0") == SHAPE[0]
        for frame in range(SHAPE[0]):
            image = file.read_image("image_0", frame)
            np.testing.assert_array_equal(image.data[0], values[frame])
            head = image.getHead()
            assert list(head.matrix_size) == [5, 6, 4]
            np.testing.assert_allclose(head.field_of_view[:], [15, 12, 16], rtol=1e-6)
            assert (head.repetition, head.image_type) == (frame, ismrmrd.IMTYPE_COMPLEX)
            np.testing.assert_allclose(head.position[:], 1e3 * np.array(CENTRE), rtol=1e-6)
            for found, column in zip(
                (head.read_dir, head.phase_dir, head.slice_dir), ORIENTATIONS[NAME].T, strict=True
            ):
                np.testing.assert_allclose(found[:], column, atol=1e-6)


def test_without_a_header_the_schema_is_kept(tmp_path):
    values = np.ones((1, 2, 3, 4), "complex128")
    write_ismrmrd(tmp_path / "image.h5", merged_of(tmp_path, values))
    with ismrmrd.Dataset(tmp_path / "image.h5", create_if_needed=False, mode="r") as file:
        header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        space = header.encoding[0].reconSpace
        sizes = space.matrixSize
        assert (sizes.x, sizes.y, sizes.z) == (4, 3, 2)
        view = space.fieldOfView_mm
        assert (view.x, view.y, view.z) == pytest.approx((4, 6, 8))
        assert list(file.read_image("image_0", 0).getHead().slice_dir) == [0, 0, 0]


def test_too_many_for_its_counters():
    with pytest.raises(DataError, match=r"70000.*65535.*output\.ismrmrd"):
        OUTPUT.check((70000, 1, 8, 8))
