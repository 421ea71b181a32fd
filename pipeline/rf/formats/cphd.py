"""Compensated Phase History Data of the NGA, read by sarkit: one channel of a file [1]_.

Vectors are pulses. Signals are in the frequency domain (``DomainType`` FX), as complex numbers of
any of the three formats, not compressed. Positions and the reference point of each vector, Earth-
centred, become positions in the frame of the scene, see `pipeline.rf.formats.cphd_scene`.
Vectors that hold no signal (parameter ``SIGNAL``) are left out, and so are samples outside the band
that all vectors have (``FX1`` to ``FX2``).

References
----------
.. [1] NGA.STND.0068-1, "Compensated Phase History Data (CPHD): Design & Implementation Description
   Document", version 1.1.0 (2021).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, DependencyError, KronufftError
from pipeline.formats.lazy import Selection, describe_files, existing_source
from pipeline.geometry.earth import EarthFrame
from pipeline.rf.formats.acquisition import PhaseHistory, RfAcquisition, scene_of
from pipeline.rf.formats.cphd_scene import image_frame, scene_of_grid
from pipeline.rf.geometry.antenna_paths import AntennaPaths

_LIBRARY_BYTES = 10 * 10**6
"""Of sarkit and lxml; measured."""
_VECTOR_BYTES = 5
"""Copies of the parameters of all vectors, and of positions made of them."""
_PIECE_BYTES = 2**22
_UNKNOWN = "UNKNOWN"
_MAGIC = b"CPHD/"
_ALIKE = 1e-3
"""Hz: frequencies of vectors that differ by less are the same."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
    """Open a channel of a CPHD file; settings may give the image's grid, and must if it does not.

    Raises
    ------
    DependencyError
        If sarkit is not installed.
    ConfigError
        If neither file nor settings give a grid.
    DataError
        If the file is damaged, or holds what cannot be read.
    """
    try:
        from sarkit import cphd
    except ImportError:
        raise DependencyError(
            f"{dataset}: CPHD needs the package sarkit: `pip install 'kronufft[sar]'`"
        ) from None
    path = existing_source(settings, dataset)
    who = f"{dataset}: {path}"
    budget.load(_LIBRARY_BYTES)
    with ExitStack() as stack:
        with understood(who):
            file = stack.enter_context(path.open("rb"))
            reader = stack.enter_context(cphd.Reader(file))
            channel = _Channel.of(path, reader, settings.details.channel, budget, who)
            frame = image_frame(channel.xml, channel.middle, settings.details.plane, who)
            if settings.details.scene is not None:
                scene = scene_of(settings, dataset)
            else:
                scene = scene_of_grid(channel.xml, settings.details.plane, who)
            history = channel.history(frame)
        details = channel.details | {"plane": settings.details.plane}
        radar = {"frame": frame.attributes, "details": details}
        yield RfAcquisition.of_pulses(scene, history, {"times": channel.times[None]}, radar=radar)


def is_cphd(path: Path) -> bool:
    """Whether a file begins with this format's name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


@contextmanager
def understood(who: str) -> Iterator[None]:
    """Report what the reader makes of a damaged file, which is documented nowhere."""
    from lxml.etree import LxmlError

    try:
        yield
    except KronufftError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, LxmlError) as error:
        raise DataError(f"{who}: damaged, or no CPHD file ({error!r})") from None


class _Channel:
    """One channel: parameters of its vectors, and what the file's XML says of it."""

    def __init__(
        self, path: Path, reader: Any, name: str, pvp: NDArray[Any], samples: int, who: str
    ) -> None:
        self.path, self.reader, self.name, self.who = path, reader, name, who
        self.xml = reader.metadata.xmltree
        self.kept = np.arange(len(pvp))
        if "SIGNAL" in (pvp.dtype.names or ()):
            self.kept = np.flatnonzero(pvp["SIGNAL"] == 1)
        if not len(self.kept):
            raise DataError(f"{who}: channel {name} has no vector with a signal")
        self.pvp = pvp[self.kept]
        self.samples = samples
        self.first, self.last = self._common_band()
        self.times = (self.pvp["TxTime"] + self.pvp["RcvTime"]) / 2

    @classmethod
    def of(
        cls, path: Path, reader: Any, wanted: str | None, budget: Budget, who: str
    ) -> "_Channel":
        """Return the channel that is asked for, or the only one."""
        xml = reader.metadata.xmltree
        names = [each.text for each in xml.findall("{*}Data/{*}Channel/{*}Identifier")]
        if wanted is None and len(names) > 1:
            raise DataError(
                f"{who}: there are {len(names)} channels: {', '.join(names)}; choose one with "
                "`channel`"
            )
        name = names[0] if wanted is None else wanted
        if name not in names:
            raise DataError(f"{who}: there is no channel {name}; there are {', '.join(names)}")
        domain = xml.findtext("{*}Global/{*}DomainType")
        if domain != "FX":
            raise DataError(
                f"{who}: its signals are in the domain {domain}; expected FX, frequencies: "
                "transform them first"
            )
        if xml.find("{*}Data/{*}SignalCompressionID") is not None:
            raise DataError(f"{who}: its signals are compressed; expand them first")
        about = xml.find(f"{{*}}Data/{{*}}Channel[{{*}}Identifier='{name}']")
        vectors, samples = (int(about.findtext(f"{{*}}Num{w}")) for w in ("Vectors", "Samples"))
        size = vectors * int(xml.findtext("{*}Data/{*}NumBytesPVP"))
        budget.require({"parameters of vectors": _VECTOR_BYTES * size})
        budget.hold(2 * size)
        return cls(path, reader, name, reader.read_pvps(name), samples, who)

    def _common_band(self) -> tuple[int, int]:
        """Return the first of those samples that lie in the band of all vectors, and the end."""
        start, step = self.pvp["SC0"], self.pvp["SCSS"]
        first = int(np.ceil((self.pvp["FX1"] - start) / step - 1e-6).max())
        last = int(np.floor((self.pvp["FX2"] - start) / step + 1e-6).min()) + 1
        first, last = max(first, 0), min(last, self.samples)
        if last - first < 2:
            raise DataError(
                f"{self.who}: the vectors of channel {self.name} have no band in common: FX1 is up "
                f"to {self.pvp['FX1'].max():.6g} Hz and FX2 from {self.pvp['FX2'].min():.6g} Hz on"
            )
        return first, last

    @property
    def middle(self) -> NDArray[np.float64]:
        """Where the antennas are in the middle of the collection, Earth-centred ``(3,)`` [m]."""
        vector = self.pvp[len(self.pvp) // 2]
        return np.asarray((vector["TxPos"] + vector["RcvPos"]) / 2, np.float64)

    @property
    def details(self) -> dict[str, str]:
        """What the file tells of the collection; see `pipeline.storage.radar`."""
        about = "{*}Channel/{*}Parameters[{*}Identifier='" + self.name + "']/{*}Polarization/{*}"
        return {
            name: (self.xml.findtext(place) or _UNKNOWN).replace("UNSPECIFIED", _UNKNOWN)
            for name, place in {
                "start": "{*}Global/{*}Timeline/{*}CollectionStart",
                "collector": "{*}CollectionID/{*}CollectorName",
                "core_name": "{*}CollectionID/{*}CoreName",
                "type": "{*}CollectionID/{*}CollectType",
                "mode": "{*}CollectionID/{*}RadarMode/{*}ModeType",
                "classification": "{*}CollectionID/{*}Classification",
                "transmitted": f"{about}TxPol",
                "received": f"{about}RcvPol",
            }.items()
        }

    def history(self, frame: EarthFrame) -> PhaseHistory:
        """Return the phase history, in a frame."""
        pvp = self.pvp
        places = [np.asarray(pvp[name], np.float64) for name in ("TxPos", "RcvPos", "SRPPos")]
        transmitter, receiver, point = map(frame.local, places)
        reference = np.linalg.norm(transmitter - point, axis=1)
        reference += np.linalg.norm(receiver - point, axis=1)
        # Frequencies of the vector in the middle; those of others as scaled and shifted ones.
        start, step = np.asarray(pvp["SC0"], np.float64), np.asarray(pvp["SCSS"], np.float64)
        middle = len(pvp) // 2
        frequencies = start[middle] + np.arange(self.first, self.last) * step[middle]
        scale = step / step[middle]
        shift = start - scale * start[middle]
        alike = np.abs(np.outer(scale - 1, frequencies[[0, -1]]) + shift[:, None]).max() < _ALIKE
        return PhaseHistory(
            frequencies=frequencies,
            paths=AntennaPaths(
                transmitter, receiver, reference, *((None, None) if alike else (scale, shift))
            ),
            measurements=_Signals(self),
            provenance={
                "format": "cphd", "files": describe_files([self.path]), "channel": self.name,
            },
            who=self.who,
        )  # fmt: skip


class _Signals:
    """The signals of a channel, a `LazyArray` ``[pulse, freq]``, read some vectors at a time."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self.shape = len(channel.kept), channel.last - channel.first
        self.dtype: np.dtype[Any] = np.dtype(np.complex64)
        stored = channel.xml.findtext("{*}Data/{*}SignalArrayFormat")
        self._vector_bytes = channel.samples * {"CI2": 2, "CI4": 4}.get(stored, 8)
        self.chunks = max(1, _PIECE_BYTES // self._vector_bytes), self.shape[1]
        names = channel.pvp.dtype.names or ()
        self._factors = channel.pvp["AmpSF"] if "AmpSF" in names else np.ones(self.shape[0])
        # Phases fall with the path here: that is SGN -1.
        self._conjugated = int(channel.xml.findtext("{*}Global/{*}SGN")) > 0

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while some vectors are read: as stored, and converted [byte].

        With them those between that hold no signal.
        """
        kept, some = self._channel.kept, min(extent[0], len(self._channel.kept))
        stored = int((kept[some - 1 :] - kept[: len(kept) - some + 1]).max()) + 1
        return stored * self._vector_bytes + 2 * 8 * math.prod(extent)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        channel, (wanted, some) = self._channel, selection
        kept = channel.kept[wanted]
        samples = slice(*(channel.first + edge for edge in some.indices(self.shape[1])[:2]))
        if not len(kept):
            return np.empty((0, samples.stop - samples.start), self.dtype)
        with understood(channel.who):
            stored = channel.reader.read_signal(
                channel.name, start_vector=int(kept[0]), stop_vector=int(kept[-1]) + 1
            )
        stored = stored[:, samples]
        if len(kept) < len(stored):  # between them are vectors without a signal
            stored = stored[kept - kept[0]]
        signals = np.empty(stored.shape, self.dtype)
        if stored.dtype.names:
            signals.real, signals.imag = stored["real"], stored["imag"]
        else:
            signals[:] = stored
        signals *= self._factors[wanted, None].astype(np.float32)
        return np.conj(signals, out=signals) if self._conjugated else signals
