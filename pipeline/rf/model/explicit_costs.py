"""What all models of pulses take whose normal operator goes forward and back. Pure."""

from abc import abstractmethod

from pipeline.engine.memory import reading_bytes
from pipeline.engine.needs import TILES_AT_ONCE
from pipeline.engine.work import ModelCosts, Parts, Work


class ExplicitCosts(ModelCosts):
    """Costs of pulses that are passed forward and back, tile by tile; see `explicit_pulses`."""

    weighted: bool
    """Whether measurements have density weights."""

    channels = 1

    def __str__(self) -> str:
        return f"{self.readouts} pulses of {self.samples} frequencies"

    @property
    def toeplitz(self) -> bool:
        """Whether the normal operator is a convolution: it is not."""
        return False

    def kernels(self, work: Work) -> int:
        """Return the kernels of one image batch: none."""
        return 0

    @abstractmethod
    def passed(self, work: Work) -> Parts:
        """Return what going forward or back with the pulses of a tile needs."""

    def accumulate(self, work: Work) -> list[Parts]:
        """Return what is needed while the pulses of a tile are summed."""
        machine, samples = work.machine, work.tile_samples
        return [
            {
                "k-space tiles": TILES_AT_ONCE * samples * (16 + 2 * machine.itemsize),
                "reading": 0 if machine.on_device else reading_bytes(work) + 48 * samples,
                **self.passed(work),
            }
        ]

    def normal(self, work: Work) -> Parts:
        """Return what one application of the normal operator needs."""
        weights = work.machine.itemsize // 2 * self.weighted
        tiles = work.tile_samples * (2 * work.machine.itemsize + TILES_AT_ONCE * weights)
        return {"measured": tiles, **self.passed(work)}
