"""The breathing body as it is at a depth of its breath, and how far images are from it."""

from collections.abc import Sequence

import numpy as np

from pipeline.mri.formats.breathing import breathing_body
from pipeline.mri.formats.phantoms import fourier_transform


def within_a_ball(kspace: np.ndarray) -> np.ndarray:
    """Leave out the corners of k-space, which no spoke reaches; return the magnitude."""
    axes = np.meshgrid(*[np.arange(size) - size // 2 for size in kspace.shape], indexing="ij")
    kspace = np.where(np.linalg.norm(axes, axis=0) <= kspace.shape[0] / 2, kspace, 0)
    return np.abs(np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace))))


def true_image(shape: Sequence[int], depth: float) -> np.ndarray:
    """Return the body at a depth of its breath, from its exact k-space on the grid."""
    k = np.stack(np.meshgrid(*[np.arange(-n // 2, n // 2) for n in shape], indexing="ij"), -1)
    k = k.reshape(-1, 3) * 2 * np.pi / np.array(shape)
    parts = breathing_body(shape, np.full(len(k), depth))
    kspace = sum(fourier_transform(part, shape, k, moved=moved) for part, moved in parts)
    return within_a_ball(kspace.reshape(shape))


def error_of(image: np.ndarray, truth: np.ndarray) -> float:
    """Return how far an image is from what `true_image` is, relative to that."""
    seen = within_a_ball(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image))))
    return float(np.linalg.norm(seen - truth) / np.linalg.norm(truth))
