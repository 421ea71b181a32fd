"""Blocks: from the measurement, or the shares of its shards, to images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.algorithms.base import AlgorithmSettings, SolverSettings
from pipeline.engine.accumulation import Measurement, SeriesMeasurement, Share, on_host
from pipeline.engine.job import BlockJob
from pipeline.engine.series_on_host import SeriesOnHost
from pipeline.engine.solving import Histories, solve
from pipeline.engine.table import PlanRow
from pipeline.progress import track
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.storage.archives import Table
from pipeline.storage.shares import KERNEL, StoredShare, open_share
from pipeline.storage.solver_state import SolverState

if TYPE_CHECKING:
    from pipeline.solvers.admm import ExactSolver
    from pipeline.solvers.spectrum import Spectrum


class Equations(Protocol):
    """The normal equations of a measurement, once its shares are summed."""

    @property
    def stacked(self) -> bool:
        """Whether each image is made of several unknown ones, ``(image, unknown, *shape)``."""

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of some images, from the sum of all shares."""

    def exact_solver(self) -> ExactSolver | None:
        """Return what solves ``(G + rho) x = r`` without iterations, where there is a way."""

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise in the normal equations of some images; `None` if it is not known."""

    def left_by_noise(self, images: range, share: Share) -> Tensor | None:
        """Return the root of the mean of ``|W^(1/2) n|^2`` of the noise ``n``, as far as known.

        Float64, of the shape of the energy; `None` where nothing is known of the noise.
        """

    def spectrum(self, images: range, share: Share) -> Spectrum | None:
        """Return what is known of signal and noise at each spatial frequency of some images."""

    def image(self, share: Share) -> Tensor:
        """Return the images ``(image, *shape)`` of an algorithm that solves nothing."""


class SeriesEquations(Equations, Protocol):
    """Those of images that are the unknowns of one problem, or made of several unknown ones."""

    def images(self, unknowns: Tensor) -> Iterator[Tensor]:
        """Yield the images ``shape`` that are written, of ``(problem, unknown, *shape)``."""

    def unknowns(self, images: Tensor) -> Tensor:
        """Return the unknowns ``(problem, unknown, *shape)`` that come nearest to such images."""

    def tables(self) -> Mapping[str, Table]:
        """Return what tells how images are made of unknowns, to be written beside them."""


def reconstruct_block(
    job: BlockJob,
    algorithm: AlgorithmSettings,
    data: Measurement,
    equations: Equations,
    pieces: Sequence[tuple[PlanRow, Path]],
    state: SolverState,
    start: Callable[[range], NDArray[np.complexfloating]] | None = None,
) -> NDArray[np.complexfloating]:
    """Reconstruct the images of one block, complex ``[image, *shape]``, a batch at a time.

    `pieces` are the block's shards and the files that hold their shares; none where this job reads
    the measurement itself. `state` keeps the state of long solves. ``start`` returns where the
    solver begins with some images.

    Raises
    ------
    DataError
        If a share is missing or damaged, or an image has values that are not finite.
    DeviceError
        If the device has too little memory for the smallest tile.
    """
    images = np.empty(
        (job.row.images, *data.shape),
        dtype=np.complex64 if job.complex == torch.complex64 else np.complex128,
    )
    residuals: Histories = []
    several = job.joint or equations.stacked

    def share_of(batch: range) -> Share:
        return _sum_of_shares(job, batch, shares) if shares else data.accumulate(batch, job.shard())

    def reconstruct(batch: range) -> tuple[Tensor, Histories]:
        if not isinstance(algorithm, SolverSettings):
            return equations.image(share_of(batch)), [[] for _ in batch]
        share, gram = _normal_equations(job, batch, data, equations, share_of)
        normal, diagonal = NormalEquations(share.b, gram, share.energy), share.diagonal
        noise = equations.noise(batch, share) if algorithm.uses_noise else None
        left_by_noise = equations.left_by_noise(batch, share)
        if job.joint:  # the images are the unknowns of a single problem
            if not algorithm.subspace:
                normal = replace(normal, b=share.b.unsqueeze(0))
            normal, diagonal, noise, left_by_noise = _as_one(normal, diagonal, noise, left_by_noise)
        begin = None
        if start is not None:
            whole = range(job.row.first_image, job.row.first_image + job.row.images)
            read = np.ascontiguousarray(start(whole if job.joint else batch))
            given = torch.from_numpy(read).to(share.b.device, job.complex)
            begin = cast(SeriesEquations, equations).unknowns(given) if several else given
            del given
        found, histories = solve(
            job,
            algorithm,
            normal,
            diagonal,
            image_axes=len(data.shape) + several,
            stacked=equations.stacked,
            noise=noise,
            left_by_noise=left_by_noise,
            exact=cache(equations.exact_solver),
            spectrum=lambda: equations.spectrum(batch, share),
            progress=lambda part, note: advance(0, note, partial=part * len(batch)),
            start=begin,
            checkpoint=state.solve(f"images {batch.start} to {batch.stop - 1}"),
        )
        return found, histories

    def batches() -> Iterator[tuple[range, tuple[Tensor, Histories]]]:
        if job.row.on_host:  # and goes to the device in batches of its own
            yield job.images, reconstruct(job.images)
        else:
            yield from job.batches(reconstruct)

    with ExitStack() as files, track(f"{job.who}: images", job.row.images) as advance:
        shares = [
            files.enter_context(open_share(path, block=row.block, shard=row.shard))
            for row, path in pieces
        ]
        for batch, (found, histories) in batches():
            one_by_one = cast(SeriesEquations, equations).images(found) if several else found
            for index, image in enumerate(one_by_one, batch.start - job.images.start):
                images[index] = image.cpu().numpy()
            residuals += histories
            advance(len(batch), f"residual {histories[-1][-1]:.1e}" if histories[-1] else "")
    job.check_finite(images, "the image")
    if not algorithm.uses_noise:  # else zero is the answer where noise is all that was measured
        job.check_not_zero(images)
    job.receipt.record(
        shape=list(data.shape),
        shards=max(1, len(pieces)),
        algorithm=algorithm.algorithm,
        iterations=max((len(history) for history in residuals), default=0),
        residuals=residuals,
    )
    if state.resumed is not None:
        job.receipt.record(resumed_at=state.resumed)
    if state.written:
        job.receipt.record(solver_states=state.written)
    job.record_account()
    return images


def _normal_equations(
    job: BlockJob,
    batch: range,
    data: Measurement,
    equations: Equations,
    share_of: Callable[[range], Share],
) -> tuple[Share, Gram]:
    """Return the share and the normal operator of some images; on the host, of a series there."""
    if job.row.on_host:
        one = cast(SeriesMeasurement, data).share_kernels(job.images)
        parts = on_host(job.batches(share_of), one_kernel=one)
        series = SeriesOnHost(job, parts, equations.gram, one_kernel=one)
        return series.share, series
    share = share_of(batch)
    with job.phase("prepare"):
        return share, equations.gram(batch, share)


def _as_one(
    normal: NormalEquations, diagonal: Tensor, noise: Noise | None, left_by_noise: Tensor | None
) -> tuple[NormalEquations, Tensor, Noise | None, Tensor | None]:
    """Return what is told of each image for all as one problem, where the unknowns are."""
    there = normal.b.device
    energy = torch.as_tensor(normal.energy).sum(0, keepdim=True).to(there)
    if left_by_noise is not None:
        left_by_noise = left_by_noise.square().sum(0, keepdim=True).sqrt().to(there)
    return (
        replace(normal, energy=energy),
        diagonal.mean(0, keepdim=True).to(there),
        noise and noise.joint().to(there),
        left_by_noise,
    )


def _sum_of_shares(job: BlockJob, batch: range, shares: Sequence[StoredShare]) -> Share:
    """Add up what the shards are reduced to, in pairs so that rounding does not grow with them."""
    first = batch.start - job.row.first_image
    images = slice(first, first + len(batch))

    def total(some: Sequence[StoredShare]) -> Share:
        if len(some) == 1:
            return _read_share(job, some[0], images)
        half = len(some) // 2
        return total(some[:half]) + total(some[half:])

    with job.phase("sum shares"):
        return total(shares)


def _read_share(job: BlockJob, share: StoredShare, images: slice) -> Share:
    arrays = {name: share.read(name, images) for name in ("b", "energy", "diagonal")}
    kernels = {name: share.read(f"{KERNEL}/{name}", images) for name in share.kernels()}
    job.receipt.count_bytes(
        "sum shares", sum(array.nbytes for array in (*arrays.values(), *kernels.values()))
    )
    return Share(
        b=job.on_device(arrays["b"], job.complex),
        energy=job.on_device(arrays["energy"], torch.float64),
        diagonal=job.on_device(arrays["diagonal"], torch.float64),
        kernels={name: job.on_device(kernel, job.real) for name, kernel in kernels.items()},
    )
