"""The files that `merge` writes beside the images.

Each is a module of this package, named as its setting in `output`, that holds an `Output` under the
name ``OUTPUT``. To add one, write the module, and its setting in `pipeline.config.outputs`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.outputs import OutputSettings
from pipeline.engine.images import Images
from pipeline.merge.slices import StoredImages
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.archives import Table
from pipeline.storage.radar import RadarCollection


@dataclass(frozen=True)
class Merged:
    """The merged images, as outputs are made of them."""

    images: StoredImages
    """complex ``[frame, z, y, x]``; parallel slices are volumes."""
    affine: NDArray[np.float64]
    """float64, 4 x 4, from voxel indices (z, y, x) to positions (z, y, x) [m]."""
    oriented: bool
    """Whether these positions are along superior, anterior, right of a patient."""
    duration: float | None
    """From the start of an image to that of the next [s], where that is known."""
    dataset: str
    reconstruction: str
    kind: str
    """Of the data."""
    source: str
    """Fingerprint of the acquisition."""
    header: str | None
    """Of the acquisition: ISMRMRD's, XML, where it has one."""
    radar: RadarCollection | None
    """How a radar over the Earth collected the data, where that is known."""
    threads: int
    """Chunks in work at a time."""
    settings: OutputSettings
    history: Callable[[], Mapping[str, Any]]
    """Returns where the images come from, see `pipeline.storage.provenance`."""
    written: dict[str, Path]
    """The outputs that are there already, by the names of their settings."""
    along: str = "frame"
    """The first axis of the images: or the ``coefficient`` of a temporal basis."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """What tells of a series how its images are made, as of `pipeline.engine.block`."""

    @property
    def voxel_size(self) -> list[float]:
        """Along z, y and x [m]."""
        lengths: list[float] = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return lengths

    @property
    def title(self) -> str:
        """Dataset and reconstruction."""
        return f"{self.dataset} {self.reconstruction}"


def not_of_patients(acquisition: Acquisition, tables: Mapping[str, Table]) -> str:
    """Return why images of patients alone are written; empty for those of MRI."""
    return "" if acquisition.kind == "mri" else "for MRI alone"


def _nothing(shape: tuple[int, ...]) -> None:
    pass


@dataclass(frozen=True)
class Output:
    """One file, or folder, that is made of the merged images."""

    about: str
    """What it is, in a few words."""
    encoding: str
    """Its media type."""
    write: Callable[[Path, Merged], None]
    """Writes it to a path that does not exist yet."""
    needs: Callable[[Images, int], Mapping[str, int]]
    """Returns what writing takes by what it is for [byte], from the sizes of the images and the
    number of chunks in work at a time."""
    resident_bytes: int = 0
    """What its packages take from when they are loaded, beside those of all outputs."""
    check: Callable[[tuple[int, ...]], None] = _nothing
    """Raises `DataError` if images of a shape ``(frame, z, y, x)`` cannot be written."""
    folder: bool = False
    """Whether it is a folder."""
    checksums: bool = False
    """Whether its files hold checksums of their own; those of others go into the receipt."""
    unsuited: Callable[[Acquisition, Mapping[str, Table]], str] = lambda acquisition, tables: ""
    """Returns why images of an acquisition, with what stands beside them, cannot be written and are
    left out; else nothing."""


def output_modules(settings: OutputSettings) -> tuple[str, ...]:
    """Return the names of the modules of the outputs that the settings ask for."""
    return tuple(f"{__package__}.{name}" for name, wanted in settings if wanted)


def outputs(settings: OutputSettings) -> dict[str, Output]:
    """Return the outputs that the settings ask for, by the names of their settings."""
    modules = output_modules(settings)
    return {name.rpartition(".")[2]: import_module(name).OUTPUT for name in modules}


EVERY = OutputSettings().model_copy(update=dict.fromkeys(OutputSettings.model_fields, True))
"""Settings that ask for all outputs."""
