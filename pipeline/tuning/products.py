"""Time and error of the ways to compute a Toeplitz product."""

import math
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

import torch

from pipeline.engine.tuning_file import ProductTiming
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.progress import track
from pipeline.tuning.acquisition import TunedAcquisition
from pipeline.tuning.exact_sums import exact_lags
from pipeline.tuning.timing import race, shortest, spread

_SAMPLES = 2**14
_BRIGHT = 3
"""Voxels of the image whose product is known exactly."""
_KNOWN = 8


@dataclass(frozen=True)
class Decomposition:
    """An FFT library, and the pieces that it transforms at a time."""

    fft: Literal["ducc0", "mkl", "scipy", "torch"]
    piece_bytes: int

    def operator(self, spectrum: torch.Tensor, shape: tuple[int, ...], threads: int) -> Toeplitz:
        """Return the convolution."""
        return Toeplitz(
            spectrum, shape, fft=self.fft, piece_bytes=self.piece_bytes, threads=threads
        )


def decompositions(device: torch.device) -> list[Decomposition]:
    """Return what works on a device: in cache on a CPU, in slabs that fill a GPU there."""
    if device.type == "cuda":
        return [Decomposition("torch", 2**power) for power in (27, 25, 29)]
    found = [Decomposition("ducc0", 2**power) for power in (20, 19, 21, 22)]
    found = found if find_spec("ducc0") else []
    if torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        found += [Decomposition("mkl", 2**power) for power in (20, 19, 21)]
    return [
        *found,
        *(Decomposition("scipy", 2**power) for power in (20, 21)),
        *(Decomposition("torch", 2**power) for power in (22, 27)),
    ]


def product_error(acquisition: TunedAcquisition, way: Decomposition) -> float:
    """Return the relative l2 distance of a product from the exact sum, in single precision.

    The kernel is part of it. The image is a few voxels, so that the exact sum is that of as few
    values of the kernel.
    """
    shape, device = acquisition.shape, acquisition.device
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(acquisition.samples, generator=generator)[:_SAMPLES]
    trajectory = acquisition.trajectories[0][:, chosen]
    weights = torch.rand(len(chosen), generator=generator)
    places = torch.randperm(math.prod(shape), generator=generator)[:_KNOWN]
    values = torch.randn(_BRIGHT, dtype=torch.complex64, generator=generator)
    image = torch.zeros(math.prod(shape), dtype=torch.complex64)
    image[places[:_BRIGHT]] = values
    spectrum = toeplitz_spectrum(shape, trajectory.to(device), weights.to(device))
    product = way.operator(spectrum, shape, torch.get_num_threads())(
        image.reshape(shape).to(device)
    )
    at = torch.stack(torch.unravel_index(places, shape)).to(torch.float64)
    lags = (at[:, :, None] - at[:, None, :_BRIGHT]).reshape(len(shape), -1)
    kernel = exact_lags(weights, trajectory, lags).reshape(-1, _BRIGHT)
    exact = kernel @ values.to(torch.complex128)
    difference = product.cpu().ravel()[places].to(torch.complex128) - exact
    return float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(exact))


class Products:
    """Toeplitz products of a batch of coils, and frames of all coils, to be timed.

    The values are random: the time does not depend on them.
    """

    def __init__(self, acquisition: TunedAcquisition, transforms: int) -> None:
        self.shape, self.device = acquisition.shape, acquisition.device
        self._threads = acquisition.threads
        coils = min(acquisition.coils, transforms)
        frames = min(max(1, transforms // coils), acquisition.frames)
        self.transforms = coils * frames
        kernels = 1 if acquisition.shared else frames
        spectra = torch.rand(kernels, *padded_shape(self.shape), device=self.device)
        self._spectra = spectra if kernels > 1 else spectra[0]
        self._maps = torch.randn(coils, *self.shape, dtype=torch.complex64, device=self.device)
        self._images = torch.randn(frames, *self.shape, dtype=torch.complex64, device=self.device)
        if frames == 1:
            self._images = self._images[0]

    def operator(self, way: Decomposition) -> SenseNormal:
        """Return the normal operator of the batch."""
        toeplitz = way.operator(self._spectra, self.shape, self._threads)
        together = len(self._maps) if self.device.type == "cuda" else None
        return SenseNormal(toeplitz, self._maps, together)

    def seconds(self, operator: SenseNormal) -> float:
        """Return the time of one application to the batch."""
        return shortest(lambda: operator(self._images), self.device)


def measure_products(
    acquisition: TunedAcquisition, *, transforms: int, seconds: float
) -> list[ProductTiming]:
    """Return error and time of each decomposition, of so many transforms at once."""
    deadline = time.monotonic() + seconds
    products = Products(acquisition, transforms)
    ways = decompositions(acquisition.device)
    operators = {way: products.operator(way) for way in ways}
    for operator in operators.values():
        products.seconds(operator)

    def run(way: Decomposition) -> tuple[float]:
        return (products.seconds(operators[way]),)

    errors: dict[str, float] = {}
    with track("Toeplitz products", len(ways)) as advance:
        runs = race(
            {way: partial(run, way) for way in ways},
            deadline=deadline,
            rivals=lambda way: [other for other in ways if other != way],
            advance=lambda way: advance(note=way.fft),
        )
    found = []
    for way, parts in runs.items():
        times = [sum(part) for part in parts]
        if way.fft not in errors:  # the size of the pieces does not change it
            errors[way.fft] = product_error(acquisition, way)
        found.append(
            ProductTiming(
                fft=way.fft,
                piece_bytes=way.piece_bytes,
                error=errors[way.fft],
                seconds=min(times) / products.transforms,
                spread=spread(times),
            )
        )
    return found
