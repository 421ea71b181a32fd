"""What back-projection takes, in bytes and seconds. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Any

from pipeline.engine.rates import LATENCY, Rates, fft_flops
from pipeline.engine.work import STORED_NUMBER, Parts, Work
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.explicit_costs import ExplicitCosts
from pipeline.rf.model.factorisation import Factorisation
from pipeline.rf.model.line_sampling import PAIRS_AT_ONCE, LineSampling
from pipeline.rf.model.scene_tiles import reach

COMPILED_BYTES = 210 * 10**6
"""Of Numba as it compiles, which it does once on a machine; as it loads later, 130 MB. Measured."""
CHECKED_TOGETHER = 64
"""Pulses that the canary measures: as many as are interpolated together."""
_GATHERED, _SCATTERED = 9, 15
"""What a voxel of a pulse takes in compiled loops, in grid points that gridding updates."""
_PATTERN = 18
"""What the pattern of the antennas takes beside, in grid points."""
PAIR_BYTES = 104
"""Of a voxel of a pulse where torch computes, in double precision: path, phase and values."""
_DEVICE_PASSES, _HOST_PASSES = 30 * 16, 10 * 16
"""Bytes that torch moves for a voxel of a pulse: on a device, as counted; on a CPU, in double
precision and for each 8 bytes of a number, measured: most of them stay in its caches."""
LEAST_TOLERANCE = 1e-4
"""Back-projection in single precision is not asked for less."""


@dataclass(frozen=True)
class BackProjectionCosts(ExplicitCosts):
    """Costs of back-projected pulses, whose normal operator goes forward and back."""

    readouts: int  # pulses
    samples: int  # frequencies of one pulse
    sampling: LineSampling
    weighted: bool = False  # whether measurements have density weights
    gain: float = 1.0  # times fewer seconds that compiled loops take, factorised
    pattern: bool = False  # whether antennas do not see all directions alike

    @classmethod
    def of(
        cls,
        scene: Scene,
        pulses: int,
        k: Any,
        *,
        tolerance: float,
        weighted: bool = False,
        paths: AntennaPaths | None = None,
        pattern: bool = False,
    ) -> "BackProjectionCosts":
        """Return the costs of pulses over a scene, at wavenumbers ``(freq,)``.

        Paths are needed where pulses have bands of their own, and tell what factorising gains; with
        a pattern of the antennas it is not done.
        """
        sampling = LineSampling.of(k, reach(scene, paths), tolerance)
        gain = 1.0
        if paths is not None and not pattern:
            factorised = Factorisation.of(scene, paths, k, tolerance)
            gain = factorised.gain if factorised else 1.0
        return cls(pulses, len(k), sampling, weighted, gain, pattern)

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        return {"model": "exact", "normal": "explicit"}

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one pulse in a tile, and the fewest pulses that pay."""
        return self.samples * STORED_NUMBER, min(self.readouts, 64)

    def passed(self, work: Work) -> Parts:
        """Return what going forward or back with the pulses of a tile needs."""
        return self.projected(work, work.readout_batch)

    def projected(self, work: Work, pulses: int) -> Parts:
        """Return what going forward or back with so many pulses needs."""
        machine = work.machine
        together = min(pulses, self.sampling.pulses_together(machine.itemsize))
        return {
            "lines": together * self.sampling.bins * machine.itemsize
            + self.sampling.workspace_bytes(together, machine.itemsize),
            "images": 2 * work.voxel_bytes,
            "loops": COMPILED_BYTES if _compiled(work) else PAIRS_AT_ONCE * PAIR_BYTES,
        }

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        pulses = work.readouts if work.model is self else self.readouts
        moved = _moved(work)
        seconds = self._seconds(work.shape, pulses, _GATHERED, rates, moved)
        if work.model is not self:  # pairs have no canary
            return work.images * seconds, 0.0
        checked = replace(self, readouts=min(CHECKED_TOGETHER, pulses))
        canary = checked.both_ways(work.shape, rates, moved)
        return work.images * seconds + canary, 0.0

    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""
        return self.both_ways(work.shape, rates, _moved(work))

    def both_ways(self, shape: tuple[int, ...], rates: Rates, moved: int = 0) -> float:
        """Return the seconds to go forward and back, of one image; ``moved`` as of `_moved`."""
        return sum(
            self._seconds(shape, self.readouts, points, rates, moved)
            for points in (_SCATTERED, _GATHERED)
        )

    def _seconds(
        self, shape: tuple[int, ...], pulses: int, points: int, rates: Rates, moved: int
    ) -> float:
        """Return the seconds to go one way, of one image."""
        pairs = math.prod(shape) * pulses
        loops = (
            pairs * moved / rates.memory
            if moved
            else pairs * (points / self.gain + _PATTERN * self.pattern) / rates.spread
        )
        length = max(self.sampling.period, self.sampling.bins)
        lines = pulses * (fft_flops(length) / rates.fft + 40 * length / rates.memory)
        return loops + lines + LATENCY


def _moved(work: Work) -> int:
    """Return the bytes that torch moves for a voxel of a pulse; 0 where loops are compiled."""
    if work.machine.on_device:
        return _DEVICE_PASSES
    return 0 if _compiled(work) else _HOST_PASSES


def _compiled(work: Work) -> bool:
    """Tell whether loops are compiled, rather than torch's."""
    return not work.machine.on_device and work.machine.itemsize == STORED_NUMBER
