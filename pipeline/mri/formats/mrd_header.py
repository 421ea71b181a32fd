"""The XML header of ISMRMRD files, version 1 [1]_. Untrusted: entities are refused.

References
----------
.. [1] ismrmrd/ismrmrd, `schema/ismrmrd.xsd`.
"""

from dataclasses import dataclass
from xml.etree import ElementTree

from pipeline.errors import DataError
from pipeline.mri.formats.encoding_space import EncodingSpace, Space

LONGEST_HEADER = 10**7
_AXES = ("z", "y", "x")
_LIMITS = ("kspace_encoding_step_1", "kspace_encoding_step_2")
"""As the header calls the counters `kspace_encode_step_1` and `_2`."""


@dataclass(frozen=True)
class MrdHeader:
    """What is used of a header."""

    encodings: tuple[EncodingSpace, ...]
    noise_bandwidth: float | None
    """Of the receiver's noise, relative to what the dwell time tells."""


def parse_header(text: bytes, who: str) -> MrdHeader:
    """Return what a header tells.

    Raises
    ------
    DataError
        If it is no XML, has no encoding, or sizes that cannot be.
    """
    if len(text) > LONGEST_HEADER or b"<!" in text.replace(b"<!--", b""):
        raise DataError(f"{who}: the XML header is too long, or declares entities; write it again")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{who}: the XML header is not readable ({error})") from None
    for element in root.iter():  # names without their name space
        element.tag = element.tag.rpartition("}")[2]
    encodings = tuple(
        _encoding(element, f"{who}: encoding {number} of the XML header")
        for number, element in enumerate(root.findall("encoding"))
    )
    if not encodings:
        raise DataError(f"{who}: the XML header has no encoding; it is no ISMRMRD header")
    ratio = root.findtext("acquisitionSystemInformation/relativeReceiverNoiseBandwidth")
    bandwidth = _number(ratio) if ratio else None
    return MrdHeader(encodings, bandwidth if bandwidth and 0.1 < bandwidth < 10 else None)


def _encoding(element: ElementTree.Element, who: str) -> EncodingSpace:
    centres = {
        name.replace("encoding", "encode"): int(centre)
        for name in _LIMITS
        if (centre := element.findtext(f"encodingLimits/{name}/center", "").strip()).isdigit()
    }
    announced = {
        limit.tag.replace("encoding", "encode"): int(largest)
        for limit in element.iterfind("encodingLimits/*")
        if (largest := limit.findtext("maximum", "").strip()).isdigit()
    }
    return EncodingSpace(
        encoded=_space(element, "encodedSpace", who),
        image=_space(element, "reconSpace", who),
        trajectory=(element.findtext("trajectory") or "other").strip().lower(),
        centres=centres,
        announced=announced,
    )


def _space(element: ElementTree.Element, name: str, who: str) -> Space:
    sizes = [element.findtext(f"{name}/matrixSize/{axis}") for axis in _AXES]
    lengths = [element.findtext(f"{name}/fieldOfView_mm/{axis}") for axis in _AXES]
    try:
        z, y, x = (int(size or "") for size in sizes)
        view = tuple(float(length or "") * 1e-3 for length in lengths)
    except ValueError:
        raise DataError(
            f"{who}: {name} has the matrix {sizes} and the field of view {lengths} (z, y, x); "
            "expected numbers"
        ) from None
    if min(z, y, x) < 1 or max(z, y, x) > 10**5 or not all(0 <= each < 100 for each in view):
        raise DataError(
            f"{who}: {name} has the matrix {(z, y, x)} and the field of view {lengths} mm "
            "(z, y, x); expected 1 voxel or more, and lengths of 0 to 100 m"
        )
    return Space((z, y, x), (view[0], view[1], view[2]))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
