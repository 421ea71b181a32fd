"""How far a Kronecker model is from the exact sum, measured at random voxels."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.geometry.antennas import Pair, checked_frequencies, checked_spectrum
from pipeline.geometry.pair_model import LEVELS, Level, pair_model
from pipeline.geometry.scene import Scene
from pipeline.operators.born import Born

WARN_DB = -20.0
"""Model error above which an image is questionable [dB]."""

REFUSE_DB = -10.0
"""Model error above which an image is not made unless it is forced [dB]."""

SMALLEST_SAMPLE = 64
_FREQUENCIES = 8
_PAIRS = 16


class ModelErrorWarning(UserWarning):
    """The measurement model leaves an error that may show in the image."""


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

    @property
    def decibels(self) -> float:
        """The relative error [dB]."""
        return decibels(self.relative)


def decibels(relative: float) -> float:
    """Return a ratio of amplitudes in dB; no error at all is -300 dB."""
    return max(20 * math.log10(relative), -300.0) if relative > 0 else -300.0


def model_error(
    scene: Scene,
    pairs: Sequence[Pair],
    frequencies: ArrayLike,
    level: Level,
    *,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
    voxels: int = SMALLEST_SAMPLE,
    seed: int = 0,
) -> ModelError:
    """Measure the error of a model.

    Parameters
    ----------
    scene, pairs, frequencies, spectrum, born_k2, dimensions
        As of `pipeline.geometry.pair_model.pair_model`. At most 16 pairs and 8 frequencies are
        sampled, the ends of both among them; none is left out where there are fewer.
    level
        Which model.
    voxels
        How many voxels to draw, 64 or more, with replacement.
    seed
        Seeds the draw.

    Returns
    -------
    ModelError

    Raises
    ------
    DataError
        If the level does not fit the scene or a pair, or too few voxels are asked for.
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
    errors, energies = [], []
    for index in chosen:
        model = pair_model(
            scene,
            pairs[index],
            band,
            level,
            spectrum=response,
            born_k2=born_k2,
            dimensions=dimensions,
        )
        exact = Born(
            scene.positions(drawn),
            [pairs[index]],
            band[some],
            spectrum=response[some],
            born_k2=born_k2,
            dimensions=dimensions,
        )
        truth = exact(torch.eye(voxels, dtype=torch.complex128))[:, 0].numpy()
        found = np.moveaxis(model.band(some).columns(drawn), -1, 0)
        errors.append(float(np.sum(np.abs(found - truth) ** 2)))
        energies.append(float(np.sum(np.abs(truth) ** 2)))
    return ModelError(
        level=level,
        relative=math.sqrt(sum(errors) / sum(energies)),
        pairs=tuple(math.sqrt(e / a) for e, a in zip(errors, energies, strict=True)),
        sampled=tuple(int(index) for index in chosen),
        voxels=voxels,
    )


def check_model_error(
    scene: Scene,
    pairs: Sequence[Pair],
    frequencies: ArrayLike,
    level: Level,
    *,
    name: str,
    force: bool = False,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
    voxels: int = SMALLEST_SAMPLE,
    seed: int = 0,
) -> ModelError:
    """Measure the error of a model; warn above -20 dB and refuse above -10 dB.

    Parameters
    ----------
    scene, pairs, frequencies, level, spectrum, born_k2, dimensions, voxels, seed
        As of `model_error`.
    name
        Name of the dataset; begins the message.
    force
        Warn where it would be refused.

    Returns
    -------
    ModelError

    Warns
    -----
    ModelErrorWarning
        If the error is above -20 dB.

    Raises
    ------
    DataError
        If it is above -10 dB and not forced; the message says which level would serve.
    """

    def measured(candidate: Level) -> ModelError:
        return model_error(
            scene,
            pairs,
            frequencies,
            candidate,
            spectrum=spectrum,
            born_k2=born_k2,
            dimensions=dimensions,
            voxels=voxels,
            seed=seed,
        )

    error = measured(level)
    if error.decibels <= WARN_DB:
        return error
    worst = error.sampled[int(np.argmax(error.pairs))]
    found = (
        f"{name}: model {level} leaves {error.decibels:.1f} dB of error at {error.voxels} random "
        f"voxels (most in pair {worst}: {decibels(max(error.pairs)):.1f} dB); {WARN_DB:g} dB is "
        f"good, {REFUSE_DB:g} dB the most allowed."
    )
    advice = _advice([other for other in LEVELS if other != level], measured)
    if error.decibels > REFUSE_DB and not force:
        raise DataError(f"{found} {advice}")
    warnings.warn(f"{found} {advice}", ModelErrorWarning, stacklevel=2)
    return error


def _advice(others: list[Level], measured: Callable[[Level], ModelError]) -> str:
    """Say which other level would do, the cheapest to invert first."""
    errors: dict[Level, float] = {}
    for level in others:
        with contextlib.suppress(DataError):  # a level that this scene or pair cannot have
            errors[level] = measured(level).decibels
    for limit in (WARN_DB, REFUSE_DB):
        for level, error in errors.items():
            if error <= limit:
                return f"Level {level} would leave {error:.1f} dB."
    best = min(errors, key=lambda level: errors[level], default=None)
    closest = f" (the best, {best}, leaves {errors[best]:.1f} dB)" if best else ""
    return (
        f"No level serves{closest}: make the scene smaller, split the arrays or the band, or sum "
        "exactly (Born)."
    )


def _spread(size: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` indices below `size`, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.intp))
