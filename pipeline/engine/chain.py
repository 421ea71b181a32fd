"""The chain of calibration: what a step is, and what all steps together need. Without torch.

A step is a module with the names of `Step`. A wing lists its steps in the order in which they run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine.needs import Need, largest
from pipeline.errors import KronufftError
from pipeline.storage.acquired import Acquired
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NONE = "none"
"""Method of a step that does not apply."""

_PROCESS_BYTES = 290 * 10**6
"""The interpreter, its packages, and the pools of their threads."""
_PROCESS_BYTES_WITH_CUDA = 2000 * 10**6
_ALLOCATOR_SHARE = 20
"""Of what a job holds, the part that is lost between arrays."""
_DEVICE_SLACK = 1.1


@dataclass(frozen=True)
class Calibrating:
    """What a running step is told.

    Attributes
    ----------
    dataset
        Name; begins the message of an error.
    settings
        What to estimate and how.
    methods
        What each step of the chain does, by the step's name.
    device, threads
        What it computes with.
    receipt
        Of the job, for phases and records.
    """

    dataset: str
    settings: CalibrateSettings
    methods: Mapping[str, str]
    device: str
    threads: int
    receipt: Receipt


class Step(Protocol):
    """A step of the chain. Torch is imported when it runs, not before."""

    NAME: str
    """Under which store and receipt record the method."""

    def method(
        self, acquired: Acquired, settings: CalibrateSettings, who: str, raw: Any = None
    ) -> str:
        """Return what the step will do, or ``none``; raise `KronufftError` if it cannot.

        Parameters
        ----------
        acquired
            Sizes.
        settings
            What to estimate and how.
        who
            Dataset, for errors.
        raw
            The acquisition; without it, what needs most of all that may be found.
        """

    def needs(
        self,
        acquired: Acquired,
        settings: CalibrateSettings,
        methods: Mapping[str, str],
        *,
        threads: int,
        on_device: bool,
    ) -> Sequence[Need]:
        """Return the memory of each phase, without the process."""

    def advice(self, acquired: Acquired, settings: CalibrateSettings, need: Need) -> list[str]:
        """Return the settings that would make the step need less, if its parts are in ``need``."""

    def run(self, raw: Any, group: "zarr.Group", work: Calibrating) -> dict[str, Any]:
        """Write the step's arrays into ``group``; return what to record beside its method."""


def expected_methods(
    steps: Sequence[Step], acquired: Acquired, settings: CalibrateSettings
) -> dict[str, str]:
    """Return what each step will do, as far as the sizes tell.

    A step that cannot run is left out: the job itself says so.
    """
    found = {}
    for step in steps:
        try:
            found[step.NAME] = step.method(acquired, settings, "")
        except KronufftError:
            found[step.NAME] = NONE
    return found


def chain_need(
    steps: Sequence[Step],
    acquired: Acquired,
    settings: CalibrateSettings,
    methods: Mapping[str, str],
    *,
    threads: int,
    on_device: bool,
) -> Need:
    """Return the need of the phase that needs most, with the process.

    Parameters
    ----------
    steps
        The chain.
    acquired
        Sizes.
    settings
        What to estimate and how.
    methods
        What each step does, by name.
    threads
        CPU threads.
    on_device
        Whether a CUDA device computes. It then holds the transforms, and the host the trajectory.
    """
    phases = [Need({})]
    for step in steps:
        if methods[step.NAME] != NONE:
            phases += step.needs(acquired, settings, methods, threads=threads, on_device=on_device)
    host = largest([phase.host for phase in phases])
    host["allocator"] = sum(host.values()) // _ALLOCATOR_SHARE
    device = largest([phase.device for phase in phases])
    return Need(
        {"process": _PROCESS_BYTES_WITH_CUDA if on_device else _PROCESS_BYTES, **host},
        {name: int(size * _DEVICE_SLACK) for name, size in device.items()},
    )
