import matplotlib.pyplot as plt
import numpy as np
import torch

import kronufft

# A plane of 20 x 24 points, 2 cm apart, 1.5 m before crossed rows of antennas.
y, x = np.meshgrid((np.arange(20) - 10) * 0.02, (np.arange(24) - 12) * 0.02, indexing="ij")
places = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
along = np.linspace(-0.6, 0.6, 9)[:, None]
pair = kronufft.Pair(along * [1, 0, 0] - [0, 0, 1.5], along * [0, 1, 0] - [0, 0, 1.5])
born = kronufft.Born(places, [pair], np.linspace(8e9, 10e9, 5))

scene = torch.zeros(20, 24, dtype=torch.complex128)
for row, column, amplitude in ((6, 8, 1), (6, 10, 0.8j), (13, 15, -0.5), (14, 16, 0.3)):
    scene[row, column] = amplitude
echo = born(scene.flatten())
generator = torch.Generator().manual_seed(2)
noise = torch.randn(echo.shape, dtype=echo.dtype, generator=generator)
echo = echo + 0.1 * echo.abs().square().mean().sqrt() * noise

equations = kronufft.NormalEquations(born.H(echo), born.H @ born)
penalty = kronufft.L1(0.05 * float(equations.b.abs().max()), image_axes=1)
images = {
    "matched filter": equations.b,
    "least squares": kronufft.conjugate_gradient(equations, iterations=30, image_axes=1).image,
    "FISTA, l1": kronufft.fista(equations, penalty, iterations=60).image,
    "the scene": scene.flatten(),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 2.6), layout="constrained")
for axis, (name, found) in zip(axes, images.items()):
    level = 20 * torch.log10(found.abs() / found.abs().max() + 1e-6).reshape(20, 24)
    shown = axis.imshow(level, vmin=-30, vmax=0, cmap="magma", origin="lower")
    axis.set_title(name)
    axis.axis("off")
figure.colorbar(shown, label="dB")
