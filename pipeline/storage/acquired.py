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
    pattern: str
    """MRI: ``radial``, ``stack-of-stars`` or ``other``; see
    `pipeline.mri.readouts.sampling_pattern`."""
    rows: tuple[int, ...]
    """RF pairs: the largest measurement at one frequency along each axis; else empty."""
    axes: str = "zyx"
    """Order of ``shape``; ``xyz`` where a model's axes are those of positions."""

    @classmethod
    def of(cls, marker: Path) -> Self:
        """Read ``raw.json``, the marker of an acquisition; `DataError` if it tells no sizes."""
        content: Mapping[str, Any] = read_json(marker)
        told = content.get("attributes", {})
        try:
            arrays = {name: tuple(one["shape"]) for name, one in content["arrays"].items()}
            return cls(
                kind=str(told["kind"]),
                shape=tuple(told["shape"]),
                frames=int(told["frames"]) if "frames" in told else arrays["kspace"][0],
                arrays=arrays,
                pattern=str(told.get("pattern", "other")),
                rows=tuple(told.get("rows", ())),
                axes=str(told.get("axes", "zyx")),
            )
        except (KeyError, TypeError, AttributeError):
            raise DataError(
                f"{marker}: tells no sizes of an acquisition; {remake(marker)}"
            ) from None

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
    def own_trajectory(self) -> bool:
        """MRI: whether each frame has a trajectory of its own."""
        return self.arrays["trajectory"][0] > 1
