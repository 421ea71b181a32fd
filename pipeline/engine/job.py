"""What all accumulate and reconstruct jobs share: settings, device, tiles, timing and streams."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.equations import AccumulateSettings
from pipeline.engine import canary
from pipeline.engine.limits import torch_device
from pipeline.engine.machine import Machine, Transforms
from pipeline.engine.stream import Read, StreamAccount, stream
from pipeline.engine.table import PlanRow
from pipeline.errors import DataError, DeviceError
from pipeline.host_memory import return_freed_memory
from pipeline.storage.receipts import Receipt

Result = TypeVar("Result")

SMALLEST = float(np.finfo(np.float32).tiny / np.finfo(np.float32).eps)
"""Of the largest magnitude of an image: what is dimmer by single precision is still a normal
number."""


@dataclass(frozen=True)
class TileSizes:
    """How much is in work at one moment, at most."""

    images: int
    channels: int
    """Coils, or RF pairs."""
    readouts: int
    together: bool = False
    """Whether all images are in work together."""

    def halved(self) -> TileSizes | None:
        """Return half of it: fewer channels, then fewer images, then fewer readouts.

        None where one readout of one channel of one image cannot be halved.
        """
        for name in ("channels", "images", "readouts"):
            size = getattr(self, name)
            if size > 1 and not (name == "images" and self.together):
                return replace(self, **{name: math.ceil(size / 2)})
        return None


@dataclass(frozen=True)
class Shard:
    """A piece of the measurements of each image."""

    channels: range
    """MRI: coils. RF: pairs; a phase history has one channel."""
    readouts: range
    """MRI: readouts of an image, those of joined frames one after the other. RF: frequencies of
    each pair, or pulses of a phase history."""

    def is_first_of_channels(self) -> bool:
        """Tell whether this shard accounts for what all channels share, such as the kernel."""
        return self.channels.start == 0


def prepare_process(receipt: Receipt, device: str, threads: int) -> None:
    """Set this process up for one job, and record with what it computes.

    Raises `DeviceError` if the device, ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, is absent.
    """
    return_freed_memory()
    torch.set_num_threads(threads)
    chosen = torch_device(device)
    if chosen.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(chosen)
        # Else convolutions of a network would keep ten bits of each number.
        torch.backends.cudnn.allow_tf32 = False
    receipt.record(device=chosen, threads=threads)


def record_device_memory(receipt: Receipt) -> None:
    """Record the most that torch has held of the device of a process that was prepared."""
    device = receipt.content["device"]
    if device.startswith("cuda"):
        receipt.record(peak_device_bytes=torch.cuda.max_memory_allocated(device))


class BlockJob:
    """One block of images, or one shard of it, on one device."""

    def __init__(
        self, settings: AccumulateSettings, dataset: str, row: PlanRow, receipt: Receipt
    ) -> None:
        self.settings, self.row, self.receipt = settings.reconstruction, row, receipt
        # As planned, or halved since: then what was gone on with each time.
        self.joint = self.settings.joins_images
        together = self.joint and not row.on_host
        self.tiles = TileSizes(row.image_batch, row.coil_batch, row.readout_batch, together)
        self.halvings: list[dict[str, int]] = []
        # Of everything that was streamed, and of the tiles of each RF pair.
        self.account = StreamAccount()
        self.pair_accounts: dict[int, StreamAccount] = {}
        self.device: str = receipt.content["device"]
        self.who = f"{dataset} block {row.block}" + (f" shard {row.shard}" if row.shard else "")
        on_device, threads = self.device.startswith("cuda"), receipt.content["threads"]
        machine = Machine.of(settings, on_device=on_device, threads=threads)
        self._machine = replace(machine, choice=row.transforms)
        self.tolerance: float = machine.nufft.tolerance
        self.complex, self.real = machine.dtype, machine.dtype.to_real()

    def transforms(self, shape: tuple[int, ...], *, on_grid: bool = False) -> Transforms:
        """Return how images of ``shape`` become samples, which may lie ``on_grid``."""
        return Transforms(shape, self._machine, on_grid)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase until the device has finished it, not until it was asked to begin."""
        with self.receipt.phase(name):
            yield
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)

    def check_arithmetic(self, transforms: Transforms, trajectory: Tensor) -> None:
        """Check the transform on a part of the trajectory, and record what was found."""
        with self.phase("prepare"):
            found = canary.check_operator(
                transforms.nufft, trajectory, self._machine.nufft.tolerance, self.who
            )
        self.receipt.record(
            backend=found.backend,
            transforms=self.row.transforms.model_dump(mode="json", exclude_none=True),
            canary={"adjoint_error": found.adjoint_error, "forward_error": found.forward_error},
        )

    def on_device(self, values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        """Return an array as a tensor of ``dtype`` on the job's device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, dtype)

    def stream(
        self, reads: Iterable[Read], accounts: Iterable[StreamAccount] | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield what ``reads`` return, on the device, each read while the one before computes.

        ``accounts`` has for each tile one that it is added to, besides that of the job.
        """
        of_tiles = None if accounts is None else iter(accounts)
        return stream(
            reads,
            self.device,
            self.account,
            stalled=lambda: self.receipt.phase("wait_for_data"),
            finished=lambda of_tile: None if of_tiles is None else next(of_tiles).add(of_tile),
        )

    @property
    def images(self) -> range:
        """The images that the job measures."""
        if self.settings.subspace:  # one, of several unknowns
            return range(1)
        return range(self.row.first_image, self.row.first_image + self.row.images)

    def batches(self, work: Callable[[range], Result]) -> Iterator[tuple[range, Result]]:
        """Do ``work`` on what the job measures, a batch at a time; with less if memory is short.

        Raises `DeviceError` if the device has too little memory for the smallest tile.
        """
        images = self.images
        first = images.start

        def next_batch() -> tuple[range, Result]:
            batch = range(first, min(first + self.tiles.images, images.stop))
            return batch, work(batch)

        while first < images.stop:
            found = self.attempt(next_batch)
            first = found[0].stop
            yield found
            del found  # before the next one is made

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Do ``work``, again with smaller tiles as long as memory is short.

        The plan has seen to it that tiles fit, but another process may have taken the memory since.
        Raises `DeviceError` if the device has too little memory for the smallest tile.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not _is_of_memory(error):
                    raise
                said = str(error)
            # Here and not above, where the error still holds what was in work, and its memory.
            gc.collect()
            self.halve_tiles(said)

    def check_finite(self, values: NDArray[np.generic], name: str) -> None:
        """Raise `DataError` where an array has values that are not finite."""
        # A sum keeps NaN and infinity, and is cheaper than looking at each value.
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(values.sum(dtype=np.promote_types(values.dtype, np.float64)))
        if not finite:
            raise DataError(
                f"{self.who}: {name} has values that are not finite; check measurement, maps and "
                "weights"
            )

    def check_not_zero(self, images: NDArray[np.complexfloating]) -> None:
        """Raise `DataError` where an image is zero, or smaller than single precision resolves."""
        for index, image in enumerate(images, self.row.first_image):
            if not np.abs(image).max() > SMALLEST:
                raise DataError(
                    f"{self.who}: image {index} is zero throughout, or smaller than {SMALLEST:.0e}"
                    ", which single precision does not resolve; check that k-space, weights and "
                    "maps are not zero, and scale the measurement"
                )

    def halve_tiles(self, error: str) -> None:
        """Go on with smaller tiles, and say so in log and receipt; or raise `DeviceError`."""
        smaller = self.tiles.halved()
        if smaller is None:
            raise DeviceError(
                f"{self.who}: out of memory with the smallest tile ({error}); predicted were "
                f"{self.row.device_mb} MB of {self.row.limit_device_mb} MB on the device and "
                f"{self.row.host_mb} MB of {self.row.limit_host_mb} MB beside it. Another process "
                "may be using them; lower memory.device_mb or memory.host_mb and plan again"
            ) from None
        print(  # noqa: T201
            f"{self.who}: out of memory with {self.tiles}; going on with {smaller}",
            file=sys.stderr,
            flush=True,
        )
        self.tiles = smaller
        self.halvings.append(vars(smaller))
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def shard(self) -> Shard:
        """Return the piece of the measurement that the job's row names: all, of a block's."""
        row = self.row
        return Shard(
            range(row.first_channel, row.first_channel + row.channels),
            range(row.first_readout, row.first_readout + row.readouts),
        )

    def record_account(self) -> None:
        """Write into the receipt what the plan said and what the streams took."""
        row = self.row
        self.receipt.record(
            first_image=row.first_image,
            images=row.images,
            predicted_host_bytes=row.host_mb * 10**6,
            predicted_device_bytes=row.device_mb * 10**6,
            predicted_seconds=row.seconds,
            limit_host_bytes=row.limit_host_mb * 10**6,
            limit_device_bytes=row.limit_device_mb * 10**6,
        )
        if self.halvings:
            self.receipt.record(halved_tiles=self.halvings)
        if self.account.tiles:
            self.receipt.record(streaming=self.account.summary())
            self.receipt.count_bytes("wait_for_data", self.account.bytes)
        if self.pair_accounts:
            self.receipt.record(
                pairs=[
                    {"pair": pair, **account.summary()}
                    for pair, account in sorted(self.pair_accounts.items())
                ]
            )
        record_device_memory(self.receipt)


def _is_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; libraries that torch calls say so in words alone."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(word in str(error) for word in words)
