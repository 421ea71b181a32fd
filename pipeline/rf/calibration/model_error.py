"""How far a Kronecker model is from the exact sum, measured at random voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antennas import Pair, checked_frequencies, checked_spectrum
from pipeline.rf.geometry.pair_model import LEVELS, Level, check_level, pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import Born

SMALLEST_SAMPLE = 64
_FREQUENCIES = 8
_PAIRS = 16


@dataclass(frozen=True)
class ModelError:
    """Error of a model against the first Born sum, phase and amplitude.

    Attributes
    ----------
    level : str
        Which model.
    relative : float
        ``|y_model - y_exact| / |y_exact|``, expected for uncorrelated scatterers at the sampled
        voxels.
    pairs : tuple of float
        The same for each pair that was sampled.
    sampled : tuple of int
        Which pairs these are.
    voxels : int
        Number of voxels at which it was measured.
    """

    level: str
    relative: float
    pairs: tuple[float, ...]
    sampled: tuple[int, ...]
    voxels: int


def model_errors(
    scene: Scene,
    pairs: Sequence[Pair],
    frequencies: ArrayLike,
    levels: Sequence[Level] = LEVELS,
    *,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
    voxels: int = SMALLEST_SAMPLE,
    seed: int = 0,
) -> dict[Level, ModelError]:
    """Measure the errors of models against one exact sum.

    Parameters
    ----------
    scene, pairs, frequencies, spectrum, born_k2, dimensions
        As of `pipeline.rf.geometry.pair_model.pair_model`. At most 16 pairs and 8 frequencies are
        sampled, the ends of both among them; none is left out where there are fewer.
    levels
        Which models.
    voxels
        How many voxels to draw, 64 or more, with replacement.
    seed
        Seeds the draw.

    Returns
    -------
    dict
        Of those levels that fit the scene and all pairs that were sampled.

    Raises
    ------
    DataError
        If too few voxels are asked for.
    """
    if voxels < SMALLEST_SAMPLE:
        raise DataError(
            f"model error: {voxels} voxels are too few to judge a model; draw {SMALLEST_SAMPLE} "
            "or more."
        )
    band = checked_frequencies(frequencies)
    response = np.ones(band.size) if spectrum is None else checked_spectrum(spectrum, band.size)
    drawn = np.random.default_rng(seed).integers(scene.voxels, size=voxels)
    chosen = _spread(len(pairs), _PAIRS)
    some = _spread(band.size, _FREQUENCIES)
    fitting = [level for level in levels if all(_fits(scene, pairs[i], level) for i in chosen)]
    errors: dict[Level, list[float]] = {level: [] for level in fitting}
    energies: list[float] = []
    for index in chosen:
        exact = Born(
            scene.positions(drawn),
            [pairs[index]],
            band[some],
            spectrum=response[some],
            born_k2=born_k2,
            dimensions=dimensions,
        )
        truth = exact(torch.eye(voxels, dtype=torch.complex128))[:, 0].numpy()
        energies.append(float(np.sum(np.abs(truth) ** 2)))
        for level in fitting:
            model = pair_model(
                scene,
                pairs[index],
                band,
                level,
                spectrum=response,
                born_k2=born_k2,
                dimensions=dimensions,
            )
            found = np.moveaxis(model.band(some).columns(drawn), -1, 0)
            errors[level].append(float(np.sum(np.abs(found - truth) ** 2)))
    return {
        level: ModelError(
            level=level,
            relative=math.sqrt(sum(errors[level]) / sum(energies)),
            pairs=tuple(math.sqrt(e / a) for e, a in zip(errors[level], energies, strict=True)),
            sampled=tuple(int(index) for index in chosen),
            voxels=voxels,
        )
        for level in fitting
    }


def _fits(scene: Scene, pair: Pair, level: Level) -> bool:
    """Tell whether a level can have this scene and pair."""
    try:
        check_level(scene, pair, level)
    except DataError:
        return False
    return True


def _spread(size: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` indices below `size`, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.intp))
