import matplotlib.pyplot as plt
import numpy as np
from phantom import N, coil_images, kspace, spokes

import kronufft

trajectory = spokes(34)  # a full set is 201
rng = np.random.default_rng(1)
samples = kspace(trajectory.reshape(2, -1)).reshape(6, 34, -1)
level = 0.03 * np.sqrt(np.mean(abs(samples) ** 2))
samples = samples + level * (rng.normal(size=samples.shape) + 1j * rng.normal(size=samples.shape))

ways = {
    "gridding": {},
    "cg-sense": {},
    "fista": {"penalty": "tv"},
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
truth = np.sqrt((abs(coil_images()) ** 2).sum(0))
for axis, (algorithm, settings) in zip(axes, ways.items()):
    found = abs(kronufft.reconstruct(samples, trajectory, (N, N), algorithm=algorithm, **settings))
    found *= np.vdot(found, truth) / np.vdot(found, found)
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    axis.imshow(found, cmap="gray", vmin=0, vmax=truth.max())
    axis.set_title(f"{' '.join([algorithm, *settings.values()])}: error {error:.2f}")
axes[3].imshow(truth, cmap="gray", vmin=0)
axes[3].set_title("the object")
for axis in axes:
    axis.axis("off")
