"""The attributes of multi-frame DICOM files: all but the pixels.

Images that lie in a patient are Enhanced MR images [1]_. Those whose orientation nobody knows are
Multi-frame Secondary Capture images [2]_: the only images of DICOM that need not say where left is.
What nobody knows of an acquisition is left empty, or `DERIVED` where that is not allowed.

References
----------
.. [1] DICOM PS3.3, A.36.2, "Enhanced MR Image IOD".
.. [2] DICOM PS3.3, A.8.4, "Multi-frame Grayscale Word Secondary Capture Image IOD".
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.geometry.orientation import lps_affine
from pipeline.merge.outputs import Merged

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST_PIXEL = 2**16 - 1
_LONGEST_NAME = 64
_PER_FRAME = 0x52009230
"""The sequence of what each plane has of its own, as a pointer to what tells planes apart."""
_NAMESPACE = uuid.UUID("0a4d0d3c-5c0e-4d57-9d0e-6d6f0f6f7a11")


def dicom_header(
    merged: Merged, frames: range, slope: float, digest: str, number: int
) -> "Dataset":
    """Return all of a file but its pixels, which are to be multiplied by ``slope``.

    Parameters
    ----------
    merged, frames
        The images, and which of them the file holds.
    slope
        Value of a pixel of 1.
    digest
        Stands for the content of all images.
    number
        Of the file, from 1.
    """
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    title = f"{merged.title} {merged.source}"
    header = Dataset()
    for part in (_patient_and_study(merged), _pixels(merged), _origin(merged, slope)):
        header.update(part)
    header.SOPInstanceUID = _identifier(f"instance {title} {digest} {number}")
    header.SeriesInstanceUID = _identifier(f"series {title} {digest}")
    header.InstanceNumber = number
    header.NumberOfFrames = len(frames) * merged.images.shape[1]
    header.SharedFunctionalGroupsSequence = [_shared_groups(merged, slope)]
    header.PerFrameFunctionalGroupsSequence = list(_planes(merged, frames))
    header.update(_dimensions(several=len(frames) > 1))
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def _patient_and_study(merged: Merged) -> "Dataset":
    """Return what the images of a dataset have in common, and where the series comes from."""
    now = datetime.now(UTC)
    unknown = (
        *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
        *("ReferringPhysicianName", "StudyID", "PatientOrientation"),
    )
    return _group(
        **dict.fromkeys(unknown, ""),
        PatientName=merged.dataset,
        PatientID=merged.dataset[:_LONGEST_NAME],
        StudyInstanceUID=_identifier(f"study {merged.dataset} {merged.source}"),
        Modality="MR",
        SeriesNumber=1,
        SeriesDescription=merged.reconstruction[:_LONGEST_NAME],
        ContentDate=f"{now:%Y%m%d}",
        ContentTime=f"{now:%H%M%S}",
        Manufacturer="Kronufft",
        ManufacturerModelName="Kronufft",
        DeviceSerialNumber="none",
        SoftwareVersions=version("kronufft"),
    )


def _pixels(merged: Merged) -> "Dataset":
    """Return how pixels are stored."""
    return _group(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=merged.images.shape[2],
        Columns=merged.images.shape[3],
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        PresentationLUTShape="IDENTITY",
    )


def _origin(merged: Merged, slope: float) -> "Dataset":
    """Return the class of the images, and what it asks for."""
    from pydicom.uid import (
        EnhancedMRImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    )

    if not merged.oriented:
        return _group(
            SOPClassUID=MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
            ImageType=["DERIVED", "PRIMARY"],
            ConversionType="WSD",
            ImageComments="Orientation unknown: which side is left cannot be told.",
            RescaleSlope=_number(slope),
            RescaleIntercept="0",
            RescaleType="US",
            FrameIncrementPointer=_PER_FRAME,
        )
    kind = _kind_of_image()
    origin = _group(
        SOPClassUID=EnhancedMRImageStorage,
        ImageType=kind.FrameType,
        ContentQualification="RESEARCH",
        AcquisitionContextSequence=[],
        FrameOfReferenceUID=_identifier(f"place {merged.dataset} {merged.source}"),
        PositionReferenceIndicator="",
    )
    del kind.FrameType
    origin.update(kind)
    return origin


def _identifier(what: str) -> str:
    """Return a DICOM identifier that stands for a text."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, what).int}"


def _number(value: float) -> Any:
    """Return a number that DICOM writes as text, rounded to what fits."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value), auto_format=True)


def _group(**attributes: Any) -> "Dataset":
    from pydicom import Dataset

    group = Dataset()
    for name, value in attributes.items():
        setattr(group, name, value)
    return group


def _kind_of_image() -> "Dataset":
    return _group(
        FrameType=["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="UNKNOWN",
    )


def _shared_groups(merged: Merged, slope: float) -> "Dataset":
    """Return what all planes of a file have in common."""
    z, y, x = (_number(1e3 * size) for size in merged.voxel_size)
    window = slope * LARGEST_PIXEL
    shared = _group(
        PixelMeasuresSequence=[
            _group(PixelSpacing=[y, x], SliceThickness=z, SpacingBetweenSlices=z)
        ],
        FrameVOILUTSequence=[_group(WindowCenter=_number(window / 2), WindowWidth=_number(window))],
        PixelValueTransformationSequence=[
            _group(RescaleIntercept="0", RescaleSlope=_number(slope), RescaleType="US")
        ],
    )
    if merged.oriented:
        shared.MRImageFrameTypeSequence = [_kind_of_image()]
        directions = lps_affine(merged.affine)[:3, :2].T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        shared.PlaneOrientationSequence = [
            _group(ImageOrientationPatient=[_number(value) for value in directions.ravel()])
        ]
        region = _group(
            CodeValue="38266002", CodingSchemeDesignator="SCT", CodeMeaning="Entire body"
        )
        shared.FrameAnatomySequence = [_group(FrameLaterality="U", AnatomicRegionSequence=[region])]
    return shared


def _planes(merged: Merged, frames: range) -> Iterator["Dataset"]:
    """Yield what each plane of a file has of its own."""
    places = lps_affine(merged.affine)
    for frame in frames:
        for plane in range(merged.images.shape[1]):
            own = _group(
                FrameContentSequence=[
                    _group(
                        StackID="1",
                        InStackPositionNumber=plane + 1,
                        TemporalPositionIndex=frame + 1,
                        DimensionIndexValues=[1, plane + 1, frame + 1],
                    )
                ]
            )
            if merged.oriented:
                place = places[:3, 2] * plane + places[:3, 3]
                own.PlanePositionSequence = [
                    _group(ImagePositionPatient=[_number(value) for value in place])
                ]
                if merged.duration:
                    own.TemporalPositionSequence = [
                        _group(TemporalPositionTimeOffset=frame * merged.duration)
                    ]
            yield own


def _dimensions(*, several: bool) -> "Dataset":
    """Return that planes are counted by stack, place in the stack, and time."""
    from pydicom.datadict import tag_for_keyword

    organisation = _identifier("stack, place, time")
    return _group(
        DimensionOrganizationSequence=[_group(DimensionOrganizationUID=organisation)],
        DimensionOrganizationType="3D_TEMPORAL" if several else "3D",
        DimensionIndexSequence=[
            _group(
                DimensionOrganizationUID=organisation,
                DimensionIndexPointer=tag_for_keyword(name),
                FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
                DimensionDescriptionLabel=name,
            )
            for name in ("StackID", "InStackPositionNumber", "TemporalPositionIndex")
        ],
    )
