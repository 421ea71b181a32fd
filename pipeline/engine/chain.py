"""The chain of calibration: what a step is, and what all steps together need. Without torch.

A step is a module with the names of `Step`. A wing lists its steps in the order in which they run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine import processes
from pipeline.engine.needs import Need, largest
from pipeline.storage.acquired import Acquired
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NONE = "none"
"""Method of a step that does not apply."""

_ALLOCATOR_SHARE = 20
"""Of what a job holds, the part that is lost between arrays."""
_DEVICE_SLACK = 1.1


@dataclass(frozen=True)
class Calibrating:
    """A calibration, as its steps are told of it."""

    dataset: str
    """Begins the message of an error."""
    acquired: Acquired
    settings: CalibrateSettings
    threads: int
    device: str
    """``cpu``, or the CUDA device that computes. It then holds the transforms, and the host the
    trajectory."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """What each step of the chain does, by the step's name."""

    @property
    def on_device(self) -> bool:
        """Whether a CUDA device computes."""
        return self.device != "cpu"


class Step(Protocol):
    """A step of the chain. Torch is imported when it runs, not before."""

    NAME: str
    """Under which store and receipt record the method."""

    def method(self, job: Calibrating, raw: Any = None) -> str:
        """Return what the step will do, or ``none``; raise `KronufftError` if it cannot.

        Without the acquisition, it is what needs most of all that may be found in it.
        """

    def needs(self, job: Calibrating) -> Sequence[Need]:
        """Return the memory of each phase, without the process."""

    def advice(self, job: Calibrating, need: Need) -> list[str]:
        """Return the settings that would make the step need less, if its parts are in ``need``."""

    def run(
        self, raw: Any, group: "zarr.Group", job: Calibrating, receipt: Receipt
    ) -> dict[str, Any]:
        """Write the step's arrays into ``group``; return what to record beside its method."""


def with_methods(steps: Sequence[Step], job: Calibrating, raw: Any = None) -> Calibrating:
    """Return a calibration that knows what its steps do; without ``raw``, as far as sizes tell."""
    return replace(job, methods={step.NAME: step.method(job, raw) for step in steps})


def chain_need(steps: Sequence[Step], job: Calibrating) -> Need:
    """Return the need of the phase that needs most, with the process."""
    applied = [step for step in steps if job.methods[step.NAME] != NONE]
    phases = [Need({}), *(need for step in applied for need in step.needs(job))]
    host = largest([phase.host for phase in phases])
    host["allocator"] = sum(host.values()) // _ALLOCATOR_SHARE
    device = largest([phase.device for phase in phases])
    return Need(
        {"process": processes.CUDA if job.on_device else processes.CALIBRATE, **host},
        {name: int(size * _DEVICE_SLACK) for name, size in device.items()},
    )
