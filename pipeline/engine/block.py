"""Blocks and their shards: the loops over images that all kinds of data share."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.algorithms.base import AlgorithmSettings, SolverSettings
from pipeline.engine.job import BlockJob
from pipeline.engine.share import Shard, Share
from pipeline.engine.solving import Histories, solve
from pipeline.engine.table import PlanRow
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.progress import track
from pipeline.solvers.admm import ExactSolver
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.storage.shares import KERNEL, Array, StoredShare, open_share
from pipeline.storage.solver_state import SolverState

Result = TypeVar("Result")


class Measurement(Protocol):
    """One kind of data as normal equations."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""

    def whole(self) -> Shard:
        """Return the shard that is all of an image's measurement."""

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return a shard's share in the normal equations of some images."""

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of some images, from the sum of all shares."""

    def exact_solver(self) -> ExactSolver | None:
        """Return what solves ``(G + rho) x = r`` without iterations, where there is a way."""

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise in the normal equations of some images; `None` if it is not known."""

    def image(self, share: Share) -> Tensor:
        """Return the images ``(image, *shape)`` of an algorithm that solves nothing."""


def accumulate_shard(job: BlockJob, data: Measurement) -> dict[str, Array]:
    """Reduce one shard of a block to its share of the normal equations.

    Parameters
    ----------
    job
        The job, whose row names the shard.
    data
        The measurement.

    Returns
    -------
    dict
        The arrays of `pipeline.storage.shares.write_share`.

    Raises
    ------
    DataError
        If the sums are not finite.
    DeviceError
        If the device has too little memory for the smallest tile.
    """
    shard = job.shard()
    parts: list[Share] = []
    with track(f"{job.who}: images", job.row.images) as advance:
        for batch, part in _batches(job, lambda batch: data.accumulate(batch, shard)):
            parts.append(part)
            advance(len(batch))
    job.record_account()
    arrays = {
        name: np.concatenate([getattr(part, name).cpu().numpy() for part in parts])
        for name in ("b", "energy", "diagonal")
    }
    for name in dict.fromkeys(name for part in parts for name in part.kernels):
        arrays[f"{KERNEL}/{name}"] = _joined_kernels(parts, name)
    for name, values in arrays.items():
        _check_finite(values, f"{job.who}: `{name}` of the normal equations")
    return arrays


def reconstruct_block(
    job: BlockJob,
    algorithm: AlgorithmSettings,
    data: Measurement,
    pieces: Sequence[tuple[PlanRow, Path]],
    state: SolverState,
) -> NDArray[np.complexfloating]:
    """Reconstruct the images of one block, a batch at a time.

    Parameters
    ----------
    job
        The job.
    algorithm
        What makes images of the measurement.
    data
        The measurement.
    pieces
        The block's shards and the files that hold their shares; none where this job reads the
        measurement itself.
    state
        Keeps the state of long solves.

    Returns
    -------
    ndarray
        complex64 or complex128 ``[image, z, y, x]``.

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

    def reconstruct(batch: range) -> tuple[Tensor, Histories]:
        share = (
            _sum_of_shares(job, batch, shares) if shares else data.accumulate(batch, data.whole())
        )
        if not isinstance(algorithm, SolverSettings):
            return data.image(share), [[] for _ in batch]
        with job.phase("prepare"):
            gram = data.gram(batch, share)
        normal = NormalEquations(share.b, gram, share.energy)
        return solve(
            job,
            algorithm,
            normal,
            share.diagonal,
            image_axes=len(data.shape),
            noise=data.noise(batch, share) if algorithm.uses_noise else None,
            exact=cache(data.exact_solver),
            progress=lambda part, note: advance(0, note, partial=part * len(batch)),
            checkpoint=state.solve(f"images {batch.start} to {batch.stop - 1}"),
        )

    with ExitStack() as files, track(f"{job.who}: images", job.row.images) as advance:
        shares = [
            files.enter_context(open_share(path, block=row.block, shard=row.shard))
            for row, path in pieces
        ]
        for batch, (found, histories) in _batches(job, reconstruct):
            first = batch.start - job.row.first_image
            images[first : first + len(found)] = found.cpu().numpy()
            residuals += histories
            advance(len(found), f"residual {histories[-1][-1]:.1e}" if histories[-1] else "")
    _check_finite(images, f"{job.who}: the image")
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
    return images.reshape(job.row.images, *as_volume(data.shape))


def _batches(job: BlockJob, work: Callable[[range], Result]) -> Iterator[tuple[range, Result]]:
    """Do ``work`` on the block's images, a batch at a time; again with less where memory is short.

    The plan has seen to it that tiles fit, but another process may have taken the memory since.
    """
    images = job.images()
    first = images.start
    while first < images.stop:
        batch = range(first, min(first + job.tiles.images, images.stop))
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if not _is_of_memory(error):
                raise
            said = str(error)
        else:
            yield batch, result
            first = batch.stop
            continue
        # Here and not above, where the error still holds what was in work, and all of its memory.
        gc.collect()
        job.halve_tiles(said)


def _is_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; libraries that torch calls say so in words alone."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(word in str(error) for word in words)


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
    names = {name: f"{KERNEL}/{name}" for name in share.kernels()}
    arrays = {name: share.read(name, images) for name in ("b", "energy", "diagonal")}
    kernels = {name: share.read(path, images) for name, path in names.items()}
    job.receipt.count_bytes(
        "sum shares", sum(array.nbytes for array in (*arrays.values(), *kernels.values()))
    )
    return Share(
        b=job.on_device(arrays["b"], job.complex),
        energy=job.on_device(arrays["energy"], torch.float64),
        diagonal=job.on_device(arrays["diagonal"], torch.float64),
        kernels={name: job.on_device(kernel, job.real) for name, kernel in kernels.items()},
    )


def _joined_kernels(parts: Sequence[Share], name: str) -> Array:
    """Return a kernel of all batches; one alone where all images share it.

    Images may differ in their kernels, as frames of a phase history in their sub-apertures: one
    that an image does not have is zero.
    """
    known = [part.kernels.get(name) for part in parts]
    absent = torch.zeros_like(next(kernel for kernel in known if kernel is not None)[:1])
    kernels = [absent if kernel is None else kernel for kernel in known]
    if all(kernel is kernels[0] for kernel in kernels):
        return kernels[0].cpu().numpy()
    return np.concatenate(
        [
            kernel.expand(len(part.energy), *kernel.shape[1:]).cpu().numpy()
            for part, kernel in zip(parts, kernels, strict=True)
        ]
    )


def _check_finite(values: Array, who: str) -> None:
    # A sum keeps NaN and infinity, and is cheaper than looking at each value.
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(values.sum(dtype=np.promote_types(values.dtype, np.float64)))
    if not finite:
        raise DataError(
            f"{who} has values that are not finite; check measurement, maps and weights"
        )
