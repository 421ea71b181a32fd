import h5py
import numpy as np
from scipy.special import j1

size, spokes, coils = 128, 80, 4
angle = np.pi * 0.6180339887 * np.arange(spokes)
radius = np.linspace(-0.5, 0.5, 2 * size, endpoint=False)  # cycles per voxel
x, y = np.outer(np.cos(angle), radius), np.outer(np.sin(angle), radius)


def disc(x, y, right, down, wide, high):
    """The Fourier transform of an ellipse."""
    rho = 2 * np.pi * np.hypot(wide * x, high * y) + 1e-9
    return 2 * np.pi * wide * high * j1(rho) / rho * np.exp(-2j * np.pi * (right * x + down * y))


def coil(phase):
    """What a coil sees that is strong at one side."""
    shift = 0.3 / size
    u, v = shift * np.cos(phase), shift * np.sin(phase)
    seen = 0
    for step, weight in ((0, 1), (1, 0.5j), (-1, -0.5j)):
        at = x - step * u, y - step * v
        seen = seen + weight * (disc(*at, 0, 0, 40, 52) - 0.7 * disc(*at, 14, -18, 9, 14))
    return seen


kspace = np.stack([coil(2 * np.pi * c / coils) for c in range(coils)])
rng = np.random.default_rng(1)
kspace = kspace + 5 * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
with h5py.File("scan.h5", "w") as file:
    file["kspace"] = kspace.astype("complex64")  # coil, readout, sample
    file["traj"] = np.stack([x, y], axis=-1)  # readout, sample, component
