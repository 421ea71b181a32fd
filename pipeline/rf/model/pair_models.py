"""How each pair measures, from what the acquisition knows: positions, wave vectors or factors."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.job import BlockJob
from pipeline.engine.stream import Arrays
from pipeline.errors import DataError
from pipeline.operators.base import LinearOperator
from pipeline.rf.geometry.antenna_pattern import seen_squares
from pipeline.rf.geometry.antennas import Pair, centre_wavenumber, wavenumbers
from pipeline.rf.geometry.pair_model import Level, PairModel, pair_model
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.sub_arrays import WHOLE, model_of, sub_pairs
from pipeline.rf.model.exact_pair import ExactPair
from pipeline.rf.model.pair_blocks import PairBlocks, pair_blocks
from pipeline.rf.model.plane_wave import plane_wave_spectrum
from pipeline.rf.model.split_pair import PairPart, SplitPair
from pipeline.rf.model.voxel_phases import curvature_paths, path_phases
from pipeline.rf.raw import RfRawData


class _Part(NamedTuple):
    """A part of a pair."""

    rows: tuple[NDArray[np.intp], ...]  # of the pair's measurements
    model: PairModel
    relative: NDArray[np.number]  # its weights over the pair's, (freq,)


class PairModels:
    """The models of all pairs of an acquisition, by the name of one model.

    ``stored`` takes wave vectors or factors as they are; ``reads_factors`` tells whether factors
    are read, rather than made from positions or wave vectors.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, model: str) -> None:
        self.job, self.raw = job, raw
        self.level, self.cut = model_of(model)
        pairs = range(raw.pairs)
        self.reads_factors = self.level == "stored" and not all(map(raw.has_wave_vectors, pairs))
        self.phased = self.level in ("W+D", "W+D(fc)")
        # Small beside what is made of them: positions become wavenumbers of the rows.
        self._model, self._split = cache(self._made_model), cache(self._made_parts)

    def weights(self, pair: int, frequencies: slice = slice(None)) -> NDArray[np.complex128]:
        """Return path loss, gain and carrier phase of a pair, complex128 ``(freq,)``.

        Stored factors without stored weights contain them.
        """
        stored = self.raw.weights(pair, frequencies)
        if stored is not None:
            return stored
        if self.level == "stored":
            return np.ones(len(self.raw.frequencies[frequencies]), np.complex128)
        return self._model(pair).weights[frequencies]

    def seen(self, pair: int) -> float:
        """Return how many measurements of a pair see the scene's origin, by squared amplitude."""
        if self.level == "stored" or (self.level != "exact" and self.cut == WHOLE):
            return float(math.prod(self.raw.measurement_shape(pair)))
        if self.level != "exact":  # parts have path losses of their own, alike at all frequencies
            return sum(
                float(np.abs(part.relative[0])) ** 2 * math.prod(map(len, part.rows))
                for part in self._split(pair)
            )
        antennas, origin = self._antennas(pair), self.raw.scene.centre
        paths = paths_of_pair(antennas)
        of_centres = math.prod(float(np.linalg.norm(origin - each)) for each in antennas.centres)
        loss = of_centres / paths.ranges(origin[None])[:, 0]
        return float(loss**2 @ seen_squares(self.raw.pattern, paths, origin))

    def read_factors(self, pair: int, frequencies: slice) -> Arrays:
        """Return the stored factors of a pair, ``(freq, m_i, n_i)`` each."""
        found = self.raw.factors(pair, frequencies)
        if found is None:
            raise DataError(
                f"{self.job.who}: pair {pair} has neither positions, wave vectors nor factors; "
                "store `tx` and `rx`, or `A1` and the others"
            )
        return found

    def blocks(
        self, pair: int, frequencies: slice, stored: tuple[Tensor, ...] = ()
    ) -> LinearOperator:
        """Return the operator of a pair at some frequencies, on the device.

        ``stored`` is what `read_factors` returned, where factors are read.
        """
        if self.reads_factors:
            return PairBlocks([factor.to(self.job.complex) for factor in stored])
        if self.level == "exact":
            return ExactPair(
                self.raw.scene,
                self._antennas(pair),
                self._model(pair).k[frequencies],
                tolerance=self.job.tolerance,
                dtype=self.job.complex,
                device=self.job.device,
                pattern=self.raw.pattern,
                threads=self.job.receipt.content["threads"],
            )
        if self.cut == WHOLE:
            return self._blocks_of(self._model(pair).band(frequencies))
        parts = []
        for rows, model, relative in self._split(pair):
            first, second = (torch.from_numpy(each).to(self.job.device) for each in rows)
            weights = self.job.on_device(relative[frequencies, None, None], self.job.complex)
            blocks = self._blocks_of(model.band(frequencies))
            parts.append(PairPart((first[:, None], second), weights, blocks))
        measured = (*self._antennas(pair).measurement_shape, 1)[: len(self.raw.shape)]
        return SplitPair(parts, (len(parts[0].weights), *measured))

    def _blocks_of(self, model: PairModel) -> LinearOperator:
        return pair_blocks(model, dtype=self.job.complex, device=self.job.device)

    def voxel_phases(self, pair: int) -> Tensor:
        """Return the voxel phases of a pair's parts at the centre frequency, ``(part, *shape)``."""
        phases = []
        for _, model, _ in self._split(pair):
            paths = curvature_paths(self.raw.scene, model.centres, self.job.device)
            phases.append(path_phases(paths, paths.new_tensor([model.centre_k]), self.job.complex))
        return torch.cat(phases)

    def part_spectra(self, pair: int, frequencies: slice) -> Iterator[Tensor]:
        """Yield the Toeplitz spectrum of each of a pair's parts, real ``(*padded,)``."""
        for part in self._parts(pair, frequencies):
            yield self._spectrum([part])

    def spectrum(self, pairs: Sequence[int], frequencies: slice) -> Tensor:
        """Return the Toeplitz spectrum of some pairs together, real ``(*padded,)``."""
        return self._spectrum([part for pair in pairs for part in self._parts(pair, frequencies)])

    def _parts(
        self, pair: int, frequencies: slice
    ) -> Iterator[tuple[PairModel, NDArray[np.float64]]]:
        """Yield the models of a pair's parts, and their squared weights ``(freq,)``."""
        own = np.abs(self.weights(pair, frequencies)) ** 2
        if self.cut == WHOLE:
            yield self._model(pair).band(frequencies), own
            return
        for _, model, relative in self._split(pair):
            yield model.band(frequencies), own * np.abs(relative[frequencies]) ** 2

    def _spectrum(self, parts: Sequence[tuple[PairModel, NDArray[np.float64]]]) -> Tensor:
        alike = defaultdict(list)  # those of equal measurements are multiplied together
        for part in parts:
            alike[tuple(each.shape for each in part[0].wavenumbers)].append(part)
        stacked = []
        for equal in alike.values():
            rows = zip(*(model.wavenumbers for model, _ in equal), strict=True)
            wavenumbers = [self.job.on_device(np.stack(each), torch.float64) for each in rows]
            weights = np.stack([each.reshape(-1) for _, each in equal])
            stacked.append((wavenumbers, self.job.on_device(weights, torch.float64)))
        return plane_wave_spectrum(
            self.raw.shape,
            stacked,
            dtype=self.job.complex,
            threads=self.job.receipt.content["threads"],
        )

    def _made_model(self, pair: int) -> PairModel:
        frequencies, scene = self.raw.frequencies, self.raw.scene
        if self.level == "stored":
            vectors, rows = self.raw.wave_vectors(pair), self.raw.row_phases(pair)
            assert vectors is not None  # reads_factors has looked
            k = wavenumbers(frequencies, scene.speed)
            nowhere = np.zeros(3)
            return PairModel(
                level="W",
                scene=scene,
                centres=(nowhere, nowhere),
                wavenumbers=tuple(
                    kappa * step for kappa, step in zip(vectors, scene.spacing, strict=True)
                ),
                row_phases=tuple(
                    np.zeros_like(kappa) if rows is None else -rows[axis]
                    for axis, kappa in enumerate(vectors)
                ),
                weights=np.ones(len(k), np.complex128),
                k=k,
                centre_k=centre_wavenumber(frequencies, scene.speed),
            )
        # Weights of exact paths are those of the centres, like a plane wave's.
        level: Level = "W" if self.level == "exact" else self.level
        return pair_model(scene, self._antennas(pair), frequencies, level)

    def _made_parts(self, pair: int) -> list[_Part]:
        whole = self._model(pair)
        if self.cut == WHOLE:
            return [_Part((), whole, np.ones(len(whole.k)))]
        parts = []
        for part in sub_pairs(self._antennas(pair), self.cut):
            model = pair_model(self.raw.scene, part.pair, self.raw.frequencies, whole.level)
            parts.append(_Part(part.rows, model, model.weights / whole.weights))
        return parts

    def _antennas(self, pair: int) -> Pair:
        antennas = self.raw.antennas(pair)
        if antennas is None:
            raise DataError(
                f"{self.job.who}: pair {pair} has no antenna positions, which the model "
                f"{self.level} needs; store `tx` and `rx`, or set `model: stored`"
            )
        return antennas
