"""What is known of an acquisition without opening it: its marker tells the sizes.

Neither torch nor Zarr is loaded here: the graph of jobs is also made where neither is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.storage.publish import read_json
from pipeline.storage.sealed import remake


@dataclass(frozen=True)
class Acquired:
    """Sizes of an ingested acquisition."""

    kind: str
    shape: tuple[int, ...]
    """Image matrix, in the order of ``axes``."""
    frames: int
    arrays: Mapping[str, tuple[int, ...]]
    """Shape of each array of the store's own level; see `pipeline.mri.arrays` and
    `pipeline.rf.arrays` for their axes."""
    pattern: str | None
    """MRI: ``radial``, ``stack-of-stars``, ``cartesian`` or ``other``, see
    `pipeline.mri.readouts.sampling_pattern`; `None` where nobody has looked."""
    rows: tuple[int, ...]
    """RF pairs: the largest measurement at one frequency along each axis; else empty."""
    axes: str = "zyx"
    """Order of ``shape``; ``xyz`` where a model's axes are those of positions."""
    slices: int = 1
    """MRI: parallel ones, whose frames stand one slice after another."""
    dwell_time: float | None = None
    """MRI: between samples [s], where it is known."""
    frame_duration: float | None = None
    """MRI: from the start of a frame to that of the next [s], where it is known."""
    pairs: int = 0
    """RF: pairs of antenna arrays; none of a phase history."""
    coherent: bool = True
    """RF: whether the source says that phases of pairs can be compared."""
    exact_only: bool = False
    """RF: whether path loss or an antenna pattern is told, which only the model `exact` knows."""

    @classmethod
    def of(cls, marker: Path) -> Self:
        """Read ``raw.json``, the marker of an acquisition; `DataError` if it tells no sizes."""
        content: Mapping[str, Any] = read_json(marker)
        try:
            arrays = {name: tuple(one["shape"]) for name, one in content["arrays"].items()}
            return cls.told(content.get("attributes", {}), arrays)
        except (KeyError, TypeError, AttributeError):
            raise DataError(
                f"{marker}: tells no sizes of an acquisition; {remake(marker)}"
            ) from None

    @classmethod
    def told(cls, attributes: Mapping[str, Any], arrays: Mapping[str, tuple[int, ...]]) -> Self:
        """Return what attributes and arrays of a store tell."""
        return cls(
            kind=str(attributes["kind"]),
            shape=tuple(attributes["shape"]),
            frames=int(attributes["frames"]) if "frames" in attributes else arrays["kspace"][0],
            arrays=arrays,
            pattern=attributes.get("pattern"),
            rows=tuple(attributes.get("rows", ())),
            axes=str(attributes.get("axes", "zyx")),
            slices=int(attributes.get("slices", 1)),
            dwell_time=attributes.get("dwell_time"),
            frame_duration=attributes.get("frame_duration"),
            pairs=int(attributes.get("pairs", 0)),
            coherent=bool(attributes.get("coherent", True)),
            exact_only=attributes.get("antenna") is not None,
        )

    def volume(self, shape: tuple[int, ...] | None = None) -> tuple[int, int, int]:
        """Return an image matrix, or the acquisition's, as it is stored: ``(z, y, x)``."""
        own = self.shape if shape is None else shape
        return as_volume(own[::-1] if self.axes == "xyz" else own)

    @property
    def coils(self) -> int:
        """MRI: receive coils."""
        return self.arrays["kspace"][1]

    @property
    def readouts(self) -> int:
        """MRI: readouts of a frame. Phase history: pulses."""
        return self._measured[-2]

    @property
    def samples(self) -> int:
        """MRI: samples of a readout. Phase history: frequencies."""
        return self._measured[-1]

    @property
    def _measured(self) -> tuple[int, ...]:
        return next(self.arrays[name] for name in ("kspace", "y") if name in self.arrays)

    @property
    def timed(self) -> bool:
        """MRI: whether it is known when samples were taken."""
        return "times" in self.arrays or self.dwell_time is not None

    @property
    def own_trajectory(self) -> bool:
        """MRI: whether each frame has a trajectory of its own."""
        return self.arrays["trajectory"][0] > 1
