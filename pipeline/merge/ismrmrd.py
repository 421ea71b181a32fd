"""Complex images as an ISMRMRD file (MRD version 1, HDF5) [1]_.

It holds the header of the source, as it was, where that was ISMRMRD too; else a header of matrix
and field of view. Images are in the group ``image_0``; frames are repetitions. Positions and
directions are along left, posterior, superior [mm]; where nobody knows the orientation, directions
are zero.

References
----------
.. [1] S. J. Inati et al., "ISMRM Raw data format: A proposed standard for MRI raw datasets", Magn.
   Reson. Med. 77, 411-421 (2017); layout of images: ismrmrd/ismrmrd, ``hdf5.py``.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.errors import DataError
from pipeline.geometry.orientation import lps_affine
from pipeline.merge.outputs import Merged, Output, not_of_patients
from pipeline.merge.slabs import image_slabs, slab_bytes

_HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("data_type", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("matrix_size", "<u2", 3),
        ("field_of_view", "<f4", 3),
        ("channels", "<u2"),
        ("position", "<f4", 3),
        ("read_dir", "<f4", 3),
        ("phase_dir", "<f4", 3),
        ("slice_dir", "<f4", 3),
        ("patient_table_position", "<f4", 3),
        ("average", "<u2"),
        ("slice", "<u2"),
        ("contrast", "<u2"),
        ("phase", "<u2"),
        ("repetition", "<u2"),
        ("set", "<u2"),
        ("acquisition_time_stamp", "<u4"),
        ("physiology_time_stamp", "<u4", 3),
        ("image_type", "<u2"),
        ("image_index", "<u2"),
        ("image_series_index", "<u2"),
        ("user_int", "<i4", 8),
        ("user_float", "<f4", 8),
        ("attribute_string_len", "<u4"),
    ]
)
_HDF5_BYTES = 14 * 10**6
_COMPLEX_IMAGE = 5
_COMPLEX_FLOAT = 7
_LARGEST = 2**16 - 1
_NAMESPACE = "http://www.ismrm.org/ISMRMRD"


def write_ismrmrd(path: Path, merged: Merged) -> None:
    """Write images, complex64."""
    import h5py

    frames, *volume = merged.images.shape
    part = np.dtype([("real", "<f4"), ("imag", "<f4")])
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        header = merged.header or _minimal_header(merged)
        group.create_dataset("xml", data=[header.encode()], dtype=h5py.special_dtype(vlen=bytes))
        images = group.create_group("image_0")
        images["header"] = _headers(merged)
        images.create_dataset("attributes", data=[""] * frames, dtype=h5py.string_dtype())
        stored = images.create_dataset("data", (frames, 1, *volume), part)
        planes = 0
        for slab in image_slabs(merged.images):
            frame, plane = divmod(planes, volume[0])
            where = slice(frame, frame + slab.shape[0]), 0, slice(plane, plane + slab.shape[1])
            stored[where] = slab.astype("<c8", copy=False).view(part)
            planes += slab.shape[0] * slab.shape[1]


def _headers(merged: Merged) -> NDArray[Any]:
    """Return the header of each image."""
    frames, *volume = merged.images.shape
    sizes = np.array(volume[::-1])
    lengths = 1e3 * np.array(merged.voxel_size[::-1])
    head = np.zeros(frames, _HEADER)
    head["version"] = 1
    head["data_type"] = _COMPLEX_FLOAT
    head["image_type"] = _COMPLEX_IMAGE
    head["channels"] = 1
    head["matrix_size"] = sizes
    head["field_of_view"] = sizes * lengths
    head["repetition"] = np.arange(frames)
    head["image_index"] = np.arange(1, frames + 1)
    if merged.oriented:
        places = lps_affine(merged.affine)
        head["position"] = places[:3, :3] @ (sizes // 2) + places[:3, 3]
        directions = places[:3, :3] / lengths
        for name, column in (("read_dir", 0), ("phase_dir", 1), ("slice_dir", 2)):
            head[name] = directions[:, column]
    return head


def _minimal_header(merged: Merged) -> str:
    """Return what the schema asks for, of images whose source had no such header."""
    root = ElementTree.Element("ismrmrdHeader", xmlns=_NAMESPACE)
    conditions = ElementTree.SubElement(root, "experimentalConditions")
    ElementTree.SubElement(conditions, "H1resonanceFrequency_Hz").text = "0"
    encoding = ElementTree.SubElement(root, "encoding")
    for name in ("encodedSpace", "reconSpace"):
        space = ElementTree.SubElement(encoding, name)
        matrix = ElementTree.SubElement(space, "matrixSize")
        view = ElementTree.SubElement(space, "fieldOfView_mm")
        sizes = zip("xyz", merged.images.shape[:0:-1], merged.voxel_size[::-1], strict=True)
        for axis, count, length in sizes:
            ElementTree.SubElement(matrix, axis).text = str(count)
            ElementTree.SubElement(view, axis).text = f"{1e3 * count * length:.9g}"
    ElementTree.SubElement(encoding, "encodingLimits")
    ElementTree.SubElement(encoding, "trajectory").text = "other"
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _check(shape: tuple[int, ...]) -> None:
    """Raise `DataError` if images of ``shape`` do not fit headers with 16-bit counters."""
    if max(shape) > _LARGEST:
        raise DataError(
            f"images of shape {shape} (frame, z, y, x) do not fit ISMRMRD, which counts up to "
            f"{_LARGEST}; set `output.ismrmrd: false`"
        )


def _needs(images: Images, threads: int) -> dict[str, int]:
    headers = images.shape[0] * _HEADER.itemsize * 2
    return {"ISMRMRD: a row of chunks": slab_bytes(images, 3), "ISMRMRD: headers": headers}


OUTPUT = Output(
    about="Complex images, ISMRMRD",
    encoding="application/x-hdf5",
    write=write_ismrmrd,
    needs=_needs,
    resident_bytes=_HDF5_BYTES,
    check=_check,
    unsuited=not_of_patients,
)
