"""The problems that are timed, and their inputs.

The inputs come from a few lines of NumPy here and not from `pipeline`, so that nothing that is
measured also makes what it is measured on.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Case:
    """One problem: ``frames`` images of ``shape``, each with its own radial trajectory.

    ``prior`` says what is known of its images: nothing (`l2`); that they are sums of few (`basis`);
    that they seldom change from frame to frame (`tv`, total variation along the frames).
    """

    name: str
    shape: tuple[int, ...]
    coils: int
    frames: int
    readouts: int
    samples: int
    prior: str = "l2"

    @property
    def operations(self) -> tuple[str, ...]:
        """What is measured; of images that belong together only whole reconstructions."""
        every = ("forward", "adjoint", "normal", "cg-sense", "converged")
        return every if self.prior == "l2" else ("converged",)

    @property
    def sizes(self) -> dict[str, Any]:
        """What stands beside a time; samples are those of a frame."""
        samples = self.readouts * self.samples
        counts = {"coils": self.coils, "frames": self.frames, "samples": samples}
        return {"matrix": " x ".join(map(str, self.shape)), **counts}

    def __str__(self) -> str:
        size = " x ".join(str(extent) for extent in self.shape)
        frames = f"{self.frames} frames, " if self.frames > 1 else ""
        return (
            f"{self.name}: {frames}{size}, {self.coils} coils, "
            f"{self.readouts} spokes of {self.samples} samples"
        )


CASES = (
    Case("radial-2d", (256, 256), coils=12, frames=1, readouts=402, samples=512),
    Case("radial-2d-series", (192, 192), coils=12, frames=24, readouts=34, samples=384),
    Case("kooshball-3d", (128, 128, 128), coils=8, frames=1, readouts=10_000, samples=512),
    Case("kooshball-96", (96, 96, 96), coils=8, frames=1, readouts=6_000, samples=192),
    Case("subspace", (96, 96), coils=8, frames=32, readouts=8, samples=192, prior="basis"),
    Case("series", (96, 96), coils=8, frames=20, readouts=24, samples=192, prior="tv"),
)


def quick(case: Case) -> Case:
    """Return a miniature of ``case`` that takes a fraction of a second."""
    return replace(
        case,
        shape=tuple(12 + 2 * axis for axis in range(len(case.shape))),
        coils=3,
        frames=min(case.frames, 2 if case.prior == "l2" else 5),
        readouts=60,
        samples=32,
    )


@dataclass(frozen=True)
class Problem:
    """The inputs of one case; an array that an operation does not use may be left empty.

    Attributes
    ----------
    shape
        Image matrix, ``(y, x)`` or ``(z, y, x)``.
    trajectory
        float32 ``[frame, sample, axis]`` [rad/voxel], components in the order of ``shape``.
    maps
        complex64 ``[coil, *shape]``; their squared magnitudes sum to one in each voxel.
    image
        complex64 ``[frame, *shape]``, random: every spatial frequency counts alike in errors.
    kspace
        complex64 ``[frame, coil, sample]``, random.
    prior
        See `Case`.
    basis
        float32 ``[frame, coefficient]`` with orthonormal columns; empty without.
    """

    shape: tuple[int, ...]
    trajectory: NDArray[np.float32]
    maps: NDArray[np.complex64]
    image: NDArray[np.complex64]
    kspace: NDArray[np.complex64]
    prior: str
    basis: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write each array as ``<name>.npy``."""
        for name in ("trajectory", "maps", "image", "kspace", "prior", "basis"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, data: str, file: str | None = None) -> "Problem":
        """Read what `save` wrote: trajectory, maps and ``data``, which is an image or k-space.

        Those come from another ``file`` where one is named.
        """
        arrays = {name: np.empty(0, np.complex64) for name in ("image", "kspace")}
        for name in ("trajectory", "maps", "basis", data):
            stored = file if name == data and file else name
            arrays[name] = np.load(folder / f"{stored}.npy", allow_pickle=False)
        prior = str(np.load(folder / "prior.npy", allow_pickle=False))
        return cls(shape=arrays["maps"].shape[1:], prior=prior, **arrays)


def make_problem(case: Case, seed: int = 0) -> Problem:
    """Make the inputs of ``case``."""
    generator = np.random.default_rng(seed)
    trajectory = np.stack([_radial(case, frame) for frame in range(case.frames)])
    return Problem(
        shape=case.shape,
        trajectory=trajectory.astype(np.float32),
        maps=_smooth_maps(case, generator),
        image=_complex_noise(generator, (case.frames, *case.shape)),
        kspace=_complex_noise(generator, (case.frames, case.coils, trajectory.shape[1])),
        prior=case.prior,
        basis=_recoveries(case.frames) if case.prior == "basis" else np.empty((0, 0), np.float32),
    )


def _radial(case: Case, frame: int) -> NDArray[np.float64]:
    """Return the spokes of one frame: golden angle in 2D, a spiral over the sphere in 3D."""
    radius = (np.arange(case.samples) - case.samples // 2) / case.samples * 2 * math.pi
    spoke = np.arange(case.readouts) + frame * case.readouts
    angle = spoke * _GOLDEN_ANGLE
    if len(case.shape) == 2:
        direction = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    else:
        height = (np.arange(case.readouts) + 0.5) / case.readouts
        across = np.sqrt(1 - height**2)
        direction = np.stack([height, across * np.sin(angle), across * np.cos(angle)], axis=-1)
    points = radius[:, None] * direction[:, None, :]
    return points.reshape(-1, len(case.shape))


def _recoveries(frames: int) -> NDArray[np.float32]:
    """Return an orthonormal basis of signals that decay fast, less fast and slowly."""
    decays = np.exp(-np.outer(np.linspace(0, 3, frames), (0.1, 1, 6)))
    return np.linalg.qr(decays)[0].astype(np.float32)


def _complex_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    noise = np.empty(shape, np.complex64)
    noise.real = generator.standard_normal(shape, np.float32)
    noise.imag = generator.standard_normal(shape, np.float32)
    return noise


def _smooth_maps(case: Case, generator: np.random.Generator) -> NDArray[np.complex64]:
    """Return Gaussian profiles around the object, each with a linear phase."""
    axes = np.meshgrid(*(np.linspace(-1, 1, extent) for extent in case.shape), indexing="ij")
    grid = np.stack(axes).astype(np.float32)
    maps = np.empty((case.coils, *case.shape), np.complex64)
    for one in maps:
        centre = generator.standard_normal(len(case.shape))
        centre /= np.linalg.norm(centre)
        slope = generator.uniform(-2, 2, len(case.shape))
        distance = np.tensordot(centre, grid, 1) - 1
        one[...] = np.exp(-0.5 * distance**2 + 1j * np.tensordot(slope, grid, 1))
    return maps / np.linalg.norm(maps, axis=0)
