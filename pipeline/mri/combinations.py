"""Which settings of a reconstruction go with an MRI measurement, as far as sizes tell."""

from collections.abc import Mapping, Sequence

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.config.equations import image_count
from pipeline.errors import ConfigError, DataError
from pipeline.mri.model.basis import require_basis


def require_possible(
    settings: AlgorithmSettings,
    who: str,
    *,
    frames: int,
    slices: int,
    coils: int,
    maps: bool,
    sets: int,
    off_resonance: bool,
    signals: Mapping[str, Sequence[int]],
    bins: Sequence[int] = (),
) -> None:
    """Refuse settings that do not go with a measurement and its calibration.

    Parameters
    ----------
    coils
        Measured or virtual ones.
    maps, off_resonance
        Whether there are coil maps, and terms of off-resonance.
    sets
        Of coil maps.
    signals
        Shapes of what the source tells of signals over a series, by name, maybe among others.
    bins
        Along each axis of them; none where they are not known yet.

    Raises
    ------
    ConfigError, DataError
        Naming the settings, and what there is.
    """
    if settings.solves and coils > 1 and not maps:
        raise DataError(
            f"{who}: {settings.algorithm} of {coils} coils needs coil maps, and "
            "calibration.coil_maps is none; set it to auto, source or espirit"
        )
    if sets > 1 and (settings.joins_images or settings.single_kernel or not settings.stacks):
        raise ConfigError(
            f"{who}: coil maps of {sets} sets have an image each, which `series`, `unrolled` and "
            "the preconditioners circulant and kronecker do not know; choose another, or one set "
            "of the source's maps, or of calibration.espirit.sets"
        )
    joined = settings.frames_per_image
    if joined == "bins":
        if slices > 1 or settings.subspace:
            raise ConfigError(
                f"{who}: `frames_per_image: bins` is for one slice, and for a `series` with the "
                "basis frames; set frames_per_image to 1 or all, or ingest each slice as a dataset"
            )
        if len(bins) > 1 and settings.orders_images:
            raise ConfigError(
                f"{who}: a penalty along the series needs bins of one axis, and these have "
                f"{' x '.join(map(str, bins))}; take `penalty: llr`, or `along: space`"
            )
    elif slices > 1 and (frames // slices) % min(frames if joined == "all" else joined, frames):
        raise ConfigError(
            f"{who}: frames_per_image {joined} joins frames of different slices: there are "
            f"{slices} slices of {frames // slices} frames; set it to a divisor of these"
        )
    if settings.joins_images and slices > 1:
        raise ConfigError(
            f"{who}: a `series` of {slices} slices, whose coil maps differ; ingest each slice as a "
            "dataset of its own"
        )
    subspace = settings.series is not None and settings.subspace
    if settings.series is not None and subspace:
        require_basis(settings.series, image_count(frames, joined), signals, who)
        if off_resonance:
            raise ConfigError(
                f"{who}: a `series` with the basis {settings.series.basis} knows no off-resonance; "
                "set calibration.off_resonance to none, or series.basis to frames"
            )
    if settings.single_kernel and (settings.normal == "explicit" or off_resonance):
        raise ConfigError(
            f"{who}: `preconditioner: circulant` and `kronecker` need a normal operator of a "
            "single Toeplitz kernel, and `normal: explicit` and off-resonance have none; leave it "
            "out"
        )
