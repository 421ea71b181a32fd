"""A grid for the image of a phase history: as fine as it resolves, as large as it is unambiguous.

About the origin of its positions a measurement samples the scene's spectrum at the wave vector
``k g``, where ``g`` is the gradient of its path [1]_. Voxels at half of ``2 pi`` over the extent of
those samples show all that there is; a scene larger than ``2 pi`` over their distance would show
echoes twice.

References
----------
.. [1] D. C. Munson, J. D. O'Brien, W. K. Jenkins, "A tomographic formulation of spotlight-mode
   synthetic aperture radar", Proc. IEEE 71, 917-925 (1983).
"""

import math
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.planning import MemorySettings
from pipeline.config.sources import IngestSettings, SourceSettings, reader_module
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.formats.proposal import Proposal, Told, refuse_names, unknown
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.resolution import wave_vectors

_MOST_VOXELS = 512
"""Along an axis, of a scene that nobody has asked for."""
_ANYWHERE = {"shape": [2, 2], "spacing": [1.0, 1.0]}
"""Readers ask for a scene before they tell the geometry that one is proposed from."""


def propose_scene(found: Proposal, told: Told) -> None:
    """Fill in the scene of a source, or say that the file gives it.

    Raises
    ------
    ConfigError
        If options are given that RF data have no use for, or nothing tells a size.
    """
    refuse_names(told, found.format)
    if told.units or told.order:
        raise ConfigError("init: RF data have no trajectory; leave out --units and --order")
    own = found.format == "cphd" and not (told.shape or told.voxel_size) and _has_grid(found)
    if own:
        found.say("scene", "the file gives a grid of its own")
        return
    paths, k = _geometry(found, _ANYWHERE)
    steps, extent = _steps(paths, k), _extent(paths, k)
    if told.voxel_size is not None:
        spacing = list(told.voxel_size)
    elif np.isfinite(steps).all():
        spacing = [_rounded(step) for step in steps]
    else:
        raise unknown("the antennas resolve nothing along an axis of the scene", "--voxel-size")
    if told.shape is not None:
        shape = list(told.shape)
    elif math.isfinite(extent):
        shape = [min(_MOST_VOXELS, 2 * math.ceil(extent / step / 2)) for step in spacing]
    else:
        raise unknown("one pulse of one frequency does not tell how large a scene is", "--shape")
    if len(shape) != len(spacing):
        raise ConfigError(
            f"init: --shape has {len(shape)} axes and the voxels {len(spacing)}; say --shape and "
            "--voxel-size with as many, in the order x, y, z"
        )
    found.settings["scene"] = {"shape": shape, "spacing": spacing}
    found.say(
        "scene.shape",
        "as told" if told.shape else
        f"x, y; echoes are told apart within {extent:.3g} m"
        + (f", of which {_MOST_VOXELS} voxels are taken" if max(shape) == _MOST_VOXELS else ""),
        guess=told.shape is None,
    )  # fmt: skip
    found.say(
        "scene.spacing",
        "as told" if told.voxel_size else
        "half of what bandwidth and aperture resolve at the origin, "
        + " and ".join(f"{2 * step:.3g} m" for step in steps),
        guess=told.voxel_size is None,
    )  # fmt: skip
    found.say("scene.origin", "0, 0, 0, from where positions are counted", guess=True)


def _geometry(
    found: Proposal, scene: dict[str, object] | None
) -> tuple[AntennaPaths, NDArray[np.float64]]:
    """Return the paths of the first frame and the wavenumbers ``(freq,)`` [rad/m]."""
    details = {**found.settings, **({} if scene is None else {"scene": scene})}
    settings = IngestSettings(
        kind="rf",
        format=found.format,
        source=str(Path(found.data_root) / found.source),
        details=SourceSettings.model_validate(details),
    )
    reader = import_module(reader_module("rf", found.format))
    budget = Budget("init", MemorySettings().of_ingest)
    with reader.open_source(settings, "init", budget) as acquisition:
        return acquisition.paths(), wavenumbers(acquisition.arrays["frequencies"][(slice(None),)])


def _has_grid(found: Proposal) -> bool:
    try:
        _geometry(found, None)
    except ConfigError:
        return False
    return True


def _steps(paths: AntennaPaths, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half of what is resolved along x and y [m]; infinite where nothing is."""
    vectors = wave_vectors([paths], [np.ones(len(k))], k, np.zeros(3), axes=2).vectors
    spread = np.ptp(vectors, axis=0)
    resolved = spread > 1e-6 * np.abs(vectors).max(initial=1e-300)
    return np.where(resolved, np.pi / np.where(resolved, spread, 1.0), np.inf)


def _extent(paths: AntennaPaths, k: NDArray[np.float64]) -> float:
    """Return within what distance no echo is taken for another [m]."""
    gradients = paths.gradients(np.zeros(3))[:, :2]
    widest = 0.0
    if len(k) > 1:
        widest = float(np.median(np.diff(k)) * np.linalg.norm(gradients, axis=1).max())
    if len(paths) > 1:
        moved = np.linalg.norm(np.diff(gradients, axis=0), axis=1)
        widest = max(widest, float(k[-1] * np.median(moved)))
    return 2 * math.pi / widest if widest > 0 else math.inf


def _rounded(step: float) -> float:
    """Return a length with two digits, not longer."""
    unit = 10.0 ** (math.floor(math.log10(step)) - 1)
    return float(f"{math.floor(step / unit * (1 + 1e-9)) * unit:.2g}")
