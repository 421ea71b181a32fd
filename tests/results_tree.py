"""A made-up results folder: what a run would have left before `measure` and `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from acquisitions import write_attributes

from pipeline.engine.table import PlanRow, write_plan
from pipeline.geometry.axes import as_volume, centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.storage.chunks import image_codecs
from pipeline.storage.publish import published_store, write_json


def planned_block(name: str, first_image: int, images: int) -> PlanRow:
    """Return the row of a block's job, whose costs are nothing."""
    required = {name: field for name, field in PlanRow.model_fields.items() if field.is_required()}
    zeros = {name: "" if field.annotation is str else 0 for name, field in required.items()}
    told = {"stage": "reconstruct", "block": name, "first_image": first_image, "images": images}
    return PlanRow(**(zeros | told))


@dataclass(frozen=True)
class Made:
    """Paths of one reconstruction, and the arrays that were stored."""

    dataset: str
    reconstruction: str
    raw: Path
    image: Path
    shared: list[Path]
    images: np.ndarray
    reference: np.ndarray | None

    @property
    def metrics(self) -> Path:
        return self.image.with_name("metrics.csv")

    @property
    def plan(self) -> Path:
        return self.image.with_name("plan.tsv")

    @property
    def receipts(self) -> Path:
        return self.image.with_name("receipts")

    @property
    def receipt(self) -> Path:
        return self.receipts / "measure.json"


def ellipsoids(shape: tuple[int, ...], frames: int = 1) -> np.ndarray:
    """Return complex64 ``[frame, z, y, x]``: a head with two ventricles, one of them growing."""
    z, y, x = np.meshgrid(
        *[np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in as_volume(shape)],
        indexing="ij",
    )
    phase = np.exp(1j * (0.8 * x - 0.5 * y + 0.3 * z))
    images = []
    for frame in range(frames):
        grow = 1 + 0.5 * np.sin(2 * np.pi * frame / max(frames, 2))
        head = (z / 0.9) ** 2 + (y / 0.85) ** 2 + (x / 0.7) ** 2 < 1
        inner = (z / 0.82) ** 2 + (y / 0.77) ** 2 + (x / 0.62) ** 2 < 1
        left = (z / 0.4) ** 2 + ((y + 0.1) / 0.3) ** 2 + ((x + 0.2) / (0.1 * grow)) ** 2 < 1
        right = (z / 0.4) ** 2 + ((y + 0.1) / 0.3) ** 2 + ((x - 0.22) / 0.12) ** 2 < 1
        tissue = 1.0 * head - 0.5 * inner + 0.15 * np.cos(9 * x) * np.cos(7 * y) * inner
        images.append((tissue - 0.3 * left + 0.35 * right) * phase)
    return np.stack(images).astype(np.complex64)


def noisy(images, *, seed=0, level=0.03):
    random = np.random.default_rng(seed)
    noise = random.standard_normal(images.shape) + 1j * random.standard_normal(images.shape)
    return (images + level * noise).astype(np.complex64)


def write_raw(marker, *, shape, frames, coils=4, voxel_size=None, reference=None):
    sizes = {"kspace": (frames, coils, 3, 5), "trajectory": (1, 3, 5, len(shape))}
    voxel_size = voxel_size or [0.002] * len(shape)
    with published_store(marker) as group:
        write_attributes(group, shape, voxel_size)
        for name, size in sizes.items():
            ARRAYS.create(group, name, size)[...] = 0
        if reference is not None:
            ARRAYS.create(group, "reference", reference.shape)[...] = reference


def write_images(marker, images, *, dataset, reconstruction, voxel_size):
    with published_store(marker) as group:
        group.attrs.update(
            dataset=dataset,
            reconstruction=reconstruction,
            voxel_size=list(voxel_size),
            affine=centred_affine(images.shape[1:], voxel_size).tolist(),
        )
        group.create_array(
            "image",
            data=images,
            chunks=(1, *images.shape[1:]),
            compressors=image_codecs(images.dtype),
        )


def write_receipt(path: Path, stage: str, seconds: float, **content: Any) -> Path:
    parts = {"read": 0.25, "prepare": 0.15, "solve": 0.5}
    phases = {name: {"seconds": seconds * part} for name, part in parts.items()}
    phases["read"]["bytes"] = 8e6
    write_json(
        path,
        {
            "stage": stage,
            **content,
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": seconds,
            "phases": phases,
            "peak_host_bytes": content.get("peak_host_bytes", 210_000_000),
            "versions": {"kronufft": "0.1.0", "numpy": "2.1.0"},
        },
    )
    return path


def write_run(
    results: Path,
    *,
    dataset: str = "head",
    reconstruction: str = "cg-sense",
    shape: tuple[int, ...] = (9, 20, 17),
    frames: int = 1,
    joined: int = 1,
    blocks: int = 1,
    with_reference: bool = True,
    algorithm: str = "cg-sense",
    voxel_size: tuple[float, ...] | None = None,
    level: float = 0.03,
    misfit: float = 0.04,
) -> Made:
    """Write the files of one dataset and one reconstruction of it under ``results``."""
    folder = results / dataset
    made = folder / reconstruction
    truth = ellipsoids(shape, frames)
    reference = truth if with_reference else None
    voxel_size = voxel_size or (0.002,) * len(shape)
    raw = folder / "raw.json"
    write_raw(raw, shape=shape, frames=frames, voxel_size=voxel_size, reference=reference)
    groups = [range(at, min(at + joined, frames)) for at in range(0, frames, joined)]
    means = np.stack([truth[list(group)].mean(axis=0) for group in groups])
    images = noisy(3.0 * np.exp(0.7j) * means, level=3 * level)
    write_images(
        made / "image.json",
        images,
        dataset=dataset,
        reconstruction=reconstruction,
        voxel_size=(voxel_size[-1], *voxel_size)[-3:],
    )
    shared = [
        write_receipt(folder / "receipts/ingest.json", "ingest", 1.7, dataset=dataset,
                      format="simulation", frames=frames),
        write_receipt(folder / "receipts/calibrate.json", "calibrate", 3.1, dataset=dataset,
                      coil_maps="walsh", density="radial"),
    ]  # fmt: skip
    names = {"dataset": dataset, "reconstruction": reconstruction}
    write_receipt(made / "receipts/plan.json", "plan", 0.2, **names)
    parts = np.array_split(np.arange(len(images)), blocks)
    for block, part in enumerate(parts):
        residuals = [
            [0.45 ** (step + 1) * (1 + 0.1 * int(image)) for step in range(12)] for image in part
        ]
        misfits = {
            "misfit": [misfit + 0.001 * int(image) for image in part],
            "expected_misfit": [0.02] * len(part), "misfit_resolution": 0.007,
            "plausible_misfit": 0.45,
        }  # fmt: skip
        write_receipt(
            made / f"receipts/reconstruct-{block:04d}.json", "reconstruct", 6.5 + block,
            **names, block=f"{block:04d}", first_image=int(part[0]), images=len(part),
            shape=list(shape), coils=4, samples=15 * joined, algorithm=algorithm,
            weight=[1e-3] * len(part), stopped=["iterations"] * len(part),
            iterations=12 if algorithm == "cg-sense" else 0,
            residuals=residuals if algorithm == "cg-sense" else [[] for _ in part],
            normal="toeplitz", backend="ducc0", device="cpu", threads=2,
            **(misfits if algorithm == "cg-sense" else {}),
            canary={"adjoint_error": 2e-7, "forward_error": 3e-4},
            predicted_host_bytes=900_000_000 + 40_000_000 * block,
            peak_host_bytes=700_000_000 + 60_000_000 * block,
            limit_host_bytes=2_000_000_000, predicted_device_bytes=0, limit_device_bytes=0,
        )  # fmt: skip
    write_receipt(made / "receipts/merge.json", "merge", 0.9, **names)
    rows = [
        planned_block(f"{block:04d}", int(part[0]), len(part)) for block, part in enumerate(parts)
    ]
    write_plan(made / "plan.tsv", rows)
    return Made(dataset, reconstruction, raw, made / "image.json", shared, images, reference)
