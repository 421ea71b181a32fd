"""What a SICD tells of an image beside its pixels, as sarkit's metadata."""

import re
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.merge.sicd_grid import SicdGrid
from pipeline.storage.radar import RadarCollection

if TYPE_CHECKING:
    from sarkit.sicd import NitfMetadata

_NAMESPACE = "urn:SICD:1.4.0"
_PATH_ORDER = 5
"""Of the polynomials in time that the antenna's path is told by."""
_WIDTH = 0.8859
"""Of the response of an evenly filled band, at half its power, times the band."""
_FLAT = np.cos(np.deg2rad(5))
"""Cosine to the vertical above which a plane's normal makes it the ground."""
_CLASSES = {"UNCLASSIFIED": "U", "RESTRICTED": "R", "CONFIDENTIAL": "C", "SECRET": "S", "TOP": "T"}


def metadata(
    grid: SicdGrid, radar: RadarCollection, title: str, *, autofocused: bool = False
) -> "NitfMetadata":
    """Return the metadata of an image; autofocused, all of it has the same phase of each pulse.

    `DataError` if the classification is none of NATO's words.
    """
    from lxml import etree
    from sarkit import sicd

    told = radar.details
    word = re.match("[A-Z]*", told["classification"].strip().upper())
    mark = _CLASSES.get(word[0]) if word else None
    if mark is None:
        raise DataError(
            f"{title}: its classification is {told['classification']!r}; expected one that begins "
            f"with {', '.join(_CLASSES)}; or set `output.sicd: false`"
        )
    root = etree.Element(f"{{{_NAMESPACE}}}SICD", nsmap={None: _NAMESPACE})
    content = sicd.ElementWrapper(root)
    for name, value in (
        _collection(told) | _image(grid, radar) | _antenna(radar, autofocused)
    ).items():
        content[name] = value
    tree = root.getroottree()
    content["SCPCOA"] = sicd.compute_scp_coa(tree)
    content["GeoData"]["ImageCorners"] = _corners(tree, grid)
    security = sicd.NitfSecurityFields(clas=mark)
    return sicd.NitfMetadata(
        xmltree=tree,
        file_header_part=sicd.NitfFileHeaderPart(
            ostaid="kronufft", ftitle=title[:80], security=security
        ),
        im_subheader_part=sicd.NitfImSubheaderPart(
            isorce=told["collector"][:42], security=security
        ),
        de_subheader_part=sicd.NitfDeSubheaderPart(security=security),
    )


def _collection(told: Mapping[str, str]) -> dict[str, Any]:
    """Return what the source says of its collection."""
    return {
        "CollectionInfo": {
            "CollectorName": told["collector"],
            "CoreName": told["core_name"],
            "CollectType": told["type"],
            "RadarMode": {"ModeType": told["mode"]},
            "Classification": told["classification"],
        },
        "ImageCreation": {"Application": f"Kronufft {version('kronufft')}"},
    }


def _image(grid: SicdGrid, radar: RadarCollection) -> dict[str, Any]:
    """Return pixels, the place of the reference point, and the grid on the image's plane."""
    from sarkit import wgs84

    rows, columns = grid.shape
    place = radar.frame.on_earth(grid.position(*grid.middle))
    geodetic = wgs84.cartesian_to_geodetic(place)
    on_earth = grid.directions @ radar.frame.axes
    flat = np.cross(*on_earth) @ wgs84.up(geodetic) > _FLAT
    slant = radar.details["plane"] == "slant"
    plane = "SLANT" if slant else "GROUND" if flat else "OTHER"
    described = {}
    for axis, name in enumerate(("Row", "Col")):
        # Of a grid too coarse for the band all of what it holds is used, wrapped around.
        half = min(grid.width[axis], 1 / grid.spacing[axis]) / 2
        described[name] = {
            "UVectECF": on_earth[axis],
            "SS": grid.spacing[axis],
            "ImpRespWid": _WIDTH / (2 * half),
            "Sgn": -1,
            "ImpRespBW": 2 * half,
            "KCtr": grid.centre[axis],
            "DeltaK1": -half,
            "DeltaK2": half,
        }
    return {
        "ImageData": {
            "PixelType": "RE32F_IM32F",
            "NumRows": rows,
            "NumCols": columns,
            "FirstRow": 0,
            "FirstCol": 0,
            "FullImage": {"NumRows": rows, "NumCols": columns},
            "SCPPixel": np.array(grid.middle),
        },
        "GeoData": {
            "EarthModel": "WGS_84",
            "SCP": {"ECF": place, "LLH": geodetic},
        },
        "Grid": {
            "ImagePlane": plane,
            "Type": "PLANE",
            # All pulses add to each pixel.
            "TimeCOAPoly": np.array([[float(radar.times.mean())]]),
            **described,
        },
    }


def _antenna(radar: RadarCollection, autofocused: bool) -> dict[str, Any]:
    """Return times, the antenna's path, and what was sent and used."""
    path = radar.frame.on_earth((radar.transmitter + radar.receiver) / 2)
    order = min(_PATH_ORDER, len(path) - 1)
    fits = [Polynomial.fit(radar.times, along, order).convert() for along in path.T]
    coefficients = np.zeros((order + 1, 3))
    for axis, fit in enumerate(fits):
        coefficients[: len(fit.coef), axis] = fit.coef
    start = datetime.fromisoformat(radar.details["start"])
    end = float(radar.times.max())
    low, high = radar.frequencies
    both = radar.details["transmitted"], radar.details["received"]
    polarisation = "UNKNOWN" if "UNKNOWN" in both else ":".join(both)
    return {
        "Timeline": {"CollectStart": start, "CollectDuration": end},
        "Position": {"ARPPoly": coefficients},
        "RadarCollection": {
            "TxFrequency": {"Min": low, "Max": high},
            "TxPolarization": radar.details["transmitted"],
            "RcvChannels": {
                "@size": 1,
                "ChanParameters": [{"@index": 1, "TxRcvPolarization": polarisation}],
            },
        },
        "ImageFormation": {
            "RcvChanProc": {"NumChanProc": 1, "ChanIndex": [1]},
            "TxRcvPolarizationProc": polarisation,
            "TStartProc": float(radar.times.min()),
            "TEndProc": end,
            "TxFrequencyProc": {"MinProc": low, "MaxProc": high},
            "ImageFormAlgo": "OTHER",
            "STBeamComp": "NO",
            "ImageBeamComp": "NO",
            "AzAutofocus": "GLOBAL" if autofocused else "NO",
            "RgAutofocus": "NO",
        },
    }


def _corners(tree: Any, grid: SicdGrid) -> NDArray[np.float64]:
    """Return latitude and longitude of the corners on the ground, clockwise, ``(4, 2)`` [deg]."""
    from sarkit import sicd, wgs84

    load: Any = sicd.XmlHelper(tree).load
    place, geodetic = load("{*}GeoData/{*}SCP/{*}ECF"), load("{*}GeoData/{*}SCP/{*}LLH")
    rows, columns = (np.array(ends) for ends in ((0, 0, 1, 1), (0, 1, 1, 0)))
    pixels = np.stack([rows * (grid.shape[0] - 1), columns * (grid.shape[1] - 1)], axis=1)
    offsets = (pixels - grid.middle) * grid.spacing
    ground, *_ = sicd.image_to_ground_plane(tree, offsets, place, wgs84.up(geodetic))
    return np.asarray(wgs84.cartesian_to_geodetic(ground)[:, :2])
