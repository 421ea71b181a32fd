import matplotlib.pyplot as plt
import torch
from phantom import N, coil_images, kspace, spokes

import kronufft

nominal = torch.as_tensor(spokes(32), dtype=torch.float32)  # (axis, readout, sample)
along = torch.nn.functional.normalize(nominal[:, :, -1], dim=0)  # direction of each spoke
true_delay = torch.tensor([0.030, -0.018])  # of the gradients y and x [rad/voxel]
played = nominal + (along * true_delay[:, None])[:, :, None]
measured = torch.as_tensor(kspace(played.flatten(1).numpy()), dtype=torch.complex64)

known = torch.as_tensor(coil_images(), dtype=torch.complex64)
nufft = kronufft.NUFFT((N, N))
delay = torch.nn.Parameter(torch.zeros(2))
optimiser = torch.optim.Adam([delay], lr=5e-3)
history = []
for _ in range(40):
    trajectory = (nominal + (along * delay[:, None])[:, :, None]).flatten(1)
    misfit = (nufft(known, trajectory) - measured).norm() / measured.norm()
    optimiser.zero_grad()
    misfit.backward()
    optimiser.step()
    history.append(delay.detach().clone())

plt.figure(figsize=(6, 3), layout="constrained")
plt.plot(torch.stack(history), label=["gradient y", "gradient x"])
for value, color in zip(true_delay, ("C0", "C1")):
    plt.axhline(float(value), linestyle=":", color=color)
plt.xlabel("step")
plt.ylabel("delay [rad/voxel]")
plt.legend()
