"""What every source format becomes: arrays that are read piece by piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.formats.lazy import LazyArray


@dataclass(frozen=True)
class MriAcquisition:
    """One acquisition as its source presents it."""

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    """Per image axis [m]."""
    arrays: Mapping[str, LazyArray]
    """`LazyArray` by name: ``kspace`` and ``trajectory`` [rad/voxel], and what else there is."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that tell where the data came from."""
    units: str = "rad_per_voxel"
    """Units of the trajectory as the source stores it, for messages."""
    units_setting: str | None = None
    """The key of the dataset's source that tells these units, where there is one."""
    dwell_time: float | None = None
    """Time between samples [s], where the source tells it."""
    first_sample_time: float | None = None
    """Time of the first sample of each readout [s], where the source tells it."""
    noise_dwell_time: float | None = None
    """That of the noise samples [s]."""
    affine: NDArray[np.float64] | None = None
    """float64 ``(4, 4)`` from voxel index ``(z, y, x)`` to position [m], where the source has one.
    """
    oriented: bool = True
    """Whether its positions are along superior, anterior, right of the patient."""
    frame_duration: float | None = None
    """From the start of a frame to that of the next [s], where frames follow each other and the
    source tells."""
    slices: int = 1
    """Parallel slices of a 2D acquisition, evenly spaced. The frames of the first stand before
    those of the second, and so on; the first column of `affine` leads from a slice to the next."""
    header: str | None = None
    """The source's ISMRMRD header, XML, where it has one."""
    doubts: tuple[str, ...] = ()
    """What its reader wonders at, to be warned of."""


def image_matrix(
    settings: IngestSettings, dataset: str, images: Mapping[str, LazyArray], dimensions: int
) -> tuple[int, ...]:
    """Return the image matrix: from the settings, else of the source's maps or reference.

    All but the first axis of ``images`` begin with ``(z, y, x)``.
    """
    if settings.details.shape is not None:
        return settings.details.shape
    for name in ("sensitivities", "reference"):
        if name in images:
            return images[name].shape[1:4][-dimensions:]
    raise ConfigError(
        f"{dataset}: the image matrix is unknown; set `sources.{dataset}.shape` "
        f"to {dimensions} sizes, one per image axis"
    )


def voxel_size(
    settings: IngestSettings, dataset: str, dimensions: int, told: Sequence[float] = ()
) -> tuple[float, ...]:
    """Return the voxel size of the settings, else that which a file has told, else 1 mm."""
    size = settings.details.voxel_size
    if size is None:
        return tuple(told) or (1e-3,) * dimensions
    if len(size) != dimensions:
        raise ConfigError(
            f"{dataset}: `voxel_size` has {len(size)} values, but there are {dimensions} image axes"
        )
    return size
