"""CPHD files that sarkit writes, from Born sums in double precision at places on the Earth."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree
from sarkit import cphd, wgs84

C = 299_792_458.0
_NAMESPACE = "http://api.nsgreg.nga.mil/schema/cphd/1.1.0"
_PLACE = np.array([39.78, -84.09, 231.0])  # latitude, longitude [degree], height [m]
_FORMATS = {"CF8": np.dtype("c8"), "CI4": np.dtype([("real", "i2"), ("imag", "i2")])}
_EACH = {"TxTime": "F8", "RcvTime": "F8", "aFDOP": "F8", "aFRR1": "F8", "aFRR2": "F8", "FX1": "F8",
         "FX2": "F8", "TOA1": "F8", "TOA2": "F8", "TDTropoSRP": "F8", "SC0": "F8", "SCSS": "F8",
         "AmpSF": "F8", "SIGNAL": "I8"}  # fmt: skip
_VECTORS = ("TxPos", "TxVel", "RcvPos", "RcvVel", "SRPPos")


@dataclass
class Collection:
    """A straight flight past a scene at X band; what is not given is as most files have it."""

    pulses: int = 121
    samples: int = 160
    band: tuple[float, float] = (9.7e9, 10.3e9)
    own_bands: bool = False
    """Whether the band of each pulse is such that samples lie on lines across range."""
    sign: int = -1
    format: str = "CF8"
    silent: tuple[int, ...] = ()
    """Vectors without a signal."""
    grid: bool = True
    targets: np.ndarray = field(
        default_factory=lambda: np.array([[0.0, 0, 0], [6, -4, 0], [-5, -7, 0], [-7.5, 5.3, 0]])
    )
    """``[target, 3]`` along the image area's axes [m]."""

    def __post_init__(self) -> None:
        self.origin = wgs84.geodetic_to_cartesian(_PLACE)
        east, north, up = (f(_PLACE) for f in (wgs84.east, wgs84.north, wgs84.up))
        turn = np.deg2rad(25)  # of the image area, against the compass
        x, y = (
            np.cos(turn) * east + np.sin(turn) * north,
            np.cos(turn) * north - np.sin(turn) * east,
        )
        self.axes = np.stack([x, y, up])
        self.times = np.linspace(0.2, 2.2, self.pulses)
        self.velocity = 150 * (0.9 * x + 0.43 * y)
        start = self.origin - 3400 * y + 2300 * up - 900 * x - 1.2 * self.velocity
        path = start + self.times[:, None] * self.velocity
        # The receiver has flown on when an echo arrives.
        delay = 2 * np.linalg.norm(path - self.origin, axis=1) / C
        self.transmitted = path - delay[:, None] / 2 * self.velocity
        self.received = path + delay[:, None] / 2 * self.velocity
        self.delay = delay
        self.point = self.origin + 1.5 * x - 2 * y  # phases count from here

    @property
    def places(self) -> np.ndarray:
        """Where targets are on the Earth, ``[target, 3]``."""
        return self.origin + self.targets @ self.axes

    @property
    def frequencies(self) -> np.ndarray:
        """``[pulse, sample]`` [Hz]."""
        f = np.linspace(*self.band, self.samples)
        if not self.own_bands:
            return np.tile(f, (self.pulses, 1))
        sight = (self.transmitted + self.received) / 2 - self.origin
        sight /= np.linalg.norm(sight, axis=1, keepdims=True)
        along = sight @ sight[self.pulses // 2]
        return f / along[:, None] + np.linspace(-2e6, 3e6, self.pulses)[:, None]

    @property
    def signals(self) -> np.ndarray:
        """Exact sums, complex128 ``[pulse, sample]``; targets have amplitudes 1, 2, ..."""
        total = np.zeros((self.pulses, self.samples), complex)
        reference = self._path(self.point)
        for amplitude, place in enumerate(self.places, 1):
            delay = (self._path(place) - reference) / C
            total += amplitude * np.exp(self.sign * 2j * np.pi * self.frequencies * delay[:, None])
        return total

    def _path(self, place: np.ndarray) -> np.ndarray:
        return sum(np.linalg.norm(a - place, axis=1) for a in (self.transmitted, self.received))

    def write(self, path: Path) -> None:
        xml = self._xml()
        parameters = np.zeros(self.pulses, cphd.get_pvp_dtype(xml))
        f = self.frequencies
        factors = np.ones(self.pulses)
        signals = self.signals
        if self.format == "CI4":
            factors = np.abs(signals.view(float)).max(axis=1) / 30_000
            whole = np.rint((signals / factors[:, None]).view(float).reshape(*signals.shape, 2))
            stored = np.empty(signals.shape, _FORMATS["CI4"])
            stored["real"], stored["imag"] = whole[..., 0], whole[..., 1]
        else:
            stored = signals.astype("c8")
        told: dict[str, Any] = {
            "TxTime": self.times - self.delay / 2, "RcvTime": self.times + self.delay / 2,
            "TxPos": self.transmitted, "RcvPos": self.received, "SRPPos": self.point,
            "TxVel": self.velocity, "RcvVel": self.velocity,
            "FX1": f[:, 3], "FX2": f[:, -3], "SC0": f[:, 0], "SCSS": f[:, 1] - f[:, 0],
            "TOA1": -1e-7, "TOA2": 1e-7, "AmpSF": factors, "SIGNAL": 1,
        }  # fmt: skip
        for name, values in told.items():
            parameters[name] = values
        for vector in self.silent:
            parameters["SIGNAL"][vector] = 0
            stored[vector] = 7
        content = cphd.ElementWrapper(xml.getroot())
        content["ReferenceGeometry"] = cphd.compute_reference_geometry(xml, parameters)
        schema = etree.XMLSchema(file=cphd.VERSION_INFO[_NAMESPACE]["schema"])
        assert schema.validate(xml), schema.error_log
        metadata = cphd.Metadata(xmltree=xml)
        with path.open("wb") as file, cphd.Writer(file, metadata) as writer:
            writer.write_pvp("one", parameters)
            writer.write_signal("one", stored)

    def _xml(self) -> Any:
        low, high = self.frequencies[:, 3].min(), self.frequencies[:, -3].max()
        sent = self.times - self.delay / 2
        root = etree.Element(f"{{{_NAMESPACE}}}CPHD", nsmap={None: _NAMESPACE})
        content = cphd.ElementWrapper(root)
        content["CollectionID"] = {
            "CollectorName": "exact", "CoreName": "sum", "CollectType": "MONOSTATIC",
            "RadarMode": {"ModeType": "SPOTLIGHT"}, "Classification": "UNCLASSIFIED",
            "ReleaseInfo": "UNRESTRICTED",
        }  # fmt: skip
        content["Global"] = {
            "DomainType": "FX", "SGN": self.sign,
            "Timeline": {
                "CollectionStart": datetime(2020, 4, 5, 6, 7, 8, tzinfo=UTC),
                "TxTime1": sent[0], "TxTime2": sent[-1],
            },
            "FxBand": {"FxMin": low, "FxMax": high},
            "TOASwath": {"TOAMin": -1e-7, "TOAMax": 1e-7},
        }  # fmt: skip
        corners = np.array([[-9.06, -10.465], [-9.06, 9.685], [10.26, 9.685], [10.26, -10.465]])
        places = self.origin + corners @ self.axes[:2]
        scene: dict[str, Any] = {
            "EarthModel": "WGS_84",
            "IARP": {"ECF": self.origin, "LLH": _PLACE},
            "ReferenceSurface": {"Planar": {"uIAX": self.axes[0], "uIAY": self.axes[1]}},
            "ImageArea": {"X1Y1": corners[0], "X2Y2": corners[2]},
            "ImageAreaCornerPoints": wgs84.cartesian_to_geodetic(places)[:, :2],
        }
        if self.grid:
            scene["ImageGrid"] = {
                "IARPLocation": (80.0, 90.0),
                "IAXExtent": {"LineSpacing": 0.12, "FirstLine": 5, "NumLines": 161},
                "IAYExtent": {"SampleSpacing": 0.13, "FirstSample": 10, "NumSamples": 155},
            }
        content["SceneCoordinates"] = scene
        offset, fields = 0, {}
        for name in _VECTORS:
            fields[name] = {"Offset": offset, "Size": 3, "dtype": np.dtype("3f8")}
            offset += 3
        for name, kind in _EACH.items():
            fields[name] = {"Offset": offset, "Size": 1, "dtype": np.dtype(kind.lower())}
            offset += 1
        content["Data"] = {
            "SignalArrayFormat": self.format, "NumBytesPVP": 8 * offset, "NumCPHDChannels": 1,
            "Channel": [{
                "Identifier": "one", "NumVectors": self.pulses, "NumSamples": self.samples,
                "SignalArrayByteOffset": 0, "PVPArrayByteOffset": 0,
            }],
            "NumSupportArrays": 0,
        }  # fmt: skip
        content["Channel"] = {
            "RefChId": "one", "FXFixedCPHD": not self.own_bands, "TOAFixedCPHD": True,
            "SRPFixedCPHD": True,
            "Parameters": [{
                "Identifier": "one", "RefVectorIndex": self.pulses // 2,
                "FXFixed": not self.own_bands, "TOAFixed": True, "SRPFixed": True,
                "Polarization": {"TxPol": "V", "RcvPol": "V"},
                "FxC": (low + high) / 2, "FxBW": high - low, "TOASaved": 2e-7,
                "DwellTimes": {"CODId": "d", "DwellId": "d"},
            }],
        }  # fmt: skip
        content["PVP"] = fields
        content["Dwell"] = {
            "NumCODTimes": 1, "CODTime": [{"Identifier": "d", "CODTimePoly": np.array([[1.2]])}],
            "NumDwellTimes": 1,
            "DwellTime": [{"Identifier": "d", "DwellTimePoly": np.array([[2.0]])}],
        }  # fmt: skip
        return root.getroottree()
