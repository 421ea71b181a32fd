"""Merged images of an object without symmetry, at places that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.config.outputs import OutputSettings
from pipeline.geometry.orientation import patient_affine
from pipeline.merge.outputs import Merged

VOXEL_SIZE = (4e-3, 2e-3, 3e-3)
CENTRE = (12e-3, -20e-3, 35e-3)  # left, posterior, superior [m]


def merged_of(folder: Path, values: np.ndarray, **given: Any) -> Merged:
    """Return images as `merge` hands them to an output; in chunks of one plane unless given."""
    chunks = given.pop("chunks", (1, 1, *values.shape[2:]))
    images = zarr.create_array(folder / "image.zarr", data=values, chunks=chunks, overwrite=True)
    told: dict[str, Any] = {
        "affine": np.diag([4e-3, 2e-3, 1e-3, 1.0]),
        "oriented": False,
        "duration": None,
        "dataset": "head",
        "reconstruction": "cg-sense",
        "kind": "mri",
        "source": "0123456789abcdef",
        "header": None,
        "radar": None,
        "threads": 2,
        "settings": OutputSettings(bids="T1w"),
        "history": dict,
        "written": {},
    }
    return Merged(images, **{**told, **given})


def turned(*angles: tuple[int, float]) -> np.ndarray:
    """Return a rotation, 3 x 3: about axis (0, 1, 2) by an angle [degrees], one after another."""
    whole = np.eye(3)
    for axis, degrees in angles:
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        first, second = [other for other in range(3) if other != axis]
        rotation = np.eye(3)
        rotation[[first, second], [first, second]] = cosine
        rotation[first, second], rotation[second, first] = -sine, sine
        whole = rotation @ whole
    return whole


ORIENTATIONS = {
    # Columns: where x (columns), y (rows) and z (slices) lead, along left, posterior, superior.
    "axial": np.eye(3),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "oblique": turned((0, 25)),
    "double oblique": turned((0, 25), (2, -40)),
    "slices to the feet": turned((1, 17), (0, -30)) * [1, 1, -1],
}


def oriented_affine(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the affine of a volume ``(z, y, x)`` of one of `ORIENTATIONS` around `CENTRE`."""
    x, y, z = ORIENTATIONS[name].T
    affine = patient_affine(shape, VOXEL_SIZE, position=CENTRE, directions=(z, y, x))
    assert affine is not None
    return affine


def brightness(lps: np.ndarray) -> np.ndarray:
    """Return the object at positions ``[..., 3]``, left, posterior, superior [mm]."""
    blobs = [(2.0, (20.0, -20, 35)), (1.0, (12.0, -8, 35)), (0.5, (12.0, -20, 43))]
    value = np.full(lps.shape[:-1], 0.1)
    for height, where in blobs:
        value += height * np.exp(-np.sum((lps - where) ** 2, axis=-1) / (2 * 5.0**2))
    return value


def positions(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return where an affine puts the voxels of ``shape``, ``[..., 3]`` in its own order."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


def object_images(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return complex images ``[frame, z, y, x]`` of the object, brighter from frame to frame."""
    stored = positions(oriented_affine(name, shape[1:]), shape[1:])
    lps = 1e3 * np.stack([-stored[..., 2], -stored[..., 1], stored[..., 0]], axis=-1)
    frames = np.arange(1, shape[0] + 1).reshape(-1, 1, 1, 1)
    phase = np.exp(1j * np.linspace(0, 3, shape[-1]))
    return (frames * brightness(lps) * phase).astype(np.complex64)
