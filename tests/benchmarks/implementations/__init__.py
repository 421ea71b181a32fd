"""The implementations that are compared, each a subclass of `base.Implementation`."""

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which

from benchmarks.implementations.base import Implementation
from benchmarks.truth import OPERATIONS


@dataclass(frozen=True)
class Entry:
    """Where an implementation is, and what it can do; known without importing it.

    Attributes
    ----------
    module, kind
        Module in this package and class in it.
    needs, needs_on_device
        Packages or programmes that must be installed; and besides where a GPU computes.
    operations
        What it is measured at.
    priors
        What it can know of images, see `benchmarks.cases.Case`.
    devices
        Where it runs.
    slow
        Left out unless asked for.
    """

    module: str
    kind: str
    needs: tuple[str, ...]
    operations: tuple[str, ...] = OPERATIONS
    priors: tuple[str, ...] = ("l2", "basis")
    devices: tuple[str, ...] = ("cpu",)
    slow: bool = False
    needs_on_device: tuple[str, ...] = ()

    def missing(self, device: str = "cpu") -> list[str]:
        """Return what it needs and this machine lacks."""
        needs = self.needs + (self.needs_on_device if device == "cuda" else ())
        return [one for one in needs if find_spec(one) is None and which(one) is None]

    def load(self) -> type[Implementation]:
        """Import it."""
        module = importlib.import_module(f"benchmarks.implementations.{self.module}")
        loaded: type[Implementation] = getattr(module, self.kind)
        return loaded


EVERY = ("l2", "basis", "tv")

ENTRIES = {
    "kronufft": Entry(
        "kronufft", "Kronufft", ("pipeline", "torch"), priors=EVERY, devices=("cpu", "cuda")
    ),
    "finufft": Entry("finufft_plans", "FinufftPlans", ("finufft",)),
    "cufinufft": Entry(
        "cufinufft_plans", "CufinufftPlans", ("cufinufft", "torch"), devices=("cuda",)
    ),
    "torch-fft-padded": Entry(
        "padded_fft",
        "PaddedFFT",
        ("finufft", "torch"),
        operations=("normal", "cg-sense", "converged"),
        devices=("cpu", "cuda"),
    ),
    "mri-nufft": Entry("mri_nufft", "MRINufft", ("mrinufft", "finufft")),
    "sigpy": Entry(
        "sigpy_linops",
        "SigPy",
        ("sigpy",),
        priors=EVERY,
        devices=("cpu", "cuda"),
        needs_on_device=("cupy",),
    ),
    "torchkbnufft": Entry(
        "kaiser_bessel", "TorchKbNufft", ("torchkbnufft", "torch"), devices=("cpu", "cuda")
    ),
    "mrpro": Entry(
        "mrpro_gram",
        "MRpro",
        ("mrpro",),
        operations=("normal", "cg-sense", "converged"),
        devices=("cpu", "cuda"),
    ),
    "mirtorch": Entry(
        "mirtorch_gram", "MIRTorch", ("mirtorch",), operations=("normal", "cg-sense", "converged")
    ),
    "bartorch": Entry(
        "bart_pics", "Bartorch", ("bartorch",), operations=("cg-sense", "converged"), slow=True
    ),
    "bart": Entry("bart_pics", "Bart", ("bart",), operations=("cg-sense", "converged"), slow=True),
}
