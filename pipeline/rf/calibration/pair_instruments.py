"""What the instruments of pairs of antenna arrays add: given, or told by a reference target."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import ReferenceTargetSettings, SourceSettings
from pipeline.errors import ConfigError, DataError
from pipeline.progress import track
from pipeline.rf.calibration.pair_correction import (
    LEAST_COHERENCE,
    PairCorrection,
    by_elements,
    fit_delay,
    fit_elements,
    target_response,
)
from pipeline.rf.checks import require_frequencies, require_measurements
from pipeline.rf.formats.acquisition import PairsAcquisition, PairSource
from pipeline.storage.receipts import Receipt

_TILE_BYTES = 2**26
ALL = slice(None)


class PairInstruments:
    """Pairs of antenna arrays, and what their instruments add to the measurements.

    Parameters
    ----------
    acquisition
        As its source presents it.
    settings
        What is known, or where a reference target stands.
    dataset
        Name; begins the message of an error.
    record
        Receipt of the job, which times what is read.

    Raises
    ------
    ConfigError
        If corrections are given twice, or not one for each pair.
    DataError
        If the sizes of a pair disagree with each other.
    """

    def __init__(
        self,
        acquisition: PairsAcquisition,
        settings: SourceSettings,
        dataset: str,
        record: Receipt,
    ) -> None:
        self.acquisition = acquisition
        self.settings = settings
        self.dataset = dataset
        self.record = record
        self.frequencies = require_frequencies(acquisition.frequencies, dataset)
        for index, pair in enumerate(acquisition.pairs):
            self._check(index, pair)
        known = self._known_corrections()
        self.target = self.settings.reference_target
        if known and self.target is not None:
            raise ConfigError(
                f"{dataset}: sources.{dataset} has a reference_target, but corrections are known "
                f"({', '.join(known)}); leave one of them out"
            )
        self._known = known
        declared = self.settings.coherent
        self.coherent = (
            acquisition.coherent if declared is None else declared
        ) or self.target is not None

    def tiles(self, index: int, frame: int) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield what a pair measured, ``[freq, m1, m2(, m3)]``, some frequencies at a time."""
        measured = self.acquisition.pairs[index].measurements
        at_once = max(1, _TILE_BYTES // (16 * math.prod(measured.shape[2:])))
        for start in range(0, len(self.frequencies), at_once):
            band = slice(start, min(start + at_once, len(self.frequencies)))
            with self.record.phase("read"):
                rest = (ALL,) * (len(measured.shape) - 2)
                values = measured.read((slice(frame, frame + 1), band, *rest))[0]
            self.record.count_bytes("read", values.nbytes)
            yield band, values

    def corrected(
        self,
        index: int,
        frame: int,
        band: slice,
        values: NDArray[Any],
        correction: PairCorrection,
    ) -> NDArray[Any]:
        """Return measurements without what the instrument adds."""
        antennas = self.acquisition.pairs[index].antennas
        response = correction.response(frame, self.frequencies[band], antennas)
        return np.asarray(values / response.reshape(response.shape + (1,) * (values.ndim - 3)))

    def corrections(self) -> tuple[list[PairCorrection] | None, dict[str, Any]]:
        """Return the correction of each pair, and what to record about them; None for none."""
        if self.target is not None:
            with self.record.phase("calibrate"):
                return self._estimated(self.target)
        if not self._known:
            return None, {}
        frames, count = self.acquisition.frames, len(self.acquisition.pairs)
        phase = np.broadcast_to(self._known.get("phase", np.zeros(1)), (frames, count))
        delay = np.broadcast_to(self._known.get("delay", np.zeros(1)), (count,))
        corrections = [
            PairCorrection(
                phase=np.asarray(phase[:, index], np.float64),
                delay=float(delay[index]),
                gain_tx=_complex(pair.arrays.get("gain_tx")),
                gain_rx=_complex(pair.arrays.get("gain_rx")),
            )
            for index, pair in enumerate(self.acquisition.pairs)
        ]
        return corrections, {
            "calibration": {
                "method": "given",
                "pairs": [correction.record() for correction in corrections],
            }
        }

    def _known_corrections(self) -> dict[str, NDArray[Any]]:
        """Return what source or settings say that the instruments add."""
        arrays, given = self.acquisition.arrays, self.settings.pair_correction
        found = {name: np.asarray(arrays[name]) for name in ("phase", "delay") if name in arrays}
        count = len(self.acquisition.pairs)
        for name, values in () if given is None else given:
            if values is None:
                continue
            if len(values) != count:
                raise ConfigError(
                    f"{self.dataset}: sources.{self.dataset}.pair_correction.{name} has "
                    f"{len(values)} values, but there are {count} pairs; give one each"
                )
            found[name] = np.asarray(values)
        frames = self.acquisition.frames
        for name, shapes in (
            ("phase", ((frames, count), (1, count), (count,))),
            ("delay", ((count,),)),
        ):
            if name in found and found[name].shape not in shapes:
                raise DataError(
                    f"{self.dataset}: `{name}` of the pairs has the shape {found[name].shape}; "
                    f"expected {shapes[0]}"
                )
            if name in found and not np.isfinite(found[name]).all():
                raise DataError(f"{self.dataset}: `{name}` of the pairs has values not finite")
        for name in ("gain_tx", "gain_rx"):
            if any(name in pair.arrays for pair in self.acquisition.pairs):
                found[name] = np.empty(0)
        return found

    def _check(self, index: int, pair: PairSource) -> None:
        """Raise `DataError` if the sizes of a pair disagree with each other."""
        who = f"{self.dataset}: pair {index}"
        shape = pair.measurements.shape
        if shape[1] != len(self.frequencies) or shape[0] != self.acquisition.frames:
            raise DataError(
                f"{who}: measurements of shape {shape}; expected {self.acquisition.frames} frames "
                f"and {len(self.frequencies)} frequencies first"
            )
        factors = any(name.startswith(("A", "kappa")) for name in pair.arrays)
        if pair.antennas is None and not factors:
            raise DataError(f"{who} has neither positions (tx, rx) nor factors; give one of them")
        for name, elements in (
            ("gain_tx", None if pair.antennas is None else pair.antennas.tx),
            ("gain_rx", None if pair.antennas is None else pair.antennas.rx),
        ):
            gains = pair.arrays.get(name)
            if gains is None:
                continue
            if elements is None:
                raise DataError(
                    f"{who} has {name}, but no positions to tell which element is which; multiply "
                    "the gains into the factors"
                )
            if gains.shape != (len(elements),) or not np.isfinite(gains).all() or not gains.all():
                raise DataError(
                    f"{who}: {name} of shape {gains.shape} for {len(elements)} elements; expected "
                    "one finite gain other than zero each"
                )

    def _estimated(
        self, target: ReferenceTargetSettings
    ) -> tuple[list[PairCorrection], dict[str, Any]]:
        """Return the correction of each pair as the reference target tells it."""
        corrections, records = [], []
        with track(f"{self.dataset}: reference target", len(self.acquisition.pairs)) as advance:
            for index in range(len(self.acquisition.pairs)):
                correction, record = self._estimated_pair(index, target)
                corrections.append(correction)
                records.append({**correction.record(), **record})
                advance()
        return corrections, {
            "calibration": {
                "method": "reference target",
                "position": list(target.position),
                "pairs": records,
            }
        }

    def _estimated_pair(
        self, index: int, target: ReferenceTargetSettings
    ) -> tuple[PairCorrection, dict[str, float]]:
        who = f"{self.dataset}: pair {index}"
        antennas = self.acquisition.pairs[index].antennas
        if antennas is None:
            raise DataError(f"{who} has no positions, which a reference target needs")
        scene = self.acquisition.scene
        weights = self.acquisition.arrays.get("weights")
        position = np.zeros(3)
        position[: len(target.position)] = target.position

        def expected(band: slice) -> NDArray[np.complex128]:
            return target_response(
                antennas,
                self.frequencies[band],
                position,
                scene.centre,
                None if weights is None else weights[index, band],
            )

        phase = np.zeros(self.acquisition.frames)
        delay, coherence = 0.0, 1.0
        for frame in range(self.acquisition.frames):
            response = np.empty(len(self.frequencies), np.complex128)
            for band, values in self.tiles(index, frame):
                require_measurements(values, self.frequencies[band], f"{who}, frame {frame}")
                model = expected(band)
                response[band] = np.sum(np.conj(model) * values, axis=(1, 2)) / np.sum(
                    np.abs(model) ** 2, axis=(1, 2)
                )
            if frame == 0:
                fit = fit_delay(response, self.frequencies, largest=target.largest_delay)
                delay = fit.delay
            else:  # cables do not change from frame to frame, clocks do
                turned = response * np.exp(2j * np.pi * np.remainder(self.frequencies * delay, 1.0))
                fit = fit_delay(turned, self.frequencies, largest=0.0)
            phase[frame] = fit.phase
            coherence = min(coherence, fit.coherence)
        if coherence < LEAST_COHERENCE:
            raise DataError(
                f"{who}: no scatterer stands out at the reference target {target.position} m: its "
                f"frequencies agree to {coherence:.2f}, at least {LEAST_COHERENCE} is needed; "
                "check the position, or raise `largest_delay`"
            )
        found = PairCorrection(phase, delay)
        elements = self._element_responses(index, found, expected)
        gain_tx = gain_rx = None
        common = float(np.abs(elements.mean()))
        if target.element_gains:
            gain_tx, gain_rx, common = fit_elements(elements, who)
        if target.amplitude is not None:
            gain_tx = np.ones(len(antennas.tx), complex) if gain_tx is None else gain_tx
            gain_tx = gain_tx * (common / target.amplitude)
        found = PairCorrection(phase, delay, gain_tx, gain_rx)
        scale = common if target.amplitude is None else target.amplitude
        return found, {
            "coherence": coherence,
            "residual": self._residual(index, found, lambda band: expected(band) * scale),
        }

    def _element_responses(
        self,
        index: int,
        correction: PairCorrection,
        expected: Callable[[slice], NDArray[np.complex128]],
    ) -> NDArray[np.complex128]:
        """Return what each transmitter and receiver, ``[tx, rx]``, measured of what they should."""
        antennas = self.acquisition.pairs[index].antennas
        assert antennas is not None  # _estimated_pair has seen to it
        total = np.zeros(antennas.measurement_shape, np.complex128)
        power = np.zeros(antennas.measurement_shape)
        for band, values in self.tiles(index, 0):
            model = expected(band)
            clean = self.corrected(index, 0, band, values, correction)
            total += np.sum(np.conj(model) * clean, axis=0)
            power += np.sum(np.abs(model) ** 2, axis=0)
        return by_elements(antennas, total / power)

    def _residual(
        self,
        index: int,
        correction: PairCorrection,
        expected: Callable[[slice], NDArray[np.complex128]],
    ) -> float:
        """Return how much of the corrected measurements is not the target, relative l2."""
        wrong = energy = 0.0
        for band, values in self.tiles(index, 0):
            clean = self.corrected(index, 0, band, values, correction)
            wrong += float(np.sum(np.abs(clean - expected(band)) ** 2))
            energy += float(np.sum(np.abs(clean) ** 2))
        return math.sqrt(wrong / energy)


def _complex(gains: NDArray[Any] | None) -> NDArray[np.complex128] | None:
    return None if gains is None else np.asarray(gains, np.complex128)
